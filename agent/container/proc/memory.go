package proc

import (
	"context"
	"syscall"
	"time"

	"github.com/stoa-project/stoa/agent/container/cgroup"
	"github.com/stoa-project/stoa/agent/keeper"
	"github.com/stoa-project/stoa/internal/fault"
)

// memoryWatch ends containers of which the kernel has killed a process for memory
// (mesos-agent.md 7.3, row OOM): version 1 leaves the others alone, and a container with a
// part missing is no container. Nil where version 2 ends all by itself.
type memoryWatch struct {
	r        *Runtime
	listener *cgroup.Listener
	done     chan struct{}
}

// watchMemory starts it, once the keeper is there.
func (r *Runtime) watchMemory() *memoryWatch {
	if r.groups == nil {
		return nil
	}
	l, err := r.groups.Listen()
	if err != nil {
		r.log.Warn("a process that is killed for memory does not end its container", "error", err)
	}
	if l == nil {
		return nil
	}
	w := &memoryWatch{r: r, listener: l, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		l.Run(w.end)
	}()
	return w
}

// add watches a container with groups of its own.
func (w *memoryWatch) add(id string) {
	if w == nil {
		return
	}
	if err := w.listener.Add(id); err != nil {
		w.r.log.Warn("a process that is killed for memory does not end its container", "container", id, "error", err)
	}
}

// recovered watches a container that has run while nobody did.
func (w *memoryWatch) recovered(t keeper.Task) {
	if w == nil || t.Shared {
		return
	}
	w.add(t.ID)
	if w.r.groups.OOM(t.ID).Kills > 0 {
		w.end(t.ID)
	}
}

func (w *memoryWatch) remove(id string) {
	if w != nil {
		w.listener.Remove(id)
	}
}

// end kills what is left of a container; its exit then names the limit.
func (w *memoryWatch) end(id string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := w.r.keeper.Signal(ctx, id, int(syscall.SIGKILL)); err != nil && fault.KindOf(err) != fault.NotFound {
		w.r.log.Warn("a container out of memory could not be ended", "container", id, "error", err)
	}
}

func (w *memoryWatch) close() {
	if w != nil {
		w.listener.Close()
		<-w.done
	}
}
