package rest

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// The tests named TestTrap are the traps of marathon.md 14, by number; those that are not
// about the API's answers are in framework/core, framework/feed and framework/driver.

func TestTrap01_PutCreatesPatchDoesNot(t *testing.T) {
	s := newStack(t)
	s.want(201, "PUT", "/v2/apps/x", `{"cmd":"sleep 1"}`)
	s.want(404, "PATCH", "/v2/apps/y", `{"cmd":"sleep 1"}`)
	s.want(200, "PUT", "/v2/groups/g", `{"apps":[]}`)
}

func TestTrap02_OnlyAppDeletesForce(t *testing.T) {
	s := newStack(t)
	s.want(201, "POST", "/v2/apps", `{"id":"/g/x","cmd":"sleep 1"}`) // and keeps it locked
	s.want(409, "DELETE", "/v2/groups/g", "")
	s.want(200, "DELETE", "/v2/apps/g/x", "")
}

func TestTrap03_EmptyAnswers(t *testing.T) {
	s := tree(t)
	id := s.want(200, "PUT", "/v2/apps/three", `{"cmd":"sleep 8"}`).at("deploymentId").(string)
	if a := s.want(202, "DELETE", "/v2/deployments/"+id+"?force=true", ""); a.text != "" {
		t.Errorf("deployment: %q", a.text)
	}
	if a := s.want(204, "DELETE", "/v2/queue/three/delay", ""); a.text != "" {
		t.Errorf("delay: %q", a.text)
	}
}

func TestTrap04_PutOfAnArrayIsOnePartialDeployment(t *testing.T) {
	s := tree(t)
	s.want(200, "PUT", "/v2/apps", `[{"id":"/three","instances":2},{"id":"/g/one","instances":2}]`)
	s.want(200, "GET", "/v2/deployments", "").has(t, "1", "null", "0.affectedApps", `["/g/one","/three"]`)
	s.want(200, "GET", "/v2/apps/three", "").has(t, "app.cmd", `"touch x"`)
	s.want(422, "PUT", "/v2/apps", `[{"instances":2}]`)
}

func TestTrap05_NullNeverClears(t *testing.T) {
	s := tree(t)
	s.want(200, "PUT", "/v2/apps/g/one", `{"labels":null}`)
	s.want(200, "GET", "/v2/apps/g/one", "").has(t, "app.labels", `{"tier":"front","x":"1"}`)
	s.want(200, "PUT", "/v2/apps/g/one?force=true", `{"labels":{}}`)
	s.want(200, "GET", "/v2/apps/g/one", "").has(t, "app.labels", "{}")
}

func TestTrap06_MapsAndListsAreReplaced(t *testing.T) {
	s := tree(t)
	s.want(200, "PATCH", "/v2/apps/g/one", `{"env":{"A":"1","B":"2"}}`)
	s.want(200, "PATCH", "/v2/apps/g/one?force=true", `{"env":{"A":"3"},"labels":{"y":"z"}}`)
	s.want(200, "GET", "/v2/apps/g/one", "").has(t, "app.env", `{"A":"3"}`, "app.labels", `{"y":"z"}`)
}

func TestTrap07_NoPortsIsNotOneDefaultPort(t *testing.T) {
	s := newStack(t)
	s.want(201, "POST", "/v2/apps", `{"id":"/none","cmd":"sleep 1","ports":[]}`).has(t, "portDefinitions", "[]")
	s.want(201, "POST", "/v2/apps", `{"id":"/one","cmd":"sleep 1"}`).has(t, "portDefinitions.0.port", "10000", "portDefinitions.1", "null")
}

func TestTrap08_LegacyKeysAreNeverReturned(t *testing.T) {
	s := newStack(t)
	for _, body := range []string{
		`{"id":"/a","cmd":"sleep 1","ports":[0,8080],"uris":["http://x/y.tgz"]}`,
		`{"id":"/b","container":{"type":"DOCKER","docker":{"image":"nginx","network":"BRIDGE","portMappings":[{"containerPort":80}]}}}`,
		`{"id":"/c","cmd":"sleep 1","ipAddress":{"networkName":"net","discovery":{"ports":[{"number":80,"name":"http","protocol":"tcp"}]}}}`,
	} {
		a := s.want(201, "POST", "/v2/apps", body)
		a.has(t, "ports", "null", "uris", "null", "ipAddress", "null", "container.docker.network", "null", "container.docker.portMappings", "null")
	}
}

