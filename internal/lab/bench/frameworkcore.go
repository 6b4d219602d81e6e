package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
	plans "github.com/stoa-project/stoa/framework/deploy"
	"github.com/stoa-project/stoa/framework/match"
	"github.com/stoa-project/stoa/framework/repo"
	"github.com/stoa-project/stoa/internal/store"
	"github.com/stoa-project/stoa/internal/zk"
)

// The rows below step the framework's cores alone, without a wire.

func sleeper(id app.PathID, n int) *app.App {
	return &app.App{ID: id, Cmd: "exec sleep 100000", Instances: n, Cpus: 0.1, Mem: 32, Role: "*", BackoffFactor: 1.15, BackoffSeconds: 1, MaxLaunchDelaySeconds: 300,
		KillSelection: app.YoungestFirst, Networks: app.List[app.Network]{{Mode: app.NetworkHost}}, PortDefinitions: []app.PortDefinition{{Port: 10000, Name: "default", Protocol: "tcp"}},
		Upgrade: app.UpgradeStrategy{MaximumOverCapacity: 1, MinimumHealthCapacity: 1}, Labels: app.Dict{"HAPROXY_GROUP": "external"},
		Version: 1, VersionInfo: app.VersionInfo{LastScalingAt: 1, LastConfigChangeAt: 1}}
}

// recorded is what a leader finds: apps in groups of 100 with running instances.
func recorded(apps, each int) core.Stored {
	st := core.Stored{FrameworkID: "F", Apps: map[app.PathID][]*app.App{}}
	root := &core.GroupRecord{ID: app.Root, Version: 1}
	n := 0
	for g := 0; g < apps; g += 100 {
		group := &core.GroupRecord{ID: app.PathID(fmt.Sprintf("/g%d", g)), Version: 1, Apps: map[app.PathID]app.Timestamp{}}
		for i := g; i < min(g+100, apps); i++ {
			a := sleeper(app.PathID(fmt.Sprintf("%s/a%d", group.ID, i)), each)
			group.Apps[a.ID] = 1
			st.Apps[a.ID] = []*app.App{a}
			for range each {
				n++
				st.Instances = append(st.Instances, &app.Instance{ID: app.NewInstanceID(a.ID, fmt.Sprintf("%08d-0000-1000-8000-000000000000", n)),
					App: a.ID, Goal: app.GoalRunning, Condition: app.Running, AppVersion: 1, Launch: 1, Role: "*",
					AgentID: fmt.Sprintf("d7c04596-ea68-43d8-9ff4-459ba365e659-S%d", n%1000), Host: fmt.Sprintf("host%d", n%1000), HostPorts: []int{31000 + n%1000},
					IPs: []app.IPAddress{{IPAddress: fmt.Sprintf("10.0.%d.%d", n/250%250, n%250), Protocol: "IPv4"}}, StagedAt: 2, StartedAt: 3, ActiveAt: 3, Since: 3})
			}
		}
		root.Groups = append(root.Groups, group)
	}
	st.Roots = []*core.RootRecord{{Root: root}}
	return st
}

func bareConfig() core.Config {
	n := 0
	return core.Config{UUID: func() string { n++; return fmt.Sprintf("u%d", n) }, Rand: rand.Uint64, Ports: app.PortPool{Min: 10000, Max: 60000}}
}

func liveHeap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// instanceMemory gives the bytes that an instance costs the core and its snapshot, of n
// in apps of five; extra: an app. Records are read from their JSON, as a leader does.
func instanceMemory(n int) (float64, map[string]float64, error) {
	load := func(each int) (*core.Core, error) {
		st, err := reread(recorded(n/perApp, each))
		if err != nil {
			return nil, err
		}
		c, _, err := core.New(bareConfig(), time.Unix(1000, 0), st)
		return c, err
	}
	before := liveHeap()
	few, err := load(0)
	if err != nil {
		return 0, nil, err
	}
	apps := liveHeap()
	many, err := load(perApp)
	if err != nil {
		return 0, nil, err
	}
	all := liveHeap()
	runtime.KeepAlive(few)
	runtime.KeepAlive(many)
	return (float64(all-apps) - float64(apps-before)) / float64(n), map[string]float64{"app_b": float64(apps-before) / float64(n/perApp)}, nil
}

// reread passes records through their JSON.
func reread(st core.Stored) (core.Stored, error) {
	for id, vs := range st.Apps {
		for i, a := range vs {
			b, err := json.Marshal(a)
			if err != nil {
				return st, err
			}
			vs[i] = &app.App{}
			if err := json.Unmarshal(b, vs[i]); err != nil {
				return st, err
			}
		}
		st.Apps[id] = vs
	}
	for i, v := range st.Instances {
		b, err := json.Marshal(v)
		if err != nil {
			return st, err
		}
		st.Instances[i] = &app.Instance{}
		if err := json.Unmarshal(b, st.Instances[i]); err != nil {
			return st, err
		}
	}
	return st, nil
}

// bareInstance is the bytes of an instance's record.
func bareInstance(int) (float64, error) {
	b, err := json.Marshal(recorded(1, 1).Instances[0])
	return float64(len(b)), err
}

