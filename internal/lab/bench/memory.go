package main

import (
	"fmt"
	"os/exec"
	"regexp"
	"strconv"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// memoryLine is what the ledger's memory test says.
var memoryLine = regexp.MustCompile(`agents: (\d+) bytes each; \d+ tasks: (\d+) bytes each; (\d+) MiB live`)

// memory runs the ledger's memory test with n agents.
func memory(n int) (float64, map[string]float64, error) {
	out, err := exec.Command("go", "test", "-count=1", "-v", "-run", "^TestMemory$", "./master/ledger", "-agents", strconv.Itoa(n)).CombinedOutput()
	m := memoryLine.FindSubmatch(out)
	if m == nil {
		return 0, nil, fmt.Errorf("the memory test: %w: %s", err, out)
	}
	figure := func(i int) float64 {
		v, _ := strconv.ParseFloat(string(m[i]), 64) // digits, by the expression
		return v
	}
	return figure(2), map[string]float64{"agent_b": figure(1), "live_mib": figure(3)}, nil
}

// bareMemory is what has to be kept of a task, encoded.
func bareMemory(int) (float64, error) {
	id := proto.String("prod_web_shop.instance-0000ffff-5c1e-11ee-8c99-0242ac120002._app.1")
	agent := &mesos.AgentID{Value: proto.String("d7c04596-ea68-43d8-9ff4-459ba365e659-S12345")}
	t := &mesos.Task{Name: proto.String("shop.web.prod"), TaskId: &mesos.TaskID{Value: id}, AgentId: agent, State: mesos.TaskState_TASK_RUNNING.Enum(),
		FrameworkId: &mesos.FrameworkID{Value: proto.String("d7c04596-ea68-43d8-9ff4-459ba365e659-0000")}, StatusUpdateUuid: make([]byte, 16),
		Labels: &mesos.Labels{Labels: []*mesos.Label{{Key: proto.String("HAPROXY_GROUP"), Value: proto.String("external")}}},
		Discovery: &mesos.DiscoveryInfo{Visibility: mesos.DiscoveryInfo_FRAMEWORK.Enum(), Name: proto.String("shop.web.prod"), Ports: &mesos.Ports{Ports: []*mesos.Port{
			{Number: proto.Uint32(31000), Name: proto.String("http"), Protocol: proto.String("tcp")}}}}}
	for _, name := range []string{"cpus", "mem", "ports"} {
		t.Resources = append(t.Resources, &mesos.Resource{Name: &name, Type: mesos.Value_SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: proto.Float64(0.1)},
			AllocationInfo: &mesos.Resource_AllocationInfo{Role: proto.String("dev")}})
	}
	for _, state := range []mesos.TaskState{mesos.TaskState_TASK_STARTING, mesos.TaskState_TASK_RUNNING} {
		t.Statuses = append(t.Statuses, &mesos.TaskStatus{TaskId: t.TaskId, State: &state, Uuid: make([]byte, 16), Timestamp: proto.Float64(1), AgentId: agent,
			ExecutorId: &mesos.ExecutorID{Value: id}, ContainerStatus: &mesos.ContainerStatus{
				ContainerId: &mesos.ContainerID{Value: proto.String("0000ffff-3ad3-4bc0-8a3c-6b9dc5a06f3e")}, ExecutorPid: proto.Uint32(65535),
				NetworkInfos: []*mesos.NetworkInfo{{IpAddresses: []*mesos.NetworkInfo_IPAddress{{Protocol: mesos.NetworkInfo_IPv4.Enum(), IpAddress: proto.String("10.0.0.1")}}}}}})
	}
	b, err := proto.MarshalOptions{AllowPartial: true}.Marshal(t)
	return float64(len(b)), err
}
