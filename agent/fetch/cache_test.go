package fetch

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent/sandbox"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/lab/patience"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// origin is a server that counts what is asked of it. A path of /size/N/... has N bytes, all
// the same letter of that request's number.
func origin(t *testing.T) (url string, asked *atomic.Int32, hold chan struct{}) {
	asked, hold = &atomic.Int32{}, make(chan struct{})
	mux := http.NewServeMux()
	body := func(w http.ResponseWriter, r *http.Request) {
		var n int
		fmt.Sscanf(r.URL.Path, "/size/%d/", &n)
		letter := byte('a' + asked.Add(1) - 1)
		w.Header().Set("Content-Length", fmt.Sprint(n))
		w.Write(bytes.Repeat([]byte{letter}, n))
	}
	mux.HandleFunc("/size/", body)
	mux.HandleFunc("/held/size/", func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		<-hold
		w.Header().Set("Content-Length", "4")
		io.WriteString(w, "held")
	})
	mux.HandleFunc("/unknown/", func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.(http.Flusher).Flush()
		io.WriteString(w, "unknown")
	})
	mux.HandleFunc("/short/", func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.Header().Set("Content-Length", "10")
		io.WriteString(w, "short")
	})
	mux.HandleFunc("/a.tgz", func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		b := gz(tarOf(t, tarEntry{name: "in/side", body: "x"}))
		w.Header().Set("Content-Length", fmt.Sprint(len(b)))
		w.Write(b)
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return srv.URL, asked, hold
}

func cachedURI(value string) *mesos.CommandInfo_URI {
	u := uri(value)
	u.Cache = proto.Bool(true)
	return u
}

// into fetches into a new sandbox and gives it.
func into(t *testing.T, f *Fetcher, owner sandbox.Owner, uris ...*mesos.CommandInfo_URI) (string, error) {
	t.Helper()
	run := t.TempDir()
	if err := os.Chown(run, owner.UID, owner.GID); err != nil {
		t.Fatal(err)
	}
	return run, f.Fetch(context.Background(), run, owner, uris, nil, nil)
}

