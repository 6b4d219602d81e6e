package labels

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Memo keeps what was made of each app, so that an app that has not changed costs a
// look-up. It serves one set of Options; only Addresses, LastAlive and LastGood may
// differ between calls. It belongs to one goroutine.
type Memo struct {
	made map[string]*made
	rev  uint64
	// turn counts the calls; what the last one did not use is forgotten.
	turn uint64
}

// made is what was made of one app by itself.
type made struct {
	rev   uint64 // of the app
	turn  uint64
	ports []made1
	hosts []hostAddr // names that were resolved on the way
}

// made1 is one service port. Without ok it has problems only.
type made1 struct {
	service  Service
	problems []Problem
	ok       bool
}

type hostAddr struct{ host, addr string }

// Services gives the services of apps, sorted by app id and port, and what was left
// out with the reason. A wrong label costs only its own port.
func Services(apps []App, o Options) ([]Service, []Problem) { return new(Memo).Services(apps, o) }

// Services does what the function of that name does.
func (m *Memo) Services(apps []App, o Options) ([]Service, []Problem) {
	if m.made == nil {
		m.made = make(map[string]*made, len(apps))
	}
	m.turn++
	if o.SkipApp != "" {
		apps = slices.DeleteFunc(slices.Clone(apps), func(a App) bool { return strings.TrimPrefix(a.ID, "/") == o.SkipApp })
	}
	apps, problems := merge(apps, o)
	out := make([]Service, 0, len(apps))
	type bind struct {
		addr string
		port int
	}
	owner := make(map[bind]string, len(apps))
	as := newAssigner(o.AssignMin, o.AssignMax)
	sorted := true
	for i := range apps {
		ports := m.portsOf(&apps[i], as, o)
		for k := range ports {
			p := &ports[k]
			problems = append(problems, p.problems...)
			if !p.ok {
				continue
			}
			s := &p.service
			at := bind{s.BindAddr, s.Port}
			if other, taken := owner[at]; taken {
				// Marathon-LB writes both, and the kernel spreads connections over the two.
				problems = append(problems, Problem{AppID: s.AppID, Index: s.Index, Kept: o.Compat, Reason: fmt.Sprintf("service port %d is already taken by %s", s.Port, other)})
				if !o.Compat {
					continue
				}
			}
			owner[at] = s.AppID
			if n := len(out); n > 0 && byPort(&out[n-1], s) > 0 {
				sorted = false
			}
			out = append(out, *s)
		}
	}
	if len(m.made) > len(apps) {
		for id, d := range m.made {
			if d.turn != m.turn {
				delete(m.made, id)
			}
		}
	}
	if !sorted {
		slices.SortStableFunc(out, func(a, b Service) int { return byPort(&a, &b) })
	}
	return out, append(problems, clashes(out)...)
}

func byPort(a, b *Service) int {
	return cmp.Or(cmp.Compare(a.AppID, b.AppID), cmp.Compare(a.Port, b.Port))
}

// portsOf gives what is made of one app, from memory when nothing that it was made of
// has changed.
func (m *Memo) portsOf(a *App, as *assigner, o Options) []made1 {
	if d, ok := m.made[a.ID]; ok && a.Rev != 0 && d.rev == a.Rev && d.sameHosts(o) {
		d.turn = m.turn
		return d.ports
	}
	as.asked = false
	ports, lasting := portsOf(a, as, o)
	// Assigned ports depend on other apps.
	if a.Rev == 0 || !lasting || as.asked {
		delete(m.made, a.ID)
		return ports
	}
	d := &made{rev: a.Rev, turn: m.turn, ports: ports}
	resolved := a.networkMode() != modeContainer
	for i := range ports {
		s := &ports[i].service
		m.rev++
		s.Rev = m.rev
		for _, v := range s.Servers {
			if resolved && v.Host != v.Addr && (len(d.hosts) == 0 || d.hosts[len(d.hosts)-1].host != v.Host) {
				d.hosts = append(d.hosts, hostAddr{v.Host, v.Addr})
			}
		}
	}
	m.made[a.ID] = d
	return ports
}

func (d *made) sameHosts(o Options) bool {
	for _, h := range d.hosts {
		if o.Addresses[h.host] != h.addr {
			return false
		}
	}
	return true
}

// portsOf makes an app's service ports. Those that are not lasting depend on more than
// the app and the addresses of its servers.
func portsOf(a *App, as *assigner, o Options) (out []made1, lasting bool) {
	lasting = !o.HealthCheck || len(a.HealthChecks) == 0 ||
		!slices.ContainsFunc(a.Tasks, func(k Task) bool { return len(k.HealthCheckResults) == 0 })
	for n, port := range a.servicePorts(as) {
		l := labelsOf(a, n)
		if !l.selected(o) {
			continue
		}
		if a.udpOnly(n) {
			out = append(out, made1{problems: []Problem{{AppID: a.ID, Index: n, Reason: "is a UDP port, which HAProxy cannot serve"}}})
			continue
		}
		var m made1
		s, checkIndex, err := l.service(port, o)
		if err != nil {
			lasting = false
			p := Problem{AppID: a.ID, Index: n, Reason: err.Error()}
			var bad *labelError
			if errors.As(err, &bad) {
				p.Label, p.Reason = bad.label, bad.reason
			}
			if s, p.Kept = o.LastGood[PortKey{a.ID, n}]; p.Kept {
				p.Reason += "; the last good settings stay"
			}
			m.problems = append(m.problems, p)
			if !p.Kept {
				out = append(out, m)
				continue
			}
			s.Rev = 0
		}
		var skipped []Problem
		s.Servers, skipped = servers(a, n, checkIndex, o)
		lasting = lasting && len(skipped) == 0
		m.problems = append(m.problems, skipped...)
		m.service, m.ok = s, len(s.Servers) > 0 || o.KeepEmpty
		out = append(out, m)
	}
	return out, lasting
}
