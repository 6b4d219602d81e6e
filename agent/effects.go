package agent

import (
	"context"
	"os"
	"time"

	"github.com/stoa-project/stoa/agent/check"
	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/agent/prepare"
	"github.com/stoa-project/stoa/internal/crash"
	"github.com/stoa-project/stoa/internal/fault"
)

// perform carries out one effect. It must not wait for anything that waits for the loop.
func (e *engine) perform(ef lifecycle.Effect) {
	switch ef := ef.(type) {
	case lifecycle.Launch:
		e.launch(ef)
	case lifecycle.Destroy:
		if l := e.launches[ef.Container]; l != nil {
			l.cancel()
			return
		}
		e.awaitEnd(ef.Container)
		e.insist("destroy", ef.Container, func(ctx context.Context) error {
			err := e.runtime.Destroy(ctx, container.ID(ef.Container))
			crash.Here("agent.destroy-sent")
			return err
		})
	case lifecycle.Signal:
		e.insist("signal", ef.Container, func(ctx context.Context) error {
			return e.runtime.Signal(ctx, container.ID(ef.Container), ef.Signal)
		})
	case lifecycle.Remove:
		e.wg.Go(func() {
			if err := os.RemoveAll(ef.Directory); err != nil {
				e.log.Error("sandbox of a nested container stays", "directory", ef.Directory, "err", err)
			}
		})
	case lifecycle.Answer:
		e.answered(ef)
	case lifecycle.Kill:
		e.insist("kill", ef.Container, func(ctx context.Context) error {
			err := e.runtime.Kill(ctx, container.ID(ef.Container), ef.Grace)
			crash.Here("agent.kill-sent")
			return err
		})
	case lifecycle.Resize:
		if err := e.prepare.Share(ef.Share); err != nil {
			e.wg.Go(func() { e.post(e.ctx, lifecycle.Resized{Container: ef.Container, Failure: err.Error()}) })
			return
		}
		limits := prepare.Limits(ef.Resources, ef.Limits)
		e.insistThen("resize", ef.Container, func(ctx context.Context) error {
			return e.runtime.Update(ctx, container.ID(ef.Container), limits)
		}, func(err error) {
			done := lifecycle.Resized{Container: ef.Container}
			if err != nil && fault.KindOf(err) != fault.NotFound { // gone: its end is told
				done.Failure = err.Error()
			}
			e.post(e.ctx, done)
		})
	case lifecycle.Forget:
		if _, twice := e.forgetting.LoadOrStore(ef.Container, true); twice {
			return // it is insisted on already
		}
		e.insistThen("forget", ef.Container, func(ctx context.Context) error {
			err := e.forget(ctx, container.ID(ef.Container))
			if kind := fault.KindOf(err); err == nil || kind == fault.NotFound {
				e.prepare.Release(e.ctx, ef.Container)
			}
			return err
		}, func(error) { e.forgetting.Delete(ef.Container) })
	case lifecycle.StartChecks:
		e.startChecks(ef)
	case lifecycle.StopChecks:
		e.checks.Stop(healthKey(ef.Key))
		e.checks.Stop(checkKey(ef.Key))
	case lifecycle.SendUpdate:
		e.uplink.Update(ef.Update)
	case lifecycle.SendExited:
		e.uplink.ExecutorExited(ef.Key, ef.Status)
	case lifecycle.SendMessage:
		e.uplink.Message(ef.Key, ef.PID, ef.Data)
	case lifecycle.ToExecutor:
		if ef.UPID != "" {
			e.old.Send(ef)
			return
		}
		e.executors.Send(ef.Key, ef.Event)
	case lifecycle.CloseExecutor:
		if ef.UPID != "" {
			e.old.Close(ef.UPID)
			return
		}
		e.executors.Close(ef.Key)
	case lifecycle.Reconnect:
		e.old.Reconnect(ef)
	case lifecycle.Collect:
		e.collect(ef.Directory, time.Now())
	case lifecycle.MakeVolumes:
		e.findVolumes(ef.Volumes)
	case lifecycle.RemoveVolumes:
		e.removeVolumes(ef.Volumes)
	case lifecycle.SendOperation:
		e.uplink.Send(ef.Update)
	case lifecycle.Note:
		e.note(ef)
	}
}

