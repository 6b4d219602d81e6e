package operators

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/agentapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// fill puts the view-made part of an answer into it, by the answer's type.
func (s *server) fill(out *agentapi.Response, v *lifecycle.View) {
	switch out.GetType() {
	case agentapi.Response_GET_STATE:
		out.GetState = &agentapi.Response_GetState{GetTasks: taskLists(v), GetExecutors: executorLists(v), GetFrameworks: frameworkLists(v)}
	case agentapi.Response_GET_TASKS:
		out.GetTasks = taskLists(v)
	case agentapi.Response_GET_FRAMEWORKS:
		out.GetFrameworks = frameworkLists(v)
	case agentapi.Response_GET_EXECUTORS:
		out.GetExecutors = executorLists(v)
	case agentapi.Response_GET_AGENT:
		info := &mesos.AgentInfo{
			Hostname: s.Info.Hostname, Port: s.Info.Port, Resources: resource.Upgrade(s.Info.GetResources()),
			Attributes: s.Info.GetAttributes(), Domain: s.Info.GetDomain(),
		}
		if v.Agent != "" {
			info.Id = &mesos.AgentID{Value: proto.String(v.Agent)}
		}
		out.GetAgent = &agentapi.Response_GetAgent{AgentInfo: info}
		if d := v.Drain; d != nil {
			out.GetAgent.DrainConfig = d.Config
			out.GetAgent.EstimatedDrainStartTime = &mesos.TimeInfo{Nanoseconds: proto.Int64(d.Since.UnixNano())}
		}
	case agentapi.Response_GET_OPERATIONS:
		out.GetOperations = &agentapi.Response_GetOperations{Operations: v.Operations}
	}
}

// everyExecutor calls f for the executors of all frameworks, completed ones last.
func everyExecutor(v *lifecycle.View, f func(e lifecycle.ExecutorView, completed bool)) {
	for _, fw := range v.Frameworks {
		for _, e := range fw.Executors {
			f(e, false)
		}
	}
	for _, fw := range append(append([]lifecycle.FrameworkView(nil), v.Frameworks...), v.Completed...) {
		for _, e := range fw.Completed {
			f(e, true)
		}
	}
}

func taskLists(v *lifecycle.View) *agentapi.Response_GetTasks {
	out := &agentapi.Response_GetTasks{}
	everyExecutor(v, func(e lifecycle.ExecutorView, _ bool) {
		out.QueuedTasks = append(out.QueuedTasks, e.QueuedAs...)
		out.LaunchedTasks = append(out.LaunchedTasks, e.Launched...)
		out.TerminatedTasks = append(out.TerminatedTasks, e.Terminated...)
		out.CompletedTasks = append(out.CompletedTasks, e.Completed...)
	})
	return out
}

func executorLists(v *lifecycle.View) *agentapi.Response_GetExecutors {
	out := &agentapi.Response_GetExecutors{}
	everyExecutor(v, func(e lifecycle.ExecutorView, completed bool) {
		x := &agentapi.Response_GetExecutors_Executor{ExecutorInfo: e.Info}
		if completed {
			out.CompletedExecutors = append(out.CompletedExecutors, x)
		} else {
			out.Executors = append(out.Executors, x)
		}
	})
	return out
}

func frameworkLists(v *lifecycle.View) *agentapi.Response_GetFrameworks {
	out := &agentapi.Response_GetFrameworks{}
	for _, f := range v.Frameworks {
		out.Frameworks = append(out.Frameworks, &agentapi.Response_GetFrameworks_Framework{FrameworkInfo: f.Info})
	}
	for _, f := range v.Completed {
		out.CompletedFrameworks = append(out.CompletedFrameworks, &agentapi.Response_GetFrameworks_Framework{FrameworkInfo: f.Info})
	}
	return out
}

// addNested lists the nested containers after the roots. Those in the cgroup of their
// root have no figures of their own but for what they asked for, as recorded.
func (s *server) addNested(ctx context.Context, out *agentapi.Response_GetContainers) {
	v, err := s.View(ctx)
	if err != nil {
		return
	}
	eachExecutor(v, func(f lifecycle.FrameworkView, e lifecycle.ExecutorView) {
		for _, n := range e.Nested {
			if n.PID == 0 || !s.mayView(ctx, f, e) {
				continue
			}
			id := n.Container.Wire()
			stats, err := s.Usage(ctx, n.Container)
			if err != nil {
				stats = &mesos.ResourceStatistics{Timestamp: proto.Float64(float64(time.Now().UnixMicro()) / 1e6)}
			}
			addRequests(stats, n.Resources)
			out.Containers = append(out.Containers, &agentapi.Response_GetContainers_Container{
				ContainerId:        &mesos.ContainerID{Value: id.Value},
				ContainerStatus:    &mesos.ContainerStatus{ContainerId: id, ExecutorPid: proto.Uint32(uint32(n.PID)), NetworkInfos: n.Networks},
				ResourceStatistics: stats,
			})
		}
	})
}

// addRequests fills in what a container asked for where no limits of its own are told.
func addRequests(s *mesos.ResourceStatistics, asked []*mesos.Resource) {
	rs := resource.Of(asked...)
	if cpus := rs.Get("cpus"); cpus > 0 && s.CpusSoftLimit == nil {
		s.CpusSoftLimit = proto.Float64(cpus.Float())
	}
	if mem := rs.Get("mem"); mem > 0 && s.MemSoftLimitBytes == nil {
		bytes := uint64(mem.Float() * (1 << 20))
		s.MemLimitBytes, s.MemSoftLimitBytes = proto.Uint64(bytes), proto.Uint64(bytes)
	}
}

func containerList(all []measured) *agentapi.Response_GetContainers {
	out := &agentapi.Response_GetContainers{}
	for _, m := range all {
		out.Containers = append(out.Containers, &agentapi.Response_GetContainers_Container{
			FrameworkId: &mesos.FrameworkID{Value: m.framework.Info.GetId().Value}, ExecutorId: m.executor.Info.GetExecutorId(),
			ExecutorName: proto.String(m.executor.Info.GetName()), ContainerId: m.status.GetContainerId(),
			ContainerStatus: m.status, ResourceStatistics: m.stats,
		})
	}
	return out
}
