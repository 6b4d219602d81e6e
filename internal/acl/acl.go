// Package acl decides who may do what: the rules of a Mesos ACL file (mesos-master.md
// 8.3) and their evaluation. A List is a plain value that never changes; asking it has
// no side effect, so cores may hold one.
package acl

import "strings"

// Action is one thing that rules speak about, named as its key in an ACL file.
type Action string

// The actions a master asks about, then those of agents, which stand in the same file.
const (
	RegisterFramework Action = "register_frameworks"
	RunTask           Action = "run_tasks"
	TeardownFramework Action = "teardown_frameworks"
	RegisterAgent     Action = "register_agents"

	Reserve          Action = "reserve_resources"
	Unreserve        Action = "unreserve_resources"
	CreateVolume     Action = "create_volumes"
	DestroyVolume    Action = "destroy_volumes"
	ResizeVolume     Action = "resize_volumes"
	CreateBlockDisk  Action = "create_block_disks"
	DestroyBlockDisk Action = "destroy_block_disks"
	CreateMountDisk  Action = "create_mount_disks"
	DestroyMountDisk Action = "destroy_mount_disks"
	DestroyRawDisk   Action = "destroy_raw_disks"

	GetQuota     Action = "get_quotas"
	UpdateQuota  Action = "update_quotas"
	UpdateWeight Action = "update_weights"

	ViewRole      Action = "view_roles"
	ViewFramework Action = "view_frameworks"
	ViewTask      Action = "view_tasks"
	ViewExecutor  Action = "view_executors"
	ViewFlags     Action = "view_flags"

	GetEndpoint    Action = "get_endpoints"
	AccessMesosLog Action = "access_mesos_logs"
	SetLogLevel    Action = "set_log_level"

	UpdateMaintenanceSchedule Action = "update_maintenance_schedules"
	GetMaintenanceSchedule    Action = "get_maintenance_schedules"
	StartMaintenance          Action = "start_maintenances"
	StopMaintenance           Action = "stop_maintenances"
	GetMaintenanceStatus      Action = "get_maintenance_statuses"

	DrainAgent      Action = "drain_agents"
	DeactivateAgent Action = "deactivate_agents"
	ReactivateAgent Action = "reactivate_agents"
	MarkAgentGone   Action = "mark_agents_gone"

	AccessSandbox                Action = "access_sandboxes"
	ViewContainer                Action = "view_containers"
	LaunchNestedAsUser           Action = "launch_nested_containers_as_user"
	LaunchNestedUnderParent      Action = "launch_nested_containers_under_parent_with_user"
	LaunchSessionAsUser          Action = "launch_nested_container_sessions_as_user"
	LaunchSessionUnderParent     Action = "launch_nested_container_sessions_under_parent_with_user"
	KillNested                   Action = "kill_nested_containers"
	WaitNested                   Action = "wait_nested_containers"
	RemoveNested                 Action = "remove_nested_containers"
	AttachInput                  Action = "attach_containers_input"
	AttachOutput                 Action = "attach_containers_output"
	LaunchStandalone             Action = "launch_standalone_containers"
	KillStandalone               Action = "kill_standalone_containers"
	WaitStandalone               Action = "wait_standalone_containers"
	RemoveStandalone             Action = "remove_standalone_containers"
	ViewStandalone               Action = "view_standalone_containers"
	PruneImages                  Action = "prune_images"
	ModifyResourceProviderConfig Action = "modify_resource_provider_configs"
	MarkResourceProviderGone     Action = "mark_resource_providers_gone"
	ViewResourceProvider         Action = "view_resource_providers"
)

// kind says what an action's objects are.
type kind uint8

const (
	named   kind = iota // users, principals, paths: compared as they are
	roles               // role paths: "a/%" means everything below a
	cluster             // the whole cluster: rules may only say ANY or NONE
)

