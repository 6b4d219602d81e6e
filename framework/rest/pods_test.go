package rest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/framework/app"
)

// twoContainers is a pod with a health check and endpoints of both kinds.
const twoContainers = `{"id":"/shop/cart","labels":{"tier":"back"},"environment":{"MODE":"test"},
	"containers":[
		{"name":"web","exec":{"command":{"shell":"serve"}},"resources":{"cpus":0.5,"mem":64},
		 "endpoints":[{"name":"http","hostPort":0,"protocol":["tcp"]},{"name":"admin"}],
		 "healthCheck":{"http":{"endpoint":"http","path":"/ping"}},
		 "volumeMounts":[{"name":"data","mountPath":"data"}]},
		{"name":"sync","exec":{"command":{"argv":["sync","-v"]}},"resources":{"cpus":0.1,"mem":32,"disk":10,"gpus":0},
		 "volumeMounts":[{"name":"data","mountPath":"in","readOnly":true}]}],
	"volumes":[{"name":"data"}],"scaling":{"kind":"fixed","instances":2}}`

// TestConformance_1_12_Pods goes through the routes of marathon.md 1.12.
func TestConformance_1_12_Pods(t *testing.T) {
	s := newStack(t)
	s.want(200, "HEAD", "/v2/pods", "")
	s.want(200, "GET", "/v2/pods", "")
	made := s.want(201, "POST", "/v2/pods", twoContainers)
	made.has(t, "id", `"/shop/cart"`, "version", `"2021-01-01T00:00:00.000Z"`, "scaling.instances", "2")
	if made.header.Get("Location") != "/shop/cart" || made.header.Get("Marathon-Deployment-Id") == "" {
		t.Errorf("headers %v", made.header)
	}
	s.want(200, "GET", "/v2/deployments", "").has(t, "0.id", `"`+made.header.Get("Marathon-Deployment-Id")+`"`, "0.affectedPods", `["/shop/cart"]`,
		"0.affectedApps", "[]", "0.steps", `[{"actions":[{"action":"StartPod","pod":"/shop/cart"}]},{"actions":[{"action":"ScalePod","pod":"/shop/cart"}]}]`,
		"0.currentActions.0", `{"action":"ScalePod","pod":"/shop/cart","readinessCheckResults":[]}`)
	s.want(409, "POST", "/v2/pods", twoContainers).has(t, "message", `"A pod with id [/shop/cart] already exists."`, "deployments", "null")
	s.want(200, "GET", "/v2/pods/shop/cart", "").has(t, "id", `"/shop/cart"`, "containers.0.name", `"web"`)
	s.want(200, "GET", "/v2/pods//shop/cart", "").has(t, "id", `"/shop/cart"`)
	s.want(200, "GET", "/v2/pods", "").has(t, "0.id", `"/shop/cart"`, "1", "null")
	s.want(404, "GET", "/v2/pods/nope", "").has(t, "message", `"Pod '/nope' does not exist"`)

	s.run()
	s.want(400, "PUT", "/v2/pods/foo", strings.Replace(twoContainers, "/shop/cart", "/bla", 1)).
		has(t, "message", `"'/foo' does not match definition's id ('/bla')"`)
	same := s.want(200, "PUT", "/v2/pods/shop/cart", twoContainers)
	same.has(t, "version", `"2021-01-01T00:00:00.000Z"`) // nothing changed
	if same.header.Get("Marathon-Deployment-Id") == "" {
		t.Error("a put without a change names no deployment")
	}
	s.advance(time.Minute)
	// The first deployment still waits for health.
	s.want(409, "PUT", "/v2/pods/shop/cart", strings.Replace(twoContainers, "serve", "serve2", 1)).
		has(t, "deployments.0.id", `"`+made.header.Get("Marathon-Deployment-Id")+`"`)
	put := s.want(200, "PUT", "/v2/pods/shop/cart?force=true", strings.Replace(twoContainers, "serve", "serve2", 1))
	put.has(t, "containers.0.exec.command.shell", `"serve2"`)
	versions := s.want(200, "GET", "/v2/pods/shop/cart::versions", "")
	versions.has(t, "1", `"2021-01-01T00:00:00.000Z"`, "2", "null")
	s.want(200, "GET", "/v2/pods/shop/cart::versions/2021-01-01T00:00:00.000Z", "").has(t, "containers.0.exec.command.shell", `"serve"`)
	s.want(404, "GET", "/v2/pods/shop/cart::versions/2020-01-01T00:00:00.000Z", "").
		has(t, "message", `"Pod '/shop/cart' does not exist in version 2020-01-01T00:00:00.000Z"`)
	s.want(422, "GET", "/v2/pods/shop/cart::versions/yesterday", "")
	s.want(404, "GET", "/v2/pods/nope::versions", "")
	s.want(404, "GET", "/v2/pods/nope::status", "")
	s.want(404, "GET", "/v2/pods/shop/cart::nothing", "")
	s.want(405, "POST", "/v2/pods/shop/cart", "{}")
	s.want(405, "GET", "/v2/pods/shop/cart::instances", "")

	created := s.want(200, "PUT", "/v2/pods/other", `{"id":"/other","containers":[{"name":"c","resources":{},"exec":{"command":{"shell":"x y"}}}],"scaling":{"kind":"fixed","instances":0,"maxInstances":3}}`)
	created.has(t, "scaling", `{"kind":"fixed","instances":0}`)
	s.want(409, "DELETE", "/v2/pods/shop/cart", "")
	gone := s.want(202, "DELETE", "/v2/pods/shop/cart?force=true", "")
	if gone.text != "" || gone.header.Get("Location") != gone.header.Get("Marathon-Deployment-Id") || gone.header.Get("Location") == "" {
		t.Errorf("answer %q, headers %v", gone.text, gone.header)
	}
	s.want(404, "GET", "/v2/pods/shop/cart", "")
	s.want(200, "GET", "/v2/pods/shop/cart::status", "").has(t, "status", `"TERMINAL"`)
	for range 3 {
		s.finish()
		s.advance(time.Second)
	}
	s.want(404, "GET", "/v2/pods/shop/cart::status", "")
	s.want(404, "DELETE", "/v2/pods/shop/cart", "")
}

