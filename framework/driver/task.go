package driver

import (
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
)

// taskInfo builds what the agent runs (marathon.md 2.4, 7.2, 7.3).
func (d *Driver) taskInfo(l *core.Launch) mesos.TaskInfo {
	a, v := l.Spec.App, l.Instance
	id := string(v.TaskID())
	ports := portsOf(l)
	t := mesos.TaskInfo{
		Name:        a.ID.Host(),
		TaskID:      mesos.TaskID{Value: id},
		AgentID:     mesos.AgentID{Value: v.AgentID},
		Labels:      labels(a.Labels),
		Discovery:   discovery(a.ID.Host(), a.Networks, ports),
		HealthCheck: healthCheck(a, ports),
		Check:       taskCheck(a.Check, ports),
	}
	t.Resources = wireResources(l.Resources, v.Role)
	if g := a.TaskKillGraceSeconds; g != nil {
		t.KillPolicy = &mesos.KillPolicy{GracePeriod: &mesos.DurationInfo{Nanoseconds: int64(*g) * int64(time.Second)}}
	}
	t.Limits = limits(a.ResourceLimits)
	cmd := command(a)
	cmd.Environment = environment(l, ports, d.cfg.EnvPrefix)
	box := container(a, id, ports, d.cfg.BridgeName)
	if a.Executor == "" || a.Executor == "//cmd" {
		t.Command, t.Container = cmd, box
		return t
	}
	t.Executor = executor(a, cmd, box, id)
	t.Executor.Resources = wireResources(l.Executor, v.Role)
	return t
}

// limits are the burst limits, nil for none.
func limits(l *app.ResourceLimits) map[string]mesos.Value_Scalar {
	if l == nil {
		return nil
	}
	out := map[string]mesos.Value_Scalar{}
	if l.Cpus != nil {
		out["cpus"] = mesos.Value_Scalar{Value: float64(*l.Cpus)}
	}
	if l.Mem != nil {
		out["mem"] = mesos.Value_Scalar{Value: float64(*l.Mem)}
	}
	return out
}

// command builds the CommandInfo without its environment.
func command(a *app.App) *mesos.CommandInfo {
	c := &mesos.CommandInfo{}
	switch {
	case a.Cmd != "":
		c.Shell, c.Value = ptr(true), ptr(a.Cmd)
	case len(a.Args) > 0:
		c.Shell, c.Arguments = ptr(false), a.Args
		if a.Container == nil {
			c.Value = ptr(a.Args[0])
		}
	default:
		c.Shell = ptr(false)
	}
	if a.User != "" {
		c.User = ptr(a.User)
	}
	c.URIs = uris(a.Fetch)
	return c
}

// uris lists what is fetched into the sandbox.
func uris(list []app.Artifact) (out []mesos.CommandInfo_URI) {
	for _, f := range list {
		u := mesos.CommandInfo_URI{Value: f.URI, Extract: ptr(f.Extract), Executable: ptr(f.Executable), Cache: ptr(f.Cache)}
		if f.DestPath != "" {
			u.OutputFile = ptr(f.DestPath)
		}
		out = append(out, u)
	}
	return out
}

// executor wraps the command of an app that brings its own executor program.
func executor(a *app.App, cmd *mesos.CommandInfo, box *mesos.ContainerInfo, taskID string) *mesos.ExecutorInfo {
	rest := a.Cmd
	for _, arg := range a.Args {
		rest += " " + arg
	}
	cmd.Shell, cmd.Arguments = ptr(true), nil
	cmd.Value = ptr("chmod ug+rx '" + a.Executor + "' && exec '" + a.Executor + "' " + rest)
	return &mesos.ExecutorInfo{
		Type:       mesos.ExecutorInfo_CUSTOM,
		ExecutorID: mesos.ExecutorID{Value: "marathon-" + taskID},
		Command:    cmd, Container: box,
	}
}
