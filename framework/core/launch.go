package core

import (
	"time"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/match"
)

// order is one definition that wants instances, prepared for matching.
type order struct {
	line    *line
	spec    *app.RunSpec
	waiting []*instance
	want    *match.Spec
}

// offered matches offers against the launch queue and answers each: what is reserved for
// instances first, then the rest.
func (c *Core) offered(offers []*match.Offer) {
	c.totals.OffersIncoming += uint64(len(offers))
	answers := make([]answer, len(offers))
	rules := match.Rules{
		Now: c.now, MaxPerOffer: c.cfg.MaxPerOffer, Draining: c.cfg.Draining, IgnoreMaintenance: c.cfg.IgnoreMaintenance,
		HomeRegion: c.homeRegion, KeepGPUs: true, Rand: c.cfg.Rand,
	}
	c.claim(&rules, offers, answers)
	orders := c.orders()
	c.ration(orders)
	specs := make([]*match.Spec, len(orders))
	for k, o := range orders {
		specs[k] = o.want
	}
	found := match.Match(rules, specs, offers)
	c.spendTokens(len(found.Launches))
	for _, l := range found.Launches {
		o := orders[l.Spec]
		i := o.waiting[0]
		o.waiting = o.waiting[1:]
		a := &answers[l.Offer]
		if o.want.Reserve {
			a.reserve = append(a.reserve, c.reserve(i, offers[l.Offer], l))
			continue
		}
		c.provision(i, offers[l.Offer], l)
		a.tasks = append(a.tasks, c.launch(i, l))
		o.line.stats.lastUsed = app.At(c.now)
	}
	for k, o := range orders {
		o.line.stats.add(c.now, offers, found.Seen[k], found.Refusals[k])
		c.dirty.any = true
	}
	var unused []string
	for n, o := range offers {
		a := &answers[n]
		if a.empty() {
			unused = append(unused, o.ID)
			continue
		}
		c.totals.OffersUsed++
		c.totals.TasksLaunched += uint64(len(a.tasks))
		c.countOperations(a)
		c.emit(Accept{Offer: o.ID, Free: a.free, Reserve: a.reserve, Tasks: a.tasks, Refuse: c.leftover(orders, a)})
	}
	if len(unused) > 0 {
		c.totals.OffersDeclined += uint64(len(unused))
		c.emit(Decline{Offers: unused, Refuse: c.cfg.DeclineFor})
	}
}

// countOperations counts what the answer to an offer becomes at the master: one launch of
// all apps' tasks, one for each pod, one reservation for each instance.
func (c *Core) countOperations(a *answer) {
	groups := 0
	for k := range a.tasks {
		if a.tasks[k].Spec.App == nil {
			groups++
		}
	}
	c.totals.GroupLaunches += uint64(groups)
	if groups < len(a.tasks) {
		c.totals.Launches++
	}
	c.totals.Reserves += uint64(len(a.reserve))
}

// launch is the effect for a provisioned instance.
func (c *Core) launch(i *instance, l match.Launch) Launch {
	out := Launch{Instance: i.view, Spec: i.spec, HostPorts: l.HostPorts, Resources: l.Resources, Executor: l.Executor}
	if segs := i.spec.ID.Segments(); len(segs) > 1 {
		top := c.root.Group(app.Root.Child(segs[0]))
		out.EnforceRole = top != nil && top.EnforceRole
	}
	return out
}

// leftover is the filter for what an accepted offer still holds: none while instances
// wait, and none where reservations changed, for what comes back is not what was offered.
func (c *Core) leftover(orders []*order, a *answer) time.Duration {
	if len(a.free)+len(a.reserve) > 0 {
		return 0
	}
	for _, o := range orders {
		if len(o.waiting) > 0 {
			return 0
		}
	}
	return c.cfg.DeclineFor
}

// orders lists what may be launched now, by app and who waited longest first.
func (c *Core) orders() []*order {
	var out []*order
	for _, id := range sortedKeys(c.queue) {
		l := c.queue[id]
		if l.scheduled == 0 {
			continue
		}
		byConfig := map[app.Timestamp]*order{} // versions that differ in count alone are placed as one
		for _, i := range l.waiting() {
			if i.view.Reservation != nil {
				continue
			}
			o := byConfig[i.spec.ConfigVersion]
			if o == nil {
				if _, late := c.delayed(l, i.spec); late {
					continue
				}
				o = &order{line: l, spec: i.spec, want: c.specOf(i.spec)}
				byConfig[i.spec.ConfigVersion] = o
				out = append(out, o)
			}
			o.waiting = append(o.waiting, i)
			o.want.Want++
		}
		for _, o := range byConfig {
			if len(o.want.Constraints) > 0 {
				o.placed()
			}
		}
	}
	return out
}