// TestConformance_3_1_PodDefaults is what a pod becomes that says as little as it can.
func TestConformance_3_1_PodDefaults(t *testing.T) {
	s := newStack(t)
	s.want(201, "POST", "/v2/pods", `{"id":"p","version":"2001-01-01T00:00:00.000Z","containers":[{"name":"c","resources":{},"exec":{"command":{"shell":"sleep 1"}},"image":null,
		"endpoints":[{"name":"e"}],"healthCheck":{"exec":{"command":{"argv":["true"]}}},"check":{"tcp":{"endpoint":"e"}},"artifacts":[{"uri":"http://x/y"}]}]}`).
		has(t, "", `null`, "id", `"/p"`, "scaling", `{"kind":"fixed","instances":1}`, "role", `"*"`,
			"executorResources", `{"cpus":0.1,"mem":32,"disk":10}`, "networks", "null", "volumes", "null", "labels", "null", "secrets", "null",
			"scheduling", `{"backoff":{"backoff":1,"backoffFactor":1.15,"maxLaunchDelay":300},"upgrade":{"minimumHealthCapacity":1,"maximumOverCapacity":1},
				"placement":{},"killSelection":"YOUNGEST_FIRST","unreachableStrategy":{"inactiveAfterSeconds":0,"expungeAfterSeconds":0}}`,
			"containers.0", `{"name":"c","exec":{"command":{"shell":"sleep 1"}},"resources":{"cpus":1,"mem":128,"disk":0,"gpus":0},"endpoints":[{"name":"e","hostPort":0}],
				"healthCheck":{"exec":{"command":{"argv":["true"]}},"gracePeriodSeconds":300,"intervalSeconds":60,"timeoutSeconds":20,"maxConsecutiveFailures":3,"delaySeconds":15},
				"check":{"tcp":{"endpoint":"e"},"intervalSeconds":60,"timeoutSeconds":20,"delaySeconds":15},
				"artifacts":[{"uri":"http://x/y","extract":true,"executable":false,"cache":false}]}`)
	if got := s.want(200, "GET", "/v2/pods/p", "").at("version"); got != "2021-01-01T00:00:00.000Z" {
		t.Errorf("the version of the body was taken: %v", got)
	}
}

