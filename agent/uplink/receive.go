package uplink

import (
	"context"
	"errors"

	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/libprocess"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
	"google.golang.org/protobuf/proto"
)

// process is the agent's libprocess process: it answers pings by itself and hands
// everything else to Run.
func (u *Uplink) process() libprocess.Process {
	m := libprocess.NewMux(func(peer libprocess.UPID, cause error) {
		u.post(func(ctx context.Context) { u.exited(ctx, peer, cause) })
	})
	libprocess.HandleMessage(m, "mesos.internal.PingSlaveMessage", func(env libprocess.Message, msg *messages.PingSlaveMessage) {
		_ = u.tr.Send(env.To, env.From, &messages.PongSlaveMessage{}) // a lost pong is asked for again
		u.post(func(ctx context.Context) { u.ping(ctx, env.From, msg.GetConnected()) })
	})
	fromLeader(u, m, "mesos.internal.SlaveRegisteredMessage", func(ctx context.Context, msg *messages.SlaveRegisteredMessage) {
		u.taken(ctx, msg.GetSlaveId().GetValue(), nil, msg.GetConnection())
	})
	fromLeader(u, m, "mesos.internal.SlaveReregisteredMessage", func(ctx context.Context, msg *messages.SlaveReregisteredMessage) {
		u.taken(ctx, msg.GetSlaveId().GetValue(), msg.GetReconciliations(), msg.GetConnection())
	})
	fromLeader(u, m, "mesos.internal.ShutdownMessage", func(ctx context.Context, msg *messages.ShutdownMessage) {
		u.log.Error("the master tells this agent to shut down", "message", msg.GetMessage())
		u.agent.Shutdown(ctx, msg.GetMessage())
	})
	fromMaster(u, m, "mesos.internal.RunTaskMessage", func(msg *messages.RunTaskMessage) lifecycle.Event {
		if msg.GetFramework().GetId() == nil {
			return nil
		}
		return lifecycle.RunTask{Framework: msg.GetFramework(), FrameworkPID: frameworkPID(msg.GetPid()),
			Task: msg.GetTask(), LaunchExecutor: msg.LaunchExecutor, Versions: msg.GetResourceVersionUuids()}
	})
	fromMaster(u, m, "mesos.internal.RunTaskGroupMessage", func(msg *messages.RunTaskGroupMessage) lifecycle.Event {
		if msg.GetFramework().GetId() == nil {
			return nil
		}
		return lifecycle.RunTaskGroup{Framework: msg.GetFramework(), Executor: msg.GetExecutor(),
			Tasks: msg.GetTaskGroup().GetTasks(), LaunchExecutor: msg.LaunchExecutor, Versions: msg.GetResourceVersionUuids()}
	})
	fromMaster(u, m, "mesos.internal.KillTaskMessage", func(msg *messages.KillTaskMessage) lifecycle.Event {
		return lifecycle.KillTask{Framework: frameworkID(msg.GetFrameworkId()), Task: lifecycle.TaskID(msg.GetTaskId().GetValue()),
			Policy: msg.GetKillPolicy()}
	})
	fromMaster(u, m, "mesos.internal.StatusUpdateAcknowledgementMessage", func(msg *messages.StatusUpdateAcknowledgementMessage) lifecycle.Event {
		return lifecycle.Acknowledge{Framework: frameworkID(msg.GetFrameworkId()),
			Task: lifecycle.TaskID(msg.GetTaskId().GetValue()), UUID: msg.GetUuid()}
	})
	fromMaster(u, m, "mesos.internal.UpdateFrameworkMessage", func(msg *messages.UpdateFrameworkMessage) lifecycle.Event {
		return lifecycle.UpdateFramework{ID: frameworkID(msg.GetFrameworkId()), PID: frameworkPID(msg.GetPid()), Info: msg.GetFrameworkInfo()}
	})
	fromMaster(u, m, "mesos.internal.ShutdownFrameworkMessage", func(msg *messages.ShutdownFrameworkMessage) lifecycle.Event {
		return lifecycle.ShutdownFramework{ID: frameworkID(msg.GetFrameworkId())}
	})
	fromMaster(u, m, "mesos.internal.ShutdownExecutorMessage", func(msg *messages.ShutdownExecutorMessage) lifecycle.Event {
		return lifecycle.ShutdownExecutor{Key: lifecycle.ExecutorKey{Framework: frameworkID(msg.GetFrameworkId()),
			Executor: lifecycle.ExecutorID(msg.GetExecutorId().GetValue())}}
	})
	operations(u, m)
	// Drivers of the v0 API send this one to the agent directly (libprocess.md 3.14): the core
	// compares the sender with the framework's own process then.
	libprocess.Handle(m, "mesos.internal.FrameworkToExecutorMessage", func(from libprocess.UPID, msg *messages.FrameworkToExecutorMessage) {
		ev := lifecycle.FrameworkMessage{Key: lifecycle.ExecutorKey{Framework: frameworkID(msg.GetFrameworkId()),
			Executor: lifecycle.ExecutorID(msg.GetExecutorId().GetValue())}, From: from.String(), Data: msg.GetData()}
		u.post(func(ctx context.Context) {
			if master := u.master.Load(); master != nil && *master == from {
				ev.From = ""
			}
			u.agent.Deliver(ctx, ev)
		})
	})
	if u.cfg.Handle != nil {
		u.cfg.Handle(m)
	}
	return m
}

