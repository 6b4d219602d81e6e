package master_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	gomesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/encoding/codecs"
	"github.com/mesos/mesos-go/api/v1/lib/httpcli"
	"github.com/mesos/mesos-go/api/v1/lib/httpcli/httpmaster"
	gomaster "github.com/mesos/mesos-go/api/v1/lib/master"
	"github.com/mesos/mesos-go/api/v1/lib/master/calls"

	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
	"github.com/stoa-project/stoa/master"
)

// TestOperatorsWithMesosGo reads and follows the master with mesos-go's operator client,
// in both codecs, while a task lives and its framework is torn down by an operator.
func TestOperatorsWithMesosGo(t *testing.T) {
	for _, codec := range codecs.ByMediaType {
		t.Run(codec.Name, func(t *testing.T) {
			m := startMaster(t, master.Config{Flags: map[string]string{"port": "5050"}})
			client := httpmaster.NewSender(httpcli.New(httpcli.Endpoint("http://"+m.addr+"/api/v1"), httpcli.Codec(codec)).Send)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			stream, err := client.Send(ctx, calls.NonStreaming(calls.Subscribe()))
			if err != nil {
				t.Fatal(err)
			}
			defer stream.Close()
			next := func(want gomaster.Event_Type) *gomaster.Event {
				t.Helper()
				e := &gomaster.Event{}
				if err := stream.Decode(e); err != nil || e.GetType() != want {
					t.Fatalf("%v %v, want %v", e, err, want)
				}
				return e
			}
			if s := next(gomaster.Event_SUBSCRIBED).GetSubscribed(); s.GetHeartbeatIntervalSeconds() != 15 || s.GetState == nil {
				t.Errorf("SUBSCRIBED %v", s)
			}
			next(gomaster.Event_HEARTBEAT)
			a := startAgent(t, m.addr)
			a.register()
			if got := next(gomaster.Event_AGENT_ADDED).GetAgentAdded().Agent; got.AgentInfo.GetID().Value != a.id.GetValue() {
				t.Errorf("AGENT_ADDED %v", got)
			}
			f := m.subscribe(fmt.Sprintf(subscribeJSON, "", ""))
			f.next(scheduler.Event_SUBSCRIBED)
			next(gomaster.Event_FRAMEWORK_ADDED)
			f.launch("one", "sleep")
			if task := next(gomaster.Event_TASK_ADDED).GetTaskAdded().Task; task.TaskID.Value != "one" {
				t.Errorf("TASK_ADDED %v", task)
			}
			f.update("one", mesos.TaskState_TASK_RUNNING)
			if u := next(gomaster.Event_TASK_UPDATED).GetTaskUpdated(); u.GetState().String() != "TASK_RUNNING" || len(u.Status.UUID) != 16 {
				t.Errorf("TASK_UPDATED %v", u)
			}
			ask := func(call *gomaster.Call) *gomaster.Response {
				t.Helper()
				resp, err := client.Send(ctx, calls.NonStreaming(call))
				if err != nil {
					t.Fatalf("%v: %v", call.GetType(), err)
				}
				defer resp.Close()
				r := &gomaster.Response{}
				if err := resp.Decode(r); err != nil {
					t.Fatalf("%v: %v", call.GetType(), err)
				}
				return r
			}
			if s := ask(calls.GetState()).GetState; len(s.GetTasks.Tasks) != 1 || len(s.GetAgents.Agents) != 1 || len(s.GetFrameworks.Frameworks) != 1 {
				t.Errorf("GET_STATE %v", s)
			}
			for _, call := range []*gomaster.Call{calls.GetHealth(), calls.GetFlags(), calls.GetVersion(), calls.GetMetrics(nil), calls.GetLoggingLevel(),
				calls.GetAgents(), calls.GetFrameworks(), calls.GetExecutors(), calls.GetTasks(), calls.GetRoles(), calls.GetWeights(),
				calls.GetQuota(), calls.GetMaintenanceStatus(), calls.GetMaintenanceSchedule()} {
				if r := ask(call); r.GetType().String() != call.GetType().String() {
					t.Errorf("%v answered by %v", call.GetType(), r.GetType())
				}
			}
			if codec.Name != "json" { // its JSON decoder does not know QUOTA_V2, which Mesos answers here, too (T1)
				if r := ask(calls.GetMaster()); r.GetGetMaster().GetMasterInfo().GetPort() == 0 {
					t.Errorf("GET_MASTER %v", r)
				}
			}
			m.checkState(f.id, a)
			id := gomesos.FrameworkID{Value: f.id}
			if err := calls.SendNoData(ctx, client, calls.NonStreaming(calls.Teardown(id))); err != nil {
				t.Errorf("TEARDOWN: %v", err)
			}
			resp, err := http.Post("http://"+m.addr+"/master/teardown", "application/x-www-form-urlencoded", strings.NewReader("frameworkId="+f.id))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != 400 {
				t.Errorf("the second teardown: %s", resp.Status)
			}
			for {
				e := &gomaster.Event{}
				if err := stream.Decode(e); err != nil {
					t.Fatal(err)
				}
				if e.GetType() == gomaster.Event_FRAMEWORK_REMOVED {
					break
				}
			}
			m.stop()
			if err := stream.Decode(&gomaster.Event{}); err == nil {
				t.Error("the stream outlived its master")
			}
		})
	}
}

