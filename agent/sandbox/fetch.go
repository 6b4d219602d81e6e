package sandbox

import (
	"context"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// FetchConfig bounds what fetching may do. Zero fields take the value in brackets.
type FetchConfig struct {
	FrameworksHome string        // prefix of relative paths (--frameworks_home); empty: they are refused
	StallTimeout   time.Duration // no byte for so long ends a download (--fetcher_stall_timeout) [1 min]
	Timeout        time.Duration // for one URI, unpacking included [1 h]
	MaxBytes       int64         // of one download, and of all that one archive unpacks to [32 GiB]
	MaxEntries     int           // files, folders and links of one archive [200,000]
	MaxRatio       int64         // unpacked bytes per packed byte, counted after the first 64 MiB [200]
	ratioFrom      int64
	Redirects      int    // of one download [10]
	Parallel       int    // URIs of one container at a time [4]
	CacheDir       string // folder of the cache, emptied at the start; empty: no cache (--fetcher_cache_dir)
	CacheSize      int64  // bytes that the cache may keep (--fetcher_cache_size) [2 GiB]
	HadoopHome     string // folder of bin/hadoop; empty: hadoop is looked for in PATH (--hadoop_home)
}

// Progress is told as bytes of a URI arrive; total is -1 when unknown.
type Progress func(uri string, done, total int64)

// Fetcher fills sandboxes with what CommandInfo.uris names (mesos-agent.md 8).
type Fetcher struct {
	cfg   FetchConfig
	log   *slog.Logger
	web   webGetter
	cache *cache // nil: none

	done, failed atomic.Uint64
}

// NewFetcher prepares a fetcher; it starts nothing. The error says that there is no room
// for the cache.
func NewFetcher(cfg FetchConfig, log *slog.Logger) (*Fetcher, error) { return newFetcher(cfg, log) }

// FetchStats are counts since the start and the state of the cache in bytes.
type FetchStats struct {
	Succeeded, Failed     uint64 // fetches for a container
	CacheUsed, CacheTotal int64
}

// Stats gives the fetcher's figures (mesos-agent.md 12).
func (f *Fetcher) Stats() FetchStats {
	s := FetchStats{Succeeded: f.done.Load(), Failed: f.failed.Load()}
	if f.cache != nil {
		s.CacheUsed, s.CacheTotal = f.cache.size()
	}
	return s
}

// Fetch brings all URIs into run and unpacks them, with everything owned by owner. What
// happens is written as lines to out (the sandbox's stderr; may be nil). progress may
// be nil. The first failure ends all; ctx ends it too. Errors: fault.Invalid (the URI,
// its name or an entry of its archive is not acceptable; the message says which rule),
// fault.NotFound, fault.TooLarge, fault.Timeout, fault.Unavailable, fault.Unsupported.
func (f *Fetcher) Fetch(ctx context.Context, run string, owner Owner, uris []*mesos.CommandInfo_URI, out io.Writer, progress Progress) error {
	err := f.fetchAll(ctx, run, owner, uris, out, progress)
	if err != nil {
		f.failed.Add(1)
	} else {
		f.done.Add(1)
	}
	return err
}
