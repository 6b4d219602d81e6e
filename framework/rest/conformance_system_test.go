package rest

import (
	"bufio"
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestConformance_1_9_Deployments(t *testing.T) {
	t.Run("GET", func(t *testing.T) {
		s := newStack(t)
		if a := s.want(200, "GET", "/v2/deployments", ""); a.text != "[]" {
			t.Errorf("when idle %s", a.text)
		}
	})
	t.Run("DELETE rolls back", func(t *testing.T) {
		s := tree(t)
		id := s.want(200, "PUT", "/v2/apps", `[{"id":"/three","cmd":"sleep 8"},{"id":"/new","cmd":"sleep 4"}]`).at("deploymentId").(string)
		a := s.want(200, "DELETE", "/v2/deployments/"+id, "")
		a.isResult(t)
		if a.at("deploymentId") == id {
			t.Error("the roll-back has the id of what it rolls back")
		}
		s.want(200, "GET", "/v2/apps/three", "").has(t, "app.cmd", `"touch x"`)
		s.want(404, "GET", "/v2/apps/new", "")
		s.want(404, "DELETE", "/v2/deployments/"+id, "")
	})
	t.Run("DELETE with force", func(t *testing.T) {
		s := tree(t)
		id := s.want(200, "PUT", "/v2/apps/three", `{"cmd":"sleep 8"}`).at("deploymentId").(string)
		if a := s.want(202, "DELETE", "/v2/deployments/"+id+"?force=true", ""); a.text != "" {
			t.Errorf("body %q", a.text)
		}
		s.want(200, "GET", "/v2/deployments", "").has(t, "0", "null")
		s.want(200, "GET", "/v2/apps/three", "").has(t, "app.cmd", `"sleep 8"`)
		s.want(404, "DELETE", "/v2/deployments/"+id+"?force=true", "")
	})
}

func TestConformance_1_10_Queue(t *testing.T) {
	t.Run("GET", func(t *testing.T) {
		s := newStack(t)
		s.want(200, "GET", "/v2/queue", "").has(t, "queue", "[]")
		s.want(201, "POST", "/v2/apps", `{"id":"/big","cmd":"sleep 1","cpus":1000,"instances":3}`)
		a := s.want(200, "GET", "/v2/queue", "")
		a.has(t, "queue.0.count", "3", "queue.0.role", `"*"`, "queue.0.delay", `{"timeLeftSeconds":0,"overdue":true}`, "queue.0.app.id", `"/big"`, "queue.0.app.cpus", "1000",
			"queue.0.since", `"2021-01-01T00:00:00.000Z"`, "queue.0.lastUnusedOffers", "null", "queue.0.pod", "null",
			"queue.0.processedOffersSummary.processedOffersCount", "0", "queue.0.processedOffersSummary.unusedOffersCount", "0")
		s.advance(time.Second)
		s.offer()
		a = s.want(200, "GET", "/v2/queue?embed=lastUnusedOffers", "")
		a.has(t, "queue.0.processedOffersSummary.processedOffersCount", "1", "queue.0.processedOffersSummary.unusedOffersCount", "1",
			"queue.0.processedOffersSummary.lastUnusedOfferAt", `"2021-01-01T00:00:01.000Z"`, "queue.0.processedOffersSummary.lastUsedOfferAt", "null",
			"queue.0.lastUnusedOffers.0.reason", `["InsufficientCpus"]`, "queue.0.lastUnusedOffers.0.offer.hostname", `"host1"`,
			"queue.0.lastUnusedOffers.0.offer.agentId", `"agent-1"`, "queue.0.lastUnusedOffers.0.offer.resources.0", `{"name":"cpus","role":"*","scalar":64}`,
			"queue.0.lastUnusedOffers.0.offer.resources.3", `{"name":"ports","role":"*","ranges":[{"begin":31000,"end":32000}]}`)
		for _, list := range []string{"rejectSummaryLastOffers", "rejectSummaryLaunchAttempt"} {
			var names []string
			steps, _ := a.at("queue.0.processedOffersSummary." + list).([]any)
			for _, x := range steps {
				names = append(names, x.(map[string]any)["reason"].(string))
			}
			if want := strings.Fields("UnfulfilledRole UnfulfilledConstraint NoCorrespondingReservationFound AgentMaintenance InsufficientCpus InsufficientMemory InsufficientDisk InsufficientGpus InsufficientPorts DeclinedScarceResources"); !slices.Equal(names, want) {
				t.Errorf("%s: %v", list, names)
			}
			a.has(t, "queue.0.processedOffersSummary."+list+".4", `{"reason":"InsufficientCpus","declined":1,"processed":1}`,
				"queue.0.processedOffersSummary."+list+".5", `{"reason":"InsufficientMemory","declined":0,"processed":0}`)
		}
	})
	t.Run("DELETE delay", func(t *testing.T) {
		s := tree(t)
		task := s.want(200, "GET", "/v2/apps/three", "").ids("app.tasks")[0]
		s.fail(task)
		s.want(200, "GET", "/v2/queue", "").has(t, "queue.0.delay", `{"timeLeftSeconds":1,"overdue":false}`)
		if a := s.want(204, "DELETE", "/v2/queue/three/delay", ""); a.text != "" {
			t.Errorf("body %q", a.text)
		}
		s.want(200, "GET", "/v2/queue", "").has(t, "queue.0.delay", `{"timeLeftSeconds":0,"overdue":true}`)
		s.want(404, "DELETE", "/v2/queue//none/delay", "").has(t, "message", `"Application /none not found in tasks queue."`)
	})
}

func TestConformance_1_11_System(t *testing.T) {
	t.Run("info", func(t *testing.T) {
		newStack(t).want(200, "GET", "/v2/info", "").has(t, "name", `"marathon"`, "elected", "true", "leader", `"leader:8080"`, "frameworkId", `"fw-1"`)
	})
	t.Run("leader", func(t *testing.T) {
		s := newStack(t)
		s.want(200, "GET", "/v2/leader", "").has(t, "leader", `"leader:8080"`)
		s.want(200, "DELETE", "/v2/leader", "").has(t, "message", `"Leadership abdicated"`)
		s.want(422, "DELETE", "/v2/leader?backup=nowhere", "")
		if !s.resigned {
			t.Error("leadership was kept")
		}
	})
	t.Run("events", func(t *testing.T) {
		newStack(t).want(405, "GET", "/v2/events", "")
	})
	t.Run("ping", func(t *testing.T) {
		s := newStack(t)
		if a := s.want(200, "GET", "/ping", ""); a.text != "pong" || a.header.Get("Content-Type") != "text/plain" {
			t.Errorf("%q %q", a.text, a.header.Get("Content-Type"))
		}
		if a := s.want(200, "GET", "/ping", "", "Accept", "application/json"); a.text != `"pong"` {
			t.Errorf("as JSON %q", a.text)
		}
		s.want(204, "GET", "/ping", "", "Accept", "image/png")
	})
	t.Run("metrics", func(t *testing.T) {
		s := newStack(t)
		s.want(200, "GET", "/v2/apps", "")
		s.want(200, "GET", "/metrics", "").has(t, "version", `"4.0.0"`, "histograms", "{}")
		if a := s.want(200, "GET", "/metrics/prometheus", ""); !strings.HasPrefix(a.header.Get("Content-Type"), "text/plain") || !strings.Contains(a.text, "# TYPE ") {
			t.Errorf("%q: %.200s", a.header.Get("Content-Type"), a.text)
		}
		if a := s.want(200, "GET", "/metrics", "", "Accept", "text/plain;version=0.0.4;q=1,*/*;q=0.1"); !strings.Contains(a.text, "# TYPE ") {
			t.Errorf("Prometheus is given %.200s", a.text)
		}
		off := newStackWith(t, func(c *Config) { c.NoPrometheus = true })
		off.want(404, "GET", "/metrics/prometheus", "").has(t, "message", `"Prometheus reporter is disabled"`)
		off.want(200, "GET", "/metrics", "")
	})
	t.Run("plugins", func(t *testing.T) {
		s := newStack(t)
		s.want(200, "GET", "/v2/plugins", "").has(t, "plugins", "[]")
		s.want(404, "GET", "/v2/plugins/x/y", "").has(t, "message", `"No plugin with this pluginId: x"`)
	})
}

func TestConformance_1_13_LegacyRoutes(t *testing.T) {
	s := newStack(t)
	s.want(404, "GET", "/v2/schemas/app", "")
	s.want(404, "GET", "/v1/apps", "")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	events := s.events(ctx, "?plan-format=light&event_type=deployment_info")
	s.want(201, "POST", "/v2/apps", sleeper)
	if kind, data := readFrame(t, events); kind != "deployment_info" || strings.Contains(data, `"original"`) {
		t.Errorf("%s %s", kind, data)
	}
}

// events opens the event stream.
func (s *stack) events(ctx context.Context, query string) *bufio.Reader {
	s.t.Helper()
	r, err := http.NewRequestWithContext(ctx, "GET", s.server.URL+"/v2/events"+query, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { resp.Body.Close() })
	return bufio.NewReader(resp.Body)
}

func TestConformance_1_14_Embeds(t *testing.T) {
	s := tree(t)
	task := s.want(200, "GET", "/v2/apps/three/tasks", "").ids("tasks")[0]
	s.fail(task)
	s.run()
	s.advance(time.Second)
	keys := map[string][]string{ // what each value adds in /v2/groups, where nothing is there without
		"tasks": {"tasks", "deployments"}, "counts": {"tasksStaged", "tasksRunning", "tasksHealthy", "tasksUnhealthy"}, "count": {"tasksRunning"},
		"deployments": {"deployments"}, "readiness": {"readinessCheckResults"}, "lastTaskFailure": {"lastTaskFailure"},
		"failures": {"tasks", "lastTaskFailure", "deployments"}, "taskStats": {"taskStats", "tasksStats"}, "nonsense": nil,
	}
	all := []string{"tasks", "deployments", "tasksStaged", "tasksRunning", "tasksHealthy", "tasksUnhealthy", "readinessCheckResults", "lastTaskFailure", "taskStats", "tasksStats"}
	for value, want := range keys {
		for _, prefix := range []string{"group.apps.", "apps.", "app.", ""} {
			one := s.want(200, "GET", "/v2/groups?embed=group.apps&embed="+prefix+value, "").at("apps.0").(map[string]any)
			for _, key := range all {
				_, has := one[key]
				if should := slices.Contains(want, key) || value == "count" && strings.HasPrefix(key, "tasks") && key != "tasks" && key != "tasksStats"; has != should {
					t.Errorf("%s%s: key %s is there: %t", prefix, value, key, has)
				}
			}
		}
	}
	s.want(200, "GET", "/v2/apps?id=three&embed=apps.tasks", "").has(t, "apps.0.tasks.0.appId", `"/three"`)
	s.want(200, "GET", "/v2/groups?embed=group.pods", "").has(t, "pods", "[]", "apps", "null", "groups", "null")
}

func TestConformance_1_15_LabelSelectors(t *testing.T) {
	s := tree(t)
	for selector, want := range map[string]string{
		"tier": "/g/one /g/two", "tier==front": "/g/one", "tier == front": "/g/one", "tier!=front": "/g/two", "x!=2": "/g/one", "tier in (front, back)": "/g/one /g/two",
		"tier notin (front)": "/g/two", "tier,x==1": "/g/one", " tier , x ": "/g/one", `tie\r==front`: "/g/one",
		"tier=front": "422", "tier in front": "422", "": "/g/one /g/two /three", "tier in (": "422",
	} {
		a := s.call("GET", "/v2/apps?label="+strings.NewReplacer(" ", "%20", `\`, "%5C").Replace(selector), "")
		ids := a.ids("apps")
		slices.Sort(ids)
		got := strings.Join(ids, " ")
		if a.status == 422 {
			got = "422"
		}
		if got != want {
			t.Errorf("%q selects %q, want %q", selector, got, want)
		}
	}
}

func TestConformance_1_16_ResponseObjects(t *testing.T) {
	t.Run("counters", func(t *testing.T) {
		s := newStack(t)
		s.want(201, "POST", "/v2/apps", `{"id":"/a","cmd":"sleep 1","instances":4,"healthChecks":[{"protocol":"COMMAND","command":{"value":"true"}}]}`)
		count := func(staged, running, healthy, unhealthy string) {
			t.Helper()
			s.want(200, "GET", "/v2/apps/a", "").has(t, "app.tasksStaged", staged, "app.tasksRunning", running, "app.tasksHealthy", healthy, "app.tasksUnhealthy", unhealthy)
		}
		count("0", "0", "0", "0") // none has an agent yet
		s.offer()
		count("4", "0", "0", "0")
		tasks := s.launched
		s.report(tasks[0].Instance.TaskID(), "TASK_STAGING")
		s.report(tasks[1].Instance.TaskID(), "TASK_STARTING")
		s.report(tasks[2].Instance.TaskID(), "TASK_RUNNING")
		s.report(tasks[3].Instance.TaskID(), "TASK_RUNNING")
		count("1", "2", "0", "0")
		s.health(tasks[2].Instance.TaskID(), true)
		s.health(tasks[3].Instance.TaskID(), false)
		count("1", "2", "1", "1")
		s.report(tasks[2].Instance.TaskID(), "TASK_KILLING")
		count("1", "1", "1", "1")
	})
	t.Run("task", func(t *testing.T) {
		s := newStack(t)
		s.want(201, "POST", "/v2/apps", `{"id":"/a","cmd":"sleep 1","healthChecks":[{"protocol":"COMMAND","command":{"value":"true"}}]}`)
		s.offer()
		id := s.launched[0].Instance.TaskID()
		s.want(200, "GET", "/v2/apps/a/tasks", "").has(t, "tasks.0.state", `"TASK_STAGING"`, "tasks.0.startedAt", "null", "tasks.0.stagedAt", `"2021-01-01T00:00:00.000Z"`, "tasks.0.healthCheckResults", "[]")
		s.report(id, "TASK_RUNNING")
		s.health(id, true)
		instance := string(s.launched[0].Instance.ID)
		a := s.want(200, "GET", "/v2/apps/a/tasks", "")
		a.has(t, "tasks.0.id", `"`+string(id)+`"`, "tasks.0.appId", `"/a"`, "tasks.0.host", `"host1"`, "tasks.0.state", `"TASK_RUNNING"`, "tasks.0.servicePorts", "[]",
			"tasks.0.ipAddresses", `[{"ipAddress":"10.0.0.1","protocol":"IPv4"}]`, "tasks.0.localVolumes", "[]", "tasks.0.slaveId", `"agent-1"`,
			"tasks.0.startedAt", `"2021-01-01T00:00:00.000Z"`, "tasks.0.version", `"2021-01-01T00:00:00.000Z"`, "tasks.0.role", `"*"`,
			"tasks.0.healthCheckResults", `[{"alive":true,"consecutiveFailures":0,"firstSuccess":"2021-01-01T00:00:00.000Z","lastSuccess":"2021-01-01T00:00:00.000Z","instanceId":"`+instance+`","taskId":"`+string(id)+`"}]`)
		if ports, _ := a.at("tasks.0.ports").([]any); len(ports) != 1 {
			t.Errorf("ports %v", ports)
		}
		s.health(id, false)
		s.want(200, "GET", "/v2/apps/a/tasks", "").has(t, "tasks.0.healthCheckResults.0.alive", "false", "tasks.0.healthCheckResults.0.consecutiveFailures", "1")
	})
	t.Run("tasks that are not active", func(t *testing.T) {
		s := newStack(t)
		s.want(201, "POST", "/v2/apps", `{"id":"/a","cmd":"sleep 1","unreachableStrategy":{"inactiveAfterSeconds":1,"expungeAfterSeconds":900}}`)
		id := s.run()[0]
		s.report(id, "TASK_UNREACHABLE")
		s.advance(10 * time.Second)
		s.want(200, "GET", "/v2/apps/a/tasks", "").has(t, "tasks.0.state", `"TASK_UNREACHABLE"`, "tasks.0.ports", "[]", "tasks.0.slaveId", "null", "tasks.0.version", "null")
	})
	t.Run("group", func(t *testing.T) {
		a := market(t).want(200, "GET", "/v2/groups", "")
		a.has(t, "id", `"/"`, "enforceRole", "null", "groups.0.enforceRole", "false", "groups.0.dependencies", "[]", "groups.0.pods", "[]", "groups.0.groups.0.enforceRole", "null")
		if a.at("groups.0.version") == nil || a.at("version") == nil {
			t.Errorf("no versions: %s", a.text)
		}
	})
	t.Run("canonical form", func(t *testing.T) {
		// The example of section 2.13.
		a := newStack(t).want(201, "POST", "/v2/apps", `{"id":"/w","cmd":"sleep 9"}`)
		id := a.at("deployments.0.id").(string)
		a.has(t, "", "null")
		want := `{"id":"/w","backoffFactor":1.15,"backoffSeconds":1,"cmd":"sleep 9","cpus":1,"disk":0,"executor":"","instances":1,"labels":{},
			"maxLaunchDelaySeconds":300,"mem":128,"gpus":0,"networks":[{"mode":"host"}],"portDefinitions":[{"name":"default","port":10000,"protocol":"tcp"}],"requirePorts":false,"role":"*",
			"upgradeStrategy":{"maximumOverCapacity":1,"minimumHealthCapacity":1},"killSelection":"YOUNGEST_FIRST","unreachableStrategy":{"inactiveAfterSeconds":0,"expungeAfterSeconds":0},
			"version":"2021-01-01T00:00:00.000Z","versionInfo":{"lastConfigChangeAt":"2021-01-01T00:00:00.000Z","lastScalingAt":"2021-01-01T00:00:00.000Z"},
			"tasksStaged":0,"tasksRunning":0,"tasksHealthy":0,"tasksUnhealthy":0,"deployments":[{"id":"` + id + `"}]}`
		answer{json: map[string]any{"app": a.json}, text: a.text}.has(t, "app", want)
	})
}
