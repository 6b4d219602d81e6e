package rest

import (
	"strings"
	"testing"
)

const shop = `{"id":"/shop","groups":[{"id":"db","apps":[{"id":"mongo","cmd":"sleep 1"}]},
	{"id":"front","dependencies":["/shop/db"],"apps":[{"id":"web","cmd":"sleep 1","instances":2}]}]}`

func TestGroups(t *testing.T) {
	s := newStack(t)
	s.want(200, "GET", "/v2/groups", "").has(t, "id", `"/"`, "apps", "[]", "groups", "[]", "pods", "[]", "dependencies", "[]")
	s.want(200, "PUT", "/v2/groups?dryRun=true", shop).has(t, "steps.1.actions", `[{"action":"ScaleApplication","app":"/shop/db/mongo"}]`)
	s.want(404, "GET", "/v2/groups/shop", "")

	a := s.want(201, "POST", "/v2/groups", shop)
	if a.header.Get("Location") != "/shop" || a.header.Get("Marathon-Deployment-Id") != a.at("deploymentId") {
		t.Errorf("headers %v", a.header)
	}
	s.want(200, "GET", "/v2/deployments", "").has(t, "0.steps.2.actions", `[{"action":"ScaleApplication","app":"/shop/front/web"}]`, "0.currentStep", "2")
	if got := s.run(); len(got) != 3 {
		t.Errorf("%d tasks", len(got))
	}
	s.want(200, "GET", "/v2/deployments", "").has(t, "0", "null")
	s.want(409, "POST", "/v2/groups", shop).has(t, "message", `"Group /shop is already created. Use PUT to change this group."`)
	s.want(409, "POST", "/v2/groups/shop/db", `{"id":"mongo"}`).has(t, "message", `"An app with the path /shop/db/mongo already exists."`)
	s.want(409, "POST", "/v2/groups", `{"apps":[]}`)

	s.want(200, "GET", "/v2/groups/shop", "").has(t, "groups.0.apps.0.id", `"/shop/db/mongo"`, "groups.1.dependencies", `["/shop/db"]`,
		"enforceRole", "false", "groups.0.enforceRole", "null", "groups.0.apps.0.tasksRunning", "null")
	s.want(200, "GET", "/v2/groups?embed=group.groups&embed=group.apps&embed=group.apps.counts&embed=group.apps.deployments", "").
		has(t, "groups.0.groups.1.apps.0.tasksRunning", "2", "groups.0.groups.1.apps.0.deployments", "[]", "pods", "null")
	s.want(200, "GET", "/v2/groups?embed=group.apps", "").has(t, "groups", "null", "apps", "[]")
	s.want(200, "GET", "/v2/groups/shop/apps", "").has(t, "1.id", `"/shop/front/web"`)
	first := s.want(200, "GET", "/v2/groups/shop/versions", "").at("0").(string)
	s.want(200, "GET", "/v2/groups//versions", "").has(t, "0", `"`+first+`"`)

}

