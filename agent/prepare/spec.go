package prepare

import (
	"math"
	"path"
	"path/filepath"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// specOf says to the runtime what the core wants.
func specOf(ef lifecycle.Launch, mounts []container.Mount) container.Spec {
	s := container.Spec{
		ID: container.ID(ef.Container),
		Command: container.Command{
			Shell: ef.Command.GetShell(), Value: ef.Command.GetValue(), Args: ef.Command.GetArguments(),
		},
		Env: ef.Env, Dir: ef.Directory, User: ef.User,
		Limits: Limits(ef.Resources, ef.Limits),
		Root:   container.ID(ef.Root), Share: ef.Share, Mounts: mounts, Session: ef.Session,
		Note: string(ef.Key.Framework) + " " + string(ef.Key.Executor),
	}
	if tty := ef.Box.GetTtyInfo(); tty != nil {
		s.Terminal = &container.Terminal{Rows: size(tty.GetWindowSize().GetRows()), Columns: size(tty.GetWindowSize().GetColumns())}
	}
	return s
}

func size(n uint32) uint16 { return uint16(min(n, 65535)) }

// Limits adds up what a container may use. Limits go before requests (mesos-agent.md
// 7.3); the overhead of a command task is in both.
func Limits(rs []*mesos.Resource, limits map[string]*mesos.Value_Scalar) container.Limits {
	var l container.Limits
	var mem float64
	for _, r := range rs {
		switch r.GetName() {
		case "cpus":
			l.CPUs += r.GetScalar().GetValue()
			l.LowPriority = l.LowPriority || r.GetRevocable() != nil
		case "mem":
			mem += r.GetScalar().GetValue()
		}
	}
	l.Memory = Megabytes(mem)
	if v := limits["cpus"]; v != nil {
		l.CPULimit = v.GetValue()
	}
	if v := limits["mem"]; v != nil {
		if math.IsInf(v.GetValue(), 1) {
			l.MemoryLimit = container.Unlimited
		} else {
			l.MemoryLimit = Megabytes(v.GetValue())
		}
	}
	return l
}

// Megabytes turns what resources are counted in into bytes; what is no positive number is 0.
func Megabytes(mb float64) uint64 {
	if !(mb > 0) {
		return 0
	}
	return uint64(math.Min(mb, 1<<40) * (1 << 20))
}

// dockerSpec says to the engine what the core wants. Persistent volumes, which stand at
// paths of the host's sandbox, are shown at the same places of the container's.
func (p *Preparer) dockerSpec(ef lifecycle.Launch, mounts []container.Mount) *container.Docker {
	d := &container.Docker{Box: ef.Box, Resources: ef.Resources, Limits: ef.Limits}
	for _, m := range mounts {
		if at, err := filepath.Rel(ef.Directory, m.Target); err == nil && filepath.IsLocal(at) {
			d.Volumes = append(d.Volumes, container.Mount{Source: m.Source, Target: path.Join(p.cfg.SandboxDirectory, filepath.ToSlash(at)), ReadOnly: m.ReadOnly})
		}
	}
	return d
}
