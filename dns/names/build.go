package names

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

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
	Enumerate bool         // fill Zone.Enum
	NameHost  string       // SOA mname with a trailing dot; gets NameAddrs when it lies in the zone
	NameAddrs []netip.Addr // where this server listens
}

// Build works out the records of the present view (mesos-dns.md sections 2 to 6).
func (s *State) Build(rules Rules) *Zone {
	b := builder{
		state: s, rules: rules,
		zone:  &Zone{Domain: rules.Domain, Nodes: make(map[string]*Node, 8*len(s.tasks)+16), Skipped: map[string]int{}},
		tail:  "." + rules.Domain + ".",
		large: map[*Node]map[any]struct{}{},
	}
	b.node(b.zone.Apex())
	b.masters()
	b.agents()
	b.frameworks()
	if InDomain(rules.NameHost, rules.Domain) {
		b.addrs(rules.NameHost, rules.NameAddrs)
	}
	return b.zone
}

type builder struct {
	state *State
	rules Rules
	zone  *Zone
	tail  string
	enum  *EnumTask                  // gets the records that are added; nil: none
	large map[*Node]map[any]struct{} // values of nodes too big for a linear search
}

func (b *builder) masters() {
	s := b.state
	if s.leader.Host != "" {
		b.addrs("leader"+b.tail, s.addrs(s.leader.Host))
		if s.leader.Port != 0 {
			for _, proto := range []string{"_tcp", "_udp"} {
				b.srv("_leader."+proto+b.tail, "leader"+b.tail, s.leader.Port)
			}
		}
	}
	// Masters are numbered in list order; a leader that is not listed comes last. The same
	// master may be known by name and by address.
	seen := map[Endpoint]bool{}
	n := 0
	for _, m := range append(slices.Clone(s.masters), s.leader) {
		addrs := s.addrs(m.Host)
		key := m
		if len(addrs) > 0 {
			key.Host = addrs[0].String()
		}
		if m.Host == "" || seen[key] {
			continue
		}
		seen[key] = true
		name := "master" + strconv.Itoa(n) + b.tail
		n++
		b.addrs("master"+b.tail, addrs)
		b.addrs(name, addrs)
		if m.Port != 0 {
			for _, proto := range []string{"_tcp", "_udp"} {
				b.srv("_master."+proto+b.tail, name, m.Port)
			}
		}
	}
}

func (b *builder) agents() {
	for _, a := range sorted(b.state.agents) {
		addrs := b.state.addrs(a.PID.Host)
		if len(addrs) == 0 {
			b.skip("agent host not resolved")
			continue
		}
		b.addrs("slave"+b.tail, addrs)
		if a.PID.Port != 0 {
			b.srv("_slave._tcp"+b.tail, "slave"+b.tail, a.PID.Port)
		}
	}
}

func (b *builder) frameworks() {
	shared := b.shared()
	byFramework := map[FrameworkID][]*Task{}
	for _, t := range b.state.tasks {
		byFramework[t.Framework] = append(byFramework[t.Framework], t)
	}
	for _, f := range sorted(b.state.frameworks) {
		label := b.rules.Labels.Domain(f.Name)
		if label == "" {
			b.skip("empty framework label")
		} else {
			b.framework(f, label)
		}
		enum := EnumFramework{Name: f.Name, Tasks: []*EnumTask{}}
		tasks := byFramework[f.ID]
		slices.SortFunc(tasks, func(x, y *Task) int { return cmp.Compare(x.ID, y.ID) })
		for _, t := range tasks {
			a := b.state.agents[t.Agent]
			if t.State != Running || a == nil || label == "" {
				continue
			}
			if b.rules.Enumerate {
				b.enum = &EnumTask{Name: t.Name, ID: string(t.ID), Records: []EnumRecord{}}
				enum.Tasks = append(enum.Tasks, b.enum)
			}
			b.task(t, a, label, shared(t))
			b.enum = nil
		}
		if b.rules.Enumerate {
			b.zone.Enum = append(b.zone.Enum, enum)
		}
	}
}

func (b *builder) framework(f Framework, label string) {
	name := label + b.tail
	addrs := b.state.addrs(f.host())
	if f.host() != "" && len(addrs) == 0 {
		b.skip("framework host not resolved")
	}
	b.addrs(name, addrs)
	if f.PID.Port != 0 {
		b.srv("_framework._tcp."+name, name, f.PID.Port)
	}
}

// shared gives the decision whether a task belongs into the names it shares with others.
func (b *builder) shared() func(*Task) bool {
	switch b.rules.Filter {
	case FilterStrict:
		return func(t *Task) bool { return t.Health != Unhealthy }
	case FilterSoft:
		type group struct {
			framework FrameworkID
			label     string
		}
		of := func(t *Task) group { return group{t.Framework, t.label()} }
		good := map[group]bool{} // has a member that is not unhealthy
		for _, t := range b.state.tasks {
			if t.State == Running && t.Health != Unhealthy {
				good[of(t)] = true
			}
		}
		return func(t *Task) bool { return t.Health != Unhealthy || !good[of(t)] }
	}
	return func(*Task) bool { return true }
}

// label is the text that a task's label is made of.
func (t *Task) label() string {
	if t.Discovery != "" {
		return t.Discovery
	}
	return t.Name
}

// task adds the records of a task: under its sanitised name, and with a DiscoveryInfo
// name also under that name as it is, dots kept, which clients of the original use.
func (b *builder) task(t *Task, a *agent, framework string, shared bool) {
	clean := b.rules.Labels.Label(t.label())
	if raw := strings.ToLower(t.Discovery); raw != "" && raw != clean {
		b.family(raw, t, a, framework, shared)
	}
	if clean == "" {
		b.skip("empty task label")
		return
	}
	b.family(clean, t, a, framework, shared)
}

