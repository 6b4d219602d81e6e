package master_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
	"github.com/stoa-project/stoa/internal/wire/schedulerv0"
	"github.com/stoa-project/stoa/master"
)

// What drivers over libprocess send and get: libprocess.md 3.14, both styles.

func v0info(more func(*mesos.FrameworkInfo)) *mesos.FrameworkInfo {
	info := &mesos.FrameworkInfo{User: proto.String("root"), Name: proto.String("v0"), FailoverTimeout: proto.Float64(60), Checkpoint: proto.Bool(true)}
	if more != nil {
		more(info)
	}
	return info
}

func subscribeV0(info *mesos.FrameworkInfo, force *bool) *schedulerv0.Call {
	return &schedulerv0.Call{Type: schedulerv0.Call_SUBSCRIBE.Enum(), FrameworkId: info.Id, Subscribe: &schedulerv0.Call_Subscribe{FrameworkInfo: info, Force: force}}
}

// quiet says that no message of type T comes before the answer to a reconciliation.
func quiet[T proto.Message](d *v0driver, id *mesos.FrameworkID) {
	d.t.Helper()
	probe := fmt.Sprintf("probe-%d", time.Now().UnixNano())
	d.send(&schedulerv0.Call{Type: schedulerv0.Call_RECONCILE.Enum(), FrameworkId: id, Reconcile: &schedulerv0.Call_Reconcile{
		Tasks: []*schedulerv0.Call_Reconcile_Task{{TaskId: &mesos.TaskID{Value: &probe}}}}})
	deadline := time.After(20 * time.Second)
	for {
		select {
		case m := <-d.got:
			if got, bad := m.(T); bad {
				if up, update := any(got).(*messages.StatusUpdateMessage); !update || up.GetUpdate().GetStatus().GetTaskId().GetValue() != probe {
					d.t.Errorf("got %v", got)
				}
			}
			if up, ok := m.(*messages.StatusUpdateMessage); ok && up.GetUpdate().GetStatus().GetTaskId().GetValue() == probe {
				return
			}
		case <-deadline:
			d.t.Fatal("the probe was not answered in time")
		}
	}
}

