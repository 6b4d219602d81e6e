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
	Agents      []*AgentView       // registered: connected or disconnected; as they came in this term
	Recovered   []*mesos.AgentInfo // in the registry, not heard of in this term
	Unreachable []Absence          // marked unreachable, oldest first
	Gone        []Absence          // marked gone, oldest first
	Frameworks  []*FrameworkView   // subscribed, disconnected or recovered; as they came in this term
	Completed   []*FrameworkView   // removed, oldest first
	Offers      int                // outstanding
	Counters    Counters           // since the start of this term
	Policies    *Policies          // what operators set for the whole cluster
}

// AgentView is one registered agent.
type AgentView struct {
	ID           AgentID
	Info         *mesos.AgentInfo
	PID          PID
	Version      string
	Capabilities []*mesos.AgentInfo_Capability
	Connected    bool
	Active       bool      // takes part in offers
	Standing               // what an operator ordered
	DrainSince   time.Time // when this master told it to drain; zero: it did not
	Registered   time.Time
	Reregistered time.Time // zero until it came back once
	Total        resource.Resources
	Used         resource.Resources // tasks and executors, with allocation
	Offered      resource.Resources // with allocation
	Operations   []*mesos.Operation // not acknowledged to their end yet; as they were started
	Providers    []ProviderView     // by id
}

// ProviderView is one resource provider of an agent.
type ProviderView struct {
	Info  *mesos.ResourceProviderInfo
	Total resource.Resources
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
	Reregistered time.Time      // zero until it subscribed again
	Unregistered time.Time      // zero while it is there
	Tasks        []*mesos.Task  // live, and ended ones whose end is not acknowledged; by launch
	Unreachable  []*mesos.Task  // on unreachable agents, oldest first
	CompletedT   []*mesos.Task  // ended, oldest first
	Offers       []*mesos.Offer // as they were made
	Inverse      []*mesos.InverseOffer
	Executors    []ExecutorView // custom executors only, as they came
	Used         resource.Resources
	Offered      resource.Resources
	Count        FrameworkCounters
}

// ExecutorView is one custom executor.
type ExecutorView struct {
	Agent AgentID
	Info  *mesos.ExecutorInfo
}

// viewCache remembers what did not change since the last snapshot.
type viewCache struct {
	touchedA   map[AgentID]bool
	touchedF   map[FrameworkID]bool
	agents     line[*AgentView]
	frameworks line[*FrameworkView]
	placeA     map[AgentID]*int // in agents
	placeF     map[FrameworkID]*int
	recovered  []*mesos.AgentInfo // by id; of all that are still recovered, and of some that came back
}

func newViewCache() viewCache {
	return viewCache{touchedA: map[AgentID]bool{}, touchedF: map[FrameworkID]bool{},
		placeA: map[AgentID]*int{}, placeF: map[FrameworkID]*int{}}
}

func (l *Ledger) touchAgent(a *agent)         { l.view.touchedA[a.id] = true }
func (l *Ledger) touchFramework(f *framework) { l.view.touchedF[f.id] = true }
func (l *Ledger) forgetAgent(id AgentID)      { l.view.touchedA[id] = true }
func (l *Ledger) forgetFramework(id FrameworkID) {
	l.view.touchedF[id] = true
}

// renew puts the present views of what was touched in their places in the line; view
// gives nil for what is gone. Newcomers go to the end, by id.
func renew[ID ~string, V any](line *line[*V], places map[ID]*int, touched map[ID]bool, view func(ID) *V) {
	var come []ID
	for id := range touched {
		at := places[id]
		if at == nil {
			come = append(come, id)
			continue
		}
		if now := view(id); now != nil {
			line.set(*at, now)
		} else {
			line.remove(*at)
			delete(places, id)
		}
	}
	sort.Slice(come, func(i, j int) bool { return idLess(come[i], come[j]) })
	for _, id := range come {
		if now := view(id); now != nil {
			places[id] = new(int)
			line.add(now, places[id])
		}
	}
	clear(touched)
}

// Snapshot gives the book for readers. It runs on the owner's time, so that its cost is
// that of what changed since the last one plus one pointer for each agent and framework,
// and one for each task of the frameworks that changed: nothing is sorted or encoded.
func (l *Ledger) Snapshot() *Snapshot {
	v := &l.view
	renew(&v.agents, v.placeA, v.touchedA, func(id AgentID) *AgentView {
		if a := l.agents[id]; a != nil {
			return a.view()
		}
		return nil
	})
	renew(&v.frameworks, v.placeF, v.touchedF, func(id FrameworkID) *FrameworkView {
		if f := l.frameworks[id]; f != nil {
			return f.view(time.Time{})
		}
		return nil
	})
	return &Snapshot{Now: l.now, Elected: l.started, Master: l.cfg.Master, Offers: len(l.offers), Counters: l.count.clone(), Policies: l.policyView(),
		Unreachable: l.unreachable.list(), Gone: l.gone.list(), Completed: l.completed.list(),
		Agents: v.agents.list(), Frameworks: v.frameworks.list(), Recovered: l.recoveredList()}
}

// recoveredList gives the recovered agents by id. All of them come in the first step of
// a term and later only leave, so that they are sorted once.
func (l *Ledger) recoveredList() []*mesos.AgentInfo {
	v := &l.view
	if v.recovered == nil && len(l.recovered) > 0 {
		for _, r := range l.recovered {
			v.recovered = append(v.recovered, r.info)
		}
		sort.Slice(v.recovered, func(i, j int) bool {
			return idLess(v.recovered[i].GetId().GetValue(), v.recovered[j].GetId().GetValue())
		})
	}
	if len(v.recovered) != len(l.recovered) {
		left := make([]*mesos.AgentInfo, 0, len(l.recovered))
		for _, info := range v.recovered {
			if l.recovered[AgentID(info.GetId().GetValue())] != nil {
				left = append(left, info)
			}
		}
		v.recovered = left
	}
	return v.recovered
}

// idLess orders ids that end in a number by that number.
func idLess[ID ~string](a, b ID) bool {
	if len(a) != len(b) {
		return len(a) < len(b)
	}
	return a < b
}

func (a *agent) view() *AgentView {
	v := &AgentView{ID: a.id, Info: a.info, PID: a.pid, Version: a.version, Capabilities: a.capabilities,
		Connected: a.connected, Active: a.active(), Standing: a.Standing, DrainSince: a.drainSince, Registered: a.registered, Reregistered: a.reregistered,
		Total: a.total, Used: a.usedSum, Offered: a.offered}
	for _, o := range sortedOperations(a.operations) {
		v.Operations = append(v.Operations, o.proto)
	}
	for _, id := range a.providerIDs() {
		v.Providers = append(v.Providers, ProviderView{Info: a.providers[id].info, Total: a.total.Filter(ofProvider(id))})
	}
	return v
}

// view gives the framework for readers; ended is its end, or zero while it is there.
func (f *framework) view(ended time.Time) *FrameworkView {
	return &FrameworkView{ID: f.id, Info: f.info, PID: f.conn.PID, Roles: f.roles, Suppressed: f.suppressed,
		Constraints: f.constraints, Active: f.active && !f.conn.None(), Connected: !f.conn.None(), Recovered: f.recovered,
		Registered: f.registered, Reregistered: f.reregistered, Unregistered: ended, Used: f.used, Offered: f.offered, Count: f.count,
		Tasks: f.line.list(), Unreachable: f.unreachable.list(), CompletedT: f.completed.list(),
		Offers: f.offerLine.list(), Executors: f.executorLine.list(), Inverse: f.inverseList()}
}