// forget takes a container out of the runtime's books, and its control groups away, at most
// maxEndings at a time: each may hold a thread, which Go keeps, and a thousand containers
// may end together.
func (e *engine) forget(ctx context.Context, id container.ID) error {
	select {
	case e.endings <- struct{}{}:
		defer func() { <-e.endings }()
	case <-ctx.Done():
		return ctx.Err()
	}
	return e.runtime.Forget(ctx, id)
}

// insist does something to a container until it succeeds, the container is gone, or the
// agent stops. A keeper that is away is asked again, and what was not done in time is tried
// on.
func (e *engine) insist(what string, id lifecycle.ContainerID, f func(context.Context) error) {
	e.insistThen(what, id, f, func(error) {})
}

// insistThen is insist with something to do at the end, but not when the agent stops.
func (e *engine) insistThen(what string, id lifecycle.ContainerID, f func(context.Context) error, then func(error)) {
	e.wg.Go(func() {
		pause := 100 * time.Millisecond
		for late := false; ; {
			err := f(e.ctx)
			switch fault.KindOf(err) {
			case fault.Unavailable:
			case fault.Timeout:
				if e.ctx.Err() == nil && !late {
					late = true
					e.destroyFailed(what)
					e.log.Error("container "+what+" is not done in time, it is tried on", "container", string(id), "err", err)
				}
			case fault.NotFound:
				then(err)
				return
			default:
				if err != nil && e.ctx.Err() == nil {
					e.destroyFailed(what)
					e.log.Error("container "+what+" failed", "container", string(id), "err", err)
				}
				then(err)
				return
			}
			select {
			case <-e.ctx.Done():
				return
			case <-time.After(pause):
				pause = min(2*pause, 5*time.Second)
			}
		}
	})
}

func healthKey(k lifecycle.TaskKey) string { return "h/" + string(k.Framework) + "/" + string(k.Task) }
func checkKey(k lifecycle.TaskKey) string  { return "c/" + string(k.Framework) + "/" + string(k.Task) }

// startChecks starts the health check and the check of a task. The master refuses
// tasks whose checks are wrong; one that slips through is not probed, and that is logged.
func (e *engine) startChecks(ef lifecycle.StartChecks) {
	target := check.Target{Env: ef.Env, Dir: ef.Directory, User: ef.User}
	e.inside(&target, ef.Container)
	e.prepare.Aim(&target, ef)
	if hc := ef.Task.GetHealthCheck(); hc != nil {
		spec, err := check.FromHealthCheck(hc, e.prepare.Variable)
		if err != nil {
			e.log.Error("health check is not run", "task", string(ef.Key.Task), "err", err)
		} else {
			e.checks.Start(healthKey(ef.Key), spec, target, func(r check.Result) {
				e.post(e.ctx, lifecycle.Probe{Key: ef.Key, Healthy: r.OK})
			})
		}
	}
	if c := ef.Task.GetCheck(); c != nil {
		spec, err := check.FromCheck(c, e.prepare.Variable)
		if err != nil {
			e.log.Error("check is not run", "task", string(ef.Key.Task), "err", err)
			return
		}
		e.checks.Start(checkKey(ef.Key), spec, target, func(r check.Result) {
			e.post(e.ctx, lifecycle.Checked{Key: ef.Key, Status: spec.Status(r)})
		})
	}
}

// collect hands a sandbox to the garbage collector.
func (e *engine) collect(directory string, since time.Time) { e.collector.Add(directory, since) }

func (e *engine) note(n lifecycle.Note) {
	attrs := []any{}
	add := func(k, v string) {
		if v != "" {
			attrs = append(attrs, k, v)
		}
	}
	add("framework", string(n.Framework))
	add("executor", string(n.Executor))
	add("task", string(n.Task))
	if n.Message == "task state" {
		add("state", n.State.String())
	}
	add("detail", n.Detail)
	e.log.Info(n.Message, attrs...)
}
