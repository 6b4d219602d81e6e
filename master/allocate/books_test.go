package allocate_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
	"github.com/stoa-project/stoa/master/allocate"
	"github.com/stoa-project/stoa/master/ledger"
)

// couple is the ledger and the allocator as the master runs them, in virtual time.
type couple struct {
	t        *rapid.T
	now      time.Time
	book     *ledger.Ledger
	al       *allocate.Allocator
	granting bool // a Grants event is being taken
	next     int  // for names
	conns    map[ledger.FrameworkID]ledger.Conn
	gone     []ledger.FrameworkID // disconnected
	before   *ledger.Snapshot     // of the term before; nil: none
}

func (c *couple) step(e ledger.Event) {
	var done []ledger.Ticket
	_, c.granting = e.(ledger.Grants)
	for _, effect := range c.book.Step(c.now, e) {
		c.al.Apply(c.now, effect)
		switch e := effect.(type) {
		case ledger.Registry:
			done = append(done, e.Ticket)
		case ledger.Released:
			if c.granting {
				c.t.Fatalf("the ledger refuses a grant: %+v", e)
			}
		case ledger.ToFramework:
			if s := e.Event.GetSubscribed(); s != nil {
				c.conns[ledger.FrameworkID(s.GetFrameworkId().GetValue())] = e.To
			}
		}
	}
	if len(done) > 0 {
		c.step(ledger.RegistryDone{Tickets: done})
	}
}

func pid(n int) ledger.PID { return ledger.PID(fmt.Sprintf("slave(1)@10.0.0.%d:5051", n)) }

func (c *couple) capabilities() []*mesos.AgentInfo_Capability {
	return []*mesos.AgentInfo_Capability{{Type: mesos.AgentInfo_Capability_MULTI_ROLE.Enum()}, {Type: mesos.AgentInfo_Capability_HIERARCHICAL_ROLE.Enum()},
		{Type: mesos.AgentInfo_Capability_RESERVATION_REFINEMENT.Enum()}}
}

// agent brings one up, back, or down.
func (c *couple) agent() {
	n := rapid.IntRange(1, 4).Draw(c.t, "agent")
	snapshot := c.book.Snapshot()
	var view *ledger.AgentView
	for _, a := range snapshot.Agents {
		if a.PID == pid(n) {
			view = a
		}
	}
	host := fmt.Sprintf("h%d", n)
	if view == nil && c.before != nil { // it has not heard of the new master yet
		i := slices.IndexFunc(c.before.Agents, func(a *ledger.AgentView) bool { return a.PID == pid(n) })
		if i >= 0 {
			view, snapshot = c.before.Agents[i], c.before
			c.before.Agents = slices.Delete(slices.Clone(c.before.Agents), i, i+1)
			down := *view
			down.Connected = false
			view = &down
		}
	}
	switch {
	case view == nil:
		c.step(ledger.AgentMessage{From: pid(n), Message: &messages.RegisterSlaveMessage{Version: proto.String("1.11.0"), AgentCapabilities: c.capabilities(),
			Slave: &messages.SlaveInfo{Hostname: &host, Port: proto.Int32(5051), Resources: parse(c.t, "cpus:8;mem:1000;disk:1000;ports:[1-99];cpus(a):2")}}})
	case view.Connected:
		if rapid.Bool().Draw(c.t, "leaves") {
			c.step(ledger.AgentMessage{From: pid(n), Message: &messages.UnregisterSlaveMessage{SlaveId: view.Info.GetId()}})
		} else {
			c.step(ledger.AgentExited{PID: pid(n)})
		}
	default:
		m := &messages.ReregisterSlaveMessage{Version: proto.String("1.11.0"), AgentCapabilities: c.capabilities(),
			Slave:                 &messages.SlaveInfo{Hostname: &host, Port: proto.Int32(5051), Id: view.Info.GetId(), Resources: parse(c.t, "cpus:8;mem:1000;disk:1000;ports:[1-99];cpus(a):2")},
			CheckpointedResources: view.Total.Filter(resource.IsDynamic)}
		for _, f := range snapshot.Frameworks {
			for _, task := range f.Tasks {
				// Some were lost on the way to the agent.
				if task.GetAgentId().GetValue() == string(view.ID) && !ledger.Terminal(task.GetState()) && rapid.IntRange(0, 4).Draw(c.t, "lost") > 0 {
					m.Tasks = append(m.Tasks, task)
				}
			}
			m.Frameworks = append(m.Frameworks, f.Info)
		}
		c.step(ledger.AgentMessage{From: pid(n), Message: m})
	}
}

