package lifecycle

import "github.com/stoa-project/stoa/internal/wire/mesos"

// What is particular to containers that live in an image without the Docker engine
// (mesos-agent.md 7.6).

// rooted tells whether a container has a root file system of its own, made from an image.
func rooted(box *mesos.ContainerInfo) bool {
	return !isDocker(box) && box.GetMesos().GetImage() != nil
}

// box is the description of an executor's root container: that of the command task it
// stands for, its own, or the agent's default for those that bring none. The process of a
// pod's root is the agent's own and needs nothing.
func (a *Agent) box(e *execution) *mesos.ContainerInfo {
	box := e.info.GetContainer()
	if t := e.only(); t != nil {
		box = t.info.GetContainer()
	}
	if box == nil && !e.native() {
		box = a.cfg.DefaultContainer
	}
	return box
}

// boxOf is the description of a container, nested or not.
func (a *Agent) boxOf(id ContainerID) *mesos.ContainerInfo {
	if n := a.nested[id]; n != nil {
		if n.session {
			return a.boxOf(n.parent)
		}
		return n.box
	}
	if e := a.containers[id]; e != nil {
		return a.box(e)
	}
	return nil
}

// unfitImage says why an image cannot be had, or "".
func (a *Agent) unfitImage(box *mesos.ContainerInfo) string {
	switch {
	case !rooted(box):
	case !a.cfg.Images:
		return "No image provider is enabled (--image_providers), but the container asks for an image"
	case box.GetMesos().GetImage().GetType() != mesos.Image_DOCKER:
		return "Unsupported container image type: " + box.GetMesos().GetImage().GetType().String()
	}
	return ""
}

// rootedEnvironment changes what differs inside an image: the sandbox has another path,
// and PATH is the image's unless the task sets it.
func (a *Agent) rootedEnvironment(env map[string]string, given *mesos.Environment) {
	env["MESOS_SANDBOX"] = a.cfg.SandboxDirectory
	for _, v := range given.GetVariables() {
		if v.GetName() == "PATH" {
			return
		}
	}
	if env["PATH"] == defaultPath {
		delete(env, "PATH")
	}
}

// progressed tells the framework how far a launch that takes its time has come. It waits
// for the framework to have taken what was told before, so that nothing piles up.
func (a *Agent) progressed(ev Progress) {
	var tasks []*task
	if n := a.nested[ev.Container]; n != nil && n.task != nil {
		tasks = []*task{n.task}
	} else if e := a.containers[ev.Container]; e != nil && e.only() != nil && e.phase == launching {
		tasks = []*task{e.only()}
	}
	for _, t := range tasks {
		early := t.state == mesos.TaskState_TASK_STAGING || t.state == mesos.TaskState_TASK_STARTING
		if !early || t.kill != nil || t.stream.head() != nil {
			continue
		}
		st := a.executorStatus(t, mesos.TaskState_TASK_STARTING)
		st.Message = ptr(ev.Message)
		a.update(t, st)
	}
}