// family adds T1 to T8 of mesos-dns.md section 2 for one spelling of the task label.
func (b *builder) family(label string, t *Task, a *agent, framework string, shared bool) {
	unique := label + "-" + hash(t.ID) + "-" + agentTail(t.Agent)
	own, host := "."+framework+b.tail, "."+framework+".slave"+b.tail
	if !validName(unique+host) || !validName("_"+label+"._tcp"+host) {
		b.skip("unusable task label")
		return
	}
	addrs, hostAddrs := b.addresses(t, a), b.state.addrs(a.PID.Host)
	if shared {
		b.addrs(label+own, addrs)
	}
	b.addrs(unique+own, addrs)
	if shared {
		b.addrs(label+host, hostAddrs)
	}
	b.addrs(unique+host, hostAddrs)
	if !shared {
		return
	}
	for _, r := range t.Ports {
		for port := uint32(r.First); port <= uint32(r.Last); port++ {
			for _, proto := range []string{"._tcp", "._udp"} {
				if t.Discovery == "" {
					b.srv("_"+label+proto+own, unique+host, uint16(port))
				}
				b.srv("_"+label+proto+host, unique+host, uint16(port))
			}
		}
	}
	if t.Discovery == "" {
		return
	}
	for _, p := range t.DiscoveryPorts {
		for _, proto := range b.protocols(p.Protocol) {
			name := "_" + label + "._" + proto + own
			b.srv(name, unique+own, p.Number)
			if portName := b.rules.Labels.Label(p.Name); portName != "" {
				b.srv("_"+portName+"."+name, unique+own, p.Number)
			}
		}
	}
}

// protocols splits "tcp,udp"; empty text stands for both.
func (b *builder) protocols(text string) []string {
	var out []string
	for p := range strings.SplitSeq(text, ",") {
		if p = b.rules.Labels.Label(p); p != "" && !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	if len(out) == 0 {
		return []string{"tcp", "udp"}
	}
	return out
}

// addresses takes all addresses of the first source that has any.
func (b *builder) addresses(t *Task, a *agent) []netip.Addr {
	for _, source := range b.rules.Sources {
		var found []netip.Addr
		switch source {
		case SourceNetInfo:
			found = t.Addresses.NetInfo
		case SourceMesos:
			found = t.Addresses.Mesos
		case SourceDocker:
			found = t.Addresses.Docker
		case SourceHost:
			found = b.state.addrs(a.PID.Host)
		case SourceAuto:
			switch t.Addresses.Network {
			case "", "host", "bridge", "mesos-bridge":
				found = b.state.addrs(a.PID.Host)
			default:
				found = t.Addresses.NetInfo
			}
		}
		if len(found) > 0 {
			return found
		}
	}
	return nil
}

func (b *builder) skip(reason string) { b.zone.Skipped[reason]++ }

// addrs adds A and AAAA records.
func (b *builder) addrs(name string, addrs []netip.Addr) {
	for _, addr := range addrs {
		addr = addr.Unmap().WithZone("")
		if !b.usable(name) {
			return
		}
		n := b.node(name)
		list, kind, count := &n.A, "A", &b.zone.Counts.A
		if addr.Is6() {
			list, kind, count = &n.AAAA, "AAAA", &b.zone.Counts.AAAA
		}
		if add(b, n, list, addr) {
			*count++
			b.note(name, addr.String(), kind)
		}
	}
}

func (b *builder) srv(name, target string, port uint16) {
	if port == 0 || !b.usable(name) || !b.usable(target) {
		return
	}
	n := b.node(name)
	if add(b, n, &n.SRV, Service{Target: target, Port: port}) {
		b.zone.Counts.SRV++
		b.note(name, target+":"+strconv.Itoa(int(port)), "SRV")
	}
}

func (b *builder) usable(name string) bool {
	if b.zone.Nodes[name] != nil || validName(name) { // names in the zone were checked before
		return true
	}
	b.skip("unusable name")
	return false
}

func (b *builder) note(name, host, kind string) {
	if b.enum != nil {
		b.enum.Records = append(b.enum.Records, EnumRecord{Name: name, Host: host, Rtype: kind})
	}
}

// node finds or makes a node, and the names above it up to the apex.
func (b *builder) node(name string) *Node {
	n := b.zone.Nodes[name]
	if n != nil {
		return n
	}
	n = &Node{}
	b.zone.Nodes[name] = n
	for name != b.zone.Apex() {
		name = name[strings.IndexByte(name, '.')+1:]
		if b.zone.Nodes[name] != nil || name == "" {
			break
		}
		b.zone.Nodes[name] = &Node{}
	}
	return n
}

// searchable is the size up to which duplicates are found by looking at all values.
const searchable = 16

// add appends a value that is not there yet.
func add[T comparable](b *builder, n *Node, list *[]T, v T) bool {
	if len(*list) <= searchable {
		if slices.Contains(*list, v) {
			return false
		}
		*list = append(*list, v)
		return true
	}
	seen := b.large[n]
	if seen == nil {
		seen = map[any]struct{}{}
		b.large[n] = seen
	}
	if len(*list) == searchable+1 { // this list grows beyond the limit now
		for _, old := range *list {
			seen[old] = struct{}{}
		}
	}
	if _, dup := seen[v]; dup {
		return false
	}
	seen[v] = struct{}{}
	*list = append(*list, v)
	return true
}

// sorted gives a map's values in the order of their keys.
func sorted[K cmp.Ordered, V any](m map[K]V) []V {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	out := make([]V, 0, len(m))
	for _, k := range keys {
		out = append(out, m[k])
	}
	return out
}
