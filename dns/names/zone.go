package names

import (
	"net/netip"
	"strings"
)

// Service is the value of an SRV record.
type Service struct {
	Target string // with a trailing dot
	Port   uint16
}

// Node is what the zone holds under one name. All empty: a name that exists only because
// there are names below it.
type Node struct {
	A, AAAA []netip.Addr
	SRV     []Service
}

// Zone is a set of records. It never changes.
type Zone struct {
	Domain string           // "mesos", without dots at the ends
	Nodes  map[string]*Node // by lower-case name with a trailing dot
	Enum   []EnumFramework  // nil unless asked for
	// Skipped counts names that could not be built, by reason.
	Skipped map[string]int
	// Counts of records by type, for metrics.
	Counts struct{ A, AAAA, SRV int }
}

// EnumFramework, EnumTask and EnumRecord tell which task brought which record. A value
// that an earlier task brought is missing from later ones, as in the original.
type EnumFramework struct {
	Tasks []*EnumTask `json:"tasks"`
	Name  string      `json:"name"`
}

// EnumTask is one running task.
type EnumTask struct {
	Name    string       `json:"name"`
	ID      string       `json:"id"`
	Records []EnumRecord `json:"records"`
}

// EnumRecord is one record; Host is an address, or "target.:port" of an SRV record.
type EnumRecord struct {
	Name  string `json:"name"`
	Host  string `json:"host"`
	Rtype string `json:"rtype"`
}

// Apex is the zone's own name with a trailing dot.
func (z *Zone) Apex() string { return z.Domain + "." }

// Contains says whether a lower-case name with a trailing dot lies in the zone.
func (z *Zone) Contains(name string) bool { return InDomain(name, z.Domain) }

// InDomain says whether a lower-case name with a trailing dot is domain or below it.
func InDomain(name, domain string) bool {
	cut, ok := strings.CutSuffix(name, domain+".")
	return ok && (cut == "" || cut[len(cut)-1] == '.')
}
