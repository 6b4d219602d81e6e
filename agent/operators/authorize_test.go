package operators

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/agent/sandbox"
	"github.com/stoa-project/stoa/internal/acl"
	"github.com/stoa-project/stoa/internal/auth"
	"github.com/stoa-project/stoa/internal/metrics"
	"github.com/stoa-project/stoa/internal/wire/agentapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

func TestEveryCallIsAskedAbout(t *testing.T) {
	for n, name := range agentapi.Call_Type_name {
		if callNeeds[agentapi.Call_Type(n)] == nil {
			t.Errorf("%s has no row in callNeeds", name)
		}
	}
}

// yes answers every call about containers.
type yes struct{}

func (yes) Call(context.Context, lifecycle.ContainerCall) (lifecycle.Answer, error) {
	return lifecycle.Answer{Code: 200}, nil
}
func (yes) Output(_ context.Context, _ lifecycle.ContainerID, ready func(), _ func(bool, []byte) error) error {
	ready()
	return nil
}
func (yes) Input(context.Context, lifecycle.ContainerID, []byte, bool, *container.Terminal) error {
	return nil
}

// twoUsers is a view with a framework of root and one of app, each with one task.
func twoUsers(dirs map[string]string) *lifecycle.View {
	v := &lifecycle.View{Agent: "S0"}
	for _, user := range []string{"root", "app"} {
		task := &mesos.Task{Name: proto.String("t"), TaskId: &mesos.TaskID{Value: proto.String("task-of-" + user)}, FrameworkId: &mesos.FrameworkID{Value: proto.String("F-" + user)},
			AgentId: &mesos.AgentID{Value: proto.String("S0")}, State: mesos.TaskState_TASK_RUNNING.Enum(), User: proto.String(user)}
		v.Frameworks = append(v.Frameworks, lifecycle.FrameworkView{
			Info: &mesos.FrameworkInfo{Id: task.FrameworkId, Name: proto.String("f"), User: proto.String(user)},
			Executors: []lifecycle.ExecutorView{{
				Info:      &mesos.ExecutorInfo{ExecutorId: &mesos.ExecutorID{Value: proto.String("e-" + user)}},
				Container: lifecycle.ContainerID("c-" + user), Directory: dirs[user], PID: 7, Phase: "RUNNING", Launched: []*mesos.Task{task},
			}},
		})
	}
	return v
}

// guarded starts the routes with rules; the header Who names the principal, Run a token's container.
func guarded(t *testing.T, rules string, change ...func(*Config)) (url string, dirs map[string]string) {
	t.Helper()
	list, warnings, err := acl.Parse([]byte(rules))
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	files := sandbox.NewFiles()
	dirs = map[string]string{"root": t.TempDir(), "app": t.TempDir()}
	for user, dir := range dirs {
		files.Attach("/"+user, dir)
		if err := os.WriteFile(filepath.Join(dir, "stdout"), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cfg := Config{
		PID: "slave(1)@127.0.0.1:5051", Version: "1.11.0", Started: time.Unix(1, 0), Flags: map[string]string{"port": "5051"},
		Info: &messages.SlaveInfo{Hostname: proto.String("h"), Resources: []*mesos.Resource{
			{Name: proto.String("cpus"), Type: mesos.Value_SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: proto.Float64(4)}, Role: proto.String("dev")},
			{Name: proto.String("cpus"), Type: mesos.Value_SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: proto.Float64(4)}, Role: proto.String("ops")}}},
		Recovered: func() bool { return true }, View: func(context.Context) (*lifecycle.View, error) { return twoUsers(dirs), nil },
		MasterHostname: func() string { return "m" }, Files: files, Metrics: metrics.New(), Executors: http.NotFoundHandler(), Containers: yes{},
		Usage: func(context.Context, lifecycle.ContainerID) (*mesos.ResourceStatistics, error) {
			return &mesos.ResourceStatistics{Timestamp: proto.Float64(1)}, nil
		},
		Rules: list,
	}
	for _, f := range change {
		f(&cfg)
	}
	h := New(cfg, slog.New(slog.DiscardHandler))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if who, run := r.Header.Get("Who"), r.Header.Get("Run"); who != "" || run != "" {
			p := auth.Principal{Value: who}
			if run != "" {
				p.Claims = map[string]string{"cid": run}
			}
			r = r.WithContext(auth.With(r.Context(), p))
		}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	return srv.URL, dirs
}