func TestTrap09_Versions(t *testing.T) {
	s := newStack(t)
	v := s.want(201, "POST", "/v2/apps", sleeper).at("version").(string)
	if _, err := time.Parse("2006-01-02T15:04:05.000Z", v); err != nil || len(v) != 24 {
		t.Errorf("version %q", v)
	}
	s.want(200, "GET", "/v2/apps/a/versions/"+v, "")
	later := s.want(200, "PUT", "/v2/apps/a?force=true", `{"instances":2}`).at("version").(string)
	if later <= v {
		t.Errorf("%s sorts after %s", v, later)
	}
}

func TestTrap10_LastConfigChangeAtStaysOnScaling(t *testing.T) {
	s := tree(t)
	first := s.want(200, "GET", "/v2/apps/three", "").at("app.version").(string)
	scaled := s.want(200, "PUT", "/v2/apps/three", `{"instances":2}`).at("version").(string)
	s.want(200, "GET", "/v2/apps/three", "").has(t, "app.version", `"`+scaled+`"`, "app.versionInfo", `{"lastScalingAt":"`+scaled+`","lastConfigChangeAt":"`+first+`"}`)
}

func TestTrap11_UnchangedPutIsFinishedAtOnce(t *testing.T) {
	s := tree(t)
	s.want(200, "PUT", "/v2/apps/three", `{"instances":1}`).isResult(t)
	s.want(200, "GET", "/v2/deployments", "").has(t, "0", "null")
}

func TestTrap12_DeploymentsAlwaysTasksWhereAsked(t *testing.T) {
	s := tree(t)
	s.want(200, "GET", "/v2/apps?id=three", "").has(t, "apps.0.deployments", "[]", "apps.0.tasks", "null")
	a := s.want(200, "GET", "/v2/apps/three", "")
	a.has(t, "app.deployments", "[]")
	if a.ids("app.tasks") == nil {
		t.Errorf("no tasks: %s", a.text)
	}
}

func TestTrap13_EmptyLists(t *testing.T) {
	s := newStack(t)
	s.want(200, "GET", "/v2/apps", "").has(t, "apps", "[]")
	s.want(201, "POST", "/v2/apps", `{"id":"/a","cmd":"sleep 1","instances":0}`)
	s.want(200, "GET", "/v2/apps/a/tasks", "").has(t, "tasks", "[]")
	s.want(404, "GET", "/v2/apps/b/tasks", "")
}

func TestTrap14_CountersCountInstances(t *testing.T) {
	s := newStack(t)
	s.want(201, "POST", "/v2/apps", `{"id":"/a","cmd":"sleep 1"}`)
	id := s.run()[0]
	s.want(200, "GET", "/v2/apps/a", "").has(t, "app.tasksRunning", "1", "app.tasksHealthy", "0", "app.tasksUnhealthy", "0")
	s.report(id, "TASK_KILLING")
	s.want(200, "GET", "/v2/apps/a", "").has(t, "app.tasksStaged", "0", "app.tasksRunning", "0", "app.tasksHealthy", "0", "app.tasksUnhealthy", "0")
}

func TestTrap15_TwoKindsOf409(t *testing.T) {
	s := newStack(t)
	s.want(201, "POST", "/v2/apps", sleeper)
	s.want(409, "POST", "/v2/apps", sleeper).has(t, "deployments", "null")
	if a := s.want(409, "PUT", "/v2/apps/a", `{"instances":2}`); a.at("deployments.0.id") == nil {
		t.Errorf("a lock without deployments: %s", a.text)
	}
}

func TestTrap16_DetailsAreATextFor400(t *testing.T) {
	s := newStack(t)
	if _, text := s.want(400, "POST", "/v2/apps", "{").at("details").(string); !text {
		t.Error("400: details are no text")
	}
	if _, list := s.want(422, "POST", "/v2/apps", "{}").at("details").([]any); !list {
		t.Error("422: details are no list")
	}
}

func TestTrap17_KillKeepsTheInstance(t *testing.T) {
	s := newStack(t)
	s.want(201, "POST", "/v2/apps", `{"id":"/a/b","cmd":"sleep 1"}`)
	id := string(s.run()[0])
	if !strings.HasPrefix(id, "a_b.instance-") || !strings.HasSuffix(id, "._app.1") {
		t.Errorf("task id %s", id)
	}
	s.want(200, "DELETE", "/v2/apps/a/b/tasks/"+id, "")
	s.finish()
	if again := s.run(); len(again) != 1 || string(again[0]) != strings.TrimSuffix(id, "1")+"2" {
		t.Errorf("started again as %v", again)
	}
	s.want(200, "GET", "/v2/apps/a/b", "").has(t, "app.instances", "1")
}

