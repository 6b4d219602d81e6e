package names

import (
	"net/netip"
	"slices"
	"time"
)

// Identifiers of the cluster's objects.
type (
	TaskID      string
	AgentID     string
	FrameworkID string
)

// Endpoint is a host, as address or name, with a port; 0: unknown.
type Endpoint struct {
	Host string
	Port uint16
}

// Agent is one host that runs tasks.
type Agent struct {
	ID  AgentID
	PID Endpoint // what follows the @ of its pid
}

// Framework is one scheduler.
type Framework struct {
	ID       FrameworkID
	Name     string
	PID      Endpoint // empty for v1 HTTP schedulers
	Hostname string
}

// Range is a range of ports, both ends included.
type Range struct{ First, Last uint16 }

// Port is a port of a task's DiscoveryInfo.
type Port struct {
	Number   uint16
	Name     string
	Protocol string // "tcp", "udp", "tcp,udp" or empty for both
}

// Health is what a task's checks said last.
type Health uint8

// The healths.
const (
	HealthUnknown Health = iota
	Healthy
	Unhealthy
)

// Addresses are the addresses of a running task by their source (mesos-dns.md section 4).
type Addresses struct {
	NetInfo []netip.Addr
	Mesos   []netip.Addr
	Docker  []netip.Addr
	Network string // name of the first container network; empty: the host's
}

func (a Addresses) empty() bool { return len(a.NetInfo)+len(a.Mesos)+len(a.Docker) == 0 }

// Task is one task, as far as its names depend on it.
type Task struct {
	ID             TaskID
	Framework      FrameworkID
	Agent          AgentID
	Name           string
	Discovery      string // DiscoveryInfo.name; empty: as if there were no DiscoveryInfo
	DiscoveryPorts []Port
	Ports          []Range // of its resources
	State          string  // TASK_RUNNING …
	Health         Health
	Addresses      Addresses
	Stamp          float64 // timestamp of the status behind Addresses and Health, in seconds
}

// Update is a change of a task's state.
type Update struct {
	Framework FrameworkID
	Task      TaskID
	State     string  // latest state
	Running   *Status // the status behind it when that is of a running task
}

// Status is what one TASK_RUNNING status says.
type Status struct {
	Stamp     float64
	Health    Health
	Addresses Addresses
}

// Snapshot is the whole cluster as a master knows it.
type Snapshot struct {
	Frameworks []Framework
	Agents     []Agent
	Recovered  []AgentID // known from the registry, not back yet
	Tasks      []Task
}

// How long names of agents outlive a snapshot without them, because a new master learns
// of its agents only when they register again.
const (
	holdUnknown   = 10 * time.Second
	holdRecovered = 10 * time.Minute // Mesos' agent_reregister_timeout
)

type taskKey struct {
	framework FrameworkID
	id        TaskID
}

type agent struct {
	Agent
	tasks map[taskKey]struct{}
	held  time.Time // zero: present; else its records go at that time
}

// State is the view of the cluster. It is not safe for concurrent use.
type State struct {
	frameworks map[FrameworkID]Framework
	agents     map[AgentID]*agent
	tasks      map[taskKey]*Task
	stale      map[taskKey]struct{} // tasks of held agents, not seen in the present snapshot
	leader     Endpoint
	masters    []Endpoint
	hosts      map[string][]netip.Addr // resolved host names; present with none: cannot be resolved
	loaded     bool
}

// NewState makes an empty view.
func NewState() *State {
	return &State{
		frameworks: map[FrameworkID]Framework{}, agents: map[AgentID]*agent{},
		tasks: map[taskKey]*Task{}, stale: map[taskKey]struct{}{}, hosts: map[string][]netip.Addr{},
	}
}

// Loaded says whether there was a snapshot.
func (s *State) Loaded() bool { return s.loaded }

// Reset takes a snapshot for the whole truth, but for agents that it lacks: these and
// their tasks stay for a while, until they register with the new master.
func (s *State) Reset(snap Snapshot, now time.Time) {
	old := s.agents
	oldTasks := s.tasks
	oldFrameworks := s.frameworks
	s.agents, s.tasks = make(map[AgentID]*agent, len(snap.Agents)), make(map[taskKey]*Task, len(snap.Tasks))
	s.frameworks, s.stale = make(map[FrameworkID]Framework, len(snap.Frameworks)), map[taskKey]struct{}{}
	s.loaded = true
	for _, f := range snap.Frameworks {
		s.frameworks[f.ID] = f
	}
	for _, a := range snap.Agents {
		s.agents[a.ID] = &agent{Agent: a, tasks: map[taskKey]struct{}{}}
	}
	for id, a := range old {
		if _, back := s.agents[id]; back {
			continue
		}
		until := a.held
		if until.IsZero() {
			until = now.Add(holdUnknown)
			if slices.Contains(snap.Recovered, id) {
				until = now.Add(holdRecovered)
			}
		}
		if !until.After(now) {
			continue
		}
		s.agents[id] = &agent{Agent: a.Agent, tasks: map[taskKey]struct{}{}, held: until}
		for key := range a.tasks {
			t := oldTasks[key]
			s.put(*t)
			s.stale[key] = struct{}{}
			if f, ok := oldFrameworks[t.Framework]; ok {
				if _, known := s.frameworks[f.ID]; !known {
					s.frameworks[f.ID] = f
				}
			}
		}
	}
	for _, t := range snap.Tasks {
		s.PutTask(t)
	}
}