// TestV0Calls: every type of mesos.scheduler.Call from a driver.
func TestV0Calls(t *testing.T) {
	m := startMaster(t, master.Config{})
	a := startAgent(t, m.addr)
	a.register()
	d := startDriver(t, m.addr)
	info := v0info(nil)
	d.send(subscribeV0(info, nil))
	id := await[*messages.FrameworkRegisteredMessage](d).GetFrameworkId()
	call := func(c *schedulerv0.Call) {
		t.Helper()
		c.FrameworkId = id
		d.send(c)
	}
	o := await[*messages.ResourceOffersMessage](d).GetOffers()[0]
	call(&schedulerv0.Call{Type: schedulerv0.Call_DECLINE.Enum(), Decline: &schedulerv0.Call_Decline{OfferIds: []*mesos.OfferID{o.Id}, Filters: &mesos.Filters{RefuseSeconds: proto.Float64(1000)}}})
	call(&schedulerv0.Call{Type: schedulerv0.Call_REQUEST.Enum(), Request: &schedulerv0.Call_Request{}})
	call(&schedulerv0.Call{Type: schedulerv0.Call_SUPPRESS.Enum()})
	call(&schedulerv0.Call{Type: schedulerv0.Call_REVIVE.Enum()})
	o = await[*messages.ResourceOffersMessage](d).GetOffers()[0]
	call(&schedulerv0.Call{Type: schedulerv0.Call_ACCEPT.Enum(), Accept: &schedulerv0.Call_Accept{OfferIds: []*mesos.OfferID{o.Id}, Filters: &mesos.Filters{RefuseSeconds: proto.Float64(0)},
		Operations: []*mesos.Offer_Operation{{Type: mesos.Offer_Operation_LAUNCH.Enum(), Launch: &mesos.Offer_Operation_Launch{TaskInfos: []*mesos.TaskInfo{taskFor(o, "one", "sleep")}}}}}})
	up := await[*messages.StatusUpdateMessage](d)
	if up.GetUpdate().GetStatus().GetState() != mesos.TaskState_TASK_RUNNING || up.GetPid() != a.pid.String() {
		t.Fatalf("update %v", up)
	}
	call(&schedulerv0.Call{Type: schedulerv0.Call_ACKNOWLEDGE.Enum(), Acknowledge: &schedulerv0.Call_Acknowledge{SlaveId: o.AgentId, TaskId: up.GetUpdate().GetStatus().TaskId, Uuid: up.GetUpdate().Uuid}})
	a.await("ack")
	call(&schedulerv0.Call{Type: schedulerv0.Call_MESSAGE.Enum(), Message: &schedulerv0.Call_Message{SlaveId: o.AgentId, ExecutorId: &mesos.ExecutorID{Value: proto.String("x")}, Data: []byte("hi")}})
	if got := string(await[*messages.ExecutorToFrameworkMessage](d).GetData()); got != "echo hi" {
		t.Errorf("message %q", got)
	}
	call(&schedulerv0.Call{Type: schedulerv0.Call_RECONCILE.Enum(), Reconcile: &schedulerv0.Call_Reconcile{}})
	if up := await[*messages.StatusUpdateMessage](d); up.GetUpdate().GetStatus().GetReason() != mesos.TaskStatus_REASON_RECONCILIATION || up.GetPid() != "@0.0.0.0:0" {
		t.Errorf("reconciliation %v", up)
	}
	call(&schedulerv0.Call{Type: schedulerv0.Call_SHUTDOWN.Enum(), Shutdown: &schedulerv0.Call_Shutdown{SlaveId: o.AgentId, ExecutorId: &mesos.ExecutorID{Value: proto.String("x")}}})
	a.await("shutdown executor")
	// Calls that mean nothing to a driver's framework are dropped; nothing breaks.
	for _, c := range []*schedulerv0.Call{
		{Type: schedulerv0.Call_ACCEPT_INVERSE_OFFERS.Enum(), AcceptInverseOffers: &schedulerv0.Call_AcceptInverseOffers{InverseOfferIds: []*mesos.OfferID{o.Id}}},
		{Type: schedulerv0.Call_DECLINE_INVERSE_OFFERS.Enum(), DeclineInverseOffers: &schedulerv0.Call_DeclineInverseOffers{InverseOfferIds: []*mesos.OfferID{o.Id}}},
		{Type: schedulerv0.Call_RECONCILE_OPERATIONS.Enum(), ReconcileOperations: &schedulerv0.Call_ReconcileOperations{}},
		{Type: schedulerv0.Call_ACKNOWLEDGE_OPERATION_STATUS.Enum(), AcknowledgeOperationStatus: &schedulerv0.Call_AcknowledgeOperationStatus{
			SlaveId: o.AgentId, Uuid: make([]byte, 16), OperationId: &mesos.OperationID{Value: proto.String("o")}}},
		{Type: schedulerv0.Call_UNKNOWN.Enum()}, {}, {Type: schedulerv0.Call_KILL.Enum()},
	} {
		call(c)
	}
	quiet[*messages.FrameworkErrorMessage](d, id)
	// A changed description is taken, one that may not change is an error (and only then).
	changed := v0info(func(i *mesos.FrameworkInfo) { i.Id, i.Name = id, proto.String("renamed") })
	call(&schedulerv0.Call{Type: schedulerv0.Call_UPDATE_FRAMEWORK.Enum(), UpdateFramework: &schedulerv0.Call_UpdateFramework{FrameworkInfo: changed}})
	a.await("update framework")
	quiet[*messages.FrameworkErrorMessage](d, id)
	changed.User = proto.String("nobody")
	call(&schedulerv0.Call{Type: schedulerv0.Call_UPDATE_FRAMEWORK.Enum(), UpdateFramework: &schedulerv0.Call_UpdateFramework{FrameworkInfo: changed}})
	if text := await[*messages.FrameworkErrorMessage](d).GetMessage(); !strings.Contains(text, "Updating 'FrameworkInfo.user' is unsupported") {
		t.Errorf("error %q", text)
	}
	call(&schedulerv0.Call{Type: schedulerv0.Call_KILL.Enum(), Kill: &schedulerv0.Call_Kill{TaskId: &mesos.TaskID{Value: proto.String("one")}}})
	up = await[*messages.StatusUpdateMessage](d)
	if up.GetUpdate().GetStatus().GetState() != mesos.TaskState_TASK_KILLED {
		t.Errorf("update %v", up)
	}
	call(&schedulerv0.Call{Type: schedulerv0.Call_TEARDOWN.Enum()})
	a.await("shutdown framework")
}

