package ledger_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

const (
	allAgent = `{"type":"MULTI_ROLE"},{"type":"HIERARCHICAL_ROLE"},{"type":"RESERVATION_REFINEMENT"},{"type":"RESOURCE_PROVIDER"},` +
		`{"type":"RESIZE_VOLUME"},{"type":"AGENT_OPERATION_FEEDBACK"},{"type":"AGENT_DRAINING"},{"type":"TASK_RESOURCE_LIMITS"}`
	oldAgent     = `{"type":"MULTI_ROLE"}`
	allFramework = `{"type":"MULTI_ROLE"},{"type":"RESERVATION_REFINEMENT"},{"type":"PARTITION_AWARE"},{"type":"SHARED_RESOURCES"},{"type":"REVOCABLE_RESOURCES"},{"type":"GPU_RESOURCES"}`
)

// bench is a stage with one agent M-S0 and one framework M-0000 on stream s1 in the
// roles eng and eng/web with principal p.
type bench struct {
	t *testing.T
	*stage
	at int // of the output that was not looked at
}

func newBench(t *testing.T, agentCaps, version string) *bench {
	t.Helper()
	b := &bench{t: t, stage: newStage(&bytes.Buffer{})}
	b.alive = true
	b.do("recovered")
	b.do(`agent slave(1)@10.0.0.1:5051 register {"slave":{"hostname":"h1","resources":[` + scalar("cpus", 4) + `,` + scalar("mem", 4096) + `,` + scalar("disk", 1000) + `,` + scalar("gpus", 2) +
		`,{"name":"ports","type":"RANGES","ranges":{"range":[{"begin":31000,"end":31009}]}},{"name":"disk","type":"SCALAR","scalar":{"value":200},"disk":{"source":{"type":"MOUNT","mount":{"root":"/m"}}}}]},` +
		`"version":"` + version + `","resource_version_uuid":{"value":"dmVyc2lvbg=="},"agent_capabilities":[` + agentCaps + `]}`)
	b.do(`call s1 {"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"u","name":"f","principal":"p","roles":["eng","eng/web"],"checkpoint":true,"failover_timeout":600,"capabilities":[` + allFramework + `]},"suppressed_roles":["eng/web"]}}`)
	return b
}

func (b *bench) do(line string) {
	b.t.Helper()
	if err := b.command(b.expand(line)); err != nil {
		b.t.Fatalf("%s: %v", line, err)
	}
}

// said gives what came out since the last time.
func (b *bench) said() string {
	text := b.out.String()[b.at:]
	b.at = b.out.Len()
	return text
}

// offer lets the allocator run and gives the newest offer's id.
func (b *bench) offer() string {
	b.t.Helper()
	b.said()
	b.do("wait 6s")
	b.do("allocate")
	text := b.said()
	_, rest, found := strings.Cut(text, "OFFERS ")
	if !found {
		b.t.Fatalf("no offer in %q", text)
	}
	id, _, _ := strings.Cut(rest, " ")
	return id
}

// accept takes a fresh offer with the operations and gives what came out.
func (b *bench) accept(operations string) string {
	b.t.Helper()
	id := b.offer()
	b.do(`call s1 {"type":"ACCEPT","framework_id":{"value":"M-0000"},"accept":{"offer_ids":[{"value":"` + id + `"}],"operations":[` + operations + `]}}`)
	return b.said()
}

func scalar(name string, value float64) string {
	return fmt.Sprintf(`{"name":"%s","type":"SCALAR","scalar":{"value":%v}}`, name, value)
}

func task(id, more string) string {
	return fmt.Sprintf(`{"name":"n","task_id":{"value":"%s"},"agent_id":{"value":"M-S0"}%s}`, id, more)
}

func launch(tasks ...string) string {
	return `{"type":"LAUNCH","launch":{"task_infos":[` + strings.Join(tasks, ",") + `]}}`
}

func group(executor string, tasks ...string) string {
	return `{"type":"LAUNCH_GROUP","launch_group":{"executor":` + executor + `,"task_group":{"tasks":[` + strings.Join(tasks, ",") + `]}}}`
}

var (
	cpu     = `,"resources":[` + scalar("cpus", 1) + `]`
	command = `,"command":{"value":"true"}`
	// revocable is a resource that may be taken back.
	revocable = `{"name":"cpus","type":"SCALAR","scalar":{"value":1},"revocable":{}}`
)

func volume(id string) string {
	return `{"name":"disk","type":"SCALAR","scalar":{"value":10},"reservations":[{"type":"DYNAMIC","role":"eng","principal":"p"}],"disk":{"persistence":{"id":"` + id + `","principal":"p"},"volume":{"container_path":"v","mode":"RW"}}}`
}

