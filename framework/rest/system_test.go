package rest

import (
	"bufio"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/repo"
)

func TestSystem(t *testing.T) {
	s := newStack(t)
	if a := s.want(200, "GET", "/ping", ""); a.text != "pong" || a.header.Get("Content-Type") != "text/plain" {
		t.Errorf("ping %q %v", a.text, a.header)
	}
	s.want(200, "GET", "/ping", "", "Accept", "application/json").has(t, "", "null")
	s.want(204, "GET", "/ping", "", "Accept", "image/png")
	a := s.want(200, "GET", "/v2/info", "")
	a.has(t, "name", `"marathon"`, "version", `"1.10.26"`, "elected", "true", "leader", `"leader:8080"`, "frameworkId", `"fw-1"`,
		"marathon_config", `{"master":"zk://x","webui_url":null}`)
	for name, want := range map[string]string{"X-Marathon-Leader": "http://leader:8080", "Cache-Control": "no-cache, no-store, must-revalidate",
		"Pragma": "no-cache", "Expires": "0", "Content-Type": "application/json"} {
		if a.header.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, a.header.Get(name), want)
		}
	}
	s.want(200, "GET", "/v2/leader", "").has(t, "leader", `"leader:8080"`)
	s.want(200, "GET", "/v2/plugins", "").has(t, "plugins", "[]")
	s.want(404, "GET", "/v2/plugins/x/y", "").has(t, "message", `"No plugin with this pluginId: x"`)
	s.want(200, "GET", "/v2/pods", "").has(t, "", "null")
	s.want(404, "GET", "/v2/pods/x::status", "").has(t, "message", `"Pod '/x' does not exist"`)
	s.want(405, "GET", "/v2/events", "")
	for _, bad := range []string{"backup=s3://bucket/key", "restore=/no/scheme", "backup=file://host/x", "restore=file:relative"} {
		a := s.want(422, "DELETE", "/v2/leader?"+bad, "")
		if text, _ := a.at("message").(string); !strings.Contains(text, "file:///absolute/path") || !strings.Contains(text, bad[:strings.IndexByte(bad, '=')]) {
			t.Errorf("%s: %s", bad, a.text)
		}
	}
	s.want(200, "DELETE", "/v2/leader?backup=file:///b.tar&restore=file:///r.tar", "")
	if want := (repo.Handover{Backup: "file:///b.tar", Restore: "file:///r.tar"}); s.left != want {
		t.Errorf("left %+v", s.left)
	}
	s.want(200, "DELETE", "/v2/leader", "").has(t, "message", `"Leadership abdicated"`)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.resigned {
		t.Error("leadership was kept")
	}
}

// TestEventStream follows a create and reads the frames byte by byte.
func TestEventStream(t *testing.T) {
	s := newStack(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r, _ := http.NewRequestWithContext(ctx, "GET", s.server.URL+"/v2/events?plan-format=light&event_type=event_stream_attached"+
		"&event_type=api_post_event&event_type=deployment_info&event_type=deployment_success&event_type=status_update_event", nil)
	r.Header.Set("Accept", "text/event-stream")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("Content-Type"); got != "text/event-stream;charset=utf-8" {
		t.Errorf("content type %q", got)
	}
	lines := bufio.NewReader(resp.Body)
	next := func(want string) string {
		t.Helper()
		var got [3]string
		for i := range got {
			if got[i], err = lines.ReadString('\n'); err != nil {
				t.Fatalf("waiting for %s: %v", want, err)
			}
		}
		if got[0] != "event: "+want+"\r\n" || !strings.HasPrefix(got[1], `data: {"eventType":"`+want+`","timestamp":"`) || got[2] != "\r\n" {
			t.Fatalf("got %q, want %s", got, want)
		}
		return got[1]
	}
	next("event_stream_attached")
	s.want(201, "POST", "/v2/apps", `{"id":"/a","cmd":"sleep 1 && true"}`)
	// The first step of a create is over at once; the order of the POST's own event among them is free.
	frames := map[string]int{}
	for range 3 {
		head, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		frames[strings.TrimSpace(strings.TrimPrefix(head, "event: "))]++
		data, _ := lines.ReadString('\n')
		if strings.Contains(data, `\u0026`) {
			t.Errorf("escaped for HTML: %s", data)
		}
		if _, err := lines.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	if frames["api_post_event"] != 1 || frames["deployment_info"] != 2 {
		t.Errorf("frames %v", frames)
	}
	s.run()
	if data := next("status_update_event"); !strings.Contains(data, `"taskStatus":"TASK_RUNNING"`) || !strings.Contains(data, `"appId":"/a"`) {
		t.Error(data)
	}
	if data := next("deployment_success"); !strings.Contains(data, `"steps":[{"actions":[{"action":"StartApplication","app":"/a"}]}`) {
		t.Error(data)
	}
	s.feed.EndAll()
	if _, err := lines.ReadByte(); err == nil {
		t.Error("the stream goes on after EndAll")
	}
}

// standby is a process that does not lead.
type standby struct{ leader string }

func (s standby) Leader() (string, bool)                      { return s.leader, false }
func (standby) Abdicate(context.Context, repo.Handover) error { return nil }

func TestStandby(t *testing.T) {
	s := newStack(t)
	s.want(201, "POST", "/v2/apps", `{"id":"/a","cmd":"sleep 1"}`)
	leader := strings.TrimPrefix(s.server.URL, "http://")
	front := func(self string, l standby) *httptest.Server {
		srv := httptest.NewServer(New(Config{Leadership: l, Self: self, LeaderWait: time.Millisecond, Rules: app.Rules{}}))
		t.Cleanup(srv.Close)
		return srv
	}
	proxy := front("standby:1", standby{leader})
	via := &stack{t: t, server: proxy}
	a := via.want(200, "GET", "/v2/apps//a?embed=app.tasks", "")
	a.has(t, "app.id", `"/a"`)
	if got := a.header.Values("X-Marathon-Via"); len(got) != 1 || got[0] != "1.1 standby:1" {
		t.Errorf("via %q", got)
	}
	if got := a.header.Values("Cache-Control"); len(got) != 1 {
		t.Errorf("headers are doubled: %q", got)
	}
	if a.header.Get("X-Marathon-Leader") == "" {
		t.Error("no X-Marathon-Leader")
	}
	via.want(409, "POST", "/v2/apps", `{"id":"/a","cmd":"sleep 1"}`)
	via.want(201, "POST", "/v2/apps", `{"id":"/b","cmd":"sleep 1"}`)
	via.want(422, "PUT", "/v2/apps/b", `{"cpus":"x"}`, "Content-Type", "")
	if a := via.want(302, "GET", "/v2/events?event_type=x", "", "Accept", "text/event-stream"); a.header.Get("Location") != "http://"+leader+"/v2/events?event_type=x" {
		t.Errorf("location %q", a.header.Get("Location"))
	}
	via.want(502, "GET", "/ping", "", "X-Marathon-Via", "1.1 other:2, 1.1 standby:1")

	none := &stack{t: t, server: front("standby:2", standby{})}
	none.want(502, "GET", "/ping", "").has(t, "message", `"Could not determine the current leader"`)
	gone := &stack{t: t, server: front("standby:3", standby{"127.0.0.1:1"})}
	gone.want(502, "GET", "/v2/info", "")
}
