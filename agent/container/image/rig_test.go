package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"go.uber.org/goleak"

	"github.com/stoa-project/stoa/agent/container/spaces"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// entry makes a tar entry.
type entry struct {
	tar.Header
	body string
}

func dir(name string) entry {
	return entry{Header: tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755}}
}
func file(name, body string) entry {
	return entry{Header: tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}, body: body}
}
func link(name, to string) entry {
	return entry{Header: tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to, Mode: 0o777}}
}
func hard(name, to string) entry {
	return entry{Header: tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: to, Mode: 0o644}}
}

func tarOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		h := e.Header
		h.Size = int64(len(e.body))
		h.ModTime = time.Unix(1_000_000_000, 0)
		if len(h.PAXRecords) > 0 {
			h.Format = tar.FormatPAX
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func gzipped(t testing.TB, raw []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	if _, err := z.Write(raw); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func layerOf(t testing.TB, raw []byte) v1.Layer {
	t.Helper()
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil },
		tarball.WithMediaType(types.DockerLayer))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// imageOf makes an image of layers, each a tar stream.
func imageOf(t testing.TB, config v1.Config, layers ...[]byte) v1.Image {
	t.Helper()
	img := v1.Image(empty.Image)
	var err error
	for _, raw := range layers {
		if img, err = mutate.AppendLayers(img, layerOf(t, raw)); err != nil {
			t.Fatal(err)
		}
	}
	if img, err = mutate.Config(img, config); err != nil {
		t.Fatal(err)
	}
	return img
}

// hub is a registry on loopback whose requests can be counted and changed.
type hub struct {
	t      testing.TB
	server *httptest.Server
	host   string
	blobs  atomic.Int64 // requests for blobs
	all    atomic.Int64
	before atomic.Pointer[func(w http.ResponseWriter, r *http.Request) bool] // true: answered
}

func newHub(t testing.TB) *hub {
	h := &hub{t: t}
	reg := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	h.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.all.Add(1)
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			h.blobs.Add(1)
		}
		if f := h.before.Load(); f != nil && (*f)(w, r) {
			return
		}
		reg.ServeHTTP(w, r)
	}))
	h.host = strings.TrimPrefix(h.server.URL, "http://")
	t.Cleanup(func() {
		h.server.CloseClientConnections()
		h.server.Close()
	})
	return h
}

func (h *hub) intercept(f func(w http.ResponseWriter, r *http.Request) bool) { h.before.Store(&f) }

// push puts an image there and gives its name.
func (h *hub) push(img v1.Image, repository string) string {
	h.t.Helper()
	full := h.host + "/" + repository
	ref, err := name.ParseReference(full)
	if err != nil {
		h.t.Fatal(err)
	}
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	if err := remote.Write(ref, img, remote.WithTransport(tr)); err != nil {
		h.t.Fatal(err)
	}
	h.blobs.Store(0)
	h.all.Store(0)
	return full
}

// depot is a store for a test.
type depot struct {
	t   testing.TB
	dir string
	cfg Config
	*Store
	timed atomic.Int32 // pulls of which it was told how long they took
}

func newDepot(t testing.TB, change func(*Config)) *depot {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("root file systems need root")
	}
	d := &depot{t: t, dir: t.TempDir()}
	d.cfg = Config{StoreDir: filepath.Join(d.dir, "store"), WorkDir: filepath.Join(d.dir, "work"), Stall: 10 * time.Second,
		Pulled: func(took time.Duration) {
			if took > 0 {
				d.timed.Add(1)
			}
		}}
	if change != nil {
		change(&d.cfg)
	}
	d.open()
	t.Cleanup(func() {
		d.Store.Close()
		raw, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil || strings.Contains(string(raw), d.dir) {
			t.Errorf("mounts are left: %v", err)
		}
	})
	return d
}

func (d *depot) open(live ...string) {
	d.t.Helper()
	if d.Store != nil {
		d.Store.Close()
	}
	s, err := Open(d.cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		d.t.Fatal(err)
	}
	d.Store = s
	if err := s.Recover(live); err != nil {
		d.t.Fatal(err)
	}
}

func (d *depot) provision(id, image string, cached bool) *Rootfs {
	d.t.Helper()
	r, err := d.Provision(context.Background(), id, Request{Name: image, Cached: cached}, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	return r
}

// refused provisions what must fail.
func (d *depot) refused(image string) error {
	d.t.Helper()
	_, err := d.Provision(context.Background(), "bad", Request{Name: image}, nil)
	if err == nil {
		d.t.Fatalf("%s was provisioned", image)
	}
	d.empty("staging")
	if _, serr := os.Stat(d.containerDir("bad")); !os.IsNotExist(serr) {
		d.t.Errorf("the folder of a container that failed stays: %v", serr)
	}
	return err
}

func (d *depot) empty(dir string) {
	d.t.Helper()
	if left := d.names(dir); len(left) > 0 {
		d.t.Errorf("%s holds %v", dir, left)
	}
}

func (d *depot) names(dir string) (out []string) {
	entries, err := os.ReadDir(d.path(dir))
	if err != nil {
		d.t.Fatal(err)
	}
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// inside runs f with the mounted root file system at its argument, on a thread whose
// mounts nobody else sees.
func (d *depot) inside(r *Rootfs, f func(root string)) {
	d.t.Helper()
	root := r.tree(r.Root)
	if r.Backend == Copy {
		f(root)
		return
	}
	var err error
	spaces.OnThread(func() {
		if err = unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return
		}
		if err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return
		}
		o := r.overlay(r.Root)
		var low []string
		for i := len(o.Layers) - 1; i >= 0; i-- {
			low = append(low, o.Layers[i])
		}
		options := "lowerdir=" + strings.Join(low, ":") + ",upperdir=" + o.Upper + ",workdir=" + o.Work
		if err = unix.Mount("overlay", root, "overlay", 0, options); err == nil {
			f(root)
		}
	})
	if err != nil {
		d.t.Fatal(err)
	}
}

// listing gives all paths below a root with what is at them: "path" for folders, "path=text"
// for files, "path>target" for links.
func listing(t testing.TB, root string) string {
	var out []string
	err := filepath.Walk(root, func(p string, info os.FileInfo, err error) error {
		if err != nil || p == root {
			return err
		}
		line := strings.TrimPrefix(p, root+"/")
		switch {
		case info.Mode()&os.ModeSymlink != 0:
			to, _ := os.Readlink(p)
			line += ">" + to
		case info.Mode().IsRegular():
			raw, _ := os.ReadFile(p)
			line += "=" + string(raw)
		}
		out = append(out, line)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return strings.Join(out, " ")
}
