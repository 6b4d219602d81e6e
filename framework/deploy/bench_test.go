package deploy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stoa-project/stoa/framework/app"
)

// bigTree is 100 groups of 100 apps, each app depending on its predecessor in the group.
func bigTree(b testing.TB) (*app.Group, string) {
	var groups []string
	for g := range 100 {
		var apps []string
		for i := range 100 {
			dep := ""
			if i > 0 {
				dep = fmt.Sprintf(`,"dependencies":["a%d"]`, i-1)
			}
			apps = append(apps, fmt.Sprintf(`{"id":"a%d","cmd":"sleep 100","labels":{"HAPROXY_GROUP":"external"}%s}`, i, dep))
		}
		groups = append(groups, fmt.Sprintf(`{"id":"g%d","apps":[%s]}`, g, strings.Join(apps, ",")))
	}
	body := `{"groups":[` + strings.Join(groups, ",") + `]}`
	return change(b, app.EmptyRoot(), 1, body), body
}

// BenchmarkChangeOne is the whole edit of one app among 10,000.
func BenchmarkChangeOne(b *testing.B) {
	root, _ := bigTree(b)
	for b.Loop() {
		a := *root.App("/g50/a50")
		a.Cmd = "sleep 200"
		next, err := app.Settle(root, root.PutApp(&a, 2), 2, pool)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := NewPlan("id", root, next, 2); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPlan100 plans 100 changed apps of 10,000.
func BenchmarkPlan100(b *testing.B) {
	root, _ := bigTree(b)
	next := root
	for g := range 100 {
		a := *root.App(app.PathID(fmt.Sprintf("/g%d/a50", g)))
		a.Cmd = "sleep 200"
		next = next.PutApp(&a, 2)
	}
	next, err := app.Settle(root, next, 2, pool)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		p, err := NewPlan("id", root, next, 2)
		if err != nil || len(p.Changes) != 100 {
			b.Fatal(err, len(p.Changes))
		}
	}
}

// BenchmarkPutTree decodes, judges and settles a body of 10,000 apps that changes nothing.
func BenchmarkPutTree(b *testing.B) {
	root, body := bigTree(b)
	for b.Loop() {
		change(b, root, 2, body)
	}
}