func customExecutor(more string) string {
	return `,"executor":{"executor_id":{"value":"e"},"command":{"value":"e"},"resources":[` + scalar("cpus", 0.5) + `]` + more + `}`
}

// TestTaskRules is the list of mesos-master.md 1.6: one row for each rule of a task in a
// LAUNCH, with the reason that its TASK_ERROR carries.
func TestTaskRules(t *testing.T) {
	for _, c := range []struct{ name, task, why string }{
		{"good", task("a", cpu+command), ""},
		{"id empty", task("", cpu+command), "ID must not be empty"},
		{"id with slash", task("a/b", cpu+command), "'a/b' contains invalid characters"},
		{"id too long", task(strings.Repeat("x", 256), cpu+command), "ID must not be greater than 255 characters"},
		{"agent", `{"name":"n","task_id":{"value":"a"},"agent_id":{"value":"other"}` + cpu + command + `}`, "Task uses invalid agent other while agent M-S0 is expected"},
		{"kill policy", task("a", cpu+command+`,"kill_policy":{"grace_period":{"nanoseconds":-1}}`), "Task's 'kill_policy.grace_period' must be non-negative"},
		{"completion time", task("a", cpu+command+`,"max_completion_time":{"nanoseconds":-1}`), "Task's `max_completion_time` must be non-negative"},
		{"check without type", task("a", cpu+command+`,"check":{}`), "Task uses invalid check: CheckInfo must specify 'type'"},
		{"check without command", task("a", cpu+command+`,"check":{"type":"COMMAND"}`), "Task uses invalid check: Expecting 'command' to be set for COMMAND check"},
		{"check with empty command", task("a", cpu+command+`,"check":{"type":"COMMAND","command":{"command":{}}}`), "Task uses invalid check: Command check must contain 'shell command'"},
		{"check without executable", task("a", cpu+command+`,"check":{"type":"COMMAND","command":{"command":{"shell":false}}}`), "Task uses invalid check: Command check must contain 'executable path'"},
		{"check path", task("a", cpu+command+`,"check":{"type":"HTTP","http":{"port":80,"path":"x"}}`), "Task uses invalid check: The path 'x' of HTTP check must start with '/'"},
		{"check tcp", task("a", cpu+command+`,"check":{"type":"TCP"}`), "Task uses invalid check: Expecting 'tcp' to be set for TCP check"},
		{"check delay", task("a", cpu+command+`,"check":{"type":"TCP","tcp":{"port":1},"delay_seconds":-1}`), "Task uses invalid check: Expecting 'delay_seconds' to be non-negative: -1 is no number of seconds to wait"},
		{"health without type", task("a", cpu+command+`,"health_check":{"tcp":{"port":1}}`), "Task uses invalid health check: HealthCheck must specify 'type'"},
		{"health type inferred", task("a", cpu+command+`,"health_check":{"http":{"port":1}}`), ""},
		{"health scheme", task("a", cpu+command+`,"health_check":{"type":"HTTP","http":{"port":1,"scheme":"ftp"}}`), "Task uses invalid health check: Unsupported HTTP health check scheme: 'ftp'"},
		{"health path", task("a", cpu+command+`,"health_check":{"type":"HTTP","http":{"port":1,"path":"x"}}`), "Task uses invalid health check: The path 'x' of HTTP health check must start with '/'"},
		{"health command", task("a", cpu+command+`,"health_check":{"type":"COMMAND","command":{}}`), "Task uses invalid health check: Command health check must contain 'shell command'"},
		{"health grace", task("a", cpu+command+`,"health_check":{"type":"TCP","tcp":{"port":1},"grace_period_seconds":-0.5}`), "Task uses invalid health check: Expecting 'grace_period_seconds' to be non-negative: -0.5 is no number of seconds to wait"},
		{"no resources", task("a", command), "Task uses no resources"},
		{"negative resource", task("a", `,"resources":[`+scalar("cpus", -1)+`]`+command), "Task uses invalid resources: check resource: cpus:-1: Invalid scalar resource: value < 0"},
		{"fraction of a gpu", task("a", `,"resources":[`+scalar("gpus", 0.5)+`]`+command), "Task uses invalid resources: check resource: gpus:0.5: The 'gpus' resource must be an unsigned integer"},
		{"whole gpu", task("a", `,"resources":[`+scalar("gpus", 1)+`]`+command), ""},
		{"empty disk info", task("a", `,"resources":[{"name":"disk","type":"SCALAR","scalar":{"value":1},"disk":{}}]`+command), "Task uses invalid resources: Invalid DiskInfo: DiskInfo is set but empty"},
		{"volume without reservation", task("a", `,"resources":[{"name":"disk","type":"SCALAR","scalar":{"value":1},"disk":{"persistence":{"id":"v"},"volume":{"container_path":"v","mode":"RW"}}}]`+command), "Task uses invalid resources: Invalid DiskInfo: Persistent volumes cannot be created from unreserved resources"},
		{"volume id", task("a", `,"resources":[`+volume("a/b")+`]`+command), "Task uses invalid resources: Invalid DiskInfo: Invalid persistence ID for persistent volume: 'a/b' contains invalid characters"},
		{"volume twice", task("a", `,"resources":[`+volume("v")+`,`+volume("v")+`]`+command), "Task uses duplicate persistence ID: Persistence ID 'v' is not unique"},
		{"another role", task("a", `,"resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":1},"allocation_info":{"role":"ops"}}]`+command), "Invalid task resources: The resources are allocated to role 'ops', the offers to role 'eng'"},
		{"revocable and not", task("a", `,"resources":[`+scalar("cpus", 1)+`,`+revocable+`]`+command), "Task mixes revocable and non-revocable resources: Cannot use both revocable and non-revocable 'cpus' at the same time"},
		{"environment value", task("a", cpu+`,"command":{"value":"x","environment":{"variables":[{"name":"K"}]}}`), "Task's `CommandInfo` is invalid: Environment variable 'K' of type 'VALUE' must have a value set"},
		{"environment value and secret", task("a", cpu+`,"command":{"value":"x","environment":{"variables":[{"name":"K","value":"v","secret":{"type":"VALUE","value":{"data":""}}}]}}`), "Task's `CommandInfo` is invalid: Environment variable 'K' of type 'VALUE' must not have a secret set"},
		{"environment secret", task("a", cpu+`,"command":{"value":"x","environment":{"variables":[{"name":"K","type":"SECRET"}]}}`), "Task's `CommandInfo` is invalid: Environment variable 'K' of type 'SECRET' must have a secret set"},
		{"environment secret with value", task("a", cpu+`,"command":{"value":"x","environment":{"variables":[{"name":"K","type":"SECRET","value":"v","secret":{"type":"VALUE","value":{"data":""}}}]}}`), "Task's `CommandInfo` is invalid: Environment variable 'K' of type 'SECRET' must not have a value set"},
		{"environment secret without reference", task("a", cpu+`,"command":{"value":"x","environment":{"variables":[{"name":"K","type":"SECRET","secret":{"type":"REFERENCE"}}]}}`), "Task's `CommandInfo` is invalid: Environment variable 'K' specifies an invalid secret: Secret of type REFERENCE must have the 'reference' field set, and no 'value'"},
		{"environment secret with null", task("a", cpu+`,"command":{"value":"x","environment":{"variables":[{"name":"K","type":"SECRET","secret":{"type":"VALUE","value":{"data":"AAA="}}}]}}`), "Task's `CommandInfo` is invalid: Environment variable 'K' specifies a secret containing null bytes, which no environment can hold"},
		{"container volume without origin", task("a", cpu+command+`,"container":{"type":"MESOS","volumes":[{"container_path":"x","mode":"RW"}]}`), "Task's `ContainerInfo` is invalid: Invalid volume: Only one of them should be set: 'host_path', 'image' and 'source'"},
		{"container volume source", task("a", cpu+command+`,"container":{"type":"MESOS","volumes":[{"container_path":"x","mode":"RW","source":{"type":"SANDBOX_PATH"}}]}`), "Task's `ContainerInfo` is invalid: Invalid volume: 'source.sandbox_path' is not set for SANDBOX_PATH volume"},
		{"docker without info", task("a", cpu+command+`,"container":{"type":"DOCKER"}`), "Task's `ContainerInfo` is invalid: DockerInfo 'docker' is not set for DOCKER typed ContainerInfo"},
		{"docker name", task("a", cpu+command+`,"container":{"type":"DOCKER","docker":{"image":"i","parameters":[{"key":"name","value":"x"}]}}`), "Task's `ContainerInfo` is invalid: Parameter in DockerInfo must not be 'name'"},
		{"limit of disk", task("a", cpu+command+`,"limits":{"disk":{"value":1}}`), "Only cpus and mem may be included in a task's resource limits"},
		{"limit without request", task("a", cpu+command+`,"limits":{"mem":{"value":100}}`), "When a memory limit is specified, a memory request must also be specified"},
		{"limit below request", task("a", cpu+command+`,"limits":{"cpus":{"value":0.5}}`), "The CPU limit 0.5 must be greater than or equal to the CPU request 1"},
		{"limit infinite", task("a", cpu+command+`,"limits":{"cpus":{"value":"Infinity"}}`), ""},
		{"neither command nor executor", task("a", cpu), "Task should have at least one (but not both) of CommandInfo or ExecutorInfo present"},
		{"both command and executor", task("a", cpu+command+customExecutor("")), "Task should have at least one (but not both) of CommandInfo or ExecutorInfo present"},
		{"executor", task("a", cpu+customExecutor("")), ""},
		{"executor without command", task("a", cpu+`,"executor":{"type":"CUSTOM","executor_id":{"value":"e"}}`), "'ExecutorInfo.command' must be set for 'CUSTOM' executor"},
		{"executor of no type without command", task("a", cpu+`,"executor":{"executor_id":{"value":"e"}}`), "'ExecutorInfo.command' must be set"},
		{"default executor", task("a", cpu+`,"executor":{"type":"DEFAULT","executor_id":{"value":"e"}}`), "'ExecutorInfo.type' must be 'CUSTOM'"},
		{"executor id", task("a", cpu+`,"executor":{"executor_id":{"value":"a b\n"},"command":{"value":"e"}}`), "'a b\n' contains invalid characters"},
		{"executor of another framework", task("a", cpu+customExecutor(`,"framework_id":{"value":"x"}`)), "ExecutorInfo has an invalid FrameworkID (Actual: x vs Expected: M-0000)"},
		{"executor grace", task("a", cpu+customExecutor(`,"shutdown_grace_period":{"nanoseconds":-1}`)), "ExecutorInfo's 'shutdown_grace_period' must be non-negative"},
		{"executor cgroups", task("a", cpu+customExecutor(`,"container":{"type":"MESOS","linux_info":{"share_cgroups":true}}`)), "The 'share_cgroups' field cannot be set to 'true' on executor containers"},
		{"ports of task and executor overlap", task("a", `,"resources":[{"name":"ports","type":"RANGES","ranges":{"range":[{"begin":31000,"end":31001}]}}],"executor":{"executor_id":{"value":"e"},"command":{"value":"e"},"resources":[{"name":"ports","type":"RANGES","ranges":{"range":[{"begin":31001,"end":31001}]}}]}`),
			"There are overlapping resources in the task resources ports(allocated: eng):[31000-31001] and executor resources ports(allocated: eng):[31001-31001]"},
		{"more than offered", task("a", `,"resources":[`+scalar("cpus", 3.6)+`]`+customExecutor("")),
			"Total resources cpus(allocated: eng):4.1 required by task and its executor is more than available"},
		{"own cgroups", task("a", cpu+command+`,"container":{"type":"MESOS","linux_info":{"share_cgroups":false}}`), "Only tasks in a task group may have 'share_cgroups' set to 'false'"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, allAgent, "1.11.0")
			got := b.accept(launch(c.task))
			if c.why == "" {
				if strings.Contains(got, "TASK_ERROR") || !strings.Contains(got, "RunTaskMessage a ") {
					t.Errorf("refused: %s", got)
				}
				return
			}
			if !strings.Contains(got, " TASK_ERROR REASON_TASK_INVALID "+c.why) || strings.Contains(got, "RunTaskMessage") {
				t.Errorf("want %q, got %s", c.why, got)
			}
		})
	}
}

