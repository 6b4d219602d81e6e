package match

import (
	"slices"
	"time"
)

// Rules are what holds for all specs.
type Rules struct {
	Now time.Time
	// MaxPerOffer is the largest number of instances placed on one offer; 0 means 5.
	MaxPerOffer int
	// Draining is how long before a maintenance window offers are refused already.
	Draining time.Duration
	// IgnoreMaintenance places instances in maintenance windows too.
	IgnoreMaintenance bool
	// HomeRegion is where the master is. Offers of other regions are refused unless the
	// constraints name @region or @zone; "": no rule (marathon.md 6.2).
	HomeRegion string
	// KeepGPUs refuses offers with GPUs to instances that need none, Spec.AnyGPU apart.
	KeepGPUs bool
	// Rand gives random bits for the choice of ports.
	Rand func() uint64
}

// Match places up to Want instances of each spec. It goes over the offers in passes:
// in each pass an offer takes at most one instance of each spec, so that instances
// spread over agents before they pile up, until nothing fits or the offer has its
// MaxPerOffer. A spec stops looking at an offer after the first refusal that more launches
// cannot lift.
func Match(rules Rules, specs []*Spec, offers []*Offer) Result {
	res := Result{Seen: make([]Summary, len(specs)), Refusals: make([][]Refusal, len(specs))}
	if rules.MaxPerOffer <= 0 {
		rules.MaxPerOffer = 5
	}
	left := make([]int, len(specs))
	open := make([]int, 0, len(specs)) // specs that still want
	for i, s := range specs {
		if left[i] = s.Want; left[i] > 0 {
			open = append(open, i)
		}
	}
	tables := make([]table, len(offers))
	live := make([]int, len(offers)) // offers that may still take something
	for i, o := range offers {
		tables[i].offer, tables[i].place = o, o.Place()
		live[i] = i
	}
	for pass, progress := 0, true; progress && len(live) > 0 && len(open) > 0; pass++ {
		progress = false
		next := live[:0]
		for _, oi := range live {
			t := &tables[oi]
			again := false
			for k := 0; k < len(open) && t.placed < rules.MaxPerOffer; k++ {
				si := open[k]
				if left[si] == 0 || t.refused(si) {
					continue
				}
				launch, reason, ok := t.try(&rules, specs[si])
				if pass == 0 {
					res.Seen[si].Offers++
				}
				if !ok {
					if pass == 0 {
						res.Seen[si].Refused[reason]++
						res.Refusals[si] = append(res.Refusals[si], Refusal{Offer: oi, Reason: reason})
					}
					if reason == UnfulfilledConstraint && specs[si].balances() {
						again = true // other groups may catch up
					} else {
						t.refuse(si, len(specs))
					}
					continue
				}
				launch.Spec, launch.Offer = si, oi
				res.Launches = append(res.Launches, launch)
				left[si]--
				t.placed++
				progress, again = true, true
			}
			if again && t.placed < rules.MaxPerOffer {
				next = append(next, oi)
			}
		}
		live = next
		still := open[:0]
		for _, si := range open {
			if left[si] > 0 {
				still = append(still, si)
			}
		}
		open = still
	}
	return res
}

// table is what is left of an offer while it is matched.
type table struct {
	offer  *Offer
	place  Place
	blocks []Resource // scalars left, in the order of the offer
	ports  []Resource // port blocks left
	opened bool       // blocks and ports are read: an offer that constraints refuse is never
	placed int
	// closed marks specs that refused; nil until the first refusal.
	closed []bool
}

// open reads the offer's blocks, once.
func (t *table) open() {
	if t.opened {
		return
	}
	t.opened = true
	o, n := t.offer, 0
	for i := range o.Resources {
		if usable(&o.Resources[i]) {
			n++
		}
	}
	t.blocks = make([]Resource, 0, n)
	for i := range o.Resources {
		r := &o.Resources[i]
		switch {
		case !usable(r):
		case r.Name == "ports":
			t.ports = append(t.ports, *r)
		default:
			t.blocks = append(t.blocks, *r)
		}
	}
}

// usable leaves out blocks that nothing ever takes here: those with a volume are for
// Relaunch.
func usable(r *Resource) bool {
	return !r.Shared && !r.Revocable && (r.Disk == nil || r.Disk.Volume == "" && r.Disk.Source != OtherDisk)
}

func (t *table) refused(spec int) bool { return t.closed != nil && t.closed[spec] }

