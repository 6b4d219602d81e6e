package lifecycle

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// engined is a core whose agent has the Docker engine too.
func engined() *Agent {
	n := byte(0)
	a := New(Config{
		IP: "10.0.0.1", WorkDir: "/w", SwitchUser: true, ShutdownGrace: 5 * time.Second, Containerizers: []string{"docker", "mesos"},
		DockerStopTimeout: 20 * time.Second, Info: &mesos.AgentInfo{Hostname: ptr("h")}, NewID: func() [16]byte { n++; return [16]byte{15: n} },
	})
	a.Step(at(0), Registered{Agent: "S"})
	a.id = "S"
	return a
}

func at(s int) time.Time { return time.Unix(1000+int64(s), 0) }

// inBox is a task in a container of the engine.
func inBox(id string) RunTask {
	return RunTask{
		Framework: &mesos.FrameworkInfo{Id: &mesos.FrameworkID{Value: ptr("F")}, User: ptr("u"), Checkpoint: ptr(true)},
		Task: &mesos.TaskInfo{
			TaskId: &mesos.TaskID{Value: ptr(id)}, Name: ptr(id), AgentId: &mesos.AgentID{Value: ptr("S")}, Resources: []*mesos.Resource{scalar("cpus", 1, "r"), scalar("mem", 64, "r")},
			Command: &mesos.CommandInfo{Value: ptr("run"), Environment: &mesos.Environment{Variables: []*mesos.Environment_Variable{{Name: ptr("A"), Value: ptr("1")}}}},
			Container: &mesos.ContainerInfo{Type: mesos.ContainerInfo_DOCKER.Enum(), Docker: &mesos.ContainerInfo_DockerInfo{Image: ptr("i")},
				NetworkInfos: []*mesos.NetworkInfo{{Name: ptr("n")}}},
		},
	}
}

func pick[T Effect](out Output) (all []T) {
	for _, ef := range out.Effects {
		if x, ok := ef.(T); ok {
			all = append(all, x)
		}
	}
	return all
}

// sent gives the newest status of a task.
func sent(a *Agent, id string) *mesos.TaskStatus { return a.findTask(TaskKey{"F", TaskID(id)}).last() }

// mesos-agent.md 7.5: what the core says of a container of the engine, and of its ends.
func TestTaskInDocker(t *testing.T) {
	a := engined()
	l := pick[Launch](a.Step(at(1), inBox("a")))[0]
	if !l.Docker || len(l.Resources) != 2 || !slices.Equal(l.Env, []string{"A=1", "MESOS_ALLOCATION_ROLE=r", "MESOS_CONTAINER_NAME=mesos-" + string(l.Container), "MESOS_SANDBOX=/mnt/mesos/sandbox"}) {
		t.Errorf("%+v", l)
	}
	own := []*mesos.NetworkInfo{{IpAddresses: []*mesos.NetworkInfo_IPAddress{{IpAddress: ptr("172.17.0.9")}}}}
	out := a.Step(at(2), Started{Container: l.Container, PID: 7, Networks: own, Data: []byte("[{}]")})
	var saved *ExecutorImage
	for _, r := range out.Records {
		if r.Executor != nil {
			saved = r.Executor
		}
	}
	info := sent(a, "a").GetContainerStatus().GetNetworkInfos()[0]
	if info.GetName() != "n" || info.GetIpAddresses()[0].GetIpAddress() != "172.17.0.9" || saved == nil || len(saved.Networks) != 1 {
		t.Errorf("%v %+v", info, saved)
	}
	if data := a.findTask(TaskKey{"F", "a"}).stream.pending[1].GetStatus().GetData(); string(data) != "[{}]" {
		t.Errorf("%q", data)
	}
	if k := pick[Kill](a.Step(at(3), KillTask{Framework: "F", Task: "a"}))[0]; k.Grace != 20*time.Second {
		t.Errorf("%+v", k)
	}
	a.Step(at(4), Exited{Container: l.Container, Exit: Exit{Known: true, Code: 143}})
	if st := sent(a, "a"); st.GetState() != mesos.TaskState_TASK_KILLED || st.GetMessage() != "Container exited with status 143" {
		t.Errorf("%v", st)
	}
}

func TestHowContainersAreToldToEnd(t *testing.T) {
	lim := &Limitation{Reason: mesos.TaskStatus_REASON_CONTAINER_LIMITATION_MEMORY, Message: "Memory limit exceeded", Resources: []*mesos.Resource{scalar("mem", 64, "")}}
	for text, c := range map[string]struct {
		ev    func(id ContainerID) Event
		run   bool
		state mesos.TaskState
		mem   bool
	}{
		"Container exited with status 0":         {func(id ContainerID) Event { return Exited{Container: id, Exit: Exit{Known: true}} }, true, mesos.TaskState_TASK_FINISHED, false},
		"Container exited with status 9":         {func(id ContainerID) Event { return Exited{Container: id, Exit: Exit{Known: true, Code: 9}} }, true, mesos.TaskState_TASK_FAILED, false},
		"Failed to get exit status of container": {func(id ContainerID) Event { return Exited{Container: id} }, true, mesos.TaskState_TASK_FAILED, false},
		"Container exited with status 137; Memory limit exceeded": {func(id ContainerID) Event {
			return Exited{Container: id, Exit: Exit{Known: true, Code: 137}, Limitation: lim}
		}, true, mesos.TaskState_TASK_FAILED, true},
		"Failed to run docker container: x": {func(id ContainerID) Event {
			return LaunchFailed{Container: id, Message: "Failed to run docker container: x", Executor: true}
		}, false, mesos.TaskState_TASK_FAILED, false},
		"Failed to launch container: pull": {func(id ContainerID) Event { return LaunchFailed{Container: id, Message: "pull"} }, false, mesos.TaskState_TASK_FAILED, false},
	} {
		a := engined()
		l := pick[Launch](a.Step(at(1), inBox("a")))[0]
		if c.run {
			a.Step(at(2), Started{Container: l.Container, PID: 7})
		}
		a.Step(at(3), c.ev(l.Container))
		st := sent(a, "a")
		agents := strings.HasPrefix(text, "Failed to launch")
		if st.GetState() != c.state || st.GetMessage() != text || (st.GetSource() == mesos.TaskStatus_SOURCE_AGENT) != agents || (st.GetLimitation() != nil) != c.mem {
			t.Errorf("%q: %v", text, st)
		}
	}
}

// A restart in the middle of a kill: nobody has counted on, so only the rest is granted.
func TestKillOfAContainerGoesOn(t *testing.T) {
	a := engined()
	records := map[string]Record{}
	keep := func(out Output) {
		for _, r := range out.Records {
			records[r.Key] = r
		}
	}
	out := a.Step(at(1), inBox("a"))
	keep(out)
	l := pick[Launch](out)[0]
	keep(a.Step(at(2), Started{Container: l.Container, PID: 7}))
	keep(a.Step(at(3), KillTask{Framework: "F", Task: "a"}))
	var all []Record
	for _, r := range records {
		all = append(all, r)
	}
	b := engined()
	if k := pick[Kill](b.Restore(at(15), "S", all, map[ContainerID]Live{l.Container: {PID: 7}}, false)); len(k) != 1 || k[0].Grace != 8*time.Second {
		t.Errorf("%+v", k)
	}
	if ids := DockerContainers(all); len(ids) != 1 || ids[0] != l.Container {
		t.Errorf("%v", ids)
	}
}
