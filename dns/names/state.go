package names

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// How long names of agents outlive a snapshot without them, because a new master learns
// of its agents only when they register again.
const (
	DefaultHold   = 10 * time.Second
	holdRecovered = 10 * time.Minute // Mesos' agent_reregister_timeout
)

type agent struct {
	Agent
	tasks   map[string]struct{}
	held    time.Time // zero: present; else its records go at that time
	addrs   *Addrs    // of PID.Host; nil: not resolved
	records []op
	usual   *placed // of tasks that have just the agent's addresses
	missing bool    // counted as skipped
}

type framework struct {
	Framework
	label   string
	held    bool // the last snapshot lacks it; it stays while it has tasks
	records []op
	skipped string // reason it is counted under
}

// State is the view of the cluster and the zone that follows from it. Every change of the
// view changes the records it concerns and no others. It is not safe for concurrent use.
type State struct {
	rules Rules
	// Hold is how long agents that a snapshot lacks keep their records, unless the master
	// awaits them.
	Hold time.Duration

	frameworks map[FrameworkID]*framework
	agents     map[AgentID]*agent
	tasks      trie[*entry]
	orphans    map[AgentID]map[string]struct{} // tasks whose agent is not known
	stale      map[string]struct{}             // tasks of held agents, not seen in the present snapshot
	groups     map[groupKey]*group
	owned      map[FrameworkID]int // tasks, also of frameworks that are not known
	leader     Endpoint
	masters    []Endpoint
	needed     map[string]int    // uses of host names
	hosts      map[string]*Addrs // resolved host names; present with nil: cannot be resolved
	loaded     bool

	// The zone.
	edit           uint64 // number of the zone being made; what has it may be changed in place
	nodes          trie[*Node]
	big4           index[[4]byte]
	big6           index[[16]byte]
	bigSRV         index[Service]
	counts         Counts
	skipped        map[string]int
	skippedChanged bool
	masterRecords  []op
	frameworkList  []Framework // of the last zone; nil: changed since
	last           *Zone

	apex, slaveName, slaveService string
}

// NewState makes an empty view.
func NewState(rules Rules) *State {
	s := &State{
		rules: rules, Hold: DefaultHold, edit: 1,
		frameworks: map[FrameworkID]*framework{}, agents: map[AgentID]*agent{},
		orphans: map[AgentID]map[string]struct{}{}, stale: map[string]struct{}{}, groups: map[groupKey]*group{}, owned: map[FrameworkID]int{},
		needed: map[string]int{}, hosts: map[string]*Addrs{},
		big4: index[[4]byte]{}, big6: index[[16]byte]{}, bigSRV: index[Service]{}, skipped: map[string]int{},
		apex: rules.Domain + ".",
	}
	s.slaveName, s.slaveService = "slave."+s.apex, "_slave._tcp."+s.apex
	s.node(s.apex).below++ // the apex always exists
	if addrs := addrsOf(rules.NameAddrs); addrs != nil && InDomain(rules.NameHost, rules.Domain) {
		s.assert(op{name: rules.NameHost, addrs: addrs})
	}
	return s
}

// Commit gives the zone as it is now. It costs the same however large the zone is.
func (s *State) Commit() *Zone {
	if s.frameworkList == nil {
		s.frameworkList = make([]Framework, 0, len(s.frameworks))
		for _, f := range s.frameworks {
			s.frameworkList = append(s.frameworkList, f.Framework)
		}
		slices.SortFunc(s.frameworkList, func(a, b Framework) int { return cmp.Compare(a.ID, b.ID) })
	}
	z := &Zone{
		Domain: s.rules.Domain, Counts: s.counts, nodes: s.nodes, tasks: s.tasks,
		frameworks: s.frameworkList, rules: s.rules,
	}
	if s.last == nil || s.skippedChanged {
		z.Skipped = maps.Clone(s.skipped)
		s.skippedChanged = false
	} else {
		z.Skipped = s.last.Skipped
	}
	s.last = z
	s.edit++
	return z
}

// Tasks counts the tasks of the view.
func (s *State) Tasks() int { return s.tasks.size }

// Loaded says whether there was a snapshot.
func (s *State) Loaded() bool { return s.loaded }

