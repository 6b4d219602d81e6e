package uplink

import (
	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/libprocess"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

// operations handles what masters say about reservations, volumes and draining
// (libprocess.md 3.12).
func operations(u *Uplink, m *libprocess.Mux) {
	fromMaster(u, m, "mesos.internal.ApplyOperationMessage", func(msg *messages.ApplyOperationMessage) lifecycle.Event {
		if msg.GetOperationInfo() == nil || !plausible(msg.GetOperationUuid().GetValue()) {
			return nil
		}
		return lifecycle.ApplyOperation{Framework: frameworkID(msg.GetFrameworkId()), Info: msg.GetOperationInfo(),
			UUID: msg.GetOperationUuid().GetValue(), Version: msg.GetResourceVersionUuid().GetUuid().GetValue()}
	})
	fromMaster(u, m, "mesos.internal.CheckpointResourcesMessage", func(msg *messages.CheckpointResourcesMessage) lifecycle.Event {
		return lifecycle.CheckpointResources{Resources: msg.GetResources()}
	})
	fromMaster(u, m, "mesos.internal.AcknowledgeOperationStatusMessage", func(msg *messages.AcknowledgeOperationStatusMessage) lifecycle.Event {
		return lifecycle.AcknowledgeOperation{Operation: msg.GetOperationUuid().GetValue(), Status: msg.GetStatusUuid().GetValue()}
	})
	fromMaster(u, m, "mesos.internal.ReconcileOperationsMessage", func(msg *messages.ReconcileOperationsMessage) lifecycle.Event {
		return lifecycle.ReconcileOperations{Framework: frameworkID(msg.GetFrameworkId()), Operations: msg.GetOperations()}
	})
	fromMaster(u, m, "mesos.internal.DrainSlaveMessage", func(msg *messages.DrainSlaveMessage) lifecycle.Event {
		return lifecycle.Drain{Config: msg.GetConfig()}
	})
}

// plausible bounds an operation's uuid, which is kept until it is acknowledged.
func plausible(uuid []byte) bool { return len(uuid) > 0 && len(uuid) <= 255 }

// Send gives any message to the master that has taken us; without one it is lost.
func (u *Uplink) Send(m proto.Message) { u.send(m) }
