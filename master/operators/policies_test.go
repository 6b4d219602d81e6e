package operators_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/maintenance"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/master/ledger"
)

// recordedPolicies are those of the cluster that testdata/policy was recorded from.
func recordedPolicies(t *testing.T) *ledger.Policies {
	t.Helper()
	q := ledger.QuotaSet{Role: "dev", Limits: map[string]resource.Fixed{"cpus": resource.Whole(3), "mem": resource.Whole(1024)}}
	q.Guarantees = q.Guarantees.With("cpus", resource.Whole(1)).With("mem", resource.Whole(256))
	status := &maintenance.ClusterStatus{}
	if err := wire.UnmarshalJSON(record(t, "policy/maintenance-status.http").body, status); err != nil {
		t.Fatal(err)
	}
	schedule := &maintenance.Schedule{}
	if err := wire.UnmarshalJSON(record(t, "policy/maintenance-schedule.http").body, schedule); err != nil {
		t.Fatal(err)
	}
	return &ledger.Policies{Quotas: []ledger.QuotaSet{q}, Schedule: schedule, Machines: status,
		Weights: []ledger.WeightSet{{Role: "web/front", Weight: 3}, {Role: "prod", Weight: 2.5}}}
}

// Quota, weights and maintenance are printed as the real master printed them.
func TestPoliciesAsRecorded(t *testing.T) {
	shell, d := recordedShell(t, nil)
	d.book.Policies = recordedPolicies(t)
	h := mux(shell)
	for _, path := range []string{"quota", "weights", "maintenance-schedule", "maintenance-status"} {
		want := record(t, "policy/"+path+".http")
		got := get(t, h, "/"+strings.Replace(path, "-", "/", 1))
		checkHead(t, got, want.status, wire.MediaJSON)
		if got.Body.String() != string(want.body) {
			t.Errorf("%s: %s\nwant %s", path, got.Body, want.body)
		}
	}
	for _, call := range []string{"GET_QUOTA", "GET_WEIGHTS", "GET_MAINTENANCE_SCHEDULE", "GET_MAINTENANCE_STATUS"} {
		want := record(t, "policy/"+call+".json.http")
		got := post(h, http.MethodPost, "/api/v1", fmt.Sprintf(`{"type":%q}`, call))
		checkHead(t, got, want.status, wire.MediaJSON)
		if call == "GET_WEIGHTS" { // the real one prints weight first, as the message has it
			compare(t, "", ordered(t, want.body), ordered(t, got.Body.Bytes()), nil)
			continue
		}
		if got.Body.String() != string(want.body) {
			t.Errorf("%s: %s\nwant %s", call, got.Body, want.body)
		}
	}
	roles := func(body []byte) map[string]any {
		var list struct{ Roles []map[string]any }
		if err := json.Unmarshal(body, &list); err != nil {
			t.Fatal(err)
		}
		for _, r := range list.Roles {
			if r["name"] == "dev" {
				quota := r["quota"].(map[string]any)
				delete(quota, "consumed") // the tasks of that moment are not in this book
				return quota
			}
		}
		return nil
	}
	want, got := roles(record(t, "policy/roles.http").body), roles(get(t, h, "/roles").Body.Bytes())
	if want == nil || !reflect.DeepEqual(want, got) {
		t.Errorf("/roles: quota %v, want %v", got, want)
	}

	answered := record(t, "policy/maintenance-status-answered.http")
	status := &maintenance.ClusterStatus{}
	if err := wire.UnmarshalJSON(answered.body, status); err != nil {
		t.Fatal(err)
	}
	book := *d.book
	book.Policies = &ledger.Policies{Machines: status}
	d.book = &book
	if got := get(t, h, "/maintenance/status"); got.Body.String() != string(answered.body) {
		t.Errorf("answered: %s\nwant %s", got.Body, answered.body)
	}
	status.DownMachines = []*mesos.MachineID{{Hostname: proto.String("h")}}
	if got := get(t, h, "/maintenance/status?jsonp=f").Body.String(); !strings.HasPrefix(got, `f({"down_machines":[{"hostname":"h"}],"draining_machines":[`) {
		t.Errorf("down: %s", got)
	}
}

