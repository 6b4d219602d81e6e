package keeper

import (
	"errors"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stoa-project/stoa/agent/container/cgroup"
	"github.com/stoa-project/stoa/agent/container/tree"
	"github.com/stoa-project/stoa/internal/crash"
	"github.com/stoa-project/stoa/internal/fault"
)

// killing is what has been asked for the end of a task. Guarded by Keeper.mu.
type killing struct {
	first  time.Time   // of the first signal that asks it to end
	due    time.Time   // SIGKILL then; zero when not planned
	timer  *time.Timer // for due
	killed bool        // SIGKILL was sent
}

// linger is how long the rest of a tree may go on after its first process ended of a
// SIGTERM, when no Kill has set a time. Without any signal the rest ends at once.
const linger = 3 * time.Second

// backToBack lies between SIGTERM and SIGKILL of a kill without grace: both at once would
// reach most processes as SIGKILL.
const backToBack = 100 * time.Millisecond

func startTicks(pid int) uint64 {
	s, _ := tree.Read(pid)
	return s.Start
}

// find waits until a task is started; fault.NotFound when there is none or it has ended.
func (k *Keeper) find(op, id string) (*task, error) {
	k.mu.Lock()
	t := k.tasks[id]
	k.mu.Unlock()
	if t == nil {
		return nil, fault.New(op, fault.NotFound, id, errors.New("no such task"))
	}
	<-t.ready
	select {
	case <-t.ended:
		return nil, fault.New(op, fault.NotFound, id, errors.New("the task has ended"))
	default:
	}
	if t.failed != nil {
		return nil, fault.New(op, fault.NotFound, id, errors.New("the task was not started"))
	}
	return t, nil
}

// signal sends sig to every process of a task, or to its first one.
func (k *Keeper) signal(id string, sig syscall.Signal, first bool) error {
	t, err := k.find("keeper.signal", id)
	if err != nil {
		return err
	}
	if first {
		return k.signalFirst(t, sig)
	}
	switch sig {
	case syscall.SIGKILL:
		k.killNow(t)
		return nil
	case syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP:
		k.mu.Lock()
		if t.kill.first.IsZero() {
			t.kill.first = time.Now()
		}
		k.mu.Unlock()
	}
	_, err = k.signalTree(t, sig)
	return err
}

// signalFirst sends sig to the first process; one that has ended is no error.
func (k *Keeper) signalFirst(t *task, sig syscall.Signal) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if t.pidfd < 0 {
		return nil
	}
	if err := unix.PidfdSendSignal(t.pidfd, sig, nil, 0); err != nil && err != unix.ESRCH {
		return fault.New("keeper.signal", fault.Unavailable, t.ID, err)
	}
	return nil
}

// killAfter sends SIGTERM, once, and SIGKILL after grace from the first.
func (k *Keeper) killAfter(id string, grace time.Duration) error {
	t, err := k.find("keeper.kill", id)
	if err != nil {
		return err
	}
	grace = min(max(grace, 0), 100*365*24*time.Hour)
	k.mu.Lock()
	again := !t.kill.due.IsZero()
	if t.kill.first.IsZero() {
		t.kill.first = time.Now()
	}
	due := t.kill.first.Add(grace)
	if again && !due.Before(t.kill.due) {
		k.mu.Unlock()
		return nil // only ever sooner
	}
	t.kill.due = due
	if t.kill.timer != nil {
		t.kill.timer.Stop()
	}
	if grace > 0 {
		t.kill.timer = time.AfterFunc(time.Until(due), func() { k.killNow(t) })
	}
	asked := Killing{First: t.kill.first, Due: due}
	k.mu.Unlock()
	if grace > 0 {
		// Before the signal: a successor of this keeper must know that SIGKILL is due.
		if err := k.journal.append(entry{Op: "kill", ID: id, Kill: &asked}); err != nil {
			k.log.Error("a kill is not recorded", "task", id, "error", err)
		}
	}
	crash.Here("keeper.kill-recorded")
	if !again && !(t.Init && grace == 0) {
		if _, err := k.signalTree(t, syscall.SIGTERM); err != nil {
			k.log.Warn("SIGTERM failed", "task", id, "error", err)
		}
	}
	crash.Here("keeper.kill-sent")
	if grace == 0 {
		if !again && !t.Init { // who obeys SIGTERM at once ends by it, as told (mesos-agent.md 2.3)
			select {
			case <-t.ended:
			case <-time.After(backToBack):
			}
		}
		k.killNow(t)
	}
	return nil
}

