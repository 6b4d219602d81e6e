package ledgersim

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

// What an agent does with tasks, executors and operations.

// run starts a task or a group, whole or not at all.
func (a *agent) run(f *mesos.FrameworkInfo, e *mesos.ExecutorInfo, fresh bool, infos ...*mesos.TaskInfo) {
	fid := f.GetId().GetValue()
	for _, info := range infos {
		if info.GetAgentId().GetValue() != a.id.GetValue() || a.tasks[fid+" "+info.GetTaskId().GetValue()] != nil {
			return // for an agent that this one was before, or told twice
		}
	}
	a.frameworks[fid] = f
	refuse := func() {
		for _, info := range infos {
			a.drop(fid, info.GetTaskId().GetValue(), f)
		}
	}
	x := ""
	var wants resource.Resources
	if e != nil {
		x = fid + " " + e.GetExecutorId().GetValue()
		if running := a.executors[x] != nil; running == fresh {
			refuse()
			if fresh {
				a.exited(fid, e.GetExecutorId())
			}
			return
		}
		if fresh {
			wants = resource.Of(e.GetResources()...).Unallocate()
		}
	}
	for _, info := range infos {
		wants = wants.Add(resource.Of(info.GetResources()...).Unallocate())
	}
	total := a.total()
	for _, r := range wants {
		if len(r.Reservations) > 0 && !total.Contains(resource.Resources{r}) {
			refuse() // made for reservations or volumes that never came to be
			return
		}
	}
	// I5: what the master gives out is there.
	used := a.used().Add(wants).Quantities()
	own := a.own.Quantities()
	if !own.Contains(&used) {
		a.w.fail("%s is told to run %s with %s, which is more than %s beside %s", a.pid, infos[0].GetTaskId().GetValue(), wants, a.own, a.used())
	}
	if e != nil && fresh {
		info := proto.Clone(e).(*mesos.ExecutorInfo)
		info.FrameworkId = f.Id
		info.Resources = resource.Of(e.GetResources()...)
		a.executors[x] = &executor{framework: fid, info: info, resources: resource.Of(e.GetResources()...).Unallocate()}
	}
	for _, info := range infos {
		t := &task{framework: fid, id: info.GetTaskId().GetValue(), info: info, executor: x, resources: resource.Of(info.GetResources()...)}
		a.tasks[t.key()] = t
		a.w.note("%s runs %s", a.pid, t.id)
		switch {
		case len(infos) > 1 || e.GetType() == mesos.ExecutorInfo_DEFAULT:
			a.w.did("group")
		case e != nil && !fresh:
			a.w.did("executor used again")
		case e == nil:
			a.w.did("command")
		}
		a.update(t, mesos.TaskState_TASK_RUNNING)
		if a.w.rand.IntN(3) == 0 {
			end := []mesos.TaskState{mesos.TaskState_TASK_FINISHED, mesos.TaskState_TASK_FAILED}[a.w.rand.IntN(2)]
			a.w.after(a.w.between(0, 3*time.Minute), func() {
				if a.tasks[t.key()] == t && !t.ended() {
					a.update(t, end)
				}
			})
		}
	}
}

// used is what runs on the host.
func (a *agent) used() resource.Resources {
	var sum resource.Resources
	for _, k := range slices.Sorted(maps.Keys(a.tasks)) {
		if t := a.tasks[k]; !t.ended() {
			sum = sum.Add(t.resources.Unallocate().Exclusive())
		}
	}
	for _, k := range slices.Sorted(maps.Keys(a.executors)) {
		sum = sum.Add(a.executors[k].resources)
	}
	return sum
}

// drop says that a task is not here.
func (a *agent) drop(f, id string, info *mesos.FrameworkInfo) {
	state := mesos.TaskState_TASK_LOST
	for _, c := range info.GetCapabilities() {
		if c.GetType() == mesos.FrameworkInfo_Capability_PARTITION_AWARE {
			state = mesos.TaskState_TASK_DROPPED
		}
	}
	t := &task{framework: f, id: id}
	a.tasks[t.key()] = t
	a.update(t, state)
}

// update makes a state the newest and queues it.
func (a *agent) update(t *task, s mesos.TaskState) {
	t.state = s
	t.said++
	t.pending = append(t.pending, &mesos.TaskStatus{TaskId: &mesos.TaskID{Value: &t.id}, State: s.Enum(), AgentId: a.id, Uuid: a.w.uuid(),
		Source: mesos.TaskStatus_SOURCE_EXECUTOR.Enum(), Message: proto.String(fmt.Sprint(t.said)), Timestamp: proto.Float64(float64(a.w.now.Unix()))})
	a.w.note("%s: %s is %s", a.pid, t.id, s)
	if len(t.pending) == 1 {
		a.tell(t, true)
	}
	if t.ended() && t.executor != "" && !slices.ContainsFunc(slices.Collect(maps.Values(a.tasks)), func(o *task) bool {
		return o.executor == t.executor && !o.ended()
	}) {
		a.exit(t.executor)
	}
}

