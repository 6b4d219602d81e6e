package operators

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/agentapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// recordedView makes the view of an agent that ran what a recorded GET_CONTAINERS lists:
// command tasks, and a pod whose nested containers each asked for a tenth of a CPU and 32 MB
// in the cgroup of their executor.
func recordedView(all []*agentapi.Response_GetContainers_Container) *lifecycle.View {
	v := &lifecycle.View{Agent: "S0"}
	nested := map[string][]lifecycle.NestedView{}
	for _, c := range all {
		if id := c.GetContainerStatus().GetContainerId(); id.GetParent() != nil {
			root := id.GetParent().GetValue()
			nested[root] = append(nested[root], lifecycle.NestedView{Container: lifecycle.PrintedID(id), PID: int(c.GetContainerStatus().GetExecutorPid()),
				Resources: []*mesos.Resource{amount("cpus", 0.1), amount("mem", 32)}})
		}
	}
	for _, c := range all {
		if c.FrameworkId == nil {
			continue
		}
		id := c.GetContainerId().GetValue()
		v.Frameworks = append(v.Frameworks, lifecycle.FrameworkView{
			Info: &mesos.FrameworkInfo{Id: c.FrameworkId, Name: proto.String("f"), User: proto.String("root")},
			Executors: []lifecycle.ExecutorView{{Info: &mesos.ExecutorInfo{ExecutorId: c.ExecutorId, Name: c.ExecutorName},
				Container: lifecycle.ContainerID(id), PID: int(c.GetContainerStatus().GetExecutorPid()), Phase: "RUNNING", Nested: nested[id]}},
		})
	}
	return v
}

// GET_CONTAINERS with nested containers is answered as Mesos did, on a host without and on
// one with a pod (mesos-agent.md 6.1).
func TestNestedContainersAsRecorded(t *testing.T) {
	for name, pod := range map[string]bool{"agent1": false, "agent2": true} {
		t.Run(name, func(t *testing.T) {
			status, media, body := recorded(t, filepath.Join("testdata", "calls", "GET_CONTAINERS.nested-"+name+".json.http"))
			was := &agentapi.Response{}
			if err := wire.UnmarshalJSON([]byte(body), was); err != nil {
				t.Fatal(err)
			}
			list := was.GetGetContainers().GetContainers()
			url, _ := serve(t, true, func(c *Config) {
				c.View = func(context.Context) (*lifecycle.View, error) { return recordedView(list), nil }
				c.Usage = func(_ context.Context, id lifecycle.ContainerID) (*mesos.ResourceStatistics, error) {
					for _, c := range list {
						if c.FrameworkId != nil && c.GetContainerId().GetValue() == string(id) {
							return c.ResourceStatistics, nil
						}
					}
					return nil, errors.New("it has no cgroup of its own")
				}
			})
			ask := func(nested string) (*agentapi.Response, string) {
				t.Helper()
				req, err := http.NewRequest(http.MethodPost, url+"/api/v1", strings.NewReader(`{"type":"GET_CONTAINERS","get_containers":{"show_nested":`+nested+`}}`))
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Content-Type", "application/json")
				req.Header.Set("Accept", "application/json")
				c, m, b := answered(t, req)
				out := &agentapi.Response{}
				if err := wire.UnmarshalJSON([]byte(b), out); err != nil || c != status || m != media {
					t.Fatalf("%d %s %v %s", c, m, err, b)
				}
				return out, b
			}
			found := 0
			out, _ := ask("true")
			for i, c := range out.GetGetContainers().GetContainers() {
				if c.GetContainerStatus().GetContainerId().GetParent() == nil {
					continue
				}
				found++
				if stamp := c.GetResourceStatistics().GetTimestamp(); stamp <= 1e9 || i >= len(list) {
					t.Fatalf("container %d of %d: %v", i, len(list), c)
				}
				c.ResourceStatistics.Timestamp = list[i].GetResourceStatistics().Timestamp
			}
			if pod != (found == 2) {
				t.Errorf("%d nested containers", found)
			}
			b, err := wire.JSON.Marshal(out)
			if err != nil {
				t.Fatal(err)
			}
			var got, want any
			if err := errors.Join(json.Unmarshal(b, &got), json.Unmarshal([]byte(body), &want)); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got\n%s\nrecorded\n%s", b, body)
			}
			if roots, text := ask("false"); len(roots.GetGetContainers().GetContainers()) != 3 {
				t.Errorf("without nested ones: %s", text)
			}
		})
	}
}

