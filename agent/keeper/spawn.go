package keeper

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
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
	"github.com/stoa-project/stoa/internal/crash"
	"github.com/stoa-project/stoa/internal/fault"
)

// spawner forks. Its goroutines are bound to threads of their own, because a version 1
// cgroup is entered by the forking thread: the child is born in it, so that no
// instruction of the program runs outside, and no helper has to be executed first.
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
	report *os.File // what a confined process says before it becomes the program; nil without one
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
	boxProgram() // while this is the host's mount namespace
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

// thread works off jobs. A thread that cannot leave a task's cgroup must not live on in
// it, where a kill of the task would take the keeper along: it ends, another takes over.
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
	home, homeErr := homes()
	for job := range s.jobs {
		out, stuck := s.spawn(job, home, homeErr)
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

func (s *spawner) spawn(job spawnJob, home map[string]string, homeErr error) (out spawned, stuck bool) {
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
				f.Close()
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

	var back []*os.File // the keeper's own groups; paths may lead elsewhere by the time they are needed
	defer func() {
		for _, own := range back {
			if _, err := own.WriteString(strconv.Itoa(unix.Gettid())); err != nil {
				stuck = true
			}
			own.Close()
		}
	}()
	for _, dir := range spec.Cgroups {
		if cgroup.IsV2(dir) {
			f, err := os.Open(dir)
			if err != nil {
				return fail(fault.Unavailable, dir, err)
			}
			defer f.Close()
			sys.UseCgroupFD, sys.CgroupFD = true, int(f.Fd())
			continue
		}
		if homeErr != nil {
			return fail(fault.Unavailable, "cgroup", homeErr)
		}
		own, err := wayBack(dir, home)
		if err != nil {
			return fail(fault.Unavailable, dir, err)
		}
		if err := os.WriteFile(filepath.Join(dir, "tasks"), []byte(strconv.Itoa(unix.Gettid())), 0); err != nil {
			own.Close()
			return fail(fault.Unavailable, dir, err)
		}
		back = append(back, own)
	}
	if spec.Network != "" {
		stuck = true
		if err := spaces.Network(spec.Network, spec.Hostname); err != nil {
			out, _ := fail(fault.Invalid, "network", err)
			return out, true
		}
	}
	var prepared boxed
	if spec.Confine != nil {
		var err error
		var entered bool
		prepared, entered, err = s.prepareBox(job, args, sys.Credential != nil)
		stuck = stuck || entered
		defer prepared.close()
		if err != nil {
			out, _ := fail(fault.Unavailable, "confine", err)
			return out, stuck
		}
	}
	if elsewhere || len(spec.Mounts) > 0 {
		stuck = true // the thread is in the task's namespaces from here on
		if err := enter(job, files); err != nil {
			out, _ := fail(fault.Invalid, "mounts", err)
			return out, true
		}
		crash.Here("keeper.mounted")
		if err := isFolder(spec.Dir); err != nil {
			out, _ := fail(fault.Invalid, "dir", err)
			return out, true
		}
	}
	if spec.Confine != nil {
		return s.spawnBox(spec, &prepared, files, sys), stuck
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

// homes gives the folder of the keeper's own group in each version 1 hierarchy, by the
// folder where that hierarchy is mounted.
func homes() (map[string]string, error) {
	mounts, err := cgroup.Mounts()
	if err != nil {
		return nil, err
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for line := range strings.Lines(string(own)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 || f[1] == "" {
			continue
		}
		for _, m := range mounts {
			if m.Has(strings.Split(f[1], ",")[0]) {
				out[m.Dir] = m.Resolve(f[2])
			}
		}
	}
	return out, nil
}

// wayBack opens the file through which a thread returns from a task's group to the
// keeper's own.
func wayBack(dir string, home map[string]string) (*os.File, error) {
	for mount, own := range home {
		if strings.HasPrefix(dir, mount+"/") {
			return os.OpenFile(filepath.Join(own, "tasks"), os.O_WRONLY, 0)
		}
	}
	return nil, fmt.Errorf("%s is below no mounted cgroup hierarchy", dir)
}