func TestGroupChanges(t *testing.T) {
	s := newStack(t)
	s.want(201, "POST", "/v2/groups", shop)
	s.run()
	first := s.want(200, "GET", "/v2/groups/shop/versions", "").at("0").(string)

	// Unchanged: accepted, nothing to do.
	a := s.want(200, "PUT", "/v2/groups/shop", shop)
	if a.at("deploymentId") == nil {
		t.Error(a.text)
	}
	s.want(200, "GET", "/v2/deployments", "").has(t, "0", "null")

	s.want(200, "PUT", "/v2/groups/shop", `{"scaleBy":2}`)
	s.run()
	s.want(200, "GET", "/v2/apps/shop/front/web", "").has(t, "app.instances", "4", "app.tasksRunning", "4")
	s.want(200, "PUT", "/v2/groups/shop", `{"version":"`+first+`"}`)
	s.finish()
	s.want(200, "GET", "/v2/apps/shop/front/web", "").has(t, "app.instances", "2")
	s.want(200, "GET", "/v2/groups/shop/versions/"+first, "").has(t, "groups.1.apps.0.instances", "2")
	s.want(422, "PUT", "/v2/groups/shop", `{"version":"2000-01-01T00:00:00.000Z"}`).
		has(t, "message", `"Group /shop not available in version 2000-01-01T00:00:00.000Z"`)
	s.want(404, "GET", "/v2/groups/shop/versions/2000-01-01T00:00:00.000Z", "")

	// Subgroups that are not listed go with their apps.
	s.run()
	s.finish()
	s.want(200, "PUT", "/v2/groups/shop", `{"groups":[{"id":"db"}]}`)
	s.finish()
	s.want(404, "GET", "/v2/apps/shop/front/web", "")
	s.want(200, "GET", "/v2/apps/shop/db/mongo", "").has(t, "app.tasksRunning", "1")

	s.want(422, "PUT", "/v2/groups/shop", `{"apps":[{"id":"db","cmd":"sleep 1"}]}`).
		has(t, "details.0.path", `"/"`)
	s.want(422, "PUT", "/v2/groups/shop", `{"apps":[{"id":"/elsewhere","cmd":"sleep 1"}]}`).
		has(t, "details", `[{"path":"/apps(0)/id","errors":["Identifier is not child of '/shop'. Hint: use relative paths."]}]`)
	a = s.want(422, "PUT", "/v2/groups/shop", `{"apps":[{"id":"p","cmd":"sleep 1","dependencies":["q"]},{"id":"q","cmd":"sleep 1","dependencies":["p"]}]}`)
	if !strings.Contains(a.text, "Dependency graph has cyclic dependencies.") {
		t.Error(a.text)
	}

	s.want(200, "PATCH", "/v2/groups/shop", `{"enforceRole":true}`)
	s.want(200, "GET", "/v2/groups/shop", "").has(t, "enforceRole", "true")
	s.want(422, "PATCH", "/v2/groups/shop/db", `{"enforceRole":true}`)
	s.want(404, "PATCH", "/v2/groups/none", `{"enforceRole":true}`)
	s.want(201, "POST", "/v2/apps", `{"id":"/shop/roled","cmd":"sleep 1"}`).has(t, "role", `"shop"`)

	s.want(409, "DELETE", "/v2/groups/shop", "")
	s.want(200, "DELETE", "/v2/groups/shop?force=true", "")
	s.finish()
	s.want(404, "GET", "/v2/groups/shop", "")
	s.want(200, "DELETE", "/v2/groups", "")
	s.want(200, "GET", "/v2/groups", "").has(t, "groups", "[]")
}

func TestCancelDeployment(t *testing.T) {
	s := newStack(t)
	s.want(201, "POST", "/v2/apps", `{"id":"/a","cmd":"sleep 1"}`)
	s.run()
	id := s.want(200, "PUT", "/v2/apps/a", `{"cmd":"sleep 2"}`).at("deploymentId").(string)
	a := s.want(200, "DELETE", "/v2/deployments/"+id, "")
	if a.at("deploymentId") == id || a.at("deploymentId") == nil {
		t.Errorf("roll-back answered %s", a.text)
	}
	s.run()
	s.finish()
	s.want(200, "GET", "/v2/apps/a", "").has(t, "app.cmd", `"sleep 1"`)

	s.run()
	id = s.want(200, "PUT", "/v2/apps/a?force=true", `{"cmd":"sleep 3"}`).at("deploymentId").(string)
	if a := s.want(202, "DELETE", "/v2/deployments/"+id+"?force=true", ""); a.text != "" {
		t.Errorf("forced cancel answered %q", a.text)
	}
	s.want(200, "GET", "/v2/deployments", "").has(t, "0", "null")
	s.want(200, "GET", "/v2/apps/a", "").has(t, "app.cmd", `"sleep 3"`)
}
