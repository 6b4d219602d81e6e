package deploy

import (
	"encoding/json"
	"testing"

	"github.com/stoa-project/stoa/framework/app"
)

func podAt(t *testing.T, id, body string) *app.Pod {
	t.Helper()
	u, err := app.ReadPod([]byte(`{"id":"` + id + `",` + body + `}`))
	if err != nil {
		t.Fatal(err)
	}
	p, err := u.Create(app.PathID(id), app.Rules{MesosRole: "*"}, app.Roles{Default: "*", Allowed: []string{"*"}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const sleeps = `"containers":[{"name":"c","resources":{},"exec":{"command":{"shell":"sleep 9"}}}]`

// TestConformance_5_2_PodPlans: pods take the steps that apps take, under their own names.
func TestConformance_5_2_PodPlans(t *testing.T) {
	settled := func(from, to *app.Group, v app.Timestamp) *app.Group {
		t.Helper()
		out, err := app.Settle(from, to, v, pool)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	plan := func(from, to *app.Group, v app.Timestamp, want string) *Plan {
		t.Helper()
		p, err := NewPlan("id", from, to, v)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, s := range p.Steps {
			b, _ := json.Marshal(s.Actions)
			got += string(b)
		}
		if got != want {
			t.Errorf("steps %s, want %s", got, want)
		}
		return p
	}
	empty := app.EmptyRoot()
	one := settled(empty, empty.PutPod(podAt(t, "/g/p", sleeps), 1), 1)
	plan(empty, one, 1, `[{"action":"StartPod","pod":"/g/p"}][{"action":"ScalePod","pod":"/g/p"}]`)
	if v := one.Pod("/g/p").VersionInfo; one.Pod("/g/p").Version != 1 || v.LastConfigChangeAt != 1 {
		t.Errorf("%+v", v)
	}

	two := settled(one, one.PutPod(podAt(t, "/g/p", sleeps+`,"scaling":{"kind":"fixed","instances":2}`), 2), 2)
	plan(one, two, 2, `[{"action":"ScalePod","pod":"/g/p"}]`)
	if p := two.Pod("/g/p"); p.Version != 2 || p.VersionInfo.LastScalingAt != 2 || p.VersionInfo.LastConfigChangeAt != 1 || p.RunSpec().ConfigVersion != 1 {
		t.Errorf("scaling dates the configuration: %+v", p.VersionInfo)
	}
	if same := settled(two, two.PutPod(podAt(t, "/g/p", sleeps+`,"scaling":{"kind":"fixed","instances":2}`), 3), 3); same.Pod("/g/p") != two.Pod("/g/p") {
		t.Error("a put without a change makes a new version")
	}

	labelled := settled(two, two.PutPod(podAt(t, "/g/p", sleeps+`,"labels":{"a":"b"},"scaling":{"kind":"fixed","instances":2}`), 4), 4)
	restart := plan(two, labelled, 4, `[{"action":"RestartPod","pod":"/g/p"}]`)
	if back := restart.Revert(labelled, 5); back.Pod("/g/p") != two.Pod("/g/p") {
		t.Error("a cancelled change is not undone")
	}

	// An app in the place of a pod, as a rollback of the group may bring it.
	swapped := settled(labelled, labelled.RemovePod("/g/p", 6).PutApp(change(t, empty, 6, `{"groups":[{"id":"g","apps":[{"id":"p","cmd":"sleep 9"}]}]}`).App("/g/p"), 6), 6)
	p := plan(labelled, swapped, 6, `[{"action":"RestartApplication","app":"/g/p"}]`)
	if ch := p.Change("/g/p"); len(p.Changes) != 1 || ch.Old.Pod == nil || ch.New.App == nil || ch.Pod() {
		t.Errorf("%+v", p.Changes)
	}
	if back := p.Revert(swapped, 7); back.App("/g/p") != nil || back.Pod("/g/p") == nil {
		t.Error("the pod does not come back")
	}

	gone := labelled.RemoveGroup("/g", 8)
	p = plan(labelled, gone, 8, `[{"action":"StopPod","pod":"/g/p"}]`)
	if back := p.Revert(gone, 9); back.Pod("/g/p") == nil {
		t.Error("a deleted pod does not come back")
	}
	var again Action
	if err := json.Unmarshal([]byte(`{"action":"StopPod","pod":"/g/p"}`), &again); err != nil || again != p.Steps[0].Actions[0] {
		t.Errorf("%v %v", again, err)
	}
	if err := json.Unmarshal([]byte(`{"action":"ScaleApplication","app":"/a"}`), &again); err != nil || again != (Action{Scale, "/a", false}) {
		t.Errorf("%v %v", again, err)
	}
}

// TestConformance_4_3_PodDependencies: a group's dependencies hold for its pods, and pods are
// waited for.
func TestConformance_4_3_PodDependencies(t *testing.T) {
	root := change(t, app.EmptyRoot(), 1, `{"groups":[{"id":"db"},{"id":"web","dependencies":["/db"],"apps":[{"id":"front","cmd":"sleep 9","dependencies":["/web/cache"]}]}]}`)
	root = root.PutPod(podAt(t, "/db/pg", sleeps), 1).PutPod(podAt(t, "/web/cache", sleeps), 1)
	levels, err := app.Levels(root)
	if err != nil || levels["/db/pg"] != 1 || levels["/web/cache"] != 2 || levels["/web/front"] != 3 {
		t.Errorf("%v %v", levels, err)
	}
	g := *root.Group("/db")
	g.Dependencies = []app.PathID{"/web/cache"}
	if _, err := app.Levels(root.PutGroup(&g, 2)); err == nil {
		t.Error("pods that wait for each other are accepted")
	}
}
