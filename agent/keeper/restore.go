package keeper

import (
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stoa-project/stoa/agent/container/tree"
)

// restore takes over what an earlier keeper left. It gives the number of running tasks.
func (k *Keeper) restore(bootBefore string) int {
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
		case k.adopt(t):
			running++
		default:
			k.keep(t)
			k.sweep(t)
			if status, ok := k.firstStatus(t); ok {
				k.record(t, Exit{At: time.Now(), Status: int(status)})
				break
			}
			k.record(t, Exit{At: time.Now(), Lost: true, Reason: "the task ended while no keeper was running, so its exit status could not be read"})
		}
	}
	return running
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

// adopt watches a process that still runs. It is not a child of this keeper.
func (k *Keeper) adopt(t *task) bool {
	fd, err := unix.PidfdOpen(t.PID, 0)
	if err != nil {
		return false
	}
	// The descriptor is bound first, then compared: the number cannot change owner between.
	if !tree.Alive(t.PID, t.Start) {
		unix.Close(fd)
		return false
	}
	t.pidfd = fd
	k.keep(t)
	k.mu.Lock()
	k.byFD[fd] = t
	k.mu.Unlock()
	if err := k.poller.add(fd); err != nil {
		k.log.Error("a task cannot be watched", "task", t.ID, "error", err)
	}
	return true
}

// sweep kills every process that is left of a task.
func (k *Keeper) sweep(t *task) {
	if _, err := k.signalTree(t, syscall.SIGKILL); err != nil {
		k.log.Warn("sweep failed", "task", t.ID, "error", err)
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
