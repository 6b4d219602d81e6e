package agent

import (
	"context"
	"time"

	"github.com/stoa-project/stoa/agent/lifecycle"
)

const (
	// stopGrace lies between SIGTERM and SIGKILL when all tasks are ended at a stop.
	stopGrace = 3 * time.Second
	// stopPatience bounds how long an orderly stop waits for containers to go.
	stopPatience = 15 * time.Second
)

// keeperEnder is a runtime whose keeper can be ended once nothing runs any more.
type keeperEnder interface {
	Shutdown(ctx context.Context, grace time.Duration) error
}

// stopping does what a stop does to tasks: nothing to those that may live on. It tells
// whether the keeper is to go too, which must wait until nothing here talks to it.
func (a *Agent) stopping(e *engine) (endKeeper bool) {
	ctx, cancel := context.WithTimeout(e.ctx, stopPatience)
	defer cancel()
	if !a.cfg.KillTasksOnStop {
		_ = e.endAll(ctx, false)
		return false
	}
	if err := e.endAll(ctx, true); err != nil {
		a.log.Error("some containers did not end in time, the keeper ends them", "err", err)
	}
	e.settle(ctx)
	return true
}

// cleanup is what --recover=cleanup does: everything that lived on over the last run is
// ended, with its grace period, no master is asked for anything, and the agent is done
// (mesos-agent.md 9). The ends are recorded: the next agent tells them.
func (a *Agent) cleanup(ctx context.Context, e *engine) error {
	a.log.Info("cleaning up: what lived on is ended, then the agent stops")
	if err := e.endAll(ctx, true); err != nil {
		return ignoreCancel(err)
	}
	e.settle(ctx)
	a.log.Info("nothing runs any more")
	return nil
}

// endKeeper ends the keeper, and with it whatever still runs.
func (a *Agent) endKeeper(e *engine) {
	k, ok := e.runtime.(keeperEnder)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopPatience)
	defer cancel()
	if err := k.Shutdown(ctx, time.Second); err != nil {
		a.log.Error("the keeper is left", "err", err)
	}
}

// settle waits until what effects started has been done.
func (e *engine) settle(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		e.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// endAll ends all containers, or only those of frameworks that do not checkpoint, and
// waits until they are gone and their ends are recorded.
func (e *engine) endAll(ctx context.Context, all bool) error {
	var ids []lifecycle.FrameworkID
	if !all {
		if err := e.do(ctx, func() { ids = e.core.Uncheckpointed() }); err != nil || len(ids) == 0 {
			return err
		}
		for _, id := range ids {
			e.post(ctx, lifecycle.ShutdownFramework{ID: id})
		}
	} else {
		e.post(ctx, lifecycle.KillAll{Grace: stopGrace})
	}
	for {
		gone := false
		err := e.do(ctx, func() {
			if all {
				gone = e.core.Holding() == 0
			} else {
				gone = len(e.core.Uncheckpointed()) == 0
			}
		})
		if err != nil || gone {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}
