package keeper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stoa-project/stoa/internal/crash"
	"github.com/stoa-project/stoa/internal/fault"
)

// Config is what a keeper needs to know.
type Config struct {
	Dir string // its folder, made 0700 when absent
	// Idle is after how long without tasks, unforgotten exits and clients it ends; 0 means 10
	// min. Exits that nobody can ask for any more, because Dir is gone or another keeper's, do
	// not hold it.
	Idle time.Duration
}

// Keeper is the process's inside. Run does everything.
type Keeper struct {
	cfg     Config
	log     *slog.Logger
	boot    string
	exe     string // see Info.Exe
	since   time.Time
	lock    *os.File
	journal *journal
	spawner *spawner
	poller  *poller
	census  *census
	conns   sync.WaitGroup // connections and what they asked for
	work    sync.WaitGroup // goroutines that end tasks
	stop    context.CancelFunc
	ending  <-chan struct{} // closed when Run is to return
	leaving chan struct{}   // closed when the program is to change: tasks are left as they are

	mu      sync.Mutex        // guards all below
	boards  map[string]*board // input and output of tasks that have any to attach to
	tasks   map[string]*task  // known ones, ended and unforgotten included
	byFD    map[int]*task     // running ones by pidfd
	exits   []*task           // ended, in order of seq; forgotten ones are dropped
	seq     uint64
	news    chan struct{} // closed and replaced when exits grows
	clients int
	next    []string  // program and arguments to become
	busy    time.Time // last time there was something to stay for
}

// task is one process tree. Its fields are guarded by Keeper.mu, but for ready and the
// constants Task.ID, Task.Cgroups and Task.Note.
type task struct {
	Task
	seq      uint64
	ready    chan struct{} // closed when the start has succeeded or failed
	ended    chan struct{} // closed when the exit is on disk
	failed   error         // of the start
	pidfd    int           // -1 when it has ended
	child    bool          // ours to wait for
	kill     killing
	rotating sync.Mutex // held while its log files are looked at
	board    *board     // nil unless somebody may attach
}

// New prepares a keeper; it starts nothing.
func New(cfg Config, log *slog.Logger) *Keeper {
	if cfg.Idle == 0 {
		cfg.Idle = 10 * time.Minute
	}
	return &Keeper{
		cfg: cfg, log: log, boot: bootID(), exe: ExeOf(ownExe), since: time.Now(), busy: time.Now(),
		tasks: map[string]*task{}, boards: map[string]*board{}, byFD: map[int]*task{}, news: make(chan struct{}),
		leaving: make(chan struct{}),
	}
}

// ErrRunning says that another keeper has the folder.
var ErrRunning = errors.New("another keeper is running")

// Run keeps tasks until ctx ends, a client asks for shutdown, or it has been idle for
// long. Tasks run on when it returns, but after a shutdown with a grace period.
func (k *Keeper) Run(ctx context.Context) error {
	const op = "keeper.Run"
	outer := ctx
	ctx, k.stop = context.WithCancel(ctx)
	defer k.stop()
	k.ending = ctx.Done()
	if !filepath.IsAbs(k.cfg.Dir) {
		return fault.New(op, fault.Invalid, "runtime_dir", fmt.Errorf("%q is not an absolute path", k.cfg.Dir))
	}
	if err := os.MkdirAll(filepath.Join(k.cfg.Dir, statusFolder), 0o700); err != nil {
		return fault.New(op, fault.Unavailable, k.cfg.Dir, err)
	}
	keepDescriptors()
	came := takeOver(k.cfg.Dir)
	var lock *os.File
	var err error
	if came != nil {
		lock = inherited(came.Lock, lockName)
	} else if lock, err = takeLock(filepath.Join(k.cfg.Dir, lockName)); err != nil {
		return fault.New(op, fault.Conflict, k.cfg.Dir, err)
	}
	defer lock.Close()
	k.lock = lock
	if k.poller, err = newPoller(); err != nil {
		return fault.New(op, fault.Unsupported, "epoll", err)
	}
	defer k.poller.close()
	journal, before, bad, err := openJournal(k.cfg.Dir, k.boot)
	if err != nil {
		return err
	}
	k.journal = journal
	if bad > 0 {
		k.log.Error("damaged lines of the journal were left out; their tasks are not watched", "lines", bad)
	}
	k.census = newCensus(k.firsts)
	k.spawner = newSpawner(k.cfg.Dir, min(4, max(2, runtime.NumCPU())))
	polled := make(chan error, 1)
	go func() { polled <- k.poller.run(k.pidfdReady) }()
	rotated := make(chan struct{})
	go func() { k.rotate(ctx); close(rotated) }()

	var terminals map[string]*board
	if came != nil {
		terminals = came.boards()
	}
	restored := k.restore(before, terminals)
	listener, err := k.listener(came)
	var socket *os.File
	if err == nil {
		k.log.Info("keeper is up", "pid", os.Getpid(), "dir", k.cfg.Dir, "tasks", restored, "upgraded", came != nil)
		if socket, err = listener.File(); err == nil {
			defer socket.Close()
			err = k.serve(ctx, listener)
		}
	}
	k.stop()
	k.spawner.close()
	<-rotated
	k.poller.stop()
	<-polled
	k.work.Wait()
	if k.next != nil {
		k.pause()
	}
	k.census.close()
	k.journal.close()
	k.mu.Lock()
	for fd := range k.byFD {
		unix.Close(fd)
	}
	k.mu.Unlock()
	if k.next == nil || err != nil {
		return err
	}
	// From here on this program goes on only when the other one could not be executed.
	err = k.become(lock, socket)
	k.log.Error("the keeper stays what it is", "error", err)
	lock.Close() // a copy that was to go along holds it; if there is none it is taken anew
	for _, b := range k.boards {
		b.closeAll()
	}
	return New(k.cfg, k.log).Run(outer)
}

