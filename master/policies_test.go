package master_test

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
	"github.com/stoa-project/stoa/master"
)

// send makes one request to an operator's endpoint and gives the answer.
func (m *running) send(method, path, body string) (int, string) {
	m.t.Helper()
	req, err := http.NewRequest(method, "http://"+m.addr+path, strings.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	req.Header.Set("Content-Type", wire.MediaJSON)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		m.t.Fatal(err)
	}
	return resp.StatusCode, readAll(m.t, resp)
}

// order sends an operator's call that must succeed.
func (m *running) order(call string) {
	m.t.Helper()
	if code, body := m.send(http.MethodPost, "/api/v1", call); code != 200 || body != "" {
		m.t.Fatalf("%s: %d %s", call, code, body)
	}
}

// agents asks for the agents by the operator API.
func (m *running) agents() []*masterapi.Response_GetAgents_Agent {
	m.t.Helper()
	code, body := m.send(http.MethodPost, "/api/v1", `{"type":"GET_AGENTS"}`)
	r := &masterapi.Response{}
	if err := wire.UnmarshalJSON([]byte(body), r); code != 200 || err != nil {
		m.t.Fatalf("GET_AGENTS: %d %s %v", code, body, err)
	}
	return r.GetGetAgents().GetAgents()
}

// TestRefusalsAsRecorded: calls that the real master refused are refused in its words.
func TestRefusalsAsRecorded(t *testing.T) {
	m := startMaster(t, master.Config{})
	a := startAgent(t, m.addr)
	a.hostname = "agent1.example.org"
	a.register()
	const machine = `[{"hostname":"agent1.example.org","ip":"127.0.0.1"}]`
	for _, c := range []struct{ file, method, path, body string }{
		{"deactivate-unknown", "POST", "/api/v1", `{"type":"DEACTIVATE_AGENT","deactivate_agent":{"agent_id":{"value":"nope"}}}`},
		{"drain-unknown", "POST", "/api/v1", `{"type":"DRAIN_AGENT","drain_agent":{"agent_id":{"value":"nope"}}}`},
		{"reactivate-unknown", "POST", "/api/v1", `{"type":"REACTIVATE_AGENT","reactivate_agent":{"agent_id":{"value":"nope"}}}`},
		{"mark-gone-unknown", "POST", "/api/v1", `{"type":"MARK_AGENT_GONE","mark_agent_gone":{"agent_id":{"value":"nope"}}}`},
		{"machine-down-unscheduled", "POST", "/machine/down", `[{"hostname":"h","ip":"1.2.3.4"}]`},
		{"start-maintenance-not-scheduled", "POST", "/api/v1", `{"type":"START_MAINTENANCE","start_maintenance":{"machines":` + machine + `}}`},
		{"stop-maintenance-not-down", "POST", "/api/v1", `{"type":"STOP_MAINTENANCE","stop_maintenance":{"machines":` + machine + `}}`},
		{"quota-nested-role", "POST", "/api/v1", `{"type":"UPDATE_QUOTA","update_quota":{"quota_configs":[{"role":"a/b"}]}}`},
		{"quota-over-capacity", "POST", "/api/v1", `{"type":"UPDATE_QUOTA","update_quota":{"quota_configs":[{"role":"dev","guarantees":{"cpus":{"value":1000}}}]}}`},
		{"weights-put-bad", "PUT", "/weights", `[{"role":"x","weight":-1}]`},
		{"weights-zero", "POST", "/api/v1", `{"type":"UPDATE_WEIGHTS","update_weights":{"weight_infos":[{"role":"x","weight":0}]}}`},
	} {
		raw, err := os.ReadFile("testdata/refusals/" + c.file + ".http")
		if err != nil {
			t.Fatal(err)
		}
		head, want, _ := bytes.Cut(raw, []byte("\n\n"))
		want = bytes.TrimRight(want, "\n")
		// The recorded cluster had other resources than this one.
		want = bytes.Replace(want, []byte("'cpus:6; disk:12000; mem:5120'"), []byte("'cpus:4; disk:1000; mem:4096'"), 1)
		code, body := m.send(c.method, c.path, c.body)
		if !bytes.HasPrefix(head, fmt.Appendf(nil, "HTTP/1.1 %d ", code)) || body != string(want) {
			t.Errorf("%s: %d %q, want %.20s %q", c.file, code, body, head, want)
		}
	}
}

