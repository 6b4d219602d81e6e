package ledger_test

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
	"github.com/stoa-project/stoa/master/allocate"
	"github.com/stoa-project/stoa/master/ledger"
)

var (
	memoryAgents  = flag.Int("agents", 1000, "agents of the memory test")
	memoryTasks   = flag.Int("tasks_per_agent", 10, "tasks of each agent in the memory test")
	memoryProfile = flag.String("heap_profile", "", "where the memory test writes its heap profile")
)

// heapBytes is what is live after a collection.
func heapBytes() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// received passes a message over the wire, so that nothing is shared that a real one
// would not share.
func received[T proto.Message](t testing.TB, m T) T {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	out := m.ProtoReflect().New().Interface()
	if err := proto.Unmarshal(b, out); err != nil {
		t.Fatal(err)
	}
	resource.UpgradeMessage(out)
	return out.(T)
}

// TestMemory fills a ledger and its allocator with agents and running tasks and bounds
// what each costs: docs/performance.md says what is in it. Larger clusters by
// flags: go test -run TestMemory -agents 100000 -heap_profile f ./master/ledger
func TestMemory(t *testing.T) {
	book := ledger.New(ledger.Config{Master: &mesos.MasterInfo{Id: proto.String("d7c04596-ea68-43d8-9ff4-459ba365e659"), Ip: proto.Uint32(1), Port: proto.Uint32(5050)}})
	al := allocate.New(allocate.Config{})
	now := time.Unix(1_000_000, 0)
	var offers []*mesos.Offer
	var step func(e ledger.Event)
	step = func(e ledger.Event) {
		var done []ledger.Ticket
		for _, effect := range book.Step(now, e) {
			al.Apply(now, effect)
			switch e := effect.(type) {
			case ledger.Registry:
				done = append(done, e.Ticket)
			case ledger.ToFramework:
				offers = append(offers, e.Event.GetOffers().GetOffers()...)
			}
		}
		if len(done) > 0 {
			step(ledger.RegistryDone{Tickets: done})
		}
	}
	step(ledger.Recovered{})
	conn := ledger.Conn{Stream: "s"}
	step(ledger.Call{From: conn, Call: received(t, &scheduler.Call{Type: scheduler.Call_SUBSCRIBE.Enum(), Subscribe: &scheduler.Call_Subscribe{
		FrameworkInfo: &mesos.FrameworkInfo{User: proto.String("root"), Name: proto.String("f"), Roles: []string{"dev"}, Checkpoint: proto.Bool(true),
			Capabilities: []*mesos.FrameworkInfo_Capability{{Type: mesos.FrameworkInfo_Capability_MULTI_ROLE.Enum()}, {Type: mesos.FrameworkInfo_Capability_RESERVATION_REFINEMENT.Enum()}}}}})})
	step(ledger.Call{From: conn, Call: &scheduler.Call{Type: scheduler.Call_SUPPRESS.Enum(), FrameworkId: &mesos.FrameworkID{Value: proto.String("d7c04596-ea68-43d8-9ff4-459ba365e659-0000")}}})
	empty := heapBytes()

	total, err := resource.Parse("cpus:8;mem:16384;disk:100000;ports:[31000-32000]", "*")
	if err != nil {
		t.Fatal(err)
	}
	old, err := resource.Downgrade(total)
	if err != nil {
		t.Fatal(err)
	}
	pids := make([]ledger.PID, *memoryAgents)
	for i := range pids {
		pids[i] = ledger.PID(fmt.Sprintf("slave(1)@10.%d.%d.%d:5051", i>>16, i>>8&255, i&255))
		step(ledger.AgentMessage{From: pids[i], Message: received(t, &messages.RegisterSlaveMessage{Version: proto.String("1.11.0"), AgentCapabilities: fullCapabilities(),
			Slave: &messages.SlaveInfo{Hostname: proto.String(fmt.Sprintf("agent-%d.example.org", i)), Checkpoint: proto.Bool(true), Resources: old,
				Attributes: []*mesos.Attribute{{Name: proto.String("rack"), Type: mesos.Value_TEXT.Enum(), Text: &mesos.Value_Text{Value: proto.String(fmt.Sprintf("r%d", i%40))}}}}})})
	}
	al.Run(now)
	withAgents := heapBytes()
	perAgent := (withAgents - empty) / float64(*memoryAgents)

	step(ledger.Call{From: conn, Call: &scheduler.Call{Type: scheduler.Call_REVIVE.Enum(), FrameworkId: &mesos.FrameworkID{Value: proto.String("d7c04596-ea68-43d8-9ff4-459ba365e659-0000")}}})
	byPID := map[string]ledger.PID{}
	for i := range pids {
		byPID[fmt.Sprintf("d7c04596-ea68-43d8-9ff4-459ba365e659-S%d", i)] = pids[i]
	}
	before := heapBytes()
	launched := 0
	for launched < *memoryAgents**memoryTasks {
		if len(offers) == 0 {
			now = now.Add(time.Second)
			g := al.Run(now)
			if len(g) == 0 {
				t.Fatalf("no offers after %d tasks", launched)
			}
			step(ledger.Grants{Grants: g})
		}
		for len(offers) > 0 {
			o := offers[0]
			offers = offers[1:]
			launched += launchAll(t, step, conn, o, byPID[o.GetAgentId().GetValue()], launched, *memoryTasks)
		}
	}
	offers = nil
	perTask := (heapBytes() - before) / float64(launched)
	t.Logf("%d agents: %.0f bytes each; %d tasks: %.0f bytes each; %.0f MiB live", *memoryAgents, perAgent, launched, perTask, heapBytes()/(1<<20))
	if *memoryProfile != "" {
		f, err := os.Create(*memoryProfile)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := pprof.WriteHeapProfile(f); err != nil {
			t.Fatal(err)
		}
	}
	if perAgent > 8<<10 {
		t.Errorf("an agent costs %.0f bytes, more than 8 KiB", perAgent)
	}
	if perTask > 2.25*1024 {
		t.Errorf("a task costs %.0f bytes, more than 2.25 KiB", perTask)
	}
	runtime.KeepAlive(book)
	runtime.KeepAlive(al)
}

