package image

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/lab/patience"
)

// Two layers with removals, in both backends: what a container sees is the same.
func TestProvision(t *testing.T) {
	h := newHub(t)
	low := tarOf(t, dir("etc/"), file("etc/a", "low"), file("etc/gone", "x"), dir("opaque"), file("opaque/old", "x"), link("l", "/etc"),
		file("was-file", "x"), dir("was-dir"), file("was-dir/x", "x"), dir("tree"), file("tree/x", "x"))
	top := tarOf(t, file("./etc/a", "top"), file("/etc/.wh.gone", ""), dir("opaque"), file("opaque/.wh..wh..opq", ""), file("opaque/new", "y"),
		hard("etc/b", "etc/a"), dir("was-file"), file("was-file/in", "z"), file("was-dir", "now a file"), file(".wh.tree", ""), file(".wh.never", ""))
	image := h.push(imageOf(t, v1.Config{Env: []string{"A=b"}, Cmd: []string{"x"}}, low, top), "a/b:1")
	const want = "etc etc/a=top etc/b=top l>/etc opaque opaque/new=y was-dir=now a file was-file was-file/in=z"
	for _, backend := range []string{Overlay, Copy} {
		t.Run(backend, func(t *testing.T) {
			d := newDepot(t, func(c *Config) { c.Backend = backend })
			r := d.provision("c", image, true)
			d.inside(r, func(root string) {
				if got := listing(t, root); got != want {
					t.Errorf("got  %s\nwant %s", got, want)
				}
				a, err1 := os.Stat(root + "/etc/a")
				b, err2 := os.Stat(root + "/etc/b")
				if err := errors.Join(err1, err2); err != nil || !os.SameFile(a, b) || a.ModTime().Unix() != 1_000_000_000 {
					t.Errorf("hard link or time: %v %v", err, a)
				}
			})
			if r.Image != image || !reflect.DeepEqual(r.Runtime.Env, []string{"A=b"}) || !reflect.DeepEqual(r.Runtime.Cmd, []string{"x"}) {
				t.Errorf("%+v", r)
			}
			again := d.provision("c2", image, true)
			if n := h.all.Load(); again.Digest != r.Digest {
				t.Errorf("digest %s, %d requests", again.Digest, n)
			}
			if _, err := d.Provision(t.Context(), "c", Request{Name: image}, nil); fault.KindOf(err) != fault.Conflict {
				t.Errorf("a second file system: %v", err)
			}
			d.Remove("c")
			d.Remove("c2")
			d.Remove("nobody")
			if left, _ := os.ReadDir(d.provisioner()); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
			if c := d.Counts(); c.Pulls != 1 || c.Cached != 1 || c.Containers != 0 || c.Images != 1 || c.Bytes == 0 || d.timed.Load() != 1 {
				t.Errorf("%+v, %d timed", c, d.timed.Load())
			}
		})
	}
}

// The bind backend: the only layer itself, which nobody may write to.
func TestBind(t *testing.T) {
	h := newHub(t)
	d := newDepot(t, func(c *Config) { c.Backend = Bind })
	layer := tarOf(t, file("f", "x"))
	r := d.provision("c", h.push(imageOf(t, v1.Config{}, layer), "one"), true)
	if f := r.Files(); !f.ReadOnly || f.Overlay != nil || listing(t, f.Path) != "f=x" {
		t.Errorf("%+v", f)
	}
	if _, err := d.Volume(t.Context(), "c", Request{Name: h.host + "/one", Cached: true}, false, nil); fault.KindOf(err) != fault.Unsupported {
		t.Errorf("a writable volume: %v", err)
	}
	if err := d.refused(h.push(imageOf(t, v1.Config{}, layer, tarOf(t, file("g", "y"))), "two")); fault.KindOf(err) != fault.Unsupported {
		t.Error(err)
	}
	d.Remove("c")
	if got := d.Prune(nil); len(got) != 2 {
		t.Errorf("pruned %v", got)
	}
	d.empty("layers")
}