func ask(t *testing.T, method, url, body string, headers ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// Who may see what belongs to user app sees just that.
func TestReadersSeeTheirOwn(t *testing.T) {
	own := `[{"principals":{"values":["app"]},"users":{"values":["app"]}},{"principals":{"values":["ops"]},"users":{"type":"ANY"}}]`
	url, _ := guarded(t, `{"permissive":false,"view_frameworks":`+own+`,"view_executors":`+own+`,"view_tasks":`+own+`,"view_containers":`+own+`,"access_sandboxes":`+own+`,
		"get_endpoints":[{"principals":{"type":"ANY"},"paths":{"values":["/containers"]}}],
		"view_roles":[{"principals":{"values":["app"]},"roles":{"values":["dev"]}}],
		"view_flags":[{"principals":{"values":["ops"]},"flags":{"type":"ANY"}}]}`)
	for _, c := range []struct {
		who       string
		app, root bool
	}{{"app", true, false}, {"ops", true, true}, {"stranger", false, false}, {"", false, false}} {
		headers := []string{}
		if c.who != "" {
			headers = []string{"Who", c.who}
		}
		for _, call := range []struct{ method, path, body string }{
			{"GET", "/state", ""}, {"GET", "/containers", ""},
			{"POST", "/api/v1", `{"type":"GET_STATE"}`}, {"POST", "/api/v1", `{"type":"GET_TASKS"}`}, {"POST", "/api/v1", `{"type":"GET_EXECUTORS"}`},
			{"POST", "/api/v1", `{"type":"GET_FRAMEWORKS"}`}, {"POST", "/api/v1", `{"type":"GET_CONTAINERS","get_containers":{"show_nested":true}}`},
		} {
			status, body := ask(t, call.method, url+call.path, call.body, headers...)
			app, root := strings.Contains(body, "-app"), strings.Contains(body, "-root")
			if status != 200 || app != c.app || root != c.root {
				t.Errorf("%q %s %s: %d, app %v, root %v\n%s", c.who, call.path, call.body, status, app, root, body)
			}
		}
		for user, allowed := range map[string]bool{"app": c.app, "root": c.root} {
			want := map[bool]int{true: 200, false: 403}[allowed]
			for _, call := range []struct{ method, path, body string }{
				{"GET", "/files/browse?path=/" + user, ""}, {"GET", "/files/read?path=/" + user + "/stdout", ""}, {"GET", "/files/download?path=/" + user + "/stdout", ""},
				{"POST", "/api/v1", `{"type":"LIST_FILES","list_files":{"path":"/` + user + `"}}`},
				{"POST", "/api/v1", `{"type":"READ_FILE","read_file":{"path":"/` + user + `/stdout","offset":0}}`},
			} {
				if status, body := ask(t, call.method, url+call.path, call.body, headers...); status != want {
					t.Errorf("%q %s %s: %d %s, want %d", c.who, call.path, call.body, status, body, want)
				}
			}
		}
		flags := map[bool]int{true: 200, false: 403}[c.who == "ops"]
		for _, call := range []struct{ method, path, body string }{{"GET", "/flags", ""}, {"POST", "/api/v1", `{"type":"GET_FLAGS"}`}} {
			if status, _ := ask(t, call.method, url+call.path, call.body, headers...); status != flags {
				t.Errorf("%q %s: %d, want %d", c.who, call.path, status, flags)
			}
		}
		_, text := ask(t, "GET", url+"/state", "", headers...)
		var state struct {
			Flags    map[string]string
			Reserved map[string]any `json:"reserved_resources"`
		}
		if err := json.Unmarshal([]byte(text), &state); err != nil {
			t.Fatal(err)
		}
		if (len(state.Flags) > 0) != (c.who == "ops") || (state.Reserved["dev"] != nil) != (c.who == "app") || state.Reserved["ops"] != nil {
			t.Errorf("%q: flags %v, reserved %v", c.who, state.Flags, state.Reserved)
		}
	}
	for path, want := range map[string]int{"/monitor/statistics": 403, "/files/debug": 403, "/metrics/snapshot": 403, "/containers/": 200, "/health": 200, "/version": 200} {
		if status, _ := ask(t, "GET", url+path, "", "Who", "ops"); status != want && !(path == "/containers/" && status == 404) {
			t.Errorf("%s: %d, want %d", path, status, want)
		}
	}
}

// Each call about a container is allowed by its own action, and by the user of the
// executor that the container belongs to.
func TestCallsNeedTheirAction(t *testing.T) {
	ids := func(root string) string { return `"container_id":{"value":"n","parent":{"value":"` + root + `"}}` }
	calls := map[acl.Action][]string{
		acl.WaitNested:   {"WAIT_NESTED_CONTAINER", "WAIT_CONTAINER"},
		acl.KillNested:   {"KILL_NESTED_CONTAINER", "KILL_CONTAINER"},
		acl.RemoveNested: {"REMOVE_NESTED_CONTAINER", "REMOVE_CONTAINER"},
		acl.AttachOutput: {"ATTACH_CONTAINER_OUTPUT"},
	}
	for action, kinds := range calls {
		url, _ := guarded(t, `{"permissive":false,"`+string(action)+`":[{"principals":{"values":["me"]},"users":{"values":["app"]}}]}`)
		for _, kind := range kinds {
			body := func(root string) string {
				extra := ""
				if kind == "ATTACH_CONTAINER_OUTPUT" {
					extra = `"type":"CONTAINER_ID",`
				}
				return `{"type":"` + kind + `","` + strings.ToLower(kind) + `":{` + extra + ids(root) + `}}`
			}
			for _, c := range []struct {
				who, root string
				want      int
			}{{"me", "c-app", 200}, {"me", "c-root", 403}, {"you", "c-app", 403}, {"", "c-app", 403}, {"me", "gone", 403}} {
				if status, text := ask(t, "POST", url+"/api/v1", body(c.root), "Who", c.who, "Accept", "application/json"); status != c.want {
					t.Errorf("%s of %s by %q: %d %s, want %d", kind, c.root, c.who, status, text, c.want)
				}
			}
		}
	}
	// Starting one needs both: its own user, and its executor's.
	url, _ := guarded(t, `{"permissive":false,
		"launch_nested_containers_as_user":[{"principals":{"values":["me"]},"users":{"values":["app","nobody"]}}],
		"launch_nested_containers_under_parent_with_user":[{"principals":{"values":["me"]},"users":{"values":["app"]}}]}`)
	for _, c := range []struct {
		root, user string
		want       int
	}{{"c-app", "", 200}, {"c-app", "nobody", 200}, {"c-app", "root", 403}, {"c-root", "", 403}, {"c-root", "nobody", 403}} {
		user := ""
		if c.user != "" {
			user = `,"user":"` + c.user + `"`
		}
		for _, kind := range []string{"LAUNCH_NESTED_CONTAINER", "LAUNCH_CONTAINER"} {
			body := `{"type":"` + kind + `","` + strings.ToLower(kind) + `":{` + ids(c.root) + `,"command":{"value":"true"` + user + `}}}`
			if status, text := ask(t, "POST", url+"/api/v1", body, "Who", "me"); status != c.want {
				t.Errorf("%s below %s as %q: %d %s, want %d", kind, c.root, c.user, status, text, c.want)
			}
		}
		session := `{"type":"LAUNCH_NESTED_CONTAINER_SESSION","launch_nested_container_session":{` + ids(c.root) + `,"command":{"value":"true"}}}`
		if status, _ := ask(t, "POST", url+"/api/v1", session, "Who", "me"); status != 403 {
			t.Errorf("a session below %s without its own action: %d", c.root, status)
		}
	}
}

// An executor's token opens what is below that executor, and nothing else.
func TestExecutorsDealWithTheirOwnContainers(t *testing.T) {
	url, _ := guarded(t, `{"permissive":true}`)
	body := func(root string) string {
		return `{"type":"WAIT_CONTAINER","wait_container":{"container_id":{"value":"n","parent":{"value":"m","parent":{"value":"` + root + `"}}}}}`
	}
	for root, want := range map[string]int{"c-app": 200, "c-root": 403} {
		if status, _ := ask(t, "POST", url+"/api/v1", body(root), "Run", "c-app"); status != want {
			t.Errorf("%s: %d, want %d", root, status, want)
		}
	}
	if status, _ := ask(t, "POST", url+"/api/v1", `{"type":"KILL_CONTAINER","kill_container":{"container_id":{"value":"c-app"}}}`, "Run", "c-app"); status != 403 {
		t.Errorf("its own container by itself: %d", status)
	}
}