// TestV0Legacy: the messages of old drivers that TestLegacyDriver does not send.
func TestV0Legacy(t *testing.T) {
	m := startMaster(t, master.Config{})
	a := startAgent(t, m.addr)
	a.register()
	d := startDriver(t, m.addr)
	d.send(&messages.ReregisterFrameworkMessage{Framework: v0info(nil), Failover: proto.Bool(false)})
	if text := await[*messages.FrameworkErrorMessage](d).GetMessage(); text != "Re-registering without an 'id'" {
		t.Errorf("error %q", text)
	}
	d.send(&messages.RegisterFrameworkMessage{Framework: v0info(func(i *mesos.FrameworkInfo) { i.Id = &mesos.FrameworkID{Value: proto.String("x")} })})
	if text := await[*messages.FrameworkErrorMessage](d).GetMessage(); text != "Registering with 'id' already set" {
		t.Errorf("error %q", text)
	}
	d.send(&messages.RegisterFrameworkMessage{Framework: v0info(func(i *mesos.FrameworkInfo) { i.Role = proto.String("/bad") })})
	if text := await[*messages.FrameworkErrorMessage](d).GetMessage(); text != "'FrameworkInfo.role' is not a valid role: Role '/bad' cannot start with a slash" {
		t.Errorf("error %q", text)
	}
	d.send(&messages.RegisterFrameworkMessage{Framework: v0info(nil)})
	id := await[*messages.FrameworkRegisteredMessage](d).GetFrameworkId()
	o := await[*messages.ResourceOffersMessage](d).GetOffers()[0]
	// No tasks is a DECLINE; its filter ends with ReviveOffers.
	d.send(&messages.LaunchTasksMessage{FrameworkId: id, OfferIds: []*mesos.OfferID{o.Id}, Filters: &mesos.Filters{RefuseSeconds: proto.Float64(1000)}})
	d.send(&messages.ResourceRequestMessage{FrameworkId: id, Requests: []*mesos.Request{{}}})
	quiet[*messages.ResourceOffersMessage](d, id)
	d.send(&messages.ReviveOffersMessage{FrameworkId: id})
	offers := await[*messages.ResourceOffersMessage](d)
	if len(offers.GetOffers()) != len(offers.GetPids()) {
		t.Errorf("%d offers, %d pids", len(offers.GetOffers()), len(offers.GetPids()))
	}
	o = offers.GetOffers()[0]
	// An invalid offer loses the task.
	d.send(&messages.LaunchTasksMessage{FrameworkId: id, OfferIds: []*mesos.OfferID{{Value: proto.String("gone")}}, Filters: &mesos.Filters{}, Tasks: []*mesos.TaskInfo{taskFor(o, "one", "sleep")}})
	if st := await[*messages.StatusUpdateMessage](d).GetUpdate().GetStatus(); st.GetState() != mesos.TaskState_TASK_LOST || st.GetReason() != mesos.TaskStatus_REASON_INVALID_OFFERS {
		t.Errorf("status %v", st)
	}
	// Deactivated: offers are rescinded and none comes, but the driver stays connected.
	d.send(&messages.DeactivateFrameworkMessage{FrameworkId: id})
	if got := await[*messages.RescindResourceOfferMessage](d).GetOfferId().GetValue(); got != o.GetId().GetValue() {
		t.Errorf("rescinded %s", got)
	}
	quiet[*messages.ResourceOffersMessage](d, id)
	s, err := m.door.View(t.Context())
	if err != nil || !s.Frameworks[0].Connected || s.Frameworks[0].Active {
		t.Errorf("framework %+v, %v", s.Frameworks[0], err)
	}
	again := v0info(func(i *mesos.FrameworkInfo) { i.Id = id })
	d.send(&messages.ReregisterFrameworkMessage{Framework: again, Failover: proto.Bool(false)})
	await[*messages.FrameworkReregisteredMessage](d)
	await[*messages.ResourceOffersMessage](d)
	// Of a stranger nothing is taken.
	e := startDriver(t, m.addr)
	e.send(&messages.UnregisterFrameworkMessage{FrameworkId: id})
	e.send(&messages.DeactivateFrameworkMessage{FrameworkId: id})
	e.send(&schedulerv0.Call{Type: schedulerv0.Call_TEARDOWN.Enum(), FrameworkId: id})
	e.send(&messages.RegisterFrameworkMessage{Framework: v0info(nil)}) // answered after them
	await[*messages.FrameworkRegisteredMessage](e)
	if s, err := m.door.View(t.Context()); err != nil || len(s.Frameworks) != 2 || !s.Frameworks[0].Active {
		t.Errorf("frameworks %+v, %v", s.Frameworks, err)
	}
	a.leave()
	if got := await[*messages.LostSlaveMessage](d).GetSlaveId().GetValue(); got != a.id.GetValue() {
		t.Errorf("lost %s", got)
	}
	await[*messages.LostSlaveMessage](e)
}

