package sandbox

import (
	"bytes"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// A task that swaps a folder for a link while it is looked into shows nothing of what the
// link leads to: neither content nor sizes (mesos-agent.md 6.5, reliability D.3 34).
func TestSwappedFolderShowsNothing(t *testing.T) {
	run, _ := box(t)
	secret := t.TempDir()
	for dir, text := range map[string][]byte{filepath.Join(run, "data"): []byte("own"), secret: bytes.Repeat([]byte("secret"), 1000)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "file"), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(secret, filepath.Join(run, "link")); err != nil {
		t.Fatal(err)
	}
	f := NewFiles()
	f.Attach("/x", run)
	stop := make(chan struct{})
	var swapping sync.WaitGroup
	swapping.Go(func() {
		for {
			select {
			case <-stop:
				return
			default: // both names always exist, and each is now one, now the other
				_ = unix.Renameat2(unix.AT_FDCWD, filepath.Join(run, "data"), unix.AT_FDCWD, filepath.Join(run, "link"), unix.RENAME_EXCHANGE)
			}
		}
	})
	defer swapping.Wait()
	defer close(stop)
	own, refused := 0, 0
	for i := 0; i < 3000 || (own == 0 || refused == 0) && i < 300_000; i++ {
		data, _, err := f.Read("/x/data/file", 0, -1)
		switch {
		case err != nil:
			refused++
		case string(data) == "own":
			own++
		default:
			t.Fatalf("read %d bytes of what the link leads to", len(data))
		}
		if file, info, err := f.Open("/x/data/file"); err == nil {
			file.Close()
			if info.Size() != 3 {
				t.Fatalf("opened a file of %d bytes", info.Size())
			}
		}
		items, err := f.Browse("/x/data")
		for _, e := range items {
			if err == nil && e.Size != 3 {
				t.Fatalf("listed %+v", e)
			}
		}
	}
	if own == 0 || refused == 0 {
		t.Errorf("%d reads of the folder, %d of the link: nothing was swapped", own, refused)
	}
}

// A sandbox is made whatever the garbage collector removes of its empty parents meanwhile.
func TestParentsAreRemovedMeanwhile(t *testing.T) {
	base := t.TempDir()
	frameworks := filepath.Join(base, "slaves", "S", "frameworks")
	stop := make(chan struct{})
	var removing sync.WaitGroup
	removing.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			for _, dir := range []string{"F/executors/E/runs", "F/executors/E", "F/executors", "F", ".", ".."} {
				_ = os.Remove(filepath.Join(frameworks, dir)) // only what is empty goes
			}
		}
	})
	defer removing.Wait()
	defer close(stop)
	for range 300 {
		run := filepath.Join(frameworks, "F/executors/E/runs/R")
		if err := Create(run, Self()); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{run, filepath.Join(filepath.Dir(run), "latest")} {
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
		}
	}
}
