package lb

import (
	"context"
	"sync"
	"time"

	"github.com/stoa-project/stoa/lb/labels"
)

const (
	// drainTick is how often it is looked whether a task that is about to be killed has
	// requests left.
	drainTick = 10 * time.Millisecond
	// drainAsked bounds the tasks that wait to be noticed; more are not answered for, and
	// their kills wait their time.
	drainAsked = 4096
	// drainGone is when a task is forgotten that never gets rid of its requests.
	drainGone = 15 * time.Minute
)

// draining are the tasks whose kills wait for our word. It belongs to the loop.
type draining struct {
	tasks map[string]*leaving
}

// leaving is one of them.
type leaving struct {
	since   time.Time
	servers map[[2]string]bool // backend and name of what it was in HAProxy
}

// takeDrains notes the tasks that the follower has heard of.
func (b *LB) takeDrains() {
	for _, task := range b.drains.take() {
		b.drain(task)
	}
}

// drain notes a task that is about to be killed, and the servers that it is.
func (b *LB) drain(task string) {
	if b.draining.tasks == nil {
		b.draining.tasks = map[string]*leaving{}
	}
	if b.draining.tasks[task] == nil {
		b.draining.tasks[task] = &leaving{since: time.Now(), servers: map[[2]string]bool{}}
	}
	b.seeDraining(b.applied)
}

// seeDraining adds the servers that tasks about to be killed have among services.
func (b *LB) seeDraining(services []labels.Service) (serving map[string]bool) {
	serving = map[string]bool{}
	if len(b.draining.tasks) == 0 {
		return serving
	}
	for i := range services {
		for k := range services[i].Servers {
			s := &services[i].Servers[k]
			if l := b.draining.tasks[s.TaskID]; l != nil {
				l.servers[[2]string{services[i].Backend, s.Name}] = true
				serving[s.TaskID] = true
			}
		}
	}
	return serving
}

// answerDrains gives the tasks that have no requests left; they are forgotten.
func (b *LB) answerDrains(ctx context.Context) []string {
	if len(b.draining.tasks) == 0 || b.applied == nil {
		return nil // or it is not known yet what HAProxy has
	}
	b.proxy.Sweep(ctx)
	serving, all := b.seeDraining(b.applied), map[[2]string]bool{}
	for _, l := range b.draining.tasks {
		for key := range l.servers {
			all[key] = true
		}
	}
	busy := b.proxy.Leaving(ctx, all)
	var out []string
	for task, l := range b.draining.tasks {
		still := serving[task]
		for key := range l.servers {
			still = still || busy[key]
		}
		switch {
		case still && time.Since(l.since) > drainGone:
			delete(b.draining.tasks, task)
		// One that was never seen may be in a listing that waits to be applied.
		case !still && (len(l.servers) > 0 || time.Since(l.since) > 2*b.cfg.ChangeInterval):
			delete(b.draining.tasks, task)
			out = append(out, task)
		}
	}
	return out
}

// report tells the framework of drained tasks, one report after the other.
func (b *LB) reportDrains(ctx context.Context, reports <-chan []string) {
	for {
		select {
		case <-ctx.Done():
			return
		case tasks := <-reports:
			if err := b.follow.Drained(ctx, tasks); err != nil && ctx.Err() == nil {
				b.log.Warn("the framework does not hear of drained tasks; it kills them in its own time", "error", err)
			}
		}
	}
}

// reportLater hands tasks to reportDrains.
func (b *LB) reportLater(tasks []string) {
	select {
	case b.reports <- tasks:
	default: // the framework answers none; its kills wait their time
	}
}

// drainQueue hands tasks from the follower to the loop.
type drainQueue struct {
	mu    sync.Mutex // guards tasks
	tasks []string
	wake  chan struct{}
}

func (q *drainQueue) add(task string) {
	q.mu.Lock()
	if len(q.tasks) < drainAsked {
		q.tasks = append(q.tasks, task)
	}
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *drainQueue) take() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	out := q.tasks
	q.tasks = nil
	return out
}
