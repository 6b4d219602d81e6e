package rest

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

const shopGroup = `{"id":"/shop","apps":[{"id":"web","cmd":"sleep 1","dependencies":["db"]},{"id":"/shop/db","cmd":"sleep 2"}],"groups":[{"id":"back","apps":[{"id":"jobs","cmd":"sleep 3"}]}]}`

// market is a stack with the group of that name at rest.
func market(t *testing.T) *stack {
	t.Helper()
	s := newStack(t)
	s.want(201, "POST", "/v2/groups", shopGroup)
	s.run()
	s.run()
	s.advance(time.Second)
	return s
}

func TestConformance_1_8_Groups(t *testing.T) {
	t.Run("GET", func(t *testing.T) {
		s := newStack(t)
		s.want(200, "GET", "/v2/groups", "").has(t, "id", `"/"`, "apps", "[]", "groups", "[]", "pods", "[]", "dependencies", "[]")
		s = market(t)
		a := s.want(200, "GET", "/v2/groups/shop", "")
		a.has(t, "id", `"/shop"`, "groups.0.id", `"/shop/back"`, "groups.0.apps.0.id", `"/shop/back/jobs"`, "pods", "[]", "enforceRole", "false", "groups.0.enforceRole", "null")
		if got := a.ids("apps"); !slices.Equal(got, []string{"/shop/db", "/shop/web"}) {
			t.Errorf("apps %v", got)
		}
		s.want(200, "GET", "/v2/groups?embed=group.groups", "").has(t, "groups.0.id", `"/shop"`, "groups.0.apps", "null", "apps", "null", "pods", "null")
		s.want(404, "GET", "/v2/groups/none", "")
	})
	t.Run("GET versions", func(t *testing.T) {
		s := market(t)
		old := s.want(200, "GET", "/v2/groups/shop/versions", "").json.([]any)
		s.want(200, "PUT", "/v2/groups/shop", `{"apps":[]}`)
		now := s.want(200, "GET", "/v2/groups/shop/versions", "").json.([]any)
		if len(now) != len(old)+1 {
			t.Errorf("versions %v, then %v", old, now)
		}
		s.want(200, "GET", "/v2/groups/shop/versions/"+old[0].(string), "").has(t, "apps.0.id", `"/shop/db"`)
		s.want(200, "GET", "/v2/groups/shop/versions/"+now[0].(string), "").has(t, "apps", "[]")
		s.want(404, "GET", "/v2/groups/none/versions", "")
		s.want(404, "GET", "/v2/groups/shop/versions/2001-01-01T00:00:00.000Z", "")
		s.want(422, "GET", "/v2/groups/shop/versions/soon", "")
	})
	t.Run("POST", func(t *testing.T) {
		s := newStack(t)
		a := s.want(201, "POST", "/v2/groups", shopGroup)
		a.isResult(t)
		if a.header.Get("Location") != "/shop" {
			t.Errorf("location %q", a.header.Get("Location"))
		}
		s.want(409, "POST", "/v2/groups", shopGroup).has(t, "message", `"Group /shop is already created. Use PUT to change this group."`)
		s.want(409, "POST", "/v2/groups", `{"apps":[]}`).has(t, "message", `"Group / is already created. Use PUT to change this group."`)
		s.want(409, "POST", "/v2/groups", `{"id":"/shop/web"}`).has(t, "message", `"An app with the path /shop/web already exists."`)
		s.want(201, "POST", "/v2/groups/shop", `{"id":"more"}`)
		s.want(200, "GET", "/v2/groups/shop/more", "")
		s.want(201, "POST", "/v2/groups/other", `{}`)
		s.want(422, "POST", "/v2/groups", `{"id":"/UP"}`)
	})
	t.Run("PUT", func(t *testing.T) {
		s := market(t)
		s.want(200, "PUT", "/v2/groups/new/below", `{"apps":[{"id":"x","cmd":"sleep 1"}]}`).isResult(t)
		s.want(200, "GET", "/v2/apps/new/below/x", "")
		s.want(409, "PUT", "/v2/groups/new/below", `{"apps":[{"id":"x","cmd":"sleep 2"}]}`)
		s.want(200, "PUT", "/v2/groups/new/below?force=true", `{"apps":[{"id":"x","cmd":"sleep 2"}]}`)
		s.want(422, "PUT", "/v2/groups/shop", `{"apps":[{"id":"/elsewhere/x","cmd":"sleep 2"}]}`)
		s.want(200, "PUT", "/v2/groups", `{"id":"/"}`).isResult(t)
	})
	t.Run("PUT dryRun", func(t *testing.T) {
		s := market(t)
		s.want(200, "PUT", "/v2/groups/shop?dryRun=true", `{"apps":[{"id":"db","cmd":"sleep 9"}]}`).
			has(t, "steps", `[{"actions":[{"action":"StopApplication","app":"/shop/web"}]},{"actions":[{"action":"RestartApplication","app":"/shop/db"}]}]`, "version", "null", "deploymentId", "null")
		s.want(200, "GET", "/v2/apps/shop/db", "").has(t, "app.cmd", `"sleep 2"`)
		s.want(200, "GET", "/v2/deployments", "").has(t, "0", "null")
	})
	t.Run("PATCH", func(t *testing.T) {
		s := market(t)
		if a := s.want(200, "PATCH", "/v2/groups/shop", `{"enforceRole":true}`); a.text != "" {
			t.Errorf("body %q", a.text)
		}
		s.want(200, "GET", "/v2/groups/shop", "").has(t, "enforceRole", "true")
		s.want(200, "GET", "/v2/deployments", "").has(t, "0", "null")
		s.want(422, "PATCH", "/v2/groups/shop/back", `{"enforceRole":true}`)
		s.want(422, "PATCH", "/v2/groups", `{"enforceRole":true}`)
		s.want(404, "PATCH", "/v2/groups/none", `{"enforceRole":true}`)
	})
	t.Run("DELETE", func(t *testing.T) {
		s := market(t)
		s.want(200, "PUT", "/v2/apps/shop/db", `{"instances":2}`)
		s.want(409, "DELETE", "/v2/groups/shop", "")
		s.want(200, "DELETE", "/v2/groups/shop?force=true", "").isResult(t)
		s.want(404, "DELETE", "/v2/groups/shop", "")
		s = market(t)
		s.want(200, "DELETE", "/v2/groups", "").isResult(t)
		s.want(200, "GET", "/v2/groups", "").has(t, "groups", "[]", "apps", "[]")
	})
}

