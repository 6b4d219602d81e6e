package allocate

import (
	"container/heap"
	"slices"
	"time"

	"github.com/stoa-project/stoa/internal/resource"
)

// filter remembers that a client declined resources of the agent it is kept with. It
// holds no pointers: there may be many millions.
type filter struct {
	until   int64  // tick at which it ends
	client  uint32 // index
	epoch   uint32 // of the client; an older one is void: the client revived since
	refusal uint32 // index in agent.refusals
}

// refusal is resources that one or more clients declined on an agent.
type refusal struct {
	list    resource.Resources
	users   int    // filters; 0: the place is free
	version uint64 // of the agent's free resources for which covers was found
	covers  bool   // declined is all that the agent has free
}

// tick is the grain of time of filters; they end at the first tick that is not too early.
const tick = 10 * time.Millisecond

func tickAt(t time.Time) int64 { return (t.UnixNano() + int64(tick) - 1) / int64(tick) }

// where names the filters of one client on one agent, by agent slot and client index.
type where struct{ slot, client uint32 }

// wheel is when filters end: those that end at the same tick lie together.
type wheel struct {
	at    map[int64][]where
	ticks tickHeap // the keys of at
	size  int
}

func (w *wheel) add(at int64, what where) {
	list, has := w.at[at]
	if !has {
		heap.Push(&w.ticks, at)
	}
	w.at[at] = append(list, what)
	w.size++
}

func (w *wheel) next() (time.Time, bool) {
	if len(w.ticks) == 0 {
		return time.Time{}, false
	}
	return time.Unix(0, w.ticks[0]*int64(tick)), true
}

type tickHeap []int64

func (h tickHeap) Len() int           { return len(h) }
func (h tickHeap) Less(i, j int) bool { return h[i] < h[j] }
func (h tickHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *tickHeap) Push(x any)        { *h = append(*h, x.(int64)) }
func (h *tickHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}

// maxFilters bounds the filters of one client on one agent: the oldest makes room. A
// framework that declines growing amounts again and again would pile them up otherwise.
const maxFilters = 64

// of gives the range of a client's filters on the agent.
func (a *agent) of(c *client) (from, to int) {
	index := uint32(c.index)
	from, _ = slices.BinarySearchFunc(a.filters, index, func(f filter, index uint32) int {
		switch {
		case f.client < index:
			return -1
		case f.client > index:
			return 1
		}
		return 0
	})
	for to = from; to < len(a.filters) && a.filters[to].client == index; to++ {
	}
	return from, to
}

// refuse remembers a decline for d, or for one interval if that is longer (3.4).
func (al *Allocator) refuse(now time.Time, a *agent, c *client, r resource.Resources, d time.Duration) {
	if al.wheel.size-al.ghosts >= al.cfg.MaxFilters {
		d = 0
	}
	until := tickAt(now.Add(max(d, al.cfg.Interval)))
	from, to := a.of(c)
	kept := from
	for i := from; i < to; i++ {
		f := a.filters[i]
		void := f.epoch != c.epoch
		// One that is contained in the new one and ends no later adds nothing.
		if void || (f.until <= until && r.Contains(a.refusals[f.refusal].list)) || (to-from >= maxFilters && i == from) {
			a.dropRefusal(f.refusal)
			if !void {
				al.ghosts++
				al.counted(c, -1)
			}
			continue
		}
		a.filters[kept] = f
		kept++
	}
	f := filter{until: until, client: uint32(c.index), epoch: c.epoch, refusal: a.refusalOf(r)}
	if kept < to {
		a.filters[kept] = f
		a.filters = slices.Delete(a.filters, kept+1, to)
	} else {
		a.filters = slices.Insert(a.filters, to, f)
	}
	a.mask |= c.bit()
	al.counted(c, +1)
	al.wheel.add(until, where{uint32(a.slot), uint32(c.index)})
	al.sweep()
}

func (al *Allocator) counted(c *client, by int) {
	c.declined += by
	c.role.declined += by
}

// refusalOf finds the same refusal by another client, or makes one.
func (a *agent) refusalOf(r resource.Resources) uint32 {
	place := -1
	for i := range a.refusals {
		switch old := &a.refusals[i]; {
		case old.users == 0:
			place = i
		case old.list.Equal(r):
			old.users++
			return uint32(i)
		}
	}
	switch { // keep what is kept already
	case r.Equal(a.free.list):
		r = a.free.list
	case r.Equal(a.total.list):
		r = a.total.list
	}
	fresh := refusal{list: r, users: 1}
	if place < 0 {
		a.refusals = append(a.refusals, fresh)
		return uint32(len(a.refusals) - 1)
	}
	a.refusals[place] = fresh
	return uint32(place)
}