// failover starts a new term that knows what the registry held.
func (c *couple) failover() {
	c.before = c.book.Snapshot()
	e := ledger.Recovered{}
	for _, a := range c.before.Agents {
		e.Admitted = append(e.Admitted, ledger.Admission{Info: a.Info, PID: a.PID})
	}
	c.gone = append(c.gone, slices.Sorted(maps.Keys(c.conns))...)
	clear(c.conns)
	c.term()
	c.step(e)
}

// term makes both anew.
func (c *couple) term() {
	c.next++
	c.al = allocate.New(allocate.Config{Seed: rapid.Uint64().Draw(c.t, "seed")})
	c.book = ledger.New(ledger.Config{Master: &mesos.MasterInfo{Id: proto.String(fmt.Sprintf("M%d", c.next)), Ip: proto.Uint32(1), Port: proto.Uint32(5050)}})
}

func (c *couple) subscribe() {
	c.next++
	id := ""
	if len(c.gone) > 0 && rapid.Bool().Draw(c.t, "returns") {
		id = string(c.gone[0])
		c.gone = c.gone[1:]
	}
	roles := rapid.SampledFrom([]string{`"a"`, `"a/b","c"`, `"*"`, `"c","a"`}).Draw(c.t, "roles")
	body := fmt.Sprintf(`{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"u","name":"f","checkpoint":true,"failover_timeout":30,"roles":[%s],
		"capabilities":[{"type":"MULTI_ROLE"},{"type":"RESERVATION_REFINEMENT"},{"type":"PARTITION_AWARE"},{"type":"SHARED_RESOURCES"}]}}}`, roles)
	call := &scheduler.Call{}
	if err := wire.UnmarshalJSON([]byte(body), call); err != nil {
		c.t.Fatal(err)
	}
	if id != "" {
		call.FrameworkId = &mesos.FrameworkID{Value: &id}
		call.Subscribe.FrameworkInfo.Id = call.FrameworkId
	}
	c.step(ledger.Call{From: ledger.Conn{Stream: fmt.Sprintf("s%d", c.next)}, Call: call})
}

// framework picks a connected one, in a fixed order.
func (c *couple) framework() (ledger.FrameworkID, bool) {
	ids := slices.Sorted(maps.Keys(c.conns))
	if len(ids) == 0 {
		return "", false
	}
	return rapid.SampledFrom(ids).Draw(c.t, "framework"), true
}

func (c *couple) view(id ledger.FrameworkID) *ledger.FrameworkView {
	for _, f := range c.book.Snapshot().Frameworks {
		if f.ID == id {
			return f
		}
	}
	return nil
}

