package core_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
	"github.com/stoa-project/stoa/framework/match"
)

// TestDemandByRole follows marathon.md 4.5 and 6.7: the master hears of a role before it is
// asked for offers in it, each role is asked for by itself, and rests by itself.
func TestDemandByRole(t *testing.T) {
	now, n := time.Unix(1000, 0), 0
	var said []string
	var c *core.Core
	var step func(core.Input)
	take := func(effects []core.Effect) {
		for _, e := range effects {
			switch e := e.(type) {
			case core.Persist:
				step(core.Persisted{Batch: e.Batch})
			case core.Roles:
				said = append(said, fmt.Sprintf("roles %v suppressed %v", e.Roles, e.Suppressed))
			case core.Revive:
				said = append(said, fmt.Sprintf("revive %v", e.Roles))
			case core.Suppress:
				said = append(said, fmt.Sprintf("suppress %v", e.Roles))
			case core.Accept:
				said = append(said, fmt.Sprintf("accept %s %s", e.Offer, e.Tasks[0].Instance.App))
			case core.Reply:
				if e.Err != nil {
					t.Fatal(e.Err)
				}
			}
		}
	}
	step = func(in core.Input) { take(c.Step(now, in)) }
	expect := func(want ...string) {
		t.Helper()
		if !slices.Equal(said, want) {
			t.Errorf("said\n%s\nwant\n%s", strings.Join(said, "\n"), strings.Join(want, "\n"))
		}
		said = nil
	}
	seconds := func(n int) {
		for range n {
			now = now.Add(time.Second)
			step(core.Tick{})
		}
	}
	put := func(id app.PathID, role string) {
		a := basic(id, 1)
		a.Role = role
		step(core.Do{Token: 1, Command: put(a, true)})
	}
	offer := func(id, role string) {
		step(core.Offers{Offers: []*match.Offer{{ID: id, AgentID: "S", Hostname: "h", Role: role, Resources: []match.Resource{
			{Name: "cpus", Role: "*", Milli: 8000}, {Name: "mem", Role: "*", Milli: 8000000}, {Name: "disk", Role: "*", Milli: 8000000},
			{Name: "ports", Role: "*", Ranges: []match.Range{{Begin: 31000, End: 31100}}}}}}})
	}
	var err error
	var effects []core.Effect
	c, effects, err = core.New(core.Config{Role: "own", UUID: func() string { n++; return fmt.Sprintf("%08d-0000-4000-8000-000000000000", n) },
		Rand: func() uint64 { return 0 }, Ports: app.PortPool{Min: 10000, Max: 20000}}, now, core.Stored{})
	if err != nil {
		t.Fatal(err)
	}
	take(effects)
	expect("roles [own] suppressed []")
	step(core.Subscribed{FrameworkID: "F", Master: "m:5050"})
	seconds(1)
	expect("suppress [own]")

	put("/team/a", "team")
	expect("roles [own team] suppressed [own]", "revive [team]")
	offer("o1", "own") // an offer of another role is of no use
	expect()
	offer("o2", "team")
	expect("accept o2 /team/a")
	seconds(10)
	expect("suppress [team]")

	put("/b", "own")
	expect("revive [own]")
	put("/team/c", "team")
	expect("revive [team]")
	offer("o3", "own")
	expect("accept o3 /b")
	seconds(3)
	expect("suppress [own]")
	seconds(2)
	expect("revive [team]") // once more, and no more
	seconds(20)
	expect()

	// A new subscription begins without suppressed roles.
	step(core.Disconnected{})
	step(core.Subscribed{FrameworkID: "F", Master: "m:5050"})
	seconds(1)
	expect("revive [team]", "suppress [own]")
}
