package repo

import (
	"context"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
	"github.com/stoa-project/stoa/framework/deploy"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/store"
	"github.com/stoa-project/stoa/internal/zk"
)

func stores(t *testing.T) map[string]store.Store {
	t.Helper()
	file, err := store.OpenFile(filepath.Join(t.TempDir(), "framework.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return map[string]store.Store{"memory": store.NewMemory(), "file": file}
}

// TestRoundTrip writes one record of each kind and loads what was written.
func TestRoundTrip(t *testing.T) {
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			r := New(s)
			if err := r.Open(ctx, zk.Fence{}); err != nil {
				t.Fatal(err)
			}
			grace := 3
			old := &app.App{ID: "/g/a", Cmd: "sleep 1", Version: 10, PortDefinitions: []app.PortDefinition{}, TaskKillGraceSeconds: &grace,
				Labels: app.Dict{"A": "b"}, Unreachable: app.UnreachableStrategy{Disabled: true},
				Networks: app.List[app.Network]{{Mode: app.NetworkHost}}, Env: map[string]app.EnvValue{"X": {Value: "1"}}}
			now := *old
			now.Version, now.Cmd = 20, "sleep 2"
			instance := &app.Instance{ID: app.NewInstanceID("/g/a", "u"), App: "/g/a", Goal: app.GoalRunning, Condition: app.Running,
				AppVersion: 20, Launch: 2, AgentID: "S", Host: "h", HostPorts: []int{31000}, StagedAt: 5, Since: 6, Role: "*"}
			plan := &core.PlanRecord{ID: "d", Version: 20, Changes: []core.ChangeRecord{{ID: "/g/a", Old: 10, New: 20}},
				Steps: []deploy.Step{{Actions: []deploy.Action{{Verb: deploy.Restart, ID: "/g/a"}}}}}
			failure := &app.TaskFailure{AppID: "/g/a", State: "TASK_FAILED", TaskID: instance.TaskID(), Timestamp: 7, Version: 20}
			root := core.RootRecord{Changed: []app.PathID{"/g/a"}, Root: &core.GroupRecord{ID: "/", Version: 20,
				Groups: []*core.GroupRecord{{ID: "/g", Version: 20, Apps: map[app.PathID]app.Timestamp{"/g/a": 20}}}}}
			pod := &app.Pod{ID: "/g/p", Version: 20, VersionInfo: app.VersionInfo{LastScalingAt: 20, LastConfigChangeAt: 10}, Role: "*",
				Containers: []app.PodContainer{{Name: "c", Exec: &app.PodExec{Command: app.CheckCommand{Shell: "sleep 1"}}}},
				Scaling:    app.PodScaling{Kind: "fixed", Instances: 2}, Scheduling: app.PodScheduling{Unreachable: app.UnreachableStrategy{Disabled: true}}}
			changes := []core.Change{
				{Key: core.InstancePrefix + "/" + string(instance.ID), Value: instance},
				{Key: core.DeploymentPrefix + "/d", Value: plan},
				{Key: core.RootPrefix + "/20", Value: root},
				{Key: core.FailurePrefix + "/g_a", Value: failure},
				{Key: core.AppPrefix + "/g_a/20", Value: &now},
				{Key: core.AppPrefix + "/g_a/10", Value: old},
				{Key: core.PodPrefix + "/g_p/20", Value: pod.RunSpec().Record()},
				{Key: core.FrameworkKey, Value: core.FrameworkRecord{ID: "F"}},
				{Key: core.InstancePrefix + "/gone"},
			}
			if err := r.Apply(ctx, zk.Fence{}, changes); err != nil {
				t.Fatal(err)
			}
			got, err := r.Load(ctx)
			if err != nil {
				t.Fatal(err)
			}
			want := core.Stored{FrameworkID: "F", Roots: []*core.RootRecord{&root}, Apps: map[app.PathID][]*app.App{"/g/a": {old, &now}},
				Pods: map[app.PathID][]*app.Pod{"/g/p": {pod}}, Instances: []*app.Instance{instance}, Plans: []*core.PlanRecord{plan}, Failures: []*app.TaskFailure{failure}}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("loaded\n%+v\nwant\n%+v", got, want)
			}
		})
	}
}

// TestBigBatches splits what does not fit one batch of the store and keeps the order
// in which nothing names what is not there yet.
func TestBigBatches(t *testing.T) {
	ctx := context.Background()
	spy := &order{Store: store.NewMemory()}
	var changes []core.Change
	for _, key := range []string{core.InstancePrefix + "/i", core.RootPrefix + "/1", core.AppPrefix + "/b/1", core.AppPrefix + "/a/1"} {
		changes = append(changes, core.Change{Key: key, Value: strings.Repeat("x", 600_000)})
	}
	if err := New(spy).Apply(ctx, zk.Fence{}, changes); err != nil {
		t.Fatal(err)
	}
	want := []string{"apps/b/1", "apps/a/1", "roots/1", "instances/i"}
	if !reflect.DeepEqual(spy.keys, want) {
		t.Errorf("written %v, want %v", spy.keys, want)
	}
}

// order notes the order of writes.
type order struct {
	store.Store
	keys []string
}

func (o *order) Apply(ctx context.Context, f zk.Fence, ops ...store.Op) error {
	for _, op := range ops {
		o.keys = append(o.keys, op.Key)
	}
	return o.Store.Apply(ctx, f, ops...)
}

func TestRefusals(t *testing.T) {
	ctx := context.Background()
	s := store.NewMemory()
	if err := s.Apply(ctx, zk.Fence{}, store.Put(storageKey, []byte(`{"version":99}`)), store.Put("apps/a/1", []byte("{"))); err != nil {
		t.Fatal(err)
	}
	if err := New(s).Open(ctx, zk.Fence{}); fault.KindOf(err) != fault.Unsupported {
		t.Errorf("a newer format: %v", err)
	}
	if _, err := New(s).Load(ctx); fault.KindOf(err) != fault.Malformed || !strings.Contains(err.Error(), "apps/a/1") {
		t.Errorf("a damaged record: %v", err)
	}
}
