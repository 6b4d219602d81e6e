package crash

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
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

// A step may kill others, with or without the process that comes to it.
func TestOthersAreKilled(t *testing.T) {
	dir := t.TempDir()
	for _, too := range []bool{false, true} {
		victim := exec.Command("sleep", "1000")
		if err := victim.Start(); err != nil {
			t.Fatal(err)
		}
		names := strconv.Itoa(victim.Process.Pid)
		script := `printf "%s" "` + names + `" > "$CRASH_TEST/step"; exec "$0"`
		if too { // the shell's number is the program's
			script = `printf "%s %s" $$ "` + names + `" > "$CRASH_TEST/step"; exec "$0"`
		}
		cmd := exec.Command("sh", "-c", script, os.Args[0])
		cmd.Env = append(os.Environ(), "CRASH_TEST="+dir)
		_ = cmd.Run()
		if s := cmd.ProcessState.Sys().(syscall.WaitStatus); s.Signaled() != too {
			t.Errorf("too %v: the process itself ended with %v", too, cmd.ProcessState)
		}
		_ = victim.Wait()
		if s := victim.ProcessState.Sys().(syscall.WaitStatus); !s.Signaled() || s.Signal() != syscall.SIGKILL {
			t.Errorf("too %v: the other ended with %v", too, victim.ProcessState)
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	}
}

// A step may be held: whoever comes to it waits for the test, and dies then or goes on.
func TestStepIsHeld(t *testing.T) {
	for text, dies := range map[string]bool{"hold": false, "hold self": true} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "step"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "CRASH_TEST="+dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		held := filepath.Join(dir, "step.held")
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			if _, err := os.Stat(held); err == nil {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%q: nobody came to the step", text)
			}
		}
		if err := syscall.Kill(cmd.Process.Pid, 0); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if err := os.Remove(held); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if s := cmd.ProcessState.Sys().(syscall.WaitStatus); s.Signaled() != dies || !dies && s.ExitStatus() != 0 {
			t.Errorf("%q: it ended with %v", text, cmd.ProcessState)
		}
	}
}