// TestConformance_3_4_PodStatus follows the status of a pod through its life.
func TestConformance_3_4_PodStatus(t *testing.T) {
	s := newStack(t)
	s.want(201, "POST", "/v2/pods", strings.Replace(twoContainers, `"instances":2`, `"instances":1`, 1))
	a := s.want(200, "GET", "/v2/pods/shop/cart::status", "")
	a.has(t, "status", `"DEGRADED"`, "instances", "[]", "terminationHistory", "[]", "spec.id", `"/shop/cart"`)
	s.offer()
	a = s.want(200, "GET", "/v2/pods/shop/cart::status", "")
	a.has(t, "instances.0.status", `"PENDING"`, "instances.0.containers.0.status", `"TASK_STAGING"`, "instances.0.agentHostname", `"host1"`, "instances.0.agentId", `"agent-1"`)
	web, sync := app.TaskID(a.at("instances.0.containers.0.containerId").(string)), app.TaskID(a.at("instances.0.containers.1.containerId").(string))
	id := a.at("instances.0.id").(string)
	if !strings.HasPrefix(id, "shop_cart.instance-") || web != app.TaskID(id+".web.1") || sync != app.TaskID(id+".sync.1") {
		t.Errorf("instance %s, tasks %s and %s", id, web, sync)
	}
	s.report(web, "TASK_STARTING")
	s.want(200, "GET", "/v2/pods/shop/cart::status", "").has(t, "instances.0.status", `"STAGING"`)
	s.report(web, "TASK_RUNNING")
	s.report(sync, "TASK_RUNNING")
	a = s.want(200, "GET", "/v2/pods/shop/cart::status", "")
	a.has(t, "status", `"DEGRADED"`, "instances.0.status", `"DEGRADED"`, "instances.0.message", `"at least one container is not healthy"`,
		"instances.0.containers.0.conditions.0.name", `"healthy"`, "instances.0.containers.0.conditions.0.value", `"false"`,
		"instances.0.containers.0.conditions.0.reason", `"health-unreported-by-mesos"`, "instances.0.containers.1.conditions", "[]",
		"instances.0.resources", `{"cpus":0.7,"mem":128,"disk":20,"gpus":0}`, "instances.0.networks", `[{"addresses":["10.0.0.1"]}]`,
		"instances.0.containers.1.resources", `{"cpus":0.1,"mem":32,"disk":10,"gpus":0}`, "instances.0.role", `"*"`,
		"instances.0.specReference", `"/v2/pods/shop/cart::versions/2021-01-01T00:00:00.000Z"`, "instances.0.localVolumes", "[]")
	for k, name := range []string{"http", "admin"} {
		path := fmt.Sprintf("instances.0.containers.0.endpoints.%d.", k)
		if port, _ := a.at(path + "allocatedHostPort").(float64); a.at(path+"name") != name || port < 31000 || port > 32000 {
			t.Errorf("endpoint %s in %s", name, a.text)
		}
	}
	s.health(web, true)
	s.want(200, "GET", "/v2/pods/::status", "").has(t, "0.status", `"STABLE"`, "0.instances.0.status", `"STABLE"`,
		"0.instances.0.containers.0.conditions.0.value", `"true"`, "0.instances.0.containers.0.conditions.0.reason", `"health-reported-by-mesos"`,
		"0.instances.0.containers.0.endpoints.0.healthy", "true", "0.instances.0.containers.0.endpoints.1.healthy", "null")
	s.want(200, "GET", "/v2/deployments", "").has(t, "0", "null") // it waited for the health check
	s.health(web, false)
	s.want(200, "GET", "/v2/pods/shop/cart::status", "").has(t, "status", `"DEGRADED"`)
	s.health(web, true)
	s.report(web, "TASK_UNREACHABLE")
	s.report(web, "TASK_RUNNING")
	s.want(200, "GET", "/v2/pods/shop/cart::status", "").has(t, "instances.0.status", `"STABLE"`)

	s.advance(time.Second)
	s.reportWith(web, "TASK_FAILED", "Command exited with status 3")
	s.want(200, "GET", "/v2/pods/shop/cart::status", "").has(t, "instances.0.status", `"TERMINAL"`, "instances.0.containers.0.status", `"TASK_FAILED"`,
		"instances.0.containers.0.termination", `{"exitCode":3,"message":"Command exited with status 3"}`, "instances.0.containers.0.endpoints", "[]",
		"terminationHistory.0.instanceID", `"`+id+`"`, "terminationHistory.0.containers.0.containerId", `"`+string(web)+`"`,
		"terminationHistory.0.containers.0.lastKnownState", `"TASK_FAILED"`, "terminationHistory.0.containers.0.termination.exitCode", "3",
		"terminationHistory.0.startedAt", `"2021-01-01T00:00:00.000Z"`, "terminationHistory.0.terminatedAt", `"2021-01-01T00:00:01.000Z"`)
	s.report(sync, "TASK_KILLED") // the agent ends the rest of the group
	s.want(200, "GET", "/v2/pods/shop/cart::status", "").has(t, "instances.0.id", `"`+id+`"`, "instances.0.status", `"PENDING"`, "instances.0.containers", "[]")
	s.want(200, "GET", "/v2/queue", "").has(t, "queue.0.count", "1", "queue.0.pod.id", `"/shop/cart"`, "queue.0.app", "null", "queue.0.delay.timeLeftSeconds", "1")
	s.want(204, "DELETE", "/v2/queue/shop/cart/delay", "")
	s.offer()
	s.want(200, "GET", "/v2/pods/shop/cart::status", "").has(t, "instances.0.containers.0.containerId", `"`+id+`.web.2"`)
}

