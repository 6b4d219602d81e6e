package fetch

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent/sandbox"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/lab/patience"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

func TestMain(m *testing.M) {
	if text := os.Getenv("FETCH_TEST_AGENT"); text != "" {
		fragileAgent(text)
	}
	goleak.VerifyTestMain(m)
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// box makes a sandbox and a file outside of it that nothing may touch.
func box(t *testing.T) (run, outside string) {
	t.Helper()
	dir := t.TempDir()
	run, outside = filepath.Join(dir, "run"), filepath.Join(dir, "outside")
	if err := sandbox.Create(run, sandbox.Self()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(outside, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if raw, err := os.ReadFile(outside); err != nil || string(raw) != "mine" {
			t.Errorf("the file outside was changed: %q %v", raw, err)
		}
		items, _ := os.ReadDir(dir)
		for _, i := range items {
			if !slices.Contains([]string{"run", "outside", "latest", "src"}, i.Name()) {
				t.Errorf("%s was made outside of the sandbox", i.Name())
			}
		}
	})
	return run, outside
}

type tarEntry struct {
	name, link, body string
	kind             byte
	mode             int64
}

func tarOf(t *testing.T, entries ...tarEntry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		if e.kind == 0 {
			e.kind = tar.TypeReg
		}
		if e.mode == 0 {
			e.mode = 0o644
		}
		if err := w.WriteHeader(&tar.Header{Name: e.name, Linkname: e.link, Typeflag: e.kind, Mode: e.mode, Size: int64(len(e.body)), ModTime: time.Unix(1e9, 0)}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.body); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	return buf.Bytes()
}

func gz(raw []byte) []byte {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, _ = w.Write(raw)
	w.Close()
	return buf.Bytes()
}

func through(t *testing.T, program string, raw []byte) []byte {
	t.Helper()
	cmd := exec.Command(program, "-c")
	cmd.Stdin = bytes.NewReader(raw)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", program, err)
	}
	return out
}

type zipEntry struct {
	name, body string
	mode       fs.FileMode
}

