package follow

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/stoa-project/stoa/dns/names"
)

const (
	lookups       = 8               // host names that are resolved at a time
	lookupTimeout = 2 * time.Second // for one name
)

// resolution is what a look-up found; no addresses: it cannot be resolved.
type resolution struct {
	host  string
	addrs []netip.Addr
}

// lookupPlan resolves host names of pids in the background, now and then again.
type lookupPlan struct {
	cfg     Config
	running int
	asked   map[string]time.Time // last start, per name that is still needed
	known   map[string][]netip.Addr
}

func newLookupPlan(cfg Config) *lookupPlan {
	return &lookupPlan{cfg: cfg, asked: map[string]time.Time{}, known: map[string][]netip.Addr{}}
}

// start begins the look-ups that are due, as many as may run.
func (p *lookupPlan) start(ctx context.Context, state *names.State, results chan<- resolution) {
	if p.cfg.Lookup == nil {
		return
	}
	needed := state.Unresolved()
	now := time.Now()
	for host := range p.asked {
		if _, ok := needed[host]; !ok {
			delete(p.asked, host)
			delete(p.known, host)
		}
	}
	for host := range needed {
		if p.running == lookups {
			return
		}
		if last, ok := p.asked[host]; ok && now.Sub(last) < lookupEvery {
			continue
		}
		p.asked[host] = now
		if names.InDomain(strings.ToLower(strings.TrimSuffix(host, "."))+".", p.cfg.Rules.Domain) {
			continue // would come back to this server
		}
		p.running++
		go func() {
			short, cancel := context.WithTimeout(ctx, lookupTimeout)
			defer cancel()
			addrs, err := p.cfg.Lookup(short, host)
			if err != nil {
				addrs = nil
			}
			select {
			case results <- resolution{host, addrs}:
			case <-ctx.Done():
			}
		}()
	}
}

// done notes a result and says whether it is news. A name that could be resolved before
// keeps its addresses when it cannot be now.
func (p *lookupPlan) done(state *names.State, r resolution) bool {
	p.running--
	before, known := p.known[r.host]
	if known && len(r.addrs) == 0 {
		return false
	}
	slices.SortFunc(r.addrs, netip.Addr.Compare)
	p.known[r.host] = r.addrs
	state.SetHost(r.host, r.addrs)
	return !known || !slices.Equal(before, r.addrs)
}
