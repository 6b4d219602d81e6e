package rest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// tree is a stack with three apps at rest.
func tree(t *testing.T) *stack {
	t.Helper()
	s := newStack(t)
	s.want(201, "POST", "/v2/apps", `{"id":"/g/one","cmd":"sleep 1","labels":{"tier":"front","x":"1"}}`)
	s.want(201, "POST", "/v2/apps", `{"id":"/g/two","cmd":"SLEEP 2","labels":{"tier":"back"},"instances":2}`)
	s.want(201, "POST", "/v2/apps", `{"id":"/three","cmd":"touch x"}`)
	s.run()
	s.advance(time.Second)
	return s
}

// ids lists the ids of apps in an answer.
func (a answer) ids(path string) []string {
	var out []string
	list, _ := a.at(path).([]any)
	for _, x := range list {
		out = append(out, x.(map[string]any)["id"].(string))
	}
	return out
}

func (a answer) isResult(t *testing.T) {
	t.Helper()
	id, _ := a.at("deploymentId").(string)
	version, _ := a.at("version").(string)
	if id == "" || version == "" || a.header.Get("Marathon-Deployment-Id") != id {
		t.Errorf("no deployment result: %s, header %q", a.text, a.header.Get("Marathon-Deployment-Id"))
	}
}

func TestConformance_1_4_Apps(t *testing.T) {
	t.Run("GET /v2/apps", func(t *testing.T) {
		s := tree(t)
		for query, want := range map[string]string{
			"": "/g/one /g/two /three", "?cmd=sleep": "/g/one /g/two", "?id=/G/": "/g/one /g/two", "?id=g/t": "/g/two",
			"?label=tier": "/g/one /g/two", "?label=tier==front": "/g/one", "?cmd=sleep&label=tier==back": "/g/two", "?id=none": "",
		} {
			got := s.want(200, "GET", "/v2/apps"+query, "").ids("apps")
			slices.Sort(got)
			if strings.Join(got, " ") != want {
				t.Errorf("%q gives %v, want %s", query, got, want)
			}
		}
		s.want(200, "GET", "/v2/apps?id=two", "").has(t, "apps.0.tasksRunning", "2", "apps.0.deployments", "[]", "apps.0.tasks", "null")
		s.want(422, "GET", "/v2/apps?label=a+b", "")
	})
	t.Run("POST /v2/apps", func(t *testing.T) {
		s := newStack(t)
		a := s.want(201, "POST", "/v2/apps", `{"id":"x","cmd":"sleep 9"}`)
		a.has(t, "id", `"/x"`, "tasksStaged", "0", "tasksRunning", "0", "tasksHealthy", "0", "tasksUnhealthy", "0", "tasks", "null", "deployments.1", "null",
			"deployments.0.id", `"`+a.header.Get("Marathon-Deployment-Id")+`"`)
		if a.header.Get("Location") != "/x" {
			t.Errorf("location %q", a.header.Get("Location"))
		}
		s.want(409, "POST", "/v2/apps", `{"id":"/x","cmd":"sleep 9"}`)
		s.want(422, "POST", "/v2/apps", `{"id":"/x y","cmd":"sleep 9"}`)
	})
	t.Run("PUT /v2/apps", func(t *testing.T) {
		s := tree(t)
		a := s.want(200, "PUT", "/v2/apps", `[{"id":"/three","instances":2},{"id":"/new","cmd":"sleep 4"}]`)
		a.isResult(t)
		s.want(200, "GET", "/v2/deployments", "").has(t, "1", "null", "0.affectedApps", `["/new","/three"]`)
		s.want(200, "GET", "/v2/apps/three", "").has(t, "app.cmd", `"touch x"`, "app.instances", "2")
		s.want(409, "PUT", "/v2/apps", `[{"id":"/three","instances":3}]`)
		s.want(200, "PUT", "/v2/apps?force=true", `[{"id":"/three","instances":3}]`)
		s.want(422, "PUT", "/v2/apps", `[{"instances":3}]`)
		s.want(200, "PUT", "/v2/apps?partialUpdate=false&force=true", `[{"id":"/three","cmd":"sleep 5"}]`)
		s.want(200, "GET", "/v2/apps/three", "").has(t, "app.instances", "1")
	})
	t.Run("PATCH /v2/apps", func(t *testing.T) {
		s := tree(t)
		s.want(200, "PATCH", "/v2/apps", `[{"id":"/three","instances":2},{"id":"/g/one","instances":0}]`).isResult(t)
		s.want(404, "PATCH", "/v2/apps", `[{"id":"/new","cmd":"sleep 4"}]`)
		s.want(404, "GET", "/v2/apps/new", "")
	})
	t.Run("GET /v2/apps/{id}", func(t *testing.T) {
		s := tree(t)
		a := s.want(200, "GET", "/v2/apps/g/two", "")
		a.has(t, "app.tasksRunning", "2", "app.deployments", "[]", "app.lastTaskFailure", "null", "app.readinessCheckResults", "null", "app.taskStats", "null")
		if len(a.ids("app.tasks")) != 2 {
			t.Errorf("tasks %s", a.text)
		}
		task := a.ids("app.tasks")[0]
		s.fail(task)
		s.want(200, "GET", "/v2/apps/g/two?embed=app.readiness&embed=app.taskStats", "").has(t, "app.lastTaskFailure.state", `"TASK_FAILED"`, "app.lastTaskFailure.taskId", `"`+task+`"`,
			"app.lastTaskFailure.appId", `"/g/two"`, "app.lastTaskFailure.slaveId", `"agent-1"`, "app.lastTaskFailure.host", `"host1"`,
			"app.readinessCheckResults", "[]", "app.taskStats.totalSummary.stats.counts.running", "1")
		s.want(404, "GET", "/v2/apps/none", "")
	})
	t.Run("GET /v2/apps/{group}/*", func(t *testing.T) {
		s := tree(t)
		a := s.want(200, "GET", "/v2/apps/g/*", "")
		if got := a.ids("*"); !slices.Equal(got, []string{"/g/one", "/g/two"}) || len(a.ids("*.0.tasks")) != 1 {
			t.Errorf("%v: %s", got, a.text)
		}
		s.want(404, "GET", "/v2/apps/none/*", "")
	})
	t.Run("PUT /v2/apps/{id}", func(t *testing.T) {
		s := tree(t)
		s.want(200, "PUT", "/v2/apps/three", `{"id":"/other","instances":2}`).isResult(t)
		s.want(200, "GET", "/v2/apps/three", "").has(t, "app.instances", "2", "app.cmd", `"touch x"`)
		s.want(404, "GET", "/v2/apps/other", "")
		a := s.want(201, "PUT", "/v2/apps/new", `{"cmd":"sleep 1"}`)
		a.isResult(t)
		if a.header.Get("Location") != "/new" {
			t.Errorf("location %q", a.header.Get("Location"))
		}
		s.want(409, "PUT", "/v2/apps/three", `{"instances":3}`)
		s.want(200, "PUT", "/v2/apps/three?force=true&partialUpdate=false", `{"cmd":"sleep 7"}`)
		s.want(200, "GET", "/v2/apps/three", "").has(t, "app.instances", "1", "app.cmd", `"sleep 7"`)
		s.want(422, "PUT", "/v2/apps/three?force=true", `{"instances":-1}`)
	})
	t.Run("PATCH /v2/apps/{id}", func(t *testing.T) {
		s := tree(t)
		s.want(200, "PATCH", "/v2/apps/three", `{"instances":2}`).isResult(t)
		s.want(404, "PATCH", "/v2/apps/new", `{"cmd":"sleep 1"}`).has(t, "message", `"App '/new' does not exist"`)
	})
	t.Run("DELETE /v2/apps/{id}", func(t *testing.T) {
		s := tree(t)
		s.want(200, "PUT", "/v2/apps/three", `{"instances":2}`) // locks it
		s.want(409, "DELETE", "/v2/apps/three?force=false", "")
		s.want(200, "DELETE", "/v2/apps/three", "").isResult(t)
		s.want(404, "DELETE", "/v2/apps/three", "")
	})
	t.Run("POST /v2/apps/{id}/restart", func(t *testing.T) {
		s := tree(t)
		before := s.want(200, "GET", "/v2/apps/three", "")
		a := s.want(200, "POST", "/v2/apps/three/restart", "{}")
		a.isResult(t)
		s.want(200, "GET", "/v2/apps/three", "").has(t, "app.version", `"`+a.at("version").(string)+`"`, "app.cmd", `"touch x"`)
		if before.at("app.version") == a.at("version") {
			t.Error("a restart kept the version")
		}
		s.want(409, "POST", "/v2/apps/three/restart", "")
		s.want(200, "POST", "/v2/apps/three/restart?force=true", "")
		s.want(404, "POST", "/v2/apps/none/restart", "")
	})
	t.Run("PUT /v2/apps/{id} with a version", func(t *testing.T) {
		s := tree(t)
		first := s.want(200, "GET", "/v2/apps/three", "").at("app.version").(string)
		s.want(200, "PUT", "/v2/apps/three", `{"instances":3,"cmd":"sleep 9","labels":{"a":"b"}}`)
		s.advance(time.Second)
		a := s.want(200, "PUT", "/v2/apps/three?force=true", `{"version":"`+first+`"}`)
		s.want(200, "GET", "/v2/apps/three", "").has(t, "app.instances", "1", "app.cmd", `"touch x"`, "app.labels", "{}", "app.version", `"`+a.at("version").(string)+`"`)
		s.want(404, "PUT", "/v2/apps/three?force=true", `{"version":"2001-01-01T00:00:00.000Z"}`)
		s.want(422, "PUT", "/v2/apps/three?force=true", `{"version":"`+first+`","cmd":"sleep 1"}`)
	})
	t.Run("unchanged PUT", func(t *testing.T) {
		s := tree(t)
		before := s.want(200, "GET", "/v2/apps/three", "")
		s.want(200, "PUT", "/v2/apps/three", `{"cmd":"touch x"}`).isResult(t)
		s.want(200, "GET", "/v2/apps/three", "").has(t, "app.version", `"`+before.at("app.version").(string)+`"`, "app.deployments", "[]")
		s.want(200, "GET", "/v2/deployments", "").has(t, "0", "null")
	})
}

