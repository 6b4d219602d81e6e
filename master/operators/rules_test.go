package operators_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/acl"
	"github.com/stoa-project/stoa/internal/auth"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/master/ledger"
	"github.com/stoa-project/stoa/master/operators"
)

func rules(t *testing.T, text string) *acl.List {
	t.Helper()
	l, warnings, err := acl.Parse([]byte(text))
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	return l
}

// TestNeedsOfCalls is the authorisation column of mesos-master.md 5.1: with only the named
// action refused, the call is 403; with every other one refused it is not.
func TestNeedsOfCalls(t *testing.T) {
	for _, c := range []struct{ call, action, objects string }{
		{`{"type":"GET_FLAGS"}`, "view_flags", "flags"},
		{`{"type":"SET_LOGGING_LEVEL","set_logging_level":{"level":1,"duration":{"nanoseconds":1}}}`, "set_log_level", "level"},
		{`{"type":"LIST_FILES","list_files":{"path":"/x"}}`, "access_mesos_logs", "logs"},
		{`{"type":"READ_FILE","read_file":{"path":"/x","offset":0}}`, "access_mesos_logs", "logs"},
		{`{"type":"RESERVE_RESOURCES","reserve_resources":{"agent_id":{"value":"x"},"resources":[]}}`, "reserve_resources", "roles"},
		{`{"type":"UNRESERVE_RESOURCES","unreserve_resources":{"agent_id":{"value":"x"},"resources":[]}}`, "unreserve_resources", "reserver_principals"},
		{`{"type":"CREATE_VOLUMES","create_volumes":{"agent_id":{"value":"x"},"volumes":[]}}`, "create_volumes", "roles"},
		{`{"type":"DESTROY_VOLUMES","destroy_volumes":{"agent_id":{"value":"x"},"volumes":[]}}`, "destroy_volumes", "creator_principals"},
		{`{"type":"GROW_VOLUME","grow_volume":{"agent_id":{"value":"x"},"volume":{"name":"disk","type":"SCALAR"},"addition":{"name":"disk","type":"SCALAR"}}}`, "resize_volumes", "roles"},
		{`{"type":"SHRINK_VOLUME","shrink_volume":{"agent_id":{"value":"x"},"volume":{"name":"disk","type":"SCALAR"},"subtract":{"value":1}}}`, "resize_volumes", "roles"},
		{`{"type":"UPDATE_MAINTENANCE_SCHEDULE","update_maintenance_schedule":{"schedule":{}}}`, "update_maintenance_schedules", "machines"},
		{`{"type":"START_MAINTENANCE","start_maintenance":{"machines":[]}}`, "start_maintenances", "machines"},
		{`{"type":"STOP_MAINTENANCE","stop_maintenance":{"machines":[]}}`, "stop_maintenances", "machines"},
		{`{"type":"UPDATE_WEIGHTS","update_weights":{"weight_infos":[{"role":"a","weight":2}]}}`, "update_weights", "roles"},
		{`{"type":"SET_QUOTA","set_quota":{"quota_request":{"role":"a"}}}`, "update_quotas", "roles"},
		{`{"type":"REMOVE_QUOTA","remove_quota":{"role":"a"}}`, "update_quotas", "roles"},
		{`{"type":"UPDATE_QUOTA","update_quota":{"quota_configs":[{"role":"a"}]}}`, "update_quotas", "roles"},
		{`{"type":"MARK_AGENT_GONE","mark_agent_gone":{"agent_id":{"value":"x"}}}`, "mark_agents_gone", "agents"},
		{`{"type":"DRAIN_AGENT","drain_agent":{"agent_id":{"value":"x"}}}`, "drain_agents", "agents"},
		{`{"type":"DRAIN_AGENT","drain_agent":{"agent_id":{"value":"x"},"mark_gone":true}}`, "mark_agents_gone", "agents"},
		{`{"type":"DEACTIVATE_AGENT","deactivate_agent":{"agent_id":{"value":"x"}}}`, "deactivate_agents", "agents"},
		{`{"type":"REACTIVATE_AGENT","reactivate_agent":{"agent_id":{"value":"x"}}}`, "reactivate_agents", "agents"},
	} {
		none := rules(t, `{"`+c.action+`":[{"principals":{"type":"ANY"},"`+c.objects+`":{"type":"NONE"}}]}`)
		h, _, d := under(t, none)
		if got := post(asking(h, "op"), "POST", "/api/v1", c.call).Code; got != http.StatusForbidden || len(d.orders) > 0 {
			t.Errorf("%s without %s: %d, want 403", c.call, c.action, got)
		}
		other := rules(t, `{"run_tasks":[{"principals":{"type":"ANY"},"users":{"type":"NONE"}}]}`)
		h, _, _ = under(t, other)
		if got := post(asking(h, "op"), "POST", "/api/v1", c.call).Code; got == http.StatusForbidden {
			t.Errorf("%s with %s: 403", c.call, c.action)
		}
	}
	denied, _, _ := under(t, rules(t, `{"permissive":false}`))
	for _, name := range []string{"GET_HEALTH", "GET_VERSION", "GET_STATE", "GET_AGENTS", "GET_TASKS", "GET_ROLES", "GET_WEIGHTS", "GET_QUOTA", "GET_MASTER"} {
		if got := post(asking(denied, "op"), "POST", "/api/v1", `{"type":"`+name+`"}`).Code; got != http.StatusOK {
			t.Errorf("%s with nothing allowed: %d, want 200", name, got)
		}
	}
}