// An agent without the capability takes no limits.
func TestLimitsNeedCapability(t *testing.T) {
	b := newBench(t, oldAgent, "1.9.0")
	got := b.accept(launch(task("a", cpu+command+`,"limits":{"cpus":{"value":2}}`)))
	if !strings.Contains(got, "Agent is not capable of handling task resource limits") {
		t.Error(got)
	}
}

// The same executor again uses its resources only once; another one under its id is
// refused.
func TestExecutorOnce(t *testing.T) {
	b := newBench(t, allAgent, "1.11.0")
	got := b.accept(launch(task("a", cpu+customExecutor("")), task("b", cpu+customExecutor("")), task("c", cpu+customExecutor(`,"name":"other"`))))
	for _, want := range []string{"RunTaskMessage a pid=@0.0.0.0:0 launch_executor=true", "RunTaskMessage b pid=@0.0.0.0:0 launch_executor=false",
		"UPDATE c TASK_ERROR REASON_TASK_INVALID ExecutorInfo is not compatible with existing ExecutorInfo with same ExecutorID 'e'",
		"released M-S0 eng cpus:1.5;"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
}

// One task with resources that cannot be read voids its LAUNCH, not the next one.
func TestInvalidResourcesVoidTheLaunch(t *testing.T) {
	b := newBench(t, allAgent, "1.11.0")
	got := b.accept(launch(task("a", cpu+command), task("b", `,"resources":[`+scalar("cpus", -1)+`]`+command)) + "," + launch(task("c", cpu+command)))
	if strings.Count(got, "TASK_ERROR") != 2 || strings.Count(got, "RunTaskMessage") != 1 || !strings.Contains(got, "RunTaskMessage c ") {
		t.Error(got)
	}
}