// TestConformance_1_12_PodInstances kills instances of a pod and nothing else.
func TestConformance_1_12_PodInstances(t *testing.T) {
	s := newStack(t)
	plain := `{"id":"/%s","containers":[{"name":"c","resources":{"cpus":0.1},"exec":{"command":{"shell":"sleep 9"}}},{"name":"d","resources":{"cpus":0.1},"exec":{"command":{"shell":"sleep 9"}}}],"scaling":{"kind":"fixed","instances":2}}`
	s.want(201, "POST", "/v2/pods", fmt.Sprintf(plain, "p"))
	s.want(201, "POST", "/v2/pods", fmt.Sprintf(plain, "q"))
	s.run()
	ids := func(pod string) (out []string) {
		for n := range 2 {
			id, _ := s.want(200, "GET", "/v2/pods/"+pod+"::status", "").at(fmt.Sprintf("instances.%d.id", n)).(string)
			out = append(out, id)
		}
		return out
	}
	p, q := ids("p"), ids("q")
	s.want(404, "DELETE", "/v2/pods/p::instances/"+q[0], "").has(t, "message", `"Task '`+q[0]+`' does not exist"`)
	s.want(404, "DELETE", "/v2/pods/x::instances/"+p[0], "")
	s.want(422, "DELETE", "/v2/pods/p::instances", `["no-instance"]`)
	s.want(422, "DELETE", "/v2/pods/p::instances", `{"ids":[]}`)
	s.want(400, "DELETE", "/v2/pods/p::instances", "")
	s.want(200, "DELETE", "/v2/pods/p::instances", fmt.Sprintf(`[%q,%q,"p.instance-00000000-0000-4000-8000-00000000ffff"]`, p[0], q[0])).
		has(t, "0.instanceId", `"`+p[0]+`"`, "1", "null", "0.state.condition", `"Running"`, "0.state.goal", `"Running"`, "0.agentInfo.host", `"host1"`,
			"0.agentInfo.attributes", "[]", "0.unreachableStrategy", `{"expungeAfterSeconds":0,"inactiveAfterSeconds":0}`, "0.runSpecVersion", `"2021-01-01T00:00:00.000Z"`)
	s.finish()
	s.run()
	if got := ids("p"); got[0] != p[0] || got[1] != p[1] {
		t.Errorf("a kill gave the instance a new id: %v, before %v", got, p)
	}
	s.want(200, "GET", "/v2/pods/p::status", "").has(t, "status", `"STABLE"`, "instances.0.containers.1.containerId", `"`+p[0]+`.d.2"`)
	s.want(200, "DELETE", "/v2/pods/p::instances/"+p[1]+"?wipe=true", "").has(t, "instanceId", `"`+p[1]+`"`)
	s.finish()
	s.run()
	if got := ids("p"); got[1] == p[1] || got[1] == "" {
		t.Errorf("a wiped instance kept its id: %v", got)
	}
	// A task id of a pod's container means its instance.
	s.want(200, "POST", "/v2/tasks/delete", `{"ids":["`+q[0]+`.d.1"]}`).has(t, "tasks.0.id", `"`+q[0]+`.c.1"`)
	s.want(200, "GET", "/v2/tasks", "").has(t, "tasks", "[]")
	s.finish()
	s.run()
	if got := ids("q"); got[0] != q[0] {
		t.Errorf("instances of q: %v", got)
	}
	// With scale the pod gets smaller.
	s.want(200, "POST", "/v2/tasks/delete?scale=true", `{"ids":["`+q[1]+`.c.1"]}`)
	s.finish()
	s.want(200, "GET", "/v2/pods/q", "").has(t, "scaling.instances", "1")
	if got := ids("q"); got[0] != q[0] || got[1] != "" {
		t.Errorf("instances of q: %v", got)
	}
}