// asking makes a handler whose requests are who's; the principal comes from the realm's
// authenticator in the door.
func asking(h http.Handler, who string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if who != "" {
			r = r.WithContext(auth.With(r.Context(), auth.Principal{Value: who}))
		}
		h.ServeHTTP(w, r)
	})
}

// under gives the recorded cluster under rules.
func under(t *testing.T, l *acl.List) (http.Handler, *operators.Shell, *door) {
	t.Helper()
	shell, d := recordedShell(t, func(c *operators.Config) { c.ACL = l })
	return mux(shell), shell, d
}

// TestEveryRouteAsks: with nothing allowed, no route changes anything or shows more than
// an empty cluster.
func TestEveryRouteAsks(t *testing.T) {
	_, s, d := under(t, rules(t, `{"permissive":false}`))
	framework := string(d.book.Frameworks[0].ID)
	bodies := map[string]string{ // what each writing route takes
		"/teardown": "frameworkId=" + framework, "/machine/down": `[{"hostname":"h"}]`, "/machine/up": `[{"hostname":"h"}]`,
		"/reserve": "slaveId=x&resources=[]", "/unreserve": "slaveId=x&resources=[]", "/create-volumes": "slaveId=x&volumes=[]",
		"/destroy-volumes": "slaveId=x&volumes=[]", "/maintenance/schedule": `{}`, "/logging/toggle": "level=1&duration=1secs",
		"/quota": `{"role":"a","guarantee":[]}`, "/weights": `[{"role":"a","weight":2}]`,
	}
	methods := map[string]string{"/weights": "PUT"}
	open := map[string]bool{"/version": true, "/system/stats.json": true}
	for _, route := range s.Routes() {
		if open[route.Path] || operators.RealmOf(route.Path) == operators.Open || route.Path == "/api/v1" {
			continue
		}
		path := strings.TrimSuffix(route.Path, "/*")
		r := httptest.NewRequest("GET", path, nil)
		w := httptest.NewRecorder()
		route.Handler.ServeHTTP(w, r)
		for _, secret := range []string{"authenticate_agents", framework, `"user":`} {
			if w.Code == http.StatusOK && strings.Contains(w.Body.String(), secret) {
				t.Errorf("GET %s shows %s: %.300s", path, secret, w.Body)
			}
		}
		body, writes := bodies[path]
		if !writes {
			continue
		}
		method := methods[path]
		if method == "" {
			method = "POST"
		}
		r = httptest.NewRequest(method, path, strings.NewReader(body))
		w = httptest.NewRecorder()
		route.Handler.ServeHTTP(w, r)
		if w.Code != http.StatusForbidden || w.Body.String() != "403 Forbidden." {
			t.Errorf("%s %s: %d %q, want 403", method, path, w.Code, w.Body)
		}
	}
	if len(d.orders)+len(d.torndown) > 0 {
		t.Errorf("%v %v reached the ledger", d.orders, d.torndown)
	}
}