func TestConformance_4_1_GroupUpdate(t *testing.T) {
	t.Run("apps and groups replace", func(t *testing.T) {
		s := market(t)
		s.want(200, "PUT", "/v2/groups/shop", `{"apps":[{"id":"db","cmd":"sleep 2"}]}`)
		a := s.want(200, "GET", "/v2/groups/shop", "")
		if got := a.ids("apps"); !slices.Equal(got, []string{"/shop/db"}) {
			t.Errorf("apps %v", got)
		}
		a.has(t, "groups.0.apps.0.id", `"/shop/back/jobs"`) // absent groups are kept
		s.want(200, "PUT", "/v2/groups/shop?force=true", `{"groups":[]}`)
		s.want(404, "GET", "/v2/apps/shop/back/jobs", "")
		s.want(200, "GET", "/v2/apps/shop/db", "")
	})
	t.Run("dependencies replace", func(t *testing.T) {
		s := market(t)
		s.want(200, "PUT", "/v2/groups/shop", `{"dependencies":["/base","other"]}`)
		s.want(200, "GET", "/v2/groups/shop", "").has(t, "dependencies", `["/base","/other"]`)
		s.want(200, "PUT", "/v2/groups/shop", `{"apps":[]}`)
		s.want(200, "GET", "/v2/groups/shop", "").has(t, "dependencies", `["/base","/other"]`)
		s.want(200, "PUT", "/v2/groups/shop?force=true", `{"dependencies":[]}`)
		s.want(200, "GET", "/v2/groups/shop", "").has(t, "dependencies", "[]")
	})
	t.Run("version", func(t *testing.T) {
		s := market(t)
		old := s.want(200, "GET", "/v2/groups/shop", "").at("version").(string)
		s.want(200, "PUT", "/v2/groups/shop", `{"apps":[],"groups":[]}`)
		s.want(200, "PUT", "/v2/groups/shop?force=true", `{"version":"`+old+`"}`)
		s.want(200, "GET", "/v2/apps/shop/back/jobs", "")
		s.want(422, "PUT", "/v2/groups/shop", `{"version":"`+old+`","apps":[]}`).has(t, "details.0.errors.0", `"not allowed in conjunction with other properties."`)
		s.want(422, "PUT", "/v2/groups/shop", `{"version":"2001-01-01T00:00:00.000Z"}`).has(t, "message", `"Group /shop not available in version 2001-01-01T00:00:00.000Z"`)
	})
	t.Run("scaleBy", func(t *testing.T) {
		s := market(t)
		s.want(200, "PUT", "/v2/groups/shop", `{"scaleBy":2.5}`)
		for _, id := range []string{"web", "db", "back/jobs"} {
			s.want(200, "GET", "/v2/apps/shop/"+id, "").has(t, "app.instances", "3")
		}
		s.want(422, "PUT", "/v2/groups/shop", `{"scaleBy":2,"apps":[]}`)
	})
	t.Run("enforceRole", func(t *testing.T) {
		s := market(t)
		s.want(422, "PUT", "/v2/groups/shop", `{"enforceRole":true}`)
		s.want(422, "PUT", "/v2/groups/shop/back", `{"enforceRole":true}`).
			has(t, "details.0.errors.0", `"enforceRole can only be set for top-level groups, and /shop/back is not top-level"`)
		s.want(200, "PUT", "/v2/groups/new", `{"enforceRole":true,"apps":[]}`)
		s.want(200, "GET", "/v2/groups/new", "").has(t, "enforceRole", "true")
	})
}

