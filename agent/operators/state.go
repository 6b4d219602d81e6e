package operators

import (
	"encoding/json"
	"strings"

	"github.com/labstack/echo/v4"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/acl"
	"github.com/stoa-project/stoa/internal/auth"
	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

type stateJSON struct {
	Version                     string                       `json:"version"`
	BuildDate                   string                       `json:"build_date"`
	BuildTime                   float                        `json:"build_time"`
	BuildUser                   string                       `json:"build_user"`
	StartTime                   float                        `json:"start_time"`
	ID                          string                       `json:"id"`
	PID                         string                       `json:"pid"`
	Hostname                    string                       `json:"hostname"`
	Capabilities                []string                     `json:"capabilities"`
	Domain                      json.RawMessage              `json:"domain,omitempty"`
	Resources                   map[string]any               `json:"resources"`
	ReservedResources           map[string]map[string]any    `json:"reserved_resources"`
	UnreservedResources         map[string]any               `json:"unreserved_resources"`
	ReservedResourcesFull       map[string][]json.RawMessage `json:"reserved_resources_full"`
	UnreservedResourcesFull     []json.RawMessage            `json:"unreserved_resources_full"`
	ReservedResourcesAllocated  map[string]map[string]any    `json:"reserved_resources_allocated"`
	UnreservedResourceAllocated map[string]any               `json:"unreserved_resources_allocated"`
	ResourceProviders           []any                        `json:"resource_providers"`
	Attributes                  map[string]any               `json:"attributes"`
	DrainConfig                 json.RawMessage              `json:"drain_config,omitempty"`
	DrainStart                  *float                       `json:"estimated_drain_start_time_seconds,omitempty"`
	MasterHostname              string                       `json:"master_hostname,omitempty"`
	LogDir                      string                       `json:"log_dir,omitempty"`
	ExternalLog                 string                       `json:"external_log_file,omitempty"`
	Flags                       map[string]string            `json:"flags"`
	Frameworks                  []frameworkJSON              `json:"frameworks"`
	CompletedFrameworks         []frameworkJSON              `json:"completed_frameworks"`
}

type frameworkJSON struct {
	ID                 string         `json:"id"`
	Name               string         `json:"name"`
	User               string         `json:"user"`
	FailoverTimeout    float          `json:"failover_timeout"`
	Checkpoint         bool           `json:"checkpoint"`
	Hostname           string         `json:"hostname"`
	Principal          string         `json:"principal,omitempty"`
	Role               string         `json:"role,omitempty"`
	Roles              []string       `json:"roles,omitempty"`
	Executors          []executorJSON `json:"executors"`
	CompletedExecutors []executorJSON `json:"completed_executors"`
}

type executorJSON struct {
	ID             string            `json:"id"`
	Name           string            `json:"name"`
	Source         string            `json:"source"`
	Container      string            `json:"container"`
	Directory      string            `json:"directory"`
	Resources      map[string]any    `json:"resources"`
	Role           string            `json:"role,omitempty"`
	Labels         []json.RawMessage `json:"labels,omitempty"`
	Type           string            `json:"type,omitempty"`
	Tasks          []taskJSON        `json:"tasks"`
	QueuedTasks    []queuedJSON      `json:"queued_tasks"`
	CompletedTasks []taskJSON        `json:"completed_tasks"`
}

type taskJSON struct {
	ID          string            `json:"id"`
	Name        string            `json:"name"`
	FrameworkID string            `json:"framework_id"`
	ExecutorID  string            `json:"executor_id"`
	SlaveID     string            `json:"slave_id"`
	State       string            `json:"state"`
	Resources   map[string]any    `json:"resources"`
	Limits      map[string]float  `json:"limits,omitempty"`
	Role        string            `json:"role,omitempty"`
	Statuses    []statusJSON      `json:"statuses"`
	User        string            `json:"user,omitempty"`
	Labels      []json.RawMessage `json:"labels,omitempty"`
	Discovery   json.RawMessage   `json:"discovery,omitempty"`
	Container   json.RawMessage   `json:"container,omitempty"`
	HealthCheck json.RawMessage   `json:"health_check,omitempty"`
}

type statusJSON struct {
	State           string            `json:"state"`
	Timestamp       float             `json:"timestamp"`
	Labels          []json.RawMessage `json:"labels,omitempty"`
	ContainerStatus json.RawMessage   `json:"container_status,omitempty"`
	Healthy         *bool             `json:"healthy,omitempty"`
}

type queuedJSON struct {
	ID         string          `json:"id"`
	Name       string          `json:"name"`
	SlaveID    string          `json:"slave_id"`
	Resources  map[string]any  `json:"resources"`
	Role       string          `json:"role,omitempty"`
	Command    *commandJSON    `json:"command,omitempty"`
	ExecutorID string          `json:"executor_id"`
	Discovery  json.RawMessage `json:"discovery,omitempty"`
}

type commandJSON struct {
	Shell       bool            `json:"shell"`
	Value       *string         `json:"value,omitempty"`
	Argv        []string        `json:"argv"`
	Environment json.RawMessage `json:"environment,omitempty"`
	URIs        []uriJSON       `json:"uris"`
}

type uriJSON struct {
	Value      string `json:"value"`
	Executable bool   `json:"executable"`
}

func command(c *mesos.CommandInfo) *commandJSON {
	if c == nil {
		return nil
	}
	out := &commandJSON{Shell: c.GetShell(), Value: c.Value, Argv: append([]string{}, c.GetArguments()...), Environment: raw(c.GetEnvironment()), URIs: []uriJSON{}}
	for _, u := range c.GetUris() {
		out.URIs = append(out.URIs, uriJSON{u.GetValue(), u.GetExecutable()})
	}
	return out
}

// state is GET /state (mesos-agent.md 6.3).
func (s *server) state(c echo.Context) (any, error) {
	ctx := c.Request().Context()
	v, err := s.see(ctx)
	if err != nil {
		return nil, err
	}
	total := s.total(v)
	flags := s.flagMap()
	if !s.Rules.Allows(auth.Name(ctx), acl.ViewFlags, "") {
		flags = map[string]string{}
	}
	out := stateJSON{
		Version: s.Version, StartTime: float(float64(s.Started.UnixNano()) / 1e9), ID: v.Agent, PID: s.PID,
		Hostname: s.Info.GetHostname(), Capabilities: []string{}, Domain: raw(s.Info.GetDomain()),
		Resources: amounts(total), UnreservedResources: amounts(total.Unreserved()),
		ReservedResources: map[string]map[string]any{}, ReservedResourcesFull: map[string][]json.RawMessage{},
		UnreservedResourcesFull: raws(resource.Endpoint(total.Unreserved())), ResourceProviders: []any{},
		Attributes: attributes(s.Info.GetAttributes()), MasterHostname: s.MasterHostname(), LogDir: s.LogDir, ExternalLog: s.ExternalLog, Flags: flags,
		ReservedResourcesAllocated: map[string]map[string]any{},
		Frameworks:                 []frameworkJSON{}, CompletedFrameworks: []frameworkJSON{},
	}
	if d := v.Drain; d != nil {
		since := float(float64(d.Since.UnixNano()) / 1e9)
		out.DrainConfig, out.DrainStart = raw(d.Config), &since
	}
	for _, cap := range s.Capabilities {
		out.Capabilities = append(out.Capabilities, cap.GetType().String())
	}
	for _, role := range total.Reserved().Roles() {
		if !s.mayViewRole(ctx, role) {
			continue
		}
		out.ReservedResources[role] = amounts(total.ReservedTo(role))
		out.ReservedResourcesFull[role] = raws(resource.Endpoint(total.ReservedTo(role)))
	}
	used := Allocated(v)
	out.UnreservedResourceAllocated = amounts(used.Unreserved())
	for _, role := range used.Reserved().Roles() {
		if !s.mayViewRole(ctx, role) {
			continue
		}
		out.ReservedResourcesAllocated[role] = amounts(used.ReservedTo(role))
	}
	for _, f := range v.Frameworks {
		out.Frameworks = append(out.Frameworks, framework(f))
	}
	for _, f := range v.Completed {
		out.CompletedFrameworks = append(out.CompletedFrameworks, framework(f))
	}
	return out, nil
}

// total is what the agent has, reservations and volumes made by masters included.
func (s *server) total(v *lifecycle.View) resource.Resources {
	if v.Total == nil {
		return resource.Of(s.Info.GetResources()...)
	}
	return v.Total
}

// Allocated is what live executors and their live tasks hold.
func Allocated(v *lifecycle.View) resource.Resources {
	var used resource.Resources
	for _, f := range v.Frameworks {
		for _, e := range f.Executors {
			if e.Phase != "TERMINATED" {
				used = used.Add(resource.Upgrade(e.Resources))
			}
		}
	}
	return used
}

func framework(f lifecycle.FrameworkView) frameworkJSON {
	info := f.Info
	out := frameworkJSON{
		ID: info.GetId().GetValue(), Name: info.GetName(), User: info.GetUser(), FailoverTimeout: float(info.GetFailoverTimeout()),
		Checkpoint: info.GetCheckpoint(), Hostname: info.GetHostname(), Principal: info.GetPrincipal(),
		Executors: []executorJSON{}, CompletedExecutors: []executorJSON{},
	}
	multi := false
	for _, c := range info.GetCapabilities() {
		multi = multi || c.GetType() == mesos.FrameworkInfo_Capability_MULTI_ROLE
	}
	if multi {
		out.Roles = info.GetRoles()
	} else {
		out.Role = info.GetRole()
	}
	for _, e := range f.Executors {
		out.Executors = append(out.Executors, execution(e))
	}
	for _, e := range f.Completed {
		out.CompletedExecutors = append(out.CompletedExecutors, execution(e))
	}
	return out
}

func execution(e lifecycle.ExecutorView) executorJSON {
	out := executorJSON{
		ID: e.Info.GetExecutorId().GetValue(), Name: e.Info.GetName(), Source: e.Info.GetSource(), Container: string(e.Container),
		Directory: e.Directory, Resources: amounts(e.Resources), Role: role(e.Resources), Labels: labels(e.Info.GetLabels()),
		Tasks: []taskJSON{}, QueuedTasks: []queuedJSON{}, CompletedTasks: []taskJSON{},
	}
	if e.Info.Type != nil {
		out.Type = e.Info.GetType().String()
	}
	for _, t := range e.Launched {
		out.Tasks = append(out.Tasks, task(t))
	}
	for _, t := range append(append([]*mesos.Task(nil), e.Terminated...), e.Completed...) {
		out.CompletedTasks = append(out.CompletedTasks, task(t))
	}
	for _, t := range e.Queued {
		out.QueuedTasks = append(out.QueuedTasks, queuedJSON{
			ID: t.GetTaskId().GetValue(), Name: t.GetName(), SlaveID: t.GetAgentId().GetValue(), Resources: amounts(t.GetResources()),
			Role: role(t.GetResources()), Command: command(t.GetCommand()), ExecutorID: t.GetExecutor().GetExecutorId().GetValue(),
			Discovery: raw(t.GetDiscovery()),
		})
	}
	return out
}

func task(t *mesos.Task) taskJSON {
	out := taskJSON{
		ID: t.GetTaskId().GetValue(), Name: t.GetName(), FrameworkID: t.GetFrameworkId().GetValue(), ExecutorID: t.GetExecutorId().GetValue(),
		SlaveID: t.GetAgentId().GetValue(), State: t.GetState().String(), Resources: amounts(t.GetResources()), Role: role(t.GetResources()),
		User: t.GetUser(), Labels: labels(t.GetLabels()), Discovery: raw(t.GetDiscovery()), Container: raw(t.GetContainer()),
		HealthCheck: raw(t.GetHealthCheck()), Statuses: []statusJSON{},
	}
	for name, v := range t.GetLimits() {
		if out.Limits == nil {
			out.Limits = map[string]float{}
		}
		out.Limits[name] = float(v.GetValue())
	}
	for _, st := range t.GetStatuses() {
		// executor_pid is not part of this endpoint's form (v0 ContainerStatus as shown)
		cs := st.GetContainerStatus()
		if cs != nil {
			cs = &mesos.ContainerStatus{ContainerId: cs.ContainerId, NetworkInfos: cs.NetworkInfos, CgroupInfo: cs.CgroupInfo}
		}
		out.Statuses = append(out.Statuses, statusJSON{
			State: st.GetState().String(), Timestamp: float(st.GetTimestamp()), Labels: labels(st.GetLabels()),
			ContainerStatus: raw(cs), Healthy: st.Healthy,
		})
	}
	return out
}

// amounts is the object form of resources: the four scalars always, ranges and sets as
// text, revocable ones under names of their own.
func amounts(rs []*mesos.Resource) map[string]any {
	out := map[string]any{"cpus": float(0), "gpus": float(0), "mem": float(0), "disk": float(0)}
	ranges := map[string]resource.Ranges{}
	sets := map[string][]string{}
	for _, r := range rs {
		name := r.GetName()
		if r.GetRevocable() != nil {
			name += "_revocable"
		}
		switch r.GetType() {
		case mesos.Value_SCALAR:
			have, _ := out[name].(float)
			sum := resource.FromFloat(float64(have)) + resource.FromFloat(r.GetScalar().GetValue())
			out[name] = float(sum.Float())
		case mesos.Value_RANGES:
			ranges[name] = ranges[name].Add(resource.RangesOf(r.GetRanges()))
		case mesos.Value_SET:
			sets[name] = append(sets[name], r.GetSet().GetItem()...)
		}
	}
	for name, r := range ranges {
		out[name] = r.String()
	}
	for name, items := range sets {
		out[name] = "{" + strings.Join(items, ", ") + "}"
	}
	return out
}

func attributes(as []*mesos.Attribute) map[string]any {
	out := map[string]any{}
	for _, a := range as {
		switch a.GetType() {
		case mesos.Value_SCALAR:
			out[a.GetName()] = float(a.GetScalar().GetValue())
		case mesos.Value_RANGES:
			out[a.GetName()] = resource.RangesOf(a.GetRanges()).String()
		case mesos.Value_SET:
			out[a.GetName()] = "{" + strings.Join(a.GetSet().GetItem(), ", ") + "}"
		default:
			out[a.GetName()] = a.GetText().GetValue()
		}
	}
	return out
}

// role is the role resources were allocated to.
func role(rs []*mesos.Resource) string {
	for _, r := range rs {
		if a := r.GetAllocationInfo().GetRole(); a != "" {
			return a
		}
	}
	return ""
}

// raw is a message in the Mesos JSON dialect; nil when it is absent or does not encode.
func raw(m proto.Message) json.RawMessage {
	if m == nil || !m.ProtoReflect().IsValid() {
		return nil
	}
	b, err := wire.MarshalJSON(m)
	if err != nil {
		return nil
	}
	return b
}

func raws(rs []*mesos.Resource) []json.RawMessage {
	out := []json.RawMessage{}
	for _, r := range rs {
		if b := raw(r); b != nil {
			out = append(out, b)
		}
	}
	return out
}

func labels(l *mesos.Labels) []json.RawMessage {
	var out []json.RawMessage
	for _, x := range l.GetLabels() {
		out = append(out, raw(x))
	}
	return out
}
