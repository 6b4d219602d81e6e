package operators

import (
	"math"
	"sort"
	"strconv"

	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/master/ledger"
)

// task prints one task. A large cluster has a hundred thousand of them in each answer, so
// that the members which all tasks have are written in the shortest way.
func (e *encoder) task(t *mesos.Task) {
	e.comma()
	e.member(`{"id":`, t.GetTaskId().GetValue())
	e.member(`,"name":`, t.GetName())
	e.member(`,"framework_id":`, t.GetFrameworkId().GetValue())
	e.member(`,"executor_id":`, t.GetExecutorId().GetValue())
	e.member(`,"slave_id":`, t.GetAgentId().GetValue())
	e.state(`,"state":"`, t.GetState())
	e.lit(`,"resources":`)
	resources := t.GetResources()
	e.resourcesOf(resources)
	if limits := t.GetLimits(); len(limits) > 0 {
		e.limits(limits)
	}
	e.role(resources)
	e.lit(`,"statuses":[`)
	for _, s := range t.GetStatuses() {
		e.status(s)
	}
	e.shut(']')
	if t.User != nil {
		e.member(`,"user":`, t.GetUser())
	}
	e.labels(t.GetLabels())
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
	e.shut('}')
}

// tasks is a part with an item for each task.
func tasks(list []*mesos.Task) part {
	return part{len(list), func(e *encoder, i int) {
		if i%ahead == 0 {
			e.seen += warm(list[i:min(i+ahead, len(list))])
		}
		e.task(list[i])
	}}
}

// ahead is how many tasks are read ahead of the one that is printed.
const ahead = 16

// warm reads what printing is about to read, of several tasks in parallel. The tasks of a
// large cluster lie all over the memory, and their parts too: one after the other, each
// would wait for its own line of memory. The sum has no meaning.
func warm(list []*mesos.Task) (n int) {
	for _, t := range list {
		n += len(t.Statuses) + len(t.Resources)
	}
	for _, t := range list {
		n += len(t.GetName())
		if t.TaskId != nil && t.TaskId.Value != nil {
			n++
		}
		if t.AgentId != nil && t.AgentId.Value != nil {
			n++
		}
		for _, s := range t.Statuses {
			if s.Timestamp != nil && s.State != nil {
				n++
			}
		}
		n += warmResources(t.Resources, false)
	}
	for _, t := range list {
		n += warmResources(t.Resources, true)
		n += len(t.GetTaskId().GetValue()) + len(t.GetAgentId().GetValue())
		for _, s := range t.Statuses {
			n += int(s.GetTimestamp())
		}
	}
	return n
}

// warmResources is warm for a list of resources: first themselves, then what they hold.
func warmResources(list []*mesos.Resource, deep bool) (n int) {
	for _, r := range list {
		switch {
		case !deep && r.Name != nil && r.Scalar != nil:
			n++
		case deep:
			n += len(r.GetName()) + int(r.GetScalar().GetValue())
			if r.AllocationInfo != nil && r.AllocationInfo.Role != nil {
				n++
			}
			if len(r.Reservations) > 0 && r.Reservations[0].Role != nil {
				n++
			}
		}
	}
	return n
}

// warmAgents is warm for agents.
func warmAgents(list []*ledger.AgentView) (n int) {
	for _, a := range list {
		n += len(a.Total) + len(a.Used) + len(a.Offered) + len(a.Capabilities)
		if a.Info.Hostname != nil && a.Info.Id != nil {
			n++
		}
	}
	for deep := range 2 {
		for _, a := range list {
			n += warmResources(a.Total, deep == 1) + warmResources(a.Used, deep == 1) + warmResources(a.Offered, deep == 1)
			n += len(a.Info.GetHostname()) + len(a.Info.GetId().GetValue())
			for _, c := range a.Capabilities {
				n += int(c.GetType())
			}
		}
	}
	return n
}

// stateNames are the names of states by their numbers.
var stateNames = func() (names [16]string) {
	for number, name := range mesos.TaskState_name {
		if int(number) < len(names) {
			names[number] = name
		}
	}
	return names
}()

// state appends a member with a state's name; its name has the opening quote of the
// value.
func (e *encoder) state(name string, s mesos.TaskState) {
	e.lit(name)
	if s >= 0 && int(s) < len(stateNames) && stateNames[s] != "" {
		e.lit(stateNames[s])
	} else {
		e.b = strconv.AppendInt(e.b, int64(s), 10)
	}
	e.b = append(e.b, '"')
}

func (e *encoder) limits(limits map[string]*mesos.Value_Scalar) {
	names := make([]string, 0, len(limits))
	for name := range limits {
		names = append(names, name)
	}
	sort.Strings(names)
	e.key("limits")
	e.open('{')
	for _, name := range names {
		e.named(name)
		if v := limits[name].GetValue(); math.IsInf(v, 1) {
			e.quoted("Infinity")
		} else {
			e.double(v)
		}
	}
	e.shut('}')
}

// status prints one entry of a task's history: less than v1 does, as in Mesos.
func (e *encoder) status(s *mesos.TaskStatus) {
	e.comma()
	e.state(`{"state":"`, s.GetState())
	e.lit(`,"timestamp":`)
	e.amount(s.GetTimestamp())
	e.labels(s.GetLabels())
	if c := s.GetContainerStatus(); c != nil {
		e.lit(`,"container_status":`)
		e.containerStatus(c)
	}
	if s.Healthy != nil {
		e.flag("healthy", s.GetHealthy())
	}
	e.shut('}')
}

