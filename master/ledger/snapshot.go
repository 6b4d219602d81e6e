package ledger

import (
	"sort"
	"time"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
)

// Snapshot is everything readers may print, as of one moment. It and all it points to
// are never changed again; successive snapshots share what did not change.
type Snapshot struct {
	Now         time.Time // of the last event in it
	Elected     time.Time // start of this term
	Master      *mesos.MasterInfo
	Agents      []*AgentView       // registered: connected or disconnected; by registration number
	Recovered   []*mesos.AgentInfo // in the registry, not heard of in this term
	Unreachable []Absence          // marked unreachable, oldest first
	Gone        []Absence          // marked gone, oldest first
	Frameworks  []*FrameworkView   // subscribed, disconnected or recovered; by id
	Completed   []*FrameworkView   // removed, oldest first
	Offers      int                // outstanding
	Counters    Counters           // since the start of this term
}

// AgentView is one registered agent.
type AgentView struct {
	ID           AgentID
	Info         *mesos.AgentInfo
	PID          PID
	Version      string
	Capabilities []*mesos.AgentInfo_Capability
	Connected    bool
	Active       bool // takes part in offers
	Deactivated  bool // by an operator
	Registered   time.Time
	Reregistered time.Time // zero until it came back once
	Total        resource.Resources
	Used         resource.Resources // tasks and executors, with allocation
	Offered      resource.Resources // with allocation
}

// FrameworkView is one framework with its tasks.
type FrameworkView struct {
	ID           FrameworkID
	Info         *mesos.FrameworkInfo
	PID          PID // empty for HTTP frameworks
	Roles        []string
	Suppressed   []string
	Constraints  *scheduler.OfferConstraints
	Active       bool // takes offers
	Connected    bool
	Recovered    bool // only an agent told of it so far
	Registered   time.Time
	Reregistered time.Time     // zero until it subscribed again
	Unregistered time.Time     // zero while it is there
	Tasks        []*mesos.Task // live, and ended ones whose end is not acknowledged; by launch
	Unreachable  []*mesos.Task // on unreachable agents, oldest first
	CompletedT   []*mesos.Task // ended, oldest first
	Offers       []*mesos.Offer
	Executors    []ExecutorView // custom executors only
	Used         resource.Resources
	Offered      resource.Resources
}

// ExecutorView is one custom executor.
type ExecutorView struct {
	Agent AgentID
	Info  *mesos.ExecutorInfo
}

// viewCache remembers the views that did not change since the last snapshot.
type viewCache struct {
	touchedA   map[AgentID]bool
	touchedF   map[FrameworkID]bool
	agentViews map[AgentID]*AgentView
	fwViews    map[FrameworkID]*FrameworkView
}

func newViewCache() viewCache {
	return viewCache{touchedA: map[AgentID]bool{}, touchedF: map[FrameworkID]bool{},
		agentViews: map[AgentID]*AgentView{}, fwViews: map[FrameworkID]*FrameworkView{}}
}

func (l *Ledger) touchAgent(a *agent)         { l.view.touchedA[a.id] = true }
func (l *Ledger) touchFramework(f *framework) { l.view.touchedF[f.id] = true }
func (l *Ledger) forgetAgent(id AgentID)      { l.view.touchedA[id] = true }
func (l *Ledger) forgetFramework(id FrameworkID) {
	l.view.touchedF[id] = true
}

// Snapshot gives the book for readers. Its cost is that of what changed since the last
// one, plus one pointer for each agent and framework.
func (l *Ledger) Snapshot() *Snapshot {
	v := &l.view
	for id := range v.touchedA {
		if a := l.agents[id]; a != nil {
			v.agentViews[id] = a.view()
		} else {
			delete(v.agentViews, id)
		}
	}
	for id := range v.touchedF {
		if f := l.frameworks[id]; f != nil {
			v.fwViews[id] = f.view(time.Time{})
		} else {
			delete(v.fwViews, id)
		}
	}
	clear(v.touchedA)
	clear(v.touchedF)
	s := &Snapshot{Now: l.now, Elected: l.started, Master: l.cfg.Master, Offers: len(l.offers), Counters: l.count.clone(),
		Unreachable: l.unreachable.list(), Gone: l.gone.list(),
		Completed: append([]*FrameworkView(nil), l.completed.items...)}
	for _, a := range v.agentViews {
		s.Agents = append(s.Agents, a)
	}
	sort.Slice(s.Agents, func(i, j int) bool { return idLess(string(s.Agents[i].ID), string(s.Agents[j].ID)) })
	for _, f := range v.fwViews {
		s.Frameworks = append(s.Frameworks, f)
	}
	sort.Slice(s.Frameworks, func(i, j int) bool { return s.Frameworks[i].ID < s.Frameworks[j].ID })
	for _, r := range l.recovered {
		s.Recovered = append(s.Recovered, r.info)
	}
	sort.Slice(s.Recovered, func(i, j int) bool {
		return idLess(s.Recovered[i].GetId().GetValue(), s.Recovered[j].GetId().GetValue())
	})
	return s
}

// idLess orders ids that end in a number by that number.
func idLess(a, b string) bool {
	if len(a) != len(b) {
		return len(a) < len(b)
	}
	return a < b
}

func (a *absences) list() []Absence {
	if len(a.since) == 0 {
		return nil
	}
	out := make([]Absence, 0, len(a.since))
	for _, id := range a.order {
		if since, known := a.since[id]; known {
			out = append(out, Absence{Agent: id, Since: since})
		}
	}
	return out
}

func (a *agent) view() *AgentView {
	v := &AgentView{ID: a.id, Info: a.info, PID: a.pid, Version: a.version, Capabilities: a.capabilities,
		Connected: a.connected, Active: a.connected, Registered: a.registered, Reregistered: a.reregistered,
		Total: a.total, Offered: a.offered}
	owners := make([]FrameworkID, 0, len(a.used))
	for id := range a.used {
		owners = append(owners, id)
	}
	sort.Slice(owners, func(i, j int) bool { return owners[i] < owners[j] })
	for _, id := range owners {
		v.Used = v.Used.Add(a.used[id])
	}
	return v
}

// view gives the framework for readers; ended is its end, or zero while it is there.
func (f *framework) view(ended time.Time) *FrameworkView {
	v := &FrameworkView{ID: f.id, Info: f.info, PID: f.conn.PID, Roles: f.roles, Suppressed: f.suppressed,
		Constraints: f.constraints, Active: f.active && !f.conn.None(), Connected: !f.conn.None(), Recovered: f.recovered,
		Registered: f.registered, Reregistered: f.reregistered, Unregistered: ended, Used: f.used, Offered: f.offered,
		Unreachable: append([]*mesos.Task(nil), f.unreachable.items...),
		CompletedT:  append([]*mesos.Task(nil), f.completed.items...)}
	for _, t := range f.sortedTasks() {
		v.Tasks = append(v.Tasks, t.proto)
	}
	for _, o := range sortedOffers(f.offers) {
		v.Offers = append(v.Offers, o.wire)
	}
	keys := make([]executorKey, 0, len(f.executors))
	for key := range f.executors {
		keys = append(keys, key)
	}
	sort.Slice(keys, func(i, j int) bool {
		if keys[i].agent != keys[j].agent {
			return idLess(string(keys[i].agent), string(keys[j].agent))
		}
		return keys[i].executor < keys[j].executor
	})
	for _, key := range keys {
		v.Executors = append(v.Executors, ExecutorView{Agent: key.agent, Info: f.executors[key].info})
	}
	return v
}
