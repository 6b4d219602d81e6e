package lab_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/lab"
	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
)

// framework is a v1 scheduler in one codec. It acknowledges every task status itself.
type framework struct {
	t      *testing.T
	url    string // of the master
	codec  wire.Codec
	info   *mesos.FrameworkInfo
	stream string
	events chan *scheduler.Event
	passed []*scheduler.Event // OFFERS that came while something else was waited for
}

// subscribe opens the stream, also again after its master died, and waits for SUBSCRIBED.
func (f *framework) subscribe() {
	f.t.Helper()
	f.passed = nil // void with the old connection
	call := &scheduler.Call{Type: scheduler.Call_SUBSCRIBE.Enum(), FrameworkId: f.info.Id, Subscribe: &scheduler.Call_Subscribe{FrameworkInfo: f.info}}
	var resp *http.Response
	lab.Eventually(f.t, 60*time.Second, "the framework subscribes", func() error {
		body, err := f.codec.Marshal(call)
		if err != nil {
			return err
		}
		req, err := http.NewRequest(http.MethodPost, f.url+"/api/v1/scheduler", bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", f.codec.MediaType)
		req.Header.Set("Accept", f.codec.MediaType)
		if resp, err = (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req); err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK {
			text, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			return fmt.Errorf("%s: %s", resp.Status, text)
		}
		return nil
	})
	f.stream = resp.Header.Get("Mesos-Stream-Id")
	f.events = make(chan *scheduler.Event, 10000)
	f.t.Cleanup(func() { resp.Body.Close() })
	go func(events chan<- *scheduler.Event) {
		defer close(events)
		records := wire.NewReader(resp.Body, 4<<20)
		for {
			data, err := records.ReadRecord()
			if err != nil {
				return
			}
			e := &scheduler.Event{}
			if err := f.codec.Unmarshal(data, e); err != nil {
				f.t.Errorf("event: %v", err)
				return
			}
			events <- e
		}
	}(f.events)
	f.info.Id = f.next(func(e *scheduler.Event) bool { return e.GetType() == scheduler.Event_SUBSCRIBED }).GetSubscribed().GetFrameworkId()
}

// next waits for an event. Of those before it offers are kept for offer, others dropped.
func (f *framework) next(wanted func(*scheduler.Event) bool) *scheduler.Event {
	f.t.Helper()
	deadline := time.After(60 * time.Second)
	for {
		select {
		case e, open := <-f.events:
			if !open {
				f.t.Fatal("the stream ended")
			}
			if s := e.GetUpdate().GetStatus(); len(s.GetUuid()) > 0 {
				f.call(&scheduler.Call{Type: scheduler.Call_ACKNOWLEDGE.Enum(), Acknowledge: &scheduler.Call_Acknowledge{
					AgentId: s.AgentId, TaskId: s.TaskId, Uuid: s.Uuid}})
			}
			if wanted(e) {
				return e
			}
			switch e.GetType() {
			case scheduler.Event_OFFERS:
				f.passed = append(f.passed, e)
			case scheduler.Event_RESCIND:
				for _, p := range f.passed {
					p.Offers.Offers = slices.DeleteFunc(p.Offers.Offers, func(o *mesos.Offer) bool {
						return o.GetId().GetValue() == e.GetRescind().GetOfferId().GetValue()
					})
				}
			}
		case <-deadline:
			f.t.Fatal("the event did not come in time")
		}
	}
}

func (f *framework) state(id string, s mesos.TaskState) {
	f.t.Helper()
	f.next(func(e *scheduler.Event) bool {
		u := e.GetUpdate().GetStatus()
		return u.GetTaskId().GetValue() == id && u.GetState() == s
	})
}

func (f *framework) call(c *scheduler.Call) {
	f.t.Helper()
	c.FrameworkId = f.info.Id
	body, err := f.codec.Marshal(c)
	if err != nil {
		f.t.Fatal(err)
	}
	got, err := lab.Request(http.MethodPost, f.url+"/api/v1/scheduler", body, "Content-Type", f.codec.MediaType, "Mesos-Stream-Id", f.stream)
	if err != nil || got.Status != http.StatusAccepted {
		f.t.Fatalf("%s: %v %d %s", c.GetType(), err, got.Status, got.Body)
	}
}

var noFilter = &mesos.Filters{RefuseSeconds: proto.Float64(0)}

// offer declines offers until one suits.
func (f *framework) offer(suits func(resource.Resources) bool) *mesos.Offer {
	f.t.Helper()
	for range 100 {
		var e *scheduler.Event
		if len(f.passed) > 0 {
			e, f.passed = f.passed[0], f.passed[1:]
		} else {
			e = f.next(func(e *scheduler.Event) bool { return e.GetType() == scheduler.Event_OFFERS })
		}
		for _, o := range e.GetOffers().GetOffers() {
			if suits(resource.Of(o.GetResources()...).Unallocate()) {
				return o
			}
			f.call(&scheduler.Call{Type: scheduler.Call_DECLINE.Enum(), Decline: &scheduler.Call_Decline{OfferIds: []*mesos.OfferID{o.Id}, Filters: noFilter}})
		}
	}
	f.t.Fatal("no offer suits")
	return nil
}

func (f *framework) accept(o *mesos.Offer, ops ...*mesos.Offer_Operation) {
	f.t.Helper()
	f.call(&scheduler.Call{Type: scheduler.Call_ACCEPT.Enum(), Accept: &scheduler.Call_Accept{OfferIds: []*mesos.OfferID{o.Id}, Operations: ops, Filters: noFilter}})
}

func parse(t *testing.T, text string) resource.Resources {
	t.Helper()
	r, err := resource.Parse(text, "*")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// reserved is the sum with a dynamic reservation of the test's role.
func reserved(r resource.Resources) resource.Resources {
	out := resource.Resources{}
	for _, each := range r {
		each = proto.Clone(each).(*mesos.Resource)
		each.Role = nil
		each.Reservations = []*mesos.Resource_ReservationInfo{{Type: mesos.Resource_ReservationInfo_DYNAMIC.Enum(), Role: proto.String("eng"), Principal: proto.String("p")}}
		out = append(out, each)
	}
	return out
}

// A framework reserves, makes a volume, runs a task on it, and takes all of it down
// again, with the master killed in between: the reservations are known again from the
// agents, also from those that only keep a list of them.
func TestReservationsOutliveTheMaster(t *testing.T) {
	for _, codec := range []wire.Codec{wire.JSON, wire.Protobuf} {
		for _, agents := range []string{"new", "old"} {
			t.Run(codec.MediaType[strings.Index(codec.MediaType, "/")+1:]+" "+agents, func(t *testing.T) {
				t.Parallel()
				reservationsOutliveTheMaster(t, codec, agents == "new")
			})
		}
	}
}

func reservationsOutliveTheMaster(t *testing.T, codec wire.Codec, feedback bool) {
	const all = "cpus:4;mem:1024;disk:1000"
	flags := []string{"--resources", all}
	if !feedback {
		flags = append(flags, "--capabilities", "MULTI_ROLE,HIERARCHICAL_ROLE,RESERVATION_REFINEMENT")
	}
	master, _, _ := simMaster(t, 1, flags...)
	f := &framework{t: t, url: master.URL, codec: codec, info: &mesos.FrameworkInfo{User: proto.String("u"), Name: proto.String("f"),
		Principal: proto.String("p"), Roles: []string{"eng"}, Checkpoint: proto.Bool(true), FailoverTimeout: proto.Float64(3600)}}
	for _, c := range []mesos.FrameworkInfo_Capability_Type{mesos.FrameworkInfo_Capability_MULTI_ROLE, mesos.FrameworkInfo_Capability_RESERVATION_REFINEMENT} {
		f.info.Capabilities = append(f.info.Capabilities, &mesos.FrameworkInfo_Capability{Type: c.Enum()})
	}
	f.subscribe()
	total := parse(t, all)
	offer := f.offer(func(r resource.Resources) bool { return r.Equal(total) })

	kept := reserved(parse(t, "cpus:1;disk:100"))
	volume := reserved(parse(t, "disk:100"))[0]
	volume.Disk = &mesos.Resource_DiskInfo{Persistence: &mesos.Resource_DiskInfo_Persistence{Id: proto.String("v"), Principal: proto.String("p")},
		Volume: &mesos.Volume{ContainerPath: proto.String("v"), Mode: mesos.Volume_RW.Enum()}}
	reserve := &mesos.Offer_Operation{Type: mesos.Offer_Operation_RESERVE.Enum(), Reserve: &mesos.Offer_Operation_Reserve{Resources: kept}}
	if feedback {
		reserve.Id = &mesos.OperationID{Value: proto.String("o1")}
	}
	f.accept(offer, reserve,
		&mesos.Offer_Operation{Type: mesos.Offer_Operation_CREATE.Enum(), Create: &mesos.Offer_Operation_Create{Volumes: resource.Resources{volume}}},
		&mesos.Offer_Operation{Type: mesos.Offer_Operation_LAUNCH.Enum(), Launch: &mesos.Offer_Operation_Launch{TaskInfos: []*mesos.TaskInfo{{
			Name: proto.String("db"), TaskId: &mesos.TaskID{Value: proto.String("db")}, AgentId: offer.AgentId,
			Command: &mesos.CommandInfo{Value: proto.String("sleep 1000")}, Resources: append(parse(t, "mem:24"), volume)}}}})
	if feedback {
		s := f.next(func(e *scheduler.Event) bool { return e.GetType() == scheduler.Event_UPDATE_OPERATION_STATUS }).GetUpdateOperationStatus().GetStatus()
		if s.GetOperationId().GetValue() != "o1" || s.GetState() != mesos.OperationState_OPERATION_FINISHED || s.GetUuid() == nil {
			t.Fatalf("operation: %v", s)
		}
		f.call(&scheduler.Call{Type: scheduler.Call_ACKNOWLEDGE_OPERATION_STATUS.Enum(), AcknowledgeOperationStatus: &scheduler.Call_AcknowledgeOperationStatus{
			AgentId: s.AgentId, Uuid: s.GetUuid().GetValue(), OperationId: s.OperationId}})
	}
	f.offer(func(r resource.Resources) bool { return r.Contains(reserved(parse(t, "cpus:1"))) })
	f.call(&scheduler.Call{Type: scheduler.Call_RECONCILE.Enum(), Reconcile: &scheduler.Call_Reconcile{}})
	f.state("db", mesos.TaskState_TASK_RUNNING)
	lab.Eventually(t, 20*time.Second, "no operation is open", func() error { return openOperations(master.URL, 0) })

	master.Kill(t)
	master.Restart()
	f.subscribe()
	back := f.offer(func(r resource.Resources) bool { return r.Contains(reserved(parse(t, "cpus:1"))) })
	if r := resource.Of(back.GetResources()...).Unallocate(); !r.Equal(parse(t, "cpus:3;mem:1000;disk:900").Add(reserved(parse(t, "cpus:1")))) {
		t.Errorf("offered after the failover: %s", r)
	}
	// The volume is in use: it is neither offered nor destroyed.
	destroy := &mesos.Offer_Operation{Type: mesos.Offer_Operation_DESTROY.Enum(), Destroy: &mesos.Offer_Operation_Destroy{Volumes: resource.Resources{volume}}}
	f.accept(back, destroy)
	f.call(&scheduler.Call{Type: scheduler.Call_RECONCILE.Enum(), Reconcile: &scheduler.Call_Reconcile{}})
	f.state("db", mesos.TaskState_TASK_RUNNING)
	f.call(&scheduler.Call{Type: scheduler.Call_KILL.Enum(), Kill: &scheduler.Call_Kill{TaskId: &mesos.TaskID{Value: proto.String("db")}}})
	f.state("db", mesos.TaskState_TASK_KILLED)

	free := f.offer(func(r resource.Resources) bool { return r.Contains(resource.Resources{volume}) })
	f.accept(free, destroy, &mesos.Offer_Operation{Type: mesos.Offer_Operation_UNRESERVE.Enum(), Unreserve: &mesos.Offer_Operation_Unreserve{Resources: kept}})
	f.offer(func(r resource.Resources) bool { return r.Equal(total) })
	lab.Eventually(t, 20*time.Second, "no operation is open", func() error { return openOperations(master.URL, 0) })
	f.call(&scheduler.Call{Type: scheduler.Call_TEARDOWN.Enum()})
}

// openOperations wants so many operations that agents have not finished.
func openOperations(url string, want int) error {
	got, err := lab.Request(http.MethodPost, url+"/api/v1", []byte(`{"type":"GET_OPERATIONS"}`), "Content-Type", "application/json")
	if err != nil {
		return err
	}
	m := &masterapi.Response{}
	if err := wire.UnmarshalJSON(got.Body, m); err != nil {
		return err
	}
	if n := len(m.GetGetOperations().GetOperations()); n != want {
		return fmt.Errorf("%d operations: %s", n, got.Body)
	}
	return nil
}

// An operator reserves and makes volumes by form and by call, takes them back, and is
// told when it cannot be.
func TestOperatorReserves(t *testing.T) {
	master, _, _ := simMaster(t, 1, "--resources", "cpus:4;disk:1000")
	id := lab.ReadMasterState(t, master.URL).Slaves[0].ID
	const cpus = `[{"name":"cpus","type":"SCALAR","scalar":{"value":3},"role":"eng","reservation":{"principal":"p"}}]`
	const disk = `[{"name":"disk","type":"SCALAR","scalar":{"value":100},"role":"eng","reservation":{"principal":"p"}}]`
	const volume = `[{"name":"disk","type":"SCALAR","scalar":{"value":100},"role":"eng","reservation":{"principal":"p"},"disk":{"persistence":{"id":"v"},"volume":{"container_path":"v","mode":"RW"}}}]`
	for _, step := range []struct {
		path, body string
		code       int
	}{
		{"/master/reserve", "slaveId=" + id + "&resources=" + cpus, 202},
		{"/reserve", "slaveId=" + id + "&resources=" + cpus, 409},
		{"/reserve", "slaveId=" + id + "&resources=" + disk, 202},
		{"/create-volumes", "slaveId=" + id + "&volumes=" + volume, 202},
		{"/create-volumes", "slaveId=" + id + "&volumes=" + volume, 400},
		{"/unreserve", "slaveId=" + id + "&resources=" + volume, 400},
		{"/destroy-volumes", "slaveId=" + id + "&volumes=" + volume, 202},
		{"/unreserve", "slaveId=" + id + "&resources=" + disk, 202},
		{"/api/v1", `{"type":"UNRESERVE_RESOURCES","unreserve_resources":{"agent_id":{"value":"` + id + `"},"resources":` + cpus + `}}`, 202},
		{"/api/v1", `{"type":"UNRESERVE_RESOURCES","unreserve_resources":{"agent_id":{"value":"` + id + `"},"resources":` + cpus + `}}`, 409},
		{"/reserve", "slaveId=nope&resources=" + cpus, 400},
	} {
		got, err := lab.Request(http.MethodPost, master.URL+step.path, []byte(step.body), "Content-Type", "application/json")
		if err != nil || got.Status != step.code {
			t.Errorf("%s %s: %v %d %s", step.path, step.body, err, got.Status, got.Body)
		}
	}
	lab.Eventually(t, 20*time.Second, "no operation is open", func() error { return openOperations(master.URL, 0) })
}
