package core_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
	"github.com/stoa-project/stoa/framework/match"
)

// simReservation is what an agent keeps reserved for one instance.
type simReservation struct {
	blocks []match.Resource // volumes apart
	disks  []match.Resource // with volumes
	user   app.TaskID       // task that runs on it, "" for none
}

// take changes what the agent has free: -1 takes, 1 gives back.
func (a *simAgent) take(blocks []match.Resource, sign int64) {
	for _, r := range blocks {
		switch r.Name {
		case "cpus":
			a.cpus += sign * r.Milli
		case "mem":
			a.mem += sign * r.Milli
		case "disk":
			a.disk += sign * r.Milli
		}
	}
}

// ask notes roles in which offers are wanted.
func (w *world) ask(roles ...string) {
	if w.wants == nil {
		w.wants = map[string]bool{}
	}
	for _, role := range roles {
		w.wants[role] = true
	}
}

// void withdraws all offers, as the end of a subscription does.
func (w *world) void() {
	for id, a := range w.held {
		a.offered = false
		delete(w.held, id)
	}
}

// answered takes the answer to an offer, once; nil when the offer is no longer good.
func (w *world) answered(id string) *simAgent {
	a := w.held[id]
	if w.seen[id] {
		w.t.Fatalf("offer %s is answered twice", id)
	}
	w.seen[id] = true
	if a != nil {
		a.offered = false
		delete(w.held, id)
	}
	return a
}

// dropped is what the master makes of an ACCEPT of an offer that is no longer good.
func (w *world) dropped(e core.Accept) {
	for _, l := range e.Tasks {
		for k := range l.Instance.TaskCount() {
			id := l.Instance.TaskIDAt(k)
			w.seen[string(id)] = true
			w.known[id] = &knowledge{app: l.Spec.ID, instance: l.Instance.ID, version: l.Instance.AppVersion, state: "TASK_STAGING",
				checked: (&simTask{launch: l, index: k}).checked()}
			w.updates = append(w.updates, core.Update{Task: id, State: "TASK_DROPPED", Reason: "REASON_INVALID_OFFERS"})
		}
	}
}

// offerIn offers what an agent has free in a role: what nobody reserved, and what is
// reserved for instances in the role and not in use.
func (w *world) offerIn(a *simAgent, role string) {
	if w.dead || !w.wants[role] || a.down || a.offered {
		return
	}
	w.uuids++
	o := &match.Offer{ID: fmt.Sprintf("O-%s-%d", a.id, w.uuids), AgentID: a.id, Hostname: a.host, Role: role,
		Resources: []match.Resource{
			{Name: "cpus", Role: "*", Milli: a.cpus}, {Name: "mem", Role: "*", Milli: a.mem}, {Name: "disk", Role: "*", Milli: a.disk},
			{Name: "ports", Role: "*"},
		}}
	for _, p := range slices.Sorted(maps.Keys(a.ports)) {
		o.Resources[3].Ranges = append(o.Resources[3].Ranges, match.Range{Begin: p, End: p})
	}
	if role == "dev" {
		for _, id := range slices.Sorted(maps.Keys(a.owned)) {
			if r := a.owned[id]; r.user == "" {
				o.Resources = append(append(o.Resources, r.blocks...), r.disks...)
			}
		}
	}
	a.offered = true
	w.held[o.ID] = a
	w.step(core.Offers{Offers: []*match.Offer{o}})
}

// reserve is the master's side of RESERVE and CREATE.
func (w *world) reserve(a *simAgent, e core.Reserve) {
	id := e.Instance.ID
	rec := w.stored(id)
	if rec == nil && w.leftover(id) {
		rec = e.Instance // given up meanwhile, and known to be freed
	}
	if rec == nil || rec.Reservation == nil || rec.AgentID != a.id {
		w.t.Fatalf("RESERVE for %s before its record is durable: %+v", id, rec)
	}
	for _, other := range w.agents {
		if other.owned[id] != nil {
			w.t.Fatalf("%s reserves twice: on %s and %s", id, other.id, a.id)
		}
	}
	a.take(e.Resources, -1)
	a.take(e.Volumes, -1)
	if a.cpus < 0 || a.mem < 0 || a.disk < 0 {
		w.t.Fatalf("agent %s oversubscribed by the reservation of %s", a.id, id)
	}
	own := &match.Reservation{Labels: []match.Label{{Key: match.FrameworkLabel, Value: "F"}, {Key: match.InstanceLabel, Value: string(id)}}}
	r := &simReservation{}
	path, _, _ := strings.Cut(string(id), ".instance-")
	for _, b := range e.Resources {
		for _, g := range b.Ranges {
			for p := g.Begin; p <= g.End; p++ {
				if !a.ports[p] {
					w.t.Fatalf("port %d of %s is reserved for %s and not free", p, a.id, id)
				}
				delete(a.ports, p)
			}
		}
		b.Role, b.Reservation = "dev", own
		r.blocks = append(r.blocks, b)
	}
	for k, b := range e.Volumes {
		if b.Disk.Volume != rec.Reservation.Volumes[k].PersistenceID || !strings.HasPrefix(b.Disk.Volume, path+"#data#") {
			w.t.Fatalf("%s creates volume %q, its record says %+v", id, b.Disk.Volume, rec.Reservation)
		}
		b.Role, b.Reservation = "dev", own
		r.disks = append(r.disks, b)
	}
	a.owned[id] = r
	if at, before := w.lastIn[id]; before && at != a.id {
		w.t.Fatalf("%s moves from %s to %s", id, at, a.id)
	}
	w.lastIn[id] = a.id
}

