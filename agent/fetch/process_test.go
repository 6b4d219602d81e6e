package fetch

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stoa-project/stoa/agent/container/cgroup"
	"github.com/stoa-project/stoa/agent/fetch/carry"
	"github.com/stoa-project/stoa/agent/sandbox"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// children lists the processes that fetch for a sandbox, whoever started them.
func children(run string) (pids []int) {
	items, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, i := range items {
		raw, err := os.ReadFile(i)
		if err == nil && bytes.HasPrefix(raw, []byte(carry.Name+"\x00"+run+"\x00")) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(i)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// begun counts the answers that have begun.
var begun atomic.Int32

// stuck is a server whose answers begin and do not end before the test does.
func stuck(t *testing.T) string {
	t.Helper()
	over := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "8")
		io.WriteString(w, "some")
		w.(http.Flusher).Flush()
		begun.Add(1)
		select {
		case <-over:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(func() { close(over); srv.Close() })
	return srv.URL
}

// status reads a line of /proc/PID/status.
func status(t *testing.T, pid int, name string) string {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.Join(strings.Fields(value), " ")
		}
	}
	t.Fatalf("no %s", name)
	return ""
}

// grouped gives a configuration with control groups on this host, and a check that
// nothing of them is left in the end. v2 takes a version 2 hierarchy where version 1 is too.
func grouped(t *testing.T, v2 bool) Config {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("cgroups need root")
	}
	cfg := Config{Groups: Groups{Use: true, Hierarchy: "/sys/fs/cgroup", Root: "stoa-fetch-" + strconv.Itoa(os.Getpid()) + "-" + strings.ReplaceAll(t.Name(), "/", "-")}}
	if v2 {
		cfg.Groups.Hierarchy = "/sys/fs/cgroup/unified"
	}
	if _, err := cgroup.Detect(cfg.Groups.Hierarchy); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		left, _ := filepath.Glob("/sys/fs/cgroup/*/" + cfg.Groups.Root + "*")
		more, _ := filepath.Glob("/sys/fs/cgroup/" + cfg.Groups.Root + "*")
		if left = append(left, more...); len(left) > 0 {
			t.Errorf("control groups are left: %v", left)
		}
	})
	return cfg
}

// begin starts a fetch that does not end by itself and gives its process.
func begin(t *testing.T, ctx context.Context, f *Fetcher, run string, owner sandbox.Owner, uris ...*mesos.CommandInfo_URI) (pid int, ended chan error) {
	t.Helper()
	ended = make(chan error, 1)
	before := begun.Load()
	go func() { ended <- f.Fetch(ctx, run, owner, uris, nil, nil) }()
	await(t, "a process", func() bool {
		select {
		case err := <-ended:
			t.Fatalf("ended: %v", err)
		default:
		}
		if pids := children(run); len(pids) == 1 && begun.Load() > before {
			pid = pids[0]
			return true
		}
		return false
	})
	return pid, ended
}