func TestConformance_4_2_GroupRules(t *testing.T) {
	t.Run("entries are complete definitions", func(t *testing.T) {
		s := newStack(t)
		s.want(201, "POST", "/v2/apps", `{"id":"/g/a","cmd":"sleep 1","instances":4,"labels":{"x":"y"}}`)
		s.want(200, "PUT", "/v2/groups/g?force=true", `{"apps":[{"id":"a","cmd":"sleep 1"}]}`)
		s.want(200, "GET", "/v2/apps/g/a", "").has(t, "app.instances", "1", "app.labels", "{}")
	})
	t.Run("groups come with apps and stay", func(t *testing.T) {
		s := newStack(t)
		s.want(201, "POST", "/v2/apps", `{"id":"/a/b/c","cmd":"sleep 1"}`)
		s.want(200, "GET", "/v2/groups/a/b", "").has(t, "apps.0.id", `"/a/b/c"`)
		s.want(200, "DELETE", "/v2/apps/a/b/c", "")
		s.want(200, "GET", "/v2/groups/a/b", "").has(t, "apps", "[]")
	})
	t.Run("version of the groups on the path", func(t *testing.T) {
		s := market(t)
		root := s.want(200, "PUT", "/v2/apps/shop/back/jobs", `{"instances":2}`).at("version").(string)
		s.want(200, "GET", "/v2/groups", "").has(t, "version", `"`+root+`"`, "groups.0.version", `"`+root+`"`, "groups.0.groups.0.version", `"`+root+`"`)
	})
	t.Run("deletion in one step", func(t *testing.T) {
		s := market(t)
		s.want(200, "DELETE", "/v2/groups/shop", "")
		a := s.want(200, "GET", "/v2/deployments", "")
		a.has(t, "0.totalSteps", "1")
		if actions, _ := a.at("0.steps.0.actions").([]any); len(actions) != 3 {
			t.Errorf("actions %v", actions)
		}
	})
	t.Run("group and app of one id", func(t *testing.T) {
		s := market(t)
		s.want(422, "POST", "/v2/apps", `{"id":"/shop","cmd":"sleep 1"}`).has(t, "details.0.errors.0", `"Groups and Applications may not have the same identifier."`)
		s.want(422, "PUT", "/v2/groups/shop", `{"apps":[{"id":"back","cmd":"sleep 1"}]}`)
		s.want(200, "PUT", "/v2/groups/empty", `{}`)
		s.want(201, "POST", "/v2/apps", `{"id":"/empty","cmd":"sleep 1"}`)
	})
	t.Run("unchanged PUT", func(t *testing.T) {
		s := market(t)
		before := s.want(200, "GET", "/v2/apps/shop/web", "").at("app.version").(string)
		s.want(200, "PUT", "/v2/groups", `{"groups":[`+shopGroup+`]}`).isResult(t)
		s.want(200, "GET", "/v2/apps/shop/web", "").has(t, "app.version", `"`+before+`"`, "app.deployments", "[]")
	})
	t.Run("the root's id", func(t *testing.T) {
		s := newStack(t)
		s.want(200, "PUT", "/v2/groups", `{"id":"/","groups":[{"id":"one"}]}`)
		s.want(200, "PUT", "/v2/groups", `{"groups":[{"id":"two"}]}`)
		s.want(200, "GET", "/v2/groups", "").has(t, "groups.0.id", `"/two"`, "groups.1", "null")
	})
}

