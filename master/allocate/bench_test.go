package allocate_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/master/allocate"
	"github.com/stoa-project/stoa/master/ledger"
)

// crowd is an allocator with agents and frameworks, of which each declines all it sees.
type crowd struct {
	al  *allocate.Allocator
	now time.Time
}

func newCrowd(b *testing.B, agents, frameworks int, role func(int) string) *crowd {
	b.Helper()
	c := &crowd{al: allocate.New(allocate.Config{MaxGrants: 10 * agents, Declines: agents}), now: start}
	total := parse(b, "cpus:24;mem:4096;disk:4096;ports:[31000-32000]")
	for i := range agents {
		c.al.Apply(c.now, ledger.AgentOpen{Agent: ledger.AgentID(fmt.Sprintf("m-S%d", i)), Generation: 1, Total: total,
			Capabilities: ledger.AgentCapabilities{MultiRole: true, HierarchicalRole: true}})
	}
	for i := range frameworks {
		c.al.Apply(c.now, framework(fmt.Sprintf("m-%06d", i), role(i)))
	}
	return c
}

func (c *crowd) decline(grants []ledger.Grant) {
	for _, g := range grants {
		c.al.Apply(c.now, ledger.Released{Agent: g.Agent, Framework: g.Framework, Role: g.Role, Resources: g.Resources.Allocate(g.Role),
			Declined: true, Refuse: time.Hour})
	}
}

// BenchmarkDeclined is one full cycle: every agent is offered to somebody; between two
// cycles all is declined, with a filter.
func BenchmarkDeclined(b *testing.B) {
	for _, size := range []struct{ agents, frameworks int }{{10000, 1000}, {50000, 6000}, {100000, 1000}} {
		b.Run(fmt.Sprintf("%dx%d", size.agents, size.frameworks), func(b *testing.B) {
			c := newCrowd(b, size.agents, size.frameworks, func(int) string { return "*" })
			c.decline(c.al.Run(c.now))
			for b.Loop() {
				c.now = c.now.Add(2 * time.Second)
				got := c.al.Run(c.now)
				b.StopTimer()
				if len(got) != size.agents {
					b.Fatalf("%d grants", len(got))
				}
				c.decline(got)
				b.StartTimer()
			}
		})
	}
}

// BenchmarkDecline is one declined agent with its filter.
func BenchmarkDecline(b *testing.B) {
	c := newCrowd(b, 10000, 1000, func(int) string { return "*" })
	var got []ledger.Grant
	i := 0
	for b.Loop() {
		if i == len(got) {
			b.StopTimer()
			c.now = c.now.Add(2 * time.Second)
			got, i = c.al.Run(c.now), 0
			b.StartTimer()
		}
		c.decline(got[i : i+1])
		i++
	}
}

// BenchmarkQuota is one cycle that gives 3,000 roles their guarantees: 2,500 of half an
// agent and 500 of two.
func BenchmarkQuota(b *testing.B) {
	for _, limited := range []bool{false, true} {
		b.Run(fmt.Sprintf("limits=%v", limited), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				c := newCrowd(b, 3000, 3000, func(i int) string { return fmt.Sprintf("r%04d", i) })
				total := parse(b, "cpus:2;mem:2048;disk:2048")
				for i := range 3000 {
					c.al.Apply(c.now, ledger.AgentOpen{Agent: ledger.AgentID(fmt.Sprintf("m-S%d", i)), Generation: 1, Total: total,
						Capabilities: ledger.AgentCapabilities{MultiRole: true, HierarchicalRole: true}})
					n := int64(1)
					if i >= 2500 {
						n = 4
					}
					q := ledger.QuotaSet{Role: fmt.Sprintf("r%04d", i), Guarantees: resource.Quantities{}.
						With("cpus", resource.Whole(n)).With("mem", resource.Whole(n*1024)).With("disk", resource.Whole(n*1024))}
					if limited {
						q.Limits = map[string]resource.Fixed{"cpus": resource.Whole(n), "mem": resource.Whole(n * 1024), "disk": resource.Whole(n * 1024)}
					}
					c.al.Apply(c.now, q)
				}
				b.StartTimer()
				got := c.al.Run(c.now)
				if len(got) < 3500 {
					b.Fatalf("%d grants", len(got))
				}
			}
		})
	}
}

// BenchmarkIdle is a cycle in which nothing changed, with everything declined by all.
func BenchmarkIdle(b *testing.B) {
	c := newCrowd(b, 10000, 10, func(int) string { return "*" })
	for {
		c.now = c.now.Add(2 * time.Second)
		got := c.al.Run(c.now)
		if len(got) == 0 {
			break
		}
		c.decline(got)
	}
	for b.Loop() {
		c.now = c.now.Add(time.Second)
		if got := c.al.Run(c.now); len(got) > 0 {
			b.Fatalf("%d grants", len(got))
		}
	}
}
