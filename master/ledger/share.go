package ledger

import (
	"math"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// sharing makes equal parts of many tasks one part: the tasks of one app differ in their
// ids and ports and in little else, and a cluster has a million of them. Parts are never
// changed in place, so nobody sees a difference. What was not asked for lately is
// forgotten here; tasks that have it keep it.
type sharing struct {
	texts   map[string]*string
	scalars map[scalarKey]*mesos.Resource
	parts   map[string]proto.Message // by kind and bytes
	buf     []byte
}

// scalarKey is a resource of nothing but a name, a number and a role.
type scalarKey struct {
	name, role string
	thousands  int64
}

const (
	maxShared     = 4096    // entries of each kind
	maxSharedPart = 4 << 10 // bytes of a part that is worth it
)

func newSharing() *sharing {
	return &sharing{texts: map[string]*string{}, scalars: map[scalarKey]*mesos.Resource{}, parts: map[string]proto.Message{}}
}

// text gives one pointer for equal texts.
func (s *sharing) text(p *string) *string {
	if p == nil || len(*p) > maxSharedPart {
		return p
	}
	if known := s.texts[*p]; known != nil {
		return known
	}
	if len(s.texts) >= maxShared {
		clear(s.texts)
	}
	s.texts[*p] = p
	return p
}

// resources shares plain scalars and single ranges, which are ports of whatever agent; the
// list is the caller's own.
func (s *sharing) resources(list resource.Resources) resource.Resources {
	for i, r := range list {
		if key, plain := plainScalar(r); plain {
			known := s.scalars[key]
			if known == nil {
				if len(s.scalars) >= maxShared {
					clear(s.scalars)
				}
				known = r
				s.scalars[key] = r
			}
			list[i] = known
		} else if r.GetType() == mesos.Value_RANGES && len(r.GetRanges().GetRange()) == 1 {
			list[i] = share(s, r)
		} else {
			r.Name, r.AllocationInfo = s.text(r.Name), share(s, r.AllocationInfo)
		}
	}
	return list
}

func plainScalar(r *mesos.Resource) (k scalarKey, ok bool) {
	if r.GetType() != mesos.Value_SCALAR || r.ProviderId != nil || r.Role != nil || r.Reservation != nil || len(r.Reservations) > 0 ||
		r.Disk != nil || r.Revocable != nil || r.Shared != nil || r.Ranges != nil || r.Set != nil || r.Scalar == nil || len(r.ProtoReflect().GetUnknown()) > 0 {
		return k, false
	}
	v := r.Scalar.GetValue() * 1000
	if v != math.Trunc(v) || math.Abs(v) > 1<<53 {
		return k, false
	}
	return scalarKey{r.GetName(), r.GetAllocationInfo().GetRole(), int64(v)}, true
}

// share gives one message for equal ones.
func share[M interface {
	comparable
	proto.Message
}](s *sharing, m M) M {
	var none M
	if m == none {
		return m
	}
	s.buf = append(s.buf[:0], m.ProtoReflect().Descriptor().FullName()...)
	s.buf = append(s.buf, 0)
	var err error
	if s.buf, err = (proto.MarshalOptions{Deterministic: true, AllowPartial: true}).MarshalAppend(s.buf, m); err != nil || len(s.buf) > maxSharedPart {
		return m
	}
	if known, there := s.parts[string(s.buf)]; there {
		return known.(M)
	}
	if len(s.parts) >= maxShared {
		clear(s.parts)
	}
	s.parts[string(s.buf)] = m
	return m
}

// task shares what a new task has in common with others. The task is not in the book yet.
func (s *sharing) task(f *framework, a *agent, t *mesos.Task) {
	t.Name, t.User = s.text(t.Name), s.text(t.User)
	t.FrameworkId, t.AgentId = f.wireID, a.wireID
	t.State = stateWord(t.GetState())
	t.Labels, t.Container = share(s, t.Labels), share(s, t.Container)
	t.HealthCheck, t.KillPolicy = share(s, t.HealthCheck), share(s, t.KillPolicy)
	t.ExecutorId = share(s, t.ExecutorId)
	if d := t.Discovery; d != nil {
		d = &mesos.DiscoveryInfo{Visibility: d.Visibility, Name: s.text(d.Name), Environment: s.text(d.Environment), Location: s.text(d.Location),
			Version: s.text(d.Version), Ports: share(s, d.Ports), Labels: share(s, d.Labels)}
		d.ProtoReflect().SetUnknown(t.Discovery.ProtoReflect().GetUnknown())
		t.Discovery = d
	}
	for _, st := range t.Statuses {
		s.status(a, t, st)
	}
}

// status shares what a status has in common with its task, the status before it, and the
// agent's other tasks. Nobody else has seen the status yet.
func (s *sharing) status(a *agent, t *mesos.Task, st *mesos.TaskStatus) {
	if st.GetTaskId().GetValue() == t.GetTaskId().GetValue() {
		st.TaskId = t.TaskId
	}
	if st.GetAgentId().GetValue() == t.GetAgentId().GetValue() {
		st.AgentId = t.AgentId
	}
	st.State, st.Source, st.Reason = stateWord(st.GetState()), sourceWord(st.Source), reasonWord(st.Reason)
	st.Message = s.text(st.Message)
	if n := len(t.Statuses); n > 0 {
		last := t.Statuses[n-1]
		if proto.Equal(st.ExecutorId, last.ExecutorId) {
			st.ExecutorId = last.ExecutorId
		}
		if proto.Equal(st.ContainerStatus, last.ContainerStatus) {
			st.ContainerStatus = last.ContainerStatus
		} else {
			s.networks(a, st.ContainerStatus)
		}
		if proto.Equal(st.Labels, last.Labels) {
			st.Labels = last.Labels
		}
		return
	}
	s.networks(a, st.ContainerStatus)
	if st.ExecutorId != nil && st.GetExecutorId().GetValue() == t.GetTaskId().GetValue() {
		st.ExecutorId = &mesos.ExecutorID{Value: t.TaskId.Value} // of a command: called like its task
	}
}

// networks shares the networks of containers that follow each other on an agent: those of
// tasks without a network of their own are the agent's address.
func (s *sharing) networks(a *agent, c *mesos.ContainerStatus) {
	if len(c.GetNetworkInfos()) != 1 {
		return
	}
	if len(a.networks) == 1 && proto.Equal(c.NetworkInfos[0], a.networks[0]) {
		c.NetworkInfos = a.networks
	} else {
		a.networks = c.NetworkInfos
	}
}

// words are enum values that pointers may share.
var (
	stateWords  = words(mesos.TaskState_name, func(n int32) mesos.TaskState { return mesos.TaskState(n) })
	sourceWords = words(mesos.TaskStatus_Source_name, func(n int32) mesos.TaskStatus_Source { return mesos.TaskStatus_Source(n) })
	reasonWords = words(mesos.TaskStatus_Reason_name, func(n int32) mesos.TaskStatus_Reason { return mesos.TaskStatus_Reason(n) })
)

func words[E comparable](names map[int32]string, of func(int32) E) map[E]*E {
	out := make(map[E]*E, len(names))
	for n := range names {
		v := of(n)
		out[v] = &v
	}
	return out
}

func stateWord(v mesos.TaskState) *mesos.TaskState {
	if p := stateWords[v]; p != nil {
		return p
	}
	return &v
}

func sourceWord(v *mesos.TaskStatus_Source) *mesos.TaskStatus_Source {
	if v == nil || sourceWords[*v] == nil {
		return v
	}
	return sourceWords[*v]
}

func reasonWord(v *mesos.TaskStatus_Reason) *mesos.TaskStatus_Reason {
	if v == nil || reasonWords[*v] == nil {
		return v
	}
	return reasonWords[*v]
}
