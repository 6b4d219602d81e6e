package operators

import (
	"encoding/base64"
	"strconv"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Tasks are most of what the v1 API prints. In JSON they are written from their fields
// here, to the same bytes as message, which passes through protobuf, makes of them: field
// by field in the order of the declaration. Rare fields and whatever is not as it should
// be are left to message.

// element prints an element of a list of the v1 API.
func (e *encoder) element(m proto.Message) {
	if t, ok := m.(*mesos.Task); ok && usualTask(t) {
		e.comma()
		e.taskV1(t)
		return
	}
	e.message(m)
}

// usualTask reports whether taskV1 knows how to print all of t.
func usualTask(t *mesos.Task) bool {
	if t.Name == nil || t.TaskId == nil || t.TaskId.Value == nil || t.FrameworkId == nil || t.FrameworkId.Value == nil ||
		t.AgentId == nil || t.AgentId.Value == nil || t.State == nil || !named(t.GetState()) || len(t.Limits) > 0 ||
		t.ExecutorId != nil && t.ExecutorId.Value == nil || t.StatusUpdateState != nil && !named(t.GetStatusUpdateState()) {
		return false
	}
	for _, s := range t.Statuses {
		if s.TaskId == nil || s.TaskId.Value == nil || s.State == nil || !named(s.GetState()) || s.AgentId != nil && s.AgentId.Value == nil ||
			s.ExecutorId != nil && s.ExecutorId.Value == nil || s.Source != nil && mesos.TaskStatus_Source_name[int32(s.GetSource())] == "" ||
			s.Reason != nil && mesos.TaskStatus_Reason_name[int32(s.GetReason())] == "" {
			return false
		}
	}
	for _, r := range t.Resources {
		if r.Name == nil || r.Type == nil || r.Role != nil || r.ProviderId != nil || r.Set != nil || r.Reservation != nil || r.Disk != nil ||
			r.Revocable != nil || r.Shared != nil || r.GetType() > mesos.Value_SET || r.Scalar != nil && r.Scalar.Value == nil ||
			r.AllocationInfo != nil && r.AllocationInfo.Role == nil {
			return false
		}
		for _, each := range r.GetRanges().GetRange() {
			if each.Begin == nil || each.End == nil {
				return false
			}
		}
	}
	return true
}

func named(s mesos.TaskState) bool { return s >= 0 && int(s) < len(stateNames) && stateNames[s] != "" }

func (e *encoder) taskV1(t *mesos.Task) {
	e.member(`{"name":`, t.GetName())
	e.member(`,"task_id":{"value":`, t.GetTaskId().GetValue())
	e.member(`},"framework_id":{"value":`, t.GetFrameworkId().GetValue())
	if t.ExecutorId != nil {
		e.member(`},"executor_id":{"value":`, t.GetExecutorId().GetValue())
	}
	e.member(`},"agent_id":{"value":`, t.GetAgentId().GetValue())
	e.state(`},"state":"`, t.GetState())
	for i, r := range t.GetResources() {
		if i == 0 {
			e.lit(`,"resources":[`)
		}
		e.resourceV1(r)
	}
	if len(t.GetResources()) > 0 {
		e.b = append(e.b, ']')
	}
	for i, s := range t.GetStatuses() {
		if i == 0 {
			e.lit(`,"statuses":[`)
		}
		e.statusV1(s)
	}
	if len(t.GetStatuses()) > 0 {
		e.b = append(e.b, ']')
	}
	if t.StatusUpdateState != nil {
		e.state(`,"status_update_state":"`, t.GetStatusUpdateState())
	}
	if t.StatusUpdateUuid != nil {
		e.binary(`,"status_update_uuid":"`, t.GetStatusUpdateUuid())
	}
	if t.Labels != nil {
		e.key("labels")
		e.message(t.Labels)
	}
	if t.Discovery != nil {
		e.lit(`,"discovery":`)
		e.discovery(t.Discovery)
	}
	if t.Container != nil {
		e.key("container")
		e.message(t.Container)
	}
	if t.HealthCheck != nil {
		e.key("health_check")
		e.message(t.HealthCheck)
	}
	if t.KillPolicy != nil {
		e.key("kill_policy")
		e.message(t.KillPolicy)
	}
	if t.User != nil {
		e.member(`,"user":`, t.GetUser())
	}
	e.b = append(e.b, '}')
}

// binary is a member of base64; its name has the opening quote of the value.
func (e *encoder) binary(name string, v []byte) {
	e.lit(name)
	e.b = base64.StdEncoding.AppendEncode(e.b, v)
	e.b = append(e.b, '"')
}

func (e *encoder) resourceV1(r *mesos.Resource) {
	e.comma()
	e.member(`{"name":`, r.GetName())
	e.lit(`,"type":"`)
	e.lit(r.GetType().String())
	e.b = append(e.b, '"')
	if r.Scalar != nil {
		e.lit(`,"scalar":{"value":`)
		e.exact(r.GetScalar().GetValue())
		e.b = append(e.b, '}')
	}
	if r.Ranges != nil {
		e.lit(`,"ranges":{`)
		for i, each := range r.GetRanges().GetRange() {
			if i == 0 {
				e.lit(`"range":[{"begin":`)
			} else {
				e.lit(`,{"begin":`)
			}
			e.b = strconv.AppendUint(e.b, each.GetBegin(), 10)
			e.lit(`,"end":`)
			e.b = strconv.AppendUint(e.b, each.GetEnd(), 10)
			e.b = append(e.b, '}')
		}
		if len(r.GetRanges().GetRange()) > 0 {
			e.b = append(e.b, ']')
		}
		e.b = append(e.b, '}')
	}
	if r.AllocationInfo != nil {
		e.member(`,"allocation_info":{"role":`, r.GetAllocationInfo().GetRole())
		e.b = append(e.b, '}')
	}
	for i, each := range r.GetReservations() {
		if i == 0 {
			e.lit(`,"reservations":[`)
		}
		e.reservationV1(each)
	}
	if len(r.GetReservations()) > 0 {
		e.b = append(e.b, ']')
	}
	e.b = append(e.b, '}')
}

func (e *encoder) reservationV1(r *mesos.Resource_ReservationInfo) {
	kind, known := mesos.Resource_ReservationInfo_Type_name[int32(r.GetType())]
	if r.Type == nil || !known || r.Labels != nil {
		e.message(r)
		return
	}
	e.comma()
	e.lit(`{"type":"`)
	e.lit(kind)
	e.b = append(e.b, '"')
	if r.Role != nil {
		e.member(`,"role":`, r.GetRole())
	}
	if r.Principal != nil {
		e.member(`,"principal":`, r.GetPrincipal())
	}
	e.b = append(e.b, '}')
}

func (e *encoder) statusV1(s *mesos.TaskStatus) {
	e.comma()
	e.member(`{"task_id":{"value":`, s.GetTaskId().GetValue())
	e.state(`},"state":"`, s.GetState())
	if s.Message != nil {
		e.member(`,"message":`, s.GetMessage())
	}
	if s.Source != nil {
		e.lit(`,"source":"`)
		e.lit(mesos.TaskStatus_Source_name[int32(s.GetSource())])
		e.b = append(e.b, '"')
	}
	if s.Reason != nil {
		e.lit(`,"reason":"`)
		e.lit(mesos.TaskStatus_Reason_name[int32(s.GetReason())])
		e.b = append(e.b, '"')
	}
	if s.Data != nil {
		e.binary(`,"data":"`, s.GetData())
	}
	if s.AgentId != nil {
		e.member(`,"agent_id":{"value":`, s.GetAgentId().GetValue())
		e.b = append(e.b, '}')
	}
	if s.ExecutorId != nil {
		e.member(`,"executor_id":{"value":`, s.GetExecutorId().GetValue())
		e.b = append(e.b, '}')
	}
	if s.Timestamp != nil {
		e.lit(`,"timestamp":`)
		e.exact(s.GetTimestamp())
	}
	if s.Uuid != nil {
		e.binary(`,"uuid":"`, s.GetUuid())
	}
	if s.Healthy != nil {
		e.flag("healthy", s.GetHealthy())
	}
	rare := [...]struct {
		name    string
		message proto.Message
		there   bool
	}{
		{"check_status", s.CheckStatus, s.CheckStatus != nil},
		{"labels", s.Labels, s.Labels != nil},
		{"container_status", s.ContainerStatus, s.ContainerStatus != nil && !plainContainer(s.ContainerStatus)},
		{"unreachable_time", s.UnreachableTime, s.UnreachableTime != nil},
		{"limitation", s.Limitation, s.Limitation != nil},
	}
	for i := range rare {
		switch each := &rare[i]; {
		case each.there:
			e.key(each.name)
			e.message(each.message)
		case i == 2 && s.ContainerStatus != nil:
			e.lit(`,"container_status":`)
			e.containerV1(s.ContainerStatus)
		}
	}
	e.b = append(e.b, '}')
}

// plainContainer reports whether containerV1 knows how to print all of c.
func plainContainer(c *mesos.ContainerStatus) bool {
	if c.CgroupInfo != nil || c.ContainerId != nil && (c.ContainerId.Value == nil || c.ContainerId.Parent != nil) {
		return false
	}
	for _, n := range c.NetworkInfos {
		if len(n.Groups) > 0 || n.Labels != nil || len(n.PortMappings) > 0 {
			return false
		}
		for _, a := range n.IpAddresses {
			if mesos.NetworkInfo_Protocol_name[int32(a.GetProtocol())] == "" {
				return false
			}
		}
	}
	return true
}

func (e *encoder) containerV1(c *mesos.ContainerStatus) {
	e.b = append(e.b, '{')
	if c.ContainerId != nil {
		e.member(`"container_id":{"value":`, c.GetContainerId().GetValue())
		e.b = append(e.b, '}')
	}
	if len(c.NetworkInfos) > 0 {
		e.key("network_infos")
		e.open('[')
		for _, n := range c.NetworkInfos {
			e.open('{')
			if len(n.IpAddresses) > 0 {
				e.lit(`"ip_addresses":[`)
				for _, a := range n.IpAddresses {
					e.comma()
					e.member(`{"protocol":`, a.GetProtocol().String()) // IPv4 when unset
					if a.IpAddress != nil {
						e.member(`,"ip_address":`, a.GetIpAddress())
					}
					e.b = append(e.b, '}')
				}
				e.b = append(e.b, ']')
			}
			if n.Name != nil {
				e.str("name", n.GetName())
			}
			e.b = append(e.b, '}')
		}
		e.b = append(e.b, ']')
	}
	if c.ExecutorPid != nil {
		e.key("executor_pid")
		e.b = strconv.AppendUint(e.b, uint64(c.GetExecutorPid()), 10)
	}
	e.b = append(e.b, '}')
}
