package master_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
	"github.com/stoa-project/stoa/master"
)

func (m *running) metrics(path string) map[string]float64 {
	m.t.Helper()
	var got map[string]float64
	if err := json.Unmarshal([]byte(m.text(path)), &got); err != nil {
		m.t.Fatal(err)
	}
	return got
}

func (m *running) text(path string) string {
	m.t.Helper()
	resp, err := http.Get("http://" + m.addr + path)
	if err != nil {
		m.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		m.t.Fatalf("%s: %s %s %v", path, resp.Status, body, err)
	}
	return string(body)
}

// general takes frameworks, principals and roles out of a metric's name.
func general(name string) string {
	for _, each := range []struct{ pattern, to string }{
		{`^master/frameworks/[^/]+/[^/]+/roles/.+/suppressed$`, "master/frameworks/NAME/ID/roles/ROLE/suppressed"},
		{`^master/frameworks/[^/]+/[^/]+/`, "master/frameworks/NAME/ID/"},
		{`^frameworks/[^/]+/`, "frameworks/PRINCIPAL/"},
		{`^(allocator/mesos/(?:offer_filters/|quota/)?roles)/.*/(active|dominant|consumed)$`, "$1/ROLE/$2"},
		{`^allocator/mesos/(allocation_run|allocation_run_latency)_ms.*`, "allocator/mesos/${1}_ms"},
	} {
		name = regexp.MustCompile(each.pattern).ReplaceAllString(name, each.to)
	}
	return name
}

// recordedMetrics are the generalised names of a recorded /metrics/snapshot.
func recordedMetrics(t *testing.T, file string) map[string]bool {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "metrics", file))
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := bytes.Cut(raw, []byte("\n\n"))
	var all map[string]float64
	if err := json.Unmarshal(body, &all); err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for name := range all {
		names[general(name)] = true
	}
	return names
}

