package keeper

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stoa-project/stoa/agent/container/tree"
)

// restore takes over what an earlier keeper left, or what this process was under another
// program, whose terminals came along. It gives the number of running tasks.
func (k *Keeper) restore(bootBefore string, terminals map[string]*board) int {
	rebooted := bootBefore != "" && bootBefore != k.boot
	running := 0
	var left []Task // the journal's image belongs to its writer from here on
	for _, t := range k.journal.image {
		left = append(left, t)
	}
	slices.SortFunc(left, func(a, b Task) int { return endOf(a).Compare(endOf(b)) })
	for _, saved := range left {
		t := &task{Task: saved, ready: make(chan struct{}), ended: make(chan struct{}), pidfd: -1}
		close(t.ready)
		switch {
		case t.Exit != nil:
			k.keepEnded(t)
		case rebooted:
			k.keep(t)
			k.record(t, Exit{At: time.Now(), Lost: true, Reason: "the host was rebooted while the task ran"})
		case t.PID == 0:
			// Forked or not, nobody was told: it must not live.
			k.log.Warn("an unfinished start is swept", "task", t.ID)
			k.sweep(t)
			if err := k.journal.append(entry{Op: "forget", ID: t.ID}); err != nil {
				k.log.Error("journal", "error", err)
			}
		case k.adopt(t, terminals[t.ID]):
			delete(terminals, t.ID)
			running++
		default:
			k.keep(t)
			k.sweep(t)
			if status, ok := k.firstStatus(t); ok {
				k.record(t, Exit{At: time.Now(), Status: int(status), Switch: t.Attached})
				break
			}
			k.record(t, Exit{At: time.Now(), Lost: true, Switch: t.Attached,
				Reason: "the task ended while no keeper was running, so its exit status could not be read"})
		}
	}
	for _, b := range terminals { // of tasks that ended
		b.closeAll()
	}
	k.sweepStatuses()
	return running
}

// sweepStatuses removes what processes 1 wrote of tasks whose end is known or which never
// began: a keeper removes it after the record, and may be killed in between.
func (k *Keeper) sweepStatuses() {
	wanted := map[string]bool{}
	k.mu.Lock()
	for _, t := range k.tasks {
		if t.Exit == nil {
			wanted[statusPath(k.cfg.Dir, t.ID)] = true
		}
	}
	k.mu.Unlock()
	dir := filepath.Join(k.cfg.Dir, statusFolder)
	all, err := os.ReadDir(dir)
	if err != nil {
		k.log.Warn("what is left of ended tasks stays", "folder", dir, "error", err)
	}
	for _, f := range all {
		if path := filepath.Join(dir, f.Name()); !wanted[path] {
			_ = os.Remove(path) // the next start tries again
		}
	}
}

func (k *Keeper) keep(t *task) {
	k.mu.Lock()
	k.tasks[t.ID] = t
	k.mu.Unlock()
}

func (k *Keeper) keepEnded(t *task) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tasks[t.ID] = t
	k.seq++
	t.seq = k.seq
	k.exits = append(k.exits, t)
	close(t.ended)
}

// adopt watches a process that still runs. It is a child of this keeper only when the
// keeper's program has changed; then it may have ended, too, and wait to be reaped.
func (k *Keeper) adopt(t *task, terminal *board) bool {
	fd, err := unix.PidfdOpen(t.PID, 0)
	if err != nil {
		return false
	}
	// The descriptor is bound first, then compared: the number cannot change owner between.
	s, err := tree.Read(t.PID)
	t.child = s.Parent == os.Getpid()
	if err != nil || s.Start != t.Start || !t.child && (s.State == 'Z' || s.State == 'X') {
		unix.Close(fd)
		return false
	}
	t.pidfd, t.board = fd, terminal
	k.keep(t)
	k.mu.Lock()
	k.byFD[fd] = t
	if terminal != nil {
		k.boards[t.ID] = terminal
	}
	k.mu.Unlock()
	if terminal != nil {
		terminal.started()
	}
	if err := k.poller.add(fd); err != nil {
		k.log.Error("a task cannot be watched", "task", t.ID, "error", err)
	}
	switch {
	case t.Attached && terminal == nil: // nobody can ever read or write it again
		k.log.Warn("a task ends because its terminal was lost with the keeper before", "task", t.ID)
		k.killNow(t)
	case t.Killing != nil:
		k.resumeKill(t)
	}
	return true
}

// resumeKill goes on with a kill that was under way. The signal is sent again: it may not
// have reached everybody.
func (k *Keeper) resumeKill(t *task) {
	k.mu.Lock()
	t.kill.first, t.kill.due = t.Killing.First, t.Killing.Due
	t.kill.timer = time.AfterFunc(time.Until(t.kill.due), func() { k.killNow(t) })
	k.mu.Unlock()
	if _, err := k.signalTree(t, syscall.SIGTERM); err != nil {
		k.log.Warn("SIGTERM failed", "task", t.ID, "error", err)
	}
}

// sweep kills every process that is left of a task.
func (k *Keeper) sweep(t *task) {
	if _, err := k.signalTree(t, syscall.SIGKILL); err != nil {
		k.log.Warn("sweep failed", "task", t.ID, "error", err)
	}
	if t.PID == 0 && t.group() != "" { // it may not have entered its groups yet
		members, err := k.members(t)
		for _, m := range members {
			err = errors.Join(err, m.Signal(syscall.SIGKILL))
		}
		if err != nil {
			k.log.Warn("sweep failed", "task", t.ID, "error", err)
		}
	}
	k.mu.Lock()
	t.kill.killed = true
	k.mu.Unlock()
	k.clear(t, time.Now().Add(10*time.Second))
}

func endOf(t Task) time.Time {
	if t.Exit == nil {
		return t.Started
	}
	return t.Exit.At
}