// post gives work to Run's goroutine; it waits while that is busy, and the transport's
// mailbox, which is bounded, fills up behind it.
func (u *Uplink) post(f func(context.Context)) {
	select {
	case u.inbox <- f:
	case <-u.done:
	}
}

// fromLeader handles a message that counts only from the detected master.
func fromLeader[T proto.Message](u *Uplink, m *libprocess.Mux, name string, f func(context.Context, T)) {
	libprocess.Handle(m, name, func(from libprocess.UPID, msg T) {
		u.post(func(ctx context.Context) {
			if leader := u.leader.Load(); leader == nil || *leader != from {
				u.log.Warn("message ignored: its sender is not the leading master", "message", name, "from", from.String(), "leader", printed(leader))
				return
			}
			f(ctx, msg)
		})
	})
}

// fromMaster handles a message that counts only from the master that has taken us.
// event may give nil for a message that makes no sense.
func fromMaster[T proto.Message](u *Uplink, m *libprocess.Mux, name string, event func(T) lifecycle.Event) {
	libprocess.Handle(m, name, func(from libprocess.UPID, msg T) {
		u.post(func(ctx context.Context) {
			if master := u.master.Load(); master == nil || *master != from {
				u.log.Warn("message ignored: its sender has not registered this agent", "message", name, "from", from.String(), "master", printed(master))
				return
			}
			if ev := event(msg); ev != nil {
				u.agent.Deliver(ctx, ev)
			}
		})
	})
}

func printed(u *libprocess.UPID) string {
	if u == nil {
		return "none"
	}
	return u.String()
}

// ping notes a sign of life; the pong has been sent. Masters of Mesos ping from processes
// of their own, slave-observer(N), so that only the address counts (libprocess.md 1.2, 6.4).
func (u *Uplink) ping(ctx context.Context, from libprocess.UPID, connected bool) {
	master := u.master.Load()
	if master == nil || master.Addr != from.Addr {
		return
	}
	if !connected {
		u.again(ctx, "the master believes that this agent is disconnected")
		return
	}
	u.loop.silence.Reset(u.loop.patience)
}

// taken says that the leader has (re-)registered this agent.
func (u *Uplink) taken(ctx context.Context, id string, reconcile []*messages.ReconcileTasksMessage, c *messages.MasterSlaveConnection) {
	leader := u.leader.Load()
	if old := u.agentID.Load(); old != nil && *old != id {
		ctx.Value(failKey{}).(func(error))(errors.New("the master registered this agent as " + id + " although it is " + *old))
		return
	}
	if u.Registered() {
		return // the answer to an earlier try
	}
	if err := u.agent.Registered(ctx, id, reconcile); err != nil {
		ctx.Value(failKey{}).(func(error))(err)
		return
	}
	report, err := u.agent.Report(ctx, id)
	if err != nil {
		ctx.Value(failKey{}).(func(error))(err)
		return
	}
	u.loop.attempt.Stop()
	u.agentID.Store(&id)
	u.master.Store(leader)
	if s := c.GetTotalPingTimeoutSeconds(); s > 0 {
		u.loop.patience = seconds(s)
	}
	u.loop.silence.Reset(u.loop.patience)
	u.loop.tries = 0
	u.log.Info("registered", "master", leader.String(), "agent", id)
	u.send(report)
	u.agent.Deliver(ctx, lifecycle.Registered{Agent: id, Reconcile: reconcile})
}

func frameworkID(id *mesos.FrameworkID) lifecycle.FrameworkID {
	return lifecycle.FrameworkID(id.GetValue())
}

// frameworkPID is "" for frameworks of the v1 API ("" or "@0.0.0.0:0").
func frameworkPID(s string) string {
	if pid, err := libprocess.Parse(s); err != nil || !pid.Valid() {
		return ""
	}
	return s
}
