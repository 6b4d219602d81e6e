package lifecycle

import (
	"slices"
	"testing"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

func joined(name, ip string) []*mesos.NetworkInfo {
	return []*mesos.NetworkInfo{{Name: ptr(name), IpAddresses: []*mesos.NetworkInfo_IPAddress{{IpAddress: ptr(ip)}}}}
}

// A task of a pod that names a network is told with its own address, also after a restart
// of the agent and at its end; what is nested in it lives where it does. Its siblings have
// the address of the pod.
func TestNetworkOfOneTaskOfAPod(t *testing.T) {
	w := newWorld(t)
	w.step(Registered{Agent: "S0"})
	executor := podExecutor("p")
	executor.Container = &mesos.ContainerInfo{Type: mesos.ContainerInfo_MESOS.Enum(), NetworkInfos: []*mesos.NetworkInfo{{Name: ptr("pods")}}}
	own := commandTask("own", func(t *mesos.TaskInfo) {
		t.Container = &mesos.ContainerInfo{Type: mesos.ContainerInfo_MESOS.Enum(), NetworkInfos: []*mesos.NetworkInfo{{Name: ptr("other")}}}
	})
	w.step(RunTaskGroup{Framework: frameworkInfo(), Executor: executor, Tasks: []*mesos.TaskInfo{own, commandTask("mate")}})
	out := w.a.Step(w.now, Started{Container: w.box["p"], PID: 5, Networks: joined("pods", "10.1.0.2")})
	w.take(out)
	launches := pick[Launch](out)
	for _, l := range launches {
		if !slices.Contains(l.Env, "LIBPROCESS_IP=0.0.0.0") {
			t.Errorf("%s: %v", l.Task, l.Env)
		}
	}
	w.step(Started{Container: w.box["own"], PID: 10, Networks: joined("other", "10.2.0.9")})
	w.step(Started{Container: w.box["mate"], PID: 11})
	w.ackAll()
	w.step(ContainerCall{Request: 1, Op: CallLaunch, ID: w.box["own"] + ".x", Command: &mesos.CommandInfo{Value: ptr("true")}, Session: true})
	w.up("x")
	see := func(when string) {
		t.Helper()
		got := map[string]string{}
		v := w.a.View().Frameworks[0].Executors[0]
		got["p"] = v.Networks[0].GetIpAddresses()[0].GetIpAddress()
		for _, n := range v.Nested {
			got[w.name(n.Container)] = n.Networks[0].GetIpAddresses()[0].GetIpAddress()
		}
		for _, task := range []string{"own", "mate"} {
			if ip := sent(w.a, task).GetContainerStatus().GetNetworkInfos()[0].GetIpAddresses()[0].GetIpAddress(); ip != got[task] {
				t.Errorf("%s: %s is told with %s, and lives at %s", when, task, ip, got[task])
			}
		}
		if got["p"] != "10.1.0.2" || got["mate"] != "10.1.0.2" || got["own"] != "10.2.0.9" || (got["x"] != "10.2.0.9" && when == "running") {
			t.Errorf("%s: %v", when, got)
		}
	}
	see("running")
	if r := w.saved[nestedRecordKey(w.box["own"])].Nested; len(r.Networks) != 1 || w.saved[nestedRecordKey(w.box["mate"])].Nested.Networks != nil {
		t.Errorf("recorded: %+v", r)
	}
	w.restart(map[ContainerID]Live{w.box["p"]: {PID: 5}, w.box["own"]: {PID: 10}, w.box["mate"]: {PID: 11}}, false)
	w.step(Registered{Agent: "S0"})
	see("restarted")
	w.gone("own", ended(0))
	if st := sent(w.a, "own"); st.GetState() != mesos.TaskState_TASK_FINISHED || st.GetContainerStatus().GetNetworkInfos()[0].GetName() != "other" {
		t.Errorf("%v", st)
	}
}

// Started while nobody looked: recovery brings the address.
func TestNetworkOfATaskStartedByARunThatWasKilled(t *testing.T) {
	w := newWorld(t)
	w.step(Registered{Agent: "S0"})
	w.pod(commandTask("own", func(t *mesos.TaskInfo) {
		t.Container = &mesos.ContainerInfo{Type: mesos.ContainerInfo_MESOS.Enum(), NetworkInfos: []*mesos.NetworkInfo{{Name: ptr("other")}}}
	}))
	w.restart(map[ContainerID]Live{w.box["p"]: {PID: 5}, w.box["own"]: {PID: 10, Networks: joined("other", "10.2.0.9")}}, false)
	if st := sent(w.a, "own"); st.GetState() != mesos.TaskState_TASK_RUNNING || st.GetContainerStatus().GetNetworkInfos()[0].GetIpAddresses()[0].GetIpAddress() != "10.2.0.9" {
		t.Errorf("%v", st)
	}
}
