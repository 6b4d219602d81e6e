package rest

import (
	"strings"
	"testing"
	"time"
)

const webApp = `{"id":"web","cmd":"python3 -m http.server $PORT0","cpus":0.1,"mem":32,"instances":2,"labels":{"HAPROXY_GROUP":"external","tier":"front"}}`

func TestAppLife(t *testing.T) {
	s := newStack(t)
	a := s.want(201, "POST", "/v2/apps", webApp)
	a.has(t, "id", `"/web"`, "tasksRunning", "0", "tasksStaged", "0", "portDefinitions.0.port", "10000", "tasks", "null",
		"versionInfo.lastScalingAt", `"`+a.at("version").(string)+`"`)
	id := a.at("deployments.0.id").(string)
	if a.header.Get("Location") != "/web" || a.header.Get("Marathon-Deployment-Id") != id {
		t.Errorf("headers %v", a.header)
	}
	version := a.at("version").(string)
	s.want(200, "GET", "/v2/deployments", "").has(t, "0.id", `"`+id+`"`, "0.affectedApps", `["/web"]`, "0.affectedPods", "[]",
		"0.steps", `[{"actions":[{"action":"StartApplication","app":"/web"}]},{"actions":[{"action":"ScaleApplication","app":"/web"}]}]`,
		"0.currentStep", "2", "0.totalSteps", "2", "0.currentActions", `[{"action":"ScaleApplication","app":"/web","readinessCheckResults":[]}]`)
	s.want(200, "GET", "/v2/queue", "").has(t, "queue.0.count", "2", "queue.0.app.id", `"/web"`, "queue.0.delay", `{"timeLeftSeconds":0,"overdue":true}`,
		"queue.0.processedOffersSummary.rejectSummaryLastOffers.4", `{"reason":"InsufficientCpus","declined":0,"processed":0}`)

	tasks := s.run()
	if len(tasks) != 2 {
		t.Fatalf("%d tasks launched", len(tasks))
	}
	a = s.want(200, "GET", "/v2/apps/web", "")
	a.has(t, "app.tasksRunning", "2", "app.tasksHealthy", "0", "app.deployments", "[]", "app.tasks.0.id", `"`+string(tasks[0])+`"`,
		"app.tasks.0.state", `"TASK_RUNNING"`, "app.tasks.0.host", `"host1"`, "app.tasks.0.slaveId", `"agent-1"`,
		"app.tasks.0.servicePorts", "[]", "app.tasks.0.healthCheckResults", "[]", "app.tasks.0.localVolumes", "[]",
		"app.tasks.0.ipAddresses", `[{"ipAddress":"10.0.0.1","protocol":"IPv4"}]`, "app.tasks.0.version", `"`+version+`"`, "app.lastTaskFailure", "null")
	s.want(200, "GET", "/v2/apps", "").has(t, "apps.0.id", `"/web"`, "apps.0.deployments", "[]", "apps.0.tasks", "null")
	s.want(200, "GET", "/v2/apps?embed=apps.tasks&embed=what", "").has(t, "apps.0.tasks.1.appId", `"/web"`)
	s.want(200, "GET", "/v2/tasks", "").has(t, "tasks.0.servicePorts", "[10000]")
	s.want(200, "GET", "/v2/tasks?status=staging", "").has(t, "tasks", "[]")
	s.want(200, "GET", "/v2/apps//web/tasks", "").has(t, "tasks.0.appId", `"/web"`)
	if text := s.want(200, "GET", "/v2/tasks", "", "Accept", "text/plain").text; !strings.HasPrefix(text, "web\t10000\thost1:31") {
		t.Errorf("plain tasks %q", text)
	}
	s.want(200, "GET", "/v2/apps/web?embed=app.taskStats", "").has(t, "app.tasksStats.totalSummary.stats.counts.running", "2", "app.taskStats.withOutdatedConfig", "null")

	// Scaling keeps lastConfigChangeAt, an unchanged PUT keeps the version.
	s.advance(time.Second)
	a = s.want(200, "PUT", "/v2/apps/web", `{"instances":3}`)
	if a.at("deploymentId") == nil || a.at("version") == nil || a.header.Get("Marathon-Deployment-Id") != a.at("deploymentId") {
		t.Errorf("scale answered %s", a.text)
	}
	scaled := a.at("version").(string)
	s.run()
	s.want(200, "GET", "/v2/apps/web", "").has(t, "app.version", `"`+scaled+`"`, "app.versionInfo.lastConfigChangeAt", `"`+version+`"`, "app.tasksRunning", "3")
	a = s.want(200, "PUT", "/v2/apps/web", webApp[:len(webApp)-1]+`,"instances":3}`)
	if a.at("deploymentId") == nil {
		t.Errorf("unchanged PUT answered %s", a.text)
	}
	s.want(200, "GET", "/v2/apps/web", "").has(t, "app.version", `"`+scaled+`"`, "app.deployments", "[]")

	// Versions and roll-back.
	s.want(200, "GET", "/v2/apps/web/versions", "").has(t, "versions", `["`+scaled+`","`+version+`"]`)
	s.want(200, "GET", "/v2/apps/web/versions/"+version, "").has(t, "instances", "2", "id", `"/web"`, "tasksRunning", "null")
	s.want(200, "PUT", "/v2/apps/web", `{"version":"`+version+`"}`)
	s.finish()
	s.want(200, "GET", "/v2/apps/web", "").has(t, "app.instances", "2")
	s.want(404, "PUT", "/v2/apps/web", `{"version":"2000-01-01T00:00:00.000Z"}`).has(t, "message", `"App '/web' does not exist in version 2000-01-01T00:00:00.000Z"`)
	s.want(422, "PUT", "/v2/apps/web", `{"version":"`+version+`","instances":1}`)

	// Kill without scaling: the same instance comes back under a higher number.
	s.run()
	list := s.want(200, "GET", "/v2/apps/web/tasks", "")
	task := list.at("tasks.0.id").(string)
	s.want(200, "DELETE", "/v2/apps/wrong/path/tasks/"+task, "").has(t, "task.id", `"`+task+`"`, "task.state", `"TASK_RUNNING"`)
	s.finish()
	relaunched := s.run()
	if len(relaunched) != 1 || string(relaunched[0]) != strings.TrimSuffix(task, "1")+"2" {
		t.Errorf("relaunched %v after killing %s", relaunched, task)
	}
	s.want(404, "DELETE", "/v2/apps/web/tasks/"+task, "").has(t, "message", `"Task '`+task+`' does not exist"`)

	// Kill with scaling.
	a = s.want(200, "POST", "/v2/tasks/delete?scale=true", `{"ids":["`+string(relaunched[0])+`"]}`)
	if a.at("deploymentId") == nil {
		t.Errorf("kill and scale answered %s", a.text)
	}
	s.finish()
	s.want(200, "GET", "/v2/apps/web", "").has(t, "app.instances", "1", "app.tasksRunning", "1", "app.deployments", "[]")

	// Restart: a new version, the same definition.
	a = s.want(200, "POST", "/v2/apps/web/restart", `{}`)
	s.want(409, "POST", "/v2/apps/web/restart", "").has(t, "deployments", `[{"id":"`+a.at("deploymentId").(string)+`"}]`)
	s.run()
	s.finish()
	s.want(200, "GET", "/v2/apps/web", "").has(t, "app.deployments", "[]", "app.version", `"`+a.at("version").(string)+`"`)

	s.want(200, "DELETE", "/v2/apps/web", "")
	s.finish()
	s.want(404, "GET", "/v2/apps/web", "").has(t, "message", `"App '/web' does not exist"`)
	s.want(200, "GET", "/v2/apps", "").has(t, "apps", "[]")
	s.want(200, "GET", "/v2/deployments", "").has(t, "", "null")
}