func TestTrap18_ServicePortsStay(t *testing.T) {
	s := newStack(t)
	s.want(201, "POST", "/v2/apps", `{"id":"/a","cmd":"sleep 1","portDefinitions":[{"port":0},{"port":0}]}`).
		has(t, "portDefinitions.0.port", "10000", "portDefinitions.1.port", "10001")
	s.run()
	ports, _ := s.want(200, "GET", "/v2/apps/a/tasks", "").at("tasks.0.ports").([]any)
	if len(ports) != 2 || ports[0].(float64) < 31000 {
		t.Errorf("host ports %v", ports)
	}
	s.want(200, "PUT", "/v2/apps/a?force=true", `{"cmd":"sleep 2","portDefinitions":[{"port":0},{"port":0},{"port":0}]}`)
	s.want(200, "GET", "/v2/apps/a", "").has(t, "app.portDefinitions.0.port", "10000", "app.portDefinitions.1.port", "10001", "app.portDefinitions.2.port", "10002")
}

func TestTrap19_ServicePortsOfTasks(t *testing.T) {
	s := newStack(t)
	s.want(201, "POST", "/v2/apps", sleeper)
	s.run()
	s.want(200, "GET", "/v2/tasks", "").has(t, "tasks.0.servicePorts", "[10000]")
	for _, path := range []string{"/v2/apps/a/tasks", "/v2/apps/*/tasks"} {
		s.want(200, "GET", path, "").has(t, "tasks.0.servicePorts", "[]")
	}
	s.want(200, "GET", "/v2/apps?embed=apps.tasks", "").has(t, "apps.0.tasks.0.servicePorts", "[]")
}

func TestTrap20_PortsOfContainerNetworks(t *testing.T) {
	s := newStack(t)
	const net = `"cmd":"sleep 1","networks":[{"mode":"container","name":"n"}],"container":{"type":"MESOS","portMappings":[{"containerPort":80`
	s.want(201, "POST", "/v2/apps", `{"id":"/without",`+net+`}]}}`)
	s.want(201, "POST", "/v2/apps", `{"id":"/with",`+net+`,"hostPort":0}]}}`)
	s.run()
	s.want(200, "GET", "/v2/apps/without/tasks", "").has(t, "tasks.0.ports", "[]", "tasks.0.ipAddresses.0.ipAddress", `"10.0.0.1"`)
	if ports, _ := s.want(200, "GET", "/v2/apps/with/tasks", "").at("tasks.0.ports").([]any); len(ports) != 1 {
		t.Errorf("host ports %v", ports)
	}
}

func TestTrap23_AnyOtherChangeRestarts(t *testing.T) {
	s := tree(t)
	for body, action := range map[string]string{
		`{"instances":2}`: "ScaleApplication", `{"labels":{"a":"b"}}`: "RestartApplication", `{"upgradeStrategy":{"minimumHealthCapacity":0.5}}`: "RestartApplication",
		`{"killSelection":"OLDEST_FIRST"}`: "RestartApplication", `{"backoffSeconds":2}`: "RestartApplication", `{"dependencies":["/g"]}`: "RestartApplication",
	} {
		id := s.want(200, "PUT", "/v2/apps/three", body).at("deploymentId").(string)
		s.want(200, "GET", "/v2/deployments", "").has(t, "0.steps", `[{"actions":[{"action":"`+action+`","app":"/three"}]}]`)
		s.want(200, "DELETE", "/v2/deployments/"+id, "")
		s.finish()
		s.run()
		s.finish()
	}
}

func TestTrap26_ForceCancelsWholeDeployments(t *testing.T) {
	s := tree(t)
	s.want(200, "PUT", "/v2/apps", `[{"id":"/three","instances":2},{"id":"/g/one","instances":2}]`)
	s.want(200, "PUT", "/v2/apps/three?force=true", `{"instances":3}`)
	s.want(200, "GET", "/v2/deployments", "").has(t, "1", "null", "0.affectedApps", `["/three"]`)
}

func TestTrap27_GroupDeletionIsOneStep(t *testing.T) {
	s := market(t)
	s.want(200, "DELETE", "/v2/groups/shop", "")
	s.want(200, "GET", "/v2/deployments", "").has(t, "0.totalSteps", "1")
}