// TestV0LinkLoss: the master notices that a driver is gone by its link, keeps the framework
// for its failover_timeout, and takes the next run; an old run is told that it is over.
func TestV0LinkLoss(t *testing.T) {
	m := startMaster(t, master.Config{})
	a := startAgent(t, m.addr)
	a.register()
	d := startDriver(t, m.addr)
	d.send(subscribeV0(v0info(nil), nil))
	id := await[*messages.FrameworkRegisteredMessage](d).GetFrameworkId()
	o := await[*messages.ResourceOffersMessage](d).GetOffers()[0]
	d.send(&messages.LaunchTasksMessage{FrameworkId: id, OfferIds: []*mesos.OfferID{o.Id}, Filters: &mesos.Filters{}, Tasks: []*mesos.TaskInfo{taskFor(o, "one", "sleep")}})
	await[*messages.StatusUpdateMessage](d)
	d.stop()
	eventually(t, "the framework is disconnected", func() bool {
		s, err := m.door.View(t.Context())
		return err == nil && len(s.Frameworks) == 1 && !s.Frameworks[0].Connected && len(s.Frameworks[0].Tasks) == 1
	})
	info := v0info(func(i *mesos.FrameworkInfo) { i.Id = id })
	e := startDriver(t, m.addr)
	e.send(subscribeV0(info, proto.Bool(false))) // as a run does that was registered before
	if text := await[*messages.FrameworkErrorMessage](e).GetMessage(); text != "Framework failed over" {
		t.Errorf("error %q", text)
	}
	e.send(subscribeV0(info, proto.Bool(true)))
	if got := await[*messages.FrameworkRegisteredMessage](e).GetFrameworkId().GetValue(); got != id.GetValue() {
		t.Errorf("framework %s", got)
	}
	a.await("update framework")
	a.resend()
	if up := await[*messages.StatusUpdateMessage](e); up.GetUpdate().GetStatus().GetTaskId().GetValue() != "one" {
		t.Errorf("update %v", up)
	}
	// Now over HTTP, and back to a driver: one or the other at a time.
	f := m.subscribe(fmt.Sprintf(subscribeJSON, fmt.Sprintf(`,"id":{"value":%q}`, id.GetValue()), `,"framework_id":{"value":"`+id.GetValue()+`"}`))
	f.next(scheduler.Event_SUBSCRIBED)
	if text := await[*messages.FrameworkErrorMessage](e).GetMessage(); text != "Framework failed over" {
		t.Errorf("error %q", text)
	}
	e.send(&schedulerv0.Call{Type: schedulerv0.Call_TEARDOWN.Enum(), FrameworkId: id}) // not its framework any more
	g := startDriver(t, m.addr)
	g.send(subscribeV0(info, proto.Bool(true)))
	await[*messages.FrameworkRegisteredMessage](g)
	if text := f.next(scheduler.Event_ERROR).GetError().GetMessage(); text != "Framework failed over" {
		t.Errorf("ERROR %q", text)
	}
	f.ended()
	if code, text := f.call(`{"type":"REVIVE"}`); code != 403 {
		t.Errorf("the old stream: %d %s", code, text)
	}
	g.send(&schedulerv0.Call{Type: schedulerv0.Call_TEARDOWN.Enum(), FrameworkId: id})
	a.await("shutdown framework")
}
