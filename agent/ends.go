package agent

import (
	"time"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/fault"
)

// This file counts what containerizer/mesos/container_destroy_errors tells (mesos-agent.md
// 7.3, 12.1): containers that outlive --cgroups_destroy_timeout after SIGKILL, which only a
// kernel that holds a process back can cause, and clean-ups that fail. Neither is given up.

// awaitEnd counts an error when a container that is told to end at once does not.
func (e *engine) awaitEnd(id lifecycle.ContainerID) {
	if e.ends[id] != nil {
		return
	}
	wait := e.cfg.CgroupsDestroyTimeout
	if wait <= 0 {
		wait = time.Minute
	}
	e.ends[id] = time.AfterFunc(wait, func() {
		_ = e.do(e.ctx, func() { delete(e.ends, id) }) // else the agent is stopping
		if err := e.runtime.Destroy(e.ctx, container.ID(id)); e.ctx.Err() == nil && fault.KindOf(err) != fault.NotFound {
			e.destroyErrors.Add(1)
			e.log.Error("container does not end in spite of SIGKILL", "container", string(id), "for", wait.String())
		}
	})
}

// ended takes note of a container's end.
func (e *engine) ended(ev lifecycle.Event) {
	x, ok := ev.(lifecycle.Exited)
	if !ok {
		return
	}
	if t := e.ends[x.Container]; t != nil {
		t.Stop()
		delete(e.ends, x.Container)
	}
}

// destroyFailed counts a failure of what an effect does to a container.
func (e *engine) destroyFailed(what string) {
	switch what {
	case "destroy", "kill", "forget":
		e.destroyErrors.Add(1)
	}
}