func zipOf(t *testing.T, entries ...zipEntry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		if e.mode == 0 {
			e.mode = 0o644
		}
		h.SetMode(e.mode)
		f, err := w.CreateHeader(h)
		if err == nil {
			_, err = io.WriteString(f, e.body)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	return buf.Bytes()
}

// put writes an artifact beside the sandbox and gives its path.
func put(t *testing.T, run, name string, raw []byte) string {
	t.Helper()
	path := filepath.Join(filepath.Dir(run), "src", name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func uri(value string) *mesos.CommandInfo_URI { return &mesos.CommandInfo_URI{Value: &value} }

func fetcher(t *testing.T, cfg Config) *Fetcher {
	t.Helper()
	f, err := New(cfg, quiet())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func fetch(t *testing.T, cfg Config, run string, out io.Writer, uris ...*mesos.CommandInfo_URI) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience.For(30*time.Second))
	defer cancel()
	return fetcher(t, cfg).Fetch(ctx, run, sandbox.Self(), uris, out, nil)
}

func content(t *testing.T, run, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(run, name))
	if err != nil {
		t.Error(err)
	}
	return string(raw)
}

func TestArchivesAreUnpacked(t *testing.T) {
	plain := func(t *testing.T) []byte {
		return tarOf(t,
			tarEntry{name: "./", kind: tar.TypeDir, mode: 0o755},
			tarEntry{name: "app/bin/run", body: "#!/bin/sh\n", mode: 0o4755},
			tarEntry{name: "app/current", kind: tar.TypeSymlink, link: "bin"},
			tarEntry{name: "app/copy", kind: tar.TypeLink, link: "app/bin/run"},
			tarEntry{name: "app/ü", body: "u"},
			tarEntry{name: "app/ü", body: "second"},
		)
	}
	tests := map[string]func(t *testing.T) []byte{
		"a.tar":     plain,
		"a.tar.gz":  func(t *testing.T) []byte { return gz(plain(t)) },
		"a.tgz":     func(t *testing.T) []byte { return gz(plain(t)) },
		"a.tar.bz2": func(t *testing.T) []byte { return through(t, "bzip2", plain(t)) },
		"a.tbz2":    func(t *testing.T) []byte { return through(t, "bzip2", plain(t)) },
		"a.tar.xz":  func(t *testing.T) []byte { return through(t, "xz", plain(t)) },
		"a.txz":     func(t *testing.T) []byte { return through(t, "xz", plain(t)) },
		"a.zip": func(t *testing.T) []byte {
			return zipOf(t, zipEntry{"app/", "", 0o755 | fs.ModeDir}, zipEntry{"app/bin/run", "#!/bin/sh\n", 0o755 | fs.ModeSetuid},
				zipEntry{"app/current", "bin", 0o777 | fs.ModeSymlink}, zipEntry{"app/copy", "#!/bin/sh\n", 0o755}, zipEntry{"app/ü", "second", 0})
		},
	}
	for name, make := range tests {
		t.Run(name, func(t *testing.T) {
			if strings.HasSuffix(name, "xz") || strings.HasSuffix(name, "bz2") {
				program := map[bool]string{true: "xz", false: "bzip2"}[strings.HasSuffix(name, "xz")]
				if _, err := exec.LookPath(program); err != nil {
					t.Fatalf("%v: scripts/setup installs it", err)
				}
			}
			run, _ := box(t)
			var out bytes.Buffer
			if err := fetch(t, Config{}, run, &out, uri(put(t, run, name, make(t)))); err != nil {
				t.Fatal(err, out.String())
			}
			for file, want := range map[string]string{"app/bin/run": "#!/bin/sh\n", "app/current/run": "#!/bin/sh\n", "app/copy": "#!/bin/sh\n", "app/ü": "second"} {
				if got := content(t, run, file); got != want {
					t.Errorf("%s: %q, want %q", file, got, want)
				}
			}
			info, err := os.Stat(filepath.Join(run, "app/bin/run"))
			if err != nil || info.Mode() != 0o755 {
				t.Errorf("mode %v %v: set-user must go, execution stay", info.Mode(), err)
			}
			if _, err := os.Stat(filepath.Join(run, name)); err != nil {
				t.Errorf("the archive itself stays: %v", err)
			}
			if !strings.Contains(out.String(), "Fetched '") || !strings.Contains(out.String(), "Extracted '") {
				t.Errorf("log: %s", out.String())
			}
		})
	}
}

func TestArchiveAttacks(t *testing.T) {
	zeros := strings.Repeat("\x00", 3<<20)
	many := func(t *testing.T) []byte {
		var all []tarEntry
		for i := range 101 {
			all = append(all, tarEntry{name: fmt.Sprint("f", i)})
		}
		return tarOf(t, all...)
	}
	sparse := func() []byte { // a header of a file of 1 TiB with no data at all
		var buf bytes.Buffer
		w := tar.NewWriter(&buf)
		_ = w.WriteHeader(&tar.Header{Name: "big", Typeflag: tar.TypeReg, Size: 1 << 40, Mode: 0o644})
		return buf.Bytes()
	}
	one := func(e tarEntry) func(*testing.T) []byte { return func(t *testing.T) []byte { return tarOf(t, e) } }
	tests := []struct {
		name, file string
		raw        func(*testing.T) []byte
		kind       fault.Kind
	}{
		{"dot dot", "a.tar", one(tarEntry{name: "../outside", body: "x"}), fault.Invalid},
		{"dot dot inside", "a.tar", one(tarEntry{name: "a/../../outside", body: "x"}), fault.Invalid},
		{"absolute", "a.tar", one(tarEntry{name: "/tmp/stoa-attack", body: "x"}), fault.Invalid},
		{"link up", "a.tar", one(tarEntry{name: "l", kind: tar.TypeSymlink, link: "../outside"}), fault.Invalid},
		{"link absolute", "a.tar", one(tarEntry{name: "l", kind: tar.TypeSymlink, link: "/etc"}), fault.Invalid},
		{"link deep", "a.tar", one(tarEntry{name: "a/b/l", kind: tar.TypeSymlink, link: "../../../outside"}), fault.Invalid},
		{"hard link up", "a.tar", one(tarEntry{name: "l", kind: tar.TypeLink, link: "../outside"}), fault.Invalid},
		{"hard link absolute", "a.tar", one(tarEntry{name: "l", kind: tar.TypeLink, link: "/etc/passwd"}), fault.Invalid},
		{"two links that add up", "a.tar", func(t *testing.T) []byte {
			return tarOf(t, tarEntry{name: "a/b/c", kind: tar.TypeDir}, tarEntry{name: "d", kind: tar.TypeSymlink, link: "a/b/c"},
				tarEntry{name: "x/y", kind: tar.TypeDir}, tarEntry{name: "x/up", kind: tar.TypeSymlink, link: ".."},
				tarEntry{name: "x/y/e", kind: tar.TypeSymlink, link: "../up/.."}, tarEntry{name: "x/y/e/outside", body: "x"})
		}, fault.Invalid},
		{"character device", "a.tar", one(tarEntry{name: "null", kind: tar.TypeChar}), fault.Invalid},
		{"block device", "a.tar", one(tarEntry{name: "sda", kind: tar.TypeBlock}), fault.Invalid},
		{"pipe", "a.tar", one(tarEntry{name: "p", kind: tar.TypeFifo}), fault.Invalid},
		{"file in place of a folder", "a.tar", func(t *testing.T) []byte {
			return tarOf(t, tarEntry{name: "d/f", body: "x"}, tarEntry{name: "d", body: "x"})
		}, fault.Invalid},
		{"too many entries", "a.tar", many, fault.TooLarge},
		{"bomb", "a.tar.gz", func(t *testing.T) []byte { return gz(tarOf(t, tarEntry{name: "z", body: zeros})) }, fault.TooLarge},
		{"gzip bomb", "a.gz", func(t *testing.T) []byte { return gz([]byte(zeros)) }, fault.TooLarge},
		{"huge file announced", "a.tar", func(*testing.T) []byte { return sparse() }, fault.TooLarge},
		{"torn", "a.tar.gz", func(t *testing.T) []byte { return gz(tarOf(t, tarEntry{name: "f", body: "hello"}))[:40] }, fault.Invalid},
		{"no gzip at all", "a.tgz", func(*testing.T) []byte { return []byte("<html>404</html>") }, fault.Invalid},
		{"no xz at all", "a.txz", func(*testing.T) []byte { return []byte("<html>404</html>") }, fault.Invalid},
		{"no tar at all", "a.tar", func(*testing.T) []byte { return bytes.Repeat([]byte("x"), 2048) }, fault.Invalid},
		{"zip: dot dot", "a.zip", func(t *testing.T) []byte { return zipOf(t, zipEntry{"../outside", "x", 0}) }, fault.Invalid},
		{"zip: absolute", "a.zip", func(t *testing.T) []byte { return zipOf(t, zipEntry{"/etc/x", "x", 0}) }, fault.Invalid},
		{"zip: link", "a.zip", func(t *testing.T) []byte { return zipOf(t, zipEntry{"l", "/etc/passwd", 0o777 | fs.ModeSymlink}) }, fault.Invalid},
		{"zip: device", "a.zip", func(t *testing.T) []byte { return zipOf(t, zipEntry{"d", "", 0o644 | fs.ModeDevice}) }, fault.Invalid},
		{"zip: bomb", "a.zip", func(t *testing.T) []byte { return zipOf(t, zipEntry{"z", zeros, 0}) }, fault.TooLarge},
		{"zip: too many entries", "a.zip", func(t *testing.T) []byte {
			var all []zipEntry
			for i := range 101 {
				all = append(all, zipEntry{name: fmt.Sprint("f", i)})
			}
			return zipOf(t, all...)
		}, fault.TooLarge},
		{"zip: none at all", "a.zip", func(*testing.T) []byte { return []byte("PK") }, fault.Invalid},
		{"zip: directory out of the file", "a.zip", func(*testing.T) []byte {
			return append([]byte("PK\x05\x06"), bytes.Repeat([]byte{0x7f}, 18)...)
		}, fault.Invalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			run, _ := box(t)
			var out bytes.Buffer
			err := fetch(t, Config{MaxEntries: 100, MaxBytes: 1 << 30, ratioFrom: 2 << 20}, run, &out, uri(put(t, run, tt.file, tt.raw(t))))
			if fault.KindOf(err) != tt.kind {
				t.Errorf("%v (%v), want %v", err, fault.KindOf(err), tt.kind)
			}
			if !strings.Contains(out.String(), "Failed to fetch '") {
				t.Errorf("the sandbox's log says nothing: %q", out.String())
			}
		})
	}
}

