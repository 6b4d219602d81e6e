package names

import (
	"net/netip"
	"slices"
	"strings"
)

// emit gives the records of a placed task to out: under its sanitised name, and with a
// DiscoveryInfo name also under that name as it is, dots kept, which clients of the
// original use.
func (r *Rules) emit(t *entry, out sink) {
	clean := r.Labels.Label(t.label())
	if raw := strings.ToLower(t.discovery); raw != "" && raw != clean {
		r.family(raw, true, t, out)
	}
	if clean == "" {
		out.unbuilt("empty task label")
		return
	}
	r.family(clean, false, t, out)
}

// family gives T1 to T8 of mesos-dns.md section 2 for one spelling of the task label;
// whole: all of them or none.
func (r *Rules) family(label string, whole bool, t *entry, out sink) {
	p := t.placed
	unique := label + "-" + hash(t.id()) + "-" + agentTail(t.agent)
	own := "." + p.framework + "." + r.Domain + "."
	host := "." + p.framework + ".slave." + r.Domain + "."
	uniqueOwn, uniqueHost := two(unique, own, unique, host)
	if whole && (!validName(uniqueHost) || !validName("_"+label+"._tcp"+host)) {
		out.unbuilt("unusable task label")
		return
	}
	labelOwn, labelHost := two(label, own, label, host)
	if p.own != nil {
		if p.shared {
			out.record(op{name: labelOwn, addrs: p.own})
		}
		out.record(op{name: uniqueOwn, addrs: p.own})
	}
	if p.host != nil {
		if p.shared {
			out.record(op{name: labelHost, addrs: p.host})
		}
		out.record(op{name: uniqueHost, addrs: p.host})
	}
	if !p.shared {
		return
	}
	if len(t.ports) > 0 {
		r.portServices(t, "_"+label, own, host, uniqueHost, out)
	}
	if t.discovery == "" {
		return
	}
	for _, x := range t.discoveryPorts {
		for _, proto := range r.protocols(x.Protocol) {
			name := "_" + label + "._" + proto + own
			out.record(op{name: name, target: uniqueOwn, port: x.Number, glue: p.own})
			if portName := r.Labels.Label(x.Name); portName != "" {
				out.record(op{name: "_" + portName + "." + name, target: uniqueOwn, port: x.Number, glue: p.own})
			}
		}
	}
}

// portServices gives T5 and T6: the ports of the task's resources.
func (r *Rules) portServices(t *entry, label, own, host, target string, out sink) {
	hostTCP, hostUDP := two(label, "._tcp"+host, label, "._udp"+host)
	names := [...]string{hostTCP, hostUDP, "", ""}
	if t.discovery == "" {
		names[2], names[3] = two(label, "._tcp"+own, label, "._udp"+own)
	}
	for _, x := range t.ports {
		for port := uint32(x.First); port <= uint32(x.Last); port++ {
			for _, name := range names {
				if name != "" {
					out.record(op{name: name, target: target, port: uint16(port), glue: t.placed.host})
				}
			}
		}
	}
}

// two joins texts in pairs, in one piece of memory: names live and die together.
func two(a, b, c, d string) (ab, cd string) {
	all := a + b + c + d
	return all[:len(a)+len(b)], all[len(a)+len(b):]
}

var (
	bothProtocols = []string{"tcp", "udp"}
	onlyTCP       = bothProtocols[:1]
	onlyUDP       = bothProtocols[1:]
)

// protocols splits "tcp,udp"; empty text stands for both.
func (r *Rules) protocols(text string) []string {
	switch text {
	case "tcp":
		return onlyTCP
	case "udp":
		return onlyUDP
	}
	var out []string
	for p := range strings.SplitSeq(text, ",") {
		if p = r.Labels.Label(p); p != "" && !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	if len(out) == 0 {
		return bothProtocols
	}
	return out
}

// addresses takes all addresses of the first source that has any.
func (r *Rules) addresses(t *entry, host *Addrs) *Addrs {
	var own Addresses
	if t.addresses != nil {
		own = *t.addresses
	}
	for _, source := range r.Sources {
		var found []netip.Addr
		switch source {
		case SourceNetInfo:
			found = own.NetInfo
		case SourceMesos:
			found = own.Mesos
		case SourceDocker:
			found = own.Docker
		case SourceHost:
			if host != nil {
				return host
			}
		case SourceAuto:
			switch own.Network {
			case "", "host", "bridge", "mesos-bridge":
				if host != nil {
					return host
				}
			default:
				found = own.NetInfo
			}
		}
		if len(found) > 0 {
			return addrsOf(found)
		}
	}
	return nil
}

func (a *Addrs) equal(b *Addrs) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a == b || slices.Equal(a.v4, b.v4) && slices.Equal(a.v6, b.v6)
}

