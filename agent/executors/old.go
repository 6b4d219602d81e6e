package executors

import (
	"log/slog"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/libprocess"
	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/executor"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

// Transport is what the v0 side needs of libprocess.
type Transport interface {
	Send(from, to libprocess.UPID, m proto.Message) error
	Link(from, to libprocess.UPID, reconnect bool) uint64
	Unlink(from, to libprocess.UPID)
}

// Old speaks with executors of the v0 API: libprocess messages between the agent's
// process and theirs (libprocess.md 3.16). It keeps no state: who an executor is, and
// which process may speak for it, is the core's knowledge.
type Old struct {
	tr      Transport
	me      libprocess.UPID // the agent's process
	deliver func(lifecycle.Event)
	log     *slog.Logger
}

// NewOld makes the v0 side; me is the agent's process and deliver passes an event to the
// core, waiting while that is busy.
func NewOld(tr Transport, me libprocess.UPID, deliver func(lifecycle.Event), log *slog.Logger) *Old {
	return &Old{tr: tr, me: me, deliver: deliver, log: log}
}

// Handle takes the messages of executors to the agent's process.
func (o *Old) Handle(m *libprocess.Mux) {
	libprocess.Handle(m, "mesos.internal.RegisterExecutorMessage", func(from libprocess.UPID, msg *messages.RegisterExecutorMessage) {
		o.tr.Link(o.me, from, false)
		o.deliver(lifecycle.ExecutorSubscribed{Key: keyOf(msg.GetFrameworkId(), msg.GetExecutorId()), UPID: from.String()})
	})
	libprocess.Handle(m, "mesos.internal.ReregisterExecutorMessage", func(from libprocess.UPID, msg *messages.ReregisterExecutorMessage) {
		ev := lifecycle.ExecutorSubscribed{Key: keyOf(msg.GetFrameworkId(), msg.GetExecutorId()), UPID: from.String(), Again: true, Tasks: msg.GetTasks()}
		for _, u := range msg.GetUpdates() {
			if st := o.status(from, u); st != nil {
				ev.Updates = append(ev.Updates, st)
			}
		}
		o.tr.Link(o.me, from, false)
		o.deliver(ev)
	})
	libprocess.Handle(m, "mesos.internal.StatusUpdateMessage", func(from libprocess.UPID, msg *messages.StatusUpdateMessage) {
		u := msg.GetUpdate()
		if st := o.status(from, u); st != nil {
			o.deliver(lifecycle.ExecutorUpdate{Key: keyOf(u.GetFrameworkId(), u.GetExecutorId()), UPID: from.String(), Status: st})
		}
	})
	libprocess.Handle(m, "mesos.internal.ExecutorToFrameworkMessage", func(from libprocess.UPID, msg *messages.ExecutorToFrameworkMessage) {
		o.deliver(lifecycle.ExecutorMessage{Key: keyOf(msg.GetFrameworkId(), msg.GetExecutorId()), UPID: from.String(), Data: msg.GetData()})
	})
}

func keyOf(f *mesos.FrameworkID, e *mesos.ExecutorID) lifecycle.ExecutorKey {
	return lifecycle.ExecutorKey{Framework: lifecycle.FrameworkID(f.GetValue()), Executor: lifecycle.ExecutorID(e.GetValue())}
}

// status takes the status out of an update; nil, with a word in the log, when it cannot
// be acknowledged or says nothing: its executor would be ended by an acknowledgement whose
// uuid has not 16 bytes (libprocess.md 7, item 7).
func (o *Old) status(from libprocess.UPID, u *messages.StatusUpdate) *mesos.TaskStatus {
	st := u.GetStatus()
	why := ""
	switch {
	case len(u.GetUuid()) != 16:
		why = "its uuid has not 16 bytes"
	case st.GetTaskId().GetValue() == "":
		why = "it names no task"
	case st.GetState() == mesos.TaskState_TASK_STAGING:
		why = "TASK_STAGING is not for executors to tell"
	case u.SlaveId != nil && st.AgentId != nil && st.GetAgentId().GetValue() != u.GetSlaveId().GetValue():
		why = "it names two agents"
	}
	if why != "" {
		o.log.Warn("executor's update dropped", "executor", u.GetExecutorId().GetValue(), "from", from.String(), "reason", why)
		return nil
	}
	st.Uuid = u.GetUuid()
	if st.Timestamp == nil {
		st.Timestamp = proto.Float64(u.GetTimestamp())
	}
	return st
}

// Send tells an executor an event in the words of the v0 API. Events that it has no words
// for are left out: it needs no signs of life, its link has them.
func (o *Old) Send(ef lifecycle.ToExecutor) {
	to, err := libprocess.Parse(ef.UPID)
	if err != nil {
		o.log.Error("executor's process id is unusable", "executor", string(ef.Key.Executor), "err", err)
		return
	}
	msg := o.translate(ef)
	if msg == nil {
		return
	}
	if err := o.tr.Send(o.me, to, msg); err != nil {
		o.log.Warn("message to the executor not sent", "executor", string(ef.Key.Executor), "type", ef.Event.GetType().String(), "err", err)
	}
}

func (o *Old) translate(ef lifecycle.ToExecutor) proto.Message {
	framework := &mesos.FrameworkID{Value: proto.String(string(ef.Key.Framework))}
	switch ev := ef.Event; ev.GetType() {
	case executor.Event_SUBSCRIBED:
		info := ev.GetSubscribed().GetAgentInfo()
		rs, _ := resource.Downgrade(info.GetResources()) // refined ones stay as they are
		slave := &messages.SlaveInfo{
			Hostname: info.Hostname, Port: info.Port, Resources: rs, Attributes: info.GetAttributes(), Domain: info.GetDomain(),
			Id: info.GetId(), Checkpoint: proto.Bool(true),
		}
		if ef.Again {
			return &messages.ExecutorReregisteredMessage{SlaveId: info.GetId(), SlaveInfo: slave}
		}
		return &messages.ExecutorRegisteredMessage{
			ExecutorInfo: ev.GetSubscribed().GetExecutorInfo(), FrameworkId: framework, FrameworkInfo: ev.GetSubscribed().GetFrameworkInfo(),
			SlaveId: info.GetId(), SlaveInfo: slave,
		}
	case executor.Event_LAUNCH:
		pid := ef.FrameworkPID
		if pid == "" {
			pid = "@0.0.0.0:0" // a framework of the v1 API has none
		}
		return &messages.RunTaskMessage{FrameworkId: framework, Framework: ef.Framework, Pid: &pid, Task: ev.GetLaunch().GetTask()}
	case executor.Event_KILL:
		return &messages.KillTaskMessage{FrameworkId: framework, TaskId: ev.GetKill().GetTaskId(), KillPolicy: ev.GetKill().GetKillPolicy()}
	case executor.Event_ACKNOWLEDGED:
		return &messages.StatusUpdateAcknowledgementMessage{
			SlaveId: ef.Agent, FrameworkId: framework, TaskId: ev.GetAcknowledged().GetTaskId(), Uuid: ev.GetAcknowledged().GetUuid(),
		}
	case executor.Event_MESSAGE:
		return &messages.FrameworkToExecutorMessage{
			SlaveId: ef.Agent, FrameworkId: framework, ExecutorId: &mesos.ExecutorID{Value: proto.String(string(ef.Key.Executor))},
			Data: ev.GetMessage().GetData(),
		}
	case executor.Event_SHUTDOWN:
		return &messages.ShutdownExecutorMessage{}
	}
	return nil
}

// Reconnect asks an executor that lived on over the agent's restart to register again.
func (o *Old) Reconnect(ef lifecycle.Reconnect) {
	to, err := libprocess.Parse(ef.UPID)
	if err != nil {
		o.log.Error("executor's process id is unusable", "executor", string(ef.Key.Executor), "err", err)
		return
	}
	o.tr.Link(o.me, to, false)
	if err := o.tr.Send(o.me, to, &messages.ReconnectExecutorMessage{SlaveId: ef.Agent}); err != nil {
		o.log.Warn("executor not asked to register again", "executor", string(ef.Key.Executor), "err", err)
	}
}

// Close lets go of an executor that has ended. What is queued for it still goes out.
func (o *Old) Close(upid string) {
	if to, err := libprocess.Parse(upid); err == nil {
		o.tr.Unlink(o.me, to)
	}
}
