package operators

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/maintenance"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/quota"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
	"github.com/stoa-project/stoa/master/ledger"
)

// sharedReads are the reads whose answers are long and polled.
var sharedReads = []masterapi.Call_Type{
	masterapi.Call_GET_STATE, masterapi.Call_GET_TASKS, masterapi.Call_GET_AGENTS,
	masterapi.Call_GET_FRAMEWORKS, masterapi.Call_GET_EXECUTORS,
}

// read makes the answer to a read of the book; nil when t is no such read.
func (s *Shell) read(t masterapi.Call_Type, b *ledger.Snapshot) *masterapi.Response {
	r := &masterapi.Response{Type: masterapi.Response_Type(masterapi.Response_Type_value[t.String()]).Enum()}
	switch t {
	case masterapi.Call_GET_STATE:
		r.GetState = getState(b)
	case masterapi.Call_GET_TASKS:
		r.GetTasks = getTasks(b)
	case masterapi.Call_GET_AGENTS:
		r.GetAgents = getAgents(b)
	case masterapi.Call_GET_FRAMEWORKS:
		r.GetFrameworks = getFrameworks(b)
	case masterapi.Call_GET_EXECUTORS:
		r.GetExecutors = getExecutors(b)
	case masterapi.Call_GET_OPERATIONS:
		r.GetOperations = &masterapi.Response_GetOperations{} // the ledger finishes operations in the step that starts them
	case masterapi.Call_GET_ROLES:
		r.GetRoles = s.getRoles(b)
	case masterapi.Call_GET_MASTER:
		r.GetMaster = &masterapi.Response_GetMaster{MasterInfo: b.Master, StartTime: proto.Float64(seconds(s.views.Started())),
			ElectedTime: proto.Float64(seconds(b.Elected))}
	default:
		return nil
	}
	return r
}

// readAside makes the answer to a read that needs no book; nil when t is no such read.
func (s *Shell) readAside(t masterapi.Call_Type) *masterapi.Response {
	r := &masterapi.Response{Type: masterapi.Response_Type(masterapi.Response_Type_value[t.String()]).Enum()}
	switch t {
	case masterapi.Call_GET_HEALTH:
		r.GetHealth = &masterapi.Response_GetHealth{Healthy: proto.Bool(true)}
	case masterapi.Call_GET_FLAGS:
		r.GetFlags = &masterapi.Response_GetFlags{Flags: s.flagList()}
	case masterapi.Call_GET_VERSION:
		r.GetVersion = &masterapi.Response_GetVersion{VersionInfo: s.cfg.Version}
	case masterapi.Call_GET_METRICS:
		r.GetMetrics = &masterapi.Response_GetMetrics{Metrics: s.metricValues()}
	case masterapi.Call_GET_LOGGING_LEVEL:
		r.GetLoggingLevel = &masterapi.Response_GetLoggingLevel{Level: proto.Uint32(0)} // verbose levels above 0 cannot be set
	case masterapi.Call_GET_WEIGHTS:
		if infos := s.weightInfos(); len(infos) > 0 { // Mesos leaves the message out when there are none
			r.GetWeights = &masterapi.Response_GetWeights{WeightInfos: infos}
		}
	case masterapi.Call_GET_QUOTA:
		r.GetQuota = &masterapi.Response_GetQuota{Status: &quota.QuotaStatus{}}
	case masterapi.Call_GET_MAINTENANCE_STATUS:
		r.GetMaintenanceStatus = &masterapi.Response_GetMaintenanceStatus{Status: &maintenance.ClusterStatus{}}
	case masterapi.Call_GET_MAINTENANCE_SCHEDULE:
		r.GetMaintenanceSchedule = &masterapi.Response_GetMaintenanceSchedule{Schedule: &maintenance.Schedule{}}
	default:
		return nil
	}
	return r
}

func getState(b *ledger.Snapshot) *masterapi.Response_GetState {
	return &masterapi.Response_GetState{GetTasks: getTasks(b), GetExecutors: getExecutors(b),
		GetFrameworks: getFrameworks(b), GetAgents: getAgents(b)}
}

func getTasks(b *ledger.Snapshot) *masterapi.Response_GetTasks {
	out := &masterapi.Response_GetTasks{}
	for _, list := range [][]*ledger.FrameworkView{b.Frameworks, b.Completed} {
		for _, f := range list {
			out.Tasks = append(out.Tasks, f.Tasks...)
			out.UnreachableTasks = append(out.UnreachableTasks, f.Unreachable...)
			out.CompletedTasks = append(out.CompletedTasks, f.CompletedT...)
		}
	}
	return out
}

