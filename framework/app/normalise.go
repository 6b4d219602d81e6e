package app

import (
	"encoding/json"
	"slices"
	"strings"
)

// Rules are the settings of the framework that shape what a definition becomes.
type Rules struct {
	MesosRole      string          // --mesos_role; default role of services
	DefaultNetwork string          // --default_network_name; "" when unset
	BridgeName     string          // --mesos_bridge_name
	Features       map[string]bool // --enable_features
	// EnforceNewGroups is --new_group_enforce_role=top: apps below a new top-level group
	// take the group's name as their role (marathon.md 4.5).
	EnforceNewGroups bool

	enforced *bool // while a top-level group is being made: its enforceRole
}

// Roles are the roles one app may have, by where it stands in the tree (Marathon
// contract 4.5).
type Roles struct {
	Default string
	Allowed []string
}

// RolesAt gives the roles for an app id in the tree; the role an existing app has stays
// allowed.
func (r Rules) RolesAt(root *Group, id PathID) Roles {
	out := Roles{Default: r.MesosRole, Allowed: []string{r.MesosRole}}
	if segs := id.Segments(); len(segs) > 1 {
		top := root.Group(Root.Child(segs[0]))
		enforce := r.EnforceNewGroups
		switch {
		case r.enforced != nil:
			enforce = *r.enforced
		case top != nil:
			enforce = top.EnforceRole
		}
		if enforce {
			out = Roles{Default: segs[0], Allowed: []string{segs[0]}}
		} else {
			out.Allowed = append(out.Allowed, segs[0])
		}
	}
	if a := root.App(id); a != nil && a.Role != "" {
		out.Allowed = append(out.Allowed, a.Role)
	}
	if p := root.Pod(id); p != nil && p.Role != "" {
		out.Allowed = append(out.Allowed, p.Role)
	}
	return out
}

// canonical fills defaults and gives the app in the form in which it is kept.
// Dependencies are resolved against the parent group.
func (d *draft) canonical(id PathID, r Rules, roles Roles, p *problems) *App {
	a := &App{
		ID: id, AcceptedResourceRoles: distinctOf(d.acceptedRoles), Args: d.args, BackoffFactor: d.backoffFactor, BackoffSeconds: d.backoffSeconds,
		Check: d.check, Cpus: d.cpus, Mem: d.mem, Disk: d.disk, GPUs: d.gpus, Env: d.env, Executor: d.executor,
		Fetch: d.fetch, HealthChecks: d.healthChecks, Instances: d.instances, KillSelection: d.killSelection,
		Labels: d.labels, MaxLaunchDelaySeconds: d.maxLaunchDelay, Networks: d.networks, ReadinessChecks: d.readinessChecks,
		RequirePorts: d.requirePorts, Residency: d.residency, ResourceLimits: d.limits, Secrets: d.secrets,
		TaskKillGraceSeconds: d.killGrace, TTY: d.tty, User: d.user, Role: roles.Default,
	}
	if d.cmd != nil {
		a.Cmd = *d.cmd
	}
	if d.role != nil {
		a.Role = *d.role
	}
	if a.Executor != "" && a.Executor != "//cmd" {
		a.ExecutorResources = d.executorResources
		if a.ExecutorResources == nil {
			a.ExecutorResources = &ExecutorResources{Cpus: 0.1, Mem: 32, Disk: 10}
		}
	}
	a.Constraints = readConstraints(d.constraints, p)
	for i, text := range d.dependencies {
		dep := ParsePath(text, id.Parent())
		if errs := CheckPath(dep); errs != nil {
			p.add(index("/dependencies", i), errs...)
		}
		a.Dependencies = append(a.Dependencies, dep)
	}
	a.Dependencies = distinctOf(a.Dependencies)
	d.placeNetworking(a, r)
	if a.Residency == nil && a.IsResident() {
		a.Residency = &Residency{RelaunchEscalationTimeoutSeconds: 3600, TaskLostBehavior: "WAIT_FOREVER"}
	}
	d.placeStrategies(a)
	for i := range a.HealthChecks {
		h := &a.HealthChecks[i]
		if h.Protocol != HealthCommand && h.Port == nil && h.PortIndex == nil && a.PortCount() > 0 {
			h.PortIndex = new(int)
		}
	}
	a.HealthChecks = distinctChecks(a.HealthChecks)
	return a
}

