package lifecycle

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

// ApplyOperation asks for reservations or volumes to be made, changed or taken away
// (libprocess.md 3.12). When its Output cannot be made durable, Unsaved must follow
// before anything else.
type ApplyOperation struct {
	Framework FrameworkID // empty: an operator's
	Info      *mesos.Offer_Operation
	UUID      []byte
	Version   []byte // of the agent's resources as the master knew them; may be empty
}

// CheckpointResources replaces all dynamic reservations and volumes: what masters send
// that do not know ApplyOperation. Unsaved as above.
type CheckpointResources struct{ Resources []*mesos.Resource }

// Unsaved takes the newest ApplyOperation or CheckpointResources back.
type Unsaved struct{ Message string }

// VolumesRemoved says that nothing is left of destroyed volumes.
type VolumesRemoved struct{ Volumes []*mesos.Resource }

// AcknowledgeOperation ends the repetition of an operation's status.
type AcknowledgeOperation struct{ Operation, Status []byte }

// ReconcileOperations asks for operations that a master, or a framework when that is
// not empty, believes to be here.
type ReconcileOperations struct {
	Framework  FrameworkID
	Operations []*messages.ReconcileOperationsMessage_Operation
}

// MakeVolumes makes the folders of new volumes, or finds them there, before the Output
// that it belongs to is recorded.
type MakeVolumes struct{ Volumes []*mesos.Resource }

// RemoveVolumes deletes the files of destroyed volumes. VolumesRemoved follows.
type RemoveVolumes struct{ Volumes []*mesos.Resource }

// SendOperation gives a status of an operation to the master.
type SendOperation struct {
	Update *messages.UpdateOperationStatusMessage
}

func (ApplyOperation) event()       {}
func (CheckpointResources) event()  {}
func (Unsaved) event()              {}
func (VolumesRemoved) event()       {}
func (AcknowledgeOperation) event() {}
func (ReconcileOperations) event()  {}
func (MakeVolumes) effect()         {}
func (RemoveVolumes) effect()       {}
func (SendOperation) effect()       {}

// operation is one whose status is not acknowledged. All operations on an agent's own
// resources end at once, so it has exactly one status.
type operation struct {
	proto    *mesos.Operation // replaced, never changed in place
	interval time.Duration
	round    uint64
}

// maxOperations bounds the operations that wait for an acknowledgement.
const maxOperations = 10_000

func (a *Agent) operation(uuid []byte) *operation {
	for _, o := range a.operations {
		if bytes.Equal(o.proto.GetUuid().GetValue(), uuid) {
			return o
		}
	}
	return nil
}

func (a *Agent) recordResources() {
	img := &ResourcesImage{Checkpointed: a.has.checkpointed, Doomed: a.has.doomed}
	for _, o := range a.operations {
		img.Operations = append(img.Operations, o.proto)
	}
	a.record(Record{Key: resourcesKey, Resources: img})
}

// applyOperation does all of an operation or nothing, and has its outcome told until
// that is acknowledged.
func (a *Agent) applyOperation(ev ApplyOperation) {
	a.altering, a.has.before = nil, nil
	if known := a.operation(ev.UUID); known != nil { // the master repeats itself
		known.interval = 0
		a.sendOperation(known)
		return
	}
	if len(a.operations) >= maxOperations {
		a.do(Note{Message: "operation ignored: too many wait for an acknowledgement", Framework: ev.Framework})
		return
	}
	state, why := a.carryOut(ev)
	o := &operation{proto: &mesos.Operation{
		AgentId: &mesos.AgentID{Value: ptr(a.id)}, Info: ev.Info, Uuid: &mesos.UUID{Value: ev.UUID},
		LatestStatus: a.outcome(ev.Info, state, why),
	}}
	if ev.Framework != "" {
		o.proto.FrameworkId = &mesos.FrameworkID{Value: ptr(string(ev.Framework))}
	}
	a.operations = append(a.operations, o)
	a.altering = o
	a.do(Note{Message: "operation " + ev.Info.GetType().String(), Framework: ev.Framework,
		Detail: state.String() + " " + why})
	a.recordResources()
	a.sendOperation(o)
}

func (a *Agent) outcome(op *mesos.Offer_Operation, state mesos.OperationState, why string) *mesos.OperationStatus {
	id := a.cfg.NewID()
	st := &mesos.OperationStatus{OperationId: op.GetId(), State: state.Enum(), Uuid: &mesos.UUID{Value: id[:]},
		AgentId: &mesos.AgentID{Value: ptr(a.id)}}
	if why != "" {
		st.Message = ptr(why)
	}
	return st
}

