package match

// Spec is what one app wants placed.
type Spec struct {
	// Role is the role that offers must be allocated to.
	Role string
	// Accept lists the reservation roles whose resources may be used, "*" for unreserved ones.
	Accept []string
	// Needs for each instance, in thousandths.
	Cpus, Mem, Disk, Gpus int64
	// Ports wanted on the host, one entry for each port definition or mapping.
	Ports       []Port
	Constraints []Constraint
	// Executor is what the executor that comes with each task needs.
	Executor Executor
	// Reserve says that what is placed becomes a reservation, with Volumes on its disk: only
	// unreserved blocks will do.
	Reserve bool
	Volumes []Volume
	// AnyGPU lets instances that need no GPU go where there are some (Rules.KeepGPUs).
	AnyGPU bool
	// Want is how many instances to place at most.
	Want int

	spreads []spread // parallel to Constraints
	held    bool     // matched on blocks of its own reservation
}

// Executor is what an executor needs, in thousandths.
type Executor struct{ Cpus, Mem, Disk int64 }

// Port is one wish for a host port.
type Port struct {
	Number uint32 // 0: any free one
	None   bool   // no host port at all
}

// Placed tells the spec about an instance that constraints must count. Call it for
// every placed instance, oldest first, before Match.
func (s *Spec) Placed(p Place) {
	if s.spreads == nil {
		s.spreads = make([]spread, len(s.Constraints))
	}
	for i := range s.Constraints {
		c := &s.Constraints[i]
		if !c.counts() {
			continue
		}
		if v, ok := p.Field(c.Field); ok {
			s.spreads[i].add(v)
		}
	}
}

func (s *Spec) constraintsHold(p *Place) bool {
	if s.spreads == nil {
		s.spreads = make([]spread, len(s.Constraints))
	}
	for i := range s.Constraints {
		c := &s.Constraints[i]
		v, ok := p.Field(c.Field)
		if !c.accepts(v, ok, &s.spreads[i]) {
			return false
		}
	}
	return true
}

// balances tells whether a refusal may be lifted by launches elsewhere.
func (s *Spec) balances() bool {
	for i := range s.Constraints {
		if s.Constraints[i].Op == GroupBy {
			return true
		}
	}
	return false
}

// takes tells whether the spec may use a block: of an accepted role, and reserved for no
// single instance unless for this one.
func (s *Spec) takes(r *Resource) bool {
	if s.Reserve && (r.Role != "*" || r.Reservation != nil) {
		return false
	}
	return (s.held || !r.owned()) && s.accepts(r.Role)
}

// anyRegion tells whether the constraints say themselves where in the world to go.
func (s *Spec) anyRegion() bool {
	for i := range s.Constraints {
		if f := s.Constraints[i].Field; f == "@region" || f == "@zone" {
			return true
		}
	}
	return false
}

func (s *Spec) accepts(role string) bool {
	for _, r := range s.Accept {
		if r == role {
			return true
		}
	}
	return false
}

// Launch is one instance placed on one offer.
type Launch struct {
	Spec  int // index into the specs given
	Offer int // index into the offers given
	// HostPorts has one entry for each of the spec's Ports, 0 where None.
	HostPorts []uint32
	// Resources are the blocks taken, each with its reservation role. On a Relaunch the last
	// ones are the volumes.
	Resources []Resource
	// Executor are the blocks taken for the executor.
	Executor []Resource
	// Volumes has the disk for each of the spec's Volumes, still without an id.
	Volumes []Resource
}

// Result is what Match found.
type Result struct {
	Launches []Launch
	// Seen has one entry for each spec: how many offers it looked at and why it refused.
	Seen []Summary
	// Refusals lists, for each spec, offers that it refused.
	Refusals [][]Refusal
}

// Refusal is one offer that a spec could not use.
type Refusal struct {
	Offer  int
	Reason Reason
}