// Image.cached, and layers that two images share.
func TestCached(t *testing.T) {
	h := newHub(t)
	d := newDepot(t, nil)
	base := tarOf(t, file("base", "1"))
	image := h.push(imageOf(t, v1.Config{}, base, tarOf(t, file("v", "1"))), "app:latest")
	read := func(r *Rootfs) (text string) {
		d.inside(r, func(root string) { text = listing(t, root) })
		return text
	}
	first := d.provision("1", strings.TrimSuffix(image, ":latest"), true)
	if got := read(first); got != "base=1 v=1" || h.blobs.Load() != 3 { // the configuration too
		t.Errorf("%s, %d blobs", got, h.blobs.Load())
	}
	h.push(imageOf(t, v1.Config{}, base, tarOf(t, file("v", "2"))), "app:latest")
	if got := read(d.provision("2", image, true)); got != "base=1 v=1" || h.all.Load() != 0 {
		t.Errorf("cached: %s, %d requests", got, h.all.Load())
	}
	if got := read(d.provision("3", image, false)); got != "base=1 v=2" || h.blobs.Load() != 2 {
		t.Errorf("not cached: %s, %d blobs", got, h.blobs.Load())
	}
	h.blobs.Store(0)
	if got := read(d.provision("4", image, false)); got != "base=1 v=2" || h.blobs.Load() > 1 {
		t.Errorf("unchanged: %s, %d blobs", got, h.blobs.Load())
	}
	if n := len(d.names("layers")); n != 3 {
		t.Errorf("%d layers", n)
	}
	byDigest := d.provision("5", d.Lookup("4").Image[:len(image)-len(":latest")]+"@"+d.Lookup("4").Digest, true)
	if got := read(byDigest); got != "base=1 v=2" {
		t.Error(got)
	}
}

// A layer that many want at once is pulled once; who gives up does not end it for others.
func TestPullsAreMerged(t *testing.T) {
	h := newHub(t)
	d := newDepot(t, nil)
	layer := tarOf(t, file("f", strings.Repeat("x", 100_000)))
	image := h.push(imageOf(t, v1.Config{}, layer), "app")
	open, asked := make(chan struct{}), make(chan struct{}, 100)
	h.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/blobs/") && !strings.Contains(r.URL.Path, configDigest(t, h, image)) {
			asked <- struct{}{}
			<-open
		}
		return false
	})
	impatient, cancel := context.WithCancel(context.Background())
	gaveUp := make(chan error)
	go func() {
		_, err := d.Provision(impatient, "impatient", Request{Name: image}, nil)
		gaveUp <- err
	}()
	<-asked
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if _, err := d.Provision(context.Background(), fmt.Sprintf("c%d", i), Request{Name: image}, nil); err != nil {
				t.Error(err)
			}
		})
	}
	waitFor(t, "nine wait for the layer", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, f := range d.flights {
			return f.waiters == 9
		}
		return false
	})
	cancel()
	if err := <-gaveUp; !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	close(open)
	wg.Wait()
	if n := len(asked); n != 0 {
		t.Errorf("%d more downloads of the layer", n)
	}
	if c := d.Counts(); c.Containers != 8 {
		t.Errorf("%+v", c)
	}
	d.empty("staging")
}

// Who gives up alone ends the download, and nothing stays of it.
func TestPullIsGivenUp(t *testing.T) {
	h := newHub(t)
	d := newDepot(t, nil)
	image := h.push(imageOf(t, v1.Config{}, tarOf(t, file("f", "x"))), "app")
	asked := make(chan struct{}, 10)
	config := configDigest(t, h, image)
	h.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/blobs/") && !strings.Contains(r.URL.Path, config) {
			asked <- struct{}{}
			<-r.Context().Done()
			return true
		}
		return false
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		_, err := d.Provision(ctx, "c", Request{Name: image}, nil)
		done <- err
	}()
	<-asked
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	d.empty("staging")
	if left, _ := os.ReadDir(d.provisioner()); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// Progress tells the bytes of all layers that are on their way.
