package allocate

import (
	"container/heap"
	"slices"
	"time"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/master/ledger"
)

// filter remembers that a client declined resources of an agent.
type filter struct {
	client    *client
	agent     ledger.AgentID
	resources resource.Resources
	until     time.Time
	sequence  uint64
	dropped   bool // no longer counts, but is still in the heap
}

// drop takes filters out of account; they leave the heap when they are half of it or
// their time comes.
func (al *Allocator) drop(list []*filter) {
	for _, f := range list {
		if !f.dropped {
			f.dropped = true
			al.dropped++
		}
	}
	if al.dropped < 1024 || al.dropped < len(al.filters)/2 {
		return
	}
	al.filters = slices.DeleteFunc(al.filters, func(f *filter) bool { return f.dropped })
	heap.Init(&al.filters)
	al.dropped = 0
}

// dropAll forgets everything a client declined.
func (al *Allocator) dropAll(c *client) {
	for _, list := range c.filters {
		al.drop(list)
	}
	c.filters = nil
}

// maxFilters bounds the filters of one client on one agent: the oldest makes room. A
// framework that declines growing amounts again and again would pile them up otherwise.
const maxFilters = 64

func (al *Allocator) refuse(now time.Time, c *client, id ledger.AgentID, r resource.Resources, d time.Duration) {
	al.sequence++
	f := &filter{client: c, agent: id, resources: r, until: now.Add(max(d, al.cfg.Interval)), sequence: al.sequence}
	if c.filters == nil {
		c.filters = map[ledger.AgentID][]*filter{}
	}
	// A filter that is contained in the new one and ends sooner adds nothing.
	var kept, gone []*filter
	for _, old := range c.filters[id] {
		if !old.until.After(f.until) && r.Contains(old.resources) {
			gone = append(gone, old)
		} else {
			kept = append(kept, old)
		}
	}
	if len(kept) >= maxFilters {
		gone, kept = append(gone, kept[0]), kept[1:]
	}
	c.filters[id] = append(kept, f)
	heap.Push(&al.filters, f)
	al.drop(gone)
}

// filtered tells whether an offer of r is a subset of something declined (T19).
func (c *client) filtered(id ledger.AgentID, r resource.Resources) bool {
	for _, f := range c.filters[id] {
		if f.resources.Contains(r) {
			return true
		}
	}
	return false
}

// expire drops the filters that have ended; their agents become dirty.
func (al *Allocator) expire(now time.Time) {
	for len(al.filters) > 0 && !al.filters[0].until.After(now) {
		f := heap.Pop(&al.filters).(*filter)
		if f.dropped {
			al.dropped--
			continue // revived, replaced or disconnected since
		}
		list := f.client.filters[f.agent]
		i := slices.Index(list, f)
		if list = slices.Delete(list, i, i+1); len(list) == 0 {
			delete(f.client.filters, f.agent)
		} else {
			f.client.filters[f.agent] = list
		}
		if a := al.agents[f.agent]; a != nil && a.open {
			al.dirty[f.agent] = true
		}
	}
}

// Next gives the time at which a filter ends and Run is worth asking again; false when
// there is none.
func (al *Allocator) Next() (time.Time, bool) {
	if len(al.filters) == 0 {
		return time.Time{}, false
	}
	return al.filters[0].until, true
}

type filterHeap []*filter

func (h filterHeap) Len() int { return len(h) }
func (h filterHeap) Less(i, j int) bool {
	if !h[i].until.Equal(h[j].until) {
		return h[i].until.Before(h[j].until)
	}
	return h[i].sequence < h[j].sequence
}
func (h filterHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *filterHeap) Push(x any)   { *h = append(*h, x.(*filter)) }
func (h *filterHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return last
}

// Remembered is the number of declines held in memory, for metrics and tests.
func (al *Allocator) Remembered() int { return len(al.filters) }