// The process is the task's user, alone in a session and a control group, can gain no rights,
// and its environment shows nothing of the agent's.
func TestProcessIsConfined(t *testing.T) {
	cfg := grouped(t, false)
	t.Setenv("MESOS_SECRET", "hidden")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "hidden")
	cfg.Memory = 96 << 20
	f := fetcher(t, cfg)
	defer f.Close()
	run := t.TempDir()
	nobody := sandbox.Owner{UID: 65534, GID: 65534}
	if err := os.Chown(run, nobody.UID, nobody.GID); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	pid, ended := begin(t, ctx, f, run, nobody, uri(stuck(t)+"/x"))
	for name, want := range map[string]string{
		"Uid": "65534 65534 65534 65534", "Gid": "65534 65534 65534 65534", "NoNewPrivs": "1",
		"CapEff": "0000000000000000", "CapPrm": "0000000000000000", "Groups": "65534", "Name": carry.Name,
	} {
		if got := status(t, pid, name); got != want && !(name == "Groups" && got == "") {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil || bytes.Contains(raw, []byte("hidden")) || bytes.Contains(raw, []byte("PATH=")) {
		t.Errorf("environment %q %v", raw, err)
	}
	if sid, err := syscall.Getpgid(pid); err != nil || sid != pid {
		t.Errorf("process group %d of %d %v", sid, pid, err)
	}
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil || !strings.Contains(strings.Join(strings.Fields(string(limits)), " "), "Max core file size 0 0 bytes") {
		t.Errorf("%s %v", limits, err)
	}
	group := filepath.Join(cfg.Groups.Hierarchy, "memory", cfg.Groups.Root, cgroup.FetchFolder, filepath.Base(run)+"-1")
	if !f.groups.driver.V2() {
		for file, want := range map[string]string{"memory.limit_in_bytes": strconv.Itoa(96 << 20), "cgroup.procs": strconv.Itoa(pid)} {
			raw, err := os.ReadFile(filepath.Join(group, file))
			if err != nil || strings.TrimSpace(string(raw)) != want {
				t.Errorf("%s: %q %v, want %s", file, raw, err, want)
			}
		}
	}
	if pids, err := f.groups.driver.Procs(filepath.Base(run) + "-1"); err != nil || !slices.Equal(pids, []int{pid}) {
		t.Errorf("in the group: %v %v, want %d", pids, err, pid)
	}
	// Given up: all of it goes, with the reason that the caller gave.
	why := errors.New("given up")
	cancel(why)
	if err := <-ended; !errors.Is(err, why) {
		t.Errorf("%v", err)
	}
	if left := children(run); len(left) > 0 {
		t.Errorf("lives on: %v", left)
	}
	if ids, err := f.groups.driver.IDs(); err != nil || len(ids) > 0 {
		t.Errorf("groups: %v %v", ids, err)
	}
}

// greedy writes a zip whose directory alone takes so much memory: names of zeros, which
// need no room on the disk.
func greedy(t *testing.T, run string, megabytes int) string {
	t.Helper()
	path := put(t, run, "a.zip", nil)
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const name = 60 << 10
	head := make([]byte, 46)
	copy(head, "PK\x01\x02")
	binary.LittleEndian.PutUint16(head[28:], name)
	at, n := int64(0), megabytes<<20/name
	for range n {
		if _, err := f.WriteAt(head, at); err != nil {
			t.Fatal(err)
		}
		at += int64(len(head)) + name
	}
	end := make([]byte, 22)
	copy(end, "PK\x05\x06")
	binary.LittleEndian.PutUint16(end[8:], uint16(n))
	binary.LittleEndian.PutUint16(end[10:], uint16(n))
	binary.LittleEndian.PutUint32(end[12:], uint32(at))
	if _, err := f.WriteAt(end, at); err != nil {
		t.Fatal(err)
	}
	return path
}

// native tells whether this program was built with C's threads, as the race detector is:
// their stacks alone are beyond a limit of a few MB.
func native() bool {
	info, _ := debug.ReadBuildInfo()
	return info != nil && slices.Contains(info.Settings, debug.BuildSetting{Key: "CGO_ENABLED", Value: "1"})
}

// A fetch that takes more memory than it may ends with a reason, and nobody else is touched.
func TestMemoryLimit(t *testing.T) {
	for name, make := range map[string]func(t *testing.T) Config{
		"group":    func(t *testing.T) Config { return grouped(t, false) },
		"no group": func(*testing.T) Config { return Config{} },
	} {
		t.Run(name, func(t *testing.T) {
			if native() && name == "no group" {
				t.Skip("built with cgo, which releases are not")
			}
			cfg := make(t)
			cfg.Memory = 48 << 20
			f := fetcher(t, cfg)
			defer f.Close()
			run, _ := box(t)
			other, _ := box(t)
			ctx, cancel := context.WithCancel(context.Background())
			pid, neighbour := begin(t, ctx, f, other, sandbox.Self(), uri(stuck(t)+"/x"))
			var out bytes.Buffer
			err := f.Fetch(context.Background(), run, sandbox.Self(), []*mesos.CommandInfo_URI{uri(greedy(t, run, map[bool]int{true: 96, false: 192}[name == "group"]))}, &out, nil)
			if fault.KindOf(err) != fault.TooLarge || !strings.Contains(err.Error(), "--fetcher_memory_limit") {
				t.Errorf("%v (%v)", err, fault.KindOf(err))
			}
			if now := children(other); !slices.Equal(now, []int{pid}) {
				t.Errorf("the neighbour is %v, was %d", now, pid)
			}
			if _, err := into(t, f, sandbox.Self(), uri(put(t, run, "small", []byte("x")))); err != nil {
				t.Errorf("the next one: %v", err)
			}
			cancel()
			<-neighbour
		})
	}
}

// Within the limit the largest archives are unpacked: memory is not what bounds them.
func TestLargeArchiveInLittleMemory(t *testing.T) {
	cfg := grouped(t, false)
	cfg.Memory = 48 << 20
	f := fetcher(t, cfg)
	defer f.Close()
	run, _ := box(t)
	var packed bytes.Buffer
	w, _ := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
	block := make([]byte, 1<<20)
	for i := range block {
		block[i] = byte(i * i >> 7)
	}
	for range 96 {
		_, _ = w.Write(block)
	}
	w.Close()
	if err := f.Fetch(context.Background(), run, sandbox.Self(), []*mesos.CommandInfo_URI{uri(put(t, run, "a.gz", packed.Bytes()))}, nil, nil); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(run, "a")); err != nil || info.Size() != 96<<20 {
		t.Errorf("%v %v", info, err)
	}
}