// discovery prints a DiscoveryInfo as message would.
func (e *encoder) discovery(d *mesos.DiscoveryInfo) {
	if d.GetLabels() != nil || !plainPorts(d.GetPorts()) {
		e.message(d)
		return
	}
	e.lit(`{"visibility":"`)
	e.lit(d.GetVisibility().String())
	e.b = append(e.b, '"')
	for _, each := range [...]struct {
		name  string
		value *string
	}{{`,"name":`, d.Name}, {`,"environment":`, d.Environment}, {`,"location":`, d.Location}, {`,"version":`, d.Version}} {
		if each.value != nil {
			e.member(each.name, *each.value)
		}
	}
	if d.Ports != nil {
		e.lit(`,"ports":{`)
		for i, p := range d.GetPorts().GetPorts() {
			if i == 0 {
				e.lit(`"ports":[`)
			} else {
				e.b = append(e.b, ',')
			}
			e.lit(`{"number":`)
			e.b = strconv.AppendUint(e.b, uint64(p.GetNumber()), 10)
			if p.Name != nil {
				e.member(`,"name":`, p.GetName())
			}
			if p.Protocol != nil {
				e.member(`,"protocol":`, p.GetProtocol())
			}
			e.b = append(e.b, '}')
		}
		if len(d.GetPorts().GetPorts()) > 0 {
			e.b = append(e.b, ']')
		}
		e.b = append(e.b, '}')
	}
	e.b = append(e.b, '}')
}

// plainPorts reports whether all ports have nothing but number, name and protocol.
func plainPorts(list *mesos.Ports) bool {
	for _, p := range list.GetPorts() {
		if p.Visibility != nil || p.Labels != nil {
			return false
		}
	}
	return true
}

func (e *encoder) containerStatus(c *mesos.ContainerStatus) {
	e.b = append(e.b, '{')
	if id := c.GetContainerId(); id != nil {
		e.lit(`"container_id":`)
		e.containerID(id, 0)
	}
	if len(c.GetNetworkInfos()) > 0 {
		e.key("network_infos")
		e.open('[')
		for _, n := range c.GetNetworkInfos() {
			e.network(n)
		}
		e.shut(']')
	}
	if c.CgroupInfo != nil {
		e.key("cgroup_info")
		e.message(c.CgroupInfo)
	}
	e.shut('}')
}

// maxParents bounds the nesting of container ids that is printed; Mesos allows 32.
const maxParents = 64

func (e *encoder) containerID(id *mesos.ContainerID, depth int) {
	e.member(`{"value":`, id.GetValue())
	if p := id.GetParent(); p != nil && depth < maxParents {
		e.key("parent")
		e.containerID(p, depth+1)
	}
	e.shut('}')
}

func (e *encoder) network(n *mesos.NetworkInfo) {
	e.open('{')
	if len(n.GetGroups()) > 0 {
		e.strings("groups", n.GetGroups())
	}
	e.labels(n.GetLabels())
	if len(n.GetIpAddresses()) > 0 {
		e.key("ip_addresses")
		e.open('[')
		for _, a := range n.GetIpAddresses() {
			e.comma()
			e.member(`{"protocol":`, a.GetProtocol().String()) // IPv4 when unset
			if a.IpAddress != nil {
				e.member(`,"ip_address":`, a.GetIpAddress())
			}
			e.shut('}')
		}
		e.shut(']')
	}
	if n.Name != nil {
		e.str("name", n.GetName())
	}
	if len(n.GetPortMappings()) > 0 {
		e.key("port_mappings")
		e.open('[')
		for _, p := range n.GetPortMappings() {
			e.message(p)
		}
		e.shut(']')
	}
	e.shut('}')
}

// executor prints a custom executor.
func (e *encoder) executor(v ledger.ExecutorView) {
	info := v.Info
	e.open('{')
	e.str("executor_id", info.GetExecutorId().GetValue())
	e.str("name", info.GetName())
	e.str("framework_id", info.GetFrameworkId().GetValue())
	e.key("command")
	e.command(info.GetCommand())
	e.key("resources")
	e.resources(info.GetResources())
	e.role(info.GetResources())
	e.labels(info.GetLabels())
	if info.Type != nil {
		e.str("type", info.GetType().String())
	}
	e.str("slave_id", string(v.Agent))
	e.shut('}')
}

func (e *encoder) command(c *mesos.CommandInfo) {
	e.open('{')
	if c != nil && c.Shell != nil {
		e.flag("shell", c.GetShell())
	}
	if c != nil && c.Value != nil {
		e.str("value", c.GetValue())
	}
	e.strings("argv", c.GetArguments())
	if env := c.GetEnvironment(); env != nil {
		e.key("environment")
		e.message(env)
	}
	e.key("uris")
	e.open('[')
	for _, u := range c.GetUris() {
		e.open('{')
		e.str("value", u.GetValue())
		e.flag("executable", u.GetExecutable())
		e.shut('}')
	}
	e.shut(']')
	e.shut('}')
}

// offer prints an outstanding offer.
func (e *encoder) offer(o *mesos.Offer) {
	e.open('{')
	e.str("id", o.GetId().GetValue())
	e.str("framework_id", o.GetFrameworkId().GetValue())
	if o.AllocationInfo != nil {
		e.key("allocation_info")
		e.message(o.AllocationInfo)
	}
	e.str("slave_id", o.GetAgentId().GetValue())
	e.key("resources")
	e.resources(o.GetResources())
	e.shut('}')
}
