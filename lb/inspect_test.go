package lb

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/lab/freeport"
	"github.com/stoa-project/stoa/lb/labels"
)

// inspected gives a load balancer that only looks.
func inspected(t *testing.T, apps ...labels.App) *LB {
	t.Helper()
	m := newMarathon(t)
	m.set(apps...)
	cfg := testConfig(m, shortDir(t), freeport.Take(t, 3))
	b, err := New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func twoApps(t *testing.T) []labels.App {
	task := labels.Task{ID: "t", Host: "10.0.0.1", State: "TASK_RUNNING", Ports: []int{31000}}
	app := func(id string, port int, more ...string) labels.App {
		a := labels.App{ID: id, PortDefinitions: []labels.PortDefinition{{Port: port}}, Tasks: []labels.Task{task}, Labels: map[string]string{"HAPROXY_GROUP": "external"}}
		for i := 0; i < len(more); i += 2 {
			a.Labels[more[i]] = more[i+1]
		}
		return a
	}
	return []labels.App{
		app("/a", 10001, "HAPROXY_0_VHOST", "a.example.com", "HAPROXY_0_PATH", "/x", "HAPROXY_0_STICKY", "true", "HAPROXY_0_BACKEND_HEAD", "backend {backend}\n  balance first\n  mode {mode}\n"),
		app("/b", 10002),
	}
}

func TestRenderOfOneAppShowsTheLabels(t *testing.T) {
	b := inspected(t, twoApps(t)...)
	var out bytes.Buffer
	if err := b.Print(t.Context(), &out, "/a"); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	for _, want := range []string{
		"# HAPROXY_BACKEND_HEAD because of HAPROXY_0_BACKEND_HEAD\nbackend a_10001\n  balance first\n",
		"because of HAPROXY_0_STICKY\n  cookie ",
		"because of HAPROXY_0_VHOST",
		"# HAPROXY_BACKEND_SERVER_OPTIONS\n  server 10_0_0_1_31000 10.0.0.1:31000 ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if strings.Contains(text, "b_10002") || strings.Contains(text, "global") {
		t.Errorf("other lines than the app's:\n%s", text)
	}
	if err := b.Print(t.Context(), &out, "/none"); fault.KindOf(err) != fault.NotFound {
		t.Errorf("an app that there is not: %v", err)
	}
	out.Reset()
	if err := b.Print(t.Context(), &out, ""); err != nil || !strings.Contains(out.String(), "backend b_10002") || !strings.HasPrefix(out.String(), "global\n") {
		t.Errorf("%v, all of it:\n%s", err, out.String())
	}
}

func TestLintNamesLabelAndLine(t *testing.T) {
	apps := twoApps(t)
	var out bytes.Buffer
	if err := inspected(t, apps...).Lint(t.Context(), &out); err != nil || out.String() != "2 services, nothing found\n" {
		t.Errorf("good apps: %v %q", err, out.String())
	}
	apps[0].Labels["HAPROXY_0_MODE"] = "smtp"                    // ours to find
	apps[1].Labels["HAPROXY_0_BIND_OPTIONS"] = "accept-nonsense" // HAProxy's to find
	out.Reset()
	err := inspected(t, apps...).Lint(t.Context(), &out)
	if fault.KindOf(err) != fault.Conflict || strings.Count(out.String(), "\n") != 2 || !strings.Contains(out.String(), "/a port index 0 label HAPROXY_0_MODE: ") || !strings.Contains(out.String(), "accept-nonsense") {
		t.Errorf("wrong apps: %v\n%s", err, out.String())
	}
}
