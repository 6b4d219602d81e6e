package operators

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/acl"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/agentapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Each action of mesos-agent.md 11 that a rule can be about: with nothing but that action
// allowed to "me", me may and "you" may not. Those about users, roles and files of their
// own are in TestReadersSeeTheirOwn; run_tasks is the core's (TestUnauthorized there).
func TestEachActionAllowsAndDenies(t *testing.T) {
	const nested = `"container_id":{"value":"n","parent":{"value":"c-app"}}`
	const alone = `"container_id":{"value":"n"}`
	const any = `{"principals":{"values":["me"]},"users":{"type":"ANY"}}`
	type request struct {
		method, path, body string
		want               int // of whoever is allowed; what is not here answers as such
	}
	call := func(body string, want int) request { return request{"POST", "/api/v1", body, want} }
	for _, c := range []struct {
		rules    string
		requests []request
	}{
		{`"view_flags":[{"principals":{"values":["me"]},"flags":{"type":"ANY"}}]`, []request{{"GET", "/flags", "", 200}, call(`{"type":"GET_FLAGS"}`, 200)}},
		{`"set_log_level":[{"principals":{"values":["me"]},"level":{"type":"ANY"}}]`,
			[]request{call(`{"type":"SET_LOGGING_LEVEL","set_logging_level":{"level":1,"duration":{"nanoseconds":1000000000}}}`, 200)}},
		{`"prune_images":[{"principals":{"values":["me"]},"images":{"type":"ANY"}}]`, []request{call(`{"type":"PRUNE_IMAGES"}`, 200)}},
		{`"access_mesos_logs":[{"principals":{"values":["me"]},"logs":{"type":"ANY"}}]`, []request{
			{"GET", "/files/read?path=/slave/log", "", 200}, {"GET", "/files/browse?path=/slave/log", "", 200}, {"GET", "/files/download?path=/slave/log", "", 200},
			call(`{"type":"READ_FILE","read_file":{"path":"/slave/log","offset":0}}`, 200), call(`{"type":"LIST_FILES","list_files":{"path":"/slave/log"}}`, 200)}},
		{`"access_sandboxes":[` + any + `]`, []request{{"GET", "/files/read?path=/app/stdout", "", 200}}},
		{`"launch_nested_containers_as_user":[` + any + `],"launch_nested_containers_under_parent_with_user":[` + any + `]`, []request{
			call(`{"type":"LAUNCH_NESTED_CONTAINER","launch_nested_container":{`+nested+`,"command":{"value":"true"}}}`, 200)}},
		{`"launch_nested_container_sessions_as_user":[` + any + `],"launch_nested_container_sessions_under_parent_with_user":[` + any + `]`, []request{
			call(`{"type":"LAUNCH_NESTED_CONTAINER_SESSION","launch_nested_container_session":{`+nested+`,"command":{"value":"true"}}}`, 200)}},
		{`"wait_nested_containers":[` + any + `]`, []request{call(`{"type":"WAIT_NESTED_CONTAINER","wait_nested_container":{`+nested+`}}`, 200)}},
		{`"kill_nested_containers":[` + any + `]`, []request{call(`{"type":"KILL_NESTED_CONTAINER","kill_nested_container":{`+nested+`}}`, 200)}},
		{`"remove_nested_containers":[` + any + `]`, []request{call(`{"type":"REMOVE_NESTED_CONTAINER","remove_nested_container":{`+nested+`}}`, 200)}},
		{`"attach_containers_output":[` + any + `]`, []request{call(`{"type":"ATTACH_CONTAINER_OUTPUT","attach_container_output":{`+nested+`}}`, 200)}},
		{`"launch_standalone_containers":[` + any + `]`, []request{call(`{"type":"LAUNCH_CONTAINER","launch_container":{`+alone+`,"command":{"value":"true"}}}`, 0)}},
		{`"wait_standalone_containers":[` + any + `]`, []request{call(`{"type":"WAIT_CONTAINER","wait_container":{`+alone+`}}`, 0)}},
		{`"kill_standalone_containers":[` + any + `]`, []request{call(`{"type":"KILL_CONTAINER","kill_container":{`+alone+`}}`, 0)}},
		{`"remove_standalone_containers":[` + any + `]`, []request{call(`{"type":"REMOVE_CONTAINER","remove_container":{`+alone+`}}`, 0)}},
		{`"view_resource_providers":[{"principals":{"values":["me"]},"resource_providers":{"type":"ANY"}}]`, []request{call(`{"type":"GET_RESOURCE_PROVIDERS"}`, 0)}},
		{`"modify_resource_provider_configs":[{"principals":{"values":["me"]},"resource_providers":{"type":"ANY"}}]`, []request{
			call(`{"type":"ADD_RESOURCE_PROVIDER_CONFIG","add_resource_provider_config":{"info":{"type":"t","name":"n"}}}`, 0),
			call(`{"type":"UPDATE_RESOURCE_PROVIDER_CONFIG","update_resource_provider_config":{"info":{"type":"t","name":"n"}}}`, 0),
			call(`{"type":"REMOVE_RESOURCE_PROVIDER_CONFIG","remove_resource_provider_config":{"type":"t","name":"n"}}`, 0)}},
		{`"mark_resource_providers_gone":[{"principals":{"values":["me"]},"resource_providers":{"type":"ANY"}}]`, []request{
			call(`{"type":"MARK_RESOURCE_PROVIDER_GONE","mark_resource_provider_gone":{"resource_provider_id":{"value":"p"}}}`, 0)}},
		{`"get_endpoints":[{"principals":{"values":["me"]},"paths":{"values":["/files/debug","/logging/toggle","/metrics/snapshot","/containers","/monitor/statistics"]}}]`, []request{
			{"GET", "/files/debug", "", 200}, {"GET", "/logging/toggle", "", 200}, {"GET", "/metrics/snapshot", "", 200}, {"GET", "/containers", "", 200}, {"GET", "/monitor/statistics", "", 200}}},
	} {
		log := filepath.Join(t.TempDir(), "mesos-agent.INFO")
		if err := os.WriteFile(log, []byte("line\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		url, _ := guarded(t, `{"permissive":false,`+c.rules+`}`, func(c *Config) {
			c.LogFile, c.LogLevel, c.PruneImages = log, new(slog.LevelVar), func([]*mesos.Image) {}
			c.Files.Attach("/slave/log", log)
		})
		for _, r := range c.requests {
			for _, who := range []string{"you", ""} {
				if status, text := ask(t, r.method, url+r.path, r.body, "Who", who, "Accept", "application/json"); status != 403 || text != "" {
					t.Errorf("%s %s %s by %q: %d %s", c.rules, r.path, r.body, who, status, text)
				}
			}
			if status, text := ask(t, r.method, url+r.path, r.body, "Who", "me", "Accept", "application/json"); status == 403 || r.want != 0 && status != r.want {
				t.Errorf("%s %s %s: %d %s", c.rules, r.path, r.body, status, text)
			}
		}
	}
}

