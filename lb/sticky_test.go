package lb

import (
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/lab/freeport"
	"github.com/stoa-project/stoa/lb/labels"
)

// visit asks the virtual host as a client that has the cookie, nil for none; it gives who
// answered and the cookie that the client has afterwards.
func (r *rig) visit(t *testing.T, cookie *http.Cookie) (string, *http.Cookie) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, r.http, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host, req.Close = "web.example.com", true
	if cookie != nil {
		req.AddCookie(cookie)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	name, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s, %v", res.Status, err)
	}
	for _, c := range res.Cookies() {
		if c.Name == "mesosphere_server_id" {
			cookie = c
		}
	}
	return string(name), cookie
}

// sticks asks several times with one cookie and wants one server, and the same cookie.
func (r *rig) sticks(t *testing.T, cookie *http.Cookie, want string) {
	t.Helper()
	for range 6 {
		if name, now := r.visit(t, cookie); name != want || now.Value != cookie.Value {
			t.Fatalf("the client of %s with cookie %s was answered by %s with cookie %s", want, cookie.Value, name, now.Value)
		}
	}
}

// newcomer visits without a cookie until the named server answers.
func (r *rig) newcomer(t *testing.T, want string) *http.Cookie {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		name, cookie := r.visit(t, nil)
		if cookie == nil {
			t.Fatalf("%s gave no cookie", name)
		}
		if name == want {
			return cookie
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s never answers: %+v", want, r.Status())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Servers of a sticky app come and go without a reload, and clients keep theirs, over a
// reload too.
func TestStickyServersChangeWithoutReload(t *testing.T) {
	m, dir, ports := newMarathon(t), shortDir(t), freeport.Take(t, 3)
	r := start(t, m, dir, false, ports)
	app := r.app(backend(t, "a"), backend(t, "b"), backend(t, "c"))
	app.Labels["HAPROXY_0_STICKY"] = "true"
	all, two := app, app
	two.Tasks = slices.Clone(app.Tasks[:2])
	m.set(two)
	r.answering(t, "a", "b")
	reloads, pids := r.Status().Reloads, newest(r)
	ofA := r.newcomer(t, "a")
	r.sticks(t, ofA, "a")

	m.set(all)
	ofC := r.newcomer(t, "c")
	r.sticks(t, ofC, "c")
	r.sticks(t, ofA, "a")

	without := app
	without.Tasks = []labels.Task{app.Tasks[1], app.Tasks[2]}
	m.set(without)
	deadline := time.Now().Add(10 * time.Second)
	for {
		name, moved := r.visit(t, ofA)
		if name != "a" {
			if moved.Value == ofA.Value {
				t.Errorf("a client moved from a to %s with a's cookie", name)
			}
			r.sticks(t, moved, name)
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("a still serves: %+v", r.Status())
		}
		time.Sleep(10 * time.Millisecond)
	}
	m.set(all)
	if back := r.newcomer(t, "a"); back.Value != ofA.Value {
		t.Errorf("a came back with cookie %s instead of %s", back.Value, ofA.Value)
	}
	if now := r.Status().Reloads; now != reloads || newest(r) != pids {
		t.Errorf("%d reloads became %d, processes %v %v", reloads, now, pids, r.PIDs())
	}

	r.Reload()
	for deadline := time.Now().Add(10 * time.Second); newest(r)[1] == pids[1] || newest(r)[1] == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no reload: %v", r.PIDs())
		}
	}
	r.newcomer(t, "b") // the new worker answers
	r.sticks(t, ofA, "a")
	r.sticks(t, ofC, "c")
}
