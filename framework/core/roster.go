package core

import (
	"iter"
	"slices"

	"github.com/stoa-project/stoa/framework/app"
)

// chunkSize is how many instances share a chunk of a roster: what a change of one copies.
const chunkSize = 256

// roster lists the instances of an app as a snapshot shows them, in order of creation. It
// never changes: an edit copies the chunks that it touches and shares the rest, so a status
// costs the same in an app of 10 and of 100,000 instances, but for 24 bytes to copy for every
// 256 instances. An instance keeps its slot; those of forgotten ones stay empty until
// the roster is made anew.
type roster struct {
	chunks [][]*app.Instance // nil elements are empty slots
	n      int               // instances
}

func (r *roster) all() iter.Seq[*app.Instance] {
	return func(yield func(*app.Instance) bool) {
		if r == nil {
			return
		}
		for _, chunk := range r.chunks {
			for _, i := range chunk {
				if i != nil && !yield(i) {
					return
				}
			}
		}
	}
}

// rosterEdit is a roster in the making.
type rosterEdit struct {
	next *roster
	own  map[int]bool // chunks that no other roster shares
}

func (r *roster) edit() *rosterEdit {
	e := &rosterEdit{next: &roster{}, own: map[int]bool{}}
	if r != nil {
		e.next.n, e.next.chunks = r.n, slices.Clone(r.chunks)
	}
	return e
}

// put sets a slot, or empties it with nil. Slots beyond the last are added.
func (e *rosterEdit) put(slot int, i *app.Instance) {
	k, at := slot/chunkSize, slot%chunkSize
	for k >= len(e.next.chunks) {
		e.own[len(e.next.chunks)] = true
		e.next.chunks = append(e.next.chunks, nil)
	}
	if !e.own[k] {
		e.own[k] = true
		e.next.chunks[k] = slices.Clone(e.next.chunks[k])
	}
	for at >= len(e.next.chunks[k]) {
		e.next.chunks[k] = append(e.next.chunks[k], nil)
	}
	had := e.next.chunks[k][at] != nil
	e.next.chunks[k][at] = i
	if had {
		e.next.n--
	}
	if i != nil {
		e.next.n++
	}
}

// touch notes that an instance is not as the last snapshot shows it, and that the action on
// its app has to look at it again.
func (c *Core) touch(i *instance) {
	l := i.line
	l.recount(i)
	if !i.unseen {
		i.unseen = true
		l.unseen = append(l.unseen, i)
	}
	if !i.unshown {
		i.unshown = true
		l.unshown = append(l.unshown, i)
	}
	c.dirty.mark(l.id)
}

// show gives the present roster of a line.
func (l *line) show() *roster {
	if l.slots > 2*len(l.instances)+chunkSize {
		l.roster, l.slots, l.emptied, l.unshown = nil, 0, nil, nil
		for _, i := range l.instances {
			i.slot, i.unshown = l.slots, true
			l.slots++
			l.unshown = append(l.unshown, i)
		}
	}
	if len(l.unshown)+len(l.emptied) == 0 {
		return l.roster
	}
	e := l.roster.edit()
	for _, slot := range l.emptied {
		e.put(slot, nil)
	}
	for _, i := range l.unshown {
		i.unshown = false
		if !i.forgotten {
			e.put(i.slot, i.view)
		}
	}
	l.emptied, l.unshown, l.roster = nil, nil, e.next
	return l.roster
}

// enter adds an instance to its line.
func (l *line) enter(i *instance) {
	i.slot = l.slots
	l.slots++
	l.instances = append(l.instances, i)
}

// remove takes an instance out of its line.
func (l *line) remove(i *instance) {
	at, found := slices.BinarySearchFunc(l.instances, i.slot, func(o *instance, slot int) int { return o.slot - slot })
	if !found || l.instances[at] != i {
		return
	}
	i.forgotten = true
	l.tally.add(i.share, -1)
	l.instances = slices.Delete(l.instances, at, at+1)
	l.emptied = append(l.emptied, i.slot)
}
