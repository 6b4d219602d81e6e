package fleet

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

// operation is one whose outcome the master has not acknowledged yet.
type operation struct {
	uuid      string
	framework *mesos.FrameworkID // nil: an operator's
	info      *mesos.Offer_Operation
	status    *mesos.OperationStatus
	sent      uint32 // counts sends, so that an old timer knows it is old
	waits     time.Duration
}

// apply carries an operation out on the agent's reservations and volumes, at once, and
// reports it. (libprocess.md 3.12)
func (f *Fleet) apply(a *agent, m *messages.ApplyOperationMessage) {
	uuid := string(m.GetOperationUuid().GetValue())
	if a.operations[uuid] != nil {
		return // sent twice
	}
	info := m.GetOperationInfo()
	resource.UpgradeMessage(info)
	o := &operation{uuid: uuid, framework: m.GetFrameworkId(), info: info, status: f.newStatus(a, info.GetId(), mesos.OperationState_OPERATION_FINISHED)}
	if err := f.convert(a, m); err != nil {
		o.status.State, o.status.Message = mesos.OperationState_OPERATION_DROPPED.Enum(), proto.String(err.Error())
	}
	if a.operations == nil {
		a.operations = map[string]*operation{}
	}
	a.operations[uuid] = o
	f.sendOperation(a, o, firstResend)
}

// convert changes what the agent has checkpointed; the error says why it cannot.
func (f *Fleet) convert(a *agent, m *messages.ApplyOperationMessage) error {
	if string(m.GetResourceVersionUuid().GetUuid().GetValue()) != string(f.version.Value) {
		return errOldResources
	}
	conversions, err := resource.Conversions(m.GetOperationInfo())
	if err != nil {
		return err
	}
	total := f.own.WithCheckpointed(a.checkpointed)
	for _, c := range conversions {
		if total, err = total.Convert(c.Unallocate()); err != nil {
			return err
		}
	}
	a.checkpointed = total.Checkpointed()
	return nil
}

type textError string

func (e textError) Error() string { return string(e) }

const errOldResources = textError("the operation was made for resources that the agent had before")

func (f *Fleet) newStatus(a *agent, id *mesos.OperationID, s mesos.OperationState) *mesos.OperationStatus {
	uuid := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, rand.Uint64()), rand.Uint64())
	uuid[6], uuid[8] = uuid[6]&0x0f|0x40, uuid[8]&0x3f|0x80 // version 4
	return &mesos.OperationStatus{OperationId: id, State: s.Enum(), Uuid: &mesos.UUID{Value: uuid}, AgentId: a.id}
}

// sendOperation reports an outcome, and again after the wait.
func (f *Fleet) sendOperation(a *agent, o *operation, wait time.Duration) {
	o.sent++
	o.waits = wait
	if !a.registered {
		return
	}
	f.send(a, &messages.UpdateOperationStatusMessage{FrameworkId: o.framework, SlaveId: a.id, Status: o.status,
		LatestStatus: o.status, OperationUuid: &mesos.UUID{Value: []byte(o.uuid)}})
	f.wheel.add(timer{due: f.after(wait), kind: resendOperation, agent: a, op: o, seq: o.sent})
}

func (f *Fleet) operationAcknowledged(a *agent, uuid, status []byte) {
	if o := a.operations[string(uuid)]; o != nil && string(o.status.GetUuid().GetValue()) == string(status) {
		delete(a.operations, o.uuid)
	}
}

// reconcileOperations answers for operations that are not here: the master's own it may
// forget, those that a framework asks for are unknown.
func (f *Fleet) reconcileOperations(a *agent, m *messages.ReconcileOperationsMessage) {
	for _, asked := range m.GetOperations() {
		if m.FrameworkId != nil {
			s := &mesos.OperationStatus{OperationId: asked.GetOperationId(), State: mesos.OperationState_OPERATION_UNKNOWN.Enum(),
				AgentId: a.id, ResourceProviderId: asked.GetResourceProviderId()}
			f.send(a, &messages.UpdateOperationStatusMessage{FrameworkId: m.FrameworkId, SlaveId: a.id, Status: s})
			continue
		}
		if a.operations[string(asked.GetOperationUuid().GetValue())] == nil {
			s := &mesos.OperationStatus{State: mesos.OperationState_OPERATION_DROPPED.Enum(), AgentId: a.id, ResourceProviderId: asked.GetResourceProviderId()}
			f.send(a, &messages.UpdateOperationStatusMessage{SlaveId: a.id, Status: s, LatestStatus: s, OperationUuid: asked.GetOperationUuid()})
		}
	}
}

// operationsOf is what an agent tells after each registration.
func (f *Fleet) operationsOf(a *agent) *messages.UpdateSlaveMessage_Operations {
	out := &messages.UpdateSlaveMessage_Operations{}
	uuids := make([]string, 0, len(a.operations))
	for uuid := range a.operations {
		uuids = append(uuids, uuid)
	}
	slices.Sort(uuids)
	for _, uuid := range uuids {
		o := a.operations[uuid]
		out.Operations = append(out.Operations, &mesos.Operation{FrameworkId: o.framework, AgentId: a.id, Info: o.info,
			LatestStatus: o.status, Statuses: []*mesos.OperationStatus{o.status}, Uuid: &mesos.UUID{Value: []byte(uuid)}})
	}
	return out
}