// killNow sends SIGKILL to the tree. What stays in spite of it (an uninterruptible
// wait) is seen to by the goroutine that ends the task.
func (k *Keeper) killNow(t *task) {
	select {
	case <-t.ended:
		return
	default:
	}
	k.mu.Lock()
	t.kill.killed = true
	if t.kill.first.IsZero() {
		t.kill.first = time.Now()
	}
	k.mu.Unlock()
	if _, err := k.signalTree(t, syscall.SIGKILL); err != nil {
		k.log.Warn("SIGKILL failed", "task", t.ID, "error", err)
	}
}

// group gives the cgroup by which the task's processes are known: one that can be
// frozen or killed before one that can only be listed; "" for none.
func (t *Task) group() string {
	if t.Shared {
		return ""
	}
	best := ""
	for _, dir := range t.Cgroups {
		if cgroup.IsV2(dir) || exists(dir+"/freezer.state") {
			return dir
		}
		best = dir
	}
	return best
}

// signalTree signals the first process and all others of its tree; it gives how many
// were found.
func (k *Keeper) signalTree(t *task, sig syscall.Signal) (int, error) {
	if t.Init && sig != syscall.SIGKILL {
		return 1, k.signalFirst(t, sig)
	}
	spare := 0 // process 1 would pass it on to who gets it already
	if t.First && sig != syscall.SIGKILL {
		k.mu.Lock()
		spare = t.PID
		k.mu.Unlock()
	}
	if dir := t.group(); dir != "" {
		n, err := cgroup.Signal(dir, sig, spare)
		if err == nil || n > 0 {
			return n, err
		}
		k.log.Warn("cgroup does not answer, the session is signalled", "task", t.ID, "cgroup", dir, "error", err)
	}
	members, err := k.members(t)
	if err != nil {
		return 0, err
	}
	for _, m := range members {
		if m.PID != spare {
			err = errors.Join(err, m.Signal(sig))
		}
	}
	return len(members), err
}

// firsts gives the first processes of running tasks, with the ticks of their starts.
func (k *Keeper) firsts() map[int]uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := make(map[int]uint64, len(k.byFD))
	for _, t := range k.byFD {
		all[t.PID] = t.Start
	}
	return all
}

// members looks for the task's processes in /proc.
func (k *Keeper) members(t *task) ([]tree.Stat, error) {
	c, err := k.census.take()
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	pid, start := t.PID, t.Start
	k.mu.Unlock()
	return c.Members(pid, start, mark(k.cfg.Dir, t.ID)), nil
}

// rest gives the processes of a task other than its first one.
func (k *Keeper) rest(t *task) (int, error) {
	n, self := 0, os.Getpid()
	if dir := t.group(); dir != "" {
		pids, err := cgroup.Procs(dir)
		for _, p := range pids {
			if p != t.PID && p != self {
				n++
			}
		}
		if err == nil {
			return n, nil
		}
	}
	members, err := k.members(t)
	n = 0
	for _, m := range members {
		if m.PID != t.PID {
			n++
		}
	}
	return n, err
}

// pidfdReady is told by the poller that a process has ended.
func (k *Keeper) pidfdReady(fd int) {
	k.mu.Lock()
	t := k.byFD[fd]
	delete(k.byFD, fd)
	k.mu.Unlock()
	if t != nil {
		k.work.Add(1)
		go func() {
			defer k.work.Done()
			k.end(t, "")
		}()
	}
}

