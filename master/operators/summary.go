package operators

import (
	"slices"

	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/master/ledger"
)

// countedStates are the task counts of /state-summary, in the order it prints them.
var countedStates = [...]mesos.TaskState{
	mesos.TaskState_TASK_STAGING, mesos.TaskState_TASK_STARTING, mesos.TaskState_TASK_RUNNING, mesos.TaskState_TASK_KILLING,
	mesos.TaskState_TASK_FINISHED, mesos.TaskState_TASK_KILLED, mesos.TaskState_TASK_FAILED, mesos.TaskState_TASK_LOST,
	mesos.TaskState_TASK_ERROR, mesos.TaskState_TASK_UNREACHABLE,
}

// census counts tasks by state and remembers whom they belong to or where they ran.
type census struct {
	counts [len(countedStates)]int64
	others []string // ids, in order of first appearance
	seen   map[string]bool
}

func (c *census) add(t *mesos.Task, other string) {
	if i := slices.Index(countedStates[:], t.GetState()); i >= 0 {
		c.counts[i]++
	}
	if c.seen == nil {
		c.seen = map[string]bool{}
	}
	if !c.seen[other] {
		c.seen[other] = true
		c.others = append(c.others, other)
	}
}

func (e *encoder) census(c *census, others string) {
	if c == nil {
		c = &census{}
	}
	for i, state := range countedStates {
		e.key(state.String())
		e.int(c.counts[i])
	}
	e.strings(others, c.others)
}

// summary plans /state-summary: agents and frameworks with counts in place of tasks.
func (s *Shell) summary(b *ledger.Snapshot) []part {
	byAgent, byFramework := map[string]*census{}, map[ledger.FrameworkID]*census{}
	for _, f := range b.Frameworks {
		own := &census{}
		byFramework[f.ID] = own
		eachTask(f, func(t *mesos.Task) {
			agent := t.GetAgentId().GetValue()
			own.add(t, agent)
			there := byAgent[agent]
			if there == nil {
				there = &census{}
				byAgent[agent] = there
			}
			there.add(t, string(f.ID))
		})
	}
	return []part{
		one(func(e *encoder) {
			e.open('{')
			e.str("hostname", b.Master.GetHostname())
			if s.cfg.Cluster != "" {
				e.str("cluster", s.cfg.Cluster)
			}
		}),
		listOpens("slaves"), each(b.Agents, func(e *encoder, a *ledger.AgentView) {
			e.open('{')
			e.agent(a)
			e.census(byAgent[string(a.ID)], "framework_ids")
			e.shut('}')
		}), listShuts,
		listOpens("frameworks"), each(b.Frameworks, func(e *encoder, f *ledger.FrameworkView) {
			e.open('{')
			e.frameworkHead(f)
			e.census(byFramework[f.ID], "slave_ids")
			e.shut('}')
		}), listShuts,
		one(func(e *encoder) { e.shut('}') }),
	}
}
