package lifecycle

import (
	"math"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// limits gives what a root container may use at most, by "cpus" and "mem", when a task in
// it has a limit of its own: the sum over the executor and its tasks of limit or request;
// a task without a bound leaves the container none (mesos-agent.md 7.3). A name that no
// task limits is missing: the request is the limit.
func (e *execution) limits() map[string]*mesos.Value_Scalar {
	var out map[string]*mesos.Value_Scalar
	for _, name := range []string{"cpus", "mem"} {
		total, limited := amountOf(e.info.GetResources(), name), false
		for _, t := range e.tasks {
			if terminal(t.state) {
				continue
			}
			l := t.info.GetLimits()[name]
			switch {
			case l == nil:
				total += amountOf(t.info.GetResources(), name)
			case math.IsInf(l.GetValue(), 1):
				total, limited = math.Inf(1), true
			default:
				total, limited = total+l.GetValue(), true
			}
		}
		if limited {
			if out == nil {
				out = map[string]*mesos.Value_Scalar{}
			}
			out[name] = &mesos.Value_Scalar{Value: ptr(total)}
		}
	}
	return out
}

// unlimited says which limit of a task nothing would keep (mesos-agent.md 7.3), or "".
func (a *Agent) unlimited(t *mesos.TaskInfo) string {
	if !a.cfg.NoLimits || isDocker(t.GetContainer()) {
		return ""
	}
	for _, l := range []struct{ name, what, isolator string }{{"cpus", "CPU", "cgroups/cpu"}, {"mem", "Memory", "cgroups/mem"}} {
		if t.GetLimits()[l.name] != nil {
			return l.what + " limits can only be set on tasks launched in Mesos containers when the agent has loaded the '" + l.isolator + "' isolator"
		}
	}
	return ""
}

func amountOf(rs []*mesos.Resource, name string) float64 {
	sum := 0.0
	for _, r := range rs {
		if r.GetName() == name {
			sum += r.GetScalar().GetValue()
		}
	}
	return sum
}
