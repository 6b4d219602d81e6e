package acl

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stoa-project/stoa/internal/fault"
)

func parse(t *testing.T, text string) *List {
	t.Helper()
	l, warnings, err := Parse([]byte(text))
	if err != nil || len(warnings) > 0 {
		t.Fatalf("%s: %v %v", text, err, warnings)
	}
	return l
}

func TestFirstMatchDecides(t *testing.T) {
	const any = `{"type":"ANY"}`
	for _, c := range []struct {
		name, file        string
		principal, object string
		action            Action
		want              bool
	}{
		{"no rules", `{}`, "a", "r", RegisterFramework, true},
		{"no rules, strict", `{"permissive":false}`, "a", "r", RegisterFramework, false},
		{"named", `{"permissive":false,"run_tasks":[{"principals":{"values":["a"]},"users":{"values":["u","v"]}}]}`, "a", "v", RunTask, true},
		{"other object", `{"permissive":false,"run_tasks":[{"principals":{"values":["a"]},"users":{"values":["u"]}}]}`, "a", "w", RunTask, false},
		{"other principal", `{"permissive":false,"run_tasks":[{"principals":{"values":["a"]},"users":` + any + `}]}`, "b", "u", RunTask, false},
		{"other action", `{"run_tasks":[{"principals":` + any + `,"users":{"type":"NONE"}}]}`, "b", "u", ViewTask, true},
		{"none object denies", `{"run_tasks":[{"principals":{"values":["a"]},"users":{"type":"NONE"}}]}`, "a", "u", RunTask, false},
		{"none subject denies", `{"run_tasks":[{"principals":{"type":"NONE"},"users":{"values":["root"]}}]}`, "a", "root", RunTask, false},
		{"none subject says nothing of others", `{"run_tasks":[{"principals":{"type":"NONE"},"users":{"values":["root"]}}]}`, "a", "u", RunTask, true},
		{"first wins", `{"run_tasks":[{"principals":{"values":["a"]},"users":` + any + `},{"principals":` + any + `,"users":{"type":"NONE"}}]}`, "a", "u", RunTask, true},
		{"second for others", `{"run_tasks":[{"principals":{"values":["a"]},"users":` + any + `},{"principals":` + any + `,"users":{"type":"NONE"}}]}`, "b", "u", RunTask, false},
		{"nobody is not named", `{"permissive":false,"run_tasks":[{"principals":{"values":["a"]},"users":` + any + `}]}`, "", "u", RunTask, false},
		{"nobody is any", `{"permissive":false,"run_tasks":[{"principals":` + any + `,"users":` + any + `}]}`, "", "u", RunTask, true},
		{"unnamed object is any", `{"permissive":false,"teardown_frameworks":[{"principals":{"values":["a"]},"framework_principals":{"values":["p"]}}]}`, "a", "", TeardownFramework, false},
		{"type SOME", `{"permissive":false,"view_roles":[{"principals":{"type":"SOME","values":["a"]},"roles":{"type":"SOME","values":["r"]}}]}`, "a", "r", ViewRole, true},
		{"empty list names nobody", `{"permissive":false,"view_roles":[{"principals":{"values":[]},"roles":` + any + `}]}`, "a", "r", ViewRole, false},
		{"below a role", `{"permissive":false,"view_roles":[{"principals":` + any + `,"roles":{"values":["eng/%"]}}]}`, "a", "eng/dev", ViewRole, true},
		{"far below a role", `{"permissive":false,"view_roles":[{"principals":` + any + `,"roles":{"values":["x","eng/%"]}}]}`, "a", "eng/dev/ci", ViewRole, true},
		{"not the role itself", `{"permissive":false,"view_roles":[{"principals":` + any + `,"roles":{"values":["eng/%"]}}]}`, "a", "eng", ViewRole, false},
		{"not a namesake", `{"permissive":false,"view_roles":[{"principals":` + any + `,"roles":{"values":["eng/%"]}}]}`, "a", "engine/x", ViewRole, false},
		{"users have no levels", `{"permissive":false,"run_tasks":[{"principals":` + any + `,"users":{"values":["eng/%"]}}]}`, "a", "eng/dev", RunTask, false},
		{"cluster action", `{"drain_agents":[{"principals":{"values":["op"]},"agents":` + any + `},{"principals":` + any + `,"agents":{"type":"NONE"}}]}`, "op", "S1", DrainAgent, true},
		{"cluster action of others", `{"drain_agents":[{"principals":{"values":["op"]},"agents":` + any + `},{"principals":` + any + `,"agents":{"type":"NONE"}}]}`, "x", "S1", DrainAgent, false},
		{"nobody and a rule for one", `{"drain_agents":[{"principals":{"values":["op"]},"agents":{"type":"NONE"}}]}`, "", "", DrainAgent, true},
	} {
		if got := parse(t, c.file).Allows(c.principal, c.action, c.object); got != c.want {
			t.Errorf("%s: %q may %s %q: %v, want %v\n%s", c.name, c.principal, c.action, c.object, got, c.want, c.file)
		}
	}
	if !(*List)(nil).Allows("", RunTask, "root") || !(*List)(nil).Unlimited("", RunTask) {
		t.Error("no list must allow everything")
	}
}