// placed tells the matcher about instances that the constraints must count.
func (o *order) placed() {
	for _, i := range o.line.instances {
		if counts(o.spec, i) {
			o.want.Placed(i.place())
		}
	}
}

// counts tells whether constraints of a definition count an instance: one of its
// configuration or a later one that has or may have a place, or has one reserved.
func counts(spec *app.RunSpec, i *instance) bool {
	v := i.view
	return v.AppVersion >= spec.ConfigVersion && v.AgentID != "" && v.Condition != app.UnreachableInactive && !v.Ended()
}

// place is what constraints see of where the instance is.
func (i *instance) place() match.Place {
	v := i.view
	p := match.Place{Hostname: v.Host, Region: v.Region, Zone: v.Zone}
	for _, name := range sortedKeys(v.Attributes) {
		p.Attributes = append(p.Attributes, match.Attribute{Name: name, Value: v.Attributes[name]})
	}
	return p
}

// specOf turns a definition into needs.
func (c *Core) specOf(a *app.RunSpec) *match.Spec {
	all := a.Total()
	s := &match.Spec{
		Role: a.Role, Accept: a.AcceptedResourceRoles,
		Cpus: Milli(all.Cpus), Mem: Milli(all.Mem), Disk: Milli(all.Disk), Gpus: int64(all.GPUs) * 1000,
		Executor: match.Executor{Cpus: Milli(a.Executor.Cpus), Mem: Milli(a.Executor.Mem), Disk: Milli(a.Executor.Disk)},
		Reserve:  a.Resident, Volumes: volumesOf(a), AnyGPU: a.AnyGPU != nil && *a.AnyGPU || a.AnyGPU == nil && c.cfg.AnyGPU,
	}
	for _, p := range a.Ports {
		s.Ports = append(s.Ports, match.Port{Number: uint32(p.Number), None: p.None})
	}
	if s.Role == "" {
		s.Role = c.cfg.Role
	}
	if len(s.Accept) == 0 {
		switch c.cfg.AcceptedRoles {
		case "unreserved":
			s.Accept = []string{"*"}
		case "reserved":
			s.Accept = []string{s.Role}
		default:
			s.Accept = []string{"*", s.Role}
		}
	}
	s.Constraints = compiled(a.Constraints)
	return s
}

// volumesOf turns the persistent volumes of a definition into wishes for disk.
func volumesOf(a *app.RunSpec) []match.Volume {
	var out []match.Volume
	for _, v := range a.Volumes {
		w := match.Volume{Path: v.ContainerPath, Size: int64(v.Size) * 1000, Constraints: compiled(v.Constraints)}
		switch v.Type {
		case "path":
			w.Source = match.PathDisk
		case "mount":
			w.Source = match.MountDisk
		}
		if v.MaxSize != nil {
			w.MaxSize = int64(*v.MaxSize) * 1000
		}
		out = append(out, w)
	}
	return out
}

// compiled prepares constraints; they were judged before they were stored.
func compiled(list []app.Constraint) []match.Constraint {
	var out []match.Constraint
	for _, k := range list {
		if m, err := match.ParseConstraint(k.Field, string(k.Operator), k.Value); err == nil {
			out = append(out, m)
		}
	}
	return out
}

// Milli is the fixed-point form that Mesos computes with: thousandths, rounded.
func Milli(v float64) int64 { return int64(v*1000 + 0.5) }

// provision writes a match into the instance.
func (c *Core) provision(i *instance, o *match.Offer, l match.Launch) {
	c.set(i, func(v *app.Instance) {
		v.Condition = app.Provisioned
		v.Launch++
		v.StagedAt = app.At(c.now)
		settleAt(v, o)
		v.Tasks = nil
		if len(i.spec.Tasks) > 1 || i.spec.Tasks[0].Name != "" {
			v.Tasks = make([]app.Task, len(i.spec.Tasks))
			for k := range v.Tasks {
				v.Tasks[k] = app.Task{Name: i.spec.Tasks[k].Name, Condition: app.Provisioned, Since: app.At(c.now)}
			}
		}
		v.HostPorts = nil
		for k, p := range i.spec.Ports {
			if !p.None {
				v.HostPorts = append(v.HostPorts, int(l.HostPorts[k]))
			}
		}
	})
	c.progressed(i.line, i.spec)
	if i.line.scheduled == 0 {
		i.line.stats.done = true
	}
}

// settleAt writes down where an instance is, or has reserved.
func settleAt(v *app.Instance, o *match.Offer) {
	v.AgentID, v.Host, v.Region, v.Zone, v.Role = o.AgentID, o.Hostname, o.Region, o.Zone, o.Role
	v.Attributes = nil
	for _, a := range o.Attributes {
		if v.Attributes == nil {
			v.Attributes = make(map[string]string, len(o.Attributes))
		}
		v.Attributes[a.Name] = a.Value
	}
}
