package app

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// apply patches the app that the first body makes with the second.
func apply(t *testing.T, stored, patch string) (*App, *App, error) {
	t.Helper()
	cur := settled(t, stored)
	u, err := ReadUpdate([]byte(patch))
	if err != nil {
		t.Fatal(err)
	}
	next, err := u.Apply(cur, testRules, testRules.RolesAt(EmptyRoot(), cur.ID))
	return cur, next, err
}

func TestApply(t *testing.T) {
	const stored = `{"id":"/a","cmd":"sleep 1","env":{"A":"1","B":"2"},"labels":{"x":"y"},"fetch":[{"uri":"http://x/y"}],"portDefinitions":[{"port":9000,"name":"web"}]}`
	for _, c := range []struct {
		name, patch string
		kind        ChangeKind
		want        string // members of the result
	}{
		{"nothing", `{}`, Unchanged, `{"cmd":"sleep 1"}`},
		{"null keeps", `{"cmd":null,"env":null}`, Unchanged, `{"cmd":"sleep 1","env":{"A":"1","B":"2"}}`},
		{"scale", `{"instances":3}`, Scaled, `{"instances":3}`},
		{"map is replaced", `{"env":{"A":"9"}}`, ConfigChanged, `{"env":{"A":"9"}}`},
		{"label restarts", `{"labels":{}}`, ConfigChanged, `{"labels":{}}`},
		{"legacy ports", `{"ports":[9001]}`, ConfigChanged, `{"portDefinitions":[{"port":9001,"protocol":"tcp"}]}`},
		{"legacy uris", `{"uris":["http://x/z.zip"]}`, ConfigChanged, `{"fetch":[{"uri":"http://x/z.zip","extract":true,"executable":false,"cache":false}]}`},
		{"leaving host mode drops its ports", `{"networks":[{"mode":"container/bridge"}]}`, ConfigChanged, `{"networks":[{"mode":"container/bridge"}]}`},
		{"same network keeps ports", `{"networks":[{"mode":"host"}]}`, Unchanged, `{"portDefinitions":[{"port":9000,"name":"web","protocol":"tcp"}]}`},
		{"legacy docker", `{"container":{"docker":{"image":"i","network":"BRIDGE","portMappings":[{"containerPort":80}]}}}`, ConfigChanged, `{"networks":[{"mode":"container/bridge"}]}`},
		{"other id is ignored", `{"id":"/b"}`, Unchanged, `{"id":"/a"}`},
		{"executor resources alone", `{"executorResources":{"cpus":2}}`, Unchanged, `{}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			cur, next, err := apply(t, stored, c.patch)
			if err != nil {
				t.Fatal(err)
			}
			if kind := Compare(cur, next); kind != c.kind {
				t.Errorf("change kind %d, want %d", kind, c.kind)
			}
			var got, want map[string]any
			b, _ := json.Marshal(next)
			_ = json.Unmarshal(b, &got)
			if err := json.Unmarshal([]byte(c.want), &want); err != nil {
				t.Fatal(err)
			}
			for k, w := range want {
				gb, _ := json.Marshal(got[k])
				wb, _ := json.Marshal(w)
				if string(gb) != string(wb) {
					t.Errorf("%s = %s, want %s", k, gb, wb)
				}
			}
		})
	}
	if _, _, err := apply(t, stored, `{"cpus":-1}`); err == nil || !strings.Contains(err.Error(), "/cpus") {
		t.Errorf("a patch that breaks a rule gave %v", err)
	}
	u, err := ReadUpdate([]byte(`{"version":"2020-01-01T00:00:00Z","cpus":2}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.RollsBack(); err == nil || !strings.Contains(err.Error(), "may only be combined with the 'id' field") {
		t.Errorf("version with other members gave %v", err)
	}
}

func TestSettle(t *testing.T) {
	pool := PortPool{10000, 10003}
	put := func(root *Group, v Timestamp, bodies ...string) (*Group, error) {
		next := root
		for _, body := range bodies {
			u, err := ReadUpdate([]byte(body))
			if err != nil {
				t.Fatal(err)
			}
			id := ParsePath(*u.ID, Root)
			var a *App
			if cur := next.App(id); cur != nil {
				a, err = u.Apply(cur, testRules, testRules.RolesAt(root, id))
			} else {
				a, err = u.Create(id, testRules, testRules.RolesAt(root, id))
			}
			if err != nil {
				t.Fatal(err)
			}
			next = next.PutApp(a, v)
		}
		return Settle(root, next, v, pool)
	}
	must := func(root *Group, err error) *Group {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return root
	}
	ports := func(root *Group, id PathID) []int { return root.App(id).ServicePorts() }

	r1 := must(put(EmptyRoot(), 1, `{"id":"/a","cmd":"sleep 1","ports":[0,10001]}`, `{"id":"/g/b","cmd":"sleep 1"}`))
	if got := slices.Concat(ports(r1, "/a"), ports(r1, "/g/b")); !slices.Equal(got, []int{10000, 10001, 10002}) {
		t.Errorf("ports %v", got)
	}
	if v := r1.App("/a").VersionInfo; v != (VersionInfo{1, 1}) || r1.Version != 1 || r1.Group("/g").Version != 1 {
		t.Errorf("versions %+v %v", v, r1.Version)
	}
	r2 := must(put(r1, 2, `{"id":"/a","instances":5}`))
	if a := r2.App("/a"); a.Version != 2 || a.VersionInfo != (VersionInfo{2, 1}) {
		t.Errorf("after scaling %v %+v", a.Version, a.VersionInfo)
	}
	if r2.App("/g/b") != r1.App("/g/b") {
		t.Error("an untouched app was copied")
	}
	r3 := must(put(r2, 3, `{"id":"/a","cmd":"sleep 2","ports":[0,0]}`))
	if a := r3.App("/a"); a.VersionInfo != (VersionInfo{3, 3}) || !slices.Equal(ports(r3, "/a"), []int{10000, 10001}) {
		t.Errorf("after a change %+v, ports %v: an app keeps its service ports", a.VersionInfo, ports(r3, "/a"))
	}
	r4 := must(put(r3, 4, `{"id":"/a","cmd":"sleep 2"}`))
	if r4.App("/a") != r3.App("/a") || r4.Version != 4 {
		t.Error("an unchanged app got a new value or the root kept its version")
	}
	r5 := must(Settle(r4, r4, 5, pool, "/a"))
	if a := r5.App("/a"); a.Version != 5 || a.VersionInfo != (VersionInfo{3, 5}) || Compare(r4.App("/a"), a) != Unchanged {
		t.Errorf("after a restart %v %+v", a.Version, a.VersionInfo)
	}
	if _, err := put(r5, 6, `{"id":"/c","cmd":"sleep 1","ports":[0,0]}`); err == nil || !strings.Contains(err.Error(), "All ports in the range [10000-10003) are already in use") {
		t.Errorf("an exhausted pool gave %v", err)
	}
	if _, err := put(r5, 6, `{"id":"/a/x","cmd":"sleep 1"}`); err == nil || !strings.Contains(err.Error(), "may not have the same identifier") {
		t.Errorf("an app below an app gave %v", err)
	}
}