// checkState reads the JSON endpoints as Mesos-DNS and dashboards do, with and without
// the prefix.
func (m *running) checkState(framework string, a *simAgent) {
	m.t.Helper()
	read := func(path string, into any) {
		m.t.Helper()
		resp, err := http.Get("http://" + m.addr + path)
		if err != nil {
			m.t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/json" {
			m.t.Fatalf("%s: %s %v %.200s (%v)", path, resp.Status, resp.Header, body, err)
		}
		if err := json.Unmarshal(body, into); err != nil {
			m.t.Fatalf("%s: %v", path, err)
		}
	}
	for _, path := range []string{"/state", "/master/state", "/master/state.json", "/state/"} {
		var s struct {
			Leader     string
			StartTime  float64 `json:"start_time"`
			Elected    float64 `json:"elected_time"`
			Active     float64 `json:"activated_slaves"`
			Slaves     []struct{ ID, PID, Hostname string }
			Frameworks []struct {
				ID    string
				Tasks []struct{ ID, State, SlaveID, Role string }
			}
		}
		read(path, &s)
		if s.Leader != "master@"+m.addr || s.StartTime < 1e9 || s.Elected < s.StartTime || s.Active != 1 || s.Slaves[0].ID != a.id.GetValue() ||
			s.Slaves[0].PID != a.pid.String() || s.Frameworks[0].ID != framework || s.Frameworks[0].Tasks[0].State != "TASK_RUNNING" || s.Frameworks[0].Tasks[0].Role != "*" {
			m.t.Errorf("%s: %+v", path, s)
		}
	}
	for _, path := range []string{"/state-summary", "/slaves", "/frameworks", "/tasks", "/roles", "/quota", "/flags", "/version",
		"/maintenance/status", "/maintenance/schedule", "/system/stats.json"} {
		read(path, &map[string]any{})
	}
	var metrics map[string]float64
	read("/metrics/snapshot", &metrics)
	for name, want := range map[string]float64{"master/elected": 1, "master/slaves_active": 1, "master/tasks_running": 1,
		"master/operator_event_stream_subscribers": 1, "master/frameworks_active": 1} {
		if got, there := metrics[name]; !there || got != want {
			m.t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if metrics["master/cpus_total"] <= 0 || metrics["master/cpus_percent"] <= 0 {
		m.t.Errorf("cpus %v, %v", metrics["master/cpus_total"], metrics["master/cpus_percent"])
	}
}

// Names of section 9 that dashboards ask for exist before anything has happened.
func TestMetricNames(t *testing.T) {
	m := startMaster(t, master.Config{})
	resp, err := http.Get("http://" + m.addr + "/metrics/snapshot")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var got map[string]float64
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	names := strings.Fields(`uptime_secs elected outstanding_offers event_queue_messages event_queue_dispatches event_queue_http_requests
		operator_event_stream_subscribers http_cache_hits dropped_messages slaves_connected slaves_disconnected slaves_active slaves_inactive
		slaves_unreachable slave_registrations slave_reregistrations slave_removals slave_removals/reason_unhealthy slave_removals/reason_unregistered
		slave_removals/reason_registered recovery_slave_removals slave_unreachable_scheduled slave_unreachable_completed slave_unreachable_canceled
		slave_shutdowns_scheduled slave_shutdowns_completed slave_shutdowns_canceled frameworks_connected frameworks_disconnected frameworks_active
		frameworks_inactive tasks_staging tasks_starting tasks_running tasks_killing tasks_unreachable tasks_finished tasks_failed tasks_killed
		tasks_lost tasks_error tasks_dropped tasks_gone tasks_gone_by_operator`)
	for _, r := range []string{"cpus", "gpus", "mem", "disk"} {
		for _, what := range []string{"total", "used", "percent", "revocable_total", "revocable_used", "revocable_percent"} {
			names = append(names, r+"_"+what)
		}
	}
	for _, name := range names {
		if _, there := got["master/"+name]; !there {
			t.Errorf("no master/%s", name)
		}
	}
	for _, name := range []string{"load_1min", "load_5min", "load_15min", "cpus_total", "mem_total_bytes", "mem_free_bytes"} {
		if _, there := got["system/"+name]; !there {
			t.Errorf("no system/%s", name)
		}
	}
}

// An unknown path is answered as the real master does.
func TestUnknownPath(t *testing.T) {
	m := startMaster(t, master.Config{})
	for _, path := range []string{"/nope", "/master/nope", "/redirect/nope", "/redirect/", "/master/redirect/"} {
		resp, err := http.Get("http://" + m.addr + path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != 404 || string(text) != "404 Not Found." || resp.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("%s: %s %q %v (%v)", path, resp.Status, text, resp.Header, err)
		}
	}
}
