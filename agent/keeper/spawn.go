package keeper

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/stoa-project/stoa/agent/container/cgroup"
	"github.com/stoa-project/stoa/agent/container/spaces"
	"github.com/stoa-project/stoa/agent/container/tree"
	"github.com/stoa-project/stoa/agent/keeper/box"
	"github.com/stoa-project/stoa/agent/keeper/script"
	"github.com/stoa-project/stoa/internal/fault"
)

// spawner forks. Its goroutines are bound to threads of their own, which enter the
// namespaces that a child is to be born in.
type spawner struct {
	dir    string // marks the environment of this keeper's tasks
	jobs   chan spawnJob
	closed chan struct{}
	wg     sync.WaitGroup
	adj    *os.File   // oom_score_adj of the keeper; nil when there is none
	own    string     // the keeper's own oom_score_adj
	fork   sync.Mutex // held while a child may inherit another oom_score_adj from the keeper
}

type spawnJob struct {
	spec   *Spec
	io     *board // nil: plain files
	inside *Task  // whose namespaces are entered; nil: none
	joined *Task  // of which single namespaces are entered; nil: none
	done   chan<- spawned
}

// spawned is a forked process, or why there is none. notRun means that the program
// itself could not be executed.
type spawned struct {
	pid    int
	pidfd  int
	report *os.File       // what a process says that prepares itself before it becomes the program; nil for others
	script *script.Script // what it does
	says   *os.File       // the task's stderr, for await
	stderr *os.File       // the same when await is to close it
	notRun error
	err    error
}

// ownScore protects the keeper from the host's OOM killer; its children get 0.
const ownScore = "-900"

func newSpawner(dir string, threads int) *spawner {
	s := &spawner{dir: dir, jobs: make(chan spawnJob), closed: make(chan struct{})}
	if f, err := os.OpenFile("/proc/self/oom_score_adj", os.O_RDWR, 0); err == nil {
		s.adj, s.own = f, "0"
		if raw, err := io.ReadAll(io.LimitReader(f, 16)); err == nil {
			s.own = strings.TrimSpace(string(raw))
		}
		if _, err := f.WriteAt([]byte(ownScore), 0); err == nil {
			s.own = ownScore // without the right to it the host's default stays
		}
	}
	for range threads {
		s.wg.Add(1)
		go s.thread()
	}
	return s
}

func (s *spawner) close() {
	close(s.jobs)
	close(s.closed)
	s.wg.Wait()
	if s.adj != nil {
		s.adj.Close()
	}
}

// thread works off jobs. A thread that has entered a task's namespaces is of no use for
// others: it ends, another takes over.
func (s *spawner) thread() {
	defer s.wg.Done()
	runtime.LockOSThread()
	if unix.Gettid() == os.Getpid() {
		// The process's first thread cannot be given up, which a task's mounts need.
		s.wg.Add(1)
		go s.thread()
		<-s.closed
		runtime.UnlockOSThread()
		return
	}
	for job := range s.jobs {
		out, stuck := s.spawn(job)
		job.done <- out
		if stuck {
			s.wg.Add(1)
			go s.thread()
			return // still locked: the runtime ends the thread
		}
	}
	runtime.UnlockOSThread()
}

func (s *spawner) run(spec *Spec, io *board, inside, joined *Task) spawned {
	done := make(chan spawned, 1)
	s.jobs <- spawnJob{spec: spec, io: io, inside: inside, joined: joined, done: done}
	return <-done
}

