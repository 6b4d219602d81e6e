package names

import (
	"slices"
	"unique"
)

// entry is a task as the view keeps it: there are many, so it is as small as can be, and
// texts that many tasks have are there once.
type entry struct {
	text           string // framework id, NUL and task id: the key of State.tasks
	agent          AgentID
	name           string
	discovery      string
	state          string
	discoveryPorts []Port
	ports          []Range
	addresses      *Addresses // nil: none
	placed         *placed    // nil: no records
	stamp          float64
	split          int32 // where the NUL is
	health         Health
}

func (e *entry) key() string            { return e.text }
func (e *entry) framework() FrameworkID { return FrameworkID(e.text[:e.split]) }
func (e *entry) id() TaskID             { return TaskID(e.text[e.split+1:]) }

func taskKey(f FrameworkID, id TaskID) string { return string(f) + "\x00" + string(id) }

// label is the text that a task's label is made of.
func (e *entry) label() string {
	if e.discovery != "" {
		return e.discovery
	}
	return e.name
}

// entryOf copies a task; old is what was known of it before, or nil.
func entryOf(t Task, key string, old *entry) *entry {
	e := &entry{
		text: key, agent: t.Agent, name: t.Name, discovery: t.Discovery, state: t.State,
		discoveryPorts: t.DiscoveryPorts, ports: t.Ports, stamp: t.Stamp,
		split: int32(len(t.Framework)), health: t.Health, //nolint:gosec // texts are far shorter
	}
	if e.discovery == e.name {
		e.discovery = e.name
	}
	if !t.Addresses.empty() {
		e.addresses = &t.Addresses
	}
	if old == nil {
		for i := range e.discoveryPorts {
			if i == 0 {
				e.discoveryPorts = slices.Clone(e.discoveryPorts)
			}
			p := &e.discoveryPorts[i]
			p.Name, p.Protocol = unique.Make(p.Name).Value(), unique.Make(p.Protocol).Value()
		}
		return e
	}
	e.text = old.text
	if slices.Equal(e.discoveryPorts, old.discoveryPorts) {
		e.discoveryPorts = old.discoveryPorts
	}
	return e
}

// task gives the entry back in the form it came. Its lists must not be changed.
func (e *entry) task() Task {
	t := Task{
		ID: e.id(), Framework: e.framework(), Agent: e.agent, Name: e.name, Discovery: e.discovery,
		DiscoveryPorts: e.discoveryPorts, Ports: e.ports, State: e.state, Health: e.health, Stamp: e.stamp,
	}
	if e.addresses != nil {
		t.Addresses = *e.addresses
	}
	return t
}

// merge is Task.Merge of an entry.
func (e *entry) merge(st Status) {
	if st.Stamp < e.stamp {
		return
	}
	e.stamp, e.health = st.Stamp, st.Health
	if !st.Addresses.empty() {
		e.addresses = &st.Addresses
	}
}