// The older endpoints reach the ledger as the v1 call that does the same, with the
// principal who asked, and a success has neither body nor Content-Type.
func TestPolicyOrders(t *testing.T) {
	shell, d := recordedShell(t, nil)
	d.answer = ledger.Answer{Code: 200}
	h := mux(shell)
	const window = `{"machine_ids":[{"hostname":"h","ip":"10.0.0.1"}],"unavailability":{"start":{"nanoseconds":5}}}`
	for _, c := range []struct{ method, path, body, call string }{
		{"PUT", "/weights", `[{"role":"a","weight":2.0},{"role":"a/b","weight":0.5}]`, `{"type":"UPDATE_WEIGHTS","update_weights":{"weight_infos":[{"role":"a","weight":2.0},{"role":"a/b","weight":0.5}]}}`},
		{"PUT", "/weights", `[]`, `{"type":"UPDATE_WEIGHTS","update_weights":{}}`},
		{"POST", "/quota", `{"role":"r","force":true,"guarantee":[{"name":"cpus","type":"SCALAR","scalar":{"value":1}}]}`, `{"type":"SET_QUOTA","set_quota":{"quota_request":{"role":"r","force":true,"guarantee":[{"name":"cpus","type":"SCALAR","scalar":{"value":1}}]}}}`},
		{"DELETE", "/quota/r", ``, `{"type":"REMOVE_QUOTA","remove_quota":{"role":"r"}}`},
		{"DELETE", "/quota/a/b", ``, `{"type":"REMOVE_QUOTA","remove_quota":{"role":"a/b"}}`},
		{"POST", "/maintenance/schedule", `{"windows":[` + window + `]}`, `{"type":"UPDATE_MAINTENANCE_SCHEDULE","update_maintenance_schedule":{"schedule":{"windows":[` + window + `]}}}`},
		{"POST", "/maintenance/schedule", `{}`, `{"type":"UPDATE_MAINTENANCE_SCHEDULE","update_maintenance_schedule":{"schedule":{}}}`},
		{"POST", "/machine/down", `[{"hostname":"h"}]`, `{"type":"START_MAINTENANCE","start_maintenance":{"machines":[{"hostname":"h"}]}}`},
		{"POST", "/machine/up", `[{"ip":"10.0.0.1"}]`, `{"type":"STOP_MAINTENANCE","stop_maintenance":{"machines":[{"ip":"10.0.0.1"}]}}`},
		{"POST", "/api/v1", ``, `{"type":"UPDATE_QUOTA","update_quota":{"force":true,"quota_configs":[{"role":"r","guarantees":{"cpus":{"value":1.0}},"limits":{"cpus":{"value":2.0}}}]}}`},
		{"POST", "/api/v1", ``, `{"type":"DRAIN_AGENT","drain_agent":{"agent_id":{"value":"S0"},"max_grace_period":{"seconds":600},"mark_gone":true}}`},
		{"POST", "/api/v1", ``, `{"type":"DEACTIVATE_AGENT","deactivate_agent":{"agent_id":{"value":"S0"}}}`},
		{"POST", "/api/v1", ``, `{"type":"REACTIVATE_AGENT","reactivate_agent":{"agent_id":{"value":"S0"}}}`},
		{"POST", "/api/v1", ``, `{"type":"MARK_AGENT_GONE","mark_agent_gone":{"agent_id":{"value":"S0"}}}`},
	} {
		want := &masterapi.Call{}
		if err := wire.UnmarshalJSON([]byte(c.call), want); err != nil {
			t.Fatal(err)
		}
		body := c.body
		if c.path == "/api/v1" {
			body = c.call
		}
		d.orders = nil
		got := post(h, c.method, c.path, body)
		if _, typed := got.Header()["Content-Type"]; got.Code != 200 || got.Body.Len() != 0 || typed {
			t.Errorf("%s %s: %d %q %v", c.method, c.path, got.Code, got.Body, got.Header())
		}
		if len(d.orders) != 1 || !proto.Equal(d.orders[0].Call, want) {
			t.Errorf("%s %s: %v, want %v", c.method, c.path, d.orders, want)
		}
	}
}