func (s *spawner) spawn(job spawnJob) (out spawned, stuck bool) {
	const op = "keeper.start"
	spec, io := job.spec, job.io
	fail := func(kind fault.Kind, subject string, err error) (spawned, bool) {
		return spawned{err: fault.New(op, kind, subject, err)}, false
	}
	elsewhere := spec.Root != nil || job.inside != nil // Dir and Path are no paths of the host
	if err := isFolder(spec.Dir); err != nil && !elsewhere {
		return fail(fault.Invalid, "dir", err)
	}
	var files [3]*os.File
	if io != nil {
		files = io.child
	} else {
		var subject string
		var err error
		if files, subject, err = plainFiles(spec); err != nil {
			return fail(fault.Invalid, subject, err)
		}
		defer func() {
			for _, f := range files {
				if f != nil {
					f.Close()
				}
			}
		}()
	}
	stderr := files[2]

	pidfd := -1
	sys := &syscall.SysProcAttr{Setsid: true, PidFD: &pidfd}
	if u := spec.User; u != nil && (int(u.UID) != os.Getuid() || int(u.GID) != os.Getgid()) {
		sys.Credential = &syscall.Credential{Uid: u.UID, Gid: u.GID, Groups: u.Groups}
	}
	if spec.Terminal != nil {
		sys.Setctty, sys.Ctty = true, 0
	}
	args := spec.Args
	if len(args) == 0 {
		args = []string{spec.Path}
	}

	var groups []string // of version 1: the process enters them itself
	for _, dir := range spec.Cgroups {
		if !cgroup.IsV2(dir) {
			groups = append(groups, dir)
			continue
		}
		f, err := openAs(dir, os.O_RDONLY)
		if err != nil {
			return fail(fault.Unavailable, dir, err)
		}
		defer f.Close()
		sys.UseCgroupFD, sys.CgroupFD = true, int(f.Fd())
	}
	if spec.Network != "" {
		stuck = true
		if err := spaces.Network(spec.Network, spec.Hostname); err != nil {
			out, _ := fail(fault.Invalid, "network", err)
			return out, true
		}
	}
	var prepared boxed
	boxed := spec.Confine != nil || len(groups) > 0
	if boxed {
		var err error
		var entered bool
		prepared, entered, err = s.prepareBox(job, groups, args, sys.Credential != nil)
		stuck = stuck || entered
		defer prepared.close()
		if err != nil {
			out, _ := fail(fault.Unavailable, "preparation", err)
			return out, stuck
		}
	}
	if elsewhere || len(spec.Mounts) > 0 {
		stuck = true // the thread is in the task's namespaces from here on
		if err := enter(job, files); err != nil {
			out, _ := fail(fault.Invalid, "mounts", err)
			return out, true
		}
		if err := isFolder(spec.Dir); err != nil {
			out, _ := fail(fault.Invalid, "dir", err)
			return out, true
		}
	}
	if boxed {
		out = s.spawnBox(spec, &prepared, files, sys)
		if out.says = stderr; io == nil && out.err == nil {
			out.stderr, files[2] = stderr, nil
		}
		return out, stuck
	}
	program, notRun := box.LookPath(spec.Path, spec.Env, spec.Dir)
	if notRun != nil {
		box.SayNotRun(stderr, spec.Path, notRun)
		return spawned{pidfd: -1, notRun: notRun}, stuck
	}
	pid, err := s.forkExec(spec, program, args, &syscall.ProcAttr{
		Dir: spec.Dir, Env: markedEnv(spec.Env, s.dir, spec.ID),
		Files: []uintptr{files[0].Fd(), files[1].Fd(), files[2].Fd()}, Sys: sys,
	})
	switch {
	case err == nil:
	case isForkError(err):
		out, _ := fail(fault.Unavailable, spec.ID, fmt.Errorf("cannot start a process: %w", err))
		return out, stuck
	default:
		box.SayNotRun(stderr, spec.Path, err)
		return spawned{pidfd: -1, notRun: err}, stuck
	}
	if pidfd < 0 {
		if pidfd, err = unix.PidfdOpen(pid, 0); err != nil {
			_ = syscall.Kill(-pid, syscall.SIGKILL)
			_, _ = syscall.Wait4(pid, nil, 0, nil)
			return fail(fault.Unsupported, "pidfd", fmt.Errorf("%w: Linux 5.4 or newer is needed", err))
		}
	}
	return spawned{pid: pid, pidfd: pidfd}, stuck
}

// enter moves the calling thread to where the process is to live.
func enter(job spawnJob, files [3]*os.File) error {
	if t := job.inside; t != nil {
		return spaces.Enter(t.PID, t.Start)
	}
	terminal := ""
	if job.spec.Terminal != nil {
		terminal = files[0].Name()
	}
	return setStage(job.spec, terminal)
}

func isFolder(path string) error {
	info, err := os.Stat(path)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is not a folder", path)
	}
	return err
}

// plainFiles are /dev/null and the log files; on an error subject names the wrong one.
func plainFiles(spec *Spec) (files [3]*os.File, subject string, err error) {
	if files[0], err = os.Open(os.DevNull); err != nil {
		return files, os.DevNull, err
	}
	if files[1], err = regularForAppend(spec.Stdout, spec.User); err != nil {
		files[0].Close()
		return files, "stdout", err
	}
	if files[2], err = regularForAppend(spec.Stderr, spec.User); err != nil {
		files[0].Close()
		files[1].Close()
		return files, "stderr", err
	}
	return files, "", nil
}

// forkExec starts the program with the oom_score_adj that is wanted, the host's usual 0
// unless said otherwise.
func (s *spawner) forkExec(spec *Spec, program string, args []string, attr *syscall.ProcAttr) (int, error) {
	score := strconv.Itoa(spec.OOMScore)
	if s.adj == nil || s.own != ownScore && spec.OOMScore == 0 {
		return syscall.ForkExec(program, args, attr)
	}
	s.fork.Lock()
	defer s.fork.Unlock()
	_, _ = s.adj.WriteAt([]byte(score), 0)
	defer s.adj.WriteAt([]byte(s.own), 0)
	return syscall.ForkExec(program, args, attr)
}

// isForkError tells failures of the fork and of what precedes the exec from those of
// the program: the first are the host's, the second the task's.
func isForkError(err error) bool {
	for _, e := range []error{syscall.EAGAIN, syscall.ENOMEM, syscall.EPERM, syscall.EBUSY, syscall.EINVAL, syscall.EMFILE, syscall.ENFILE, syscall.ENODEV} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func mark(dir, id string) string { return dir + "/" + id }

// markedEnv adds the mark by which a task's processes are known; no other one counts.
func markedEnv(env []string, dir, id string) []string {
	out := make([]string, 0, len(env)+1)
	for _, v := range env {
		if !strings.HasPrefix(v, tree.Mark+"=") {
			out = append(out, v)
		}
	}
	return append(out, tree.Mark+"="+mark(dir, id))
}