// A process that dies by itself gives a reason with what the Go runtime said; the agent
// and its cache are as before.
func TestProcessDies(t *testing.T) {
	cfg := Config{CacheDir: t.TempDir(), CacheSize: 1000}
	for sig, text := range map[syscall.Signal]string{
		syscall.SIGKILL: "signal: killed", syscall.SIGABRT: "exit status 2 (SIGABRT: abort)", syscall.SIGSEGV: "SIGSEGV",
	} {
		t.Run(sig.String(), func(t *testing.T) {
			f := fetcher(t, cfg)
			run := t.TempDir()
			held := stuck(t)
			pid, ended := begin(t, context.Background(), f, run, sandbox.Self(), cachedURI(held+"/x"))
			await(t, "room in the cache", func() bool { return f.Stats().CacheUsed == 8 })
			// Another one waits for the same file of the cache.
			second := t.TempDir()
			ctx, cancel := context.WithCancel(context.Background())
			waits := make(chan error, 1)
			go func() {
				waits <- f.Fetch(ctx, second, sandbox.Self(), []*mesos.CommandInfo_URI{cachedURI(held + "/x")}, nil, nil)
			}()
			await(t, "the second one waits", func() bool {
				f.cache.mu.Lock()
				defer f.cache.mu.Unlock()
				for _, e := range f.cache.entries {
					return e.refs == 2
				}
				return false
			})
			if err := syscall.Kill(pid, sig); err != nil {
				t.Fatal(err)
			}
			if err := <-ended; err == nil || !strings.Contains(err.Error(), "ended by itself: ") || !strings.Contains(err.Error(), text) {
				t.Errorf("%v, want %q", err, text)
			}
			await(t, "no half file in the cache", func() bool {
				f.cache.mu.Lock()
				defer f.cache.mu.Unlock()
				return len(f.cache.entries) == 0 && f.cache.used == 0
			})
			if s := f.Stats(); s.Failed != 1 {
				t.Errorf("%+v", s)
			}
			await(t, "the second one fetches itself", func() bool {
				_, err := os.Stat(filepath.Join(second, "x"))
				return err == nil
			})
			cancel()
			if err := <-waits; !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
		})
	}
}

