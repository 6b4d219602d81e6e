package ledger

import "github.com/stoa-project/stoa/internal/wire/mesos"

// FrameworkCapabilities is what a framework said it understands (mesos-master.md 1.11).
type FrameworkCapabilities struct {
	Revocable, TaskKilling, GPU, Shared, PartitionAware, MultiRole, Refinement, RegionAware bool
}

func frameworkCapabilities(info *mesos.FrameworkInfo) (c FrameworkCapabilities) {
	for _, each := range info.GetCapabilities() {
		switch each.GetType() {
		case mesos.FrameworkInfo_Capability_REVOCABLE_RESOURCES:
			c.Revocable = true
		case mesos.FrameworkInfo_Capability_TASK_KILLING_STATE:
			c.TaskKilling = true
		case mesos.FrameworkInfo_Capability_GPU_RESOURCES:
			c.GPU = true
		case mesos.FrameworkInfo_Capability_SHARED_RESOURCES:
			c.Shared = true
		case mesos.FrameworkInfo_Capability_PARTITION_AWARE:
			c.PartitionAware = true
		case mesos.FrameworkInfo_Capability_MULTI_ROLE:
			c.MultiRole = true
		case mesos.FrameworkInfo_Capability_RESERVATION_REFINEMENT:
			c.Refinement = true
		case mesos.FrameworkInfo_Capability_REGION_AWARE:
			c.RegionAware = true
		}
	}
	return c
}

// AgentCapabilities is what an agent said it implements (libprocess.md 5.2).
type AgentCapabilities struct {
	MultiRole, HierarchicalRole, Refinement, ResourceProvider, ResizeVolume, OperationFeedback, Draining, Limits bool
}

func agentCapabilities(list []*mesos.AgentInfo_Capability) (c AgentCapabilities) {
	for _, each := range list {
		switch each.GetType() {
		case mesos.AgentInfo_Capability_MULTI_ROLE:
			c.MultiRole = true
		case mesos.AgentInfo_Capability_HIERARCHICAL_ROLE:
			c.HierarchicalRole = true
		case mesos.AgentInfo_Capability_RESERVATION_REFINEMENT:
			c.Refinement = true
		case mesos.AgentInfo_Capability_RESOURCE_PROVIDER:
			c.ResourceProvider = true
		case mesos.AgentInfo_Capability_RESIZE_VOLUME:
			c.ResizeVolume = true
		case mesos.AgentInfo_Capability_AGENT_OPERATION_FEEDBACK:
			c.OperationFeedback = true
		case mesos.AgentInfo_Capability_AGENT_DRAINING:
			c.Draining = true
		case mesos.AgentInfo_Capability_TASK_RESOURCE_LIMITS:
			c.Limits = true
		}
	}
	return c
}

// frameworkRoles gives the roles a framework is subscribed to.
func frameworkRoles(info *mesos.FrameworkInfo) []string {
	if frameworkCapabilities(info).MultiRole {
		return info.GetRoles()
	}
	return []string{info.GetRole()}
}
