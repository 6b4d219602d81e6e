package fleet

import (
	"github.com/stoa-project/stoa/internal/libprocess"
	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
	"google.golang.org/protobuf/proto"
)

// handlers is the one table that serves every agent.
func (f *Fleet) handlers() *libprocess.Mux {
	m := libprocess.NewMux(nil)
	libprocess.HandleMessage(m, "mesos.internal.PingSlaveMessage", func(env libprocess.Message, msg *messages.PingSlaveMessage) {
		_ = f.tr.Send(env.To, env.From, &messages.PongSlaveMessage{}) // a lost pong is asked for again
		f.with(env, func(a *agent) {
			switch {
			case !a.registered || env.From.Addr != f.leader.Addr:
			case msg.GetConnected():
				a.pinged = f.wheel.now
			default:
				f.again(a, 0) // the master believes that it is disconnected
			}
		})
	})
	fromLeader(f, m, "mesos.internal.SlaveRegisteredMessage", func(a *agent, msg *messages.SlaveRegisteredMessage) {
		f.taken(a, msg.GetSlaveId(), nil, msg.GetConnection())
	})
	fromLeader(f, m, "mesos.internal.SlaveReregisteredMessage", func(a *agent, msg *messages.SlaveReregisteredMessage) {
		f.taken(a, msg.GetSlaveId(), msg.GetReconciliations(), msg.GetConnection())
	})
	fromLeader(f, m, "mesos.internal.ShutdownMessage", func(a *agent, msg *messages.ShutdownMessage) {
		f.log.Error("the master tells an agent to shut down", "agent", a.pid.ID, "message", msg.GetMessage())
		f.leave(a)
	})
	fromMaster(f, m, "mesos.internal.RunTaskMessage", func(a *agent, msg *messages.RunTaskMessage) {
		executor := msg.GetTask().GetExecutor()
		f.run(a, msg.GetFramework(), executor, executor != nil && msg.LaunchExecutor != nil && !msg.GetLaunchExecutor(), msg.GetTask())
	})
	fromMaster(f, m, "mesos.internal.RunTaskGroupMessage", func(a *agent, msg *messages.RunTaskGroupMessage) {
		f.run(a, msg.GetFramework(), msg.GetExecutor(), msg.LaunchExecutor != nil && !msg.GetLaunchExecutor(), msg.GetTaskGroup().GetTasks()...)
	})
	fromMaster(f, m, "mesos.internal.KillTaskMessage", func(a *agent, msg *messages.KillTaskMessage) {
		f.kill(a, msg.GetFrameworkId().GetValue(), msg.GetTaskId().GetValue())
	})
	fromMaster(f, m, "mesos.internal.StatusUpdateAcknowledgementMessage", func(a *agent, msg *messages.StatusUpdateAcknowledgementMessage) {
		f.acknowledged(a, msg.GetFrameworkId().GetValue(), msg.GetTaskId().GetValue(), msg.GetUuid())
	})
	fromMaster(f, m, "mesos.internal.UpdateFrameworkMessage", func(_ *agent, msg *messages.UpdateFrameworkMessage) {
		if fw := f.frameworks[msg.GetFrameworkId().GetValue()]; fw != nil && msg.FrameworkInfo != nil {
			fw.info = msg.GetFrameworkInfo()
		}
	})
	fromMaster(f, m, "mesos.internal.ShutdownFrameworkMessage", func(a *agent, msg *messages.ShutdownFrameworkMessage) {
		f.shutdownFramework(a, msg.GetFrameworkId().GetValue())
	})
	fromMaster(f, m, "mesos.internal.ShutdownExecutorMessage", func(a *agent, msg *messages.ShutdownExecutorMessage) {
		f.shutdownExecutor(a, msg.GetFrameworkId().GetValue(), msg.GetExecutorId().GetValue())
	})
	fromMaster(f, m, "mesos.internal.DrainSlaveMessage", func(a *agent, msg *messages.DrainSlaveMessage) { f.drain(a, msg.GetConfig()) })
	fromMaster(f, m, "mesos.internal.CheckpointResourcesMessage", func(a *agent, msg *messages.CheckpointResourcesMessage) {
		a.checkpointed = resource.Of(msg.GetResources()...).Unallocate()
	})
	fromMaster(f, m, "mesos.internal.ApplyOperationMessage", f.apply)
	fromMaster(f, m, "mesos.internal.AcknowledgeOperationStatusMessage", func(a *agent, msg *messages.AcknowledgeOperationStatusMessage) {
		f.operationAcknowledged(a, msg.GetOperationUuid().GetValue(), msg.GetStatusUuid().GetValue())
	})
	fromMaster(f, m, "mesos.internal.ReconcileOperationsMessage", f.reconcileOperations)
	return m
}

// with finds the agent a message is for and calls fn under the mutex.
func (f *Fleet) with(env libprocess.Message, fn func(*agent)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if a := f.byID[env.To.ID]; a != nil && !a.gone {
		fn(a)
	}
}

// fromLeader handles a message that counts only from the detected master.
func fromLeader[T proto.Message](f *Fleet, m *libprocess.Mux, name string, fn func(*agent, T)) {
	libprocess.HandleMessage(m, name, func(env libprocess.Message, msg T) {
		f.with(env, func(a *agent) {
			if env.From == f.leader {
				fn(a, msg)
			}
		})
	})
}

// fromMaster handles a message that counts only from the master that has taken the agent.
func fromMaster[T proto.Message](f *Fleet, m *libprocess.Mux, name string, fn func(*agent, T)) {
	fromLeader(f, m, name, func(a *agent, msg T) {
		if a.registered {
			fn(a, msg)
		}
	})
}

// frameworkOf gives the shared description, renewed.
func (f *Fleet) frameworkOf(info *mesos.FrameworkInfo) *framework {
	id := info.GetId().GetValue()
	fw := f.frameworks[id]
	if fw == nil {
		fw = &framework{id: info.GetId()}
		f.frameworks[id] = fw
	}
	fw.info = info
	return fw
}
