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
	// Reserved says that instances need a reservation of their own, such as a persistent
	// volume; no offer can fulfil that.
	Reserved bool
	// Want is how many instances to place at most.
	Want int

	spreads []spread // parallel to Constraints
}

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
	// Resources are the blocks taken, each with its reservation role.
	Resources []Resource
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
