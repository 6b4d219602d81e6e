package prepare

import (
	"math"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// What a container may use, of its resources and limits (mesos-agent.md 7.3).
func TestLimits(t *testing.T) {
	amount := func(name string, v float64, revocable bool) *mesos.Resource {
		r := &mesos.Resource{Name: proto.String(name), Type: mesos.Value_SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: proto.Float64(v)}}
		if revocable {
			r.Revocable = &mesos.Resource_RevocableInfo{}
		}
		return r
	}
	limit := func(v float64) *mesos.Value_Scalar { return &mesos.Value_Scalar{Value: proto.Float64(v)} }
	for name, c := range map[string]struct {
		rs     []*mesos.Resource
		limits map[string]*mesos.Value_Scalar
		want   container.Limits
	}{
		"a task and its executor": {[]*mesos.Resource{amount("cpus", 0.5, false), amount("mem", 64, false), amount("cpus", 0.1, false), amount("mem", 32, false), amount("disk", 9, false)},
			nil, container.Limits{CPUs: 0.6, Memory: 96 << 20}},
		"limits":          {[]*mesos.Resource{amount("cpus", 1, false), amount("mem", 64, false)}, map[string]*mesos.Value_Scalar{"cpus": limit(2), "mem": limit(128)}, container.Limits{CPUs: 1, Memory: 64 << 20, CPULimit: 2, MemoryLimit: 128 << 20}},
		"no limit":        {[]*mesos.Resource{amount("cpus", 1, false)}, map[string]*mesos.Value_Scalar{"cpus": limit(math.Inf(1)), "mem": limit(math.Inf(1))}, container.Limits{CPUs: 1, CPULimit: math.Inf(1), MemoryLimit: container.Unlimited}},
		"revocable CPUs":  {[]*mesos.Resource{amount("cpus", 1, true), amount("cpus", 0.5, false)}, nil, container.Limits{CPUs: 1.5, LowPriority: true}},
		"other revocable": {[]*mesos.Resource{amount("cpus", 1, false), amount("mem", 1, true)}, nil, container.Limits{CPUs: 1, Memory: 1 << 20}},
		"nonsense":        {[]*mesos.Resource{amount("mem", -1, false)}, nil, container.Limits{}},
	} {
		if got := Limits(c.rs, c.limits); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