func TestProgress(t *testing.T) {
	h := newHub(t)
	d := newDepot(t, nil)
	layer := tarOf(t, file("f", strings.Repeat("x", 1000)))
	size, err := layerOf(t, layer).Size()
	if err != nil {
		t.Fatal(err)
	}
	image := h.push(imageOf(t, v1.Config{}, layer), "app")
	config := configDigest(t, h, image)
	told := make(chan struct{})
	h.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/blobs/") && !strings.Contains(r.URL.Path, config) {
			<-told
		}
		return false
	})
	var once sync.Once
	_, err = d.Provision(t.Context(), "c", Request{Name: image}, func(done, total int64) {
		if done != 0 || total != size {
			t.Errorf("%d of %d, want 0 of %d", done, total, size)
		}
		once.Do(func() { close(told) })
	})
	if err != nil {
		t.Error(err)
	}
}

// A download that stalls is ended and tried again.
func TestStall(t *testing.T) {
	h := newHub(t)
	d := newDepot(t, func(c *Config) { c.Stall = 50 * time.Millisecond })
	image := h.push(imageOf(t, v1.Config{}, tarOf(t, file("f", "x"))), "app")
	config := configDigest(t, h, image)
	var stalled atomic.Int64
	h.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/blobs/") && !strings.Contains(r.URL.Path, config) && stalled.Add(1) == 1 {
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return true
		}
		return false
	})
	d.provision("c", image, true)
	if n := stalled.Load(); n != 2 {
		t.Errorf("%d downloads", n)
	}
}

func configDigest(t testing.TB, h *hub, image string) string {
	t.Helper()
	before := h.before.Load()
	h.intercept(func(http.ResponseWriter, *http.Request) bool { return false })
	defer func() {
		if before != nil {
			h.before.Store(before)
		}
	}()
	ref, err := name.ParseReference(image)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	img, err := remote.Image(ref, remote.WithTransport(tr))
	if err != nil {
		t.Fatal(err)
	}
	id, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	return id.String()
}

func waitFor(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience.For(20 * time.Second)); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// Archives of docker save in a folder.
func TestArchives(t *testing.T) {
	folder := t.TempDir()
	save := func(file, tag string, img v1.Image) {
		ref, err := name.NewTag(tag)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(folder, file)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := tarball.WriteToFile(filepath.Join(folder, file), ref, img); err != nil {
			t.Fatal(err)
		}
	}
	layer := tarOf(t, file("f", "x"))
	save("app:1.tar", "app:1", imageOf(t, v1.Config{Cmd: []string{"one"}}, layer, tarOf(t, file("g", "y"))))
	save("app.tar", "app:latest", imageOf(t, v1.Config{Cmd: []string{"latest"}}, layer))
	save("reg.example.com/team/app:2.tar", "reg.example.com/team/app:2", imageOf(t, v1.Config{Cmd: []string{"two"}}, layer))
	if err := os.WriteFile(folder+"/junk.tar", []byte("junk"), 0o644); err != nil {
		t.Fatal(err)
	}
	d := newDepot(t, func(c *Config) { c.Registry = "file://" + folder })
	for image, cmd := range map[string]string{"app:1": "one", "app": "latest", "reg.example.com/team/app:2": "two"} {
		if image == "reg.example.com/team/app:2" {
			d = newDepot(t, func(c *Config) { c.Registry = folder })
		}
		r := d.provision("c-"+cmd, image, true)
		d.inside(r, func(root string) {
			if got := listing(t, root); !strings.HasPrefix(got, "f=x") || r.Runtime.Cmd[0] != cmd {
				t.Errorf("%s: %s %+v", image, got, r.Runtime)
			}
		})
	}
	if err := d.refused("app:3"); fault.KindOf(err) != fault.NotFound || !strings.Contains(err.Error(), "app:3.tar") {
		t.Error(err)
	}
	if err := d.refused("junk"); fault.KindOf(err) != fault.Invalid {
		t.Error(err)
	}
}

