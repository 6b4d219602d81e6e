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

// offered matches offers against the launch queue and accepts or declines each.
func (c *Core) offered(offers []*match.Offer) {
	c.totals.OffersIncoming += uint64(len(offers))
	orders := c.orders()
	specs := make([]*match.Spec, len(orders))
	for k, o := range orders {
		specs[k] = o.want
	}
	found := match.Match(match.Rules{
		Now: c.now, MaxPerOffer: c.cfg.MaxPerOffer, Draining: c.cfg.Draining,
		IgnoreMaintenance: c.cfg.IgnoreMaintenance, Rand: c.cfg.Rand,
	}, specs, offers)

	tasks := make(map[int][]Launch, len(offers))
	for _, l := range found.Launches {
		o := orders[l.Spec]
		i := o.waiting[0]
		o.waiting = o.waiting[1:]
		c.provision(i, offers[l.Offer], l)
		tasks[l.Offer] = append(tasks[l.Offer], Launch{
			Instance: i.view, Spec: i.spec, HostPorts: l.HostPorts, Resources: l.Resources,
		})
		o.line.stats.lastUsed = app.At(c.now)
	}
	for k, o := range orders {
		o.line.stats.add(c.now, offers, found.Seen[k], found.Refusals[k])
		c.dirty.any = true
	}
	refuse := c.cfg.DeclineFor
	var unused []string
	for n, o := range offers {
		ts := tasks[n]
		if len(ts) == 0 {
			unused = append(unused, o.ID)
			continue
		}
		c.totals.OffersUsed++
		c.totals.TasksLaunched += uint64(len(ts))
		c.emit(Accept{Offer: o.ID, Tasks: ts, Refuse: c.leftover(orders, refuse)})
	}
	if len(unused) > 0 {
		c.totals.OffersDeclined += uint64(len(unused))
		c.emit(Decline{Offers: unused, Refuse: refuse})
	}
}

// leftover is the filter for what an accepted offer still holds: none while instances wait.
func (c *Core) leftover(orders []*order, refuse time.Duration) time.Duration {
	for _, o := range orders {
		if len(o.waiting) > 0 {
			return 0
		}
	}
	return refuse
}

// orders lists what may be launched now, by app and in order of creation.
func (c *Core) orders() []*order {
	var out []*order
	for _, id := range sortedKeys(c.queue) {
		l := c.queue[id]
		if l.scheduled == 0 {
			continue
		}
		byConfig := map[app.Timestamp]*order{} // versions that differ in count alone are placed as one
		for _, i := range l.instances {
			if !i.waits() {
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

// placed tells the matcher about instances that the constraints must count: those of
// this configuration or a later one that hold or may hold a place.
func (o *order) placed() {
	for _, i := range o.line.instances {
		v := i.view
		if v.AppVersion < o.spec.ConfigVersion || v.Condition == app.UnreachableInactive || v.Condition == app.Scheduled || v.Condition.Terminal() {
			continue
		}
		p := match.Place{Hostname: v.Host, Region: v.Region, Zone: v.Zone}
		for _, name := range sortedKeys(v.Attributes) {
			p.Attributes = append(p.Attributes, match.Attribute{Name: name, Value: v.Attributes[name]})
		}
		o.want.Placed(p)
	}
}

// specOf turns a definition into needs.
func (c *Core) specOf(a *app.RunSpec) *match.Spec {
	all := a.Total()
	s := &match.Spec{
		Role: a.Role, Accept: a.AcceptedResourceRoles,
		Cpus: milli(all.Cpus), Mem: milli(all.Mem), Disk: milli(all.Disk), Gpus: int64(all.GPUs) * 1000,
		Reserved: a.Resident,
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
	for _, k := range a.Constraints {
		if m, err := match.ParseConstraint(k.Field, string(k.Operator), k.Value); err == nil {
			s.Constraints = append(s.Constraints, m)
		}
	}
	return s
}

// milli is the fixed-point form that Mesos computes with: thousandths, rounded.
func milli(v float64) int64 { return int64(v*1000 + 0.5) }

// provision writes a match into the instance.
func (c *Core) provision(i *instance, o *match.Offer, l match.Launch) {
	c.set(i, func(v *app.Instance) {
		v.Condition = app.Provisioned
		v.Launch++
		v.StagedAt = app.At(c.now)
		v.AgentID, v.Host, v.Region, v.Zone = o.AgentID, o.Hostname, o.Region, o.Zone
		v.Role = o.Role
		v.Attributes = nil
		for _, a := range o.Attributes {
			if v.Attributes == nil {
				v.Attributes = make(map[string]string, len(o.Attributes))
			}
			v.Attributes[a.Name] = a.Value
		}
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