func (t *table) refuse(spec, n int) {
	if t.closed == nil {
		t.closed = make([]bool, n)
	}
	t.closed[spec] = true
}

// try places one instance or tells the first reason against it, in the order of the funnel.
func (t *table) try(rules *Rules, s *Spec) (Launch, Reason, bool) {
	if t.offer.Role != s.Role || !s.held && !t.anyFor(s) {
		return Launch{}, UnfulfilledRole, false
	}
	if rules.HomeRegion != "" && t.offer.Region != "" && t.offer.Region != rules.HomeRegion && !s.anyRegion() {
		return Launch{}, UnfulfilledConstraint, false
	}
	if !s.constraintsHold(&t.place) {
		return Launch{}, UnfulfilledConstraint, false
	}
	if !rules.IgnoreMaintenance && t.down(rules) {
		return Launch{}, AgentMaintenance, false
	}
	t.open()
	x := &s.Executor
	for _, need := range [...]struct {
		name   string
		milli  int64
		reason Reason
	}{
		{"cpus", s.Cpus + x.Cpus, InsufficientCpus}, {"mem", s.Mem + x.Mem, InsufficientMemory},
		{"disk", s.Disk + x.Disk, InsufficientDisk}, {"gpus", s.Gpus, InsufficientGpus},
	} {
		if need.milli > 0 && t.free(s, need.name) < need.milli {
			return Launch{}, need.reason, false
		}
	}
	if rules.KeepGPUs && s.Gpus == 0 && !s.AnyGPU && !s.held && t.gpus() {
		return Launch{}, DeclinedScarceResources, false
	}
	if len(s.Volumes) > 0 && !t.hasVolumes(s) {
		return Launch{}, InsufficientDisk, false
	}
	host, ports, ok := t.pickPorts(rules, s)
	if !ok {
		return Launch{}, InsufficientPorts, false
	}
	l := Launch{HostPorts: host, Resources: make([]Resource, 0, 3+len(ports))}
	l.Resources = t.take(s, "cpus", s.Cpus, l.Resources)
	l.Resources = t.take(s, "mem", s.Mem, l.Resources)
	l.Resources = t.take(s, "disk", s.Disk, l.Resources)
	l.Resources = t.take(s, "gpus", s.Gpus, l.Resources)
	l.Resources = append(l.Resources, ports...)
	if *x != (Executor{}) {
		l.Executor = t.take(s, "cpus", x.Cpus, nil)
		l.Executor = t.take(s, "mem", x.Mem, l.Executor)
		l.Executor = t.take(s, "disk", x.Disk, l.Executor)
	}
	l.Volumes, _ = t.takeVolumes(s)
	s.Placed(t.place)
	return l, 0, true
}

// anyFor tells whether the spec may use anything of what was offered.
func (t *table) anyFor(s *Spec) bool {
	if !t.opened {
		return slices.ContainsFunc(t.offer.Resources, func(r Resource) bool { return usable(&r) && s.takes(&r) })
	}
	return slices.ContainsFunc(t.blocks, func(r Resource) bool { return s.takes(&r) }) ||
		slices.ContainsFunc(t.ports, func(r Resource) bool { return s.takes(&r) })
}

// gpus tells whether the agent offers any.
func (t *table) gpus() bool {
	return slices.ContainsFunc(t.offer.Resources, func(r Resource) bool { return r.Name == "gpus" && r.Milli > 0 })
}

// down tells whether the agent is in, or about to enter, planned maintenance.
func (t *table) down(rules *Rules) bool {
	start := t.offer.Unavailable
	if start.IsZero() || rules.Now.Before(start.Add(-rules.Draining)) {
		return false
	}
	return t.offer.UnavailableFor == 0 || rules.Now.Before(start.Add(t.offer.UnavailableFor))
}

func (t *table) free(s *Spec, name string) int64 {
	var sum int64
	for i := range t.blocks {
		if b := &t.blocks[i]; b.Name == name && b.Disk == nil && s.takes(b) {
			sum += b.Milli
		}
	}
	return sum
}

func (t *table) take(s *Spec, name string, milli int64, out []Resource) []Resource {
	for i := range t.blocks {
		if milli == 0 {
			break
		}
		b := &t.blocks[i]
		if b.Name != name || b.Milli == 0 || b.Disk != nil || !s.takes(b) {
			continue
		}
		n := min(b.Milli, milli)
		b.Milli -= n
		milli -= n
		out = append(out, Resource{Name: name, Role: b.Role, Milli: n, Reservation: b.Reservation})
	}
	return out
}
