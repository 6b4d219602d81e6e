package keeper

import (
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// pieces puts a rotated log together again, the oldest first, and gives the number of files.
func (s *site) pieces(name string) (string, int) {
	s.t.Helper()
	var all []string
	for n := 0; ; n++ {
		file := name
		if n > 0 {
			file = fmt.Sprintf("%s.%d", name, n)
		}
		raw, err := os.ReadFile(filepath.Join(s.dir, file))
		if err != nil {
			if f, gzErr := os.Open(filepath.Join(s.dir, file+".gz")); gzErr == nil {
				z, zErr := gzip.NewReader(f)
				if zErr == nil {
					raw, err = io.ReadAll(z)
				}
				f.Close()
			}
		}
		if err != nil {
			break
		}
		all = append([]string{string(raw)}, all...)
	}
	return strings.Join(all, ""), len(all)
}

// lines writes numbered lines of 50 bytes.
const lines = `i=0; while [ $i -lt $0 ]; do printf '%049d\n' $i; i=$((i+1)); done`

func numbered(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "%049d\n", i)
	}
	return b.String()
}

func TestLogsAreRotated(t *testing.T) {
	s := newSite(t)
	const max = 64 << 10
	for id, r := range map[string]Rotation{"plain": {Max: max, Files: 100}, "packed": {Max: max, Files: 100, Compress: true}} {
		spec := s.shell(id, lines+"; echo the end; while [ ! -e go ]; do sleep 0.02; done; echo after")
		spec.Args = append(spec.Args, "10000")
		spec.Logs = &Logs{Stdout: r}
		s.start(spec)
		s.eventually("rotated", func() bool {
			raw := s.file(id + ".out")
			return len(raw) <= max && strings.HasSuffix(raw, "the end\n")
		})
		s.eventually("all is in its place", func() bool { left, _ := filepath.Glob(s.dir + "/.*"); return len(left) == 0 })
		got, files := s.pieces(id + ".out")
		if want := numbered(0, 10000) + "the end\n"; got != want || files < 6 {
			t.Errorf("%s: %d bytes in %d files, want %d", id, len(got), files, len(want))
		}
	}
	if err := os.WriteFile(s.dir+"/go", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s.exits("plain", "packed")
	// The program went on writing to the same file.
	if got, _ := s.pieces("plain.out"); !strings.HasSuffix(got, "the end\nafter\n") {
		t.Errorf("after: %q", got[len(got)-20:])
	}
	if _, err := os.Stat(s.dir + "/packed.out.1.gz"); err != nil {
		t.Error(err)
	}
	s.noPieces()
}

// noPieces looks for files that are not in their place.
func (s *site) noPieces() {
	s.t.Helper()
	if left, _ := filepath.Glob(s.dir + "/.*"); len(left) > 0 {
		s.t.Errorf("left: %v", left)
	}
}

// TestOnlyTheNewestAreKept: so many files and no more, each of so many bytes at most.
func TestOnlyTheNewestAreKept(t *testing.T) {
	s := newSite(t)
	spec := s.shell("t", lines)
	spec.Args = append(spec.Args, "20000") // 1 MB
	spec.Logs = &Logs{Stdout: Rotation{Max: 16 << 10, Files: 3}, Stderr: Rotation{}}
	s.start(spec)
	s.exits("t")
	got, files := s.pieces("t.out")
	if files != 4 || !strings.HasSuffix(numbered(0, 20000), got) || len(got) < 3*16<<10 || len(got) > 4*16<<10+50 {
		t.Errorf("%d files of %d bytes", files, len(got))
	}
	entries, _ := os.ReadDir(s.dir)
	for _, e := range entries {
		if info, err := e.Info(); err == nil && strings.HasPrefix(e.Name(), "t.out") && info.Size() > 16<<10 {
			t.Errorf("%s has %d bytes", e.Name(), info.Size())
		}
	}
}

// TestRotationAfterTheKeeper: the successor goes on, and finishes what was begun.
func TestRotationAfterTheKeeper(t *testing.T) {
	s := newSite(t)
	spec := s.shell("t", lines+"; while [ ! -e go ]; do sleep 0.02; done; i=$0; while [ $i -lt 4000 ]; do printf '%049d\n' $i; i=$((i+1)); done; sleep 1000")
	spec.Args = append(spec.Args, "2000")
	const max = 32 << 10
	spec.Logs = &Logs{Stdout: Rotation{Max: max, Files: 100}}
	s.start(spec)
	s.eventually("rotated", func() bool {
		got, files := s.pieces("t.out")
		return got == numbered(0, 2000) && files > 3
	})
	s.killKeeper()
	// As if it had been killed between copying a piece and taking it out of the file.
	raw, err := os.ReadFile(s.dir + "/t.out")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		fmt.Sprintf(".t.out.rotating-%d-%d", 1000, len(raw)): string(raw[:1000]),
		".t.out.rotating-100000-200000":                      "not copied to its end",
	} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(s.dir+"/go", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := s.c.List(s.ctx); err != nil { // starts the successor
		t.Fatal(err)
	}
	want := numbered(0, 4000)
	s.eventually("rotated by the successor", func() bool {
		got, _ := s.pieces("t.out")
		info, err := os.Stat(s.dir + "/t.out")
		left, _ := filepath.Glob(s.dir + "/.*")
		return got == want && err == nil && info.Size() <= max && len(left) == 0
	})
	if got, _ := s.pieces("t.out"); got != want {
		t.Errorf("%d bytes, want %d", len(got), len(want))
	}
}

// TestPieceThatWasTakenOut: killed after the file's beginning was taken out, and before
// the piece was in its place.
func TestPieceThatWasTakenOut(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out")
	if err := os.WriteFile(path, []byte(numbered(200, 400)), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".out.rotating-8192-20000"), []byte(numbered(0, 200)[:8192]), 0o644); err != nil {
		t.Fatal(err)
	}
	spec := Spec{Stdout: path, Logs: &Logs{Stdout: Rotation{Max: 1 << 20, Files: 3}}}
	l := spec.rotated()[0]
	l.fresh = false
	if _, err := l.rotate(""); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path + ".1")
	if err != nil || string(raw) != numbered(0, 200)[:8192] {
		t.Errorf("%d bytes, %v", len(raw), err)
	}
}

