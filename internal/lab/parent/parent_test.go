package parent

import (
	"io"
	"os/exec"
	"runtime"
	"testing"
)

// A child stays when the thread of the goroutine that asked for it ends.
func TestChildrenOutliveThreads(t *testing.T) {
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		started <- Start(cmd)
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(in, "lives"); err != nil {
		t.Fatal(err)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(out); err != nil || string(got) != "lives" {
		t.Errorf("%q %v", got, err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