// Reset takes a snapshot for the whole truth, but for agents that it lacks: these and
// their tasks stay for a while, until they register with the new master.
func (s *State) Reset(snap Snapshot, now time.Time) {
	s.loaded = true
	for _, f := range snap.Frameworks {
		s.PutFramework(f)
	}
	present := make(map[AgentID]struct{}, len(snap.Agents))
	for _, a := range snap.Agents {
		present[a.ID] = struct{}{}
		s.putAgent(a)
	}
	recovered := make(map[AgentID]struct{}, len(snap.Recovered))
	for _, id := range snap.Recovered {
		recovered[id] = struct{}{}
	}
	for id, a := range s.agents {
		if _, ok := present[id]; ok {
			continue
		}
		if a.held.IsZero() {
			a.held = now.Add(s.Hold)
			if _, ok := recovered[id]; ok {
				a.held = now.Add(max(s.Hold, holdRecovered))
			}
		}
		if !a.held.After(now) {
			s.RemoveAgent(id)
		}
	}
	seen := make(map[string]struct{}, len(snap.Tasks))
	for i := range snap.Tasks {
		seen[taskKey(snap.Tasks[i].Framework, snap.Tasks[i].ID)] = struct{}{}
	}
	var gone []string
	for t := range s.tasks.all {
		if _, ok := seen[t.text]; ok {
			continue
		}
		if a := s.agents[t.agent]; a != nil && !a.held.IsZero() {
			s.stale[t.text] = struct{}{}
		} else {
			gone = append(gone, t.text)
		}
	}
	for _, key := range gone {
		s.drop(key)
	}
	clear(seen)
	for i := range snap.Tasks {
		s.PutTask(snap.Tasks[i])
	}
	known := make(map[FrameworkID]struct{}, len(snap.Frameworks))
	for _, f := range snap.Frameworks {
		known[f.ID] = struct{}{}
	}
	for id, f := range s.frameworks {
		_, ok := known[id]
		f.held = !ok
		s.dropHeld(id, f)
	}
}

// dropHeld removes a framework that was only held for its tasks, when these are gone.
func (s *State) dropHeld(id FrameworkID, f *framework) {
	if f.held && s.owned[id] == 0 {
		s.RemoveFramework(id)
	}
}

// PutTask adds or replaces a task.
func (s *State) PutTask(t Task) {
	key := taskKey(t.Framework, t.ID)
	old := get(&s.tasks, key)
	if ended(t.State) {
		s.drop(key)
		return
	}
	next := entryOf(t, key, old)
	if old != nil && next.state == Running && next.addresses == nil && old.agent == next.agent {
		next.addresses = old.addresses // a status without network information does not undo an older one with it
	}
	s.put(old, next)
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
	key := taskKey(u.Framework, u.Task)
	old := get(&s.tasks, key)
	if old == nil {
		return
	}
	if ended(u.State) {
		s.drop(key)
		return
	}
	next := *old
	next.state = u.State
	if u.Running != nil {
		next.merge(*u.Running)
	}
	s.put(old, &next)
}

// put keeps the task lists in step and renders.
func (s *State) put(old, t *entry) {
	delete(s.stale, t.text)
	if old == nil || old.agent != t.agent {
		s.unlist(old)
		if a := s.agents[t.agent]; a != nil {
			t.agent = a.ID // one text for all tasks there
			a.tasks[t.text] = struct{}{}
		} else {
			if s.orphans[t.agent] == nil {
				s.orphans[t.agent] = map[string]struct{}{}
			}
			s.orphans[t.agent][t.text] = struct{}{}
		}
	} else {
		t.agent = old.agent
	}
	if old == nil {
		s.owned[t.framework()]++
	}
	if old == nil || old.state != t.state || (old.health == Unhealthy) != (t.health == Unhealthy) || old.label() != t.label() {
		s.count(old, -1)
		s.count(t, 1)
	}
	s.render(get(&s.tasks, t.text), t) // counting may have replaced old
}

// unlist takes a task out of its agent's list.
func (s *State) unlist(t *entry) {
	if t == nil {
		return
	}
	if a := s.agents[t.agent]; a != nil {
		delete(a.tasks, t.text)
	} else if o := s.orphans[t.agent]; o != nil {
		delete(o, t.text)
		if len(o) == 0 {
			delete(s.orphans, t.agent)
		}
	}
}

func (s *State) drop(key string) {
	t := get(&s.tasks, key)
	if t == nil {
		return
	}
	delete(s.stale, key)
	s.unlist(t)
	if s.owned[t.framework()]--; s.owned[t.framework()] == 0 {
		delete(s.owned, t.framework())
	}
	s.count(t, -1)
	s.render(get(&s.tasks, key), nil)
}

// PutAgent adds or replaces an agent. Tasks that were only held for it go, because all
// that it still runs has been reported before.
func (s *State) PutAgent(a Agent) {
	if old := s.agents[a.ID]; old != nil && len(s.stale) > 0 {
		for key := range old.tasks {
			if _, stale := s.stale[key]; stale {
				s.drop(key)
			}
		}
	}
	s.putAgent(a)
}

