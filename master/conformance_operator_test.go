package master_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
	"github.com/stoa-project/stoa/master"
)

// asked is one answer, read to its end.
type asked struct {
	code   int
	header http.Header
	body   []byte
}

// inquire sends a request; headers are name, value, name, value …
func (m *running) inquire(method, path, body string, headers ...string) asked {
	m.t.Helper()
	req, err := http.NewRequest(method, "http://"+m.addr+path, strings.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	m.sign(req)
	resp, err := (&http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(req)
	if err != nil {
		m.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		m.t.Fatal(err)
	}
	return asked{resp.StatusCode, resp.Header, text}
}

// inhabited starts a master with a log, an agent, a framework, and a task that runs and
// one that ended.
func inhabited(t *testing.T) (*running, *simAgent, *subscription) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mesos-master.INFO"), []byte("one line\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m := startMaster(t, master.Config{WorkDir: t.TempDir(), Cluster: "c", LogDir: dir, LogFile: filepath.Join(dir, "mesos-master.INFO"),
		Flags: map[string]string{"port": "5050"}, Product: "1.2.3"})
	a := startAgent(t, m.addr)
	a.register()
	f := m.subscribe(fmt.Sprintf(subscribeJSON, `,"principal":"p","hostname":"h","labels":{"labels":[{"key":"k","value":"v"}]}`, ""))
	f.next(scheduler.Event_SUBSCRIBED)
	f.launch("one", "sleep")
	f.update("one", mesos.TaskState_TASK_RUNNING)
	f.launch("two", "finish")
	f.update("two", mesos.TaskState_TASK_FINISHED)
	eventually(t, "the end of the task is known", func() bool {
		s, err := m.door.View(t.Context())
		return err == nil && len(s.Frameworks[0].CompletedT) == 1
	})
	return m, a, f
}

// TestOperatorCalls has a row for each call of mesos-master.md 5.1: what it takes, its
// status, and for reads the field of its answer, in both codecs.
func TestOperatorCalls(t *testing.T) {
	m, a, f := inhabited(t)
	agent, framework := fmt.Sprintf(`{"value":%q}`, a.id.GetValue()), fmt.Sprintf(`{"value":%q}`, f.id)
	resources := `[{"name":"cpus","type":"SCALAR","scalar":{"value":0.1},"reservations":[{"type":"DYNAMIC","role":"ops"}]}]`
	volumes := `[{"name":"disk","type":"SCALAR","scalar":{"value":1},"reservations":[{"type":"DYNAMIC","role":"ops"}],"disk":{"persistence":{"id":"v"},"volume":{"container_path":"d","mode":"RW"}}}]`
	machines := `[{"hostname":"sim.example.org"}]`
	unknown := `{"value":"nobody"}`
	done := map[masterapi.Call_Type]bool{}
	for _, c := range []struct {
		call   masterapi.Call_Type
		fields string // beside the type
		code   int
		answer string // field of the response; empty: no body
		says   string // part of the text of an error
	}{
		{masterapi.Call_UNKNOWN, ``, 501, "", "501 Not Implemented."},
		{masterapi.Call_GET_HEALTH, ``, 200, "get_health", ""},
		{masterapi.Call_GET_FLAGS, ``, 200, "get_flags", ""},
		{masterapi.Call_GET_VERSION, ``, 200, "get_version", ""},
		{masterapi.Call_GET_METRICS, `,"get_metrics":{}`, 200, "get_metrics", ""},
		{masterapi.Call_GET_METRICS, `,"get_metrics":{"timeout":{"nanoseconds":5000000000}}`, 200, "get_metrics", ""},
		{masterapi.Call_GET_METRICS, ``, 400, "", "Expecting 'get_metrics' to be present"},
		{masterapi.Call_GET_LOGGING_LEVEL, ``, 200, "get_logging_level", ""},
		{masterapi.Call_SET_LOGGING_LEVEL, `,"set_logging_level":{"level":1,"duration":{"nanoseconds":1000000}}`, 200, "", ""},
		{masterapi.Call_SET_LOGGING_LEVEL, ``, 400, "", "Expecting 'set_logging_level' to be present"},
		{masterapi.Call_LIST_FILES, `,"list_files":{"path":"/master/log"}`, 200, "list_files", ""},
		{masterapi.Call_LIST_FILES, `,"list_files":{"path":"/nope"}`, 404, "", ""},
		{masterapi.Call_READ_FILE, `,"read_file":{"path":"/master/log","offset":4}`, 200, "read_file", ""},
		{masterapi.Call_READ_FILE, `,"read_file":{"path":"/nope","offset":0}`, 404, "", ""},
		{masterapi.Call_GET_STATE, ``, 200, "get_state", ""},
		{masterapi.Call_GET_AGENTS, ``, 200, "get_agents", ""},
		{masterapi.Call_GET_FRAMEWORKS, ``, 200, "get_frameworks", ""},
		{masterapi.Call_GET_EXECUTORS, ``, 200, "get_executors", ""},
		{masterapi.Call_GET_TASKS, ``, 200, "get_tasks", ""},
		{masterapi.Call_GET_ROLES, ``, 200, "get_roles", ""},
		{masterapi.Call_UPDATE_WEIGHTS, `,"update_weights":{"weight_infos":[{"role":"ops","weight":2.0}]}`, 200, "", ""},
		{masterapi.Call_UPDATE_WEIGHTS, `,"update_weights":{"weight_infos":[{"role":"ops","weight":0}]}`, 400, "", ""},
		{masterapi.Call_GET_WEIGHTS, ``, 200, "get_weights", ""},
		{masterapi.Call_GET_MASTER, ``, 200, "get_master", ""},
		{masterapi.Call_RESERVE_RESOURCES, `,"reserve_resources":{"agent_id":` + unknown + `,"resources":` + resources + `}`, 400, "", "No agent found"},
		{masterapi.Call_RESERVE_RESOURCES, `,"reserve_resources":{"agent_id":` + agent + `,"resources":` + resources + `}`, 202, "", ""},
		{masterapi.Call_UNRESERVE_RESOURCES, `,"unreserve_resources":{"agent_id":` + unknown + `,"resources":` + resources + `}`, 400, "", "No agent found"},
		{masterapi.Call_UNRESERVE_RESOURCES, `,"unreserve_resources":{"agent_id":` + agent + `,"resources":` + resources + `}`, 202, "", ""},
		{masterapi.Call_CREATE_VOLUMES, `,"create_volumes":{"agent_id":` + unknown + `,"volumes":` + volumes + `}`, 400, "", "No agent found"},
		{masterapi.Call_DESTROY_VOLUMES, `,"destroy_volumes":{"agent_id":` + unknown + `,"volumes":` + volumes + `}`, 400, "", "No agent found"},
		{masterapi.Call_GROW_VOLUME, `,"grow_volume":{"agent_id":` + unknown + `,"volume":{"name":"disk","type":"SCALAR"},"addition":{"name":"disk","type":"SCALAR"}}`, 400, "", ""},
		{masterapi.Call_SHRINK_VOLUME, `,"shrink_volume":{"agent_id":` + unknown + `,"volume":{"name":"disk","type":"SCALAR"},"subtract":{"value":1}}`, 400, "", ""},
		{masterapi.Call_GET_MAINTENANCE_STATUS, ``, 200, "get_maintenance_status", ""},
		{masterapi.Call_UPDATE_MAINTENANCE_SCHEDULE, `,"update_maintenance_schedule":{"schedule":{"windows":[{"machine_ids":` + machines + `,"unavailability":{"start":{"nanoseconds":9000000000000000000}}}]}}`, 200, "", ""},
		{masterapi.Call_GET_MAINTENANCE_SCHEDULE, ``, 200, "get_maintenance_schedule", ""},
		{masterapi.Call_START_MAINTENANCE, `,"start_maintenance":{"machines":[{"hostname":"other"}]}`, 400, "", ""},
		{masterapi.Call_STOP_MAINTENANCE, `,"stop_maintenance":{"machines":` + machines + `}`, 400, "", ""},
		{masterapi.Call_UPDATE_MAINTENANCE_SCHEDULE, `,"update_maintenance_schedule":{"schedule":{}}`, 200, "", ""},
		{masterapi.Call_GET_QUOTA, ``, 200, "get_quota", ""},
		{masterapi.Call_UPDATE_QUOTA, `,"update_quota":{"force":true,"quota_configs":[{"role":"ops","limits":{"cpus":{"value":1}}}]}`, 200, "", ""},
		{masterapi.Call_SET_QUOTA, `,"set_quota":{"quota_request":{"role":"*","guarantee":[]}}`, 400, "", ""},
		{masterapi.Call_REMOVE_QUOTA, `,"remove_quota":{"role":"none"}`, 400, "", ""},
		{masterapi.Call_GET_OPERATIONS, ``, 200, "get_operations", ""},
		{masterapi.Call_DEACTIVATE_AGENT, `,"deactivate_agent":{"agent_id":` + unknown + `}`, 400, "", ""},
		{masterapi.Call_DEACTIVATE_AGENT, `,"deactivate_agent":{"agent_id":` + agent + `}`, 200, "", ""},
		{masterapi.Call_REACTIVATE_AGENT, `,"reactivate_agent":{"agent_id":` + agent + `}`, 200, "", ""},
		{masterapi.Call_REACTIVATE_AGENT, `,"reactivate_agent":{"agent_id":` + unknown + `}`, 400, "", "Agent is not deactivated"},
		{masterapi.Call_DRAIN_AGENT, `,"drain_agent":{"agent_id":` + unknown + `}`, 400, "", ""},
		{masterapi.Call_TEARDOWN, `,"teardown":{"framework_id":` + unknown + `}`, 400, "", "No framework found"},
		{masterapi.Call_TEARDOWN, ``, 400, "", "Expecting 'teardown' to be present"},
		{masterapi.Call_TEARDOWN, `,"teardown":{"framework_id":` + framework + `}`, 200, "", ""},
		{masterapi.Call_MARK_AGENT_GONE, `,"mark_agent_gone":{"agent_id":` + unknown + `}`, 404, "", ""},
		{masterapi.Call_MARK_AGENT_GONE, `,"mark_agent_gone":{"agent_id":` + agent + `}`, 200, "", ""},
	} {
		done[c.call] = true
		body := fmt.Sprintf(`{"type":%q%s}`, c.call, c.fields)
		codecs := []wire.Codec{wire.JSON}
		if c.answer != "" {
			codecs = append(codecs, wire.Protobuf)
		}
		for _, codec := range codecs {
			got := m.inquire("POST", "/api/v1", body, "Content-Type", wire.MediaJSON, "Accept", codec.MediaType)
			if got.code != c.code || !strings.Contains(string(got.body), c.says) {
				t.Errorf("%s%s: %d %s, want %d %s", c.call, c.fields, got.code, got.body, c.code, c.says)
				continue
			}
			_, typed := got.header["Content-Type"]
			switch {
			case c.answer != "":
				answer := &masterapi.Response{}
				if err := codec.Unmarshal(got.body, answer); err != nil || answer.GetType().String() != c.call.String() || got.header.Get("Content-Type") != codec.MediaType {
					t.Errorf("%s in %s: %v, %s, %v", c.call, codec.MediaType, err, answer.GetType(), got.header)
				}
				if field := answer.ProtoReflect().Descriptor().Fields().ByTextName(c.answer); field == nil || !answer.ProtoReflect().Has(field) {
					t.Errorf("%s in %s has no %s", c.call, codec.MediaType, c.answer)
				}
			case c.code < 300: // T3: no Content-Type without data
				if len(got.body) > 0 || typed || got.header.Get("Content-Length") != "0" {
					t.Errorf("%s: %q %v", c.call, got.body, got.header)
				}
			case got.header.Get("Content-Type") != "text/plain; charset=utf-8":
				t.Errorf("%s: an error of %q", c.call, got.header.Get("Content-Type"))
			}
		}
	}
	s := m.inquire("POST", "/master/api/v1", `{"type":"GET_MASTER"}`, "Content-Type", wire.MediaJSON)
	if s.code != 200 {
		t.Errorf("below /master: %d", s.code)
	}
	done[masterapi.Call_SUBSCRIBE] = true // TestOperatorEvents
	for number, name := range masterapi.Call_Type_name {
		if !done[masterapi.Call_Type(number)] {
			t.Errorf("no row for %s", name)
		}
	}
}

// words is a set of names.
func words(text string) map[string]bool {
	set := map[string]bool{}
	for _, w := range strings.Fields(text) {
		set[w] = true
	}
	return set
}

// fields checks an object's names: all of must, and nothing beside must and may.
func fields(t *testing.T, what string, object any, must, may string) map[string]any {
	t.Helper()
	o, ok := object.(map[string]any)
	if !ok {
		t.Errorf("%s is a %T", what, object)
		return nil
	}
	allowed := words(must + " " + may)
	for name := range words(must) {
		if _, there := o[name]; !there {
			t.Errorf("%s lacks %s", what, name)
		}
	}
	for name := range o {
		if !allowed[name] {
			t.Errorf("%s has %s", what, name)
		}
	}
	return o
}

// The names of mesos-master.md 5.5 and 5.6.
const (
	stateMust = "version build_date build_time build_user start_time id pid hostname capabilities activated_slaves deactivated_slaves " +
		"unreachable_slaves leader leader_info flags slaves recovered_slaves frameworks completed_frameworks orphan_tasks unregistered_frameworks"
	stateMay      = "git_sha git_branch git_tag elected_time domain cluster log_dir external_log_file"
	agentMust     = "id hostname port attributes pid registered_time resources used_resources offered_resources reserved_resources unreserved_resources active deactivated version capabilities"
	agentMay      = "domain reregistered_time drain_info estimated_drain_start_time_seconds"
	agentFullMust = agentMust + " reserved_resources_full unreserved_resources_full used_resources_full offered_resources_full"
	frameworkMust = "id name used_resources offered_resources capabilities hostname webui_url active connected recovered user failover_timeout checkpoint " +
		"registered_time unregistered_time resources tasks unreachable_tasks completed_tasks offers executors offer_constraints"
	frameworkMay = "pid principal reregistered_time role roles labels"
	taskMust     = "id name framework_id executor_id slave_id state resources role statuses"
	taskMay      = "limits user labels discovery container health_check"
	statusMust   = "state timestamp"
	statusMay    = "labels container_status healthy"
	counts       = "TASK_STAGING TASK_STARTING TASK_RUNNING TASK_KILLING TASK_FINISHED TASK_KILLED TASK_FAILED TASK_LOST TASK_ERROR TASK_UNREACHABLE"
	roleMust     = "name weight quota resources allocated offered reserved frameworks"
)

// TestStateFields is mesos-master.md 5.5 and 5.6 on a live master: exactly the listed names
// in each object.
func TestStateFields(t *testing.T) {
	m, _, _ := inhabited(t)
	read := func(path string) map[string]any {
		t.Helper()
		got := m.inquire("GET", path, "")
		if got.code != 200 || got.header.Get("Content-Type") != "application/json" {
			t.Fatalf("%s: %d %v", path, got.code, got.header)
		}
		var v map[string]any
		if err := json.Unmarshal(got.body, &v); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		return v
	}
	state := fields(t, "/state", read("/state"), stateMust, stateMay)
	fields(t, "leader_info", state["leader_info"], "id pid port hostname", "domain")
	for _, name := range []string{"build_time", "start_time", "elected_time", "activated_slaves", "deactivated_slaves", "unreachable_slaves"} {
		if _, number := state[name].(float64); !number {
			t.Errorf("%s is a %T", name, state[name])
		}
	}
	agents := state["slaves"].([]any)
	agent := fields(t, "slave", agents[0], agentMust, agentMay)
	for _, name := range []string{"resources", "used_resources", "offered_resources", "unreserved_resources"} {
		fields(t, name, agent[name], "cpus gpus mem disk", "ports")
	}
	frameworks := state["frameworks"].([]any)
	framework := fields(t, "framework", frameworks[0], frameworkMust, frameworkMay)
	for _, list := range []string{"tasks", "completed_tasks"} {
		tasks := framework[list].([]any)
		if len(tasks) != 1 {
			t.Fatalf("%d %s", len(tasks), list)
		}
		task := fields(t, list, tasks[0], taskMust, taskMay)
		for _, s := range task["statuses"].([]any) {
			fields(t, "status", s, statusMust, statusMay)
		}
	}
	if l := framework["labels"].([]any); len(l) != 1 {
		t.Errorf("labels %v", l)
	}
	full := fields(t, "/slaves", read("/slaves"), "slaves recovered_slaves", "")
	fields(t, "slave of /slaves", full["slaves"].([]any)[0], agentFullMust, agentMay)
	all := fields(t, "/frameworks", read("/frameworks"), "frameworks completed_frameworks unregistered_frameworks", "")
	fields(t, "framework of /frameworks", all["frameworks"].([]any)[0], frameworkMust, frameworkMay)
	summary := fields(t, "/state-summary", read("/state-summary"), "hostname slaves frameworks", "cluster")
	fields(t, "slave of /state-summary", summary["slaves"].([]any)[0], agentMust+" framework_ids "+counts, agentMay)
	fields(t, "framework of /state-summary", summary["frameworks"].([]any)[0],
		"id name used_resources offered_resources capabilities hostname webui_url active connected recovered slave_ids "+counts, "pid")
	roles := fields(t, "/roles", read("/roles"), "roles", "")
	role := fields(t, "role", roles["roles"].([]any)[0], roleMust, "")
	fields(t, "quota of a role", role["quota"], "role guarantee limit consumed", "")
	fields(t, "/version", read("/version"), "version build_date build_time build_user", "git_sha git_branch git_tag")
	fields(t, "/system/stats.json", read("/system/stats.json"), "avg_load_1min avg_load_5min avg_load_15min cpus_total mem_total_bytes mem_free_bytes", "")
	fields(t, "/flags", read("/flags"), "flags", "")
	tasks := fields(t, "/tasks", read("/tasks?limit=1&order=asc&offset=1"), "tasks", "")
	fields(t, "task of /tasks", tasks["tasks"].([]any)[0], taskMust, taskMay)
}

// TestEndpoints has a row for each path of mesos-master.md 5.4, below /master too.
func TestEndpoints(t *testing.T) {
	m, a, f := inhabited(t)
	const jsonBody, plain, page = "application/json", "text/plain; charset=utf-8", "text/html"
	done := map[string]bool{}
	for _, c := range []struct {
		method, path, form string
		code               int
		media              string // empty: no Content-Type
		says               string
	}{
		{"GET", "/health", "", 200, "", ""},
		{"PUT", "/health", "", 200, "", ""},
		{"GET", "/redirect", "", 307, "", ""},
		{"GET", "/redirect/", "", 404, plain, "404 Not Found."},
		{"GET", "/redirect/x", "", 404, plain, "404 Not Found."},
		{"GET", "/version", "", 200, jsonBody, `"version":"1.11.0"`},
		{"GET", "/state", "", 200, jsonBody, `"slaves":[{`},
		{"GET", "/state.json", "", 200, jsonBody, `"slaves":[{`},
		{"GET", "/tasks.json?limit=0", "", 200, jsonBody, `{"tasks":[]}`},
		{"GET", "/roles.json", "", 200, jsonBody, `{"roles":[`},
		{"GET", "/state-summary", "", 200, jsonBody, `"TASK_RUNNING":1`},
		{"GET", "/slaves", "", 200, jsonBody, `"unreserved_resources_full":[`},
		{"GET", "/slaves?slave_id=x", "", 200, jsonBody, `{"slaves":[],"recovered_slaves":[]}`},
		{"GET", "/slaves?slave_id=" + a.id.GetValue(), "", 200, jsonBody, `"slaves":[{`},
		{"GET", "/frameworks", "", 200, jsonBody, `"frameworks":[{`},
		{"GET", "/frameworks?framework_id=x", "", 200, jsonBody, `{"frameworks":[],"completed_frameworks":[],"unregistered_frameworks":[]}`},
		{"GET", "/frameworks?framework_id=" + f.id, "", 200, jsonBody, `"frameworks":[{`},
		{"GET", "/tasks", "", 200, jsonBody, `"state":"TASK_RUNNING"`},
		{"GET", "/tasks?limit=0", "", 200, jsonBody, `{"tasks":[]}`},
		{"GET", "/tasks?task_id=two&framework_id=" + f.id, "", 200, jsonBody, `"state":"TASK_FINISHED"`},
		{"GET", "/tasks?framework_id=x", "", 200, jsonBody, `{"tasks":[]}`},
		{"GET", "/roles", "", 200, jsonBody, `{"roles":[`},
		{"GET", "/flags", "", 200, jsonBody, `{"flags":{"port":"5050"}}`},
		{"GET", "/quota", "", 200, jsonBody, `{`},
		{"PATCH", "/quota", "", 405, plain, "405 Method Not Allowed."},
		{"DELETE", "/quota/none", "", 400, plain, ""},
		{"GET", "/weights", "", 200, jsonBody, `[`},
		{"POST", "/weights", "", 405, plain, "405 Method Not Allowed."},
		{"PUT", "/weights", `[{"role":"ops","weight":0}]`, 400, plain, ""},
		{"POST", "/reserve", "slaveId=x&resources=[]", 400, plain, ""},
		{"GET", "/reserve", "", 405, plain, "405 Method Not Allowed."},
		{"POST", "/unreserve", "slaveId=x&resources=[]", 400, plain, ""},
		{"POST", "/create-volumes", "slaveId=x&volumes=[]", 400, plain, ""},
		{"POST", "/destroy-volumes", "slaveId=x&volumes=[]", 400, plain, ""},
		{"POST", "/teardown", "frameworkId=x", 400, plain, "No framework found"},
		{"GET", "/teardown", "", 405, plain, "405 Method Not Allowed."},
		{"POST", "/machine/down", `[{"hostname":"x"}]`, 400, plain, ""},
		{"GET", "/machine/down", "", 405, plain, "405 Method Not Allowed."},
		{"POST", "/machine/up", `[{"hostname":"x"}]`, 400, plain, ""},
		{"GET", "/maintenance/schedule", "", 200, jsonBody, `{}`},
		{"POST", "/maintenance/schedule", `nonsense`, 400, plain, ""},
		{"GET", "/maintenance/status", "", 200, jsonBody, `{}`},
		{"GET", "/metrics/snapshot", "", 200, jsonBody, `"master/elected":1.0`},
		{"GET", "/metrics/snapshot?timeout=5secs", "", 200, jsonBody, `"master/elected":1.0`},
		{"GET", "/metrics", "", 200, "text/plain; version=0.0.4; charset=utf-8; escaping=underscores", "stoa_master_elected 1"},
		{"GET", "/logging/toggle", "", 200, plain, "0\n"},
		{"POST", "/logging/toggle?level=1", "", 400, plain, "Expecting 'duration=value' in query."},
		{"POST", "/logging/toggle?level=1&duration=1ms", "", 200, "", ""},
		{"GET", "/files/browse?path=/master/log", "", 200, jsonBody, `[]`},
		{"GET", "/files/browse.json?path=/master/log", "", 200, jsonBody, `[]`},
		{"GET", "/files/read?path=/master/log&offset=4&length=4", "", 200, jsonBody, `{"data":"line","offset":4}`},
		{"GET", "/files/read.json?path=/master/log", "", 200, jsonBody, `{"data":"","offset":9}`},
		{"GET", "/files/download?path=/master/log", "", 200, "application/octet-stream", "one line\n"},
		{"GET", "/files/download.json?path=/master/log", "", 200, "application/octet-stream", "one line\n"},
		{"GET", "/files/debug", "", 200, jsonBody, `{"/master/log":"`},
		{"GET", "/files/debug.json", "", 200, jsonBody, `{"/master/log":"`},
		{"GET", "/system/stats.json", "", 200, jsonBody, `"cpus_total":`},
		{"GET", "/registrar(1)/registry", "", 200, jsonBody, `"slaves":{"slaves":[{`},
		{"GET", "/allocator/offer_constraints_debug", "", 200, jsonBody, `{"frameworks":{`},
		{"GET", "/help", "", 200, page, "HELP"},
		{"GET", "/help/files", "", 200, page, "/files/read"},
		{"POST", "/api/v1", "", 400, plain, ""},
		{"GET", "/api/v1", "", 405, plain, "405 Method Not Allowed."},
		{"POST", "/api/v1/scheduler", "", 400, plain, ""},
		{"GET", "/", "", 404, plain, "404 Not Found."},
		{"GET", "/nothing", "", 404, plain, "404 Not Found."},
	} {
		path, _, _ := strings.Cut(c.path, "?")
		done[path] = true
		for _, prefix := range []string{"", "/master"} {
			got := m.inquire(c.method, prefix+c.path, c.form)
			media, typed := got.header["Content-Type"]
			if got.code != c.code || !strings.Contains(string(got.body), c.says) || typed != (c.media != "") || typed && media[0] != c.media {
				t.Errorf("%s %s: %d %q %.200s, want %d %q %s", c.method, prefix+c.path, got.code, media, got.body, c.code, c.media, c.says)
			}
			if c.code == 405 && got.header.Get("Allow") == "" {
				t.Errorf("%s %s: 405 without Allow", c.method, prefix+c.path)
			}
			if c.media == jsonBody {
				sign := "?"
				if strings.Contains(c.path, "?") {
					sign = "&"
				}
				script := m.inquire(c.method, prefix+c.path+sign+"jsonp=cb", c.form)
				if script.header.Get("Content-Type") != "text/javascript" || !bytes.HasPrefix(script.body, []byte("cb(")) || !bytes.HasSuffix(script.body, []byte(")")) {
					t.Errorf("%s %s with jsonp: %v %.100s", c.method, prefix+c.path, script.header, script.body)
				}
			}
		}
	}
	// Every path that the contract's table names has a row.
	for _, path := range strings.Fields(`/health /redirect /version /state /state-summary /slaves /frameworks /tasks /roles /flags /quota /weights
		/reserve /unreserve /create-volumes /destroy-volumes /teardown /machine/down /machine/up /maintenance/schedule /maintenance/status
		/metrics/snapshot /logging/toggle /files/browse /files/read /files/download /files/debug /system/stats.json /registrar(1)/registry /help / /state.json`) {
		if !done[path] {
			t.Errorf("no row for %s", path)
		}
	}
	if got := m.inquire("GET", "/redirect", "").header.Get("Location"); !regexp.MustCompile(`^//127\.0\.0\.1:\d+$`).MatchString(got) {
		t.Errorf("/redirect leads to %q", got)
	}
	if names := slices.Sorted(maps.Keys(done)); len(names) < 40 {
		t.Errorf("only %v", names)
	}
}
