package names

import "net/netip"

// Filter says what happens to tasks whose checks fail.
type Filter uint8

// The filters.
const (
	FilterOff    Filter = iota // they have records like others
	FilterSoft                 // they leave the shared names unless these would be empty
	FilterStrict               // they leave the shared names
)

// Source is a place where a task's addresses come from.
type Source string

// The sources (mesos-dns.md section 4). Auto takes the container's addresses when its
// network has a name that is no bridge of the host, else the agent's.
const (
	SourceNetInfo Source = "netinfo"
	SourceMesos   Source = "mesos"
	SourceDocker  Source = "docker"
	SourceHost    Source = "host"
	SourceAuto    Source = "auto"
)

// Rules are the settings a zone is built by.
type Rules struct {
	Domain    string // lower case, no dots at the ends
	Labels    Labels
	Sources   []Source
	Filter    Filter
	NameHost  string       // SOA mname with a trailing dot; gets NameAddrs when it lies in the zone
	NameAddrs []netip.Addr // where this server listens
}

// placed is what a running task's records were made from, besides the task itself.
type placed struct {
	own       *Addrs // of the task, by the first source that has any; nil: none
	host      *Addrs // of its agent; nil: not resolved
	framework string // label
	shared    bool   // belongs into the names it shares with others
}

// sink takes records.
type sink interface {
	record(o op)
	unbuilt(reason string)
}