func (s *State) putAgent(a Agent) {
	n := s.agents[a.ID]
	if n == nil {
		n = &agent{tasks: s.orphans[a.ID]} // tasks may be reported before their agent
		if n.tasks == nil {
			n.tasks = map[string]struct{}{}
		}
		delete(s.orphans, a.ID)
		s.agents[a.ID] = n
	} else if n.Agent == a {
		n.held = time.Time{}
		return
	}
	s.need(a.PID.Host, 1)
	s.need(n.PID.Host, -1)
	n.Agent, n.held = a, time.Time{}
	s.placeAgent(n)
}

// placeAgent renders an agent and its tasks after its addresses changed.
func (s *State) placeAgent(a *agent) {
	if addrs := s.addrs(a.PID.Host); !a.addrs.equal(addrs) {
		a.addrs = addrs
	}
	s.renderAgent(a, true)
	for key := range a.tasks {
		s.replace(key)
	}
}

// RemoveAgent removes an agent with its tasks.
func (s *State) RemoveAgent(id AgentID) {
	a := s.agents[id]
	if a == nil {
		return
	}
	for key := range a.tasks {
		s.drop(key)
	}
	s.renderAgent(a, false)
	s.need(a.PID.Host, -1)
	delete(s.agents, id)
}

// PutFramework adds or replaces a framework.
func (s *State) PutFramework(next Framework) {
	f := s.frameworks[next.ID]
	if f == nil {
		f = &framework{}
		s.frameworks[next.ID] = f
	}
	if next.PID == (Endpoint{}) {
		next.PID = f.PID
	}
	f.held = false
	if f.Framework == next {
		return
	}
	s.frameworkList = nil
	s.need(next.host(), 1)
	s.need(f.host(), -1)
	f.Framework = next
	label := s.rules.Labels.Domain(next.Name)
	changed := label != f.label
	f.label = label
	s.renderFramework(f, true)
	if changed && s.owned[next.ID] > 0 {
		for _, key := range s.tasksOf(next.ID) {
			s.replace(key)
		}
	}
}

func (s *State) tasksOf(id FrameworkID) []string {
	var keys []string
	for t := range s.tasks.all {
		if t.framework() == id {
			keys = append(keys, t.text)
		}
	}
	return keys
}

// RemoveFramework removes a framework with its tasks.
func (s *State) RemoveFramework(id FrameworkID) {
	f := s.frameworks[id]
	if f == nil {
		return
	}
	if s.owned[id] > 0 {
		for _, key := range s.tasksOf(id) {
			s.drop(key)
		}
	}
	s.renderFramework(f, false)
	s.need(f.host(), -1)
	delete(s.frameworks, id)
	s.frameworkList = nil
}

// SetMasters replaces what is known about masters. The leader may be missing in masters.
func (s *State) SetMasters(leader Endpoint, masters []Endpoint) {
	old := append(slices.Clone(s.masters), s.leader)
	s.leader, s.masters = leader, slices.Clone(masters)
	for _, m := range append(slices.Clone(masters), leader) {
		s.need(m.Host, 1)
	}
	for _, m := range old {
		s.need(m.Host, -1)
	}
	s.renderMasters()
}

// SetLeader replaces the leading master only.
func (s *State) SetLeader(leader Endpoint) { s.SetMasters(leader, s.masters) }

// Expire drops what was held for agents that did not come back; changed says whether
// there was any, next is when to call again (zero: never).
func (s *State) Expire(now time.Time) (changed bool, next time.Time) {
	for id, a := range s.agents {
		switch {
		case a.held.IsZero():
		case !a.held.After(now):
			s.RemoveAgent(id)
			changed = true
			for id, f := range s.frameworks {
				s.dropHeld(id, f)
			}
		case next.IsZero() || a.held.Before(next):
			next = a.held
		}
	}
	return changed, next
}

// host is where the framework's scheduler is.
func (f Framework) host() string {
	if f.PID.Host != "" {
		return f.PID.Host
	}
	return f.Hostname
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

// Snapshot gives the view back, to keep it somewhere: what is held counts as present. The
// tasks share their lists with the view and must not be changed.
func (s *State) Snapshot() Snapshot {
	var snap Snapshot
	for _, f := range s.frameworks {
		snap.Frameworks = append(snap.Frameworks, f.Framework)
	}
	for _, a := range s.agents {
		snap.Agents = append(snap.Agents, a.Agent)
	}
	snap.Tasks = make([]Task, 0, s.tasks.size)
	for t := range s.tasks.all {
		if t.state == Running {
			snap.Tasks = append(snap.Tasks, t.task())
		}
	}
	return snap
}