func TestLocalFiles(t *testing.T) {
	run, _ := box(t)
	src := put(t, run, "tool.tar.gz", []byte("not an archive"))
	exe := uri(src)
	exe.Executable = proto.Bool(true)
	kept := uri("file://localhost" + src)
	kept.Extract, kept.OutputFile = proto.Bool(false), proto.String("deep/er/kept.tgz")
	zipped := uri("file://" + put(t, run, "note.gz", gz([]byte("hello"))))
	relative := uri("src/rel")
	put(t, run, "rel", []byte("r"))
	if err := fetch(t, Config{FrameworksHome: filepath.Dir(run)}, run, nil, exe, kept, zipped, relative); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(run, "tool.tar.gz")); err != nil || info.Mode() != 0o755 {
		t.Errorf("%v %v", info, err)
	}
	if content(t, run, "deep/er/kept.tgz") != "not an archive" || content(t, run, "note") != "hello" || content(t, run, "rel") != "r" {
		t.Error("contents differ")
	}
	for value, kind := range map[string]fault.Kind{
		"/no/such/file": fault.NotFound, filepath.Dir(run): fault.Invalid, "rel": fault.Invalid, "/dev/zero": fault.Invalid,
		"file://elsewhere/x": fault.Invalid, "ftp://": fault.Invalid,
	} {
		if err := fetch(t, Config{}, run, nil, uri(value)); fault.KindOf(err) != kind {
			t.Errorf("%s: %v, want %v", value, err, kind)
		}
	}
}

func TestLocalFilesAreReadAsTheTasksUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("taking another identity needs root")
	}
	run, outside := box(t)
	for dir := filepath.Dir(run); dir != "/" && dir != "/tmp"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	open := put(t, run, "open", []byte("x"))
	nobody := sandbox.Owner{UID: 65534, GID: 65534}
	if err := os.Chown(run, nobody.UID, nobody.GID); err != nil {
		t.Fatal(err)
	}
	f := fetcher(t, Config{})
	if err := f.Fetch(context.Background(), run, nobody, []*mesos.CommandInfo_URI{uri(outside)}, nil, nil); fault.KindOf(err) != fault.Forbidden {
		t.Errorf("root's file: %v", err)
	}
	if err := f.Fetch(context.Background(), run, nobody, []*mesos.CommandInfo_URI{uri(open)}, nil, nil); err != nil {
		t.Errorf("everyone's file: %v", err)
	}
	if raw, err := os.ReadFile(outside); err != nil || string(raw) != "mine" {
		t.Errorf("the agent itself lost its rights: %v", err)
	}
}

func TestHTTP(t *testing.T) {
	release := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "body") })
	mux.HandleFunc("/a.tgz", func(w http.ResponseWriter, _ *http.Request) {
		w.Write(gz(tarOf(t, tarEntry{name: "in/side", body: "x"})))
	})
	mux.Handle("/moved", http.RedirectHandler("/ok", http.StatusFound))
	mux.Handle("/loop", http.RedirectHandler("/loop", http.StatusFound))
	mux.Handle("/file", http.RedirectHandler("file:///etc/passwd", http.StatusFound))
	mux.Handle("/meta", http.RedirectHandler("http://169.254.169.254/latest", http.StatusFound))
	mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/stalls", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "some")
		w.(http.Flusher).Flush()
		select {
		case <-r.Context().Done():
		case <-release:
		}
	})
	mux.HandleFunc("/short", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, "less")
	})
	srv := httptest.NewServer(mux)
	defer srv.Close()
	defer close(release)
	tests := []struct {
		path string
		kind fault.Kind
		fail bool
	}{
		{"/ok", 0, false}, {"/ok?q=1", 0, false}, {"/moved", 0, false}, {"/a.tgz", 0, false},
		{"/absent", fault.NotFound, true}, {"/loop", fault.Unavailable, true}, {"/file", fault.Unavailable, true},
		{"/meta", fault.Unavailable, true}, {"/endless", fault.TooLarge, true}, {"/stalls", fault.Timeout, true},
		{"/short", fault.Unavailable, true},
	}
	for _, tt := range tests {
		t.Run(tt.path, func(t *testing.T) {
			run, _ := box(t)
			err := fetch(t, Config{MaxBytes: 1 << 20, StallTimeout: 300 * time.Millisecond}, run, nil, uri(srv.URL+tt.path))
			if (err != nil) != tt.fail || fault.KindOf(err) != tt.kind {
				t.Errorf("%v (%v)", err, fault.KindOf(err))
			}
		})
	}
	run, _ := box(t)
	var told int64
	err := fetcher(t, Config{}).Fetch(context.Background(), run, sandbox.Self(),
		[]*mesos.CommandInfo_URI{uri(srv.URL + "/ok")}, nil, func(_ string, done, total int64) {
			if total == 4 {
				told = done
			}
		})
	if err != nil || told != 4 || content(t, run, "ok") != "body" {
		t.Errorf("progress %d, %v", told, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := fetcher(t, Config{}).Fetch(ctx, run, sandbox.Self(), []*mesos.CommandInfo_URI{uri(srv.URL + "/stalls")}, nil, nil); err == nil {
		t.Error("a cancelled fetch succeeded")
	}
}