func fullCapabilities() (out []*mesos.AgentInfo_Capability) {
	for _, c := range []mesos.AgentInfo_Capability_Type{mesos.AgentInfo_Capability_MULTI_ROLE, mesos.AgentInfo_Capability_HIERARCHICAL_ROLE, mesos.AgentInfo_Capability_RESERVATION_REFINEMENT} {
		out = append(out, &mesos.AgentInfo_Capability{Type: c.Enum()})
	}
	return out
}

// launchAll uses an offer for n tasks as a framework of Marathon's kind describes them, and
// brings them to RUNNING, acknowledged.
func launchAll(t *testing.T, step func(ledger.Event), conn ledger.Conn, o *mesos.Offer, pid ledger.PID, from, n int) int {
	t.Helper()
	framework := &mesos.FrameworkID{Value: proto.String("d7c04596-ea68-43d8-9ff4-459ba365e659-0000")}
	var infos []*mesos.TaskInfo
	for i := range n {
		id := fmt.Sprintf("prod_web_shop.instance-%08x-5c1e-11ee-8c99-0242ac120002._app.1", from+i)
		scalar := func(name string, v float64) *mesos.Resource {
			return &mesos.Resource{Name: &name, Type: mesos.Value_SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: &v}, AllocationInfo: &mesos.Resource_AllocationInfo{Role: proto.String("dev")}}
		}
		port := uint64(31000 + i)
		infos = append(infos, &mesos.TaskInfo{Name: proto.String("shop.web.prod"), TaskId: &mesos.TaskID{Value: &id}, AgentId: o.AgentId,
			Command: &mesos.CommandInfo{Value: proto.String("exec /opt/shop/bin/server --port $PORT0"), Environment: &mesos.Environment{Variables: []*mesos.Environment_Variable{
				{Name: proto.String("MARATHON_APP_ID"), Value: proto.String("/prod/web/shop")}, {Name: proto.String("PORT0"), Value: proto.String(fmt.Sprint(port))}}}},
			Labels: &mesos.Labels{Labels: []*mesos.Label{{Key: proto.String("HAPROXY_GROUP"), Value: proto.String("external")}}},
			Discovery: &mesos.DiscoveryInfo{Visibility: mesos.DiscoveryInfo_FRAMEWORK.Enum(), Name: proto.String("shop.web.prod"), Ports: &mesos.Ports{Ports: []*mesos.Port{
				{Number: proto.Uint32(uint32(port)), Name: proto.String("http"), Protocol: proto.String("tcp")}}}},
			Resources: []*mesos.Resource{scalar("cpus", 0.1), scalar("mem", 128), {Name: proto.String("ports"), Type: mesos.Value_RANGES.Enum(),
				Ranges: &mesos.Value_Ranges{Range: []*mesos.Value_Range{{Begin: &port, End: &port}}}, AllocationInfo: &mesos.Resource_AllocationInfo{Role: proto.String("dev")}}}})
	}
	step(ledger.Call{From: conn, Call: received(t, &scheduler.Call{Type: scheduler.Call_ACCEPT.Enum(), FrameworkId: framework, Accept: &scheduler.Call_Accept{
		OfferIds: []*mesos.OfferID{o.Id}, Filters: &mesos.Filters{RefuseSeconds: proto.Float64(1e6)},
		Operations: []*mesos.Offer_Operation{{Type: mesos.Offer_Operation_LAUNCH.Enum(), Launch: &mesos.Offer_Operation_Launch{TaskInfos: infos}}}}})})
	ip, _, _ := strings.Cut(strings.TrimPrefix(string(pid), "slave(1)@"), ":")
	for i, info := range infos {
		container := fmt.Sprintf("%08x-3ad3-4bc0-8a3c-6b9dc5a06f3e", from+i)
		for _, state := range []mesos.TaskState{mesos.TaskState_TASK_STARTING, mesos.TaskState_TASK_RUNNING} {
			uuid := fmt.Appendf(nil, "%08d%07d%d", from+i, i, state)
			step(ledger.AgentMessage{From: pid, Message: received(t, &messages.StatusUpdateMessage{Pid: proto.String(string(pid)), Update: &messages.StatusUpdate{
				FrameworkId: framework, SlaveId: o.AgentId, ExecutorId: &mesos.ExecutorID{Value: info.TaskId.Value}, Timestamp: proto.Float64(1), Uuid: uuid, LatestState: state.Enum(),
				Status: &mesos.TaskStatus{TaskId: info.TaskId, State: state.Enum(), Source: mesos.TaskStatus_SOURCE_EXECUTOR.Enum(), Uuid: uuid, Timestamp: proto.Float64(1), AgentId: o.AgentId,
					ContainerStatus: &mesos.ContainerStatus{ContainerId: &mesos.ContainerID{Value: &container}, ExecutorPid: proto.Uint32(uint32(4000 + from + i)),
						NetworkInfos: []*mesos.NetworkInfo{{IpAddresses: []*mesos.NetworkInfo_IPAddress{{Protocol: mesos.NetworkInfo_IPv4.Enum(), IpAddress: &ip}}}}}}}})})
			step(ledger.Call{From: conn, Call: received(t, &scheduler.Call{Type: scheduler.Call_ACKNOWLEDGE.Enum(), FrameworkId: framework,
				Acknowledge: &scheduler.Call_Acknowledge{AgentId: o.AgentId, TaskId: info.TaskId, Uuid: uuid}})})
		}
	}
	return n
}