func getAgents(b *ledger.Snapshot) *masterapi.Response_GetAgents {
	out := &masterapi.Response_GetAgents{RecoveredAgents: b.Recovered}
	for _, a := range b.Agents {
		out.Agents = append(out.Agents, endpointAgent(a.Wire()))
	}
	return out
}

// endpointAgent converts the three sums of an agent, which is the caller's own, to the
// form of operator endpoints. Everything else keeps the present form, as in Mesos.
func endpointAgent(a *masterapi.Response_GetAgents_Agent) *masterapi.Response_GetAgents_Agent {
	a.TotalResources = resource.Endpoint(a.TotalResources)
	a.AllocatedResources = resource.Endpoint(a.AllocatedResources)
	a.OfferedResources = resource.Endpoint(a.OfferedResources)
	return a
}

func getFrameworks(b *ledger.Snapshot) *masterapi.Response_GetFrameworks {
	all := func(list []*ledger.FrameworkView) (out []*masterapi.Response_GetFrameworks_Framework) {
		for _, v := range list {
			f := v.Wire()
			f.AllocatedResources = resource.Endpoint(f.AllocatedResources)
			f.OfferedResources = resource.Endpoint(f.OfferedResources)
			if f.OfferConstraints == nil {
				f.OfferConstraints = &scheduler.OfferConstraints{}
			}
			out = append(out, f)
		}
		return out
	}
	return &masterapi.Response_GetFrameworks{Frameworks: all(b.Frameworks), CompletedFrameworks: all(b.Completed)}
}

func getExecutors(b *ledger.Snapshot) *masterapi.Response_GetExecutors {
	out := &masterapi.Response_GetExecutors{}
	for _, f := range b.Frameworks {
		for _, x := range f.Executors {
			id := string(x.Agent)
			out.Executors = append(out.Executors, &masterapi.Response_GetExecutors_Executor{
				ExecutorInfo: x.Info, AgentId: &mesos.AgentID{Value: &id}})
		}
	}
	return out
}

// encodeRead encodes a shared read; room is a guess of its size.
func (s *Shell) encodeRead(t masterapi.Call_Type, codec wire.Codec, b *ledger.Snapshot, room int) ([]byte, error) {
	r := s.read(t, b)
	if codec.MediaType != wire.MediaJSON {
		return codec.Marshal(r)
	}
	e := &encoder{b: make([]byte, 0, room)}
	e.open('{')
	e.str("type", r.GetType().String())
	switch t {
	case masterapi.Call_GET_STATE:
		e.key("get_state")
		e.getState(r.GetState)
	case masterapi.Call_GET_TASKS:
		e.key("get_tasks")
		e.lists(r.GetTasks, taskLists)
	case masterapi.Call_GET_AGENTS:
		e.key("get_agents")
		e.lists(r.GetAgents, agentLists)
	case masterapi.Call_GET_FRAMEWORKS:
		e.key("get_frameworks")
		e.lists(r.GetFrameworks, frameworkLists)
	case masterapi.Call_GET_EXECUTORS:
		e.key("get_executors")
		e.lists(r.GetExecutors, executorLists)
	}
	e.shut('}')
	return e.b, e.err
}

// The lists that Mesos prints in JSON also when they are empty, unlike all others.
var (
	taskLists      = []protoreflect.Name{"tasks", "unreachable_tasks", "completed_tasks"}
	agentLists     = []protoreflect.Name{"agents", "recovered_agents"}
	frameworkLists = []protoreflect.Name{"frameworks", "completed_frameworks"}
	executorLists  = []protoreflect.Name{"executors"}
)

func (e *encoder) getState(m *masterapi.Response_GetState) {
	e.open('{')
	e.key("get_tasks")
	e.lists(m.GetTasks, taskLists)
	e.key("get_executors")
	e.lists(m.GetExecutors, executorLists)
	e.key("get_frameworks")
	e.lists(m.GetFrameworks, frameworkLists)
	e.key("get_agents")
	e.lists(m.GetAgents, agentLists)
	e.shut('}')
}

// lists prints a message that consists of these lists of messages.
func (e *encoder) lists(m proto.Message, names []protoreflect.Name) {
	r := m.ProtoReflect()
	e.open('{')
	for _, name := range names {
		e.key(string(name))
		e.open('[')
		list := r.Get(r.Descriptor().Fields().ByName(name)).List()
		for i := range list.Len() {
			e.message(list.Get(i).Message().Interface())
		}
		e.shut(']')
	}
	e.shut('}')
}