func TestAppRoutes(t *testing.T) {
	s := newStack(t)
	s.want(201, "PUT", "/v2/apps/a/b", `{"cmd":"sleep 1","labels":{"x":"1","y":"2"},"id":"/other"}`)
	s.want(201, "POST", "/v2/apps/", `{"id":"/a/c","cmd":"touch x","labels":{"x":"2"}}`)
	s.want(201, "POST", "/v2/apps", `{"id":"/d","cmd":"SLEEP 2","labels":{"x":"1"}}`)
	for query, want := range map[string]string{
		"id=/A/": `["/a/b","/a/c"]`, "cmd=sleep": `["/a/b","/d"]`, "label=x==1,y": `["/a/b"]`, "label=x+in+(2,3)": `["/a/c"]`,
		"label=x+notin(2)": `["/a/b","/d"]`, "label=y!=1": `["/a/b"]`, "label=z": `[]`, "label=x%5C=1": `[]`, "label=x=1": `422`, "label=x+in+(": `422`, "label=,": `422`,
	} {
		a := s.call("GET", "/v2/apps?"+query, "")
		if want == "422" {
			if a.status != 422 || a.at("message") == nil {
				t.Errorf("%s: %d %s", query, a.status, a.text)
			}
			continue
		}
		var ids []string
		apps, _ := a.at("apps").([]any)
		for _, x := range apps {
			ids = append(ids, `"`+x.(map[string]any)["id"].(string)+`"`)
		}
		if got := "[" + strings.Join(ids, ",") + "]"; !sameSet(got, want) {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	s.want(200, "GET", "/v2/apps/a/*", "").has(t, "*.0.id", `"/a/b"`, "*.1.tasks", "[]")
	s.want(200, "GET", "/v2/apps/a/*/tasks", "").has(t, "tasks", "[]")
	s.want(404, "GET", "/v2/apps/zz/*", "")

	// Many at once: one deployment.
	s.run()
	s.finish()
	a := s.want(200, "PUT", "/v2/apps", `[{"id":"/a/b","instances":2},{"id":"/e","cmd":"sleep 3"}]`)
	s.want(200, "GET", "/v2/deployments", "").has(t, "0.affectedApps", `["/a/b","/e"]`, "0.id", `"`+a.at("deploymentId").(string)+`"`)
	s.want(422, "PUT", "/v2/apps", `[{"instances":2}]`).has(t, "details.0.path", `"/(0)/id"`)
	s.want(404, "PATCH", "/v2/apps", `[{"id":"/none","instances":2}]`)
	s.want(404, "PATCH", "/v2/apps/none", `{"instances":2}`)
	s.want(200, "PUT", "/v2/apps/d?partialUpdate=false", `{"cmd":"sleep 9","version":"2000-01-01T00:00:00.000Z"}`)
	s.want(200, "GET", "/v2/apps/d", "").has(t, "app.labels", "{}", "app.cmd", `"sleep 9"`)
}

func sameSet(a, b string) bool {
	x, y := strings.Split(strings.Trim(a, "[]"), ","), strings.Split(strings.Trim(b, "[]"), ",")
	m := map[string]int{}
	for _, v := range x {
		m[v]++
	}
	for _, v := range y {
		m[v]--
	}
	for _, n := range m {
		if n != 0 {
			return false
		}
	}
	return true
}

func TestRefusals(t *testing.T) {
	s := newStack(t)
	s.want(201, "POST", "/v2/apps", `{"id":"/x","cmd":"sleep 1"}`)
	lock := s.want(200, "GET", "/v2/deployments", "").at("0.id").(string)

	s.want(400, "POST", "/v2/apps", `{"id":`).has(t, "message", `"Invalid JSON"`)
	if d, ok := s.call("POST", "/v2/apps", `{"id":`).at("details").(string); !ok || d == "" {
		t.Error("details of broken JSON must be a string")
	}
	s.want(400, "POST", "/v2/apps", "").has(t, "message", `"Please specify data in JSON format"`)
	s.want(422, "POST", "/v2/apps", `{"cmd":"sleep 1"}`).has(t, "message", `"Invalid JSON"`, "details", `[{"path":"/id","errors":["error.path.missing"]}]`)
	s.want(422, "POST", "/v2/apps", `{"id":"/y","cmd":"sleep 1","upgradeStrategy":{"minimumHealthCapacity":2}}`).
		has(t, "message", `"Object is not valid"`, "details", `[{"path":"/upgradeStrategy/minimumHealthCapacity","errors":["got 2.0, expected between 0.0 and 1.0"]}]`)
	s.want(409, "POST", "/v2/apps", `{"id":"/x","cmd":"sleep 1"}`).has(t, "message", `"An app with id [/x] already exists."`, "deployments", "null")
	s.want(409, "PUT", "/v2/apps/x", `{"instances":2}`).has(t, "deployments", `[{"id":"`+lock+`"}]`,
		"message", `"App is locked by one or more deployments. Override with the option '?force=true'. View details at '/v2/deployments/<DEPLOYMENT_ID>'."`)
	s.want(200, "GET", "/v2/apps/x/versions", "").has(t, "versions.1", "null")
	s.want(200, "PUT", "/v2/apps/x?force=true", `{"instances":2}`)
	s.want(409, "DELETE", "/v2/apps/x?force=false", "")
	s.want(422, "GET", "/v2/apps/x/versions/yesterday", "")
	s.want(404, "GET", "/v2/apps/x/versions/2000-01-01T00:00:00.000Z", "")
	s.want(404, "DELETE", "/v2/apps/none", "")
	s.want(404, "POST", "/v2/apps/none/restart", "")
	s.want(404, "GET", "/v2/apps/none/tasks", "")
	s.want(404, "GET", "/v2/apps/none/versions", "")
	s.want(404, "GET", "/v2/groups/none", "").has(t, "message", `"Group '/none' does not exist"`)
	s.want(404, "DELETE", "/v2/deployments/none", "").has(t, "message", `"DeploymentPlan none does not exist"`)
	s.want(404, "DELETE", "/v2/queue/none/delay", "").has(t, "message", `"Application /none not found in tasks queue."`)
	s.want(404, "GET", "/v2/nothing", "").has(t, "message", `"URI not found"`)
	s.want(405, "DELETE", "/v2/apps", "")
	s.want(405, "POST", "/v2/info", "")
	s.want(400, "POST", "/v2/tasks/delete", `{"ids":["bogus"]}`)
	s.want(400, "DELETE", "/v2/apps/x/tasks?scale=true&wipe=true", "").has(t, "message", `"You cannot use scale and wipe at the same time."`)
	s.want(200, "POST", "/v2/tasks/delete", `{"ids":["y.instance-00000000-0000-4000-8000-000000000009._app.1"]}`).has(t, "tasks", "[]")
	s.want(422, "POST", "/v2/tasks/delete", `{}`)
	s.want(413, "POST", "/v2/apps", `{"id":"/big","cmd":"`+strings.Repeat("x", 1<<20)+`"}`)
	s.want(422, "PUT", "/v2/groups", `{"x":"`+strings.Repeat("x", 2<<20)+`","groups":7}`)
	s.want(413, "PUT", "/v2/groups", strings.Repeat(" ", 32<<20+1))
	s.want(200, "GET", "/v2/apps/x", "ignored body")
}
