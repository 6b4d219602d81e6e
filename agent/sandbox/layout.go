// Package sandbox owns the work directory below slaves/: where the sandboxes are, how
// they are filled (fetching and unpacking of URIs), how outsiders look into them, and
// when they go.
package sandbox

import "path/filepath"

// Layout knows the paths of a work directory (mesos-agent.md 6.6). Ids must have been
// validated by the caller as single path elements (mesos-agent.md 0.4).
type Layout struct{ WorkDir string }

// Agent is the folder of one agent id: slaves/<agent>.
func (l Layout) Agent(agent string) string { return filepath.Join(l.WorkDir, "slaves", agent) }

// Framework is slaves/<agent>/frameworks/<framework>.
func (l Layout) Framework(agent, framework string) string {
	return filepath.Join(l.Agent(agent), "frameworks", framework)
}

// Executor is slaves/<agent>/frameworks/<framework>/executors/<executor>.
func (l Layout) Executor(agent, framework, executor string) string {
	return filepath.Join(l.Framework(agent, framework), "executors", executor)
}

// Run is the sandbox: slaves/…/executors/<executor>/runs/<container>.
func (l Layout) Run(agent, framework, executor, container string) string {
	return filepath.Join(l.Executor(agent, framework, executor), "runs", container)
}

// Latest is the symbolic link beside the sandboxes of one executor that names the newest.
func (l Layout) Latest(agent, framework, executor string) string {
	return l.Run(agent, framework, executor, "latest")
}

// ShortLatest is the virtual path of the newest sandbox that needs no agent id
// (mesos-agent.md 6.5).
func ShortLatest(framework, executor string) string {
	return "/frameworks/" + framework + "/executors/" + executor + "/runs/latest"
}
