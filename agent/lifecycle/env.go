package lifecycle

import (
	"sort"
	"strings"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// defaultPath is PATH when nobody set it (mesos-agent.md 1.6).
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environment is the complete environment of an executor's process, which for a
// command task is the task itself (mesos-agent.md 1.6 and 2.2). Later sources win; the
// agent's own environment is not inherited. Names that frameworks own (PORT0, HOST,
// MESOS_TASK_ID) are never made up here.
func (a *Agent) environment(e *execution) []string {
	if t := e.only(); t != nil && e.inDocker() {
		return a.dockerEnvironment(e, t)
	}
	env := map[string]string{}
	if a.cfg.LibprocessIP != "" {
		env["LIBPROCESS_IP"] = a.cfg.LibprocessIP
	}
	for k, v := range a.cfg.ExecutorEnv {
		env[k] = v
	}
	env["MESOS_FRAMEWORK_ID"] = string(e.fw.id)
	env["MESOS_EXECUTOR_ID"] = string(e.id())
	env["MESOS_SLAVE_ID"] = a.id
	env["MESOS_SLAVE_PID"] = a.cfg.PID
	env["MESOS_AGENT_ENDPOINT"] = a.cfg.Endpoint
	env["MESOS_DIRECTORY"] = e.directory
	env["MESOS_SANDBOX"] = e.directory
	env["MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD"] = DurationText(e.shutdownGrace(a.cfg.ShutdownGrace))
	env["MESOS_HTTP_COMMAND_EXECUTOR"] = "0"
	env["LIBPROCESS_PORT"] = "0"
	env["MESOS_CHECKPOINT"] = "0"
	if e.fw.durable() {
		env["MESOS_CHECKPOINT"] = "1"
		env["MESOS_RECOVERY_TIMEOUT"] = DurationText(a.cfg.RecoveryTimeout)
		env["MESOS_SUBSCRIPTION_BACKOFF_MAX"] = DurationText(a.cfg.ReregisterTimeout)
	}
	cmd := e.info.GetCommand()
	if t := e.only(); t != nil {
		cmd = t.info.GetCommand()
		if role := allocationRole(t.info.GetResources()); role != "" {
			env["MESOS_ALLOCATION_ROLE"] = role
		}
	}
	merge(env, cmd.GetEnvironment())
	if hasNetwork(e.info.GetContainer()) { // the host's address is not the executor's
		env["LIBPROCESS_IP"] = "0.0.0.0"
	}
	if e.inDocker() { // a custom executor; PATH is the image's
		env["MESOS_SANDBOX"], env["MESOS_CONTAINER_NAME"] = a.cfg.SandboxDirectory, containerName(e.container)
	} else if _, set := env["PATH"]; !set {
		env["PATH"] = defaultPath
	}
	if rooted(a.box(e)) {
		a.rootedEnvironment(env, cmd.GetEnvironment())
	}
	return sortedEnv(env)
}

// nestedEnvironment is that of a nested container: nothing comes from its executor, but
// a session takes over the environment of what it looks into (mesos-agent.md 3.2, 3.7).
func (a *Agent) nestedEnvironment(n *nested) []string {
	env := map[string]string{}
	if n.session {
		base := []string(nil)
		if p := a.nested[n.parent]; p != nil {
			base = a.nestedEnvironment(p)
		} else {
			base = a.environment(n.root)
		}
		for _, v := range base {
			name, value, _ := strings.Cut(v, "=")
			env[name] = value
		}
	} else {
		env["MESOS_SANDBOX"] = n.directory
		env["MESOS_CONTAINER_IP"] = a.address(n.root)
		if n.task != nil {
			if role := allocationRole(n.task.info.GetResources()); role != "" {
				env["MESOS_ALLOCATION_ROLE"] = role
			}
		}
	}
	merge(env, n.command.GetEnvironment())
	if _, set := env["PATH"]; !set {
		env["PATH"] = defaultPath
	}
	if a.inNetwork(n) { // as for an executor
		env["LIBPROCESS_IP"] = "0.0.0.0"
	}
	switch {
	case !n.session && rooted(n.box), n.session && rooted(a.boxOf(n.parent)):
		a.rootedEnvironment(env, n.command.GetEnvironment())
	}
	return sortedEnv(env)
}

func sortedEnv(env map[string]string) []string {
	out := make([]string, 0, len(env))
	for k, v := range env {
		out = append(out, k+"="+v)
	}
	sort.Strings(out)
	return out
}

// merge adds a task's own variables. A secret is its value here and nowhere else: what is
// shown and kept has the message as it came (mesos-agent.md 7.9).
func merge(env map[string]string, e *mesos.Environment) {
	for _, v := range e.GetVariables() {
		if v.GetType() != mesos.Environment_Variable_SECRET {
			env[v.GetName()] = v.GetValue()
		} else if v.GetSecret().GetType() == mesos.Secret_VALUE {
			env[v.GetName()] = string(v.GetSecret().GetValue().GetData())
		}
	}
}
