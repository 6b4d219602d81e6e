package dns

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/stoa-project/stoa/dns/answer"
	"github.com/stoa-project/stoa/dns/names"
)

const (
	resolvConf     = "/etc/resolv.conf"
	defaultDNSPort = 53
)

// resolvers checks where names outside the zone are sent (mesos-dns.md section 8).
func (s *settled) resolvers() error {
	if s.Timeout < 0 {
		return bad("timeout", s.Timeout, "must not be negative")
	}
	if s.Timeout == 0 {
		s.Timeout = 5
	}
	s.answer.Timeout = time.Duration(s.Timeout) * time.Second
	s.answer.ExternalOn = s.ExternalOn
	if !s.ExternalOn {
		return nil
	}
	var err error
	if len(s.Resolvers) == 0 {
		if s.answer.Resolvers, err = answer.SystemResolvers(resolvConf, s.own); err != nil {
			s.answer.Resolvers = nil // forwarding is refused then, as without resolvers
		}
	} else if s.answer.Resolvers, err = s.resolverList("resolvers", s.Resolvers); err != nil {
		return err
	}
	s.answer.ZoneResolvers = map[string][]string{}
	for zone, list := range s.ZoneResolvers {
		key := "zoneResolvers " + strconv.Quote(zone)
		z := strings.ToLower(zone)
		if !validDomain(z) {
			return bad("zoneResolvers", strconv.Quote(zone), "must be a domain name without dots at the ends")
		}
		if names.InDomain(z+".", s.Domain) || names.InDomain(s.Domain+".", z) {
			return bad("zoneResolvers", strconv.Quote(zone), "overlaps the own domain "+s.Domain)
		}
		for other := range s.answer.ZoneResolvers {
			if names.InDomain(z+".", other) || names.InDomain(other+".", z) {
				return bad("zoneResolvers", strconv.Quote(zone), "is ambiguous beside "+strconv.Quote(other))
			}
		}
		if len(list) == 0 {
			return bad(key, "[]", "must name at least one resolver")
		}
		if s.answer.ZoneResolvers[z], err = s.resolverList(key, list); err != nil {
			return err
		}
	}
	return nil
}

// resolverList reads IPs with optional ports.
func (s *settled) resolverList(key string, list []string) ([]string, error) {
	var out []string
	seen := map[netip.AddrPort]bool{}
	for _, text := range list {
		at, err := netip.ParseAddrPort(text)
		if err != nil {
			addr, addrErr := netip.ParseAddr(strings.Trim(text, "[]"))
			if addrErr != nil {
				return nil, bad(key, strconv.Quote(text), "must be an IP address with an optional port")
			}
			at = netip.AddrPortFrom(addr, defaultDNSPort)
		}
		if seen[at] {
			return nil, bad(key, strconv.Quote(text), "is given twice")
		}
		if s.own(at) {
			return nil, bad(key, strconv.Quote(text), "is this server itself")
		}
		seen[at] = true
		out = append(out, at.String())
	}
	return out, nil
}

// own says whether queries to at would come back to this server.
func (s *settled) own(at netip.AddrPort) bool {
	if int(at.Port()) != s.Port || !s.DNSOn {
		return false
	}
	if s.listen == at.Addr() {
		return true
	}
	if !s.listen.IsUnspecified() {
		return false
	}
	if at.Addr().IsLoopback() || at.Addr().IsUnspecified() {
		return true
	}
	for _, a := range listenAddrs(s.listen) {
		if a == at.Addr() {
			return true
		}
	}
	return false
}

// listenAddrs gives the address a server listens on; for the unspecified one all
// addresses of this machine but loopback.
func listenAddrs(listen netip.Addr) []netip.Addr {
	if !listen.IsUnspecified() {
		return []netip.Addr{listen}
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var out []netip.Addr
	for _, a := range all {
		p, err := netip.ParsePrefix(a.String())
		if err != nil || p.Addr().IsLoopback() || p.Addr().IsLinkLocalUnicast() {
			continue
		}
		out = append(out, p.Addr())
	}
	return out
}

// validDomain says whether a lower-case name is labels of letters, digits, dashes and
// underscores, joined by dots.
func validDomain(name string) bool {
	if name == "" || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, r := range label {
			if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_' {
				return false
			}
		}
	}
	return true
}
