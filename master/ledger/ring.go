package ledger

import (
	"slices"
	"time"
)

// ring keeps the newest max values.
type ring[T any] struct {
	max   int
	items []T
}

func newRing[T any](max int) ring[T] { return ring[T]{max: max} }

// push adds v; the dropped value and true come back when the ring was full.
func (r *ring[T]) push(v T) (dropped T, full bool) {
	r.items = append(r.items, v)
	if len(r.items) <= r.max {
		return dropped, false
	}
	dropped = r.items[0]
	r.items = r.items[1:] // append makes a new array now and then, without the dropped ones
	return dropped, true
}

// list gives the values, oldest first. Readers may keep it: what is pushed later goes
// behind its end, and cut works on a copy.
func (r *ring[T]) list() []T { return r.items[:len(r.items):len(r.items)] }

// cut removes the first value that matches.
func (r *ring[T]) cut(match func(T) bool) (found T, ok bool) {
	for i, v := range r.items {
		if match(v) {
			rest := make([]T, 0, len(r.items))
			rest = append(rest, r.items[:i]...)
			r.items = append(rest, r.items[i+1:]...)
			return v, true
		}
	}
	return found, false
}

// absences remembers agents that went away, and since when.
type absences struct {
	since map[AgentID]time.Time
	order []AgentID // oldest first
	told  []Absence // what list gave last; nil when something changed since
}

func newAbsences() *absences { return &absences{since: map[AgentID]time.Time{}} }

func (a *absences) add(id AgentID, since time.Time) {
	a.remove(id)
	a.order = append(a.order, id)
	a.since[id] = since
	a.told = nil
}

func (a *absences) remove(id AgentID) bool {
	if _, known := a.since[id]; !known {
		return false
	}
	delete(a.since, id)
	a.told = nil
	a.order = slices.DeleteFunc(a.order, func(each AgentID) bool { return each == id })
	return true
}

// list gives all, oldest first; the slice is never changed again.
func (a *absences) list() []Absence {
	if a.told == nil && len(a.order) > 0 {
		a.told = make([]Absence, 0, len(a.order))
		for _, id := range a.order {
			a.told = append(a.told, Absence{Agent: id, Since: a.since[id]})
		}
	}
	return a.told
}

func (a *absences) has(id AgentID) bool { _, known := a.since[id]; return known }

// old gives the agents that went away before the limit, and the oldest of those beyond
// max.
func (a *absences) old(limit time.Time, max int) []AgentID {
	var out []AgentID
	for i, id := range a.order {
		if len(a.order)-i > max || a.since[id].Before(limit) {
			out = append(out, id)
		}
	}
	return out
}
