package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/agent/prepare"
	"github.com/stoa-project/stoa/internal/crash"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// launch is a container on its way.
type launch struct {
	cancel context.CancelFunc
	exit   *lifecycle.Exited // heard before the start was
}

// launch makes a sandbox, fetches into it and starts the process, in a goroutine that
// answers with Started or LaunchFailed.
func (e *engine) launch(ef lifecycle.Launch) {
	ctx, cancel := context.WithCancel(e.ctx)
	e.launches[ef.Container] = &launch{cancel: cancel}
	if !ef.Nested {
		e.prepare.Begin(ef.Directory)
	}
	e.wg.Go(func() {
		defer cancel()
		fail := func(err error) {
			if ctx.Err() != nil {
				err = errors.New("the launch was given up")
			}
			e.prepare.Release(e.ctx, ef.Container)
			var late *container.NotRun
			e.post(e.ctx, lifecycle.LaunchFailed{Container: ef.Container, Message: err.Error(), Executor: errors.As(err, &late)})
		}
		root, err := e.prepare.Image(ctx, ef) // not in a slot: it may take long
		if err != nil {
			fail(err)
			return
		}
		if err := e.slots.enter(ctx); err != nil {
			fail(err)
			return
		}
		defer e.slots.leave()
		ready, err := e.prepare.Container(ctx, ef, root)
		if err != nil {
			fail(err)
			return
		}
		crash.Here("agent.sandbox-made")
		p, err := e.runtime.Start(ctx, ready.Spec)
		crash.Here("agent.started")
		ready.Started()
		if err != nil {
			fail(err)
			return
		}
		if ready.Networks != nil {
			p.Networks = ready.Networks
		}
		e.post(e.ctx, lifecycle.Started{Container: ef.Container, PID: p.PID, Networks: p.Networks, Data: p.Data})
	})
}

// preparer gives what launch needs its parts, those of e that are open by now.
func (a *Agent) preparer(e *engine) (*prepare.Preparer, error) {
	nets, err := a.networks()
	if err != nil {
		return nil, err
	}
	if e.groups, err = a.volumeGroups(); err != nil {
		return nil, err
	}
	return prepare.New(prepare.Config{
		RuntimeDir: a.cfg.RuntimeDir, SandboxDirectory: a.cfg.SandboxDirectory, AllowedHostPaths: a.cfg.AllowedHostPaths,
		ForceCreation: a.cfg.HostPathVolumeForceCreation, PluginChown: a.cfg.Disk.PluginChown, IgnoreRuntime: a.cfg.Images.IgnoreRuntime, Devices: a.nodes,
		SecretsDir: a.cfg.SecretsDir, ExecutorKey: a.cfg.Security.ExecutorKey, Logs: a.cfg.Logs, Fetcher: e.fetcher, Files: e.files, Disks: e.disks,
		Confine: a.confine, Images: e.images, Networks: nets, NetworkMetrics: !a.cfg.CNI.NoMetrics, Plugins: a.usePlugins(), Groups: e.groups,
		Progress: func(id lifecycle.ContainerID, text string) {
			e.post(e.ctx, lifecycle.Progress{Container: id, Message: text})
		},
	}, a.log)
}

// exited turns what the runtime says about an end into what the core understands.
func exited(ev container.Event) lifecycle.Exited {
	x := lifecycle.Exited{Container: lifecycle.ContainerID(ev.ID), Exit: lifecycle.Exit{
		Known: ev.Exit.Known, Code: ev.Exit.Code, Signal: ev.Exit.Signal, CoreDumped: ev.Exit.CoreDumped,
	}}
	if !ev.Exit.Known {
		x.Exit.Why = ev.Exit.Message
	}
	if ev.Exit.Switch {
		x.Limitation = &lifecycle.Limitation{
			Reason:  mesos.TaskStatus_REASON_IO_SWITCHBOARD_EXITED,
			Message: "'IOSwitchboard' exited with status 1: the terminal was lost with the keeper that held it",
		}
	}
	if oom := ev.Exit.OOM; oom != nil {
		mb := float64(oom.Limit) / (1 << 20)
		name, kind := "mem", mesos.Value_SCALAR
		x.Limitation = &lifecycle.Limitation{
			Reason:    mesos.TaskStatus_REASON_CONTAINER_LIMITATION_MEMORY,
			Message:   memoryText(oom),
			Resources: []*mesos.Resource{{Name: &name, Type: &kind, Scalar: &mesos.Value_Scalar{Value: &mb}}},
		}
	}
	return x
}

func memoryText(oom *container.OOM) string {
	text := fmt.Sprintf("Memory limit exceeded: Requested: %s Maximum Used: %s", bytesText(oom.Limit), bytesText(oom.MaxUsed))
	if oom.Statistics == "" {
		return text
	}
	return text + "\n\nMEMORY STATISTICS: \n" + strings.TrimRight(oom.Statistics, "\n") + "\n\n"
}

// bytesText prints bytes as Mesos does: the largest unit that divides them exactly.
func bytesText(n uint64) string {
	for _, u := range []struct {
		size uint64
		name string
	}{{1 << 40, "TB"}, {1 << 30, "GB"}, {1 << 20, "MB"}, {1 << 10, "KB"}} {
		if n >= u.size && n%u.size == 0 {
			return fmt.Sprintf("%d%s", n/u.size, u.name)
		}
	}
	return fmt.Sprintf("%dB", n)
}