// loadInstances gives the seconds from opening a store with n instances until a new leader
// has heard of each of them from the master; extra: its parts.
func loadInstances(n int) (float64, map[string]float64, error) {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return 0, nil, err
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	path := filepath.Join(dir, "framework.db")
	st := recorded(n/perApp, perApp)
	if err := fillStore(ctx, path, st); err != nil {
		return 0, nil, err
	}
	tasks := make([]app.TaskID, len(st.Instances))
	agents := make([]string, len(st.Instances))
	for i, v := range st.Instances {
		tasks[i], agents[i] = v.TaskID(), v.AgentID
	}
	st = core.Stored{}
	runtime.GC()

	began, cpu := time.Now(), cpuSeconds(os.Getpid())
	file, err := store.OpenFile(path)
	if err != nil {
		return 0, nil, err
	}
	defer file.Close()
	r := repo.New(file)
	if err := r.Open(ctx, zk.Fence{}); err != nil {
		return 0, nil, err
	}
	found, err := r.Load(ctx)
	if err != nil {
		return 0, nil, err
	}
	read := time.Since(began)
	c, _, err := core.New(bareConfig(), time.Now(), found)
	if err != nil {
		return 0, nil, err
	}
	built := time.Since(began)
	asked := 0
	step := func(in core.Input) {
		for _, e := range c.Step(time.Now(), in) {
			switch e := e.(type) {
			case core.Persist:
				c.Step(time.Now(), core.Persisted{Batch: e.Batch})
			case core.Reconcile:
				asked += len(e.Tasks)
			}
		}
	}
	step(core.Subscribed{FrameworkID: "F", Master: "m:5050"})
	if asked != n {
		return 0, nil, fmt.Errorf("%d of %d tasks were asked for", asked, n)
	}
	for i := range tasks {
		step(core.Update{Task: tasks[i], AgentID: agents[i], State: "TASK_RUNNING", Reason: "REASON_RECONCILIATION"})
	}
	took := time.Since(began)
	return took.Seconds(), map[string]float64{"cpu_s": cpuSeconds(os.Getpid()) - cpu, "read_s": read.Seconds(), "build_s": (built - read).Seconds(), "reconcile_s": (took - built).Seconds()}, nil
}

func fillStore(ctx context.Context, path string, st core.Stored) error {
	file, err := store.OpenFile(path)
	if err != nil {
		return err
	}
	defer file.Close()
	r := repo.New(file)
	if err := r.Open(ctx, zk.Fence{}); err != nil {
		return err
	}
	const stamp = "/00000000000001" // version 1 in keys
	all := []core.Change{{Key: core.FrameworkKey, Value: core.FrameworkRecord{ID: st.FrameworkID}}, {Key: core.RootPrefix + stamp, Value: st.Roots[0]}}
	for id, vs := range st.Apps {
		all = append(all, core.Change{Key: core.AppPrefix + "/" + id.Safe() + stamp, Value: vs[0]})
	}
	for _, v := range st.Instances {
		all = append(all, core.Change{Key: core.InstancePrefix + "/" + string(v.ID), Value: v})
	}
	for batch := range slices.Chunk(all, 10_000) {
		if err := r.Apply(ctx, zk.Fence{}, batch); err != nil {
			return err
		}
	}
	return nil
}

// bareLoad decodes the JSON of as many records, one after the other.
func bareLoad(n int) (float64, error) {
	b, err := json.Marshal(recorded(1, 1).Instances[0])
	if err != nil {
		return 0, err
	}
	began := time.Now()
	for range n {
		var v app.Instance
		if err := json.Unmarshal(b, &v); err != nil {
			return 0, err
		}
	}
	return time.Since(began).Seconds(), nil
}

// planChange gives the ms of a plan for 100 changed apps of n, validation and service ports
// included.
func planChange(n int) (float64, map[string]float64, error) {
	root := app.EmptyRoot()
	for g := 0; g < n; g += 100 {
		group := &app.Group{ID: app.PathID(fmt.Sprintf("/g%d", g)), Version: 1}
		for i := g; i < g+100; i++ {
			a := sleeper(app.PathID(fmt.Sprintf("%s/a%05d", group.ID, i)), 2)
			if i > g {
				a.Dependencies = []app.PathID{app.PathID(fmt.Sprintf("%s/a%05d", group.ID, g))}
			}
			group.Apps = append(group.Apps, a)
		}
		root = root.PutGroup(group, 1)
	}
	pool := app.PortPool{Min: 10000, Max: 60000}
	from, err := app.Settle(app.EmptyRoot(), root, 1, pool)
	if err != nil {
		return 0, nil, err
	}
	const rounds = 20
	began := time.Now()
	for k := range rounds {
		to := from
		for i := range 100 {
			a := *from.App(app.PathID(fmt.Sprintf("/g%d/a%05d", i*100, i*100)))
			a.Cmd = fmt.Sprintf("exec sleep %d", k+1)
			a.PortDefinitions = []app.PortDefinition{{Protocol: "tcp"}}
			to = to.PutApp(&a, 2)
		}
		if to, err = app.Settle(from, to, 2, pool); err != nil {
			return 0, nil, err
		}
		p, err := plans.NewPlan("id", from, to, 2)
		if err != nil || len(p.Changes) != 100 {
			return 0, nil, errors.Join(fmt.Errorf("a plan of %d changes", len(p.Changes)), err)
		}
	}
	return float64(time.Since(began).Microseconds()) / 1000 / rounds, nil, nil
}