// PutTask adds or replaces a task.
func (s *State) PutTask(t Task) {
	key := taskKey{t.Framework, t.ID}
	if old := s.tasks[key]; old != nil && t.State == Running && t.Addresses.empty() && old.Agent == t.Agent {
		t.Addresses = old.Addresses // a status without network information does not undo an older one with it
	}
	delete(s.stale, key)
	s.drop(key)
	if ended(t.State) {
		return
	}
	s.put(t)
}

// Running is the state of tasks that have records.
const Running = "TASK_RUNNING"

// ended lists the states a task does not come back from. Unreachable tasks may.
func ended(state string) bool {
	switch state {
	case "TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_ERROR", "TASK_LOST", "TASK_DROPPED", "TASK_GONE", "TASK_GONE_BY_OPERATOR":
		return true
	}
	return false
}

// UpdateTask changes a known task. Older statuses change the state only.
func (s *State) UpdateTask(u Update) {
	key := taskKey{u.Framework, u.Task}
	t := s.tasks[key]
	if t == nil {
		return
	}
	if ended(u.State) {
		s.drop(key)
		return
	}
	next := *t
	next.State = u.State
	if u.Running != nil {
		next.Merge(*u.Running)
	}
	delete(s.stale, key)
	*t = next
}

// PutAgent adds or replaces an agent. Tasks that were only held for it go, because all
// that it still runs has been reported before.
func (s *State) PutAgent(a Agent) {
	if old := s.agents[a.ID]; old != nil {
		for key := range old.tasks {
			if _, stale := s.stale[key]; stale {
				s.drop(key)
			}
		}
		old.Agent, old.held = a, time.Time{}
		return
	}
	n := &agent{Agent: a, tasks: map[taskKey]struct{}{}}
	for key, t := range s.tasks { // tasks may be reported before their agent
		if t.Agent == a.ID {
			n.tasks[key] = struct{}{}
		}
	}
	s.agents[a.ID] = n
}

// RemoveAgent removes an agent with its tasks.
func (s *State) RemoveAgent(id AgentID) {
	if a := s.agents[id]; a != nil {
		for key := range a.tasks {
			s.drop(key)
		}
		delete(s.agents, id)
	}
}

// PutFramework adds or replaces a framework.
func (s *State) PutFramework(f Framework) {
	if f.PID == (Endpoint{}) {
		f.PID = s.frameworks[f.ID].PID
	}
	s.frameworks[f.ID] = f
}

// RemoveFramework removes a framework with its tasks.
func (s *State) RemoveFramework(id FrameworkID) {
	delete(s.frameworks, id)
	for key := range s.tasks {
		if key.framework == id {
			s.drop(key)
		}
	}
}

// SetMasters replaces what is known about masters. The leader may be missing in masters.
func (s *State) SetMasters(leader Endpoint, masters []Endpoint) {
	s.leader, s.masters = leader, masters
}

// SetLeader replaces the leading master only.
func (s *State) SetLeader(leader Endpoint) { s.leader = leader }

// SetHost tells the addresses of a host name; none when it cannot be resolved.
func (s *State) SetHost(name string, addrs []netip.Addr) { s.hosts[name] = addrs }

// Expire drops what was held for agents that did not come back; changed says whether
// there was any, next is when to call again (zero: never).
func (s *State) Expire(now time.Time) (changed bool, next time.Time) {
	for id, a := range s.agents {
		switch {
		case a.held.IsZero():
		case !a.held.After(now):
			s.RemoveAgent(id)
			changed = true
		case next.IsZero() || a.held.Before(next):
			next = a.held
		}
	}
	return changed, next
}

// Unresolved lists host names that records depend on, each with whether its addresses
// were asked for before.
func (s *State) Unresolved() map[string]bool {
	out := map[string]bool{}
	note := func(host string) {
		if host == "" {
			return
		}
		if _, err := netip.ParseAddr(host); err != nil {
			_, out[host] = s.hosts[host]
		}
	}
	note(s.leader.Host)
	for _, m := range s.masters {
		note(m.Host)
	}
	for _, a := range s.agents {
		note(a.PID.Host)
	}
	for _, f := range s.frameworks {
		note(f.host())
	}
	for host := range s.hosts { // forget names nothing depends on any more
		if _, needed := out[host]; !needed {
			delete(s.hosts, host)
		}
	}
	return out
}

// host is where the framework's scheduler is.
func (f Framework) host() string {
	if f.PID.Host != "" {
		return f.PID.Host
	}
	return f.Hostname
}

// addrs gives the addresses of a host, none when it is not resolved.
func (s *State) addrs(host string) []netip.Addr {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a.Unmap()}
	}
	return s.hosts[host]
}

// put and drop keep tasks and their agents' lists in step.
func (s *State) put(t Task) {
	key := taskKey{t.Framework, t.ID}
	s.tasks[key] = &t
	if a := s.agents[t.Agent]; a != nil {
		a.tasks[key] = struct{}{}
	}
}

func (s *State) drop(key taskKey) {
	t := s.tasks[key]
	if t == nil {
		return
	}
	delete(s.tasks, key)
	delete(s.stale, key)
	if a := s.agents[t.Agent]; a != nil {
		delete(a.tasks, key)
	}
}

// Merge takes over a TASK_RUNNING status that is not older than the last one. One without
// network information does not undo an older one with it.
func (t *Task) Merge(st Status) {
	if st.Stamp < t.Stamp {
		return
	}
	t.Stamp, t.Health = st.Stamp, st.Health
	if !st.Addresses.empty() {
		t.Addresses = st.Addresses
	}
}