// leftover tells whether the store has a leftover of the instance.
func (w *world) leftover(id app.InstanceID) bool {
	return slices.ContainsFunc(w.durable().Leftovers, func(lo *app.Leftover) bool { return lo.Instance == id })
}

// free is the master's side of DESTROY and UNRESERVE.
func (w *world) free(a *simAgent, blocks []match.Resource) {
	freed := map[app.InstanceID]bool{}
	for _, b := range blocks {
		freed[app.InstanceID(b.Owner("F"))] = true
	}
	for id := range freed {
		r := a.owned[id]
		if r == nil || r.user != "" {
			w.t.Fatalf("%s frees what %s does not have free: %+v", a.id, id, r)
		}
		if rec := w.stored(id); rec != nil {
			w.t.Fatalf("the reservation of %s is freed while its record stands: %+v", id, rec)
		}
		a.take(r.blocks, 1)
		a.take(r.disks, 1)
		for _, b := range r.blocks {
			for _, g := range b.Ranges {
				for p := g.Begin; p <= g.End; p++ {
					a.ports[p] = true
				}
			}
		}
		delete(a.owned, id)
	}
}

// occupy checks that a task runs on the reservation of its instance and on nothing else.
func (w *world) occupy(a *simAgent, l core.Launch) {
	id := l.Instance.ID
	r := a.owned[id]
	if r == nil || r.user != "" {
		w.t.Fatalf("%s is launched on %s and its reservation there is %+v", l.Instance.TaskID(), a.id, r)
	}
	volumes := 0
	for _, b := range l.Resources {
		if b.Owner("F") != string(id) {
			w.t.Fatalf("%s takes %+v, which is not its own", l.Instance.TaskID(), b)
		}
		if b.Disk != nil {
			volumes++
		}
	}
	if volumes != len(r.disks) {
		w.t.Fatalf("%s has %d of %d volumes", l.Instance.TaskID(), volumes, len(r.disks))
	}
	r.user = l.Instance.TaskID()
}

// checkServicePorts is: ports that were assigned are never shared. A roll-back brings back
// the ports that an app had, whoever has them now.
func (w *world) checkServicePorts() {
	if w.loose {
		return
	}
	taken := map[int]app.PathID{}
	for a := range w.shown.Root.AllApps() {
		for _, p := range a.ServicePorts() {
			if other, twice := taken[p]; twice || p == 0 {
				w.t.Fatalf("service port %d belongs to %s and %s", p, other, a.ID)
			}
			taken[p] = a.ID
		}
	}
}

// resident is the app with volumes of the simulations.
func resident(n int) app.App {
	a := basic("/r", n)
	a.Role = "dev"
	a.Upgrade = app.UpgradeStrategy{MinimumHealthCapacity: 0.5}
	a.Unreachable = app.UnreachableStrategy{Disabled: true}
	a.Container = &app.Container{Type: app.Mesos, Volumes: []app.Volume{
		{ContainerPath: "data", Mode: "RW", Persistent: &app.PersistentVolume{Type: "root", Size: 100}}}}
	return a
}

// reservationsAtRest checks that what is reserved belongs to instances that are there.
func (w *world) reservationsAtRest() {
	for _, a := range w.agents {
		for id, r := range a.owned {
			i := w.shown.Instance(id)
			if i == nil || i.AgentID != a.id || i.Reservation == nil {
				w.t.Errorf("%s keeps a reservation of %s, which is %+v", a.id, id, i)
			} else if (i.Goal == app.GoalRunning) != (r.user != "") {
				w.t.Errorf("the goal of %s is %s, task %q runs on its reservation", id, i.Goal, r.user)
			}
		}
	}
}

// gone is an agent that the operator marks gone: its tasks and reservations are no more, and
// another agent stands in its place. Not while an instance waits for a reservation there:
// nobody would tell it.
func (w *world) gone(a *simAgent) {
	for _, r := range a.owned {
		if r.user == "" {
			return
		}
	}
	if a.offered {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(w.tasks)) {
		if task := w.tasks[id]; task.agent == a && task.live() {
			task.state, task.queue = "TASK_GONE_BY_OPERATOR", nil
			w.release(task)
			w.tell(core.Update{Task: id, AgentID: a.id, State: task.state})
		}
	}
	for id, r := range a.owned {
		a.take(r.blocks, 1)
		a.take(r.disks, 1)
		for _, b := range r.blocks {
			for _, g := range b.Ranges {
				for p := g.Begin; p <= g.End; p++ {
					a.ports[p] = true
				}
			}
		}
		delete(a.owned, id)
	}
	w.uuids++
	a.id, a.down = fmt.Sprintf("S%d", w.uuids), false
}
