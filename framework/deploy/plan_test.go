package deploy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stoa-project/stoa/framework/app"
	"pgregory.net/rapid"
)

var (
	pool  = app.PortPool{Min: 10000, Max: 20000}
	rules = app.Rules{MesosRole: "*"}
)

// change applies a group body to a tree.
func change(t testing.TB, root *app.Group, version app.Timestamp, body string) *app.Group {
	t.Helper()
	u, err := app.ReadGroupUpdate([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	g, err := u.Apply(root, root, app.Root, rules)
	if err != nil {
		t.Fatal(err)
	}
	next, err := app.Settle(root, root.PutGroup(g, version), version, pool)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// steps prints a plan like "Stop /a | Start /b | Scale /b, Restart /c".
func steps(p *Plan) string {
	var out []string
	for _, s := range p.Steps {
		var actions []string
		for _, a := range s.Actions {
			actions = append(actions, string(a.Verb)+" "+string(a.ID))
		}
		out = append(out, strings.Join(actions, ", "))
	}
	return strings.Join(out, " | ")
}

func TestConformance_5_2_PlanConstruction(t *testing.T) {
	const before = `{"apps":[{"id":"db","cmd":"sleep 1"},{"id":"web","cmd":"sleep 1","dependencies":["db"]},{"id":"old","cmd":"sleep 1"}]}`
	for _, c := range []struct{ name, before, after, want string }{
		{"create", `{}`, `{"apps":[{"id":"a","cmd":"sleep 1"}]}`, "Start /a | Scale /a"},
		{"create in order", `{}`, before, "Start /db, Start /old, Start /web | Scale /db, Scale /old | Scale /web"},
		{"delete", before, `{"apps":[]}`, "Stop /db, Stop /old, Stop /web"},
		{"nothing", before, before, ""},
		{"scale", before, strings.Replace(before, `"id":"db"`, `"instances":3,"id":"db"`, 1), "Scale /db"},
		{"restart", before, strings.Replace(before, `"id":"db"`, `"cpus":2,"id":"db"`, 1), "Restart /db"},
		{"to none", before, strings.Replace(before, `"id":"db"`, `"cpus":2,"instances":0,"id":"db"`, 1), "Scale /db"},
		{"all at once", before, `{"apps":[{"id":"db","cmd":"sleep 2"},{"id":"web","cmd":"sleep 1","instances":2,"dependencies":["db"]},{"id":"new","cmd":"sleep 1","dependencies":["web"]}]}`,
			"Stop /old | Start /new | Restart /db | Scale /web | Scale /new"},
		{"steps without actions are dropped", before, strings.Replace(before, `"id":"web","cmd":"sleep 1"`, `"id":"web","cmd":"sleep 2"`, 1), "Restart /web"},
		{"only a group", `{}`, `{"groups":[{"id":"g"}]}`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			from := change(t, app.EmptyRoot(), 1, c.before)
			to := change(t, from, 2, c.after)
			p, err := NewPlan("id", from, to, 2)
			if err != nil {
				t.Fatal(err)
			}
			if got := steps(p); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestPlanRestart(t *testing.T) {
	from := change(t, app.EmptyRoot(), 1, `{"apps":[{"id":"a","cmd":"sleep 1"}]}`)
	to, err := app.Settle(from, from, 2, pool, "/a")
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewPlan("id", from, to, 2, "/a")
	if err != nil || steps(p) != "Restart /a" {
		t.Errorf("%s, %v", steps(p), err)
	}
}

func TestConflicts(t *testing.T) {
	root := change(t, app.EmptyRoot(), 1, `{"apps":[{"id":"a","cmd":"sleep 1"},{"id":"b","cmd":"sleep 1"}]}`)
	plan := func(id, body string) *Plan {
		p, err := NewPlan(id, root, change(t, root, 2, body), 2)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	a := plan("p-a", `{"apps":[{"id":"a","cmd":"sleep 2"},{"id":"b","cmd":"sleep 1"}]}`)
	b := plan("p-b", `{"apps":[{"id":"a","cmd":"sleep 1"},{"id":"b","cmd":"sleep 2"}]}`)
	both := plan("p-c", `{"apps":[]}`)
	running := []*Deployment{{Plan: a}, {Plan: b}}
	if got := both.Conflicts(running); !slices.Equal(got, []string{"p-a", "p-b"}) {
		t.Errorf("conflicts %v", got)
	}
	if got := a.Conflicts(running[1:]); got != nil {
		t.Errorf("disjoint plans conflict: %v", got)
	}
}

func TestRevert(t *testing.T) {
	r1 := change(t, app.EmptyRoot(), 1, `{"groups":[{"id":"keep","dependencies":["/x"]},{"id":"gone","dependencies":["/y"],"apps":[{"id":"c","cmd":"sleep 1"}]}],
		"apps":[{"id":"a","cmd":"sleep 1"},{"id":"b","cmd":"sleep 1"}]}`)
	r2 := change(t, r1, 2, `{"groups":[{"id":"keep","dependencies":[]},{"id":"made","groups":[{"id":"deep","apps":[{"id":"n","cmd":"sleep 1"}]}]}],
		"apps":[{"id":"a","cmd":"sleep 2"},{"id":"b","cmd":"sleep 1"}]}`)
	p, err := NewPlan("id", r1, r2, 2)
	if err != nil {
		t.Fatal(err)
	}
	// The record survives the store.
	raw, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	p = &Plan{}
	if err := json.Unmarshal(raw, p); err != nil {
		t.Fatal(err)
	}
	// Someone else changes b meanwhile.
	body, _ := app.ReadUpdate([]byte(`{"instances":7}`))
	b, err := body.Apply(r2.App("/b"), rules, rules.RolesAt(r2, "/b"))
	if err != nil {
		t.Fatal(err)
	}
	r3 := r2.PutApp(b, 3)
	got, err := app.Settle(r3, p.Revert(r3, 4), 4, pool)
	if err != nil {
		t.Fatal(err)
	}
	if a := got.App("/a"); a.Cmd != "sleep 1" || a.Version != 4 || a.VersionInfo.LastConfigChangeAt != 4 {
		t.Errorf("/a was not set back as a new version: %+v", a)
	}
	if got.App("/b").Instances != 7 || got.App("/gone/c") == nil || got.Group("/made") != nil {
		t.Error("another change was lost, a removed app did not come back, or a created group stayed")
	}
	if deps := got.Group("/keep").Dependencies; !slices.Equal(deps, []app.PathID{"/x"}) {
		t.Errorf("dependencies of a group: %v", deps)
	}
	if deps := got.Group("/gone").Dependencies; !slices.Equal(deps, []app.PathID{"/y"}) {
		t.Errorf("dependencies of a restored group: %v", deps)
	}
}

// TestPlanOrder checks for random graphs that every app is scaled or restarted in a
// later step than all changed apps it depends on, directly or through others.
func TestPlanOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(rt, "apps")
		deps := make([][]int, n)
		var before, after []string
		changed := make([]bool, n)
		for i := range n {
			var names []string
			for j := range i {
				if rapid.IntRange(0, 3).Draw(rt, "edge") == 0 {
					deps[i] = append(deps[i], j)
					names = append(names, fmt.Sprintf(`"a%d"`, j))
				}
			}
			changed[i] = rapid.Bool().Draw(rt, "changed")
			cmd := "sleep 1"
			if changed[i] {
				cmd = "sleep 2"
			}
			const form = `{"id":"a%d","cmd":"%s","dependencies":[%s]}`
			before = append(before, fmt.Sprintf(form, i, "sleep 1", strings.Join(names, ",")))
			after = append(after, fmt.Sprintf(form, i, cmd, strings.Join(names, ",")))
		}
		from := change(t, app.EmptyRoot(), 1, `{"apps":[`+strings.Join(before, ",")+`]}`)
		to := change(t, from, 2, `{"apps":[`+strings.Join(after, ",")+`]}`)
		p, err := NewPlan("id", from, to, 2)
		if err != nil {
			rt.Fatal(err)
		}
		at := map[app.PathID]int{}
		for i, s := range p.Steps {
			for _, a := range s.Actions {
				if a.Verb != Restart {
					rt.Fatalf("unexpected %v", a)
				}
				at[a.ID] = i + 1
			}
		}
		var latest func(i int) int // last step of i's changed dependencies
		latest = func(i int) int {
			m := 0
			for _, j := range deps[i] {
				m = max(m, at[app.PathID(fmt.Sprintf("/a%d", j))], latest(j))
			}
			return m
		}
		for i := range n {
			mine := at[app.PathID(fmt.Sprintf("/a%d", i))]
			if changed[i] != (mine > 0) || changed[i] && mine <= latest(i) {
				rt.Fatalf("app %d in step %d, its dependencies end in %d: %s", i, mine, latest(i), steps(p))
			}
		}
	})
}