// answer accepts or declines an offer.
func (c *couple) answer() {
	id, any := c.framework()
	if !any {
		return
	}
	f := c.view(id)
	if f == nil || len(f.Offers) == 0 {
		return
	}
	o := f.Offers[rapid.IntRange(0, len(f.Offers)-1).Draw(c.t, "offer")]
	call := &scheduler.Call{Type: scheduler.Call_ACCEPT.Enum(), FrameworkId: f.Info.GetId(), Accept: &scheduler.Call_Accept{
		OfferIds: []*mesos.OfferID{o.GetId()}, Filters: &mesos.Filters{RefuseSeconds: proto.Float64(float64(rapid.IntRange(0, 3).Draw(c.t, "refuse")))}}}
	role := o.GetAllocationInfo().GetRole()
	part := func(r *mesos.Resource) resource.Resources {
		out := proto.CloneOf(r)
		out.Scalar = (resource.FromFloat(r.GetScalar().GetValue()) / 2).Scalar()
		return resource.Resources{out}
	}
	for _, r := range o.GetResources() {
		if r.GetType() != mesos.Value_SCALAR {
			continue
		}
		if resource.IsVolume(r) {
			if rapid.Bool().Draw(c.t, "destroy") {
				call.Accept.Operations = append(call.Accept.Operations, &mesos.Offer_Operation{Type: mesos.Offer_Operation_DESTROY.Enum(),
					Destroy: &mesos.Offer_Operation_Destroy{Volumes: []*mesos.Resource{r}}})
			} else {
				c.launch(call, o, resource.Resources{r, resource.Scalar("cpus", 100)})
			}
			continue
		}
		switch rapid.IntRange(0, 3).Draw(c.t, "operation") {
		case 0:
			c.launch(call, o, part(r))
		case 1:
			if reserved := proto.CloneOf(part(r)[0]); role != "*" && len(r.Reservations) == 0 {
				reserved.Reservations = []*mesos.Resource_ReservationInfo{{Type: mesos.Resource_ReservationInfo_DYNAMIC.Enum(), Role: &role}}
				call.Accept.Operations = append(call.Accept.Operations, &mesos.Offer_Operation{Type: mesos.Offer_Operation_RESERVE.Enum(),
					Reserve: &mesos.Offer_Operation_Reserve{Resources: []*mesos.Resource{reserved}}})
			}
		case 2:
			if resource.IsDynamic(r) {
				call.Accept.Operations = append(call.Accept.Operations, &mesos.Offer_Operation{Type: mesos.Offer_Operation_UNRESERVE.Enum(),
					Unreserve: &mesos.Offer_Operation_Unreserve{Resources: part(r)}})
			}
		case 3:
			if resource.IsDynamic(r) && r.GetName() == "disk" {
				c.next++
				volume := part(r)[0]
				volume.Disk = &mesos.Resource_DiskInfo{Persistence: &mesos.Resource_DiskInfo_Persistence{Id: proto.String(fmt.Sprintf("v%d", c.next))},
					Volume: &mesos.Volume{ContainerPath: proto.String("p"), Mode: mesos.Volume_RW.Enum()}}
				if rapid.Bool().Draw(c.t, "shared") {
					volume.Shared = &mesos.Resource_SharedInfo{}
				}
				call.Accept.Operations = append(call.Accept.Operations, &mesos.Offer_Operation{Type: mesos.Offer_Operation_CREATE.Enum(),
					Create: &mesos.Offer_Operation_Create{Volumes: []*mesos.Resource{volume}}})
			}
		}
	}
	c.step(ledger.Call{From: c.conns[id], Call: call, Ticket: 1})
}

// launch adds a task to an ACCEPT.
func (c *couple) launch(call *scheduler.Call, o *mesos.Offer, r resource.Resources) {
	c.next++
	call.Accept.Operations = append(call.Accept.Operations, &mesos.Offer_Operation{Type: mesos.Offer_Operation_LAUNCH.Enum(), Launch: &mesos.Offer_Operation_Launch{
		TaskInfos: []*mesos.TaskInfo{{Name: proto.String("t"), TaskId: &mesos.TaskID{Value: proto.String(fmt.Sprintf("t%d", c.next))}, AgentId: o.GetAgentId(),
			Command: &mesos.CommandInfo{Value: proto.String("x")}, Resources: r}}}})
}

// finish ends a task.
func (c *couple) finish() {
	id, any := c.framework()
	f := c.view(id)
	if !any || f == nil || len(f.Tasks) == 0 {
		return
	}
	task := f.Tasks[rapid.IntRange(0, len(f.Tasks)-1).Draw(c.t, "task")]
	for _, a := range c.book.Snapshot().Agents {
		if string(a.ID) == task.GetAgentId().GetValue() && a.Connected {
			c.next++
			state := rapid.SampledFrom([]mesos.TaskState{mesos.TaskState_TASK_RUNNING, mesos.TaskState_TASK_FINISHED}).Draw(c.t, "state")
			uuid := make([]byte, 16)
			uuid[0], uuid[1] = byte(c.next), byte(c.next>>8)
			c.step(ledger.AgentMessage{From: a.PID, Message: &messages.StatusUpdateMessage{Pid: proto.String(string(a.PID)), Update: &messages.StatusUpdate{
				FrameworkId: f.Info.GetId(), SlaveId: task.GetAgentId(), Timestamp: proto.Float64(1), Uuid: uuid, LatestState: &state,
				Status: &mesos.TaskStatus{TaskId: task.GetTaskId(), State: &state}}}})
			if state == mesos.TaskState_TASK_FINISHED {
				c.step(ledger.Call{From: c.conns[id], Ticket: 1, Call: &scheduler.Call{Type: scheduler.Call_ACKNOWLEDGE.Enum(), FrameworkId: f.Info.GetId(),
					Acknowledge: &scheduler.Call_Acknowledge{AgentId: task.GetAgentId(), TaskId: task.GetTaskId(), Uuid: uuid}}})
			}
			return
		}
	}
}