func (a *agent) dropRefusal(i uint32) {
	if a.refusals[i].users--; a.refusals[i].users == 0 {
		a.refusals[i].list = nil
	}
}

// bit is a client's place in agent.mask: most clients that are not in filters are seen by
// it, without a look at them.
func (c *client) bit() uint64 { return 1 << (c.index % 64) }

// remask makes mask anew after filters went.
func (a *agent) remask() {
	a.mask = 0
	for _, f := range a.filters {
		a.mask |= 1 << (f.client % 64)
	}
}

// refused tells whether an offer is a subset of something the client declined (T19).
func (al *Allocator) refused(a *agent, c *client, s *stock) bool {
	if c.declined == 0 || a.mask&c.bit() == 0 {
		return false
	}
	whole := identical(s.list, a.free.list)
	from, to := a.of(c)
	for _, f := range a.filters[from:to] {
		if f.epoch != c.epoch {
			continue
		}
		r := &a.refusals[f.refusal]
		switch {
		case !whole:
			if r.list.Contains(s.list) {
				return true
			}
			continue
		case r.version != a.version:
			r.version = a.version
			r.covers = identical(r.list, s.list) || r.list.Contains(s.list)
		}
		if r.covers {
			return true
		}
	}
	return false
}

// expire drops the filters that have ended; their agents are offered on.
func (al *Allocator) expire(now time.Time) {
	for len(al.wheel.ticks) > 0 && al.wheel.ticks[0]*int64(tick) <= now.UnixNano() {
		at := heap.Pop(&al.wheel.ticks).(int64)
		list := al.wheel.at[at]
		delete(al.wheel.at, at)
		al.wheel.size -= len(list)
		for _, w := range list {
			al.expired(w, at)
		}
	}
	al.ghosts = min(al.ghosts, al.wheel.size)
}

func (al *Allocator) expired(w where, at int64) {
	a, c := al.slots[w.slot], al.clients[w.client]
	if a == nil || c == nil {
		return // ghosts
	}
	ended := false
	from, to := a.of(c)
	kept := from
	for _, f := range a.filters[from:to] {
		if f.epoch == c.epoch && f.until > at {
			a.filters[kept] = f
			kept++
			continue
		}
		if a.dropRefusal(f.refusal); f.epoch == c.epoch {
			al.counted(c, -1)
			ended = true
		}
	}
	a.filters = slices.Delete(a.filters, kept, to)
	a.remask()
	if ended && a.idle() && c.wants() {
		al.soon(a)
	}
}

// dropFilters forgets everything a client declined.
func (al *Allocator) dropFilters(c *client) {
	al.ghosts += c.declined
	al.counted(c, -c.declined)
	al.epochs++
	c.epoch = al.epochs
	al.sweep()
}

// dropAgentFilters forgets everything that was declined on an agent.
func (al *Allocator) dropAgentFilters(a *agent) {
	for _, f := range a.filters {
		if c := al.clients[f.client]; c != nil && c.epoch == f.epoch {
			al.ghosts++
			al.counted(c, -1)
		}
	}
	a.filters, a.refusals, a.mask = nil, nil, 0
}

// sweep frees the memory of void filters once they are most of all.
func (al *Allocator) sweep() {
	if al.ghosts < 1024 || al.ghosts < al.wheel.size/2 {
		return
	}
	al.ghosts = 0
	al.wheel = wheel{at: map[int64][]where{}}
	for _, a := range al.slots {
		if a == nil {
			continue
		}
		kept := a.filters[:0]
		for _, f := range a.filters {
			if c := al.clients[f.client]; c == nil || c.epoch != f.epoch {
				a.dropRefusal(f.refusal)
				continue
			}
			kept = append(kept, f)
			al.wheel.add(f.until, where{uint32(a.slot), f.client})
		}
		a.filters = slices.Clip(kept)
		a.remask()
	}
}

// Remembered is the number of declines held in memory, those of no account included.
func (al *Allocator) Remembered() int { return al.wheel.size }