func TestAllOfSeveral(t *testing.T) {
	l := parse(t, `{"permissive":false,"register_frameworks":[{"principals":{"values":["a"]},"roles":{"values":["x","y"]}}]}`)
	for _, c := range []struct {
		objects []string
		want    bool
	}{{[]string{"x"}, true}, {[]string{"x", "y"}, true}, {[]string{"x", "z"}, false}, {nil, false}} {
		if got := l.AllowsAll("a", RegisterFramework, c.objects); got != c.want {
			t.Errorf("%v: %v", c.objects, got)
		}
	}
}

// Every action of the contract parses, with its own field, and is asked about.
func TestEveryAction(t *testing.T) {
	if len(actions) != 54 {
		t.Errorf("%d actions; the contract's table has 54", len(actions))
	}
	for a, d := range actions {
		l := parse(t, `{"`+string(a)+`":[{"principals":{"values":["x"]},"`+d.field+`":{"type":"NONE"}}]}`)
		if l.Allows("x", a, "") || !l.Allows("y", a, "") {
			t.Errorf("%s does not follow its rule", a)
		}
		_, _, err := Parse([]byte(`{"` + string(a) + `":[{"principals":{"type":"ANY"},"` + d.field + `":{"values":["v"]}}]}`))
		if (err != nil) != (d.kind == cluster || a == GetEndpoint) {
			t.Errorf("%s with values: %v", a, err)
		}
	}
}

func TestRefusedFiles(t *testing.T) {
	for _, c := range []struct {
		file, want string
		kind       fault.Kind
	}{
		{`{`, "EOF", fault.Malformed},
		{`{} {}`, "follows", fault.Malformed},
		{`[]`, "array", fault.Malformed},
		{`{"permissive":"no"}`, "permissive: it must be true or false", fault.Invalid},
		{`{"run_tasks":{}}`, "run_tasks: it must be a list", fault.Invalid},
		{`{"run_tasks":[{"users":{"type":"ANY"}}]}`, "run_tasks[0].principals: it is missing", fault.Invalid},
		{`{"run_tasks":[{"principals":{"type":"ANY"},"roles":{"type":"ANY"}}]}`, "run_tasks[0].users: it is missing", fault.Invalid},
		{`{"run_tasks":[{"principals":{"type":"ALL"},"users":{"type":"ANY"}}]}`, `type "ALL" is not one of`, fault.Invalid},
		{`{"run_tasks":[{"principals":["a"],"users":{"type":"ANY"}}]}`, "run_tasks[0].principals: it must be", fault.Invalid},
		{`{"view_flags":[{"principals":{"type":"ANY"},"flags":{"values":["zk"]}}]}`, "ANY or NONE", fault.Invalid},
		{`{"get_endpoints":[{"principals":{"type":"ANY"},"paths":{"values":["/state"]}}]}`, `"/state" is not an authorizable path`, fault.Invalid},
	} {
		_, _, err := Parse([]byte(c.file))
		if err == nil || !strings.Contains(err.Error(), c.want) || fault.KindOf(err) != c.kind {
			t.Errorf("%s: %v (%v), want %q", c.file, err, fault.KindOf(err), c.want)
		}
	}
}

func TestUnknownKeysAreWarnedAbout(t *testing.T) {
	_, warnings, err := Parse([]byte(`{"run_task":[],"shutdown_frameworks":[1],"permissive":true}`))
	if err != nil || len(warnings) != 2 || !strings.Contains(warnings[0], `"run_task" is no action`) || !strings.Contains(warnings[1], `"teardown_frameworks" now`) {
		t.Errorf("%q %v", warnings, err)
	}
}

// Unlimited never says yes where some object is refused.
func TestUnlimitedAgreesWithAllows(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	entities := []string{`{"type":"ANY"}`, `{"type":"NONE"}`, `{"values":["a"]}`, `{"values":["b","a/%"]}`}
	objects := []string{"", "a", "b", "a/b", "c"}
	yes := 0
	for range 3000 {
		var rules []string
		for range random.IntN(4) {
			rules = append(rules, `{"principals":`+entities[random.IntN(3)]+`,"roles":`+entities[random.IntN(4)]+`}`)
		}
		file := `{"permissive":` + []string{"true", "false"}[random.IntN(2)] + `,"view_roles":[` + strings.Join(rules, ",") + `]}`
		l := parse(t, file)
		for _, who := range []string{"", "a", "b"} {
			if !l.Unlimited(who, ViewRole) {
				continue
			}
			yes++
			for _, o := range objects[1:] {
				if !l.Allows(who, ViewRole, o) {
					t.Fatalf("seed %d: %q is unlimited but may not view %q: %s", seed, who, o, file)
				}
			}
		}
	}
	if yes == 0 {
		t.Error("nothing was unlimited: the test shows nothing")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"permissive":false,"view_roles":[{"principals":{"type":"ANY"},"roles":{"values":["a/%"]}}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if l, _, err := Parse(text); err == nil {
			l.Allows("a", ViewRole, "a/b")
			l.Unlimited("", RunTask)
		}
	})
}
