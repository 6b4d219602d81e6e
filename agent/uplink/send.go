package uplink

import (
	"math"
	"time"

	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/libprocess"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
	"google.golang.org/protobuf/proto"
)

// send gives a message to the master that has taken us; without one it is lost, which
// every protocol above allows for.
func (u *Uplink) send(m proto.Message) {
	master := u.master.Load()
	if master == nil {
		return
	}
	if err := u.tr.Send(u.me, *master, m); err != nil {
		u.log.Warn("message to the master not sent", "master", master.String(), "err", err)
	}
}

// Update sends a status update. The agent's process id goes with it: the master hands
// it to old frameworks, which without it never acknowledge (libprocess.md 7, item 8).
func (u *Uplink) Update(up *messages.StatusUpdate) {
	u.send(&messages.StatusUpdateMessage{Update: up, Pid: proto.String(u.me.String())})
}

// ExecutorExited tells that a custom executor is gone. status is its wait status.
func (u *Uplink) ExecutorExited(key lifecycle.ExecutorKey, status int32) {
	id := u.agentID.Load()
	if id == nil {
		return
	}
	u.send(&messages.ExitedExecutorMessage{
		SlaveId: &mesos.AgentID{Value: id}, FrameworkId: &mesos.FrameworkID{Value: proto.String(string(key.Framework))},
		ExecutorId: &mesos.ExecutorID{Value: proto.String(string(key.Executor))}, Status: proto.Int32(status),
	})
}

// Unregister tells the master that this agent goes for good.
func (u *Uplink) Unregister() {
	if id := u.agentID.Load(); id != nil {
		u.send(&messages.UnregisterSlaveMessage{SlaveId: &mesos.AgentID{Value: id}})
	}
}

// Message passes an executor's bytes to its framework: directly when pid is that of a
// v0 framework, through the master otherwise.
func (u *Uplink) Message(key lifecycle.ExecutorKey, pid string, data []byte) {
	id := u.agentID.Load()
	if id == nil {
		return
	}
	m := &messages.ExecutorToFrameworkMessage{
		SlaveId: &mesos.AgentID{Value: id}, FrameworkId: &mesos.FrameworkID{Value: proto.String(string(key.Framework))},
		ExecutorId: &mesos.ExecutorID{Value: proto.String(string(key.Executor))}, Data: data,
	}
	if to, err := libprocess.Parse(pid); err == nil && to.Valid() {
		if err := u.tr.Send(u.me, to, m); err != nil {
			u.log.Warn("message to the framework not sent", "framework", string(key.Framework), "err", err)
		}
		return
	}
	u.send(m)
}

// Know tells the id of an agent that was recovered, before Run.
func (u *Uplink) Know(id string) {
	if id != "" {
		u.agentID.Store(&id)
	}
}

// seconds bounds what a master may say about time.
func seconds(s float64) time.Duration {
	return time.Duration(math.Min(math.Max(s, 1), 86400) * float64(time.Second))
}