// fail ends a running task.
func (s *stack) fail(task string) {
	s.t.Helper()
	i := findTask(s.Snapshot(), task)
	if i == nil {
		s.t.Fatalf("no task %s", task)
	}
	s.report(i.TaskID(), "TASK_FAILED")
}

func TestConformance_1_5_TasksOfAnApp(t *testing.T) {
	t.Run("GET", func(t *testing.T) {
		s := tree(t)
		if got := s.want(200, "GET", "/v2/apps/g/two/tasks", "").ids("tasks"); len(got) != 2 {
			t.Errorf("tasks %v", got)
		}
		s.want(201, "POST", "/v2/apps", `{"id":"/idle","cmd":"sleep 1","instances":0}`)
		s.want(200, "GET", "/v2/apps/idle/tasks", "").has(t, "tasks", "[]")
		s.want(404, "GET", "/v2/apps/none/tasks", "")
		if got := s.want(200, "GET", "/v2/apps/g/*/tasks", "").ids("tasks"); len(got) != 3 {
			t.Errorf("tasks of the group %v", got)
		}
		s.want(404, "GET", "/v2/apps/none/*/tasks", "")
	})
	t.Run("DELETE all", func(t *testing.T) {
		s := tree(t)
		s.want(200, "DELETE", "/v2/apps/g/two/tasks?host=other", "").has(t, "tasks", "[]")
		for _, host := range []string{"", "?host=*", "?host=host1"} {
			if got := s.want(200, "DELETE", "/v2/apps/g/two/tasks"+host, "").ids("tasks"); len(got) != 2 {
				t.Errorf("%q killed %v", host, got)
			}
			s.finish()
			s.run()
		}
		s.want(200, "GET", "/v2/apps/g/two", "").has(t, "app.instances", "2", "app.tasksRunning", "2")
		s.want(400, "DELETE", "/v2/apps/g/two/tasks?scale=true&wipe=true", "").has(t, "message", `"You cannot use scale and wipe at the same time."`)
		s.want(200, "DELETE", "/v2/apps/g/two/tasks?scale=true", "").isResult(t)
		s.want(409, "DELETE", "/v2/apps/g/two/tasks?scale=true", "")
		s.want(200, "DELETE", "/v2/apps/g/two/tasks", "")
		s.finish()
		s.want(200, "GET", "/v2/apps/g/two", "").has(t, "app.instances", "0", "app.tasks", "[]")
		s.want(404, "DELETE", "/v2/apps/none/tasks", "")
	})
	t.Run("DELETE one", func(t *testing.T) {
		s := tree(t)
		list := s.want(200, "GET", "/v2/apps/g/two/tasks", "").ids("tasks")
		s.want(200, "DELETE", "/v2/apps/g/two/tasks/"+list[0], "").has(t, "task.id", `"`+list[0]+`"`, "task.appId", `"/g/two"`)
		s.want(200, "DELETE", "/v2/apps/g/two/tasks/"+list[1]+"?scale=true", "").isResult(t)
		s.want(404, "DELETE", "/v2/apps/g/two/tasks/g_two.instance-00000000-0000-4000-8000-000000000077._app.1", "")
		s.want(404, "DELETE", "/v2/apps/none/tasks/g_two.instance-00000000-0000-4000-8000-000000000077._app.1", "").has(t, "message", `"App '/none' does not exist"`)
	})
	t.Run("DELETE with the app path of go-marathon", func(t *testing.T) {
		s := tree(t)
		task := s.want(200, "GET", "/v2/apps/g/two/tasks", "").ids("tasks")[0]
		wrong := strings.ReplaceAll(task[:strings.LastIndexByte(task, '.')], "_", "/")
		s.want(200, "DELETE", "/v2/apps/"+wrong+"/tasks/"+task, "").has(t, "task.id", `"`+task+`"`)
	})
}