// exit ends an executor; the word of it may get lost.
func (a *agent) exit(key string) {
	x := a.executors[key]
	if x == nil {
		return
	}
	delete(a.executors, key)
	a.exited(x.framework, x.info.ExecutorId)
}

func (a *agent) exited(framework string, id *mesos.ExecutorID) {
	if a.registered && !a.w.chance(10) {
		a.send(false, &messages.ExitedExecutorMessage{SlaveId: a.id, FrameworkId: &mesos.FrameworkID{Value: &framework}, ExecutorId: id, Status: proto.Int32(0)})
	}
}

// tell sends the first update that waits, and again until it is acknowledged.
func (a *agent) tell(t *task, now bool) {
	if len(t.pending) == 0 || a.tasks[t.key()] != t {
		return
	}
	head, life := t.pending[0], a.generation
	if now && a.registered && a.up {
		a.send(true, &messages.StatusUpdateMessage{Pid: proto.String(string(a.pid)), Update: &messages.StatusUpdate{
			FrameworkId: &mesos.FrameworkID{Value: &t.framework}, SlaveId: a.id, Status: head, Timestamp: head.Timestamp, Uuid: head.Uuid, LatestState: t.state.Enum()}})
	}
	a.w.after(10*time.Second, func() {
		if life == a.generation && a.tasks[t.key()] == t && len(t.pending) > 0 && t.pending[0] == head {
			a.tell(t, true)
		}
	})
}

func (a *agent) acknowledged(m *messages.StatusUpdateAcknowledgementMessage) {
	t := a.tasks[m.GetFrameworkId().GetValue()+" "+m.GetTaskId().GetValue()]
	if t == nil || len(t.pending) == 0 || string(t.pending[0].Uuid) != string(m.GetUuid()) {
		return
	}
	t.pending = t.pending[1:]
	if len(t.pending) == 0 && t.ended() {
		delete(a.tasks, t.key())
		return
	}
	a.tell(t, true)
}

func (a *agent) kill(f, id string) {
	t := a.tasks[f+" "+id]
	switch {
	case t != nil && !t.ended():
		a.update(t, mesos.TaskState_TASK_KILLED)
	case t == nil && a.frameworks[f] != nil:
		a.drop(f, id, a.frameworks[f])
	}
}

// apply carries an operation out, if what it needs is there.
func (a *agent) apply(m *messages.ApplyOperationMessage) {
	uuid := string(m.GetOperationUuid().GetValue())
	if a.operations[uuid] != nil {
		return
	}
	o := &operation{framework: m.GetFrameworkId(), info: m.GetOperationInfo(), status: &mesos.OperationStatus{OperationId: m.GetOperationInfo().GetId(),
		State: mesos.OperationState_OPERATION_FINISHED.Enum(), Uuid: &mesos.UUID{Value: a.w.uuid()}, AgentId: a.id}}
	total := a.total()
	conversions, err := resource.Conversions(m.GetOperationInfo())
	for _, c := range conversions {
		if err == nil {
			total, err = total.Convert(c.Unallocate())
		}
	}
	if err != nil || a.w.chance(20) {
		o.status.State = mesos.OperationState_OPERATION_DROPPED.Enum()
	} else {
		a.checkpointed = total.Checkpointed()
	}
	a.w.did(o.info.GetType().String() + " " + o.status.GetState().String())
	a.operations[uuid] = o
	a.tellOperation(uuid)
}

func (a *agent) tellOperation(uuid string) {
	o, life := a.operations[uuid], a.generation
	if o == nil {
		return
	}
	if a.registered && a.up {
		a.send(true, &messages.UpdateOperationStatusMessage{FrameworkId: o.framework, SlaveId: a.id, Status: o.status, LatestStatus: o.status,
			OperationUuid: &mesos.UUID{Value: []byte(uuid)}})
	}
	a.w.after(10*time.Second, func() {
		if life == a.generation && a.operations[uuid] == o {
			a.tellOperation(uuid)
		}
	})
}

func (a *agent) reconcileOperations(m *messages.ReconcileOperationsMessage) {
	for _, asked := range m.GetOperations() {
		if a.operations[string(asked.GetOperationUuid().GetValue())] == nil && m.FrameworkId == nil {
			s := &mesos.OperationStatus{State: mesos.OperationState_OPERATION_DROPPED.Enum(), AgentId: a.id}
			a.send(false, &messages.UpdateOperationStatusMessage{SlaveId: a.id, Status: s, LatestStatus: s, OperationUuid: asked.GetOperationUuid()})
		}
	}
}
