// Package fetch fills sandboxes with what CommandInfo.uris names (mesos-agent.md 8). It
// keeps the account of the cache and of what is under way; the bytes are moved by a
// process for each container (package carry), as the task's user, in a control group of
// its own. Whatever happens to that process costs one launch.
package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/stoa-project/stoa/agent/sandbox"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Config bounds what fetching may do. Zero fields take the value in brackets.
type Config struct {
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
	Memory         int64  // bytes that the processes of one fetch may have (--fetcher_memory_limit) [512 MiB]
	Groups         Groups // control groups; none unless Use is set
}

// Groups says where the control groups of fetches are made: in a folder beside those of
// the containers.
type Groups struct {
	Use       bool   // --isolation has control groups
	Hierarchy string // --cgroups_hierarchy [/sys/fs/cgroup]
	Root      string // --cgroups_root, the agent's folder in each hierarchy [mesos]
}

// Progress is told as bytes of a URI arrive; total is -1 when unknown.
type Progress func(uri string, done, total int64)

// Fetcher fills sandboxes.
type Fetcher struct {
	cfg    Config
	log    *slog.Logger
	cache  *cache // nil: none
	groups groups

	done, failed atomic.Uint64
}

// New prepares a fetcher: what an earlier agent left, in the cache and in control groups
// with what runs in them, goes. The error says that there is no room for the cache.
func New(cfg Config, log *slog.Logger) (*Fetcher, error) {
	number := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	number((*int64)(&cfg.StallTimeout), int64(time.Minute))
	number((*int64)(&cfg.Timeout), int64(time.Hour))
	number(&cfg.MaxBytes, 32<<30)
	number(&cfg.MaxRatio, 200)
	number(&cfg.ratioFrom, 64<<20) // small archives of zeros are fine
	number(&cfg.CacheSize, 2<<30)
	number(&cfg.Memory, 512<<20)
	if cfg.MaxEntries == 0 {
		cfg.MaxEntries = 200_000
	}
	if cfg.Redirects == 0 {
		cfg.Redirects = 10
	}
	if cfg.Parallel == 0 {
		cfg.Parallel = 4
	}
	if cfg.Groups.Hierarchy == "" {
		cfg.Groups.Hierarchy = "/sys/fs/cgroup"
	}
	if cfg.Groups.Root == "" {
		cfg.Groups.Root = "mesos"
	}
	f := &Fetcher{cfg: cfg, log: log, groups: groups{cfg: cfg.Groups, memory: cfg.Memory, log: log}}
	f.groups.sweep()
	if cfg.CacheDir != "" {
		var err error
		if f.cache, err = openCache(cfg.CacheDir, cfg.CacheSize, log); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// Close removes the folder of control groups. No fetch may be under way.
func (f *Fetcher) Close() { f.groups.close() }

// Stats are counts since the start and the state of the cache in bytes.
type Stats struct {
	Succeeded, Failed     uint64 // fetches for a container
	CacheUsed, CacheTotal int64
}

// Stats gives the fetcher's figures (mesos-agent.md 12).
func (f *Fetcher) Stats() Stats {
	s := Stats{Succeeded: f.done.Load(), Failed: f.failed.Load()}
	if f.cache != nil {
		s.CacheUsed, s.CacheTotal = f.cache.size()
	}
	return s
}

// maxURIs bounds what one command may name.
const maxURIs = 1000

// Fetch brings all URIs into the sandbox run and unpacks them, as owner, which run must
// belong to. What happens is written as lines to out (the sandbox's stderr; may be nil).
// progress may be nil. The first failure ends all; ctx ends it too. Errors: fault.Invalid (the URI,
// its name or an entry of its archive is not acceptable; the message says which rule),
// fault.NotFound, fault.Forbidden (the user may not), fault.TooLarge, fault.Timeout,
// fault.Unavailable, fault.Unsupported. Without URIs nothing is done.
func (f *Fetcher) Fetch(ctx context.Context, run string, owner sandbox.Owner, uris []*mesos.CommandInfo_URI, out io.Writer, progress Progress) error {
	if len(uris) == 0 {
		return nil
	}
	err := f.fetch(ctx, run, owner, uris, out, progress)
	if err != nil {
		f.failed.Add(1)
		f.log.Info("fetch failed", "sandbox", run, "error", err)
	} else {
		f.done.Add(1)
	}
	return err
}

func (f *Fetcher) fetch(ctx context.Context, run string, owner sandbox.Owner, uris []*mesos.CommandInfo_URI, out io.Writer, progress Progress) error {
	if len(uris) > maxURIs {
		return fault.New("fetch", fault.TooLarge, "uris", fmt.Errorf("%d, at most %d", len(uris), maxURIs))
	}
	// Each URI has its own time; this is for a process that does not keep to it.
	rounds := (len(uris) + f.cfg.Parallel - 1) / f.cfg.Parallel
	ctx, cancel := context.WithTimeoutCause(ctx, time.Duration(rounds)*f.cfg.Timeout+time.Minute,
		fault.New("fetch", fault.Timeout, "", errors.New("fetching took too long")))
	defer cancel()
	c := f.courier(run, owner, uris, progress)
	return c.carry(ctx, out)
}