// TestTeardownRule: the object is the framework's principal, and an unknown framework is
// still 400.
func TestTeardownRule(t *testing.T) {
	l := rules(t, `{"teardown_frameworks":[{"principals":{"values":["op"]},"framework_principals":{"values":["alice"]}},
		{"principals":{"type":"ANY"},"framework_principals":{"type":"NONE"}}]}`)
	h, _, d := under(t, l)
	mine, other := *d.book.Frameworks[0], *d.book.Frameworks[1]
	alice, bob := "alice", "bob"
	mine.Info = proto.Clone(mine.Info).(*mesos.FrameworkInfo)
	other.Info = proto.Clone(other.Info).(*mesos.FrameworkInfo)
	mine.Info.Principal, other.Info.Principal = &alice, &bob
	d.book.Frameworks = []*ledger.FrameworkView{&mine, &other}
	for _, c := range []struct {
		who, id string
		code    int
	}{{"op", string(mine.ID), 200}, {"op", string(other.ID), 403}, {"x", string(mine.ID), 403}, {"", string(mine.ID), 403}, {"op", "nope", 400}} {
		got := post(asking(h, c.who), "POST", "/teardown", "frameworkId="+c.id, "Content-Type", "application/x-www-form-urlencoded")
		v1 := post(asking(h, c.who), "POST", "/api/v1", `{"type":"TEARDOWN","teardown":{"framework_id":{"value":"`+c.id+`"}}}`)
		if got.Code != c.code || v1.Code != c.code {
			t.Errorf("%s tears %s down: %d, v1 %d, want %d", c.who, c.id, got.Code, v1.Code, c.code)
		}
	}
}

