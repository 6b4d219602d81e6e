package app

import (
	"slices"
	"strings"
	"testing"
)

// tree builds a root from a group body.
func tree(t *testing.T, body string) (*Group, error) {
	t.Helper()
	u, err := ReadGroupUpdate([]byte(body))
	if err != nil {
		return nil, err
	}
	g, err := u.Apply(EmptyRoot(), EmptyRoot(), Root, testRules)
	if err != nil {
		return nil, err
	}
	return Settle(EmptyRoot(), EmptyRoot().PutGroup(g, 1), 1, PortPool{10000, 20000})
}

func TestGroupUpdate(t *testing.T) {
	root, err := tree(t, `{"id":"/","groups":[{"id":"product","groups":[
		{"id":"database","apps":[{"id":"mongo","cmd":"sleep 1"},{"id":"/product/database/mysql","cmd":"sleep 1"}]},
		{"id":"service","dependencies":["/product/database"],"apps":[{"id":"rails","cmd":"sleep 1","instances":3}]}]}]}`)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for a := range root.AllApps() {
		ids = append(ids, string(a.ID))
	}
	if !slices.Equal(ids, []string{"/product/database/mongo", "/product/database/mysql", "/product/service/rails"}) {
		t.Errorf("apps %v", ids)
	}
	levels, err := Levels(root)
	if err != nil || levels["/product/service/rails"] != 2 || levels["/product/database/mysql"] != 1 {
		t.Errorf("levels %v, %v", levels, err)
	}

	// Given lists replace, absent ones stay.
	u, _ := ReadGroupUpdate([]byte(`{"groups":[{"id":"service"}]}`))
	g, err := u.Apply(root, root.Group("/product"), "/product", testRules)
	if err != nil {
		t.Fatal(err)
	}
	next := root.PutGroup(g, 2)
	if next.Group("/product/database") != nil || next.App("/product/service/rails") != root.App("/product/service/rails") {
		t.Error("subgroups are not replaced as given, or apps of a kept group changed")
	}
	scaled, err := root.Group("/product").Scale(0.5)
	if err != nil || scaled.App("/product/service/rails").Instances != 2 || scaled.App("/product/database/mongo").Instances != 1 {
		t.Errorf("scaled: %v", err)
	}
	if empty := root.RemoveGroup(Root, 9); !empty.Empty() || len(empty.Groups) != 0 {
		t.Error("removing the root left something")
	}
}

func TestGroupInvalid(t *testing.T) {
	for _, c := range []struct{ body, path, text string }{
		{`{"id":"/","apps":[{"cmd":"sleep 1"}]}`, "/apps(0)/id", "error.path.missing"},
		{`{"id":"/","apps":[{"id":"/a/b","cmd":"sleep 1"}]}`, "/apps(0)/id", "Identifier is not child of '/'"},
		{`{"id":"/","apps":[{"id":"a"}]}`, "/apps(0)", "AppDefinition must either contain"},
		{`{"id":"/","apps":[{"id":"a","cpus":"x"}]}`, "/apps(0)/cpus", "error.expected.jsnumber"},
		{`{"id":"/","groups":[{"id":"g","apps":[{"id":"A","cmd":"sleep 1"}]}]}`, "/groups(0)/apps(0)/id", "must fully match"},
		{`{"id":"/","groups":[{"id":"a"}],"apps":[{"id":"a","cmd":"sleep 1"}]}`, "/", "Groups and Applications may not have the same identifier."},
		{`{"id":"/","scaleBy":2,"apps":[]}`, "/scaleBy", "not allowed in conjunction with other properties."},
		{`{"id":"/","version":"2020-01-01T00:00:00.000Z","scaleBy":2}`, "/version", "not allowed in conjunction"},
		{`{"id":"/","groups":[{"id":"a","groups":[{"id":"b","enforceRole":true}]}]}`, "/groups(0)/groups(0)/enforceRole", "/a/b is not top-level"},
		{`{"id":"/","apps":[{"id":"a","cmd":"sleep 1","dependencies":["b"]},{"id":"b","cmd":"sleep 1","dependencies":["a"]}]}`, "/", "Dependency graph has cyclic dependencies."},
		{`{"id":"/","groups":[{"id":"g","dependencies":["/g"],"apps":[{"id":"a","cmd":"sleep 1"}]}]}`, "/", "cyclic"},
		{`{"id":"/","groups":[{"id":"g","dependencies":["/h"],"apps":[{"id":"a","cmd":"sleep 1"}]},{"id":"h","apps":[{"id":"b","cmd":"sleep 1","dependencies":["/g/a"]}]}]}`, "/", "cyclic"},
	} {
		_, err := tree(t, c.body)
		invalid, ok := err.(*Invalid)
		if !ok {
			t.Errorf("%s: got %v", c.body, err)
			continue
		}
		if !slices.ContainsFunc(invalid.Details, func(v Violation) bool {
			return v.Path == c.path && strings.Contains(strings.Join(v.Errors, "\n"), c.text)
		}) {
			t.Errorf("%s: got %+v, want %s: %s", c.body, invalid.Details, c.path, c.text)
		}
	}
}