// end sees a task off whose first process has ended: the rest of the tree first, while
// the zombie keeps the session's number from being used again; then its status; then
// the record; then the news.
func (k *Keeper) end(t *task, notRun string) {
	early := 0
	if notRun == "" && !t.child { // init may not have reaped it yet
		if s, err := tree.Read(t.PID); err == nil && s.Start == t.Start && s.State == 'Z' {
			early = s.Exit
		}
	}
	crash.Here("keeper.end-seen")
	if notRun == "" && !k.clear(t, time.Time{}) {
		return // the next program sees it off; until then it stays a zombie
	}
	if t.board != nil {
		k.finishBoard(t.ID, t.board)
	}
	k.rotateTask(t, 0, true)
	exit := Exit{At: time.Now()}
	switch {
	case notRun != "":
		exit.Status, exit.Reason = 1<<8, notRun
	case !t.child:
		if status, ok := k.firstStatus(t); ok {
			exit.Status = int(status)
		} else if early != 0 {
			exit.Status = early
		} else if status, ok := exitOf(t.pidfd); ok {
			exit.Status = int(status)
		} else {
			exit.Lost, exit.Reason = true, "the keeper was replaced while the task ran, so its exit status could not be read"
		}
	default:
		status, ok := reap(t.PID)
		if inner, known := k.firstStatus(t); known {
			status, ok = inner, true
		}
		exit.Status = int(status)
		if !ok {
			exit.Lost, exit.Reason = true, "the exit status was not there to be read"
		}
	}
	k.mu.Lock()
	if t.kill.timer != nil {
		t.kill.timer.Stop()
	}
	exit.Stopped = !t.kill.first.IsZero()
	exit.Switch = t.Attached && t.board == nil
	if t.pidfd >= 0 {
		unix.Close(t.pidfd)
		t.pidfd = -1
	}
	k.mu.Unlock()
	crash.Here("keeper.reaped")
	k.record(t, exit)
}

// record makes an exit durable, however long the disk takes, and then tells it.
func (k *Keeper) record(t *task, exit Exit) {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := k.journal.append(entry{Op: "exit", ID: t.ID, Exit: &exit})
		if err == nil {
			break
		}
		select {
		case <-k.journal.done:
			return // shutting down: the next keeper finds it gone
		default:
		}
		k.log.Error("an exit waits for the disk", "task", t.ID, "error", err)
		time.Sleep(wait)
	}
	_ = os.Remove(statusPath(k.cfg.Dir, t.ID))
	crash.Here("keeper.exit-recorded")
	k.mu.Lock()
	t.Exit = &exit
	k.seq++
	t.seq = k.seq
	k.exits = append(k.exits, t)
	close(t.ended) // before the news: who hears them may forget the task at once
	close(k.news)
	k.news = make(chan struct{})
	k.mu.Unlock()
}

// clear ends what is left of a tree and returns when it is empty. There is nothing to
// wait on for that, so it looks again in growing intervals. A limit that is not zero
// makes it give up then; so does the end of the keeper, soon. It is false when the keeper's
// program changes before the tree is empty.
func (k *Keeper) clear(t *task, limit time.Time) (cleared bool) {
	began := time.Now()
	warned, sent := false, false
	for wait := time.Millisecond; ; wait = min(2*wait, 250*time.Millisecond) {
		n, err := k.rest(t)
		if err != nil {
			k.log.Warn("cannot see what is left of a task", "task", t.ID, "error", err)
			return true
		}
		if n == 0 {
			return true
		}
		select {
		case <-k.leaving:
			return false
		default:
		}
		select {
		case <-k.ending: // an exit code is worth more than the last straggler
			if limit.IsZero() {
				limit = time.Now().Add(5 * time.Second)
			}
		default:
		}
		if !limit.IsZero() && time.Now().After(limit) {
			k.log.Error("processes do not end in spite of SIGKILL; given up", "task", t.ID, "processes", n)
			return true
		}
		k.mu.Lock()
		first, due, killed := t.kill.first, t.kill.due, t.kill.killed
		k.mu.Unlock()
		if due.IsZero() {
			due = began
			if !first.IsZero() && !t.Init {
				due = first.Add(linger)
			}
		}
		if killed || t.Init || !time.Now().Before(due) {
			if _, err := k.signalTree(t, syscall.SIGKILL); err != nil && !sent {
				k.log.Warn("SIGKILL failed", "task", t.ID, "error", err)
			}
			sent = true
		}
		if !warned && sent && time.Since(began) > 10*time.Second {
			warned = true
			k.log.Error("processes do not end in spite of SIGKILL; the task is held until they do", "task", t.ID, "processes", n)
		}
		time.Sleep(wait)
	}
}
