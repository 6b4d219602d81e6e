package ledger

import "time"

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

// absences remembers the newest max agents that went away, and since when.
type absences struct {
	max   int
	since map[AgentID]time.Time
	order []AgentID
}

func newAbsences(max int) *absences { return &absences{max: max, since: map[AgentID]time.Time{}} }

func (a *absences) add(id AgentID, since time.Time) {
	if _, known := a.since[id]; !known {
		a.order = append(a.order, id)
	}
	a.since[id] = since
	for len(a.since) > a.max {
		oldest := a.order[0]
		a.order = a.order[1:]
		delete(a.since, oldest)
	}
}

func (a *absences) remove(id AgentID) bool {
	if _, known := a.since[id]; !known {
		return false
	}
	delete(a.since, id)
	for i, each := range a.order {
		if each == id {
			a.order = append(a.order[:i:i], a.order[i+1:]...)
			break
		}
	}
	return true
}

func (a *absences) has(id AgentID) bool { _, known := a.since[id]; return known }