// TestDrain: an agent is drained, taken back, and drained for good.
func TestDrain(t *testing.T) {
	m := startMaster(t, master.Config{})
	a := startAgent(t, m.addr)
	a.drains = true
	a.register()
	id := a.id.GetValue()
	f := m.subscribe(fmt.Sprintf(subscribeJSON, "", ""))
	f.next(scheduler.Event_SUBSCRIBED)
	f.launch("one", "sleep")
	f.update("one", mesos.TaskState_TASK_RUNNING)
	a.await("ack")
	m.order(`{"type":"DRAIN_AGENT","drain_agent":{"agent_id":{"value":"` + id + `"},"max_grace_period":"10mins"}}`)
	a.await("drain")
	info := m.agents()[0]
	if info.GetActive() || !info.GetDeactivated() || info.GetDrainInfo().GetState() != mesos.DrainState_DRAINING ||
		info.GetDrainInfo().GetConfig().GetMaxGracePeriod().GetNanoseconds() != 600e9 || info.GetEstimatedDrainStartTime().GetNanoseconds() == 0 {
		t.Errorf("while draining: %v", info)
	}
	f.update("one", mesos.TaskState_TASK_KILLED)
	f.next(scheduler.Event_RESCIND)
	f.passed = nil // the offers made so far are void
	eventually(t, "the agent is drained", func() bool {
		return m.agents()[0].GetDrainInfo().GetState() == mesos.DrainState_DRAINED
	})
	m.order(`{"type":"REACTIVATE_AGENT","reactivate_agent":{"agent_id":{"value":"` + id + `"}}}`)
	if info := m.agents()[0]; !info.GetActive() || info.GetDeactivated() || info.DrainInfo != nil || info.EstimatedDrainStartTime != nil {
		t.Errorf("reactivated: %v", info)
	}
	f.launch("two", "sleep")
	f.update("two", mesos.TaskState_TASK_RUNNING)
	m.order(`{"type":"DRAIN_AGENT","drain_agent":{"agent_id":{"value":"` + id + `"},"mark_gone":true}}`)
	f.update("two", mesos.TaskState_TASK_KILLED)
	a.await("shutdown")
	if got := f.next(scheduler.Event_FAILURE).GetFailure().GetAgentId().GetValue(); got != id {
		t.Errorf("FAILURE of %s", got)
	}
	if got := m.agents(); len(got) != 0 {
		t.Errorf("agents %v", got)
	}
	a.send(unregister(a)) // of nobody: ignored
	m.order(`{"type":"MARK_AGENT_GONE","mark_agent_gone":{"agent_id":{"value":"` + id + `"}}}`)
}

// TestMaintenance: offers say when the agent goes away, frameworks are asked to leave, and
// a machine that is down has no agents.
func TestMaintenance(t *testing.T) {
	m := startMaster(t, master.Config{})
	a := startAgent(t, m.addr)
	a.register()
	f := m.subscribe(fmt.Sprintf(subscribeJSON, "", ""))
	f.next(scheduler.Event_SUBSCRIBED)
	f.launch("one", "sleep")
	f.update("one", mesos.TaskState_TASK_RUNNING)
	const id = `{"hostname":"sim.example.org","ip":"127.0.0.1"}`
	const schedule = `{"windows":[{"machine_ids":[` + id + `],"unavailability":{"duration":{"nanoseconds":3600000000000},"start":{"nanoseconds":1795231284229985792}}}]}`
	if code, body := m.send(http.MethodPost, "/maintenance/schedule", schedule); code != 200 || body != "" {
		t.Fatalf("%d %s", code, body)
	}
	if code, body := m.send(http.MethodGet, "/maintenance/schedule", ""); code != 200 || body != schedule {
		t.Errorf("schedule %d %s", code, body)
	}
	inverse := f.next(scheduler.Event_INVERSE_OFFERS).GetInverseOffers().GetInverseOffers()[0]
	if inverse.GetUnavailability().GetStart().GetNanoseconds() != 1795231284229985792 || inverse.GetAgentId().GetValue() != a.id.GetValue() ||
		inverse.GetUrl().GetPath() != "/slave(1)" || len(inverse.GetResources()) != 0 {
		t.Errorf("inverse offer %v", inverse)
	}
	for {
		o := f.next(scheduler.Event_OFFERS).GetOffers().GetOffers()[0]
		if o.Unavailability == nil {
			continue // made before
		}
		if o.GetUnavailability().GetDuration().GetNanoseconds() != 3600e9 {
			t.Errorf("offer %v", o)
		}
		break
	}
	if code, text := f.call(`{"type":"ACCEPT_INVERSE_OFFERS","accept_inverse_offers":{"inverse_offer_ids":[{"value":"` + inverse.GetId().GetValue() + `"}]}}`); code != 202 {
		t.Errorf("%d %s", code, text)
	}
	_, status := m.send(http.MethodGet, "/maintenance/status", "")
	if want := `{"draining_machines":[{"id":` + id + `,"statuses":[{"framework_id":{"value":"` + f.id + `"},"status":"ACCEPT","timestamp":{"nanoseconds":`; !strings.HasPrefix(status, want) {
		t.Errorf("status %s", status)
	}
	if code, body := m.send(http.MethodPost, "/machine/down", "["+id+"]"); code != 200 || body != "" {
		t.Fatalf("down: %d %s", code, body)
	}
	a.await("shutdown")
	f.update("one", mesos.TaskState_TASK_LOST)
	if _, status := m.send(http.MethodGet, "/maintenance/status", ""); status != `{"down_machines":[`+id+`]}` {
		t.Errorf("status %s", status)
	}
	a.id = nil
	a.send(a.registration())
	a.await("shutdown")
	if code, body := m.send(http.MethodPost, "/machine/up", "["+id+"]"); code != 200 || body != "" {
		t.Fatalf("up: %d %s", code, body)
	}
	if _, body := m.send(http.MethodGet, "/maintenance/schedule", ""); body != "{}" {
		t.Errorf("schedule %s", body)
	}
	a.register()
}