// TestLimitedReaders: two readers at once see each their own part, in the endpoints and in
// the v1 API, and one without limits sees all.
func TestLimitedReaders(t *testing.T) {
	l := rules(t, `{
		"view_frameworks":[{"principals":{"values":["all"]},"users":{"type":"ANY"}},{"principals":{"values":["some"]},"users":{"values":["eng"]}},{"principals":{"type":"ANY"},"users":{"type":"NONE"}}],
		"view_tasks":[{"principals":{"values":["all"]},"users":{"type":"ANY"}},{"principals":{"values":["some"]},"users":{"values":["nina"]}},{"principals":{"type":"ANY"},"users":{"type":"NONE"}}],
		"view_roles":[{"principals":{"values":["all"]},"roles":{"type":"ANY"}},{"principals":{"type":"ANY"},"roles":{"type":"NONE"}}],
		"view_flags":[{"principals":{"values":["all"]},"flags":{"type":"ANY"}},{"principals":{"type":"ANY"},"flags":{"type":"NONE"}}]}`)
	h, _, d := under(t, l)
	f := *d.book.Frameworks[0]
	f.Info = proto.Clone(f.Info).(*mesos.FrameworkInfo)
	eng, nina := "eng", "nina"
	f.Info.User = &eng
	var any *mesos.Task
	for _, f := range d.book.Frameworks {
		if len(f.Tasks) > 0 {
			any = f.Tasks[0]
		}
	}
	seen, hidden := proto.Clone(any).(*mesos.Task), proto.Clone(any).(*mesos.Task)
	id1, id2 := "task-seen", "task-hidden"
	seen.TaskId, seen.User = &mesos.TaskID{Value: &id1}, &nina
	hidden.TaskId, hidden.User = &mesos.TaskID{Value: &id2}, &eng
	f.Tasks = []*mesos.Task{seen, hidden}
	others := d.book.Frameworks[1:]
	d.book.Frameworks = append([]*ledger.FrameworkView{&f}, others...)
	shows := func(who, path, text string) bool {
		t.Helper()
		var got *httptest.ResponseRecorder
		if strings.HasPrefix(path, "/") {
			got = get(t, asking(h, who), path)
		} else {
			got = post(asking(h, who), "POST", "/api/v1", `{"type":"`+path+`"}`)
		}
		if got.Code != 200 {
			t.Fatalf("%s by %q: %d %s", path, who, got.Code, got.Body)
		}
		return strings.Contains(got.Body.String(), text)
	}
	foreign := string(others[0].ID)
	for range 2 { // the second time from what was printed the first time
		for _, path := range []string{"/state", "/frameworks", "/tasks?limit=1000", "GET_STATE", "GET_TASKS"} {
			for who, want := range map[string][2]bool{"all": {true, true}, "some": {true, false}, "": {false, false}} {
				if a, b := shows(who, path, "task-seen"), shows(who, path, "task-hidden"); a != want[0] || b != want[1] {
					t.Errorf("%s by %q shows task-seen %v, task-hidden %v; want %v", path, who, a, b, want)
				}
			}
		}
		for _, path := range []string{"/state", "/state-summary", "/frameworks", "GET_FRAMEWORKS"} {
			if shows("some", path, foreign) || !shows("all", path, foreign) || !shows("some", path, string(f.ID)) || shows("", path, string(f.ID)) {
				t.Errorf("%s shows the wrong frameworks", path)
			}
		}
		for _, path := range []string{"/state", "/slaves", "/roles", "GET_AGENTS", "GET_ROLES"} {
			if shows("some", path, `"prod"`) || !shows("all", path, `"prod"`) {
				t.Errorf("%s shows the wrong roles", path)
			}
		}
		if shows("some", "/state", `"flags"`) || !shows("all", "/state", `"flags"`) || shows("some", "/state", `"cluster"`) {
			t.Error("/state shows the wrong flags")
		}
	}
	if got := get(t, asking(h, "some"), "/flags"); got.Code != 403 {
		t.Errorf("/flags: %d", got.Code)
	}
}

