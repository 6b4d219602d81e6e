package names

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
)

// EnumFramework, EnumTask and EnumRecord tell which task brought which record. A value
// that an earlier task brought is missing from later ones, as in the original.
type EnumFramework struct {
	Tasks []*EnumTask `json:"tasks"`
	Name  string      `json:"name"`
}

// EnumTask is one running task.
type EnumTask struct {
	Name    string       `json:"name"`
	ID      string       `json:"id"`
	Records []EnumRecord `json:"records"`
}

// EnumRecord is one record; Host is an address, or "target.:port" of an SRV record.
type EnumRecord struct {
	Name  string `json:"name"`
	Host  string `json:"host"`
	Rtype string `json:"rtype"`
}

// Enumerate lists all tasks with their records: frameworks and tasks by id. It looks at
// the whole zone.
func (z *Zone) Enumerate() []EnumFramework {
	byFramework := map[FrameworkID][]*entry{}
	for t := range z.tasks.all {
		if t.placed != nil {
			byFramework[t.framework()] = append(byFramework[t.framework()], t)
		}
	}
	out := make([]EnumFramework, 0, len(z.frameworks))
	seen := map[EnumRecord]struct{}{}
	for _, f := range z.frameworks {
		tasks := byFramework[f.ID]
		slices.SortFunc(tasks, func(x, y *entry) int { return cmp.Compare(x.id(), y.id()) })
		listed := EnumFramework{Name: f.Name, Tasks: make([]*EnumTask, 0, len(tasks))}
		for _, t := range tasks {
			one := &enumerator{task: &EnumTask{Name: t.name, ID: string(t.id()), Records: []EnumRecord{}}, seen: seen}
			z.rules.emit(t, one)
			listed.Tasks = append(listed.Tasks, one.task)
		}
		out = append(out, listed)
	}
	return out
}

// enumerator notes the records of one task.
type enumerator struct {
	task *EnumTask
	seen map[EnumRecord]struct{}
}

func (e *enumerator) unbuilt(string) {}

func (e *enumerator) record(o op) {
	if !validName(o.name) || o.target != "" && !validName(o.target) {
		return // the zone cannot have it either
	}
	if o.addrs == nil {
		if o.port != 0 {
			e.note(EnumRecord{o.name, o.target + ":" + strconv.Itoa(int(o.port)), "SRV"})
		}
		return
	}
	for _, a := range o.addrs.v4 {
		e.note(EnumRecord{o.name, netip.AddrFrom4(a).String(), "A"})
	}
	for _, a := range o.addrs.v6 {
		e.note(EnumRecord{o.name, netip.AddrFrom16(a).String(), "AAAA"})
	}
}

func (e *enumerator) note(r EnumRecord) {
	if _, dup := e.seen[r]; !dup {
		e.seen[r] = struct{}{}
		e.task.Records = append(e.task.Records, r)
	}
}