// mesos-agent.md 0.4: ids and variables that calls may not have.
func TestCallsThatAreRefused(t *testing.T) {
	url, _ := serve(t, true, func(c *Config) { c.Containers = yes{} })
	launch := func(id, rest string) string {
		return `{"type":"LAUNCH_NESTED_CONTAINER","launch_nested_container":{"container_id":` + id + rest + `}}`
	}
	const good = `{"value":"n","parent":{"value":"c"}}`
	variable := func(v string) string {
		return launch(good, `,"command":{"value":"true","environment":{"variables":[`+v+`]}}`)
	}
	const call = "Failed to validate agent::Call: "
	long := strings.Repeat("x", 243)
	for body, want := range map[string]string{
		`{"type":"KILL_CONTAINER"}`:                                                                            call + "Expecting 'kill_container' to be present",
		launch(`{"value":"n"}`, ""):                                                                            call + "Expecting 'launch_nested_container.container_id.parent' to be present",
		launch(`{"value":"","parent":{"value":"c"}}`, ""):                                                      call + "'launch_nested_container.container_id' is invalid: it is empty",
		launch(`{"value":"a.b","parent":{"value":"c"}}`, ""):                                                   call + `'launch_nested_container.container_id' is invalid: 'a.b' holds '.', '/', '\' or a space`,
		launch(`{"value":"a b","parent":{"value":"c"}}`, ""):                                                   call + `'launch_nested_container.container_id' is invalid: 'a b' holds '.', '/', '\' or a space`,
		launch(`{"value":"a","parent":{"value":"../c"}}`, ""):                                                  call + `'launch_nested_container.container_id' is invalid: '../c' holds '.', '/', '\' or a space`,
		launch(`{"value":"`+long+`","parent":{"value":"c"}}`, ""):                                              call + "'launch_nested_container.container_id' is invalid: it is longer than 242 characters",
		variable(`{"name":"A"}`):                                                                               call + "'launch_nested_container.command' is invalid: Environment variable 'A' of type 'VALUE' must have a value set",
		variable(`{"name":"A","value":"x","secret":{"type":"VALUE","value":{"data":"eA=="}}}`):                 call + "'launch_nested_container.command' is invalid: Environment variable 'A' of type 'VALUE' must not have a secret set",
		variable(`{"name":"A","type":"SECRET"}`):                                                               call + "'launch_nested_container.command' is invalid: Environment variable 'A' of type 'SECRET' must have a secret set",
		variable(`{"name":"A","type":"SECRET","value":"x","secret":{"type":"VALUE","value":{"data":"eA=="}}}`): call + "'launch_nested_container.command' is invalid: Environment variable 'A' of type 'SECRET' must not have a value set",
		variable(`{"name":"A","type":"SECRET","secret":{"type":"VALUE","value":{"data":"AA=="}}}`):             call + "'launch_nested_container.command' is invalid: Environment variable 'A' specifies a secret containing null bytes, which no environment can hold",
		variable(`{"name":"A","type":"UNKNOWN"}`):                                                              call + "'launch_nested_container.command' is invalid: Environment variable of type 'UNKNOWN' is not allowed",
		`{"type":"KILL_NESTED_CONTAINER","kill_nested_container":{"container_id":` + good + `,"signal":99}}`:   "'signal' is no signal",
	} {
		if code, got := ask(t, "POST", url+"/api/v1", body); code != 400 || got != want {
			t.Errorf("%s:\n%d %s\nwant %s", body, code, got, want)
		}
	}
	for _, body := range []string{launch(good, ""), variable(`{"name":"A","value":"x"}`), variable(`{"name":"A","type":"SECRET","secret":{"type":"VALUE","value":{"data":"eA=="}}}`)} {
		if code, got := ask(t, "POST", url+"/api/v1", body); code != 200 || got != "" {
			t.Errorf("%s: %d %s", body, code, got)
		}
	}
}
