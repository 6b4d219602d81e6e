package lifecycle

import (
	"fmt"
	"sort"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// What is particular to containers of the Docker engine (mesos-agent.md 7.5). A task with
// such a container is itself the container's first process: there is no executor.

// isDocker tells whether a description asks for the Docker engine. DOCKER is also what an
// unset type reads as.
func isDocker(box *mesos.ContainerInfo) bool {
	return box != nil && box.Type != nil && box.GetType() == mesos.ContainerInfo_DOCKER
}

// inDocker tells whether an executor, or the task that it stands for, runs in a container
// of the Docker engine.
func (e *execution) inDocker() bool {
	return isDocker(e.info.GetContainer()) && !e.native()
}

// hasNetwork tells whether a container without the engine asks for a network by name.
func hasNetwork(box *mesos.ContainerInfo) bool {
	for _, info := range box.GetNetworkInfos() {
		if info.GetName() != "" {
			return !isDocker(box)
		}
	}
	return false
}

// address is where a container is reached: the first one of its own, else the agent's.
func (a *Agent) address(e *execution) string {
	for _, info := range e.networks {
		for _, ip := range info.GetIpAddresses() {
			return ip.GetIpAddress()
		}
	}
	return a.cfg.IP
}

// containerName is what the engine calls a container.
func containerName(id ContainerID) string { return "mesos-" + string(id) }

// unfitBox says why a container description cannot be run by this agent, or ""
// (mesos-agent.md 7.1).
func (a *Agent) unfitBox(box *mesos.ContainerInfo) string {
	wanted := "mesos"
	if isDocker(box) {
		wanted = "docker"
	}
	for _, have := range a.cfg.Containerizers {
		if have == wanted {
			return a.unfitImage(box)
		}
	}
	return fmt.Sprintf("None of the enabled containerizers (%s) could create a container for the provided TaskInfo/ExecutorInfo message",
		strings.Join(a.cfg.Containerizers, ", "))
}

// dockerEnvironment is that of a task in a container of the engine: nothing comes from the
// agent but three names, since no executor runs in it. PATH is the image's.
func (a *Agent) dockerEnvironment(e *execution, t *task) []string {
	env := map[string]string{}
	merge(env, t.info.GetCommand().GetEnvironment())
	env["MESOS_SANDBOX"] = a.cfg.SandboxDirectory
	env["MESOS_CONTAINER_NAME"] = containerName(e.container)
	env["MESOS_ALLOCATION_ROLE"] = allocationRole(t.info.GetResources())
	return sortedEnv(env)
}

// dockerGrace lies between the stop signal and SIGKILL when no kill policy says otherwise.
func (a *Agent) dockerGrace() time.Duration {
	return max(a.cfg.ShutdownGrace, a.cfg.DockerStopTimeout)
}

// dockerEnd is the message of the last update of such a task.
func dockerEnd(exit Exit) string {
	if !exit.Known {
		return "Failed to get exit status of container"
	}
	if exit.Signal != 0 {
		return "Container terminated with signal " + signalName(exit.Signal)
	}
	return fmt.Sprintf("Container exited with status %d", exit.Code)
}

// named gives a container's networks with what the framework wrote about them: name, labels
// and groups come back with the addresses.
func (e *execution) named(got []*mesos.NetworkInfo) []*mesos.NetworkInfo {
	asked := e.info.GetContainer().GetNetworkInfos()
	if !e.inDocker() || len(asked) == 0 || len(got) == 0 {
		return got
	}
	first := proto.CloneOf(asked[0])
	first.IpAddresses = got[0].IpAddresses
	return append([]*mesos.NetworkInfo{first}, got[1:]...)
}

// dockerLimit is the last update of a task whose container a limit ended: as its executor
// would have told it, and which limit it was.
func (a *Agent) dockerLimit(t *task, exit Exit, lim *Limitation) *mesos.TaskStatus {
	st := a.commandEnd(t, exit)
	if t.kill != nil {
		return st
	}
	st.State, st.Reason = mesos.TaskState_TASK_FAILED.Enum(), lim.Reason.Enum()
	st.Message = ptr(dockerEnd(exit) + "; " + lim.Message)
	st.Limitation = &mesos.TaskResourceLimitation{Resources: lim.Resources}
	return st
}

// notRun tells what an executor would have told when its container could not be run.
func (a *Agent) notRun(e *execution, why string) {
	t := e.only()
	if t != nil && !terminal(t.state) && e.phase == launching {
		if t.state == mesos.TaskState_TASK_STAGING { // else its progress has told it
			a.update(t, a.executorStatus(t, mesos.TaskState_TASK_STARTING))
		}
		st := a.executorStatus(t, mesos.TaskState_TASK_FAILED)
		st.Message = ptr(why)
		a.update(t, st)
	}
	a.ended(e, Exit{}, nil)
}

// remaining is what is left of the grace period of a kill that a restart interrupted.
// The keeper has counted on; nobody has for a container of the engine.
func (a *Agent) remaining(t *task) time.Duration {
	if t.exec.inDocker() {
		return max(0, t.kill.Deadline.Sub(a.now))
	}
	return t.kill.Deadline.Sub(t.kill.Since)
}

// DockerContainers lists the containers that the records place in the Docker engine.
func DockerContainers(records []Record) []ContainerID {
	var ids []ContainerID
	for _, r := range records {
		if r.Executor != nil && isDocker(r.Executor.Info.GetContainer()) {
			ids = append(ids, r.Executor.Container)
		}
	}
	sort.Slice(ids, func(i, j int) bool { return ids[i] < ids[j] })
	return ids
}