// TestLimitedStream: a subscriber's events are those of what it may see.
func TestLimitedStream(t *testing.T) {
	l := rules(t, `{
		"view_frameworks":[{"principals":{"values":["some"]},"users":{"values":["eng"]}},{"principals":{"values":["some"]},"users":{"type":"NONE"}}],
		"view_tasks":[{"principals":{"values":["some"]},"users":{"values":["eng"]}},{"principals":{"values":["some"]},"users":{"type":"NONE"}}],
		"view_roles":[{"principals":{"values":["some"]},"roles":{"type":"NONE"}}]}`)
	h, shell, d := under(t, l)
	d.book = &ledger.Snapshot{Master: d.book.Master}
	limited := listen(t, serve(t, asking(h, "some")).URL, wire.JSON)
	whole := listen(t, serve(t, asking(h, "boss")).URL, wire.Protobuf)
	for _, each := range []*listener{limited, whole} {
		each.next() // SUBSCRIBED
		each.next() // HEARTBEAT
	}
	str := func(s string) *string { return &s }
	framework := func(id, user string) *mesos.FrameworkInfo {
		return &mesos.FrameworkInfo{Id: &mesos.FrameworkID{Value: str(id)}, User: str(user), Name: str(id)}
	}
	added := func(f *mesos.FrameworkInfo) *masterapi.Event {
		yes, no := true, false
		return &masterapi.Event{Type: masterapi.Event_FRAMEWORK_ADDED.Enum(), FrameworkAdded: &masterapi.Event_FrameworkAdded{
			Framework: &masterapi.Response_GetFrameworks_Framework{FrameworkInfo: f, Active: &yes, Connected: &yes, Recovered: &no}}}
	}
	task := func(id, f, user string) *masterapi.Event {
		t := &mesos.Task{Name: str(id), TaskId: &mesos.TaskID{Value: str(id)}, FrameworkId: &mesos.FrameworkID{Value: str(f)},
			AgentId: &mesos.AgentID{Value: str("S0")}, State: mesos.TaskState_TASK_RUNNING.Enum()}
		if user != "" {
			t.User = str(user)
		}
		return &masterapi.Event{Type: masterapi.Event_TASK_ADDED.Enum(), TaskAdded: &masterapi.Event_TaskAdded{Task: t}}
	}
	update := func(id, f string, s mesos.TaskState) *masterapi.Event {
		return &masterapi.Event{Type: masterapi.Event_TASK_UPDATED.Enum(), TaskUpdated: &masterapi.Event_TaskUpdated{
			FrameworkId: &mesos.FrameworkID{Value: str(f)}, State: s.Enum(),
			Status: &mesos.TaskStatus{TaskId: &mesos.TaskID{Value: str(id)}, State: s.Enum()}}}
	}
	mine, foreign := framework("f-mine", "eng"), framework("f-foreign", "root")
	agent := &masterapi.Event{Type: masterapi.Event_AGENT_ADDED.Enum(), AgentAdded: &masterapi.Event_AgentAdded{
		Agent: &masterapi.Response_GetAgents_Agent{AgentInfo: &mesos.AgentInfo{Hostname: str("h")}, Active: new(bool), Version: str("1.11.0"),
			TotalResources: []*mesos.Resource{
				{Name: str("cpus"), Type: mesos.Value_SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: new(float64)}},
				{Name: str("mem"), Type: mesos.Value_SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: new(float64)},
					Reservations: []*mesos.Resource_ReservationInfo{{Type: mesos.Resource_ReservationInfo_STATIC.Enum(), Role: str("hidden-role")}}}}}}}
	events := []*masterapi.Event{
		added(mine), added(foreign),
		task("t-mine", "f-mine", ""), task("t-root", "f-mine", "root"), task("t-foreign", "f-foreign", "eng"),
		update("t-mine", "f-mine", mesos.TaskState_TASK_RUNNING), update("t-root", "f-mine", mesos.TaskState_TASK_RUNNING),
		update("t-foreign", "f-foreign", mesos.TaskState_TASK_RUNNING), agent,
		update("t-mine", "f-mine", mesos.TaskState_TASK_FINISHED),
		{Type: masterapi.Event_FRAMEWORK_REMOVED.Enum(), FrameworkRemoved: &masterapi.Event_FrameworkRemoved{FrameworkInfo: foreign}},
		{Type: masterapi.Event_FRAMEWORK_REMOVED.Enum(), FrameworkRemoved: &masterapi.Event_FrameworkRemoved{FrameworkInfo: mine}},
	}
	for _, e := range events {
		d.publish(shell, e, nil)
	}
	for _, e := range events {
		if got := whole.next(); got.GetType() != e.GetType() {
			t.Fatalf("the whole stream has %s, want %s", got.GetType(), e.GetType())
		}
	}
	for _, want := range []string{"FRAMEWORK_ADDED f-mine", "TASK_ADDED t-mine", "TASK_UPDATED t-mine", "AGENT_ADDED ", "TASK_UPDATED t-mine", "FRAMEWORK_REMOVED f-mine"} {
		e := limited.next()
		kind, name, _ := strings.Cut(want, " ")
		if e.GetType().String() != kind || !strings.Contains(fmt.Sprint(e), name) || strings.Contains(fmt.Sprint(e), "hidden-role") {
			t.Errorf("%v, want %s", e, want)
		}
	}
}