// place works out what a task's records are made from now; nil: it has none.
func (s *State) place(t *entry) *placed {
	a := s.agents[t.agent]
	f := s.frameworks[t.framework()]
	if t.state != Running || a == nil || f == nil || f.label == "" {
		return nil
	}
	p := placed{own: s.rules.addresses(t, a.addrs), host: a.addrs, framework: f.label, shared: s.shared(t)}
	if a.usual == nil || *a.usual != p {
		if p.own != p.host || !p.shared {
			return &p
		}
		a.usual = &p
	}
	return a.usual
}

// sameRecords says whether two placed tasks have the same records.
func sameRecords(a, b *entry) bool {
	x, y := a.placed, b.placed
	if x == nil || y == nil {
		return x == y
	}
	return x.framework == y.framework && x.shared == y.shared && x.host.equal(y.host) && x.own.equal(y.own) &&
		a.name == b.name && a.discovery == b.discovery && a.agent == b.agent &&
		slices.Equal(a.ports, b.ports) && slices.Equal(a.discoveryPorts, b.discoveryPorts)
}

// group counts the running tasks of one label, for the soft filter.
type group struct {
	good int32               // not unhealthy
	bad  map[string]struct{} // keys of unhealthy tasks
}

// groupKey is a framework and a label.
type groupKey struct {
	framework FrameworkID
	label     string
}

func (e *entry) group() groupKey { return groupKey{e.framework(), e.label()} }

// shared decides whether a task belongs into the names it shares with others.
func (s *State) shared(t *entry) bool {
	switch {
	case t.health != Unhealthy:
		return true
	case s.rules.Filter == FilterStrict:
		return false
	case s.rules.Filter == FilterSoft:
		g := s.groups[t.group()]
		return g == nil || g.good == 0
	}
	return true
}

// count moves a task in or out of its group. When the group's last good task goes or its
// first one comes, the bad ones' places change.
func (s *State) count(t *entry, by int32) {
	if s.rules.Filter != FilterSoft || t == nil || t.state != Running {
		return
	}
	key := t.group()
	g := s.groups[key]
	if g == nil {
		g = &group{}
		s.groups[key] = g
	}
	if t.health == Unhealthy {
		if by > 0 {
			if g.bad == nil {
				g.bad = map[string]struct{}{}
			}
			g.bad[t.text] = struct{}{}
		} else {
			delete(g.bad, t.text)
		}
	} else {
		before := g.good
		g.good += by
		if (before == 0) != (g.good == 0) {
			for k := range g.bad {
				s.replace(k)
			}
		}
	}
	if g.good == 0 && len(g.bad) == 0 {
		delete(s.groups, key)
	}
}

// replace works out the records of a task again, after something else changed.
func (s *State) replace(key string) {
	if t := get(&s.tasks, key); t != nil {
		next := *t
		s.render(t, &next)
	}
}

// render changes the records from those of old to those of next, and keeps next. Either
// may be nil.
func (s *State) render(old, next *entry) {
	if next == nil {
		s.emit(old, s.retract, -1)
		s.tasks.remove(s.edit, old.text)
		return
	}
	next.placed = s.place(next)
	if old != nil && sameRecords(old, next) {
		next.placed = old.placed
	} else {
		s.emit(old, s.retract, -1)
		s.emit(next, s.assert, 1)
	}
	s.tasks.put(s.edit, next)
}

func (s *State) emit(t *entry, do func(op), by int) {
	if t != nil && t.placed != nil {
		s.rules.emit(t, editor{s, do, by})
	}
}

// editor puts records into the zone or takes them out.
type editor struct {
	s  *State
	do func(op)
	by int
}

func (e editor) record(o op)           { e.do(o) }
func (e editor) unbuilt(reason string) { e.s.skip(reason, e.by) }