// placeNetworking settles networks, container and ports (marathon.md 2.5, 2.6).
func (d *draft) placeNetworking(a *App, r Rules) {
	if len(a.Networks) == 0 {
		a.Networks = []Network{{Mode: NetworkHost}}
	}
	for i := range a.Networks {
		if n := &a.Networks[i]; n.Mode == NetworkContainer && n.Name == "" {
			n.Name = r.DefaultNetwork
		}
	}
	if !d.host() {
		d.ensureContainer()
	}
	if d.container != nil {
		c := d.container.Container
		a.Container = &c
	}
	a.PortDefinitions = d.portDefinitions
	if a.HostNetworking() {
		if a.Container != nil {
			a.Container.PortMappings = nil
		}
		if a.PortDefinitions == nil {
			a.PortDefinitions = []PortDefinition{{Name: "default", Protocol: "tcp"}}
		}
		return
	}
	a.RequirePorts = false
	if a.Container.PortMappings == nil {
		a.Container.PortMappings = []PortMapping{{Name: "default", Protocol: "tcp"}}
	}
	if a.Networks[0].Mode == NetworkBridge {
		for i := range a.Container.PortMappings {
			if m := &a.Container.PortMappings[i]; m.HostPort == nil {
				m.HostPort = new(int)
			}
		}
	}
	if len(a.PortDefinitions) == 0 {
		a.PortDefinitions = nil
	}
}

// placeStrategies fills upgradeStrategy and unreachableStrategy, whose defaults depend
// on the kind of app (marathon.md 2.1).
func (d *draft) placeStrategies(a *App) {
	a.Upgrade = UpgradeStrategy{MaximumOverCapacity: 1, MinimumHealthCapacity: 1}
	switch {
	case a.IsSingleInstance():
		a.Upgrade = UpgradeStrategy{}
	case a.IsResident() || a.hasExternalVolume():
		a.Upgrade = UpgradeStrategy{MinimumHealthCapacity: 0.5}
	}
	if d.upgradeMin != nil {
		a.Upgrade.MinimumHealthCapacity = *d.upgradeMin
	}
	if d.upgradeMax != nil {
		a.Upgrade.MaximumOverCapacity = *d.upgradeMax
	}
	a.Unreachable = UnreachableStrategy{Disabled: a.IsResident()}
	if d.unreachable != nil {
		a.Unreachable = *d.unreachable
	}
}

func (a *App) hasExternalVolume() bool {
	return a.Container != nil && slices.ContainsFunc(a.Container.Volumes, func(v Volume) bool { return v.External != nil })
}

func readConstraints(raw []rawConstraint, p *problems) []Constraint {
	var out []Constraint
	for _, rc := range raw {
		if len(rc.parts) < 2 {
			p.add(rc.path, "Missing field and operator")
			continue
		}
		if len(rc.parts) > 3 {
			p.add(rc.path, "illegal constraint specification")
			continue
		}
		c := Constraint{Field: rc.parts[0], Operator: Operator(strings.ToUpper(rc.parts[1]))}
		if len(rc.parts) == 3 {
			c.Value = rc.parts[2]
		}
		c.check(rc.path, p)
		out = append(out, c)
	}
	return distinctOf(out)
}

// distinctChecks leaves out checks that are given twice: they are a set.
func distinctChecks(in []HealthCheck) []HealthCheck {
	if len(in) < 2 {
		return in
	}
	seen := make(map[string]bool, len(in))
	out := make([]HealthCheck, 0, len(in))
	for _, h := range in {
		text, err := json.Marshal(h)
		if err != nil || !seen[string(text)] { // a check always encodes
			seen[string(text)] = true
			out = append(out, h)
		}
	}
	return out
}
