package script

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// run carries a script out and gives what it said through Report, its output and its end.
func run(t *testing.T, s *Script, more ...*os.File) (said []byte, out string, status syscall.WaitStatus) {
	t.Helper()
	f, err := s.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	cmd.Args = []string{"script"}
	cmd.ExtraFiles = append([]*os.File{w}, more...)
	var b strings.Builder
	cmd.Stdout, cmd.Stderr = &b, &b
	err = cmd.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if said, err = io.ReadAll(r); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	return said, b.String(), cmd.ProcessState.Sys().(syscall.WaitStatus)
}

func (s *Script) say(text string) *Script {
	return s.Call("say", text, unix.SYS_WRITE, 1, uint64(s.Text(text)), uint64(len(text)))
}

func (s *Script) exit(code uint64) { s.Call("exit", "", unix.SYS_EXIT_GROUP, code) }

// fail adds a call that answers EBADF.
func (s *Script) fail() *Script { return s.Call("close", "descriptor 999", unix.SYS_CLOSE, 999) }

func TestCalls(t *testing.T) {
	s := new(Script)
	s.say("a ")
	s.fail().OrNot()
	s.say("b ")
	s.fail().OrElse(unix.EINVAL, unix.EPERM, unix.EBADF)
	s.say("c ")
	s.fail().OrSkip(2, unix.EBADF)
	s.say("never ")
	s.say("never ")
	s.say("d ")
	s.Call("close", "", unix.SYS_FCNTL, 1, unix.F_GETFD).OrSkip(1, unix.EBADF)
	s.say("e")
	s.exit(5)
	said, out, status := run(t, s)
	if len(said) > 0 || out != "a b c d e" || status.ExitStatus() != 5 {
		t.Errorf("%q %q %v", said, out, status)
	}
}

func TestFailureIsNamed(t *testing.T) {
	s := new(Script)
	s.say("a")
	s.fail().OrElse(unix.EINVAL)
	s.exit(0)
	said, out, status := run(t, s)
	step, err, program := s.Failed(said)
	if out != "a" || status.ExitStatus() != 1 || step != "close" || program || err.Error() != "descriptor 999: bad file descriptor" {
		t.Errorf("%q %v: %s, %v, %v", out, status, step, err, program)
	}
	if step, err, _ := s.Failed([]byte("something")); step != "script" || !strings.Contains(err.Error(), "something") {
		t.Errorf("%s: %v", step, err)
	}
	for _, address := range []uint64{0, base, 1 << 40, base + dataAt + uint64(len(s.data)) + 1} {
		said := binary.NativeEndian.AppendUint64(binary.NativeEndian.AppendUint64(nil, address), 1)
		if step, err, _ := s.Failed(said); step != "script" || err == nil {
			t.Errorf("%#x: %s: %v", address, step, err)
		}
	}
}

func TestExec(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"closed": 0o644, "good": 0o755} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\necho $0 $1 $V\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	closed, good, missing := dir+"/closed", dir+"/good", dir+"/missing"
	for name, c := range map[string]struct {
		paths []string
		out   string
		errno syscall.Errno
	}{
		"one":              {[]string{good}, good + " x y\n", 0},
		"second":           {[]string{missing, closed, good + "/x", dir, good}, good + " x y\n", 0},
		"missing":          {[]string{missing}, "", unix.ENOENT},
		"all missing":      {[]string{missing, missing}, "", unix.ENOENT},
		"none may":         {[]string{missing, closed, missing}, "", unix.EACCES},
		"one that may not": {[]string{closed}, "", unix.EACCES},
		"nothing to try":   {nil, "", unix.ENOENT},
	} {
		s := new(Script)
		s.Call("cloexec", "", unix.SYS_FCNTL, Report, unix.F_SETFD, unix.FD_CLOEXEC)
		s.Exec(c.paths, []string{"sh", "x"}, []string{"V=y", "PATH=/bin:/usr/bin"})
		said, out, status := run(t, s)
		if out != c.out {
			t.Errorf("%s: %q", name, out)
		}
		if c.errno == 0 {
			if len(said) > 0 || status.ExitStatus() != 0 {
				t.Errorf("%s: %q %v", name, said, status)
			}
			continue
		}
		if step, err, program := s.Failed(said); step != "exec" || err != c.errno || !program {
			t.Errorf("%s: %s, %v, %v", name, step, err, program)
		}
	}
}

// A process 1 in all but the namespace: it passes signals on, collects its child, and says
// how that ended.
func TestFirst(t *testing.T) {
	for text, want := range map[string]struct {
		status syscall.WaitStatus
		code   int
	}{
		"exit 3":                    {3 << 8, 3},
		"kill -9 $$":                {9, 128 + 9},
		"(true & exec true) & wait": {0, 0},
		"trap 'exit 4' HUP; kill -HUP $PPID; while :; do sleep 0.01; done": {4 << 8, 4},
	} {
		file, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		s := new(Script)
		all, none := s.Words(^uint64(0)), s.Words(0)
		s.Call("signals", "", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uint64(all), 0, 8)
		s.Fork()
		s.First(4, all)
		s.Child()
		s.Call("signals", "", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uint64(none), 0, 8)
		s.Exec([]string{"/bin/sh"}, []string{"sh", "-c", text}, []string{"PATH=/bin:/usr/bin"})
		_, _, status := run(t, s, file)
		raw, err := os.ReadFile(file.Name())
		if err != nil || len(raw) != 4 || syscall.WaitStatus(binary.NativeEndian.Uint32(raw)) != want.status || status.ExitStatus() != want.code {
			t.Errorf("%s: % x %v, ended with %v", text, raw, err, status)
		}
	}
}

func TestCodeFits(t *testing.T) {
	if n := len(code()); n < 100 || n > dataAt-8-codeAt {
		t.Errorf("%d bytes of machine code", n)
	}
	if len(header(0)) != codeAt {
		t.Errorf("header of %d bytes", len(header(0)))
	}
}