// listener gives the socket, the one that came along or a new one.
func (k *Keeper) listener(came *handover) (*net.UnixListener, error) {
	if came != nil {
		l, err := came.listener()
		if err == nil {
			return l, nil
		}
		k.log.Error("the socket that came along is unusable", "error", err)
	}
	return listen(k.cfg.Dir)
}

// takeLock holds the folder for the life of the process.
func takeLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, ErrRunning
	}
	return f, nil
}

// reserve takes the id of a task that is to be started. It is called in the order of
// requests, so that a kill that follows a start on a connection finds the task.
func (k *Keeper) reserve(spec *Spec) (*task, error) {
	if err := spec.validate(); err != nil {
		return nil, err
	}
	t := &task{
		Task: Task{ID: spec.ID, Cgroups: spec.Cgroups, Note: spec.Note, Shared: spec.Shared, Init: spec.Init, Started: time.Now(),
			Attached: spec.Terminal != nil || spec.Session, Spaces: spec.spaces(), First: spec.Confine != nil && spec.Confine.PID},
		ready: make(chan struct{}), ended: make(chan struct{}), pidfd: -1, child: true,
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.tasks[spec.ID]; ok {
		return nil, fault.New("keeper.start", fault.Conflict, spec.ID, errors.New("a task of this id is known: forget it first"))
	}
	k.tasks[spec.ID] = t
	return t, nil
}

// start runs the process of a reserved task; see Client.Start.
func (k *Keeper) start(t *task, spec *Spec) (Task, error) {
	err := k.launch(t, spec)
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil {
		t.failed = err
		delete(k.tasks, spec.ID)
		k.busy = time.Now()
	}
	close(t.ready)
	return t.Task, err
}

// launch forks between the record of the intent and the record of the process.
func (k *Keeper) launch(t *task, spec *Spec) error {
	intent := t.Task
	if err := k.journal.append(entry{Op: "intent", ID: t.ID, Task: &intent}); err != nil {
		return err
	}
	crash.Here("keeper.intended")
	var io *board
	if spec.Terminal != nil || spec.Session {
		var err error
		if io, err = newBoard(spec); err != nil {
			_ = k.journal.append(entry{Op: "forget", ID: t.ID})
			return fault.New("keeper.start", fault.Unavailable, "terminal", err)
		}
		k.mu.Lock()
		t.board, k.boards[t.ID] = io, io
		k.mu.Unlock()
	}
	var out spawned
	if inside, err := k.host(spec.Inside); err != nil {
		out.err = err
	} else if joined, err := k.host(spec.joins()); err != nil {
		out.err = err
	} else {
		out = k.spawner.run(spec, io, inside, joined)
	}
	if out.report != nil {
		crash.Here("keeper.spawned")
		out.notRun, out.err = out.await(spec)
	}
	if io != nil {
		io.started()
		if out.err != nil {
			k.dropBoard(t.ID, io)
		}
	}
	if out.err != nil {
		_ = os.Remove(statusPath(k.cfg.Dir, t.ID))
		_ = k.journal.append(entry{Op: "forget", ID: t.ID})
		return out.err
	}
	if out.notRun != nil {
		k.end(t, out.notRun.Error())
		return nil
	}
	crash.Here("keeper.forked")
	// It cannot be reaped before pidfdReady knows it, so the number is its own.
	started := Task{PID: out.pid, Start: startTicks(out.pid), Started: time.Now(), Files: spec.rotated()}
	err := k.journal.append(entry{Op: "start", ID: t.ID, Task: &started})
	crash.Here("keeper.started")
	k.mu.Lock()
	t.PID, t.Start, t.Started, t.pidfd = started.PID, started.Start, started.Started, out.pidfd
	t.Files = started.Files
	k.mu.Unlock()
	if err != nil {
		k.undo(t)
		_ = k.journal.append(entry{Op: "forget", ID: t.ID})
		return err
	}
	return k.watch(t)
}

// host gives the task whose namespaces a new one is to live in; nil when there is none.
func (k *Keeper) host(id string) (*Task, error) {
	if id == "" {
		return nil, nil
	}
	t, err := k.find("keeper.start", id)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return &Task{PID: t.PID, Start: t.Start}, nil
}

// watch waits for the end of a process whose pidfd is known.
func (k *Keeper) watch(t *task) error {
	k.mu.Lock()
	k.byFD[t.pidfd] = t
	k.mu.Unlock()
	if err := k.poller.add(t.pidfd); err != nil {
		k.mu.Lock()
		delete(k.byFD, t.pidfd)
		k.mu.Unlock()
		k.undo(t)
		return fault.New("keeper.watch", fault.Unavailable, t.ID, err)
	}
	return nil
}

// undo kills and reaps a process that was started in vain.
func (k *Keeper) undo(t *task) {
	_ = unix.PidfdSendSignal(t.pidfd, unix.SIGKILL, nil, 0)
	_, _ = k.signalTree(t, syscall.SIGKILL)
	_, _ = syscall.Wait4(t.PID, nil, 0, nil)
	unix.Close(t.pidfd)
}

func (s *Spec) validate() error {
	bad := func(field, format string, args ...any) error {
		return fault.New("keeper.start", fault.Invalid, field, fmt.Errorf(format, args...))
	}
	switch {
	case s == nil:
		return bad("spec", "is missing")
	case s.ID == "" || len(s.ID) > 512 || strings.ContainsAny(s.ID, "\x00\n/"):
		return bad("id", "must be 1 to 512 bytes without slash, line break or NUL")
	case s.Path == "" || strings.Contains(s.Path, "\x00"):
		return bad("path", "must name a program")
	case !filepath.IsAbs(s.Dir):
		return bad("dir", "%q is not an absolute path", s.Dir)
	case s.Session && s.Stdout == "" && s.Stderr == "":
	case !filepath.IsAbs(s.Stdout):
		return bad("stdout", "%q is not an absolute path", s.Stdout)
	case !filepath.IsAbs(s.Stderr):
		return bad("stderr", "%q is not an absolute path", s.Stderr)
	case len(s.Note) > 64<<10:
		return bad("note", "is %d bytes, at most %d", len(s.Note), 64<<10)
	case len(s.Cgroups) > 16:
		return bad("cgroups", "are %d, at most 16", len(s.Cgroups))
	}
	if err := s.validateMounts(); err != nil {
		return bad("mounts", "%w", err)
	}
	if err := s.validateConfine(); err != nil {
		return bad("confine", "%w", err)
	}
	for _, c := range s.Cgroups {
		if !filepath.IsAbs(c) || filepath.Clean(c) != c {
			return bad("cgroups", "%q is not a clean absolute path", c)
		}
	}
	for _, v := range append(append([]string{}, s.Args...), s.Env...) {
		if strings.Contains(v, "\x00") {
			return bad("args", "NUL in %q", v)
		}
	}
	return nil
}

// peerAllowed lets in the keeper's own user and root.
func peerAllowed(c *net.UnixConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	var cerr error
	if err := raw.Control(func(fd uintptr) {
		cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return err
	}
	if cerr != nil {
		return cerr
	}
	if cred.Uid != 0 && int(cred.Uid) != os.Geteuid() {
		return fmt.Errorf("user %d may not use this keeper", cred.Uid)
	}
	return nil
}