func TestLevels(t *testing.T) {
	root, err := tree(t, `{"id":"/","apps":[
		{"id":"a","cmd":"sleep 1","dependencies":["b","c","/nowhere"]},
		{"id":"b","cmd":"sleep 1","dependencies":["c"]},
		{"id":"c","cmd":"sleep 1"},
		{"id":"d","cmd":"sleep 1"}],
		"groups":[{"id":"g","dependencies":["/a"],"apps":[{"id":"e","cmd":"sleep 1"}],"groups":[{"id":"h","apps":[{"id":"f","cmd":"sleep 1","dependencies":["../e"]}]}]}]}`)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Levels(root)
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[PathID]int{"/a": 3, "/b": 2, "/c": 1, "/d": 1, "/g/e": 4, "/g/h/f": 5} {
		if got[id] != want {
			t.Errorf("level of %s: %d, want %d", id, got[id], want)
		}
	}
}

func TestConformance_2_2_Paths(t *testing.T) {
	for _, c := range []struct{ text, base, want PathID }{
		{"a", "/", "/a"}, {"a/b", "/g", "/g/a/b"}, {"/a//b/", "/g", "/a/b"}, {"../b", "/g/h", "/g/b"},
		{"../../../b", "/g", "/b"}, {"", "/g", "/g"}, {"/", "/g", "/"}, {"./b", "/g", "/g/b"},
	} {
		if got := ParsePath(string(c.text), c.base); got != c.want {
			t.Errorf("ParsePath(%q, %q) = %q, want %q", c.text, c.base, got, c.want)
		}
	}
	if got := PathID("/a/b/c").Host(); got != "c.b.a" {
		t.Errorf("Host = %s", got)
	}
}

func TestConformance_7_1_Identifiers(t *testing.T) {
	const uuid = "c8ac1bd9-ec45-11e6-9d4e-02421c8ac1bd"
	id := NewInstanceID("/a/b", uuid)
	task := id.Task(3)
	if task != "a_b.instance-"+uuid+"._app.3" {
		t.Errorf("task id %s", task)
	}
	got, n, err := task.Parse()
	if err != nil || got != id || n != 3 {
		t.Errorf("parsed %s %d %v", got, n, err)
	}
	if p, ok := got.App(); !ok || p != "/a/b" {
		t.Errorf("app %s", p)
	}
	if got, n, err := TaskID("a_b." + uuid).Parse(); err != nil || n != 0 || got != "a_b.marathon-"+uuid {
		t.Errorf("old form: %s %d %v", got, n, err)
	}
	for _, bad := range []TaskID{"", "x", "a.instance-1._app.x", "a.instance-1._app.0", "a.instance-1._app0", "._app.1"} {
		if _, _, err := bad.Parse(); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