// TestConformance_4_PodsInGroups: pods are shown in groups, survive changes of their group
// and go with it.
func TestConformance_4_PodsInGroups(t *testing.T) {
	s := newStack(t)
	pod := `{"id":"/g/p","containers":[{"name":"c","resources":{},"exec":{"command":{"shell":"sleep 9"}}}]}`
	s.want(201, "POST", "/v2/pods", pod)
	s.want(200, "GET", "/v2/groups", "").has(t, "pods", "[]", "groups.0.pods.0.id", `"/g/p"`, "groups.0.pods.0.status", `"DEGRADED"`, "groups.0.pods.0.spec.id", `"/g/p"`)
	s.want(200, "GET", "/v2/groups?embed=group.groups&embed=group.pods", "").has(t, "apps", "null", "groups.0.pods.0.id", `"/g/p"`, "groups.0.apps", "null")
	s.want(200, "GET", "/v2/groups?embed=group.groups", "").has(t, "groups.0.pods", "null")
	s.run()
	s.want(200, "PUT", "/v2/groups/g", `{"apps":[{"id":"a","cmd":"sleep 9"}],"pods":[]}`)
	s.want(200, "GET", "/v2/groups/g", "").has(t, "apps.0.id", `"/g/a"`, "pods.0.id", `"/g/p"`)
	s.run()
	s.want(200, "PUT", "/v2/groups/g", `{"scaleBy":2}`)
	s.run()
	s.want(200, "GET", "/v2/groups/g", "").has(t, "apps.0.instances", "2", "pods.0.spec.scaling.instances", "1")

	s.want(422, "POST", "/v2/apps", `{"id":"/g/p","cmd":"x y"}`).has(t, "details.0.path", `"/"`)
	s.want(422, "POST", "/v2/pods", strings.Replace(pod, "/g/p", "/g/a", 1)).has(t, "details.0.errors.0", `"Applications and Pods may not share the same id. /g/a is both."`)
	s.want(422, "POST", "/v2/pods", strings.Replace(pod, "/g/p", "/g", 1)).has(t, "details.0.errors.0", `"Groups and Pods may not have the same identifier."`)
	s.want(422, "POST", "/v2/groups", `{"id":"/g/p","apps":[{"id":"x","cmd":"x y"}]}`).has(t, "details.0.errors.0", `"Groups and Pods may not have the same identifier. /g/p is both."`)

	// An app may wait for a pod, by way of its group.
	s.want(201, "POST", "/v2/groups", `{"id":"/first"}`)
	s.want(201, "POST", "/v2/pods", strings.Replace(pod, "/g/p", "/first/p", 1))
	s.want(422, "PUT", "/v2/groups/first", `{"dependencies":["/first/p"]}`).has(t, "details.0.errors.0", `"Dependency graph has cyclic dependencies."`)
	s.run()
	s.want(200, "PUT", "/v2/groups?dryRun=true", `{"groups":[{"id":"g","dependencies":["/first"],"apps":[{"id":"a","cmd":"sleep 10","instances":2}]},{"id":"first"}]}`).
		has(t, "steps", `[{"actions":[{"action":"RestartApplication","app":"/g/a"}]}]`)
	if gone := s.want(200, "DELETE", "/v2/groups/g", ""); gone.at("deploymentId") == nil {
		t.Errorf("%s", gone.text)
	}
	s.want(200, "GET", "/v2/deployments", "").has(t, "0.affectedPods", `["/g/p"]`, "0.affectedApps", `["/g/a"]`)
	s.want(404, "GET", "/v2/pods/g/p", "")
}