// barePlan walks over n apps and compares what a plan compares of 100.
func barePlan(n int) (float64, error) {
	apps := make([]*app.App, n)
	for i := range apps {
		apps[i] = sleeper(app.PathID(fmt.Sprintf("/g/a%d", i)), 2)
	}
	began := time.Now()
	same := 0
	for i, a := range apps {
		if i%(n/100) == 0 {
			b := *a
			b.Cmd = "other"
			if app.Compare(a, &b) == app.Unchanged {
				return 0, errors.New("a change was not seen")
			}
		} else if a.Cmd != "" {
			same++
		}
	}
	return float64(time.Since(began).Nanoseconds()) / 1e6, nil
}

// constraintKinds are the rows beside the plain one.
var constraintKinds = map[string][3]string{
	"unique": {"hostname", "UNIQUE", ""}, "group_by": {"rack", "GROUP_BY", "20"}, "max_per": {"rack", "MAX_PER", "1000000"}, "cluster": {"rack", "CLUSTER", "r1"}, "like": {"rack", "LIKE", "r1.*"},
}

// place gives instances placed per second on n held offers, one port each; extra: with each
// kind of constraint, and plain ones on fewer and more offers.
func place(n int) (float64, map[string]float64, error) {
	run := func(agents int, constraint [3]string) (float64, error) {
		offers := make([]*match.Offer, agents)
		for i := range offers {
			offers[i] = &match.Offer{ID: fmt.Sprint("O", i), AgentID: fmt.Sprint("S", i), Hostname: fmt.Sprint("h", i), Role: "*",
				Attributes: []match.Attribute{{Name: "rack", Value: fmt.Sprintf("r%d", i%20)}},
				Resources: []match.Resource{{Name: "cpus", Role: "*", Milli: 8000}, {Name: "mem", Role: "*", Milli: 32_000_000}, {Name: "disk", Role: "*", Milli: 100_000_000},
					{Name: "ports", Role: "*", Ranges: []match.Range{{Begin: 31000, End: 32000}}}}}
		}
		placed, began := 0, time.Now()
		for time.Since(began) < 500*time.Millisecond {
			s := &match.Spec{Role: "*", Accept: []string{"*"}, Cpus: 1000, Mem: 128_000, Ports: []match.Port{{}}, Want: agents}
			if constraint[0] == "rack" && constraint[1] != "GROUP_BY" && constraint[1] != "MAX_PER" {
				s.Want = agents / 20
			}
			if constraint[0] != "" {
				c, err := match.ParseConstraint(constraint[0], constraint[1], constraint[2])
				if err != nil {
					return 0, err
				}
				s.Constraints = []match.Constraint{c}
			}
			got := len(match.Match(match.Rules{Now: time.Unix(1000, 0), MaxPerOffer: 1000, Rand: rand.Uint64}, []*match.Spec{s}, offers).Launches)
			if got != s.Want {
				return 0, fmt.Errorf("%v: %d of %d placed", constraint, got, s.Want)
			}
			placed += got
		}
		return float64(placed) / time.Since(began).Seconds(), nil
	}
	extra := map[string]float64{}
	for name, c := range constraintKinds {
		v, err := run(n, c)
		if err != nil {
			return 0, nil, err
		}
		extra[name+"_per_s"] = v
	}
	for name, agents := range map[string]int{"plain_1k_per_s": 1000, "plain_100k_per_s": 100_000} {
		v, err := run(agents, [3]string{})
		if err != nil {
			return 0, nil, err
		}
		extra[name] = v
	}
	v, err := run(n, [3]string{})
	return v, extra, err
}

// barePlace subtracts the needs of one instance from each of n agents, and writes down what
// was taken.
func barePlace(n int) (float64, error) {
	type agent struct {
		cpus, mem, disk int64
		port            uint32
	}
	placed, began := 0, time.Now()
	for time.Since(began) < 500*time.Millisecond {
		agents := make([]agent, n)
		for i := range agents {
			agents[i] = agent{8000, 32_000_000, 100_000_000, 31000}
		}
		taken := make([][]match.Resource, 0, n)
		for i := range agents {
			a := &agents[i]
			if a.cpus < 1000 || a.mem < 128_000 {
				return 0, errors.New("a bare agent is full")
			}
			a.cpus, a.mem, a.port = a.cpus-1000, a.mem-128_000, a.port+1
			taken = append(taken, []match.Resource{{Name: "cpus", Milli: 1000}, {Name: "mem", Milli: 128_000}, {Name: "ports", Ranges: []match.Range{{Begin: a.port, End: a.port}}}})
		}
		placed += len(taken)
	}
	return float64(placed) / time.Since(began).Seconds(), nil
}