// ATTACH_CONTAINER_INPUT is asked about with its first record.
func TestInputNeedsItsAction(t *testing.T) {
	url, _ := guarded(t, `{"permissive":false,"attach_containers_input":[{"principals":{"values":["me"]},"users":{"values":["app"]}}]}`)
	for _, c := range []struct {
		who, root string
		want      int
	}{{"me", "c-app", 200}, {"me", "c-root", 403}, {"you", "c-app", 403}} {
		var body bytes.Buffer
		if err := wire.NewWriter(&body).WriteRecord([]byte(`{"type":"ATTACH_CONTAINER_INPUT","attach_container_input":{"type":"CONTAINER_ID","container_id":{"value":"n","parent":{"value":"` + c.root + `"}}}}`)); err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequest(http.MethodPost, url+"/api/v1", &body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/recordio")
		req.Header.Set("Message-Content-Type", "application/json")
		req.Header.Set("Who", c.who)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != c.want {
			t.Errorf("%+v: %d", c, resp.StatusCode)
		}
	}
}

// silent says nothing until its stream ends.
type silent struct{ yes }

func (silent) Output(ctx context.Context, _ lifecycle.ContainerID, ready func(), _ func(bool, []byte) error) error {
	ready()
	<-ctx.Done()
	return nil
}
func (silent) Input(context.Context, lifecycle.ContainerID, []byte, bool, *container.Terminal) error {
	return nil
}

// A stream gives signs of life every --http_heartbeat_interval, which they name.
func TestOutputHeartbeat(t *testing.T) {
	url, _ := serve(t, true, func(c *Config) { c.Containers, c.Heartbeat = silent{}, 5*time.Millisecond })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/api/v1", bytes.NewReader([]byte(
		`{"type":"ATTACH_CONTAINER_OUTPUT","attach_container_output":{"type":"CONTAINER_ID","container_id":{"value":"n","parent":{"value":"c"}}}}`)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	records := wire.NewReader(resp.Body, 1<<20)
	for range 2 {
		b, err := records.ReadRecord()
		if err != nil {
			t.Fatal(err)
		}
		io := &agentapi.ProcessIO{}
		if err := wire.UnmarshalJSON(b, io); err != nil || io.GetControl().GetType() != agentapi.ProcessIO_Control_HEARTBEAT ||
			io.GetControl().GetHeartbeat().GetInterval().GetNanoseconds() != int64(5*time.Millisecond) {
			t.Fatalf("%s %v", b, err)
		}
	}
}

// Every action that Mesos asks about on agents has a rule of its own here.
func TestActionsOfTheContract(t *testing.T) {
	for _, name := range []acl.Action{
		"view_frameworks", "view_executors", "view_tasks", "view_roles", "view_flags", "view_containers", "view_standalone_containers", "view_resource_providers",
		"get_endpoints", "access_sandboxes", "access_mesos_logs", "set_log_level", "run_tasks", "launch_nested_containers_as_user",
		"launch_nested_containers_under_parent_with_user", "launch_nested_container_sessions_as_user", "launch_nested_container_sessions_under_parent_with_user",
		"wait_nested_containers", "kill_nested_containers", "remove_nested_containers", "attach_containers_input", "attach_containers_output",
		"launch_standalone_containers", "wait_standalone_containers", "kill_standalone_containers", "remove_standalone_containers", "prune_images",
		"modify_resource_provider_configs", "mark_resource_providers_gone",
	} {
		list, warnings, err := acl.Parse([]byte(`{"permissive":true,"` + string(name) + `":[]}`))
		if err != nil || len(warnings) > 0 || !list.Allows("me", name, "") {
			t.Errorf("%s: %v %v", name, err, warnings)
		}
	}
}

var _ Containers = silent{}
