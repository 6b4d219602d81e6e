package follow

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/stoa-project/stoa/lb/labels"
)

// Hosts resolves agents' host names and remembers them for a while: an agent may move.
// It belongs to one goroutine.
type Hosts struct {
	TTL    time.Duration
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	known  map[string]host
	// plain are the apps, by id and Rev, whose hosts are all addresses.
	plain map[string]uint64
}

type host struct {
	addr  string // "" when it does not resolve
	until time.Time
}

// NewHosts resolves by the system's resolver.
func NewHosts(ttl time.Duration) *Hosts {
	return &Hosts{TTL: ttl, Lookup: func(ctx context.Context, h string) ([]netip.Addr, error) {
		return net.DefaultResolver.LookupNetIP(ctx, "ip", h)
	}}
}

// Addresses gives the address of every host of the apps' tasks that is no IP itself;
// hosts that do not resolve are absent, after their last known address has been tried.
func (r *Hosts) Addresses(ctx context.Context, now time.Time, apps []labels.App) map[string]string {
	out := map[string]string{}
	next := map[string]host{}
	if r.plain == nil || len(r.plain) > 2*len(apps)+100 {
		r.plain = make(map[string]uint64, len(apps))
	}
	for i := range apps {
		a := &apps[i]
		if rev, ok := r.plain[a.ID]; ok && a.Rev != 0 && rev == a.Rev {
			continue
		}
		named := false
		for _, k := range a.Tasks {
			if k.Host == "" {
				continue
			}
			if _, err := netip.ParseAddr(k.Host); err == nil {
				continue
			}
			named = true
			h, ok := next[k.Host]
			if !ok {
				h = r.resolve(ctx, now, k.Host)
				next[k.Host] = h // what no task uses any more is forgotten
			}
			if h.addr != "" {
				out[k.Host] = h.addr
			}
		}
		if !named {
			r.plain[a.ID] = a.Rev
		}
	}
	r.known = next
	return out
}

func (r *Hosts) resolve(ctx context.Context, now time.Time, name string) host {
	old, ok := r.known[name]
	if ok && now.Before(old.until) {
		return old
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	addrs, err := r.Lookup(ctx, name)
	if err != nil || len(addrs) == 0 {
		return host{addr: old.addr, until: now.Add(time.Second)}
	}
	best := addrs[0]
	for _, a := range addrs {
		if a.Unmap().Is4() {
			best = a.Unmap()
			break
		}
	}
	return host{addr: best.String(), until: now.Add(r.TTL)}
}
