package operators

import (
	"context"
	"encoding/json"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/agentapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// What a real agent answered is printed as it was, byte by byte, empty lists too.
func TestListsAsRecorded(t *testing.T) {
	for agent, calls := range map[string][]string{
		"agent1": {"GET_TASKS", "GET_EXECUTORS", "GET_FRAMEWORKS", "GET_STATE", "GET_VERSION"},
		"agent2": {"GET_EXECUTORS", "GET_FRAMEWORKS"}, // it prints some times with a digit too many
	} {
		for _, call := range calls {
			_, _, want := recorded(t, filepath.Join("..", "..", "internal", "wire", "testdata", "agent", agent, call+".json.http"))
			var out agentapi.Response
			if err := wire.JSON.Unmarshal([]byte(want), &out); err != nil {
				t.Fatal(err)
			}
			got, err := printed(&out)
			if err != nil || string(got) != want {
				t.Errorf("%s of %s: %v\n got %s\nwant %s", call, agent, err, got, want)
			}
		}
	}
	for call, want := range map[string]string{
		"GET_TASKS":      `{"type":"GET_TASKS","get_tasks":{"pending_tasks":[],"queued_tasks":[],"launched_tasks":[],"terminated_tasks":[],"completed_tasks":[]}}`,
		"GET_EXECUTORS":  `{"type":"GET_EXECUTORS","get_executors":{"executors":[],"completed_executors":[]}}`,
		"GET_FRAMEWORKS": `{"type":"GET_FRAMEWORKS","get_frameworks":{"frameworks":[],"completed_frameworks":[]}}`,
		"GET_STATE": `{"type":"GET_STATE","get_state":{"get_tasks":{"pending_tasks":[],"queued_tasks":[],"launched_tasks":[],"terminated_tasks":[],"completed_tasks":[]},` +
			`"get_executors":{"executors":[],"completed_executors":[]},"get_frameworks":{"frameworks":[],"completed_frameworks":[]}}}`,
		"GET_VERSION": `{"type":"GET_VERSION","get_version":{"version_info":{"version":"1.11.0","build_date":"","build_time":0.0,"build_user":""}}}`,
	} {
		url, _ := serve(t, true, func(c *Config) {
			c.View = func(context.Context) (*lifecycle.View, error) { return &lifecycle.View{}, nil }
		})
		if code, body := ask(t, "POST", url+"/api/v1", `{"type":"`+call+`"}`); code != 200 || body != want {
			t.Errorf("%s of nothing: %d %s", call, code, body)
		}
	}
}

// mesos-agent.md 6.3: how a task that waits for its executor shows what it will run.
func TestQueuedTask(t *testing.T) {
	v := view()
	v.Frameworks[0].Executors[0].Queued = []*mesos.TaskInfo{{Name: proto.String("n"), TaskId: &mesos.TaskID{Value: proto.String("q")}, AgentId: &mesos.AgentID{Value: proto.String("S0")},
		Resources: []*mesos.Resource{amount("cpus", 0.5)}, Command: &mesos.CommandInfo{Shell: proto.Bool(false), Value: proto.String("sh"), Arguments: []string{"sh", "-c", "true"},
			Environment: &mesos.Environment{Variables: []*mesos.Environment_Variable{{Name: proto.String("A"), Value: proto.String("b")}}},
			Uris:        []*mesos.CommandInfo_URI{{Value: proto.String("http://x/y"), Executable: proto.Bool(true), Cache: proto.Bool(true)}, {Value: proto.String("/z")}}}},
		{Name: proto.String("m"), TaskId: &mesos.TaskID{Value: proto.String("r")}, AgentId: &mesos.AgentID{Value: proto.String("S0")},
			Executor: &mesos.ExecutorInfo{ExecutorId: &mesos.ExecutorID{Value: proto.String("x")}}, Command: &mesos.CommandInfo{Value: proto.String("true")}}}
	url, _ := serve(t, true, func(c *Config) { c.View = func(context.Context) (*lifecycle.View, error) { return v, nil } })
	_, _, b := get(t, url+"/state")
	var s struct {
		Frameworks []struct {
			Executors []struct {
				Queued []json.RawMessage `json:"queued_tasks"`
			}
		}
	}
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{
		`{"id":"q","name":"n","slave_id":"S0","resources":{"cpus":0.5,"disk":0.0,"gpus":0.0,"mem":0.0},"role":"dev",` +
			`"command":{"shell":false,"value":"sh","argv":["sh","-c","true"],"environment":{"variables":[{"name":"A","type":"VALUE","value":"b"}]},` +
			`"uris":[{"value":"http://x/y","executable":true},{"value":"/z","executable":false}]},"executor_id":""}`,
		`{"id":"r","name":"m","slave_id":"S0","resources":{"cpus":0.0,"disk":0.0,"gpus":0.0,"mem":0.0},"command":{"shell":true,"value":"true","argv":[],"uris":[]},"executor_id":"x"}`,
	} {
		if got := string(s.Frameworks[0].Executors[0].Queued[i]); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