// TestPoliciesSurvive: a master that restarts knows quotas, weights, the schedule and
// what was ordered for agents, and its --weights are not asked any more.
func TestPoliciesSurvive(t *testing.T) {
	dir := t.TempDir()
	m := startMaster(t, master.Config{WorkDir: dir, Weights: map[string]float64{"flag": 9}})
	a := startAgent(t, m.addr)
	a.drains = true
	a.register()
	id := a.id.GetValue()
	m.order(`{"type":"UPDATE_QUOTA","update_quota":{"quota_configs":[{"role":"dev","guarantees":{"cpus":{"value":1}},"limits":{"cpus":{"value":2},"gpus":{"value":0}}}]}}`)
	m.order(`{"type":"UPDATE_WEIGHTS","update_weights":{"weight_infos":[{"role":"a/b","weight":2.5}]}}`)
	m.order(`{"type":"UPDATE_MAINTENANCE_SCHEDULE","update_maintenance_schedule":{"schedule":{"windows":[{"machine_ids":[{"hostname":"h"}],"unavailability":{"start":{"nanoseconds":5}}}]}}}`)
	m.order(`{"type":"START_MAINTENANCE","start_maintenance":{"machines":[{"hostname":"h"}]}}`)
	m.order(`{"type":"DRAIN_AGENT","drain_agent":{"agent_id":{"value":"` + id + `"}}}`)
	paths := []string{"/quota", "/weights", "/maintenance/schedule", "/maintenance/status"}
	before := map[string]string{}
	for _, path := range paths {
		_, before[path] = m.send(http.MethodGet, path, "")
	}
	if want := `[{"role":"a/b","weight":2.5},{"role":"flag","weight":9.0}]`; before["/weights"] != want {
		t.Errorf("weights %s", before["/weights"])
	}
	if want := `"limits":{"cpus":{"value":2.0},"gpus":{"value":0.0}}`; !strings.Contains(before["/quota"], want) {
		t.Errorf("quota %s", before["/quota"])
	}
	m.stop()
	l, err := net.Listen("tcp4", m.addr)
	if err != nil {
		t.Fatal(err)
	}
	n := startMaster(t, master.Config{WorkDir: dir, Listener: l, Weights: map[string]float64{"flag": 1, "other": 1}})
	for _, path := range paths {
		if code, body := n.send(http.MethodGet, path, ""); code != 200 || body != before[path] {
			t.Errorf("%s: %d %s, want %s", path, code, body, before[path])
		}
	}
	a.reregister()
	if info := n.agents()[0]; info.GetDrainInfo().GetState() != mesos.DrainState_DRAINED || !info.GetDeactivated() {
		t.Errorf("agent %v", info)
	}
	if code, _ := n.send(http.MethodDelete, "/quota/dev", ""); code != 200 {
		t.Errorf("DELETE: %d", code)
	}
	if code, body := n.send(http.MethodDelete, "/master/quota/dev", ""); code != 400 || !strings.HasSuffix(body, "Role 'dev' has no quota set") {
		t.Errorf("second DELETE: %d %s", code, body)
	}
	if code, body := n.send(http.MethodPost, "/api/v1", `{"type":"REMOVE_QUOTA","remove_quota":{"role":"dev"}}`); code != 400 {
		t.Errorf("REMOVE_QUOTA: %d %s", code, body)
	}
	if _, body := n.send(http.MethodGet, "/quota", ""); body != "{}" {
		t.Errorf("quota %s", body)
	}
}
