package ledger_test

import (
	"strings"
	"testing"
)

const podResources = `"resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":0.1}},{"name":"mem","type":"SCALAR","scalar":{"value":32}},{"name":"disk","type":"SCALAR","scalar":{"value":10}}]`

func podExecutor(more string) string {
	return `{"type":"DEFAULT","executor_id":{"value":"pod"},"framework_id":{"value":"M-0000"},` + podResources + more + `}`
}

// TestGroupRules has one row for each rule of a LAUNCH_GROUP (mesos-master.md 1.6); the
// first fault is the reason of every task.
func TestGroupRules(t *testing.T) {
	good := task("b", cpu+command)
	own := `,"container":{"type":"MESOS","linux_info":{"share_cgroups":false}}`
	for _, c := range []struct{ name, group, why string }{
		{"good", group(podExecutor(""), task("a", cpu+command), good), ""},
		{"custom executor", group(`{"type":"CUSTOM","executor_id":{"value":"pod"},"framework_id":{"value":"M-0000"},"command":{"value":"x"},`+podResources+`}`, task("a", cpu+command), good), ""},
		{"no tasks", group(podExecutor("")), "The task group has no tasks"},
		{"operation id", strings.Replace(group(podExecutor(""), task("a", cpu+command), good), `{"type"`, `{"id":{"value":"o"},"type"`, 1), "The `id` field cannot be set on LAUNCH_GROUP operations"},
		{"invalid resources", group(podExecutor(""), task("a", `,"resources":[`+scalar("cpus", -1)+`]`+command), good), "Task uses invalid resources: check resource: cpus:-1: Invalid scalar resource: value < 0"},
		{"task id", group(podExecutor(""), task("a/b", cpu+command), good), "Task 'a/b' is invalid: 'a/b' contains invalid characters"},
		{"same id twice", group(podExecutor(""), task("b", cpu+command), good), "Task 'b' is invalid: Task has duplicate ID: b"},
		{"health check with own network", group(podExecutor(""), task("a", cpu+command+`,"container":{"type":"MESOS","network_infos":[{}]},"health_check":{"type":"TCP","tcp":{"port":1}}`), good),
			"Task 'a' is invalid: HTTP and TCP health checks are not supported for nested containers not joining parent's network"},
		{"command health check with own network", group(podExecutor(""), task("a", cpu+command+`,"container":{"type":"MESOS","network_infos":[{}]},"health_check":{"type":"COMMAND","command":{"value":"x"}}`), good), ""},
		{"docker task", group(podExecutor(""), task("a", cpu+command+`,"container":{"type":"DOCKER","docker":{"image":"i"}}`), good), "Task 'a' is invalid: Docker ContainerInfo is not supported on the task"},
		{"limits with shared cgroups", group(podExecutor(""), task("a", cpu+command+`,"limits":{"cpus":{"value":2}}`), good), "Task 'a' is invalid: Resource limits may only be set for tasks within a task group when the 'share_cgroups' field is set to 'false'."},
		{"limits with own cgroups", group(podExecutor(""), task("a", cpu+command+`,"limits":{"cpus":{"value":2}}`+own), task("b", cpu+command+own)), ""},
		{"cgroups differ", group(podExecutor(""), task("a", cpu+command+own), good), "If set, the value of 'share_cgroups' must be the same for all tasks in each task group and under a single executor"},
		{"executor without framework", group(`{"type":"DEFAULT","executor_id":{"value":"pod"},`+podResources+`}`, good), "'ExecutorInfo.framework_id' must be set"},
		{"executor without type", group(`{"executor_id":{"value":"pod"},"framework_id":{"value":"M-0000"},`+podResources+`}`, good), "'ExecutorInfo.type' must be set"},
		{"default executor with command", group(podExecutor(`,"command":{"value":"x"}`), good), "'ExecutorInfo.command' must not be set for 'DEFAULT' executor"},
		{"default executor in docker", group(podExecutor(`,"container":{"type":"DOCKER","docker":{"image":"i"}}`), good), "'ExecutorInfo.container.type' must be 'MESOS' for 'DEFAULT' executor"},
		{"default executor with image", group(podExecutor(`,"container":{"type":"MESOS","mesos":{"image":{"type":"DOCKER","docker":{"name":"i"}}}}`), good), "'ExecutorInfo.container.mesos.image' must not be set for 'DEFAULT' executor"},
		{"custom executor without command", group(`{"type":"CUSTOM","executor_id":{"value":"pod"},"framework_id":{"value":"M-0000"},`+podResources+`}`, good), "'ExecutorInfo.command' must be set for 'CUSTOM' executor"},
		{"custom executor in docker", group(`{"type":"CUSTOM","executor_id":{"value":"pod"},"framework_id":{"value":"M-0000"},"command":{"value":"x"},"container":{"type":"DOCKER","docker":{"image":"i"}},`+podResources+`}`, good), "Docker ContainerInfo is not supported on the executor"},
		{"executor with shared cgroups", group(podExecutor(`,"container":{"type":"MESOS","linux_info":{"share_cgroups":true}}`), good), "The 'share_cgroups' field cannot be set to 'true' on executor containers"},
		{"task with another executor", group(podExecutor(""), task("a", cpu+command+customExecutor("")), good), "The `ExecutorInfo` of task 'a' is different from executor 'pod'"},
		{"task with the same executor", group(podExecutor(""), task("a", cpu+command+`,"executor":`+podExecutor("")), good), ""},
		{"executor cpus", group(`{"type":"DEFAULT","executor_id":{"value":"pod"},"framework_id":{"value":"M-0000"},"resources":[`+scalar("mem", 32)+`]}`, good), "Executor 'pod' uses less CPUs (None) than the minimum required (0.01)"},
		{"executor memory", group(`{"type":"DEFAULT","executor_id":{"value":"pod"},"framework_id":{"value":"M-0000"},"resources":[`+scalar("cpus", 1)+`,`+scalar("mem", 31)+`]}`, good), "Executor 'pod' uses less memory (31) than the minimum required (32MB)"},
		{"executor disk", group(`{"type":"DEFAULT","executor_id":{"value":"pod"},"framework_id":{"value":"M-0000"},"resources":[`+scalar("cpus", 1)+`,`+scalar("mem", 32)+`]}`, good), "Executor 'pod' uses no disk"},
		{"ports overlap", group(podExecutor(""), task("a", `,"resources":[{"name":"ports","type":"RANGES","ranges":{"range":[{"begin":31000,"end":31000}]}}]`+command), task("b", `,"resources":[{"name":"ports","type":"RANGES","ranges":{"range":[{"begin":31000,"end":31000}]}}]`+command)), "The resources of the tasks and of the executor overlap"},
		{"revocable in one task", group(podExecutor(""), task("a", `,"resources":[`+revocable+`]`+command), good), "Task group and executor mix revocable and non-revocable resources: Cannot use both revocable and non-revocable 'cpus' at the same time"},
		{"volume in two tasks", group(podExecutor(""), task("a", `,"resources":[`+volume("v")+`]`+command), task("b", `,"resources":[`+volume("v")+`]`+command)), "Task group and executor use duplicate persistence ID: Persistence ID 'v' is not unique"},
		{"more than offered", group(podExecutor(""), task("a", `,"resources":[`+scalar("cpus", 3)+`]`+command), good), "Total resources cpus(allocated: eng):4.1; mem(allocated: eng):32; disk(allocated: eng):10 required by task group and its executor are more than available"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, allAgent, "1.11.0")
			got := b.accept(c.group)
			if c.why == "" {
				if strings.Contains(got, "TASK_ERROR") || strings.Count(got, "RunTaskGroupMessage") != 1 || strings.Count(got, "operators TASK_ADDED") != 2 {
					t.Errorf("refused: %s", got)
				}
				return
			}
			if n := strings.Count(c.group, `"task_id"`); strings.Count(got, " TASK_ERROR REASON_TASK_GROUP_INVALID "+c.why) != n || strings.Contains(got, "RunTask") {
				t.Errorf("want %d times %q, got %s", n, c.why, got)
			}
			if !strings.Contains(got, "released M-S0 eng cpus:4;") {
				t.Errorf("not all came back: %s", got)
			}
		})
	}
}

