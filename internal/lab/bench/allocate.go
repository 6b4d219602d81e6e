package main

import (
	"container/heap"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/master/allocate"
	"github.com/stoa-project/stoa/master/ledger"
)

// The rows of the allocator are core-only: no master runs, no wire. One cycle offers every
// agent to somebody; between two cycles all is declined, with a filter, as in Mesos' own
// benchmark.

const allocateCycles = 9

// crowd is agents and the frameworks that want them.
type crowd struct {
	al     *allocate.Allocator
	now    time.Time
	agents int
}

func newCrowd(agents, frameworks int, text string, role func(int) string) (*crowd, error) {
	total, err := resource.Parse(text, resource.AnyRole)
	if err != nil {
		return nil, err
	}
	c := &crowd{now: time.Unix(1_000_000, 0), agents: agents, al: allocate.New(allocate.Config{MaxGrants: 100 * agents, Declines: agents})}
	for i := range agents {
		c.al.Apply(c.now, ledger.AgentOpen{Agent: ledger.AgentID(fmt.Sprintf("d7c04596-ea68-43d8-9ff4-459ba365e659-S%d", i)), Generation: 1,
			Total: slices.Clone(total), Capabilities: ledger.AgentCapabilities{MultiRole: true, HierarchicalRole: true}})
	}
	for i := range frameworks {
		c.al.Apply(c.now, ledger.FrameworkOpen{Framework: ledger.FrameworkID(fmt.Sprintf("d7c04596-ea68-43d8-9ff4-459ba365e659-%04d", i)), Roles: []string{role(i)}})
	}
	return c, nil
}

// cycle is one run, one interval after the last.
func (c *crowd) cycle() (grants []ledger.Grant, ms, cpu float64) {
	c.now = c.now.Add(2 * time.Second)
	before, began := ownCPU(), time.Now()
	grants = c.al.Run(c.now)
	return grants, float64(time.Since(began)) / 1e6, (ownCPU() - before) * 1e3
}

func (c *crowd) decline(grants []ledger.Grant) {
	for _, g := range grants {
		c.al.Apply(c.now, ledger.Released{Agent: g.Agent, Framework: g.Framework, Role: g.Role, Resources: g.Resources.Allocate(g.Role), Declined: true, Refuse: time.Hour})
	}
}

func ownCPU() float64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// allocateDeclined measures full cycles: median wall time, and the processor time of the
// same cycles, garbage collection included.
func allocateDeclined(frameworks int) func(int) (float64, map[string]float64, error) {
	return func(n int) (float64, map[string]float64, error) {
		c, err := newCrowd(n, frameworks, "cpus:24;mem:4096;disk:4096;ports:[31000-32000]", func(int) string { return "*" })
		if err != nil {
			return 0, nil, err
		}
		var times, cpus, declines []float64
		for range allocateCycles {
			grants, ms, cpu := c.cycle()
			if len(grants) != n {
				return 0, nil, fmt.Errorf("%d of %d agents were granted", len(grants), n)
			}
			began := time.Now()
			c.decline(grants)
			times, cpus = append(times, ms), append(cpus, cpu)
			declines = append(declines, float64(time.Since(began).Microseconds())/float64(n))
		}
		return median(times), map[string]float64{"cpu_ms": median(cpus), "least_ms": slices.Min(times), "decline_us": median(declines)}, nil
	}
}

// allocateIdle measures cycles in which nothing changed: ten frameworks declined all of n
// agents for an hour. A pass that looks at everything again is beside it.
func allocateIdle(n int) (float64, map[string]float64, error) {
	const frameworks = 10
	c, err := newCrowd(n, frameworks, "cpus:24;mem:4096;disk:4096;ports:[31000-32000]", func(int) string { return "*" })
	if err != nil {
		return 0, nil, err
	}
	for range frameworks {
		grants, _, _ := c.cycle()
		c.decline(grants)
	}
	var times, full []float64
	for i := range 40 {
		if i%4 == 0 {
			c.al.SetWhitelist(nil) // every agent is looked at
		}
		grants, ms, _ := c.cycle()
		if len(grants) > 0 {
			return 0, nil, fmt.Errorf("%d grants of what was declined", len(grants))
		}
		if i%4 == 0 {
			full = append(full, ms)
		} else {
			times = append(times, ms)
		}
	}
	return median(times), map[string]float64{"forced_pass_ms": median(full)}, nil
}

// allocateQuota measures the cycle that gives n roles their guarantees, which are limits
// too: five of six need half an agent, the others two.
func allocateQuota(n int) (float64, map[string]float64, error) {
	var times, cpus []float64
	for range 5 {
		role := func(i int) string { return fmt.Sprintf("role%04d", i) }
		c, err := newCrowd(n, n, "cpus:2;mem:2048;disk:2048", role)
		if err != nil {
			return 0, nil, err
		}
		want := 0
		for i := range n {
			units := int64(1)
			if i%6 == 5 {
				units = 4
			}
			want += int(units)
			q := ledger.QuotaSet{Role: role(i), Limits: map[string]resource.Fixed{}}
			for name, each := range map[string]int64{"cpus": 1, "mem": 1024, "disk": 1024} {
				q.Guarantees = q.Guarantees.With(name, resource.Whole(units*each))
				q.Limits[name] = resource.Whole(units * each)
			}
			c.al.Apply(c.now, q)
		}
		grants, ms, cpu := c.cycle()
		var cpusGiven resource.Fixed
		for _, g := range grants {
			cpusGiven += g.Resources.Get("cpus")
		}
		if cpusGiven != resource.Whole(int64(want)) {
			return 0, nil, fmt.Errorf("%v cpus are given, %d guaranteed", cpusGiven, want)
		}
		times, cpus = append(times, ms), append(cpus, cpu)
	}
	return median(times), map[string]float64{"cpu_ms": median(cpus)}, nil
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}

// shares is the bare heap of the floor.
type shares []struct {
	share float64
	count int
}

func (h shares) Len() int { return len(h) }
func (h shares) Less(i, j int) bool {
	return h[i].share < h[j].share || (h[i].share == h[j].share && h[i].count < h[j].count)
}
func (h shares) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *shares) Push(any)     {}
func (h *shares) Pop() any     { return nil }

// bareHeap gives each of n agents to whoever has least, from a heap of shares, and does
// nothing else.
func bareHeap(frameworks int) func(int) (float64, error) {
	return func(n int) (float64, error) {
		h := make(shares, frameworks)
		var times []float64
		for range allocateCycles {
			began := time.Now()
			for range n {
				h[0].share += 1 / float64(n)
				h[0].count++
				heap.Fix(&h, 0)
			}
			times = append(times, float64(time.Since(began))/1e6)
			for i := range h {
				h[i].share = 0
			}
		}
		return median(times), nil
	}
}
