package fetch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stoa-project/stoa/agent/container/cgroup"
	"github.com/stoa-project/stoa/agent/fetch/carry"
	"github.com/stoa-project/stoa/agent/sandbox"
	"github.com/stoa-project/stoa/internal/fault"
)

// process is one that fetches.
type process struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stderr head
	ended  chan error // what Wait said
}

// start makes a process of owner in a group (nil: none), with its end of the socket and
// the sandbox's folder. It waits to be told.
func start(owner sandbox.Owner, home *group, socket, folder *os.File, out io.Writer) (*process, error) {
	keepDescriptors()
	p := &process{ended: make(chan error, 1)}
	// By this link it is the binary that this process is, also when another one has taken
	// its place on the disk.
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{carry.Name, folder.Name()}
	// The rest is told: other processes can read it here. Most processes end before a heap of
	// this size is worth collecting; Limits.Memory bounds it.
	cmd.Env = []string{"GOTRACEBACK=single", "GOGC=400"}
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = out, &p.stderr
	cmd.ExtraFiles = []*os.File{socket, folder} // carry.SocketFD, carry.FolderFD
	cmd.WaitDelay = 5 * time.Second             // for who has inherited stdout
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if owner != sandbox.Self() && os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(owner.UID), Gid: uint32(owner.GID), Groups: groupsOf(owner)}
	}
	v2, err := home.birthplace(cmd.SysProcAttr)
	if err == nil {
		p.stdin, err = cmd.StdinPipe()
	}
	if err != nil {
		return nil, fault.New("fetch", fault.Unavailable, "process", err)
	}
	p.cmd = cmd
	started := make(chan error)
	go func() { // ends with the process
		// The process ends with this thread, which therefore lives as long, and it inherits
		// that it gains no rights by what it executes, which this thread then cannot
		// lose: it is never unlocked.
		runtime.LockOSThread()
		err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
		if err == nil {
			err = cmd.Start()
		}
		started <- err
		if err == nil {
			p.ended <- cmd.Wait()
		}
	}()
	err = <-started
	if v2 != nil {
		v2.Close()
	}
	if err != nil {
		p.stdin.Close()
		return nil, fault.New("fetch", fault.Unavailable, "process", err)
	}
	if err := home.join(cmd.Process.Pid); err != nil {
		p.kill()
		p.wait()
		return nil, fault.New("fetch", fault.Unavailable, "process", err)
	}
	return p, nil
}

// tell gives the process what it waits for.
func (p *process) tell(r carry.Request) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = p.stdin.Write(raw)
	if cerr := p.stdin.Close(); err == nil {
		err = cerr
	}
	if errors.Is(err, syscall.EPIPE) {
		return nil // it has ended, and that is seen
	}
	return err
}

func (p *process) kill() { _ = p.cmd.Process.Kill() }

// wait gives the process a moment to end, and kills it then. What cannot be killed, in a
// wait for a disk, is left to the kernel.
func (p *process) wait() ending {
	defer p.stdin.Close()
	for _, patience := range []time.Duration{5 * time.Second, 10 * time.Second} {
		select {
		case err := <-p.ended:
			return ending{state: p.cmd.ProcessState, err: err, said: p.stderr.String()}
		case <-time.After(patience):
			p.kill()
		}
	}
	return ending{err: errors.New("it cannot be killed")}
}

// ending is how a process ended.
type ending struct {
	state *os.ProcessState // nil: it has not
	err   error
	said  string // by the Go runtime
}

// hungry tells whether the process got no more memory.
func (e ending) hungry() bool {
	return e.state != nil && !e.state.Success() && (strings.Contains(e.said, "out of memory") || strings.Contains(e.said, "cannot allocate memory"))
}

// String gives the status, and the line that tells the cause where there is one.
func (e ending) String() string {
	text := fmt.Sprint(e.err)
	if e.state != nil {
		text = e.state.String()
	}
	for line := range strings.Lines(e.said) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "panic:") || strings.HasPrefix(line, "fatal error:") || strings.HasPrefix(line, "SIG") {
			return text + " (" + line + ")"
		}
	}
	return text
}

// birthplace has a process born in its group of version 2, where there is one; the file
// is to be closed after.
func (g *group) birthplace(attr *syscall.SysProcAttr) (*os.File, error) {
	folders := g.folders(true)
	if len(folders) == 0 {
		return nil, nil
	}
	dir, err := os.Open(folders[0])
	if err != nil {
		return nil, err
	}
	attr.UseCgroupFD, attr.CgroupFD = true, int(dir.Fd())
	return dir, nil
}

// folders lists those of a group that are of version 2, of which there is one, or those
// that are not.
func (g *group) folders(v2 bool) (out []string) {
	if g == nil {
		return nil
	}
	for _, dir := range g.driver.Join(g.id) {
		if cgroup.IsV2(dir) == v2 {
			out = append(out, dir)
		}
	}
	return out
}

// join moves a process into its groups of version 1, with all its threads. It has no
// children yet.
func (g *group) join(pid int) error {
	for _, dir := range g.folders(false) {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
			return err
		}
	}
	return nil
}

// groupsOf are the supplementary groups of a user of this host, as its tasks have them.
// A user that the host does not know by these numbers has none.
func groupsOf(owner sandbox.Owner) (out []uint32) {
	u, err := user.LookupId(strconv.Itoa(owner.UID))
	if err != nil || u.Gid != strconv.Itoa(owner.GID) {
		return nil
	}
	ids, err := u.GroupIds()
	if err != nil {
		return nil
	}
	for _, s := range ids {
		if n, err := strconv.ParseUint(s, 10, 32); err == nil {
			out = append(out, uint32(n))
		}
	}
	return out
}

// keepDescriptors keeps what this process was given open beside stdin, stdout and stderr
// from its children; what Go opens is not inherited anyway.
var keepDescriptors = sync.OnceFunc(func() {
	_ = unix.CloseRange(3, 1<<31-1, unix.CLOSE_RANGE_CLOEXEC) // needs Linux 5.11
})

// head keeps the first bytes of what is written to it.
type head struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (h *head) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.b.Write(p[:min(len(p), 8<<10-h.b.Len())])
	return len(p), nil
}

func (h *head) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.b.String()
}