// steps gives the plan of a group as lists of "action app".
func (s *stack) plan(group, body string) [][]string {
	s.t.Helper()
	a := s.want(200, "PUT", "/v2/groups"+group+"?dryRun=true", body)
	var out [][]string
	steps, _ := a.at("steps").([]any)
	for _, step := range steps {
		var actions []string
		for _, x := range step.(map[string]any)["actions"].([]any) {
			m := x.(map[string]any)
			actions = append(actions, m["action"].(string)+" "+m["app"].(string))
		}
		slices.Sort(actions)
		out = append(out, actions)
	}
	return out
}

func TestConformance_4_3_Dependencies(t *testing.T) {
	app := func(id, deps string) string {
		if deps != "" {
			deps = `,"dependencies":[` + deps + `]`
		}
		return `{"id":"` + id + `","cmd":"sleep 1"` + deps + `}`
	}
	for _, c := range []struct {
		row, body string
		order     [][]string // of the Scale steps, without the action's name
	}{
		{"app on app", `{"apps":[` + app("a", `"b"`) + `,` + app("b", "") + `]}`, [][]string{{"/g/b"}, {"/g/a"}}},
		{"app on group", `{"apps":[` + app("a", `"x"`) + `],"groups":[{"id":"x","apps":[` + app("b", "") + `,` + app("c", "") + `]}]}`, [][]string{{"/g/x/b", "/g/x/c"}, {"/g/a"}}},
		{"app on group, absolute", `{"apps":[` + app("a", `"/g/x"`) + `],"groups":[{"id":"x","apps":[` + app("b", "") + `,` + app("c", "") + `]}]}`, [][]string{{"/g/x/b", "/g/x/c"}, {"/g/a"}}},
		{"group on group", `{"groups":[{"id":"x","dependencies":["/g/y"],"apps":[` + app("a", "") + `,` + app("b", "") + `]},{"id":"y","apps":[` + app("c", "") + `,` + app("d", "") + `]}]}`,
			[][]string{{"/g/y/c", "/g/y/d"}, {"/g/x/a", "/g/x/b"}}},
		{"group on app", `{"apps":[` + app("a", "") + `],"groups":[{"id":"x","dependencies":["/g/a"],"apps":[` + app("b", "") + `]}]}`, [][]string{{"/g/a"}, {"/g/x/b"}}},
		{"inherited", `{"apps":[` + app("a", "") + `],"groups":[{"id":"x","dependencies":["/g/a"],"groups":[{"id":"y","apps":[` + app("b", "") + `]}]}]}`, [][]string{{"/g/a"}, {"/g/x/y/b"}}},
		{"unknown target", `{"apps":[` + app("a", `"/nobody"`) + `]}`, [][]string{{"/g/a"}}},
		{"independent apps", `{"apps":[` + app("a", "") + `,` + app("b", "") + `]}`, [][]string{{"/g/a", "/g/b"}}},
		{"longest path", `{"apps":[` + app("a", `"b","c"`) + `,` + app("b", `"c"`) + `,` + app("c", "") + `,` + app("d", "") + `]}`, [][]string{{"/g/c", "/g/d"}, {"/g/b"}, {"/g/a"}}},
	} {
		t.Run(c.row, func(t *testing.T) {
			got := newStack(t).plan("/g", c.body)
			if len(got) < 1 {
				t.Fatal("no plan")
			}
			got = got[1:] // the first step is the Start of all
			for i := range c.order {
				for k := range c.order[i] {
					c.order[i][k] = "ScaleApplication " + c.order[i][k]
				}
			}
			if !slices.EqualFunc(got, c.order, slices.Equal[[]string]) {
				t.Errorf("plan %v, want %v", got, c.order)
			}
		})
	}
	t.Run("cycle", func(t *testing.T) {
		newStack(t).want(422, "PUT", "/v2/groups/g", `{"apps":[`+app("a", `"b"`)+`,`+app("b", `"a"`)+`]}`).
			has(t, "details", `[{"path":"/","errors":["Dependency graph has cyclic dependencies."]}]`)
	})
}