// TestForeignFilesAreLeftAlone: a task may put another file, or a link, in its log's place.
func TestForeignFilesAreLeftAlone(t *testing.T) {
	dir := t.TempDir()
	path, other := filepath.Join(dir, "out"), filepath.Join(dir, "other")
	for _, p := range []string{path, other} {
		if err := os.WriteFile(p, []byte(numbered(0, 2000)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	l := (&Spec{Stdout: path, Logs: &Logs{Stdout: Rotation{Max: 4096, Files: 3}}}).rotated()[0]
	for _, put := range []func() error{
		func() error { return os.Symlink(other, path) },
		func() error { return os.Link(other, path) },
		func() error { return unix.Mkfifo(path, 0o600) },
	} {
		if err := os.Rename(path, path+".away"); err != nil {
			t.Fatal(err)
		}
		if err := put(); err != nil {
			t.Fatal(err)
		}
		if _, err := l.rotate(""); err == nil {
			t.Error("a foreign file was rotated")
		}
		if raw, _ := os.ReadFile(other); string(raw) != numbered(0, 2000) {
			t.Fatal("the other file was changed")
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".away", path); err != nil {
			t.Fatal(err)
		}
	}
	if size, err := l.rotate(""); err != nil || size > 4096 {
		t.Errorf("its own: %d %v", size, err)
	}
	if (&Spec{Stdout: path, Session: true, Logs: &Logs{Stdout: Rotation{Max: 1}}}).rotated() != nil {
		t.Error("a session has no log files")
	}
}

// TestRotationWithoutCollapse is for file systems that cannot take out a beginning: the
// writers stand still for the moment that matters, and no line is lost.
func TestRotationWithoutCollapse(t *testing.T) {
	needRoot(t)
	const freezers = "/sys/fs/cgroup/freezer"
	if _, err := os.Stat(freezers + "/cgroup.procs"); err != nil {
		t.Skip("no version 1 freezer here")
	}
	dir, err := os.MkdirTemp("/dev/shm", "stoa-rotate-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "out")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_COLLAPSE_RANGE, 0, 4096); err == nil {
		t.Skip("/dev/shm can take out a beginning")
	}
	l := (&Spec{Stdout: path, Logs: &Logs{Stdout: Rotation{Max: 16 << 10, Files: 100}}}).rotated()[0]
	group := freezers + "/stoa-test-" + filepath.Base(dir)
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(group)
	writer := exec.Command("sh", "-c", lines, "5000")
	writer.Stdout = f
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := os.WriteFile(group+"/cgroup.procs", []byte(strconv.Itoa(writer.Process.Pid)), 0); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- writer.Wait() }()
	ended := false
	for !ended {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			ended = true
		default:
		}
		if _, err := l.rotate(group); err != nil {
			t.Fatal(err)
		}
	}
	s := &site{t: t, dir: dir}
	got, files := s.pieces("out")
	if want := numbered(0, 5000); got != want || files < 2 {
		t.Errorf("%d bytes in %d files, want %d", len(got), files, len(want))
	}
	if err := os.WriteFile(path, []byte(numbered(0, 1000)), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := l.rotate(""); err == nil || !strings.Contains(err.Error(), "cgroups are needed") {
		t.Errorf("without a way to stop the writers: %v", err)
	}
	if raw, _ := os.ReadFile(path); string(raw) != numbered(0, 1000) {
		t.Error("the log was changed")
	}
}
