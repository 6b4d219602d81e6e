package names

import (
	"net/netip"
	"slices"
	"strconv"
)

// masterOps works out the records of masters (mesos-dns.md section 6).
func (s *State) masterOps() []op {
	var ops []op
	tail := "." + s.apex
	if s.leader.Host != "" {
		ops = append(ops, op{name: "leader" + tail, addrs: s.addrs(s.leader.Host)})
		for _, proto := range bothProtocols {
			ops = append(ops, op{name: "_leader._" + proto + tail, target: "leader" + tail, port: s.leader.Port})
		}
	}
	// Masters are numbered in list order; a leader that is not listed comes last. The same
	// master may be known by name and by address.
	seen := map[Endpoint]bool{}
	n := 0
	for _, m := range append(slices.Clone(s.masters), s.leader) {
		addrs := s.addrs(m.Host)
		key := m
		if addrs != nil {
			key.Host = addrs.first().String()
		}
		if m.Host == "" || seen[key] {
			continue
		}
		seen[key] = true
		name := "master" + strconv.Itoa(n) + tail
		n++
		ops = append(ops, op{name: "master" + tail, addrs: addrs}, op{name: name, addrs: addrs})
		for _, proto := range bothProtocols {
			ops = append(ops, op{name: "_master._" + proto + tail, target: name, port: m.Port})
		}
	}
	return ops
}

func (s *State) renderMasters() { s.swap(&s.masterRecords, s.masterOps()) }

// swap takes old records out and puts new ones in.
func (s *State) swap(old *[]op, next []op) {
	if slices.EqualFunc(*old, next, func(a, b op) bool {
		return a.name == b.name && a.target == b.target && a.port == b.port && a.addrs.equal(b.addrs)
	}) {
		return
	}
	for _, o := range *old {
		s.retract(o)
	}
	for _, o := range next {
		s.assert(o)
	}
	*old = next
}

// renderAgent works out what an agent adds to the names of all agents; nil: it is gone.
func (s *State) renderAgent(a *agent, present bool) {
	var next []op
	missing := present && a.addrs == nil
	if present && !missing {
		next = append(next, op{name: s.slaveName, addrs: a.addrs}, op{name: s.slaveService, target: s.slaveName, port: a.PID.Port})
	}
	if missing != a.missing {
		s.skip("agent host not resolved", map[bool]int{true: 1, false: -1}[missing])
		a.missing = missing
	}
	s.swap(&a.records, next)
}

// renderFramework does the same for a framework's scheduler.
func (s *State) renderFramework(f *framework, present bool) {
	var next []op
	reason := ""
	if present {
		name, addrs := f.label+"."+s.apex, s.addrs(f.host())
		switch {
		case f.label == "":
			reason = "empty framework label"
		case f.host() != "" && addrs == nil:
			reason = "framework host not resolved"
			fallthrough
		default:
			next = []op{{name: name, addrs: addrs}, {name: "_framework._tcp." + name, target: name, port: f.PID.Port}}
		}
	}
	if reason != f.skipped {
		if f.skipped != "" {
			s.skip(f.skipped, -1)
		}
		if reason != "" {
			s.skip(reason, 1)
		}
		f.skipped = reason
	}
	s.swap(&f.records, next)
}

// addrs gives the addresses of a host, nil when it is not resolved.
func (s *State) addrs(host string) *Addrs {
	if a, err := netip.ParseAddr(host); err == nil {
		return addrsOf([]netip.Addr{a})
	}
	return s.hosts[host]
}

// first is any of the addresses.
func (a *Addrs) first() netip.Addr {
	if len(a.v4) > 0 {
		return netip.AddrFrom4(a.v4[0])
	}
	return netip.AddrFrom16(a.v6[0])
}

// need counts the uses of a host name.
func (s *State) need(host string, by int) {
	if host == "" {
		return
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return
	}
	s.needed[host] += by
	if s.needed[host] <= 0 {
		delete(s.needed, host)
		delete(s.hosts, host)
	}
}

// SetHost tells the addresses of a host name; none when it cannot be resolved.
func (s *State) SetHost(name string, ips []netip.Addr) {
	addrs := addrsOf(ips)
	before, asked := s.hosts[name]
	s.hosts[name] = addrs
	if asked && before.equal(addrs) {
		s.hosts[name] = before
		return
	}
	s.renderMasters()
	for _, f := range s.frameworks {
		if f.host() == name {
			s.renderFramework(f, true)
		}
	}
	for _, a := range s.agents {
		if a.PID.Host == name {
			s.placeAgent(a)
		}
	}
}

// Unresolved lists host names that records depend on, each with whether its addresses
// were told before.
func (s *State) Unresolved() map[string]bool {
	out := make(map[string]bool, len(s.needed))
	for host := range s.needed {
		_, out[host] = s.hosts[host]
	}
	return out
}