func TestConformance_4_4_History(t *testing.T) {
	s := market(t)
	before := s.want(200, "GET", "/v2/groups/versions", "").json.([]any)
	for n := range 60 {
		s.advance(time.Second)
		s.want(200, "PUT", "/v2/apps/shop/db?force=true", fmt.Sprintf(`{"instances":%d}`, n%2)).isResult(t)
	}
	now := s.want(200, "GET", "/v2/groups/versions", "").json.([]any)
	if len(now) != 50 || slices.Contains(now, before[0]) {
		t.Errorf("%d versions kept, the oldest %v", len(now), now[len(now)-1])
	}
	if of := s.want(200, "GET", "/v2/groups/shop/versions", "").json.([]any); len(of) != 50 {
		t.Errorf("the group has %d versions", len(of))
	}
	s.want(200, "PUT", "/v2/groups/shop?force=true", fmt.Sprintf(`{"version":"%s"}`, now[len(now)-1]))
	s.want(422, "PUT", "/v2/groups/shop?force=true", fmt.Sprintf(`{"version":"%s"}`, before[0]))
}

func TestConformance_4_5_Roles(t *testing.T) {
	for _, c := range []struct {
		row, group, path, role string
		status                 int
		want                   string
	}{
		{"in the root, default", "", "/a", "", 201, `"*"`},
		{"in the root, another", "", "/a", "dev", 422, ""},
		{"not enforced, default", `{"enforceRole":false}`, "/dev/a", "", 201, `"*"`},
		{"not enforced, the group's", `{"enforceRole":false}`, "/dev/a", "dev", 201, `"dev"`},
		{"not enforced, another", `{"enforceRole":false}`, "/dev/a", "ops", 422, ""},
		{"enforced, default", `{"enforceRole":true}`, "/dev/x/a", "", 201, `"dev"`},
		{"enforced, the framework's", `{"enforceRole":true}`, "/dev/a", "*", 422, ""},
	} {
		t.Run(c.row, func(t *testing.T) {
			s := newStack(t)
			if c.group != "" {
				s.want(200, "PUT", "/v2/groups/dev", c.group)
			}
			body := `{"id":"` + c.path + `","cmd":"sleep 1"}`
			if c.role != "" {
				body = `{"id":"` + c.path + `","cmd":"sleep 1","role":"` + c.role + `"}`
			}
			a := s.want(c.status, "POST", "/v2/apps", body)
			if c.status == 201 {
				a.has(t, "role", c.want)
			} else {
				a.has(t, "details.0.path", `"/role"`)
			}
		})
	}
	t.Run("the present role stays allowed", func(t *testing.T) {
		s := newStack(t)
		s.want(200, "PUT", "/v2/groups/dev", `{"enforceRole":false}`)
		s.want(201, "POST", "/v2/apps", `{"id":"/dev/a","cmd":"sleep 1"}`)
		s.want(200, "PATCH", "/v2/groups/dev", `{"enforceRole":true}`)
		s.want(200, "PUT", "/v2/apps/dev/a?force=true", `{"instances":2}`)
		s.want(200, "GET", "/v2/apps/dev/a", "").has(t, "app.role", `"*"`)
		s.want(201, "POST", "/v2/apps", `{"id":"/dev/b","cmd":"sleep 1"}`).has(t, "role", `"dev"`)
	})
}
