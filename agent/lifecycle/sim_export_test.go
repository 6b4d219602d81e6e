package lifecycle

import (
	"fmt"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Leftovers tells what of an agent that holds nothing any more is still in its memory, ""
// when nothing is.
func (a *Agent) Leftovers() string {
	out := ""
	for what, n := range map[string]int{
		"framework": len(a.frameworks), "container": len(a.containers), "nested container": len(a.nested),
		"stream": len(a.streams), "change of limits": len(a.resizes), "operation": len(a.operations),
	} {
		if n > 0 {
			out += fmt.Sprintf("%d x %s ", n, what)
		}
	}
	if a.draining != nil {
		out += "a draining"
	}
	return out
}

// StateOf is the newest state of a task; false when the agent does not hold it.
func (a *Agent) StateOf(k TaskKey) (mesos.TaskState, bool) {
	if t := a.findTask(k); t != nil {
		return t.state, true
	}
	return 0, false
}

// Final tells whether a task has ended in this state.
func Final(s mesos.TaskState) bool { return terminal(s) }
