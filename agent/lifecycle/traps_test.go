package lifecycle

import (
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// lines gives those lines of the log since a mark that contain the text.
func (w *world) lines(since int, text string) []string {
	var out []string
	for line := range strings.Lines(w.log.String()[since:]) {
		if strings.Contains(line, text) {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return out
}

// mesos-agent.md 14.1, item 3: a task in the host's network has the agent's address, and
// the one of IPv6 beside it (--ip6); one in a network of its own has that one's only.
func TestTrap3Addresses(t *testing.T) {
	w := newWorld(t)
	w.a.cfg.IP6 = "fd00::1"
	w.step(Registered{Agent: "S0"})
	texts := func(id string) (out []string) {
		for _, n := range w.heads[id].GetStatus().GetContainerStatus().GetNetworkInfos() {
			for _, ip := range n.GetIpAddresses() {
				out = append(out, ip.GetProtocol().String()+" "+ip.GetIpAddress())
			}
		}
		return out
	}
	w.run(commandTask("host"))
	w.step(Started{Container: w.box["host"], PID: 7})
	w.ack("host")
	if got := texts("host"); strings.Join(got, ",") != "IPv4 10.0.0.1,IPv6 fd00::1" {
		t.Errorf("in the host's network: %v", got)
	}
	w.run(commandTask("own"))
	w.step(Started{Container: w.box["own"], PID: 8, Networks: []*mesos.NetworkInfo{{Name: ptr("net"), IpAddresses: []*mesos.NetworkInfo_IPAddress{
		{Protocol: mesos.NetworkInfo_IPv4.Enum(), IpAddress: ptr("172.16.0.2")}}}}})
	w.ack("own")
	if got := texts("own"); strings.Join(got, ",") != "IPv4 172.16.0.2" {
		t.Errorf("in a network of its own: %v", got)
	}
}

// mesos-agent.md 14.1, item 13: the time between SIGTERM and SIGKILL. A command and a pod's
// member have 3 s, an executor 5 s; a policy of the task goes before that, one of the
// KILL call before both.
func TestTrap13GracePeriods(t *testing.T) {
	w := newWorld(t)
	w.step(Registered{Agent: "S0"})
	own := func(t *mesos.TaskInfo) { t.KillPolicy = policy(7 * time.Second) }
	for id, change := range map[string]func(*mesos.TaskInfo){"plain": func(*mesos.TaskInfo) {}, "policy": own, "override": own} {
		w.run(commandTask(id, change))
		w.step(Started{Container: w.box[id], PID: 7})
	}
	mark := w.log.Len()
	w.step(KillTask{Framework: "F", Task: "plain"})
	w.step(KillTask{Framework: "F", Task: "policy"})
	w.step(KillTask{Framework: "F", Task: "override", Policy: policy(time.Second)})
	want := []string{"kill plain grace 3s", "kill policy grace 7s", "kill override grace 1s"}
	if got := w.lines(mark, "  kill "); strings.Join(got, ",") != strings.Join(want, ",") {
		t.Errorf("got %v, want %v", got, want)
	}
	w.pod(commandTask("member"))
	w.up("member")
	mark = w.log.Len()
	w.step(KillTask{Framework: "F", Task: "member"})
	if got := w.lines(mark, "  kill "); len(got) != 1 || got[0] != "kill member grace 3s" {
		t.Errorf("a pod's member: %v", got)
	}
	w.run(executorTask("t", "x"))
	w.step(Started{Container: w.box["x"], PID: 8})
	w.step(ExecutorSubscribed{Key: ExecutorKey{"F", "x"}})
	w.step(ShutdownExecutor{Key: ExecutorKey{"F", "x"}})
	mark = w.log.Len()
	w.sleep(5*time.Second - 1)
	if got := w.lines(mark, "destroy x"); len(got) != 0 {
		t.Errorf("too soon: %v", got)
	}
	w.sleep(1)
	if got := w.lines(mark, "destroy x"); len(got) != 1 {
		t.Errorf("not after 5 s: %v", got)
	}
}

// mesos-agent.md 14.1, item 22: every failure is told, not only the first; item 21: the
// grace period ends with the first success.
func TestTrap22EveryFailureIsTold(t *testing.T) {
	w := newWorld(t)
	w.step(Registered{Agent: "S0"})
	w.run(commandTask(a1, func(t *mesos.TaskInfo) {
		t.HealthCheck = &mesos.HealthCheck{Type: mesos.HealthCheck_TCP.Enum(), ConsecutiveFailures: ptr(uint32(5)), GracePeriodSeconds: ptr(3600.0)}
	}))
	w.step(Started{Container: w.box[a1], PID: 7})
	w.ack(a1)
	w.ack(a1)
	told := func(healthy bool) int {
		mark := w.log.Len()
		w.step(Probe{Key: TaskKey{"F", a1}, Healthy: healthy})
		n := len(w.lines(mark, "send a RUNNING"))
		if n > 0 {
			w.ack(a1)
		}
		return n
	}
	for i, c := range []struct {
		healthy bool
		told    int
	}{{false, 0}, {true, 1}, {true, 0}, {false, 1}, {false, 1}, {false, 1}, {true, 1}, {true, 0}} {
		if got := told(c.healthy); got != c.told {
			t.Errorf("probe %d (healthy %v): %d updates, want %d", i, c.healthy, got, c.told)
		}
	}
}

// mesos-agent.md 14.1, item 7: updates of a task are sent one after the other, again with
// the same uuid until acknowledged, and never out of order; item 8: with the newest state.
func TestTrap7OneUpdateAtATime(t *testing.T) {
	w := newWorld(t)
	w.step(Registered{Agent: "S0"})
	w.run(commandTask(a1))
	w.step(Started{Container: w.box[a1], PID: 7})
	w.step(Exited{Container: w.box[a1], Exit: ended(0)})
	first := w.heads[a1]
	w.sleep(30 * time.Second) // sent again after 10 and 30 s
	if sent := w.lines(0, "send a "); len(sent) != 3 || sent[2] != sent[1] || !strings.Contains(sent[0], "STARTING (latest STARTING)") || !strings.Contains(sent[1], "STARTING (latest FINISHED)") {
		t.Errorf("sent %q", sent)
	}
	if string(w.heads[a1].GetUuid()) != string(first.GetUuid()) {
		t.Error("sent again under another uuid")
	}
	mark := w.log.Len()
	w.ack(a1)
	w.ack(a1)
	w.ack(a1)
	sent := w.lines(mark, "send a ")
	if len(sent) != 2 || !strings.Contains(sent[0], "RUNNING (latest FINISHED)") || !strings.Contains(sent[1], "FINISHED (latest FINISHED)") {
		t.Errorf("then %q", sent)
	}
}