// actions lists each action's object field in the file and the kind of the objects.
var actions = map[Action]struct {
	field string
	kind  kind
}{
	RegisterFramework: {"roles", roles},
	RunTask:           {"users", named},
	TeardownFramework: {"framework_principals", named},
	RegisterAgent:     {"agents", cluster},

	Reserve:          {"roles", roles},
	Unreserve:        {"reserver_principals", named},
	CreateVolume:     {"roles", roles},
	DestroyVolume:    {"creator_principals", named},
	ResizeVolume:     {"roles", roles},
	CreateBlockDisk:  {"roles", roles},
	DestroyBlockDisk: {"roles", roles},
	CreateMountDisk:  {"roles", roles},
	DestroyMountDisk: {"roles", roles},
	DestroyRawDisk:   {"roles", roles},

	GetQuota:     {"roles", roles},
	UpdateQuota:  {"roles", roles},
	UpdateWeight: {"roles", roles},

	ViewRole:      {"roles", roles},
	ViewFramework: {"users", named},
	ViewTask:      {"users", named},
	ViewExecutor:  {"users", named},
	ViewFlags:     {"flags", cluster},

	GetEndpoint:    {"paths", named},
	AccessMesosLog: {"logs", cluster},
	SetLogLevel:    {"level", cluster},

	UpdateMaintenanceSchedule: {"machines", cluster},
	GetMaintenanceSchedule:    {"machines", cluster},
	StartMaintenance:          {"machines", cluster},
	StopMaintenance:           {"machines", cluster},
	GetMaintenanceStatus:      {"machines", cluster},

	DrainAgent:      {"agents", cluster},
	DeactivateAgent: {"agents", cluster},
	ReactivateAgent: {"agents", cluster},
	MarkAgentGone:   {"agents", cluster},

	AccessSandbox:                {"users", named},
	ViewContainer:                {"users", named},
	LaunchNestedAsUser:           {"users", named},
	LaunchNestedUnderParent:      {"users", named},
	LaunchSessionAsUser:          {"users", named},
	LaunchSessionUnderParent:     {"users", named},
	KillNested:                   {"users", named},
	WaitNested:                   {"users", named},
	RemoveNested:                 {"users", named},
	AttachInput:                  {"users", named},
	AttachOutput:                 {"users", named},
	LaunchStandalone:             {"users", cluster},
	KillStandalone:               {"users", cluster},
	WaitStandalone:               {"users", cluster},
	RemoveStandalone:             {"users", cluster},
	ViewStandalone:               {"users", cluster},
	PruneImages:                  {"images", cluster},
	ModifyResourceProviderConfig: {"resource_providers", cluster},
	MarkResourceProviderGone:     {"resource_providers", cluster},
	ViewResourceProvider:         {"resource_providers", cluster},
}

// List is the rules of one file. A nil List has no rules and allows everything.
type List struct {
	permissive bool // the answer when no rule matches
	rules      map[Action][]rule
}

// rule is one entry; the first whose subject and object match decides.
type rule struct{ subjects, objects entity }

// entity is ANY, NONE, or some values.
type entity struct {
	any, none bool
	values    []string
}

// matches says whether an entry speaks about value; empty, it stands for whoever or
// whatever is not named, about which only ANY and NONE speak.
func (e entity) matches(value string, k kind) bool {
	if e.any || e.none {
		return true
	}
	if value == "" {
		return false
	}
	for _, v := range e.values {
		if v == value {
			return true
		}
		if below, ok := strings.CutSuffix(v, "%"); ok && k == roles && strings.HasSuffix(below, "/") && strings.HasPrefix(value, below) {
			return true
		}
	}
	return false
}

// Allows says whether principal (empty: nobody is authenticated) may do a to object
// (empty: the object has no name, or the action concerns the cluster as a whole).
func (l *List) Allows(principal string, a Action, object string) bool {
	if l == nil {
		return true
	}
	k := actions[a].kind
	if k == cluster {
		object = ""
	}
	for _, r := range l.rules[a] {
		if r.subjects.matches(principal, named) && r.objects.matches(object, k) {
			return !r.subjects.none && !r.objects.none
		}
	}
	return l.permissive
}

// AllowsAll says whether principal may do a to each of the objects; without objects,
// whether an unnamed one is allowed.
func (l *List) AllowsAll(principal string, a Action, objects []string) bool {
	if len(objects) == 0 {
		return l.Allows(principal, a, "")
	}
	for _, o := range objects {
		if !l.Allows(principal, a, o) {
			return false
		}
	}
	return true
}

// Unlimited says that principal may do a to every object there could be, so that the
// objects need not be looked at one by one. False is always safe.
func (l *List) Unlimited(principal string, a Action) bool {
	if l == nil {
		return true
	}
	for _, r := range l.rules[a] {
		if !r.subjects.matches(principal, named) {
			continue
		}
		switch {
		case r.subjects.none || r.objects.none:
			return false
		case r.objects.any:
			return true
		}
		// It allows what it names; what it does not name is up to the next.
	}
	return l.permissive
}
