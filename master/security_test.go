package master_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stoa-project/stoa/internal/auth"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
	"github.com/stoa-project/stoa/master"
	"github.com/stoa-project/stoa/master/operators"
)

// secured gives the three realms to the principals, whose secrets are their names.
func secured(readonly, readwrite, schedulers string) master.Security {
	realm := func(names string, r operators.Realm) auth.Authenticator {
		if names == "" {
			return nil
		}
		var list []auth.Credential
		for _, n := range strings.Fields(names) {
			list = append(list, auth.Credential{Principal: n, Secret: n})
		}
		return &auth.Basic{Realm: r.String(), Credentials: auth.NewCredentials(list...)}
	}
	return master.Security{Readonly: realm(readonly, operators.Readonly), Readwrite: realm(readwrite, operators.Readwrite),
		Scheduler: realm(schedulers, operators.Scheduler)}
}

// ask sends one request and gives the answer with its body.
func (m *running) ask(method, path, contentType, body string) (*http.Response, string) {
	m.t.Helper()
	req, err := http.NewRequest(method, "http://"+m.addr+path, strings.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	m.sign(req)
	resp, err := (&http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(req)
	if err != nil {
		m.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		m.t.Fatal(err)
	}
	return resp, string(text)
}

// TestRealms is rows 1 and 2 of mesos-master.md 1.2 and the realms of 5.4: each route
// asks for the principal of its own realm, under both its names, and nobody is asked at
// the open ones.
func TestRealms(t *testing.T) {
	m := startMaster(t, master.Config{Security: secured("reader both", "writer both", "fw")})
	const js, readonly, readwrite, framework = "application/json", "mesos-master-readonly", "mesos-master-readwrite", "mesos-master-scheduler"
	for _, c := range []struct {
		method, path, body, realm, good, bad string
		code                                 int // for the good one
	}{
		{"GET", "/state", "", readonly, "reader", "writer", 200},
		{"GET", "/master/state", "", readonly, "reader", "writer", 200},
		{"GET", "/master/state/", "", readonly, "reader", "writer", 200},
		{"GET", "/state.json", "", readonly, "both", "fw", 200},
		{"GET", "/slaves", "", readonly, "both", "fw", 200},
		{"GET", "/tasks", "", readonly, "both", "fw", 200},
		{"GET", "/flags", "", readonly, "reader", "", 200},
		{"GET", "/metrics/snapshot", "", readonly, "reader", "", 200},
		{"GET", "/metrics", "", readonly, "reader", "", 200},
		{"GET", "/maintenance/status", "", readonly, "reader", "", 200},
		{"GET", "/maintenance/schedule", "", readwrite, "writer", "reader", 200},
		{"GET", "/weights", "", readwrite, "writer", "reader", 200},
		{"GET", "/quota", "", readwrite, "writer", "reader", 200},
		{"POST", "/teardown", "frameworkId=x", readwrite, "writer", "reader", 400},
		{"POST", "/api/v1", `{"type":"GET_HEALTH"}`, readwrite, "writer", "reader", 200},
		{"POST", "/master/api/v1", `{"type":"GET_STATE"}`, readwrite, "both", "fw", 200},
		{"POST", "/api/v1/scheduler", `{"type":"REVIVE","framework_id":{"value":"x"}}`, framework, "fw", "writer", 400},
		{"PUT", "/api/v1/scheduler", "", framework, "fw", "", 405},
	} {
		for _, who := range []string{"", c.bad} {
			resp, body := m.by(who).ask(c.method, c.path, js, c.body)
			if resp.StatusCode != 401 || resp.Header.Get("WWW-Authenticate") != fmt.Sprintf("Basic realm=%q", c.realm) ||
				body != "401 Unauthorized." || resp.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
				t.Errorf("%s %s by %q: %s %v %q", c.method, c.path, who, resp.Status, resp.Header, body)
			}
		}
		if resp, body := m.by(c.good).ask(c.method, c.path, js, c.body); resp.StatusCode != c.code {
			t.Errorf("%s %s by %s: %s %q, want %d", c.method, c.path, c.good, resp.Status, body, c.code)
		}
	}
	for path, code := range map[string]int{"/health": 200, "/redirect": 307, "/master/redirect": 307, "/version": 200, "/system/stats.json": 200} {
		if resp, _ := m.ask("GET", path, "", ""); resp.StatusCode != code {
			t.Errorf("open %s: %s", path, resp.Status)
		}
	}
}

// TestClaimsWithoutValue is row 2: a token without a subject.
func TestClaimsWithoutValue(t *testing.T) {
	key := []byte("the key of this test")
	s := secured("", "writer", "")
	s.Readwrite = auth.Combined{s.Readwrite, &auth.JWT{Realm: operators.Readwrite.String(), Key: key}}
	m := startMaster(t, master.Config{Security: s})
	post := func(header string) (int, string) {
		req, err := http.NewRequest("POST", "http://"+m.addr+"/api/v1", strings.NewReader(`{"type":"GET_HEALTH"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		if header != "" {
			req.Header.Set("Authorization", header)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		readAll(t, resp)
		return resp.StatusCode, resp.Header.Get("WWW-Authenticate")
	}
	for claim, code := range map[string]int{"sub": 200, "fid": 403} {
		token, err := auth.Token(key, map[string]any{claim: "ops"})
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := post("Bearer " + token); got != code {
			t.Errorf("claim %s: %d, want %d", claim, got, code)
		}
	}
	if code, challenge := post(""); code != 401 || challenge != `Basic realm="mesos-master-readwrite", Bearer realm="mesos-master-readwrite"` {
		t.Errorf("nobody: %d %q", code, challenge)
	}
}

// TestFrameworkPrincipal is row 12 and the principal rules of 1.3.
func TestFrameworkPrincipal(t *testing.T) {
	m := startMaster(t, master.Config{Security: secured("", "", "alice bob")})
	resp, body := m.by("alice").post(map[string]string{"Content-Type": "application/json"}, fmt.Sprintf(subscribeJSON, `,"principal":"bob"`, ""))
	if want := "Failed to validate scheduler::Call: Authenticated principal 'alice' does not match principal 'bob' set in `FrameworkInfo`"; resp.StatusCode != 400 || body != want {
		t.Errorf("SUBSCRIBE of somebody else's framework: %s %q", resp.Status, body)
	}
	f := m.by("alice").subscribe(fmt.Sprintf(subscribeJSON, "", "")) // without a principal: it is filled in
	f.next(scheduler.Event_SUBSCRIBED)
	book, err := m.door.View(t.Context())
	if err != nil || len(book.Frameworks) != 1 || book.Frameworks[0].Info.GetPrincipal() != "alice" {
		t.Fatalf("the framework's principal: %v %v", book.Frameworks, err)
	}
	if code, text := f.call(`{"type":"REVIVE"}`); code != 202 {
		t.Errorf("its own call: %d %s", code, text)
	}
	call := fmt.Sprintf(`{"type":"REVIVE","framework_id":{"value":%q}}`, f.id)
	header := map[string]string{"Content-Type": "application/json", "Mesos-Stream-Id": f.stream}
	resp, body = m.by("bob").post(header, call)
	if want := "Authenticated principal 'bob' does not match principal 'alice' set in `FrameworkInfo`"; resp.StatusCode != 400 || body != want {
		t.Errorf("bob's call: %s %q", resp.Status, body)
	}
	f.close()
	eventually(t, "the stream is gone", func() bool {
		b, err := m.door.View(t.Context())
		return err == nil && !b.Frameworks[0].Connected
	})
	g := m.by("bob").subscribe(fmt.Sprintf(subscribeJSON, `,"id":{"value":"`+f.id+`"}`, `,"framework_id":{"value":"`+f.id+`"}`))
	if why := g.next(scheduler.Event_ERROR).GetError().GetMessage(); !strings.Contains(why, "principal") {
		t.Errorf("taking over a framework of another principal: %q", why)
	}
	g.ended()
}