// TestConformance_3_2_PodRules: each rule of a pod is named with its path.
func TestConformance_3_2_PodRules(t *testing.T) {
	s := newStackWith(t, func(c *Config) { c.Rules.Features = map[string]bool{"secrets": true} })
	container := func(more string) string {
		return `{"id":"/p","containers":[{"name":"c","resources":{"cpus":1,"mem":128},"exec":{"command":{"shell":"x y"}}` + more + `}]}`
	}
	pod := func(more string) string {
		return `{"id":"/p","containers":[{"name":"c","resources":{},"exec":{"command":{"shell":"x y"}},"volumeMounts":[]}]` + more + `}`
	}
	for _, c := range []struct{ body, path, text string }{
		{`{"containers":[]}`, "/id", "error.path.missing"},
		{`{"id":"/p"}`, "/containers", "error.path.missing"},
		{`{"id":"/p","containers":[]}`, "/containers", "must not be empty"},
		{`{"id":"/P_","containers":[{"name":"c","resources":{},"exec":{"command":{"shell":"x"}}}]}`, "/id", "must fully match regular expression"},
		{`{"id":"/p","containers":[{"name":"c","exec":{"command":{"shell":"x"}}}]}`, "/containers(0)/resources", "error.path.missing"},
		{`{"id":"/p","containers":[{"name":"_app","resources":{},"exec":{"command":{"shell":"x"}}}]}`, "/containers(0)/name", "must fully match"},
		{`{"id":"/p","containers":[{"name":"c","resources":{},"exec":{"command":{"shell":"x"}}},{"name":"c","resources":{},"exec":{"command":{"shell":"x"}}}]}`, "/containers", "container names must be unique"},
		{`{"id":"/p","containers":[{"name":"c","resources":{}}]}`, "/containers(0)", "must have exec"},
		{`{"id":"/p","containers":[{"name":"c","resources":{"cpus":-1},"exec":{"command":{"shell":"x"}}}]}`, "/containers(0)/resources/cpus", "got -1.0"},
		{`{"id":"/p","containers":[{"name":"c","resources":{},"exec":{"command":{"shell":"x","argv":["y"]}}}]}`, "/containers(0)/exec/command", "exactly one of shell and argv"},
		{`{"id":"/p","containers":[{"name":"c","resources":{},"exec":{"command":{"shell":"x"},"overrideEntrypoint":false}}]}`, "/containers(0)/exec/overrideEntrypoint", "shell"},
		{container(`,"resourceLimits":{"mem":64}`), "/containers(0)/resourceLimits/mem", "greater than or equal to requested resource (128.0)"},
		{container(`,"endpoints":[{"name":"a"},{"name":"a"}]`), "/", "endpoint names must be unique"},
		{container(`,"endpoints":[{"name":"a","hostPort":80},{"name":"b","hostPort":80}]`), "/", "host ports must be unique"},
		{container(`,"endpoints":[{"name":"a","containerPort":80},{"name":"b","containerPort":80}]`), "/", "container ports must be unique"},
		{container(`,"endpoints":[{"name":"A"}]`), "/containers(0)/endpoints(0)/name", "must fully match"},
		{container(`,"endpoints":[{"name":"a","hostPort":70000}]`), "/containers(0)/endpoints(0)/hostPort", "between 0 and 65535"},
		{container(`,"endpoints":[{"name":"a","protocol":["tcp","tcp"]}]`), "/containers(0)/endpoints(0)/protocol", "Duplicate protocols"},
		{container(`,"healthCheck":{"http":{"endpoint":"x"}}`), "/containers(0)/healthCheck/http/endpoint", "contained in the container endpoints"},
		{container(`,"healthCheck":{}`), "/containers(0)/healthCheck", "Only one of http, tcp, or command may be specified"},
		{container(`,"healthCheck":{"exec":{"command":{"shell":"x"}},"timeoutSeconds":60}`), "/containers(0)/healthCheck/timeoutSeconds", "less than intervalSeconds"},
		{container(`,"volumeMounts":[{"name":"v","mountPath":"m"}]`), "/containers(0)/volumeMounts(0)/name", "should exist"},
		{container(`,"lifecycle":{"killGracePeriodSeconds":-0.5}`), "/containers(0)/lifecycle/killGracePeriodSeconds", "got -0.5"},
		{container(`,"environment":{"A":{"secret":"s"}}`), "/containers(0)/environment/A", "undefined secret"},
		{container(`,"image":{"kind":"DOCKER","id":"i","pullConfig":{"secret":"s"}}`), "/containers(0)/image/pullConfig", "must refer to an existing secret"},
		{container(`,"image":{"kind":"APPC","id":"i"}`), "/containers(0)/image/kind", "error.unknown.enum.literal"},
		{container(`,"linuxInfo":{"ipcInfo":{"mode":"SHARE_PARENT","shmSize":5}}`), "/containers(0)/linuxInfo/ipcInfo/shmSize", "only allowed with mode PRIVATE"},
		{pod(`,"volumes":[{"name":"v"}]`), "/volumes(0)", "volume must be referenced by at least one container"},
		{pod(`,"volumes":[{"name":"v"},{"name":"v"}]`), "/volumes", "volume names must be unique"},
		{pod(`,"volumes":[{"name":"v","secret":"s"}]`), "/volumes(0)/secret", "volume.secret must refer to an existing secret"},
		{pod(`,"environment":{"A":{"secret":"s"}}`), "/environment/A", "undefined secret"},
		{pod(`,"networks":[{"mode":"host"},{"mode":"host"}]`), "/networks", "exactly one host network"},
		{pod(`,"networks":[{"mode":"container"}]`), "/networks(0)/name", "Network name must be specified"},
		{pod(`,"scaling":{"kind":"elastic"}`), "/scaling/kind", "error.unknown.enum.literal"},
		{pod(`,"scaling":{"kind":"fixed","instances":-1}`), "/scaling/instances", "got -1"},
		{pod(`,"scheduling":{"backoff":{"backoffFactor":0.5}}`), "/scheduling/backoff/backoffFactor", "1.0 or more"},
		{pod(`,"scheduling":{"upgrade":{"minimumHealthCapacity":2}}`), "/scheduling/upgrade/minimumHealthCapacity", "between 0.0 and 1.0"},
		{pod(`,"scheduling":{"placement":{"constraints":[{"fieldName":"hostname","operator":"NEAR"}]}}`), "/scheduling/placement/constraints(0)", "operator must be one of"},
		{pod(`,"scheduling":{"placement":{"constraints":[["hostname","UNIQUE"]]}}`), "/scheduling/placement/constraints(0)", "error.expected.jsobject"},
		{pod(`,"scheduling":{"placement":{"acceptedResourceRoles":["other"]}}`), "/scheduling/placement/acceptedResourceRoles", "can only contain * and"},
		{pod(`,"scheduling":{"unreachableStrategy":{"inactiveAfterSeconds":5}}`), "/scheduling/unreachableStrategy/inactiveAfterSeconds", "not more than expungeAfterSeconds"},
		{pod(`,"role":"dev"`), "/role", "got dev, expected one of"},
		{strings.Replace(container(`,"resourceLimits":{"mem":"unlimited"}`), `{"id"`, `{"legacySharedCgroups":true,"id"`, 1), "/containers(0)/resourceLimits", "legacySharedCgroups"},
		{strings.Replace(container(`,"endpoints":[{"name":"a","containerPort":80}]`), `{"id"`, `{"networks":[{"mode":"host"}],"id"`, 1), "/containers(0)/endpoints(0)/containerPort", "not allowed when using host-mode networking"},
		{strings.Replace(container(`,"endpoints":[{"name":"a"}]`), `{"id"`, `{"networks":[{"name":"n"}],"id"`, 1), "/containers(0)/endpoints(0)/containerPort", "required when using container-mode networking"},
		{strings.Replace(container(`,"endpoints":[{"name":"a","hostPort":0,"containerPort":1}]`), `{"id"`, `{"networks":[{"name":"n"},{"name":"m"}],"id"`, 1), "/containers(0)/endpoints(0)", "networkNames must be a single item list"},
		{strings.Replace(container(`,"volumeMounts":[{"name":"v","mountPath":"m"}]`), `{"id"`, `{"volumes":[{"name":"v","persistent":{"size":5}}],"id"`, 1), "/role", "Resident pods cannot have the role *"},
	} {
		a := s.call("POST", "/v2/pods", c.body)
		if a.status != http.StatusUnprocessableEntity || !hasViolation(a, c.path, c.text) {
			t.Errorf("%s: want %s %q, got %d %s", c.body, c.path, c.text, a.status, a.text)
		}
	}
	s.want(400, "POST", "/v2/pods", `{"id":`)
	s.want(400, "POST", "/v2/pods", "")
	s.want(422, "POST", "/v2/pods", `[]`)
}

