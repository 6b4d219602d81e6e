package operators

import (
	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/agentapi"
)

// printed is the JSON of an answer. Those that are made of lists show all of their lists,
// also the empty ones, which the JSON of messages leaves out: so does Mesos, and scripts
// rely on it.
func printed(out *agentapi.Response) ([]byte, error) {
	var p lists
	switch {
	case out.GetTasks != nil:
		p.tasks(out.GetTasks)
	case out.GetExecutors != nil:
		p.executors(out.GetExecutors)
	case out.GetFrameworks != nil:
		p.frameworks(out.GetFrameworks)
	case out.GetState != nil:
		p.raw(`"get_state":{`)
		p.tasks(out.GetState.GetTasks)
		p.raw(",")
		p.executors(out.GetState.GetExecutors)
		p.raw(",")
		p.frameworks(out.GetState.GetFrameworks)
		p.raw("}")
	default:
		return wire.MarshalJSON(out)
	}
	if p.err != nil {
		return nil, p.err
	}
	return append(append([]byte(`{"type":"`+out.GetType().String()+`",`), p.out...), '}'), nil
}

// lists prints messages whose fields are lists. The first error stays.
type lists struct {
	out []byte
	err error
}

func (p *lists) raw(s string) { p.out = append(p.out, s...) }

func (p *lists) tasks(t *agentapi.Response_GetTasks) {
	p.raw(`"get_tasks":{"pending_tasks":`)
	list(p, t.GetPendingTasks())
	p.raw(`,"queued_tasks":`)
	list(p, t.GetQueuedTasks())
	p.raw(`,"launched_tasks":`)
	list(p, t.GetLaunchedTasks())
	p.raw(`,"terminated_tasks":`)
	list(p, t.GetTerminatedTasks())
	p.raw(`,"completed_tasks":`)
	list(p, t.GetCompletedTasks())
	p.raw("}")
}

func (p *lists) executors(x *agentapi.Response_GetExecutors) {
	p.raw(`"get_executors":{"executors":`)
	list(p, x.GetExecutors())
	p.raw(`,"completed_executors":`)
	list(p, x.GetCompletedExecutors())
	p.raw("}")
}

func (p *lists) frameworks(f *agentapi.Response_GetFrameworks) {
	p.raw(`"get_frameworks":{"frameworks":`)
	list(p, f.GetFrameworks())
	p.raw(`,"completed_frameworks":`)
	list(p, f.GetCompletedFrameworks())
	p.raw("}")
}

func list[M proto.Message](p *lists, all []M) {
	p.raw("[")
	for i, m := range all {
		if i > 0 {
			p.raw(",")
		}
		b, err := wire.MarshalJSON(m)
		if err != nil && p.err == nil {
			p.err = err
		}
		p.out = append(p.out, b...)
	}
	p.raw("]")
}
