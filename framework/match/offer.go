package match

import "time"

// Offer is one Mesos offer, reduced to what placing tasks needs.
type Offer struct {
	ID       string
	AgentID  string
	Hostname string
	Role     string // allocation_info.role
	Region   string // fault domain, empty when the agent has none
	Zone     string
	// Resources are in the order of the offer.
	Resources  []Resource
	Attributes []Attribute
	// Unavailable begins at the start of planned maintenance; zero when there is none.
	Unavailable time.Time
	// UnavailableFor is how long the maintenance lasts; 0 means for ever.
	UnavailableFor time.Duration
}

// Resource is one block of an offer: a scalar or ranges of ports. Amounts are in
// thousandths of the unit (cores, MiB, devices).
type Resource struct {
	Name   string // cpus, mem, disk, gpus, ports
	Role   string // reservation role, "*" when unreserved
	Milli  int64  // scalar amount
	Ranges []Range
	// Reservation is set on dynamic reservations; a block taken goes back with it as it came.
	Reservation *Reservation
	// Disk is set on disk with a source or a persistent volume.
	Disk *Disk
	// Shared and Revocable blocks are never used.
	Shared    bool
	Revocable bool
}

// Range is a closed interval of ports.
type Range struct{ Begin, End uint32 }

// AttributeKind tells which field of an Attribute counts.
type AttributeKind uint8

// The kinds that Mesos knows.
const (
	TextAttribute AttributeKind = iota
	ScalarAttribute
	RangesAttribute
	SetAttribute
)

// Attribute is one attribute of an agent. Value is its text form as constraints
// compare it: text as it is, scalars with up to three decimals, ranges "[a-b,c-d]" and
// sets "{a,b}" sorted (marathon.md 6.2).
type Attribute struct {
	Name  string
	Kind  AttributeKind
	Value string
}

// Reason is why an offer does not fit an app, in the order in which they are
// checked (marathon.md 6.9).
type Reason uint8

// The reasons.
const (
	UnfulfilledRole Reason = iota
	UnfulfilledConstraint
	NoCorrespondingReservationFound
	AgentMaintenance
	InsufficientCpus
	InsufficientMemory
	InsufficientDisk
	InsufficientGpus
	InsufficientPorts
	DeclinedScarceResources
	reasons // their number
)

// Reasons lists all reasons in order.
func Reasons() []Reason {
	out := make([]Reason, reasons)
	for i := range out {
		out[i] = Reason(i)
	}
	return out
}

var reasonNames = [reasons]string{
	"UnfulfilledRole", "UnfulfilledConstraint", "NoCorrespondingReservationFound", "AgentMaintenance",
	"InsufficientCpus", "InsufficientMemory", "InsufficientDisk", "InsufficientGpus", "InsufficientPorts",
	"DeclinedScarceResources",
}

// String gives the public name.
func (r Reason) String() string {
	if r < reasons {
		return reasonNames[r]
	}
	return "Unknown"
}

// Summary counts offers by what became of them. An offer that fails several checks
// counts once, at the first; so the number that reached check k is Offers minus the
// refusals of the checks before it.
type Summary struct {
	Offers  int // looked at
	Refused [reasons]int
}

// Processed tells how many offers reached the check of r.
func (s Summary) Processed(r Reason) int {
	n := s.Offers
	for i := range r {
		n -= s.Refused[i]
	}
	return n
}
