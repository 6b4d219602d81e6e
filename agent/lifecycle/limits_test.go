package lifecycle

import (
	"math"
	"testing"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// mesos-agent.md 7.3: the limits of an executor's container.
func TestLimitsOfAnExecutor(t *testing.T) {
	made := func(state mesos.TaskState, cpus, mem float64, limits map[string]float64) *task {
		info := &mesos.TaskInfo{Resources: []*mesos.Resource{scalar("cpus", cpus, ""), scalar("mem", mem, "")}}
		for name, v := range limits {
			if info.Limits == nil {
				info.Limits = map[string]*mesos.Value_Scalar{}
			}
			info.Limits[name] = &mesos.Value_Scalar{Value: ptr(v)}
		}
		return &task{info: info, state: state}
	}
	const live, over = mesos.TaskState_TASK_RUNNING, mesos.TaskState_TASK_FINISHED
	for name, tt := range map[string]struct {
		tasks []*task
		want  map[string]float64
	}{
		"no limits":      {[]*task{made(live, 1, 64, nil)}, nil},
		"command":        {[]*task{made(live, 0.5, 64, map[string]float64{"cpus": 1, "mem": 128})}, map[string]float64{"cpus": 1.1, "mem": 160}},
		"one of two":     {[]*task{made(live, 1, 64, map[string]float64{"mem": 100}), made(live, 1, 10, nil)}, map[string]float64{"mem": 142}},
		"without bound":  {[]*task{made(live, 1, 64, map[string]float64{"mem": math.Inf(1)}), made(live, 1, 10, map[string]float64{"mem": 20})}, map[string]float64{"mem": math.Inf(1)}},
		"ended ones not": {[]*task{made(over, 1, 64, map[string]float64{"mem": 100}), made(live, 1, 10, nil)}, nil},
	} {
		e := &execution{info: &mesos.ExecutorInfo{Resources: []*mesos.Resource{scalar("cpus", 0.1, ""), scalar("mem", 32, "")}}, tasks: tt.tasks}
		got := e.limits()
		if len(got) != len(tt.want) {
			t.Errorf("%s: %v", name, got)
		}
		for r, v := range tt.want {
			if g := got[r].GetValue(); g != v && math.Abs(g-v) > 1e-9 {
				t.Errorf("%s: %s %v, want %v", name, r, g, v)
			}
		}
	}
}

// mesos-agent.md 7.3: a task's own limits need an agent that keeps them, or the Docker engine.
func TestLimitsNeedTheirIsolator(t *testing.T) {
	w := newWorld(t)
	w.a.cfg.NoLimits, w.a.cfg.Containerizers = true, []string{"mesos", "docker"}
	w.step(Registered{Agent: "S0"})
	limited := func(name string, docker bool) func(*mesos.TaskInfo) {
		return func(t *mesos.TaskInfo) {
			t.Limits = map[string]*mesos.Value_Scalar{name: {Value: ptr(1.0)}}
			if docker {
				t.Container = &mesos.ContainerInfo{Type: mesos.ContainerInfo_DOCKER.Enum(), Docker: &mesos.ContainerInfo_DockerInfo{Image: ptr("i")}}
			}
		}
	}
	for _, c := range []struct {
		id, name string
		docker   bool
		want     string
	}{
		{"cpu", "cpus", false, "CPU limits can only be set on tasks launched in Mesos containers when the agent has loaded the 'cgroups/cpu' isolator"},
		{"mem", "mem", false, "Memory limits can only be set on tasks launched in Mesos containers when the agent has loaded the 'cgroups/mem' isolator"},
		{"engine", "mem", true, ""},
	} {
		w.run(commandTask(c.id, limited(c.name, c.docker)), partition)
		st := w.heads[c.id].GetStatus()
		if c.want == "" {
			if st.GetReason() == mesos.TaskStatus_REASON_GC_ERROR {
				t.Errorf("%s: %v", c.id, st)
			}
			continue
		}
		if st.GetState() != mesos.TaskState_TASK_DROPPED || st.GetReason() != mesos.TaskStatus_REASON_GC_ERROR || st.GetMessage() != c.want || st.GetSource() != mesos.TaskStatus_SOURCE_AGENT {
			t.Errorf("%s: %v", c.id, st)
		}
	}
	w.a.cfg.NoLimits = false
	w.run(commandTask("kept", limited("mem", false)), partition)
	if w.box["kept"] == "" {
		t.Error("not launched although limits are kept")
	}
}