// TestMetricsAsRecorded lives through a task's life and has every name that a real master
// published, with the numbers of what happened.
func TestMetricsAsRecorded(t *testing.T) {
	m := startMaster(t, master.Config{WorkDir: t.TempDir(), MaxCompletedFrameworks: 1})
	a := startAgent(t, m.addr)
	a.register()
	info := `{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"root","name":"No Executor: Framework","principal":"test","checkpoint":true,"failover_timeout":3600%s}%s}}`
	f := m.subscribe(fmt.Sprintf(info, "", ""))
	f.next(scheduler.Event_SUBSCRIBED)
	f.next(scheduler.Event_HEARTBEAT)
	f.launch("one", "sleep")
	f.update("one", mesos.TaskState_TASK_RUNNING)
	f.launch("two", "finish")
	f.update("two", mesos.TaskState_TASK_FINISHED)
	o := f.next(scheduler.Event_OFFERS).GetOffers().GetOffers()[0]
	if code, text := f.call(fmt.Sprintf(`{"type":"DECLINE","decline":{"offer_ids":[{"value":%q}]}}`, o.GetId().GetValue())); code != 202 {
		t.Fatal(code, text)
	}
	if code, text := f.call(`{"type":"SUPPRESS"}`); code != 202 {
		t.Fatal(code, text)
	}

	got := m.metrics("/metrics/snapshot")
	names := map[string]bool{}
	for name := range got {
		names[general(name)] = true
	}
	for name := range recordedMetrics(t, "snapshot.http") {
		if !names[name] && !strings.HasPrefix(name, "allocator/") { // those have their own tests
			t.Errorf("no %s", name)
		}
	}
	own := "master/frameworks/No%20Executor%3A%20Framework/" + f.id + "/"
	for name, want := range map[string]float64{
		"master/tasks_running": 1, "master/tasks_finished": 1, "master/frameworks_active": 1, "master/slaves_active": 1,
		"master/messages_launch_tasks": 2, "master/messages_decline_offers": 1, "master/messages_suppress_offers": 1,
		"master/messages_register_framework": 1, "master/messages_register_slave": 1, "master/messages_authenticate": 0,
		"master/valid_status_updates": got["master/messages_status_update"], "registrar/log/recovered": 1, "registrar/log/ensemble_size": 1,
		own + "subscribed": 1, own + "calls/accept": 2, own + "calls/decline": 1, own + "calls/suppress": 1, own + "calls/subscribe": 1,
		own + "events/subscribed": 1, own + "events/heartbeat": 1, own + "operations": 2, own + "operations/launch": 2,
		own + "offers/accepted": 2, own + "offers/declined": 1, own + "offers/rescinded": 0,
		own + "tasks/active/task_running": 1, own + "tasks/terminal/task_finished": 1, own + "roles/*/suppressed": 1,
	} {
		if value, there := got[name]; !there || value != want {
			t.Errorf("%s is %v, want %v", name, value, want)
		}
	}
	if got[own+"offers/sent"] < 3 {
		t.Errorf("%v offers sent", got[own+"offers/sent"])
	}
	calls, events := 0.0, 0.0
	for name, n := range got {
		switch {
		case strings.HasPrefix(name, own+"calls/"):
			calls += n
		case strings.HasPrefix(name, own+"events/"):
			events += n
		}
	}
	if got[own+"calls"] != calls || got[own+"events"] != events || got["frameworks/test/messages_processed"] != calls {
		t.Errorf("%v calls and %v events, want %v and %v; %v messages", got[own+"calls"], got[own+"events"], calls, events, got["frameworks/test/messages_processed"])
	}

	// Prometheus has the same data.
	page := m.text("/metrics")
	for _, line := range []string{
		"stoa_master_tasks_running 1", "stoa_master_tasks_finished_total 1", `stoa_master_messages_total{message="launch_tasks"} 2`,
		`stoa_master_framework_calls_total{call="accept",framework="` + f.id + `",name="No Executor: Framework"} 2`,
		`stoa_master_framework_role_suppressed{framework="` + f.id + `",name="No Executor: Framework",role="*"} 1`,
		`stoa_master_principal_messages_total{principal="test"}`, `stoa_master_operations{state="total",type="reserve"} 0`,
	} {
		if !strings.Contains(page, "\n"+line) {
			t.Errorf("/metrics lacks %s", line)
		}
	}

	// A removed framework keeps its metrics as long as it is listed.
	f.call(`{"type":"TEARDOWN"}`)
	f.ended()
	got = m.metrics("/metrics/snapshot")
	if got[own+"subscribed"] != 0 || got[own+"calls/teardown"] != 1 || got[own+"tasks/terminal/task_killed"] != 1 {
		t.Errorf("after the teardown: subscribed %v, teardown %v, killed %v", got[own+"subscribed"], got[own+"calls/teardown"], got[own+"tasks/terminal/task_killed"])
	}
	if _, there := got["frameworks/test/messages_processed"]; there {
		t.Error("the principal's messages outlive its frameworks")
	}
	g := m.subscribe(`{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"root","name":"next"}}}`)
	g.next(scheduler.Event_SUBSCRIBED)
	g.call(`{"type":"TEARDOWN"}`)
	g.ended()
	if _, there := m.metrics("/metrics/snapshot")[own+"calls"]; there {
		t.Error("a framework that is not listed any more has metrics")
	}
}

// TestStandbyMetrics: a master that does not lead has the names that a real standby had.
func TestStandbyMetrics(t *testing.T) {
	m := startMaster(t, master.Config{})
	got := m.metrics("/metrics/snapshot")
	for name := range recordedMetrics(t, "standby.http") {
		if _, there := got[name]; !there && !strings.HasPrefix(name, "allocator/mesos/allocation_run") {
			t.Errorf("no %s", name)
		}
	}
}

// TestNoFrameworkMetrics is --no-publish_per_framework_metrics.
func TestNoFrameworkMetrics(t *testing.T) {
	m := startMaster(t, master.Config{NoFrameworkMetrics: true})
	f := m.subscribe(fmt.Sprintf(subscribeJSON, "", ""))
	f.next(scheduler.Event_SUBSCRIBED)
	for name := range m.metrics("/metrics/snapshot") {
		if strings.HasPrefix(name, "master/frameworks/") {
			t.Errorf("%s is published", name)
		}
	}
}
