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
