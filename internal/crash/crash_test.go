package crash

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

func TestMain(m *testing.M) {
	if folder := os.Getenv("CRASH_TEST"); folder != "" {
		Arm(folder)
		Here("other")
		Here("step")
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestCrashHappensOnce(t *testing.T) {
	dir := t.TempDir()
	run := func() *os.ProcessState {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "CRASH_TEST="+dir)
		_ = cmd.Run()
		return cmd.ProcessState
	}
	if s := run(); !s.Success() {
		t.Errorf("without a file: %v", s)
	}
	if err := os.WriteFile(filepath.Join(dir, "step"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if s := run().Sys().(syscall.WaitStatus); !s.Signaled() || s.Signal() != syscall.SIGKILL {
		t.Errorf("with a file: %v", s)
	}
	if s := run(); !s.Success() {
		t.Errorf("the second time: %v", s)
	}
	Here("step") // not armed: nothing
}