// carryOut changes the books, or says why not.
func (a *Agent) carryOut(ev ApplyOperation) (mesos.OperationState, string) {
	const failed, wrong, dropped = mesos.OperationState_OPERATION_FAILED, mesos.OperationState_OPERATION_ERROR, mesos.OperationState_OPERATION_DROPPED
	if len(ev.Version) > 0 && len(a.cfg.ResourceVersion) > 0 && !bytes.Equal(ev.Version, a.cfg.ResourceVersion) {
		return dropped, "Operation assumes outdated resource state"
	}
	op := proto.CloneOf(ev.Info)
	mentioned := resource.Mentioned(op)
	if len(mentioned) == 0 || slices.Contains(mentioned, nil) {
		return wrong, "Operation names no resources"
	}
	if why := unkeepable(mentioned); why != "" {
		return wrong, why
	}
	resource.UpgradeMessage(op)
	conversions, err := resource.Conversions(op)
	if err != nil {
		return wrong, fmt.Sprintf("This agent has no resource provider for operation %s", op.GetType())
	}
	total := a.has.total
	for _, c := range conversions {
		if total, err = total.Convert(c.Unallocate()); err != nil {
			return wrong, fmt.Sprintf("Invalid %s operation: %v", op.GetType(), err)
		}
	}
	if why := a.alter(total.Checkpointed()); why != "" {
		return failed, why
	}
	return mesos.OperationState_OPERATION_FINISHED, ""
}

// alter makes other resources the checkpointed ones, with what that means for volumes.
// The answer is why that cannot be, or "".
func (a *Agent) alter(checkpointed resource.Resources) string {
	made, gone := lacking(checkpointed, a.has.checkpointed), lacking(a.has.checkpointed, checkpointed)
	for _, v := range gone {
		if user := a.userOf(v); user != "" {
			return fmt.Sprintf("Volume '%s' is used by %s", v.GetDisk().GetPersistence().GetId(), user)
		}
	}
	for _, v := range made {
		for _, d := range a.has.doomed {
			if sameVolume(v, d) || onMount(v) && onMount(d) && v.GetDisk().GetSource().GetMount().GetRoot() == d.GetDisk().GetSource().GetMount().GetRoot() {
				return fmt.Sprintf("The files of the volume '%s' that was destroyed before are still being removed; try again", d.GetDisk().GetPersistence().GetId())
			}
		}
	}
	a.has.set(checkpointed)
	a.has.doomed = append(slices.Clip(a.has.doomed), gone...)
	if len(made) > 0 {
		a.do(MakeVolumes{made})
	}
	if len(gone) > 0 {
		a.do(RemoveVolumes{gone})
	}
	return ""
}

func onMount(v *mesos.Resource) bool {
	return v.GetDisk().GetSource().GetType() == mesos.Resource_DiskInfo_Source_MOUNT
}

// unkeepable says what of some resources this agent cannot keep, or "". Roles and ids
// of volumes become names of folders, so they are checked here again.
func unkeepable(rs []*mesos.Resource) string {
	if err := resource.Validate(rs); err != nil {
		return "Operation attempted with invalid resources: " + err.Error()
	}
	for _, r := range rs {
		d := r.GetDisk()
		switch {
		case r.GetProviderId() != nil:
			return fmt.Sprintf("This agent has no resource provider '%s'", r.GetProviderId().GetValue())
		case d.GetSource().GetType() == mesos.Resource_DiskInfo_Source_BLOCK || d.GetSource().GetType() == mesos.Resource_DiskInfo_Source_RAW:
			return fmt.Sprintf("This agent has no disks of type %s", d.GetSource().GetType())
		case d.GetSource() != nil && d.GetSource().Profile != nil:
			return fmt.Sprintf("This agent has no disks with the profile '%s'", d.GetSource().GetProfile())
		case d.GetPersistence() == nil:
			continue
		}
		if why := unsafeID(d.GetPersistence().GetId()); why != "" {
			return fmt.Sprintf("Invalid persistence ID '%s': %s", d.GetPersistence().GetId(), why)
		}
		if err := resource.ValidateRole(resource.RoleOf(r)); err != nil || resource.RoleOf(r) == resource.AnyRole {
			return fmt.Sprintf("Volume '%s' is not reserved to a proper role", d.GetPersistence().GetId())
		}
	}
	return ""
}

func (a *Agent) checkpointResources(ev CheckpointResources) {
	a.altering, a.has.before = nil, nil
	next := resource.Of(ev.Resources...).Unallocate()
	why := ""
	if len(ev.Resources) > 0 {
		why = unkeepable(ev.Resources)
	}
	if missing := Unplaced(a.has.own, next); why == "" && len(missing) > 0 {
		why = "this agent does not have " + resource.Text(missing[0])
	}
	if why == "" && next.Equal(a.has.checkpointed) {
		return
	}
	if why == "" {
		why = a.alter(next)
	}
	if why != "" {
		a.do(Note{Message: "reservations and volumes stay as they were", Detail: why})
		return
	}
	a.do(Note{Message: "reservations and volumes changed", Detail: next.String()})
	a.recordResources()
}