func (c *couple) quota() {
	body := rapid.SampledFrom([]string{
		`{"role":"a","guarantees":{"cpus":{"value":5}},"limits":{"cpus":{"value":9}}}`, `{"role":"a"}`, `{"role":"c","limits":{"cpus":{"value":1},"mem":{"value":0}}}`,
		`{"role":"c","guarantees":{"mem":{"value":700}}}`}).Draw(c.t, "quota")
	call := &masterapi.Call{}
	if err := wire.UnmarshalJSON([]byte(`{"type":"UPDATE_QUOTA","update_quota":{"force":true,"quota_configs":[`+body+`]}}`), call); err != nil {
		c.t.Fatal(err)
	}
	c.step(ledger.OperatorCall{Call: call, Ticket: 1})
}

// compare holds the allocator's sums against the ledger's.
func (c *couple) compare() {
	scalars := func(r resource.Resources) resource.Quantities {
		return r.Filter(func(r *mesos.Resource) bool { return r.GetType() == mesos.Value_SCALAR }).Quantities()
	}
	var total, booked resource.Quantities
	for _, a := range c.book.Snapshot().Agents {
		total = total.Add(scalars(a.Total))
		booked = booked.Add(scalars(a.Used.Exclusive())).Add(scalars(a.Offered.Exclusive()))
		if in := a.Used.Exclusive().Unallocate().Add(a.Offered.Exclusive().Unallocate()); !a.Total.Contains(in) {
			c.t.Fatalf("%s has %v and gives %v", a.ID, a.Total, in)
		}
	}
	v := c.al.View()
	if !v.Total.Equal(&total) || !v.Booked.Equal(&booked) {
		c.t.Fatalf("the allocator counts %v of %v, the ledger %v of %v", v.Booked, v.Total, booked, total)
	}
	inUse := slices.ContainsFunc(c.book.Snapshot().Agents, func(a *ledger.AgentView) bool { return len(a.Used)+len(a.Offered) > 0 })
	for role, share := range v.Dominant {
		if !inUse && share != 0 {
			c.t.Fatalf("nothing is in use, and the share of %s is %v", role, share)
		}
	}
}

// TestBooksAgree: through launches, reservations, ends, departures, returns, failovers and
// quota the allocator's book equals the ledger's after every step, and the ledger never
// has to refuse a grant.
func TestBooksAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &couple{t: t, now: start, conns: map[ledger.FrameworkID]ledger.Conn{}}
		c.term()
		c.step(ledger.Recovered{})
		c.agent()
		c.subscribe()
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 26).Draw(t, "what") / 2 {
			case 0, 1:
				c.agent()
			case 2:
				c.subscribe()
			case 3, 4, 5, 6:
				c.answer()
			case 7, 8:
				c.finish()
			case 9:
				c.quota()
			case 10:
				if id, any := c.framework(); any && rapid.Bool().Draw(t, "teardown") {
					c.step(ledger.Teardown{Framework: id, Ticket: 1})
					delete(c.conns, id)
				} else if any {
					c.step(ledger.ConnectionLost{Conn: c.conns[id], Reason: "test"})
					delete(c.conns, id)
					c.gone = append(c.gone, id)
				}
			case 11:
				c.now = c.now.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "wait")) * time.Second)
				c.step(ledger.Tick{})
			case 12:
				if id, any := c.framework(); any {
					kind := rapid.SampledFrom([]scheduler.Call_Type{scheduler.Call_REVIVE, scheduler.Call_SUPPRESS}).Draw(t, "kind")
					c.step(ledger.Call{From: c.conns[id], Ticket: 1, Call: &scheduler.Call{Type: &kind, FrameworkId: &mesos.FrameworkID{Value: proto.String(string(id))}}})
				}
			default:
				c.failover()
			}
			c.compare()
			if grants := c.al.Run(c.now); len(grants) > 0 {
				c.step(ledger.Grants{Grants: grants})
			}
			c.compare()
		}
	})
}