func hasViolation(a answer, path, text string) bool {
	details, _ := a.at("details").([]any)
	for _, d := range details {
		m, _ := d.(map[string]any)
		if m["path"] != path {
			continue
		}
		errors, _ := m["errors"].([]any)
		for _, e := range errors {
			if strings.Contains(fmt.Sprint(e), text) {
				return true
			}
		}
	}
	return false
}

// TestConformance_9_2_PodEvents: pod calls and tasks of pods on the event stream.
func TestConformance_9_2_PodEvents(t *testing.T) {
	s := newStack(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stream := s.events(ctx, "")
	pod := `{"id":"/p","containers":[{"name":"c","resources":{},"exec":{"command":{"shell":"sleep 9"}}}]}`
	s.want(201, "POST", "/v2/pods", pod)
	s.run()
	s.want(200, "PUT", "/v2/pods/p", strings.Replace(pod, "sleep 9", "sleep 10", 1))
	s.want(202, "DELETE", "/v2/pods/p?force=true", "")
	for range 3 {
		s.finish()
		s.advance(time.Second)
	}
	seen := map[string]map[string]any{}
	for seen["app_terminated_event"] == nil || seen["deployment_success"] == nil || !strings.Contains(fmt.Sprint(seen["deployment_success"]["plan"]), "StopPod") {
		kind, data := readFrame(t, stream)
		var e map[string]any
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		seen[kind] = e
	}
	for _, name := range []string{"pod_created_event", "pod_updated_event", "pod_deleted_event"} {
		if e := seen[name]; e == nil || e["clientIp"] == "" || !strings.HasPrefix(fmt.Sprint(e["uri"]), "/v2/pods") || e["timestamp"] == nil {
			t.Errorf("%s: %v", name, e)
		}
	}
	if e := seen["status_update_event"]; e == nil || e["appId"] != "/p" || !strings.HasSuffix(fmt.Sprint(e["taskId"]), ".c.1") {
		t.Errorf("status_update_event %v", e)
	}
	if e := seen["app_terminated_event"]; e["appId"] != "/p" {
		t.Errorf("app_terminated_event %v", e)
	}
	if e := seen["api_post_event"]; e != nil {
		t.Errorf("api_post_event for a pod: %v", e)
	}
}
