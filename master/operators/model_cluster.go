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
	if a.Drain != nil {
		e.key("drain_info")
		e.message(a.Drain)
	}
	if !a.DrainSince.IsZero() {
		e.num("estimated_drain_start_time_seconds", seconds(a.DrainSince))
	}
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

// agentParts is the pair of members that lists agents; more adds members to each.
func agentParts(agents []*ledger.AgentView, recovered []*mesos.AgentInfo, more func(*encoder, *ledger.AgentView)) []part {
	return []part{
		listOpens("slaves"),
		part{len(agents), func(e *encoder, i int) {
			if i%ahead == 0 {
				e.seen += warmAgents(agents[i:min(i+ahead, len(agents))])
			}
			e.open('{')
			e.agent(agents[i])
			more(e, agents[i])
			e.shut('}')
		}},
		listShuts,
		listOpens("recovered_slaves"),
		each(recovered, func(e *encoder, info *mesos.AgentInfo) {
			e.open('{')
			e.agentInfo(info)
			e.shut('}')
		}),
		listShuts,
	}
}

// listOpens begins a member with an array, listShuts ends it.
func listOpens(name string) part {
	return one(func(e *encoder) {
		e.key(name)
		e.open('[')
	})
}

var listShuts = one(func(e *encoder) { e.shut(']') })

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

// frameworkOpens prints a framework up to its tasks.
func (e *encoder) frameworkOpens(f *ledger.FrameworkView) {
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
}

// frameworkShuts prints what follows its executors.
func (e *encoder) frameworkShuts(f *ledger.FrameworkView) {
	e.labels(f.Info.GetLabels())
	e.key("offer_constraints")
	if f.Constraints != nil {
		e.message(f.Constraints)
	} else {
		e.message(&scheduler.OfferConstraints{})
	}
	e.shut('}')
}

// frameworkParts are the two members that list frameworks with their tasks.
func frameworkParts(live, completed []*ledger.FrameworkView) []part {
	var list []part
	for _, all := range []struct {
		name  string
		items []*ledger.FrameworkView
	}{{"frameworks", live}, {"completed_frameworks", completed}} {
		list = append(list, listOpens(all.name))
		for _, f := range all.items {
			list = append(list,
				one(func(e *encoder) { e.frameworkOpens(f) }),
				listOpens("tasks"), tasks(f.Tasks), listShuts,
				listOpens("unreachable_tasks"), tasks(f.Unreachable), listShuts,
				listOpens("completed_tasks"), tasks(f.CompletedT), listShuts,
				listOpens("offers"), each(f.Offers, (*encoder).offer), listShuts,
				listOpens("executors"), each(f.Executors, (*encoder).executor), listShuts,
				one(func(e *encoder) { e.frameworkShuts(f) }))
		}
		list = append(list, listShuts)
	}
	return list
}