// All of a command's URIs go through one process, of which none is made without URIs.
func TestOneProcessForAll(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("cgroups need root")
	}
	cfg := grouped(t, false)
	f := fetcher(t, cfg)
	defer f.Close()
	if err := f.Fetch(context.Background(), "/nowhere", sandbox.Self(), nil, nil, nil); err != nil {
		t.Error(err)
	}
	if f.groups.asked {
		t.Error("control groups are looked for although nothing is fetched")
	}
	run := t.TempDir()
	at := stuck(t)
	ctx, cancel := context.WithCancel(context.Background())
	_, ended := begin(t, ctx, f, run, sandbox.Self(), uri(at+"/a"), uri(at+"/b"), uri(at+"/c"))
	await(t, "all are under way", func() bool {
		items, _ := os.ReadDir(run)
		return len(items) == 3
	})
	if pids := children(run); len(pids) != 1 {
		t.Errorf("%v", pids)
	}
	cancel()
	<-ended
}

// A process that says what it may not is ended, whatever it is.
func TestProcessIsNotTrusted(t *testing.T) {
	f := fetcher(t, Config{CacheDir: t.TempDir()})
	for name, said := range map[string][]carry.Message{
		"a URI that is none":      {{Kind: carry.Progress, URI: 7}},
		"less than no URI":        {{Kind: carry.Ask, URI: -1}},
		"a cache not wanted":      {{Kind: carry.Ask, URI: 1}},
		"asking twice":            {{Kind: carry.Ask}, {Kind: carry.Ask}},
		"filled before asking":    {{Kind: carry.Filled}},
		"an answer":               {{Kind: carry.Have}},
		"endless words of a fill": {{Kind: carry.Ask}, {Kind: carry.Used}, {Kind: carry.Used}, {Kind: carry.Used}, {Kind: carry.Used}, {Kind: carry.Used}, {Kind: carry.Used}, {Kind: carry.Used}},
	} {
		t.Run(name, func(t *testing.T) {
			ours, file, err := carry.Pair()
			if err != nil {
				t.Fatal(err)
			}
			defer ours.Close()
			theirs, err := carry.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer theirs.Close()
			for _, m := range said {
				if err := theirs.Send(m, nil); err != nil {
					t.Fatal(err)
				}
			}
			c := f.courier(t.TempDir(), sandbox.Self(), []*mesos.CommandInfo_URI{cachedURI("http://h/" + name), uri("http://h/y")}, nil)
			c.conn = ours
			ctx, cancel := context.WithCancel(context.Background())
			_, err = c.listen(ctx)
			cancel()
			c.asks.Wait()
			if err == nil {
				t.Error("taken")
			}
		})
	}
	if used, _ := f.cache.size(); used != 0 {
		t.Errorf("%d bytes of the cache are taken", used)
	}
}

// What the process gets of the agent's environment.
func TestEnvironment(t *testing.T) {
	own := []string{"PATH=/bin", "http_proxy=http://p", "SSL_CERT_FILE=/c", "AWS_SECRET_ACCESS_KEY=a", "JAVA_HOME=/j", "MESOS_MASTER=zk://u:p@h", "LIBPROCESS_PORT=1", "STOA_X=1", "HADOOP_HOME=/h"}
	if got := environment(own, false); !slices.Equal(got, own[:3]) {
		t.Errorf("%v", got)
	}
	if got := environment(own, true); !slices.Equal(got, append(slices.Clone(own[:5]), "HADOOP_HOME=/h")) {
		t.Errorf("%v", got)
	}
	proxy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	seen := make(chan string, 1)
	go func() {
		_ = http.Serve(proxy, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			seen <- r.URL.String()
			io.WriteString(w, "by way of the proxy")
		}))
	}()
	t.Setenv("http_proxy", "http://"+proxy.Addr().String())
	run, err := into(t, fetcher(t, Config{}), sandbox.Self(), uri("http://artifacts.example.com/x"))
	if err != nil || <-seen != "http://artifacts.example.com/x" || content(t, run, "x") != "by way of the proxy" {
		t.Errorf("%v", err)
	}
}