func TestTrap33_GroupsWithoutEmbedAreHeavy(t *testing.T) {
	s := market(t)
	s.want(200, "GET", "/v2/groups", "").has(t, "groups.0.apps.0.id", `"/shop/db"`, "groups.0.pods", "[]", "groups.0.apps.0.tasks", "null")
	s.want(200, "GET", "/v2/groups?embed=group.apps", "").has(t, "groups", "null", "apps", "[]", "pods", "null")
}

func TestTrap34_CountAndCounts(t *testing.T) {
	s := tree(t)
	for _, value := range []string{"group.apps.counts", "group.apps.count"} {
		s.want(200, "GET", "/v2/groups?embed=group.apps&embed="+value, "").has(t, "apps.0.tasksRunning", "1")
	}
}

func TestTrap35_Ids(t *testing.T) {
	s := newStack(t)
	for _, id := range []string{"/Web", "/web_1", "/-web", "/web-", "/a/restart", "/a/tasks", "/a/versions", "/a b", "/ä", "/a..b"} {
		s.want(422, "POST", "/v2/apps", `{"id":"`+id+`","cmd":"sleep 1"}`).has(t, "details.0.path", `"/id"`)
	}
	for _, id := range []string{"/web-1", "/1", "/a.b.c", "/restart/a", "/tasksx"} {
		s.want(201, "POST", "/v2/apps", `{"id":"`+id+`","cmd":"sleep 1"}`)
	}
}

func TestTrap36_PathsAreNotRedirected(t *testing.T) {
	s := newStack(t)
	s.want(201, "PUT", "/v2/apps//g//a", `{"cmd":"sleep 1"}`)
	v := s.want(200, "GET", "/v2/apps/g/a", "").at("app.version").(string)
	for _, path := range []string{"/v2/apps//g/a", "/v2/apps/g/a/versions/" + v, "/v2/apps/g/a/versions/" + strings.ReplaceAll(v, ":", "%3A"), "/v2/groups//g//versions",
		"/v2/apps/g/a/versions/" + strings.Replace(v, "Z", "+00:00", 1), "/v2/pods/::status"} {
		s.want(200, "GET", path, "")
	}
}