// What is in the cache is not asked for again, for each user apart; archives are unpacked
// out of it, and all else is a file of the sandbox's own.
func TestCacheAsksOnce(t *testing.T) {
	url, asked, _ := origin(t)
	dir := filepath.Join(t.TempDir(), "fetch")
	if err := os.MkdirAll(filepath.Join(dir, "0", "left"), 0o755); err != nil {
		t.Fatal(err)
	}
	f := fetcher(t, Config{CacheDir: dir, CacheSize: 1000})
	if _, err := os.Stat(filepath.Join(dir, "0")); !os.IsNotExist(err) {
		t.Error("what an earlier agent left is still there")
	}
	exe := cachedURI(url + "/size/10/tool")
	exe.Executable = proto.Bool(true)
	named := cachedURI(url + "/size/10/tool")
	named.OutputFile = proto.String("deep/er/name")
	for n := range 3 {
		run, err := into(t, f, sandbox.Self(), exe, cachedURI(url+"/a.tgz"))
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(filepath.Join(run, "tool")); err != nil || info.Mode() != 0o755 || info.Size() != 10 {
			t.Errorf("%d: %v %v", n, info, err)
		}
		if content(t, run, "in/side") != "x" {
			t.Errorf("%d: not unpacked", n)
		}
		if _, err := os.Stat(filepath.Join(run, "a.tgz")); !os.IsNotExist(err) {
			t.Errorf("%d: the archive was copied too", n)
		}
		// The sandbox's file is its own: who changes it does not change the cache.
		if err := os.WriteFile(filepath.Join(run, "tool"), []byte("changed"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	run, err := into(t, f, sandbox.Self(), named)
	if err != nil || len(content(t, run, "deep/er/name")) != 10 {
		t.Errorf("%v", err)
	}
	if n := asked.Load(); n != 2 {
		t.Errorf("asked %d times, want 2", n)
	}
	if os.Geteuid() == 0 {
		if _, err := into(t, f, sandbox.Owner{UID: 65534, GID: 65534}, exe); err != nil || asked.Load() != 3 {
			t.Errorf("another user's: asked %d times, %v", asked.Load(), err)
		}
	}
	plain, err := into(t, f, sandbox.Self(), uri(url+"/size/10/tool"))
	if before := asked.Load(); err != nil || len(content(t, plain, "tool")) != 10 || before < 3 {
		t.Errorf("without cache: asked %d times, %v", before, err)
	}
	if s := f.Stats(); s.Succeeded < 5 || s.Failed != 0 || s.CacheTotal != 1000 || s.CacheUsed == 0 || s.CacheUsed > 1000 {
		t.Errorf("%+v", s)
	}
}

// A full cache lets go what was not used for longest; what is too large for it, or of
// unknown size, goes past it.
func TestCacheEvicts(t *testing.T) {
	url, asked, _ := origin(t)
	f := fetcher(t, Config{CacheDir: t.TempDir(), CacheSize: 100})
	get := func(path string, want int32) {
		t.Helper()
		before := asked.Load()
		if _, err := into(t, f, sandbox.Self(), cachedURI(url+path)); err != nil {
			t.Fatal(err)
		}
		if n := asked.Load() - before; n != want {
			t.Errorf("%s: asked %d times, want %d", path, n, want)
		}
	}
	get("/size/40/one", 1)
	get("/size/40/two", 1)
	get("/size/40/one", 0)
	get("/size/40/three", 1) // two goes
	get("/size/40/one", 0)
	get("/size/40/two", 1) // three goes
	get("/size/101/large", 1)
	get("/unknown/size", 1)
	get("/size/40/one", 0) // nothing went for these
	if s := f.Stats(); s.CacheUsed != 80 {
		t.Errorf("%+v", s)
	}
	files := 0
	_ = filepath.WalkDir(f.cfg.CacheDir, func(_ string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files++
		}
		return err
	})
	if files != 2 {
		t.Errorf("%d files in the cache, want 2", files)
	}
	if _, err := into(t, f, sandbox.Self(), cachedURI(url+"/short/x")); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("cut off: %v", err)
	}
	if s := f.Stats(); s.CacheUsed != 80 || s.Failed != 1 {
		t.Errorf("after a failure: %+v", s)
	}
}

// await polls with a deadline.
func await(t *testing.T, what string, yes func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience.For(10 * time.Second)); !yes(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// Those who want a file that is on its way wait for it; when it does not come they fetch
// it themselves.
func TestCacheWaits(t *testing.T) {
	url, asked, hold := origin(t)
	f := fetcher(t, Config{CacheDir: t.TempDir(), CacheSize: 100})
	var wg sync.WaitGroup
	for range 5 {
		run := t.TempDir()
		wg.Go(func() {
			if err := f.Fetch(context.Background(), run, sandbox.Self(), []*mesos.CommandInfo_URI{cachedURI(url + "/held/size/x")}, nil, nil); err != nil {
				t.Error(err)
			}
			if b, err := os.ReadFile(filepath.Join(run, "x")); err != nil || string(b) != "held" {
				t.Errorf("%q %v", b, err)
			}
		})
	}
	await(t, "all wait", func() bool {
		f.cache.mu.Lock()
		defer f.cache.mu.Unlock()
		for _, e := range f.cache.entries {
			return e.refs == 5 && asked.Load() > 0 // the request may still be on its way
		}
		return false
	})
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times while one is under way", n)
	}
	close(hold)
	wg.Wait()

	// The first one is given up: the second one starts anew.
	ctx, cancel := context.WithCancel(context.Background())
	c := f.cache
	started := make(chan struct{})
	first := make(chan error, 1)
	go func() {
		_, err := c.get(ctx, "0@u", "x", func(*os.File, func(int64) error) error {
			close(started)
			<-ctx.Done()
			return ctx.Err()
		})
		first <- err
	}()
	<-started
	second := make(chan error, 1)
	go func() {
		_, err := c.get(context.Background(), "0@u", "x", nil)
		second <- err
	}()
	await(t, "the second one waits", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.entries["0@u"].refs == 2
	})
	cancel()
	if err := <-first; err != context.Canceled {
		t.Errorf("%v", err)
	}
	if err := <-second; err != errNotCached {
		t.Errorf("%v", err)
	}
	e, err := c.get(context.Background(), "0@u", "x", func(f *os.File, reserve func(int64) error) error {
		if err := reserve(3); err != nil {
			return err
		}
		_, err := f.WriteString("new")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	c.put(e)
	if used, _ := c.size(); used != 4+3 {
		t.Errorf("%d bytes used", used)
	}
}

func TestCacheFolder(t *testing.T) {
	file := put(t, t.TempDir(), "file", nil)
	if _, err := New(Config{CacheDir: filepath.Join(file, "fetch")}, quiet()); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("%v", err)
	}
}