// The executor of a group is paid for once, also by a second group; a group with other
// cgroup rules may not join it.
func TestGroupExecutorOnce(t *testing.T) {
	b := newBench(t, allAgent, "1.11.0")
	own := `,"container":{"type":"MESOS","linux_info":{"share_cgroups":false}}`
	got := b.accept(group(podExecutor(""), task("a", cpu+command)) + "," + group(podExecutor(""), task("b", cpu+command)) + "," + group(podExecutor(""), task("c", cpu+command+own)))
	for _, want := range []string{
		"RunTaskGroupMessage executor=pod launch_executor=true {cpus(allocated: eng):0.1; mem(allocated: eng):32; disk(allocated: eng):10}: a executor=pod",
		"RunTaskGroupMessage executor=pod launch_executor=false {cpus(allocated: eng):0.1; mem(allocated: eng):32; disk(allocated: eng):10}: b executor=pod",
		"UPDATE c TASK_ERROR REASON_TASK_GROUP_INVALID If set, the value of 'share_cgroups' must be the same",
		"released M-S0 eng cpus:1.9; mem:4064; disk:990;",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
}

// Agents older than 1.1 know no groups.
func TestGroupNeedsVersion(t *testing.T) {
	b := newBench(t, oldAgent, "1.0.4")
	got := b.accept(group(podExecutor(""), task("a", cpu+command)))
	if !strings.Contains(got, "Agent M-S0 of version 1.0.4 does not launch task groups") || strings.Contains(got, "RunTask") {
		t.Error(got)
	}
}
