package keeper

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stoa-project/stoa/agent/container/spaces"
	"github.com/stoa-project/stoa/internal/fault"
)

// tinyRoot makes a root file system of two layers around a static busybox, and the
// folders of an overlay on them.
func tinyRoot(t testing.TB, dir string) *Root {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounts need root")
	}
	box, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatalf("%v: run scripts/setup", err)
	}
	r := &Root{Path: filepath.Join(dir, "root"), Overlay: &Overlay{Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work")}}
	low, top := filepath.Join(dir, "low,1:x"), filepath.Join(dir, "top")
	r.Overlay.Layers = []string{low, top}
	for _, d := range []string{r.Path, r.Overlay.Upper, r.Overlay.Work, low + "/bin", top + "/etc"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for path, text := range map[string]string{low + "/bin/busybox": string(box), low + "/file": "low", top + "/file": "top", top + "/etc/passwd": "root:x:0:0::/:/bin/sh\n"} {
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"sh", "cat", "ls", "sleep", "mount", "stat", "touch", "echo", "test", "readlink", "pwd"} {
		if err := os.Symlink("busybox", filepath.Join(low, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// mounts counts the mounts of this process's namespace below a folder.
func mounts(t testing.TB, below string) []string {
	t.Helper()
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(raw)) {
		if at := strings.Fields(line)[4]; strings.HasPrefix(at, below) {
			out = append(out, at)
		}
	}
	return out
}

func (s *site) rooted(id, text string, r *Root) Spec {
	return Spec{ID: id, Path: "sh", Args: []string{"sh", "-c", text}, Env: []string{"PATH=/usr/bin:/bin"}, Dir: "/work",
		Stdout: s.dir + "/" + id + ".out", Stderr: s.dir + "/" + id + ".err", Root: r}
}

func (s *site) ended(id string) Task {
	s.t.Helper()
	var out Task
	s.eventually(id+" ends", func() bool {
		all, err := s.c.List(s.ctx)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, t := range all {
			if t.ID == id && t.Exit != nil {
				out = t
				return true
			}
		}
		return false
	})
	return out
}

// mesos-agent.md 7.6: a task lives in its image alone, with its own /proc, /sys and /dev.
func TestRoot(t *testing.T) {
	s := newSite(t)
	r := tinyRoot(t, s.dir)
	host := filepath.Join(s.dir, "host")
	if err := os.MkdirAll(host, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(host+"/there", []byte("from the host\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	// Links of the image count from its root: this one must not lead to the host's /etc.
	if err := os.Symlink("/etc", r.Overlay.Layers[1]+"/evil"); err != nil {
		t.Fatal(err)
	}
	spec := s.rooted("t", `pwd; cat /file; echo; ls /; cat /data/there; touch /data/x 2>/dev/null && echo written
		cat /etc/sub/there; touch /mine && echo mine; ls /dev; cat /dev/null; echo hi > /dev/stderr
		test -c /dev/urandom && echo device; ls /proc/1/ >/dev/null && echo proc; touch /proc/sys/x 2>/dev/null || echo sys
		ls /sys/kernel >/dev/null && echo sysfs; touch /dev/shm/x && echo shm; readlink /dev/ptmx; stat -c %a /dev/null
		for d in / /dev /dev/shm /mine.d; do /bin/busybox mknod $d/node c 1 5 && cat $d/node 2>/dev/null && echo "device in $d"; done; (echo -n > /dev/tty) 2>/dev/null
		echo x > /dev/full 2>/dev/null || echo full`, r)
	own := filepath.Join(s.dir, "own")
	if err := os.MkdirAll(own, 0o755); err != nil {
		t.Fatal(err)
	}
	spec.Mounts = []Mount{
		{Source: own, Target: "/mine.d", Within: own},
		{Source: host, Target: "/data", ReadOnly: true},
		{Source: host + "/there", Target: "/evil/sub/there"},
	}
	if _, err := s.c.Start(s.ctx, spec); err != nil {
		t.Fatal(err)
	}
	if e := s.ended("t").Exit; e.Status != 0 {
		t.Fatalf("exit %+v: %s", e, s.file("t.err"))
	}
	const want = "/work\ntop\nbin\ndata\ndev\netc\nevil\nfile\nmine.d\nproc\nsys\nwork\nfrom the host\nfrom the host\nmine\n" +
		"fd\nfull\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\ndevice\nproc\nsys\nsysfs\nshm\npts/ptmx\n666\nfull\n"
	if got := s.file("t.out"); got != want {
		t.Errorf("got:\n%s\nwant:\n%s\nstderr: %s", got, want, s.file("t.err"))
	}
	if s.file("t.err") != "hi\n" {
		t.Errorf("stderr: %q", s.file("t.err"))
	}
	if _, err := os.Stat("/etc/sub"); !os.IsNotExist(err) {
		t.Errorf("a link of the image led to the host's /etc: %v", err)
	}
	if left := mounts(t, s.dir); len(left) > 0 {
		t.Errorf("mounts on the host: %v", left)
	}
	for _, name := range []string{"mine", "work", "etc/sub/there"} {
		if _, err := os.Stat(filepath.Join(r.Overlay.Upper, name)); err != nil {
			t.Error(err)
		}
	}
}

// The tree itself, without layers; a program that is not there; a folder that is a file.
func TestRootWithoutLayers(t *testing.T) {
	s := newSite(t)
	r := tinyRoot(t, s.dir)
	plain := &Root{Path: r.Overlay.Layers[0]}
	if _, err := s.c.Start(s.ctx, s.rooted("t", "cat /file", plain)); err != nil {
		t.Fatal(err)
	}
	if e := s.ended("t").Exit; e.Status != 0 || s.file("t.out") != "low" {
		t.Errorf("exit %+v, %q, %s", e, s.file("t.out"), s.file("t.err"))
	}
	gone := s.rooted("gone", "", plain)
	gone.Path, gone.Args = "ps", nil // the host has one
	if _, err := s.c.Start(s.ctx, gone); err != nil {
		t.Fatal(err)
	}
	if e := s.ended("gone").Exit; e.Status != 1<<8 || s.file("gone.err") != "Failed to execute 'ps': No such file or directory\n" {
		t.Errorf("exit %+v, %q", e, s.file("gone.err"))
	}
	file := s.rooted("file", "true", plain)
	file.Dir = "/file"
	if _, err := s.c.Start(s.ctx, file); fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), "working directory") {
		t.Errorf("error %v", err)
	}
	for _, bad := range []Spec{
		{Root: &Root{Path: "/"}},
		{Root: &Root{Path: s.dir, Overlay: &Overlay{}}},
		{Root: &Root{Path: s.dir, Overlay: &Overlay{Layers: []string{"/x"}}}},
		{Inside: "t", Root: plain},
		{Mounts: []Mount{{Source: "/x", Target: "/"}}},
		{Mounts: []Mount{{Source: "x", Target: "/y"}}},
		{Mounts: []Mount{{Target: "/y", Overlay: &Overlay{Layers: []string{"x"}}, ReadOnly: true}}},
	} {
		spec := s.rooted("bad", "true", bad.Root)
		spec.Mounts, spec.Inside = bad.Mounts, bad.Inside
		if _, err := s.c.Start(s.ctx, spec); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// A source that a task owns may not lead out of its folder.
func TestMountWithin(t *testing.T) {
	s := newSite(t)
	r := tinyRoot(t, s.dir)
	box := filepath.Join(s.dir, "box")
	if err := os.MkdirAll(box+"/sub", 0o755); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"out": "/etc", "up": "../..", "in": "sub"} {
		if err := os.Symlink(to, filepath.Join(box, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(box+"/sub/file", []byte("inside"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		source string
		ok     bool
	}{{"in", true}, {"sub", true}, {"out", false}, {"up", false}, {"../box", false}} {
		id := "t" + strings.ReplaceAll(c.source, "/", "_")
		spec := s.rooted(id, "cat /v/file", r)
		spec.Mounts = []Mount{{Source: box + "/" + c.source, Target: "/v", Within: box}}
		if c.source == "../box" {
			spec.Mounts[0].Source = s.dir + "/boxer"
		}
		_, err := s.c.Start(s.ctx, spec)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.source, err)
		}
		if err == nil {
			if e := s.ended(id).Exit; e.Status != 0 || s.file(id+".out") != "inside" {
				t.Errorf("%s: %+v %q", c.source, e, s.file(id+".err"))
			}
		}
		// An overlay's upper folder belongs to one mount at a time.
		os.RemoveAll(r.Overlay.Work)
		os.RemoveAll(r.Overlay.Upper)
		os.MkdirAll(r.Overlay.Work, 0o755)
		os.MkdirAll(r.Overlay.Upper, 0o755)
	}
}

// mesos-agent.md 3.7: a session sees what its task sees, also one that a new keeper adopted.
func TestInside(t *testing.T) {
	s := newSite(t)
	r := tinyRoot(t, s.dir)
	if _, err := s.c.Start(s.ctx, s.rooted("t", "echo secret > /mine; sleep 1000", r)); err != nil {
		t.Fatal(err)
	}
	inside := s.rooted("in", "pwd; until test -s /mine; do sleep 0.01; done; cat /mine /file", nil)
	inside.Inside, inside.Dir = "t", "/work"
	if _, err := s.c.Start(s.ctx, inside); err != nil {
		t.Fatal(err)
	}
	if e := s.ended("in").Exit; e.Status != 0 || s.file("in.out") != "/work\nsecret\ntop" {
		t.Errorf("%+v %q %q", e, s.file("in.out"), s.file("in.err"))
	}
	info, err := s.c.Info(s.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(info.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.eventually("the keeper is dead", func() bool { return !alive(info.PID) })
	s.c.Close()
	s.c = s.dial()
	inside.ID, inside.Stdout = "again", s.dir+"/again.out"
	if _, err := s.c.Start(s.ctx, inside); err != nil {
		t.Fatal(err)
	}
	if e := s.ended("again").Exit; e.Status != 0 || s.file("again.out") != "/work\nsecret\ntop" {
		t.Errorf("%+v %q", e, s.file("in.err"))
	}
	if left := mounts(t, s.dir); len(left) > 0 {
		t.Errorf("mounts on the host: %v", left)
	}
	if err := s.c.Kill(s.ctx, "t", 0); err != nil {
		t.Fatal(err)
	}
	s.ended("t")
	inside.ID = "late"
	if _, err := s.c.Start(s.ctx, inside); fault.KindOf(err) != fault.NotFound {
		t.Errorf("inside a task that has ended: %v", err)
	}
}

// Shared: what the host mounts later appears in the task, and the other way round.
func TestSharedMount(t *testing.T) {
	s := newSite(t)
	r := tinyRoot(t, s.dir)
	peer := filepath.Join(s.dir, "peer")
	if err := os.MkdirAll(peer+"/a", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", peer, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = unix.Unmount(peer+"/b", unix.MNT_DETACH)
		_ = unix.Unmount(peer, unix.MNT_DETACH)
	}()
	if err := unix.Mount("", peer, "", unix.MS_SHARED, ""); err != nil {
		t.Fatal(err)
	}
	spec := s.rooted("t", "cd /peer; /bin/busybox mkdir b; mount -t tmpfs none b; touch b/made; sleep 1000", r)
	spec.Mounts = []Mount{{Source: peer, Target: "/peer", Shared: true}}
	if _, err := s.c.Start(s.ctx, spec); err != nil {
		t.Fatal(err)
	}
	s.eventually("the task's mount is seen here", func() bool {
		_, err := os.Stat(peer + "/b/made")
		return err == nil
	})
}

// A thread whose root is no mount point, as in a chroot, gets its mount namespace too,
// and a root file system.
func TestStageInChroot(t *testing.T) {
	dir := t.TempDir()
	r := tinyRoot(t, dir)
	cell := filepath.Join(dir, "cell")
	for _, d := range []string{cell + "/proc", cell + "/bin", cell + "/v", cell + "/src", cell + "/r", cell + "/dev"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{cell + "/src/f", cell + "/dev/null"} {
		if err := os.WriteFile(f, []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(r.Overlay.Layers[0], cell+"/low"); err != nil {
		t.Fatal(err)
	}
	var failed error
	step := func(err error) bool {
		if failed == nil {
			failed = err
		}
		return failed == nil
	}
	for _, rooted := range []bool{false, true} {
		spaces.OnThread(func() {
			// What is mounted for the chroot itself stays on this thread.
			if !step(unix.Unshare(unix.CLONE_NEWNS)) || !step(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")) ||
				!step(unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "")) ||
				!step(unix.Mount("proc", cell+"/proc", "proc", 0, "")) || !step(unix.Chroot(cell)) || !step(unix.Chdir("/")) {
				return
			}
			spec := &Spec{Dir: "/", Mounts: []Mount{{Source: "/src", Target: "/v", ReadOnly: true}}}
			if rooted {
				spec.Root, spec.Dir = &Root{Path: "/low"}, "/w"
			}
			if !step(setStage(spec, "")) {
				return
			}
			_, err := os.Stat("/v/f")
			step(err)
			if rooted {
				_, err = os.Stat("/bin/busybox")
				step(err)
			}
		})
		if failed != nil {
			t.Fatalf("root %v: %v", rooted, failed)
		}
	}
	if left := mounts(t, dir); len(left) > 0 {
		t.Errorf("mounts on the host: %v", left)
	}
}

// After many tasks with roots, some of which never ran, the keeper holds what it held before.
func TestRootsLeaveNothing(t *testing.T) {
	s := newSite(t)
	r := tinyRoot(t, s.dir)
	info, err := s.c.Info(s.ctx)
	if err != nil {
		t.Fatal(err)
	}
	count := func(what string) int {
		entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/%s", info.PID, what))
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	run := func(n int) {
		for i := range n {
			id := fmt.Sprintf("t%d", i)
			spec := s.rooted(id, "true", &Root{Path: r.Overlay.Layers[0]})
			spec.Mounts = []Mount{{Source: s.dir, Target: "/data"}, {Source: "/etc/hosts", Target: "/etc/hosts", ReadOnly: true}}
			if i%4 == 3 {
				spec.Mounts[0].Source = "/no/such/folder"
			}
			_, err := s.c.Start(s.ctx, spec)
			if (err != nil) != (i%4 == 3) {
				t.Fatalf("%s: %v", id, err)
			}
			if err == nil {
				s.ended(id)
				if err := s.c.Forget(s.ctx, id); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	run(8) // what is made at the first use
	fds, threads := count("fd"), count("task")
	run(60)
	s.eventually("descriptors and threads as before", func() bool { return count("fd") <= fds && count("task") <= threads+4 })
	if left := mounts(t, s.dir); len(left) > 0 {
		t.Errorf("mounts on the host: %v", left)
	}
}

// BenchmarkRoot starts and ends processes in overlays of their own, 16 at a time.
func BenchmarkRoot(b *testing.B) {
	s := newSite(b)
	r := tinyRoot(b, s.dir)
	var n atomic.Int64
	b.SetParallelism(8)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			id := fmt.Sprintf("t%d", n.Add(1))
			own := &Root{Path: r.Path, Overlay: &Overlay{Layers: r.Overlay.Layers, Upper: filepath.Join(s.dir, id, "u"), Work: filepath.Join(s.dir, id, "w")}}
			for _, d := range []string{own.Overlay.Upper, own.Overlay.Work} {
				if err := os.MkdirAll(d, 0o755); err != nil {
					b.Error(err)
				}
			}
			spec := s.rooted(id, "", own)
			spec.Path, spec.Args = "/bin/busybox", []string{"true"}
			if _, err := s.c.Start(s.ctx, spec); err != nil {
				b.Error(err)
			}
		}
	})
}
