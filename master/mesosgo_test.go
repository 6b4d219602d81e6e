package master_test

import (
	"context"
	"testing"
	"time"

	mesosgo "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/encoding/codecs"
	"github.com/mesos/mesos-go/api/v1/lib/httpcli"
	"github.com/mesos/mesos-go/api/v1/lib/httpcli/httpsched"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler/calls"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler/events"

	"github.com/stoa-project/stoa/master"
)

// TestMesosGo drives the master with the client library that most Go frameworks use, in
// both codecs: subscribe, launch, acknowledge, update the framework, tear down.
func TestMesosGo(t *testing.T) {
	for _, codec := range codecs.ByMediaType {
		t.Run(codec.Name, func(t *testing.T) {
			m := startMaster(t, master.Config{})
			a := startAgent(t, m.addr)
			a.register()
			runMesosGo(t, a, httpsched.NewCaller(httpcli.New(
				httpcli.Endpoint("http://"+m.addr+"/api/v1/scheduler"),
				httpcli.Codec(codec),
			)))
		})
	}
}

func runMesosGo(t *testing.T, a *simAgent, caller calls.Caller) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	timeout, checkpoint := 60.0, true
	info := &mesosgo.FrameworkInfo{User: "root", Name: "mesos-go", FailoverTimeout: &timeout, Checkpoint: &checkpoint,
		Roles: []string{"web/front"}, Capabilities: []mesosgo.FrameworkInfo_Capability{{Type: mesosgo.FrameworkInfo_Capability_MULTI_ROLE},
			{Type: mesosgo.FrameworkInfo_Capability_RESERVATION_REFINEMENT}, {Type: mesosgo.FrameworkInfo_Capability_PARTITION_AWARE}}}
	resp, err := caller.Call(ctx, calls.Subscribe(info))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Close()
	var id string
	launched, done := false, false
	handler := events.HandlerFunc(func(_ context.Context, e *scheduler.Event) error {
		switch e.GetType() {
		case scheduler.Event_SUBSCRIBED:
			id = e.GetSubscribed().GetFrameworkID().Value
			info.ID = &mesosgo.FrameworkID{Value: id}
		case scheduler.Event_OFFERS:
			offer := e.GetOffers().Offers[0]
			if offer.AllocationInfo.GetRole() != "web/front" || offer.URL == nil || offer.URL.Path == nil || *offer.URL.Path != "/slave(1)" {
				t.Errorf("offer %+v", offer)
			}
			if launched {
				return calls.CallNoData(ctx, caller, with(id, calls.Decline(offer.ID)))
			}
			launched = true
			task := mesosgo.TaskInfo{Name: "t", TaskID: mesosgo.TaskID{Value: "t"}, AgentID: offer.AgentID,
				Command: &mesosgo.CommandInfo{Value: ptr("finish")}}
			for _, r := range offer.Resources {
				if r.Name == "cpus" || r.Name == "mem" {
					task.Resources = append(task.Resources, r)
				}
			}
			return calls.CallNoData(ctx, caller, with(id, calls.Accept(calls.OfferOperations{calls.OpLaunch(task)}.WithOffers(offer.ID))))
		case scheduler.Event_UPDATE:
			st := e.GetUpdate().Status
			if st.GetState() != mesosgo.TASK_FINISHED {
				t.Errorf("status %v", st)
			}
			done = true
			return calls.CallNoData(ctx, caller, with(id, calls.Acknowledge(st.AgentID.Value, st.TaskID.Value, st.UUID)))
		case scheduler.Event_ERROR:
			t.Errorf("ERROR %s", e.GetError().Message)
		}
		return nil
	})
	for !done {
		var e scheduler.Event
		if err := resp.Decode(&e); err != nil {
			t.Fatal(err)
		}
		if err := handler(ctx, &e); err != nil {
			t.Fatalf("%s: %v", e.GetType(), err)
		}
	}
	a.await("ack")
	info.Name = "renamed"
	update := &scheduler.Call{Type: scheduler.Call_UPDATE_FRAMEWORK, UpdateFramework: &scheduler.Call_UpdateFramework{FrameworkInfo: *info}}
	if err := calls.CallNoData(ctx, caller, with(id, update)); err != nil {
		t.Errorf("UPDATE_FRAMEWORK: %v", err)
	}
	if err := calls.CallNoData(ctx, caller, with(id, &scheduler.Call{Type: scheduler.Call_TEARDOWN})); err != nil {
		t.Errorf("TEARDOWN: %v", err)
	}
	a.await("shutdown framework")
}

func with(id string, c *scheduler.Call) *scheduler.Call {
	c.FrameworkID = &mesosgo.FrameworkID{Value: id}
	return c
}

func ptr[T any](v T) *T { return &v }