// unsaved takes the newest change back, since it could not be made durable.
func (a *Agent) unsaved(ev Unsaved) {
	if a.has.before != nil {
		a.has = *a.has.before
	}
	if o := a.altering; o != nil {
		o.proto = proto.CloneOf(o.proto)
		o.proto.LatestStatus = a.outcome(o.proto.GetInfo(), mesos.OperationState_OPERATION_FAILED, ev.Message)
		o.interval = 0
		a.sendOperation(o)
	}
	a.altering = nil
	a.do(Note{Message: "reservations and volumes stay as they were", Detail: ev.Message})
	a.recordResources()
}

func (a *Agent) volumesRemoved(ev VolumesRemoved) {
	n := len(a.has.doomed)
	a.has.doomed = slices.DeleteFunc(slices.Clone(a.has.doomed), func(d *mesos.Resource) bool {
		return slices.ContainsFunc(ev.Volumes, func(v *mesos.Resource) bool { return sameVolume(d, v) })
	})
	if len(a.has.doomed) != n {
		a.recordResources()
	}
}

// sendOperation tells a status and arranges the next time: 10 s to 10 min apart, like
// that of a task's (mesos-agent.md 9).
func (a *Agent) sendOperation(o *operation) {
	if !a.connected {
		return
	}
	p := o.proto
	a.do(SendOperation{&messages.UpdateOperationStatusMessage{
		FrameworkId: p.FrameworkId, SlaveId: &mesos.AgentID{Value: ptr(a.id)}, Status: p.LatestStatus,
		LatestStatus: p.LatestStatus, OperationUuid: p.Uuid,
	}})
	o.interval = max(firstResend, min(2*o.interval, lastResend))
	o.round++
	round := o.round
	a.at(a.now.Add(o.interval), func() {
		if o.round == round && slices.Contains(a.operations, o) {
			a.sendOperation(o)
		}
	})
}

// resendOperations sends all of them at once, to a new master.
func (a *Agent) resendOperations() {
	for _, o := range a.operations {
		o.interval = 0
		a.sendOperation(o)
	}
}

func (a *Agent) acknowledgeOperation(ev AcknowledgeOperation) {
	o := a.operation(ev.Operation)
	if o == nil || !bytes.Equal(o.proto.GetLatestStatus().GetUuid().GetValue(), ev.Status) {
		a.do(Note{Message: "acknowledgement of an operation ignored: it is not the status that was sent"})
		return
	}
	a.operations = slices.DeleteFunc(slices.Clone(a.operations), func(x *operation) bool { return x == o })
	a.recordResources()
	a.settleDrain()
}

// reconcileOperations answers about operations that are not here; those that are will be
// told anyway. A framework that asks gets an answer about each.
func (a *Agent) reconcileOperations(ev ReconcileOperations) {
	for _, q := range ev.Operations {
		var o *operation
		for _, x := range a.operations {
			byID := ev.Framework != "" && q.GetOperationId() != nil && x.proto.GetFrameworkId().GetValue() == string(ev.Framework) &&
				x.proto.GetInfo().GetId().GetValue() == q.GetOperationId().GetValue()
			if byID || q.GetOperationUuid() != nil && bytes.Equal(x.proto.GetUuid().GetValue(), q.GetOperationUuid().GetValue()) {
				o = x
			}
		}
		st := &mesos.OperationStatus{State: mesos.OperationState_OPERATION_DROPPED.Enum(), OperationId: q.GetOperationId(),
			AgentId: &mesos.AgentID{Value: ptr(a.id)}, ResourceProviderId: q.GetResourceProviderId(),
			Message: ptr("Reconciliation: the operation is unknown to the agent")}
		m := &messages.UpdateOperationStatusMessage{SlaveId: st.AgentId, Status: st, OperationUuid: q.GetOperationUuid()}
		switch {
		case o != nil && ev.Framework == "":
			continue
		case o != nil:
			st = proto.CloneOf(o.proto.GetLatestStatus())
			st.Uuid = nil // nobody acknowledges this one
			m.Status, m.OperationUuid = st, o.proto.GetUuid()
		case ev.Framework != "":
			st.State = mesos.OperationState_OPERATION_UNKNOWN.Enum()
		}
		if ev.Framework != "" {
			m.FrameworkId = &mesos.FrameworkID{Value: ptr(string(ev.Framework))}
		}
		if a.connected {
			a.do(SendOperation{m})
		}
	}
}

// restoreResources takes the image of the last run. A new agent id has no operations.
func (a *Agent) restoreResources(img *ResourcesImage) {
	a.has = newHoldings(a.has.own)
	a.has.checkpointed = resource.Of(img.Checkpointed...)
	a.has.total = a.has.own.WithCheckpointed(a.has.checkpointed)
	a.has.doomed = img.Doomed
	for _, p := range img.Operations {
		if p.GetAgentId().GetValue() == a.id {
			a.operations = append(a.operations, &operation{proto: p})
		}
	}
	if all := volumes(a.has.checkpointed); len(all) > 0 {
		a.do(MakeVolumes{all})
	}
	if len(a.has.doomed) > 0 {
		a.do(RemoveVolumes{a.has.doomed})
	}
}