func TestConformance_1_6_AllTasks(t *testing.T) {
	t.Run("GET", func(t *testing.T) {
		s := tree(t)
		s.want(201, "POST", "/v2/apps", `{"id":"/late","cmd":"sleep 1"}`)
		s.offer()
		for query, want := range map[string]int{"": 5, "?status=running": 4, "?status=staging": 1, "?status[]=running&status[]=staging": 5, "?status=nonsense": 5} {
			a := s.want(200, "GET", "/v2/tasks"+query, "")
			if got := a.ids("tasks"); len(got) != want {
				t.Errorf("%q gives %d tasks, want %d", query, len(got), want)
			}
			if list, _ := a.at("tasks.0.servicePorts").([]any); len(list) != 1 {
				t.Errorf("service ports %v", list)
			}
		}
	})
	t.Run("POST /v2/tasks/delete", func(t *testing.T) {
		s := tree(t)
		list := s.want(200, "GET", "/v2/apps/g/two/tasks", "").ids("tasks")
		unknown := "g_two.instance-00000000-0000-4000-8000-000000000077._app.1"
		got := s.want(200, "POST", "/v2/tasks/delete", fmt.Sprintf(`{"ids":["%s","%s"]}`, list[0], unknown)).ids("tasks")
		if !slices.Equal(got, list[:1]) {
			t.Errorf("killed %v", got)
		}
		s.want(200, "POST", "/v2/tasks/delete?scale=true", fmt.Sprintf(`{"ids":["%s"]}`, list[1])).isResult(t)
		s.want(200, "GET", "/v2/apps/g/two", "").has(t, "app.instances", "1")
		a := s.want(400, "POST", "/v2/tasks/delete", `{"ids":["nonsense"]}`)
		if text, _ := a.at("message").(string); !strings.HasPrefix(text, "Invalid task id 'nonsense'.") {
			t.Errorf("message %q", text)
		}
		s.want(400, "POST", "/v2/tasks/delete?scale=true&wipe=true", `{"ids":[]}`).has(t, "message", `"You cannot use scale and wipe at the same time."`)
	})
}

func TestConformance_1_7_Versions(t *testing.T) {
	s := tree(t)
	first := s.want(200, "GET", "/v2/apps/three", "").at("app.version").(string)
	second := s.want(200, "PUT", "/v2/apps/three", `{"instances":2}`).at("version").(string)
	s.want(200, "GET", "/v2/apps/three/versions", "").has(t, "versions", `["`+second+`","`+first+`"]`)
	s.want(404, "GET", "/v2/apps/none/versions", "")
	s.want(200, "GET", "/v2/apps/three/versions/"+first, "").has(t, "id", `"/three"`, "instances", "1", "version", `"`+first+`"`, "app", "null",
		"tasks", "null", "tasksRunning", "null", "deployments", "null")
	s.want(404, "GET", "/v2/apps/three/versions/2001-01-01T00:00:00.000Z", "")
	s.want(422, "GET", "/v2/apps/three/versions/soon", "")
}
