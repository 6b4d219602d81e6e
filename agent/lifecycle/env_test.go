package lifecycle

import (
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// environmentOf is the whole environment of what was launched for an executor.
func environmentOf(t *testing.T, cfg func(*Config), task *mesos.TaskInfo, f *mesos.FrameworkInfo) map[string]string {
	t.Helper()
	w := newWorld(t)
	cfg(&w.a.cfg)
	w.a.Step(w.now, Registered{Agent: "S0"})
	for _, ef := range w.a.Step(w.now, RunTask{Framework: f, Task: task}).Effects {
		if l, ok := ef.(Launch); ok {
			env := map[string]string{}
			for _, v := range l.Env {
				name, value, _ := strings.Cut(v, "=")
				env[name] = strings.ReplaceAll(value, l.Directory, "SANDBOX")
			}
			return env
		}
	}
	t.Fatal("nothing was launched")
	return nil
}

func same(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if v, ok := got[name]; !ok || v != value {
			t.Errorf("%s: %s is %q (set: %v), want %q", what, name, v, ok, value)
		}
	}
	for name, value := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s: there is also %s=%s", what, name, value)
		}
	}
}

// mesos-agent.md 1.6: all variables of executors and command tasks, as recorded, and who
// wins where several say something.
func TestEnvironment(t *testing.T) {
	own := func(pairs ...string) *mesos.Environment {
		env := &mesos.Environment{}
		for i := 0; i < len(pairs); i += 2 {
			env.Variables = append(env.Variables, &mesos.Environment_Variable{Name: ptr(pairs[i]), Value: ptr(pairs[i+1])})
		}
		return env
	}
	nothing := func(*Config) {}
	full := func(c *Config) {
		c.LibprocessIP = "127.0.0.1"
		c.ExecutorEnv = map[string]string{"FROM_FLAG": "flag", "PATH": "/usr/bin:/bin", "MESOS_SLAVE_ID": "overwritten", "LIBPROCESS_IP": "10.9.9.9"}
	}
	base := map[string]string{
		"MESOS_FRAMEWORK_ID": "F", "MESOS_EXECUTOR_ID": "t", "MESOS_SLAVE_ID": "S0", "MESOS_SLAVE_PID": "slave(1)@10.0.0.1:5051",
		"MESOS_AGENT_ENDPOINT": "10.0.0.1:5051", "MESOS_DIRECTORY": "SANDBOX", "MESOS_SANDBOX": "SANDBOX", "MESOS_CHECKPOINT": "1",
		"MESOS_RECOVERY_TIMEOUT": "15mins", "MESOS_SUBSCRIPTION_BACKOFF_MAX": "2secs", "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD": "5secs",
		"MESOS_HTTP_COMMAND_EXECUTOR": "0", "LIBPROCESS_PORT": "0", "MESOS_ALLOCATION_ROLE": "dev", "PATH": defaultPath,
	}
	with := func(from map[string]string, pairs ...string) map[string]string {
		out := map[string]string{}
		for k, v := range from {
			out[k] = v
		}
		for i := 0; i < len(pairs); i += 2 {
			out[pairs[i]] = pairs[i+1]
			if pairs[i+1] == "" {
				delete(out, pairs[i])
			}
		}
		return out
	}
	t.Setenv("STOA_NOT_INHERITED", "x")
	command := func(change func(*mesos.TaskInfo)) *mesos.TaskInfo { return commandTask("t", change) }
	same(t, "command task", environmentOf(t, nothing, command(func(*mesos.TaskInfo) {}), frameworkInfo()), base)
	same(t, "the flag's, and the task's own", environmentOf(t, full, command(func(t *mesos.TaskInfo) {
		t.Command.Environment = own("FROM_FLAG", "task", "MINE", "v", "MESOS_SANDBOX", "/elsewhere")
	}), frameworkInfo()), with(base, "FROM_FLAG", "task", "MINE", "v", "PATH", "/usr/bin:/bin", "LIBPROCESS_IP", "10.9.9.9", "MESOS_SANDBOX", "/elsewhere"))
	same(t, "the agent's LIBPROCESS_IP", environmentOf(t, func(c *Config) { c.LibprocessIP = "127.0.0.1" }, command(func(*mesos.TaskInfo) {}), frameworkInfo()),
		with(base, "LIBPROCESS_IP", "127.0.0.1"))
	same(t, "kill policy", environmentOf(t, nothing, command(func(t *mesos.TaskInfo) { t.KillPolicy = policy(90 * time.Second) }), frameworkInfo()),
		with(base, "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", "1.533333333mins"))
	passing := frameworkInfo()
	passing.Checkpoint = ptr(false)
	same(t, "without checkpoint", environmentOf(t, nothing, command(func(*mesos.TaskInfo) {}), passing),
		with(base, "MESOS_CHECKPOINT", "0", "MESOS_RECOVERY_TIMEOUT", "", "MESOS_SUBSCRIPTION_BACKOFF_MAX", ""))
	custom := executorTask("t", "x")
	custom.Executor.ShutdownGracePeriod = &mesos.DurationInfo{Nanoseconds: ptr(int64(7 * time.Second))}
	custom.Executor.Command.Environment = own("FROM_FLAG", "executor", "PATH", "/opt/bin")
	same(t, "custom executor", environmentOf(t, full, custom, frameworkInfo()),
		with(base, "MESOS_EXECUTOR_ID", "x", "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", "7secs", "FROM_FLAG", "executor", "PATH", "/opt/bin",
			"LIBPROCESS_IP", "10.9.9.9", "MESOS_ALLOCATION_ROLE", ""))
}

// mesos-agent.md 2.1: the names of executors that are made up.
func TestCommandExecutorNames(t *testing.T) {
	for want, cmd := range map[string]*mesos.CommandInfo{
		"sh -c 'sleep 1000'":      {Value: ptr("sleep 1000")},
		"sh -c '123456789012345'": {Value: ptr("123456789012345")},
		"sh -c '123456789012...'": {Value: ptr("1234567890123456")},
		"NO COMMAND":              {},
		"NO EXECUTABLE":           {Shell: ptr(false)},
		"[ls, ls, -l]":            {Shell: ptr(false), Value: ptr("ls"), Arguments: []string{"ls", "-l"}},
	} {
		if got := commandExecutorName(&mesos.TaskInfo{TaskId: &mesos.TaskID{Value: ptr("t")}, Command: cmd}); got != "Command Executor (Task: t) (Command: "+want+")" {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