// What an agent that was killed left half done goes; what containers that live on use stays.
func TestRecover(t *testing.T) {
	h := newHub(t)
	d := newDepot(t, nil)
	one := h.push(imageOf(t, v1.Config{Cmd: []string{"one"}}, tarOf(t, file("f", "1"))), "one")
	two := h.push(imageOf(t, v1.Config{}, tarOf(t, file("f", "2"))), "two")
	d.provision("lives", one, true)
	d.provision("gone", two, true)
	m, err := d.Volume(t.Context(), "lives", Request{Name: two, Cached: true}, true, nil)
	if err != nil || m.Overlay == nil {
		t.Fatal(err)
	}
	for _, half := range []string{"staging/x/rootfs/f", "gc/y/f", "layers/sha256-0000/rootfs/f", "layers/v1-of-mesos/rootfs"} {
		if err := os.MkdirAll(d.path(half), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(d.path("images/broken.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(d.cfg, d.log); fault.KindOf(err) != fault.Conflict {
		t.Errorf("a second agent: %v", err)
	}
	d.Store.Close()
	d.Store = nil
	d.open("lives", "unknown")
	d.empty("staging")
	d.empty("gc")
	if n := d.names("layers"); len(n) != 3 { // two, and the one that is not ours
		t.Errorf("layers %v", n)
	}
	if r := d.Lookup("lives"); r == nil || r.Runtime.Cmd[0] != "one" || len(r.Volumes) != 1 {
		t.Fatalf("%+v", r)
	}
	if left, _ := os.ReadDir(d.provisioner()); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
	if got := d.Prune(nil); len(got) != 0 {
		t.Errorf("images in use pruned: %v", got)
	}
	h.all.Store(0)
	d.provision("again", two, true)
	if h.all.Load() != 0 {
		t.Error("the record of an image is lost")
	}
	d.Remove("lives")
	d.Remove("again")
	if got := d.Prune([]string{one}); len(got) != 1 || got[0] != two+":latest" {
		t.Errorf("pruned %v", got)
	}
	if n := d.names("layers"); len(n) != 2 {
		t.Errorf("layers %v", n)
	}
	// A layer that was lost is pulled again.
	for _, l := range d.names("layers") {
		if ownLayer(l) {
			if err := os.RemoveAll(d.path("layers", l)); err != nil {
				t.Fatal(err)
			}
		}
	}
	d.provision("once-more", one, true)
}

// Pruning keeps the layers that another image has, and excluded images.
func TestPrune(t *testing.T) {
	h := newHub(t)
	base, x, y := tarOf(t, file("base", "b")), tarOf(t, file("x", "x")), tarOf(t, file("y", "y"))
	one, two := h.push(imageOf(t, v1.Config{}, base, x), "one"), h.push(imageOf(t, v1.Config{}, base, y), "two")
	d := newDepot(t, func(c *Config) { c.Excluded = []string{two} })
	d.provision("1", one, true)
	d.provision("2", two, true)
	d.Remove("2")
	if got := d.Prune([]string{"not a name"}); len(got) != 0 {
		t.Errorf("pruned %v", got)
	}
	d.Remove("1")
	if got := d.Prune(nil); !reflect.DeepEqual(got, []string{one + ":latest"}) {
		t.Errorf("pruned %v", got)
	}
	if n := len(d.names("layers")); n != 2 {
		t.Errorf("%d layers", n)
	}
	d.inside(d.provision("3", two, true), func(root string) {
		if got := listing(t, root); got != "base=b y=y" {
			t.Error(got)
		}
	})
	// A disk that is fuller than allowed prunes by itself.
	d2 := newDepot(t, func(c *Config) { c.Headroom, c.Interval = 1, time.Millisecond })
	d2.provision("1", one, true)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d2.Run(ctx) }()
	d2.Remove("1")
	waitFor(t, "the image goes", func() bool { return d2.Counts().Images == 0 })
	cancel()
	<-done
}

func TestOpenRefuses(t *testing.T) {
	for field, c := range map[string]Config{
		"--docker_registry":           {Registry: "hdfs://x"},
		"--docker_registry_mirrors":   {Mirrors: map[string][]string{"docker.io": {"/folder"}}},
		"--docker_config":             {DockerConfig: "{"},
		"--image_gc_config":           {Excluded: []string{"No Name"}},
		"--image_provisioner_backend": {Backend: "aufs"},
	} {
		c.StoreDir, c.WorkDir = t.TempDir(), t.TempDir()
		_, err := Open(c, nil)
		if fault.KindOf(err) != fault.Invalid || !strings.Contains(fmt.Sprint(err), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}
