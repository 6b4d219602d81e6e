package ledger

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

func sampleTask(n int) *mesos.Task {
	id := fmt.Sprintf("task-%d", n)
	return &mesos.Task{Name: proto.String("web"), TaskId: &mesos.TaskID{Value: &id}, FrameworkId: FrameworkID("F").wire(), AgentId: AgentID("A").wire(),
		State: mesos.TaskState_TASK_STAGING.Enum(), User: proto.String("root"), Labels: &mesos.Labels{Labels: []*mesos.Label{{Key: proto.String("k"), Value: proto.String("v")}}},
		Discovery:   &mesos.DiscoveryInfo{Visibility: mesos.DiscoveryInfo_CLUSTER.Enum(), Name: proto.String("web"), Ports: &mesos.Ports{Ports: []*mesos.Port{{Number: proto.Uint32(uint32(n))}}}},
		HealthCheck: &mesos.HealthCheck{Type: mesos.HealthCheck_HTTP.Enum(), Http: &mesos.HealthCheck_HTTPCheckInfo{Port: proto.Uint32(80)}}}
}

func sampleStatus(n int, s mesos.TaskState) *mesos.TaskStatus {
	id := fmt.Sprintf("task-%d", n)
	return &mesos.TaskStatus{TaskId: &mesos.TaskID{Value: &id}, State: &s, Source: mesos.TaskStatus_SOURCE_EXECUTOR.Enum(), AgentId: AgentID("A").wire(),
		Reason: mesos.TaskStatus_REASON_TASK_HEALTH_CHECK_STATUS_UPDATED.Enum(), Message: proto.String("well"), ExecutorId: &mesos.ExecutorID{Value: &id},
		ContainerStatus: &mesos.ContainerStatus{ExecutorPid: proto.Uint32(uint32(n)),
			NetworkInfos: []*mesos.NetworkInfo{{IpAddresses: []*mesos.NetworkInfo_IPAddress{{IpAddress: proto.String("10.0.0.1")}}}}}}
}

// TestSharingChangesNothing but which memory holds equal parts.
func TestSharingChangesNothing(t *testing.T) {
	s := newSharing()
	f, a := &framework{id: "F", wireID: FrameworkID("F").wire()}, &agent{id: "A", wireID: AgentID("A").wire()}
	var tasks []*mesos.Task
	for n := range 3 {
		task := sampleTask(n)
		s.task(f, a, task)
		if want := sampleTask(n); !proto.Equal(task, want) {
			t.Errorf("task %v\nwant %v", task, want)
		}
		for _, state := range []mesos.TaskState{mesos.TaskState_TASK_STARTING, mesos.TaskState_TASK_RUNNING} {
			st := sampleStatus(n, state)
			s.status(a, task, st)
			if want := sampleStatus(n, state); !proto.Equal(st, want) {
				t.Errorf("status %v\nwant %v", st, want)
			}
			task = withStatus(task, st)
		}
		if one, two := task.Statuses[0], task.Statuses[1]; one.ContainerStatus != two.ContainerStatus || one.TaskId != task.TaskId || one.ExecutorId != two.ExecutorId {
			t.Error("the statuses of a task do not share")
		}
		tasks = append(tasks, task)
	}
	if one, two := tasks[0], tasks[1]; one.Name != two.Name || one.Labels != two.Labels || one.HealthCheck != two.HealthCheck || one.AgentId != two.AgentId || one.Discovery == two.Discovery {
		t.Error("equal parts of two tasks are not one, or different ones are")
	}
	if one, two := tasks[0].Statuses[0].ContainerStatus, tasks[1].Statuses[0].ContainerStatus; one == two || one.NetworkInfos[0] != two.NetworkInfos[0] {
		t.Error("containers do not share the agent's address")
	}
	foreign := sampleStatus(7, mesos.TaskState_TASK_RUNNING) // of another task and agent: left alone
	foreign.AgentId = AgentID("B").wire()
	want := proto.Clone(foreign)
	s.status(a, tasks[0], foreign)
	if !proto.Equal(foreign, want) {
		t.Errorf("status %v\nwant %v", foreign, want)
	}
}

// TestSharingResources: plain scalars are one, by name, number and role; all else stays.
func TestSharingResources(t *testing.T) {
	s := newSharing()
	for _, text := range []string{"cpus:0.1;mem:128;ports:[31000-31001]", "cpus:0.1;mem:256;ports:[31002-31003]", "names:{a,b}"} {
		for _, role := range []string{"*", "dev"} {
			list, err := resource.Parse(text, "*")
			if err != nil {
				t.Fatal(err)
			}
			r := resource.Of(list...).Allocate(role)
			want := r.String()
			first := s.resources(r)
			again := s.resources(resource.Of(list...).Allocate(role))
			if first.String() != want || again.String() != want {
				t.Errorf("%s for %s became %s and %s", want, role, first, again)
			}
			if first[0].GetName() == "cpus" && first[0].GetScalar().GetValue() == 0.1 && first[0] != again[0] {
				t.Error("equal scalars are two")
			}
		}
	}
}

// TestSharingIsBounded: what a framework makes up is not remembered without end.
func TestSharingIsBounded(t *testing.T) {
	s := newSharing()
	for n := range 3 * maxShared {
		s.text(proto.String(fmt.Sprint(n)))
		share(s, &mesos.Labels{Labels: []*mesos.Label{{Key: proto.String(fmt.Sprint(n))}}})
		s.resources(resource.Resources{{Name: proto.String("cpus"), Type: mesos.Value_SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: proto.Float64(float64(n))}}})
	}
	if len(s.texts) > maxShared || len(s.parts) > maxShared || len(s.scalars) > maxShared {
		t.Errorf("%d texts, %d parts, %d scalars", len(s.texts), len(s.parts), len(s.scalars))
	}
}
