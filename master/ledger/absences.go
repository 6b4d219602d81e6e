package ledger

import (
	"slices"
	"time"
)

// absences remembers agents that are unreachable or gone, oldest first.
type absences struct {
	by   map[AgentID]*absent
	line line[Absence]
	told []Absence // what list gave last; nil when something changed since
}

type absent struct {
	Absence
	place int // in the line
}

func newAbsences() *absences { return &absences{by: map[AgentID]*absent{}} }

// add puts an absence behind the others; one of the same agent is forgotten.
func (a *absences) add(e Absence) {
	a.remove(e.Agent)
	x := &absent{Absence: e}
	a.by[e.Agent] = x
	a.line.add(e, &x.place)
	a.told = nil
}

// replace changes what is known of an absent agent in its place.
func (a *absences) replace(e Absence) {
	if x := a.by[e.Agent]; x != nil {
		x.Absence = e
		a.line.set(x.place, e)
		a.told = nil
	}
}

func (a *absences) remove(id AgentID) bool {
	x := a.by[id]
	if x == nil {
		return false
	}
	delete(a.by, id)
	a.line.remove(x.place)
	a.told = nil
	return true
}

func (a *absences) has(id AgentID) bool { return a.by[id] != nil }

// get gives the absence of an agent, and whether there is one.
func (a *absences) get(id AgentID) (Absence, bool) {
	if x := a.by[id]; x != nil {
		return x.Absence, true
	}
	return Absence{}, false
}

// list gives all, oldest first; the slice is never changed again.
func (a *absences) list() []Absence {
	if a.told == nil {
		a.told = a.line.list()
	}
	return a.told
}

// old gives the agents that went away before the limit, and the oldest of those beyond
// max.
func (a *absences) old(limit time.Time, max int) []AgentID {
	var out []AgentID
	all := a.list()
	for i, e := range all {
		if len(all)-i > max || e.Since.Before(limit) {
			out = append(out, e.Agent)
		}
	}
	return out
}

// sortAbsences puts what the registry gave in order of age.
func sortAbsences(list []Absence) {
	slices.SortStableFunc(list, func(a, b Absence) int { return a.Since.Compare(b.Since) })
}
