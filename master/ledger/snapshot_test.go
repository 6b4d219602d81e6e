package ledger_test

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
	"github.com/stoa-project/stoa/master/ledger"
)

// crowd is a ledger with many agents and one framework that has tasks on all of them.
type crowd struct {
	book *ledger.Ledger
	now  time.Time
	seq  int
}

func newCrowd(tb testing.TB, agents, tasksEach int) *crowd {
	c := &crowd{now: time.Unix(1_000_000, 0)}
	c.book = ledger.New(ledger.Config{Master: &mesos.MasterInfo{Id: proto.String("M"), Ip: proto.Uint32(1), Port: proto.Uint32(5050), Hostname: proto.String("m")}})
	c.step(ledger.Recovered{})
	c.step(ledger.Call{From: ledger.Conn{Stream: "s"}, Call: &scheduler.Call{Type: scheduler.Call_SUBSCRIBE.Enum(), Subscribe: &scheduler.Call_Subscribe{
		FrameworkInfo: &mesos.FrameworkInfo{User: proto.String("u"), Name: proto.String("f"), Checkpoint: proto.Bool(true), Roles: []string{"r"},
			Capabilities: []*mesos.FrameworkInfo_Capability{{Type: mesos.FrameworkInfo_Capability_MULTI_ROLE.Enum()}}}}}})
	total, err := resource.Parse("cpus:64;mem:65536;ports:[31000-32000]", "*")
	if err != nil {
		tb.Fatal(err)
	}
	for i := range agents {
		pid := ledger.PID(fmt.Sprintf("slave(%d)@10.0.0.1:5051", i))
		c.step(ledger.AgentMessage{From: pid, Message: &messages.RegisterSlaveMessage{Version: proto.String("1.11.0"),
			Slave: &messages.SlaveInfo{Hostname: proto.String(fmt.Sprintf("host%d", i)), Port: proto.Int32(5051), Resources: total}}})
	}
	for range tasksEach {
		c.launch(tb, agents)
	}
	s := c.book.Snapshot()
	if len(s.Agents) != agents || len(s.Frameworks[0].Tasks) != agents*tasksEach {
		tb.Fatalf("%d agents, %d tasks", len(s.Agents), len(s.Frameworks[0].Tasks))
	}
	return c
}

// launch starts a task on each of the first agents.
func (c *crowd) launch(tb testing.TB, agents int) {
	want, err := resource.Parse("cpus:0.1;mem:32", "*")
	if err != nil {
		tb.Fatal(err)
	}
	for i := range agents {
		c.now = c.now.Add(time.Millisecond)
		offers := c.step(ledger.Grants{Grants: []ledger.Grant{{Framework: "M-0000", Role: "r", Agent: ledger.AgentID(fmt.Sprintf("M-S%d", i)), Generation: 1, Resources: want}}})
		var id *mesos.OfferID
		for _, e := range offers {
			if to, ok := e.(ledger.ToFramework); ok {
				id = to.Event.GetOffers().GetOffers()[0].GetId()
			}
		}
		if id == nil {
			tb.Fatalf("agent %d was not offered: %v", i, offers)
		}
		c.seq++
		c.step(ledger.Call{From: ledger.Conn{Stream: "s"}, Ticket: 1, Call: &scheduler.Call{Type: scheduler.Call_ACCEPT.Enum(), FrameworkId: &mesos.FrameworkID{Value: proto.String("M-0000")},
			Accept: &scheduler.Call_Accept{OfferIds: []*mesos.OfferID{id}, Operations: []*mesos.Offer_Operation{{Type: mesos.Offer_Operation_LAUNCH.Enum(),
				Launch: &mesos.Offer_Operation_Launch{TaskInfos: []*mesos.TaskInfo{{Name: proto.String("t"), TaskId: &mesos.TaskID{Value: proto.String(fmt.Sprint("t", c.seq))},
					AgentId: &mesos.AgentID{Value: proto.String(fmt.Sprintf("M-S%d", i))}, Resources: want, Command: &mesos.CommandInfo{Value: proto.String("true")}}}}}}}}})
	}
}

// step applies an event and answers registry writes at once.
func (c *crowd) step(e ledger.Event) (all []ledger.Effect) {
	all = c.book.Step(c.now, e)
	for _, effect := range all {
		if r, ok := effect.(ledger.Registry); ok {
			all = append(all, c.step(ledger.RegistryDone{Tickets: []ledger.Ticket{r.Ticket}})...)
		}
	}
	return all
}

// TestSnapshotsAreKept shows that later events do not change a snapshot, and that the
// next one has them.
func TestSnapshotsAreKept(t *testing.T) {
	c := newCrowd(t, 50, 2)
	before := c.book.Snapshot()
	last := before.Frameworks[0].Tasks[99]
	c.launch(t, 10)
	after := c.book.Snapshot()
	if len(before.Frameworks[0].Tasks) != 100 || before.Frameworks[0].Tasks[99] != last {
		t.Error("a snapshot changed afterwards")
	}
	if len(after.Frameworks[0].Tasks) != 110 || after.Frameworks[0].Tasks[99] != last {
		t.Errorf("%d tasks after ten more", len(after.Frameworks[0].Tasks))
	}
	if before.Agents[49] != after.Agents[49] || before.Agents[0] == after.Agents[0] {
		t.Error("views of agents are shared exactly when nothing changed on them")
	}
	if got, want := after.Agents[0].Used.Get("cpus").String(), "0.3"; got != want {
		t.Errorf("agent 0 uses %s cpus, want %s", got, want)
	}
}

// BenchmarkSnapshot is what the ledger's owner pays for a snapshot of 10,000 agents and
// 100,000 tasks of one framework: after one launch on each of so many agents.
func BenchmarkSnapshot(b *testing.B) {
	c := newCrowd(b, 10_000, 10)
	for _, changed := range []int{1, 100, 2000} {
		b.Run(fmt.Sprintf("changed=%d", changed), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				c.launch(b, changed)
				b.StartTimer()
				c.book.Snapshot()
			}
		})
	}
}
