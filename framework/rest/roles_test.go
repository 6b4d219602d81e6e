package rest

import "testing"

// TestRolesByPlace: which roles an app may have follows from where it stands (marathon.md 4.5).
func TestRolesByPlace(t *testing.T) {
	s := newStack(t)
	s.want(201, "POST", "/v2/groups", `{"id":"/free","apps":[{"id":"x","cmd":"sleep 1"},{"id":"y","cmd":"sleep 1","role":"free"}]}`)
	s.want(200, "GET", "/v2/groups/free", "").has(t, "enforceRole", "false", "apps.0.role", `"*"`, "apps.1.role", `"free"`)
	s.want(422, "POST", "/v2/apps", `{"id":"/free/z","cmd":"sleep 1","role":"other"}`).has(t, "details.0.path", `"/role"`,
		"details.0.errors", `["got other, expected one of: [*, free]"]`)
	s.want(422, "POST", "/v2/apps", `{"id":"/z","cmd":"sleep 1","role":"z"}`)

	// A group that comes with its apps in one request.
	s.want(201, "POST", "/v2/groups", `{"id":"/team","enforceRole":true,"groups":[{"id":"a","apps":[{"id":"x","cmd":"sleep 1"}]}]}`)
	s.want(200, "GET", "/v2/groups/team", "").has(t, "enforceRole", "true", "groups.0.apps.0.role", `"team"`)
	s.want(422, "POST", "/v2/apps", `{"id":"/team/z","cmd":"sleep 1","role":"*"}`).has(t, "details.0.errors", `["got *, expected one of: [team]"]`)
	s.want(201, "POST", "/v2/apps", `{"id":"/team/z","cmd":"sleep 1"}`).has(t, "role", `"team"`)
}

// TestNewGroupsEnforce is --new_group_enforce_role=top.
func TestNewGroupsEnforce(t *testing.T) {
	s := newStackWith(t, func(c *Config) { c.Rules.EnforceNewGroups = true })
	s.want(201, "POST", "/v2/apps", `{"id":"/made/by/app","cmd":"sleep 1"}`).has(t, "role", `"made"`)
	s.want(201, "POST", "/v2/groups", `{"id":"/named","apps":[{"id":"x","cmd":"sleep 1"}]}`)
	s.want(200, "PUT", "/v2/groups/above/nested", `{"apps":[{"id":"x","cmd":"sleep 1"}]}`)
	s.want(201, "POST", "/v2/groups", `{"id":"/not","enforceRole":false,"apps":[{"id":"x","cmd":"sleep 1"}]}`)
	s.want(201, "POST", "/v2/apps", `{"id":"/top","cmd":"sleep 1"}`).has(t, "role", `"*"`)
	for group, want := range map[string][2]string{"made": {"true", ""}, "named": {"true", `"named"`}, "above": {"true", ""}, "not": {"false", `"*"`}} {
		a := s.want(200, "GET", "/v2/groups/"+group, "")
		a.has(t, "enforceRole", want[0])
		if want[1] != "" {
			a.has(t, "apps.0.role", want[1])
		}
	}
	s.want(200, "GET", "/v2/groups/above", "").has(t, "groups.0.apps.0.role", `"above"`)
}
