package feed

import (
	"maps"
	"slices"
	"sync"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
)

// drainType is sent only to streams that ask for it by name: Marathon has no such event.
const drainType = "instance_drain_event"

// maxBalancer bounds the name that a load balancer gives itself, in bytes.
const maxBalancer = 128

// DrainStarted tells load balancers that a task is about to be killed, so that they take
// it out of service and say when its last request has ended.
type DrainStarted struct {
	core.At
	App      app.PathID
	Instance app.InstanceID
	Task     app.TaskID
	Seconds  int // how long the kill waits at most
}

// Type is instance_drain_event.
func (DrainStarted) Type() string { return drainType }

type drainBody struct {
	head
	AppID      app.PathID     `json:"appId"`
	InstanceID app.InstanceID `json:"instanceId"`
	TaskID     app.TaskID     `json:"taskId"`
	Seconds    int            `json:"seconds"`
}

// balancers are the load balancers that answer drains: streams that gave the query
// parameter drain, the name that they answer by.
type balancers struct {
	mu       sync.Mutex // guards attached
	attached map[string]int
}

func (b *balancers) add(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.attached == nil {
		b.attached = map[string]int{}
	}
	b.attached[name]++
}

// remove tells whether it was the name's last stream.
func (b *balancers) remove(name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.attached[name]--; b.attached[name] > 0 {
		return false
	}
	delete(b.attached, name)
	return true
}

// Balancers names the load balancers that are attached and answer drains, sorted.
func (f *Feed) Balancers() []string {
	f.balancers.mu.Lock()
	defer f.balancers.mu.Unlock()
	return slices.Sorted(maps.Keys(f.balancers.attached))
}
