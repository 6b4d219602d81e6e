package operators

import (
	"slices"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
	"github.com/stoa-project/stoa/master/ledger"
)

// agentInfo prints the members that known and recovered agents share.
func (e *encoder) agentInfo(info *mesos.AgentInfo) {
	e.str("id", info.GetId().GetValue())
	e.str("hostname", info.GetHostname())
	e.key("port")
	e.int(int64(info.GetPort()))
	e.key("attributes")
	e.attributes(info.GetAttributes())
	e.domain(info.GetDomain())
}

// agent prints the members of a registered agent; the caller opens and shuts the object.
func (e *encoder) agent(a *ledger.AgentView) {
	e.agentInfo(a.Info)
	e.str("pid", string(a.PID))
	e.time("registered_time", a.Registered)
	if !a.Reregistered.IsZero() {
		e.time("reregistered_time", a.Reregistered)
	}
	e.key("resources")
	e.resources(a.Total)
	e.key("used_resources")
	e.resources(a.Used)
	e.key("offered_resources")
	e.resources(a.Offered)
	e.key("reserved_resources")
	e.open('{')
	for _, role := range a.Total.Roles() {
		e.named(role)
		e.resources(a.Total.ReservedTo(role))
	}
	e.shut('}')
	e.key("unreserved_resources")
	e.resources(a.Total.Unreserved())
	e.flag("active", a.Active)
	e.flag("deactivated", a.Deactivated)
	e.str("version", a.Version)
	e.key("capabilities")
	e.open('[')
	for _, c := range a.Capabilities {
		e.quoted(c.GetType().String())
	}
	e.shut(']')
}

// agentFull adds the resources with their reservations and volumes, as /slaves has them.
func (e *encoder) agentFull(a *ledger.AgentView) {
	e.key("reserved_resources_full")
	e.open('{')
	for _, role := range a.Total.Roles() {
		e.named(role)
		e.endpoint(a.Total.ReservedTo(role))
	}
	e.shut('}')
	e.key("unreserved_resources_full")
	e.endpoint(a.Total.Unreserved())
	e.key("used_resources_full")
	e.endpoint(a.Used)
	e.key("offered_resources_full")
	e.endpoint(a.Offered)
}

// endpoint prints whole resources in the form of operator endpoints.
func (e *encoder) endpoint(list resource.Resources) {
	e.open('[')
	for _, r := range resource.Endpoint(list) {
		e.message(r)
	}
	e.shut(']')
}

// agents is the pair of members that lists all agents for which keep says yes.
func (e *encoder) agents(s *ledger.Snapshot, keep func(id string) bool, more func(*ledger.AgentView)) {
	e.key("slaves")
	e.open('[')
	for _, a := range s.Agents {
		if !keep(string(a.ID)) {
			continue
		}
		e.open('{')
		e.agent(a)
		more(a)
		e.shut('}')
	}
	e.shut(']')
	e.key("recovered_slaves")
	e.open('[')
	for _, info := range s.Recovered {
		if !keep(info.GetId().GetValue()) {
			continue
		}
		e.open('{')
		e.agentInfo(info)
		e.shut('}')
	}
	e.shut(']')
}

// frameworkHead prints the members that /state and /state-summary share.
func (e *encoder) frameworkHead(f *ledger.FrameworkView) {
	info := f.Info
	e.str("id", string(f.ID))
	e.str("name", info.GetName())
	if f.PID != "" {
		e.str("pid", string(f.PID))
	}
	e.key("used_resources")
	e.resources(f.Used)
	e.key("offered_resources")
	e.resources(f.Offered)
	e.key("capabilities")
	e.open('[')
	for _, c := range info.GetCapabilities() {
		e.quoted(c.GetType().String())
	}
	e.shut(']')
	e.str("hostname", info.GetHostname())
	e.str("webui_url", info.GetWebuiUrl())
	e.flag("active", f.Active)
	e.flag("connected", f.Connected)
	e.flag("recovered", f.Recovered)
}

func multiRole(info *mesos.FrameworkInfo) bool {
	return slices.ContainsFunc(info.GetCapabilities(), func(c *mesos.FrameworkInfo_Capability) bool {
		return c.GetType() == mesos.FrameworkInfo_Capability_MULTI_ROLE
	})
}

// framework prints one framework with its tasks.
func (e *encoder) framework(f *ledger.FrameworkView) {
	info := f.Info
	e.open('{')
	e.frameworkHead(f)
	e.str("user", info.GetUser())
	e.num("failover_timeout", info.GetFailoverTimeout())
	e.flag("checkpoint", info.GetCheckpoint())
	e.time("registered_time", f.Registered)
	e.time("unregistered_time", f.Unregistered)
	if info.Principal != nil {
		e.str("principal", info.GetPrincipal())
	}
	e.key("resources")
	e.resources(f.Used, f.Offered)
	if !f.Reregistered.IsZero() && !f.Reregistered.Equal(f.Registered) {
		e.time("reregistered_time", f.Reregistered)
	}
	if multiRole(info) {
		e.strings("roles", info.GetRoles())
	} else {
		e.str("role", info.GetRole())
	}
	for _, list := range []struct {
		name  string
		tasks []*mesos.Task
	}{{"tasks", f.Tasks}, {"unreachable_tasks", f.Unreachable}, {"completed_tasks", f.CompletedT}} {
		e.key(list.name)
		e.open('[')
		for _, t := range list.tasks {
			e.task(t)
		}
		e.shut(']')
	}
	e.key("offers")
	e.open('[')
	for _, o := range f.Offers {
		e.offer(o)
	}
	e.shut(']')
	e.key("executors")
	e.open('[')
	for _, x := range f.Executors {
		e.executor(x)
	}
	e.shut(']')
	e.labels(info.GetLabels())
	e.key("offer_constraints")
	if f.Constraints != nil {
		e.message(f.Constraints)
	} else {
		e.message(&scheduler.OfferConstraints{})
	}
	e.shut('}')
}

// frameworks are the two members that list frameworks for which keep says yes.
func (e *encoder) frameworks(s *ledger.Snapshot, keep func(id string) bool) {
	for _, list := range []struct {
		name  string
		items []*ledger.FrameworkView
	}{{"frameworks", s.Frameworks}, {"completed_frameworks", s.Completed}} {
		e.key(list.name)
		e.open('[')
		for _, f := range list.items {
			if keep(string(f.ID)) {
				e.framework(f)
			}
		}
		e.shut(']')
	}
}
