package lab

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/lab/parent"
)

// Process is one started program. Its output is kept and shown when the test fails.
type Process struct {
	Name string
	cmd  *exec.Cmd
	out  *output
	done chan struct{} // closed when it has ended
}

// output collects what a process prints, up to a bound.
type output struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

const outputLimit = 4 << 20

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.buf.Len() < outputLimit {
		o.buf.Write(p)
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// Start runs a program until the test ends, when it is terminated and waited for.
// The folder of stoa-demo is put on its PATH, for the tasks.
func Start(t testing.TB, name, path string, args ...string) *Process {
	t.Helper()
	p := &Process{Name: name, out: &output{}, done: make(chan struct{})}
	p.cmd = exec.Command(path, args...)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(Demo(t))+":"+os.Getenv("PATH"))
	// Not in the test's process group: a signal to the test must not reach it first.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// A child that outlives the program and holds its output must not block Wait.
	p.cmd.WaitDelay = 2 * time.Second
	if err := parent.Start(p.cmd); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.Stop(t)
		if t.Failed() {
			t.Logf("---- %s %s\n%s", name, strings.Join(args, " "), tail(p.out.String(), 16<<10))
		}
	})
	return p
}

// tail gives the last n bytes of s, from a line's beginning.
func tail(s string, n int) string {
	if len(s) <= n {
		return s
	}
	s = s[len(s)-n:]
	return "…" + s[strings.IndexByte(s, '\n')+1:]
}

// PID gives the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Output gives what was printed so far, both streams mixed.
func (p *Process) Output() string { return p.out.String() }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// ExitCode gives the exit status after Done; -1 when a signal ended it.
func (p *Process) ExitCode() int { return p.cmd.ProcessState.ExitCode() }

// Kill sends SIGKILL and waits.
func (p *Process) Kill(t testing.TB) {
	t.Helper()
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Stop sends SIGTERM and waits; after 20 s it kills and fails the test.
func (p *Process) Stop(t testing.TB) {
	t.Helper()
	select {
	case <-p.done:
		return
	default:
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
		t.Errorf("%s did not stop within 20 s of SIGTERM", p.Name)
	}
}

// AwaitOutput waits until the process has printed text.
func (p *Process) AwaitOutput(t testing.TB, within time.Duration, text string) {
	t.Helper()
	Eventually(t, within, p.Name+" prints "+text, func() error {
		if strings.Contains(p.Output(), text) {
			return nil
		}
		select {
		case <-p.done:
			t.Fatalf("%s ended with code %d before it printed %q:\n%s", p.Name, p.ExitCode(), text, tail(p.Output(), 16<<10))
		default:
		}
		return fmt.Errorf("not printed")
	})
}

// Alive tells whether a process id exists and is no zombie.
func Alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	// The state letter follows the command's closing parenthesis.
	rest := string(stat[bytes.LastIndexByte(stat, ')')+1:])
	return !strings.HasPrefix(rest, " Z")
}

// PIDsWithEnv gives the processes whose initial environment holds the entry.
func PIDsWithEnv(entry string) []int {
	var out []int
	dirs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, f := range dirs {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // ended, or not ours to read
		}
		for _, e := range bytes.Split(b, []byte{0}) {
			if string(e) == entry {
				pid, _ := strconv.Atoi(strings.Split(f, "/")[2])
				out = append(out, pid)
			}
		}
	}
	return out
}
