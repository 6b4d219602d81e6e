package ledger_test

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
	"github.com/stoa-project/stoa/master/allocate"
	"github.com/stoa-project/stoa/master/ledger"
)

// BenchmarkFailover is the owner's part of a failover: each agent of 10 tasks that comes
// back, its message decoded and brought to the internal form as the shell does. One op is
// one agent of a cluster of 10,000 and 10 frameworks.
func BenchmarkFailover(b *testing.B) {
	const agents, frameworks, tasks = 10_000, 10, 10
	own, err := resource.Parse("cpus:8;mem:16384;disk:100000;ports:[31000-32000]", "*")
	if err != nil {
		b.Fatal(err)
	}
	running := mesos.TaskState_TASK_RUNNING
	bodies := make([][]byte, agents)
	e := ledger.Recovered{}
	for i := range agents {
		id := &mesos.AgentID{Value: proto.String(fmt.Sprintf("d7c04596-ea68-43d8-9ff4-459ba365e659-S%d", i))}
		slave := &messages.SlaveInfo{Id: id, Hostname: proto.String(fmt.Sprintf("h%d", i)), Port: proto.Int32(5051), Resources: own}
		port := int32(5051)
		e.Admitted = append(e.Admitted, ledger.Admission{PID: ledger.PID(fmt.Sprintf("slave(%d)@10.0.0.1:5051", i)),
			Info: &mesos.AgentInfo{Id: id, Hostname: slave.Hostname, Port: &port, Resources: own}})
		m := &messages.ReregisterSlaveMessage{Slave: slave, Version: proto.String("1.11.0"),
			AgentCapabilities: []*mesos.AgentInfo_Capability{{Type: mesos.AgentInfo_Capability_MULTI_ROLE.Enum()}, {Type: mesos.AgentInfo_Capability_RESERVATION_REFINEMENT.Enum()}}}
		f := &mesos.FrameworkID{Value: proto.String(fmt.Sprintf("d7c04596-ea68-43d8-9ff4-459ba365e659-%04d", i%frameworks))}
		m.Frameworks = []*mesos.FrameworkInfo{{User: proto.String("root"), Name: proto.String("f"), Id: f}}
		for n := range tasks {
			t := &mesos.Task{Name: proto.String("t"), TaskId: &mesos.TaskID{Value: proto.String(fmt.Sprintf("t-%d-%d", i, n))},
				FrameworkId: f, AgentId: id, State: &running, Statuses: []*mesos.TaskStatus{{State: &running,
					TaskId: &mesos.TaskID{Value: proto.String(fmt.Sprintf("t-%d-%d", i, n))}, Uuid: make([]byte, 16)}}}
			for _, r := range []*mesos.Resource{resource.Scalar("cpus", resource.FromFloat(0.1)), resource.Scalar("mem", resource.Whole(32))} {
				r.AllocationInfo = &mesos.Resource_AllocationInfo{Role: proto.String("*")}
				t.Resources = append(t.Resources, r)
			}
			m.Tasks = append(m.Tasks, t)
		}
		if bodies[i], err = proto.Marshal(m); err != nil {
			b.Fatal(err)
		}
	}
	now := time.Unix(1_000_000, 0)
	var book *ledger.Ledger
	var al *allocate.Allocator
	b.ReportAllocs()
	for n := range b.N {
		i := n % agents
		b.StopTimer()
		if i == 0 {
			book = ledger.New(ledger.Config{Master: &mesos.MasterInfo{Id: proto.String("M")}})
			al = allocate.New(allocate.Config{})
			for _, effect := range book.Step(now, e) {
				al.Apply(now, effect)
			}
		}
		m := &messages.ReregisterSlaveMessage{}
		if err := proto.Unmarshal(bodies[i], m); err != nil {
			b.Fatal(err)
		}
		resource.UpgradeMessage(m)
		event := ledger.AgentMessage{From: e.Admitted[i].PID, Message: m}
		b.StartTimer()
		for _, effect := range book.Step(now, event) {
			al.Apply(now, effect)
		}
	}
	b.StopTimer()
	if got := len(book.Snapshot().Agents); got != (b.N-1)%agents+1 {
		b.Fatalf("%d agents", got)
	}
}