// Bodies that cannot be read never reach the ledger.
func TestPolicyRefusals(t *testing.T) {
	shell, d := recordedShell(t, nil)
	h := mux(shell)
	for _, c := range []struct {
		method, path, body string
		code               int
		text               string // prefix
	}{
		{"POST", "/weights", `[]`, 405, "405 Method Not Allowed. Expecting one of { 'GET', 'PUT' }, but received 'POST'."},
		{"PUT", "/weights", `[`, 400, "Failed to parse update weights request JSON '[': "},
		{"PUT", "/weights", `{}`, 400, "Failed to parse update weights request JSON '{}': "},
		{"PUT", "/weights", `[{"role":"a"}]`, 400, `Failed to convert weights JSON array to protobuf '[{"role":"a"}]': Missing required fields: weight`},
		{"PUT", "/weights", `[1]`, 400, `Failed to convert weights JSON array to protobuf '[1]': `},
		{"POST", "/quota", `{`, 400, "Failed to parse set quota request JSON '{': "},
		{"POST", "/quota", `[]`, 400, "Failed to validate set quota request JSON '[]': "},
		{"PUT", "/quota", ``, 405, "405 Method Not Allowed. Expecting one of { 'GET', 'POST', 'DELETE' }, but received 'PUT'."},
		{"DELETE", "/quota", ``, 400, "Failed to parse remove quota request for path '/quota': expected 3 tokens"},
		{"POST", "/maintenance/schedule", `{"windows":[{"machine_ids":[{"hostname":"h"}]}]}`, 400, "Missing required fields: windows[0].unavailability"},
		{"PUT", "/maintenance/schedule", ``, 405, "405 Method Not Allowed. Expecting one of { 'GET', 'POST' }, but received 'PUT'."},
		{"POST", "/maintenance/status", ``, 405, "405 Method Not Allowed. Expecting one of { 'GET' }, but received 'POST'."},
		{"GET", "/machine/up", ``, 405, "405 Method Not Allowed. Expecting one of { 'POST' }, but received 'GET'."},
		{"POST", "/machine/down", `{}`, 400, "json: cannot unmarshal"},
		{"POST", "/machine/down", `[3]`, 400, ""},
		{"POST", "/api/v1", `{"type":"DRAIN_AGENT","drain_agent":{"agent_id":{"value":"x"},"max_grace_period":"soon"}}`, 400, "Failed to convert JSON into Call protobuf: Failed to parse 'soon' as a duration"},
		{"POST", "/api/v1", `{"type":"REMOVE_QUOTA","remove_quota":{}}`, 400, "Failed to convert JSON into Call protobuf: Missing required fields: remove_quota.role"},
	} {
		got := post(h, c.method, c.path, c.body)
		if got.Code != c.code || !strings.HasPrefix(got.Body.String(), c.text) {
			t.Errorf("%s %s %s: %d %q", c.method, c.path, c.body, got.Code, got.Body)
		}
	}
	if len(d.orders) != 0 {
		t.Errorf("orders %v", d.orders)
	}
	d.answer = ledger.Answer{Code: 400, Body: "Failed to remove quota: Role 'r' has no quota set"}
	if got := post(h, http.MethodDelete, "/quota/r", ""); got.Code != 400 || got.Body.String() != "Failed to remove quota for path '/quota/r': Role 'r' has no quota set" {
		t.Errorf("%d %q", got.Code, got.Body)
	}
	for _, file := range []string{"weights-post", "machine-up-get", "schedule-bad"} {
		want := record(t, "errors/"+file+".http")
		var got interface {
			Result() *http.Response
		}
		body := ""
		switch file {
		case "weights-post":
			w := post(h, http.MethodPost, "/weights", "[]")
			got, body = w, w.Body.String()
		case "machine-up-get":
			w := post(h, http.MethodGet, "/machine/up", "")
			got, body = w, w.Body.String()
		case "schedule-bad":
			w := post(h, http.MethodPost, "/maintenance/schedule", `{"windows":[{"machine_ids":[{"hostname":"h"}]}]}`)
			got, body = w, w.Body.String()
		}
		r := got.Result()
		if r.StatusCode != want.status || body != string(want.body) || r.Header.Get("Allow") != want.header.Get("Allow") ||
			r.Header.Get("Content-Type") != want.header.Get("Content-Type") {
			t.Errorf("%s: %d %v %q, want %d %q", file, r.StatusCode, r.Header, body, want.status, want.body)
		}
	}
}

// A draining agent says so in both APIs.
func TestDrainInfo(t *testing.T) {
	shell, d := recordedShell(t, nil)
	view := *d.book.Agents[0]
	view.Active, view.Deactivated = false, true
	view.Drain = &mesos.DrainInfo{State: mesos.DrainState_DRAINING.Enum(), Config: &mesos.DrainConfig{
		MaxGracePeriod: &mesos.DurationInfo{Nanoseconds: proto.Int64(600e9)}, MarkGone: proto.Bool(true)}}
	view.DrainSince = at(&mesos.TimeInfo{Nanoseconds: proto.Int64(1500e9)})
	book := *d.book
	book.Agents = []*ledger.AgentView{&view}
	d.book = &book
	h := mux(shell)
	const info = `"drain_info":{"state":"DRAINING","config":{"max_grace_period":{"nanoseconds":600000000000},"mark_gone":true}}`
	if got := get(t, h, "/state").Body.String(); !strings.Contains(got, info+`,"estimated_drain_start_time_seconds":1500.0`) ||
		!strings.Contains(got, `"active":false,"deactivated":true`) {
		t.Errorf("/state: %s", got)
	}
	if got := post(h, http.MethodPost, "/api/v1", `{"type":"GET_AGENTS"}`).Body.String(); !strings.Contains(got, info+`,"estimated_drain_start_time":{"nanoseconds":1500000000000}`) {
		t.Errorf("GET_AGENTS: %s", got)
	}
}