func TestTrap37_EventsAreFlushedAndStandbysRedirect(t *testing.T) {
	s := newStack(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	events := s.events(ctx, "")
	for _, want := range []string{"event_stream_attached", "api_post_event"} {
		kind := ""
		for kind != want {
			kind, _ = readFrame(t, events)
		}
		if want == "event_stream_attached" {
			s.want(201, "POST", "/v2/apps", sleeper)
		}
	}
	front(t, "standby:1", "leader:1", time.Second).want(302, "GET", "/v2/events", "", "Accept", "text/event-stream")
}

func TestTrap39_NoPostEventForDeletesListsAndGroups(t *testing.T) {
	s := newStack(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	events := s.events(ctx, "?event_type=api_post_event&event_type=deployment_success&event_type=app_terminated_event")
	s.want(201, "POST", "/v2/apps", `{"id":"/a","cmd":"sleep 1","instances":0}`)
	s.want(200, "PUT", "/v2/apps", `[{"id":"/a","cmd":"sleep 2"}]`)
	s.want(201, "POST", "/v2/groups", `{"id":"/g"}`)
	s.want(200, "DELETE", "/v2/groups/g", "")
	s.want(200, "PATCH", "/v2/apps/a", `{"cmd":"sleep 3"}`)
	s.want(200, "DELETE", "/v2/apps/a", "")
	var got []string
	for len(got) < 9 {
		kind, data := readFrame(t, events)
		if kind == "api_post_event" {
			var e struct{ URI string }
			if err := json.Unmarshal([]byte(data), &e); err != nil {
				t.Fatal(err)
			}
			kind += " " + e.URI
		}
		got = append(got, kind)
	}
	for kind, want := range map[string]int{"api_post_event /v2/apps": 1, "api_post_event /v2/apps/a": 1, "app_terminated_event": 1, "deployment_success": 6} {
		n := len(slices.DeleteFunc(slices.Clone(got), func(k string) bool { return k != kind }))
		if n != want {
			t.Errorf("%d of %s, want %d: %v", n, kind, want, got)
		}
	}
}

func TestTrap41_WrappedAndBareAnswers(t *testing.T) {
	s := market(t)
	v := s.want(200, "GET", "/v2/apps/shop/web", "").at("app.version").(string)
	s.want(200, "GET", "/v2/apps/shop/web/versions/"+v, "").has(t, "id", `"/shop/web"`)
	s.want(200, "GET", "/v2/apps/shop/web/versions", "").has(t, "versions.0", `"`+v+`"`)
	s.want(200, "GET", "/v2/groups/shop", "").has(t, "id", `"/shop"`)
	for _, path := range []string{"/v2/groups/shop/versions", "/v2/deployments", "/v2/pods"} {
		if _, bare := s.want(200, "GET", path, "").json.([]any); !bare {
			t.Errorf("%s is no bare list", path)
		}
	}
}

func TestTrap42_BothNamesOfTaskStats(t *testing.T) {
	a := tree(t).want(200, "GET", "/v2/apps/three?embed=app.taskStats", "")
	one, _ := json.Marshal(a.at("app.taskStats"))
	two, _ := json.Marshal(a.at("app.tasksStats"))
	if string(one) != string(two) || !strings.Contains(string(one), "withLatestConfig") {
		t.Errorf("%s and %s", one, two)
	}
}

func TestTrap43_ValuesOfTwoKinds(t *testing.T) {
	s := newStackWith(t, func(c *Config) { c.Rules.Features = map[string]bool{"secrets": true} })
	s.want(201, "POST", "/v2/apps", `{"id":"/a","cmd":"sleep 1","unreachableStrategy":"disabled","resourceLimits":{"cpus":"unlimited","mem":256},"env":{"A":"1","B":{"secret":"s"}},"secrets":{"s":{"source":"x"}}}`).
		has(t, "unreachableStrategy", `"disabled"`, "resourceLimits", `{"cpus":"unlimited","mem":256}`, "env", `{"A":"1","B":{"secret":"s"}}`)
	s.want(201, "POST", "/v2/apps", `{"id":"/b","cmd":"sleep 1","unreachableStrategy":{"inactiveAfterSeconds":1,"expungeAfterSeconds":2}}`).
		has(t, "unreachableStrategy", `{"inactiveAfterSeconds":1,"expungeAfterSeconds":2}`)
	s.want(422, "POST", "/v2/apps", `{"id":"/c","cmd":"sleep 1","unreachableStrategy":"enabled"}`)
}

func TestTrap44_EveryHost(t *testing.T) {
	s := tree(t)
	if got := s.want(200, "DELETE", "/v2/apps/g/two/tasks?host=*", "").ids("tasks"); len(got) != 2 {
		t.Errorf("killed %v", got)
	}
	s.want(400, "DELETE", "/v2/apps/g/two/tasks?host=*&scale=true&wipe=true", "")
}

func TestTrap46_RollBackRestoresInstances(t *testing.T) {
	s := tree(t)
	first := s.want(200, "GET", "/v2/apps/three", "").at("app.version").(string)
	s.want(200, "PUT", "/v2/apps/three", `{"instances":5}`)
	s.want(200, "PUT", "/v2/apps/three?force=true", `{"version":"`+first+`"}`)
	s.want(200, "GET", "/v2/apps/three", "").has(t, "app.instances", "1")
}

func TestTrap49_PingOfAStandby(t *testing.T) {
	s := newStack(t)
	if a := front(t, "standby:1", strings.TrimPrefix(s.server.URL, "http://"), time.Second).want(200, "GET", "/ping", ""); a.text != "pong" || a.header.Get("X-Marathon-Leader") == "" {
		t.Errorf("%q %v", a.text, a.header)
	}
	front(t, "standby:1", "", time.Millisecond).want(http.StatusBadGateway, "GET", "/ping", "")
}

func TestTrap50_RefusalsLeaveNoTrace(t *testing.T) {
	s := newStack(t)
	s.want(201, "POST", "/v2/apps", sleeper)
	before := s.want(200, "GET", "/v2/apps/a/versions", "").text + s.want(200, "GET", "/v2/groups/versions", "").text + s.want(200, "GET", "/v2/groups", "").text
	s.want(409, "PUT", "/v2/apps/a", `{"instances":2}`)
	s.want(409, "PUT", "/v2/groups", `{"apps":[{"id":"/a","cmd":"sleep 7"}]}`)
	s.want(409, "POST", "/v2/apps/a/restart", "")
	after := s.want(200, "GET", "/v2/apps/a/versions", "").text + s.want(200, "GET", "/v2/groups/versions", "").text + s.want(200, "GET", "/v2/groups", "").text
	if before != after {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
}
