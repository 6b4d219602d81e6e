package core_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
)

// stored is what a leader finds: apps in groups of 100, each with running instances.
func stored(apps, each int) core.Stored {
	st := core.Stored{FrameworkID: "F", Apps: map[app.PathID][]*app.App{}}
	root := &core.GroupRecord{ID: app.Root, Version: 1}
	n := 0
	for g := 0; g < apps; g += 100 {
		group := &core.GroupRecord{ID: app.PathID(fmt.Sprintf("/g%d", g)), Version: 1, Apps: map[app.PathID]app.Timestamp{}}
		for i := g; i < min(g+100, apps); i++ {
			a := basic(app.PathID(fmt.Sprintf("%s/a%d", group.ID, i)), each)
			a.Version, a.VersionInfo = 1, app.VersionInfo{LastScalingAt: 1, LastConfigChangeAt: 1}
			a.Role = "*"
			group.Apps[a.ID] = 1
			st.Apps[a.ID] = []*app.App{&a}
			for range each {
				n++
				st.Instances = append(st.Instances, &app.Instance{ID: app.NewInstanceID(a.ID, fmt.Sprintf("%08d-0000-4000-8000-000000000000", n)),
					App: a.ID, Goal: app.GoalRunning, Condition: app.Running, AppVersion: 1, Launch: 1, Role: "*",
					AgentID: fmt.Sprintf("agent-S%d", n%1000), Host: fmt.Sprintf("host%d", n%1000), HostPorts: []int{31000 + n%1000},
					StagedAt: 2, StartedAt: 3, ActiveAt: 3, Since: 3})
			}
		}
		root.Groups = append(root.Groups, group)
	}
	st.Roots = []*core.RootRecord{{Root: root}}
	return st
}

func open(tb testing.TB, st core.Stored) *core.Core {
	tb.Helper()
	n := 0
	c, _, err := core.New(core.Config{UUID: func() string { n++; return fmt.Sprintf("u%d", n) }, Rand: func() uint64 { return 0 },
		Ports: app.PortPool{Min: 10000, Max: 65000}}, time.Unix(1000, 0), st)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// BenchmarkLoad is the pure part of row H9: a new leader's state from its records.
func BenchmarkLoad(b *testing.B) {
	for _, size := range [][2]int{{1000, 5}, {20000, 5}, {1, 100000}} {
		b.Run(fmt.Sprintf("apps=%d/instances=%d", size[0], size[0]*size[1]), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				st := stored(size[0], size[1])
				b.StartTimer()
				open(b, st)
			}
		})
	}
}

// BenchmarkUpdate is one status update of a running task, with everything that follows it:
// the record, the snapshot and the acknowledgement. An update costs the same in an app of
// 100 and of 100,000 instances, also while the app is restarted.
func BenchmarkUpdate(b *testing.B) {
	for _, size := range []struct {
		apps, each int
		restart    bool
	}{{100, 5, false}, {1000, 5, false}, {20000, 5, false}, {1, 100, false}, {1, 10000, false}, {1, 100000, false}, {1, 100, true}, {1, 10000, true}, {1, 100000, true}} {
		b.Run(fmt.Sprintf("apps=%d/instances=%d/restart=%t", size.apps, size.apps*size.each, size.restart), func(b *testing.B) {
			st := stored(size.apps, size.each)
			c := open(b, st)
			now := time.Unix(1000, 0)
			step := func(in core.Input) {
				for _, e := range c.Step(now, in) {
					if p, ok := e.(core.Persist); ok {
						c.Step(now, core.Persisted{Batch: p.Batch})
					}
				}
			}
			step(core.Subscribed{FrameworkID: "F", Master: "m:5050"})
			if size.restart { // it waits for offers to launch the first new one
				a := basic("/g0/a0", size.each)
				a.Cmd, a.Upgrade = "sleep 11", app.UpgradeStrategy{MinimumHealthCapacity: 1}
				step(core.Do{Token: 1, Command: put(a, false)})
			}
			healthy, n := true, 0
			b.ReportAllocs()
			for b.Loop() {
				i := st.Instances[n%len(st.Instances)]
				n++
				if n%len(st.Instances) == 0 {
					healthy = !healthy
				}
				step(core.Update{Task: i.TaskID(), AgentID: i.AgentID, State: "TASK_RUNNING", UUID: []byte("0123456789abcdef"), Healthy: &healthy,
					IPs: []app.IPAddress{{IPAddress: fmt.Sprint("10.0.0.", n%250), Protocol: "IPv4"}}})
			}
		})
	}
}

// BenchmarkMemory gives bytes per instance and per app with nothing else (row H7).
func BenchmarkMemory(b *testing.B) {
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for b.Loop() {
		before := heap()
		few := open(b, stored(20000, 0))
		apps := heap()
		many := open(b, stored(20000, 5))
		instances := heap()
		b.ReportMetric(float64(apps-before)/20000, "B/app")
		b.ReportMetric((float64(instances-apps)-float64(apps-before))/100000, "B/instance")
		runtime.KeepAlive(few)
		runtime.KeepAlive(many)
	}
}
