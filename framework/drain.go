package framework

import (
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
	"github.com/stoa-project/stoa/framework/feed"
)

// Kills of tasks wait until the load balancers that are attached to the event stream have
// taken the task out of service, or for the label HAPROXY_{n}_DRAIN_SECONDS of the app
// (marathon-lb.md 19.2). Without such a load balancer nothing waits.
const (
	drainDefault = 5 * time.Second
	drainMost    = 600 * time.Second
)

// drains holds kills back during one term. Its methods may be called from any goroutine.
type drains struct {
	feed  *feed.Feed
	shown func() *core.Snapshot
	send  func(core.Effect)

	mu      sync.Mutex // guards the fields below
	waiting map[app.TaskID]*heldKill
	over    bool
}

// heldKill is one kill that waits.
type heldKill struct {
	kill  core.Kill
	open  map[string]bool // load balancers that have not answered
	timer *time.Timer
}

// hold takes a kill and tells whether it is held back; one that is not the caller sends.
func (d *drains) hold(k core.Kill) bool {
	names := d.feed.Balancers()
	if len(names) == 0 {
		return false
	}
	instance, path, wait := d.judge(k.Task)
	if wait <= 0 {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over {
		return false
	}
	if d.waiting[k.Task] != nil {
		return true // asked again while it waits
	}
	h := &heldKill{kill: k, open: map[string]bool{}}
	for _, n := range names {
		h.open[n] = true
	}
	if d.waiting == nil {
		d.waiting = map[app.TaskID]*heldKill{}
	}
	d.waiting[k.Task] = h
	h.timer = time.AfterFunc(wait, func() { d.release(func(task app.TaskID, _ *heldKill) bool { return task == k.Task }) })
	d.feed.Publish(feed.DrainStarted{At: core.At(app.At(time.Now())), App: path, Instance: instance, Task: k.Task, Seconds: int(wait.Seconds())})
	return true
}

// judge tells whose task it is and how long its kill may wait; nothing waits for a task
// that does not run.
func (d *drains) judge(task app.TaskID) (app.InstanceID, app.PathID, time.Duration) {
	id, _, err := task.Parse()
	snap := d.shown()
	if err != nil || snap == nil {
		return "", "", 0
	}
	i := snap.Instance(id)
	if i == nil || i.Condition != app.Running && i.Condition != app.Killing {
		return "", "", 0
	}
	if i.OfPod() { // no load balancer knows of pods
		return "", "", 0
	}
	wait := drainDefault
	if a := snap.App(i.App, i.AppVersion); a != nil {
		wait = drainSeconds(a.Labels)
	}
	return id, i.App, wait
}

// drainSeconds gives the longest of the ports' labels, five seconds without any. A value
// that is no number counts as none.
func drainSeconds(labels map[string]string) time.Duration {
	longest, found := time.Duration(0), false
	for k, v := range labels {
		if !strings.HasPrefix(k, "HAPROXY_") || !strings.HasSuffix(k, "_DRAIN_SECONDS") {
			continue
		}
		if n, err := strconv.Atoi(strings.TrimSpace(v)); err == nil && n >= 0 {
			found = true
			longest = max(longest, min(time.Duration(n)*time.Second, drainMost))
		}
	}
	if !found {
		return drainDefault
	}
	return longest
}

// release sends the kills that match.
func (d *drains) release(match func(app.TaskID, *heldKill) bool) {
	d.mu.Lock()
	var ready []core.Kill
	for task, h := range d.waiting {
		if match(task, h) {
			h.timer.Stop()
			delete(d.waiting, task)
			ready = append(ready, h.kill)
		}
	}
	d.mu.Unlock()
	for _, k := range ready {
		// The task may have ended by itself meanwhile.
		if _, _, wait := d.judge(k.Task); wait > 0 {
			d.send(k)
		}
	}
}

// drained takes a load balancer's word that tasks have no requests left.
func (d *drains) drained(balancer string, tasks []app.TaskID) {
	d.mu.Lock()
	for _, t := range tasks {
		if h := d.waiting[t]; h != nil {
			delete(h.open, balancer)
		}
	}
	d.mu.Unlock()
	d.release(func(_ app.TaskID, h *heldKill) bool { return len(h.open) == 0 })
}

// gone forgets a load balancer that is no longer attached.
func (d *drains) gone(balancer string) {
	d.release(func(_ app.TaskID, h *heldKill) bool {
		delete(h.open, balancer)
		return len(h.open) == 0
	})
}

// close drops what waits; the next term decides anew.
func (d *drains) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.over = true
	for _, h := range d.waiting {
		h.timer.Stop()
	}
	clear(d.waiting)
}

// Drained implements rest.Drains.
func (f *Framework) Drained(balancer string, tasks []app.TaskID) {
	if t := f.term.Load(); t != nil {
		t.drains.drained(balancer, tasks)
	}
}

func (f *Framework) balancerGone(name string) {
	if t := f.term.Load(); t != nil {
		t.drains.gone(name)
	}
}
