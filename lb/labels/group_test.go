package labels

import (
	"encoding/json"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

func TestAssignerIsStable(t *testing.T) {
	one, two := newAssigner(10050, 10100), newAssigner(10050, 10100)
	a1, b1 := one.port("/a", 80), one.port("/b", 80)
	b2, a2 := two.port("/b", 80), two.port("/a", 80)
	if a1 != a2 || b1 != b2 || a1 == b1 {
		t.Errorf("%d %d and %d %d: the order must not matter where no hash clashes", a1, b1, a2, b2)
	}
	if again := one.port("/a", 80); again != a1 {
		t.Errorf("asked again: %d, was %d", again, a1)
	}
}

func TestAssignerUsesTheWholeRange(t *testing.T) {
	as := newAssigner(100, 119)
	seen := map[int]bool{}
	for i := range 20 {
		p := as.port(fmt.Sprintf("/app-%d", i), 80)
		if p < 100 || p > 119 || seen[p] {
			t.Fatalf("port %d of app %d is out of the range or taken", p, i)
		}
		seen[p] = true
	}
	if p := as.port("/late", 80); p != 0 {
		t.Errorf("port %d from a used up range", p)
	}
	if p := newAssigner(0, 0).port("/a", 80); p != 0 {
		t.Errorf("port %d from a range that is off", p)
	}
}

// Drained old tasks for a deployment in each phase.
func TestHowManyOldTasksDrain(t *testing.T) {
	rows := []struct {
		name                              string
		old, fresh, healthy, target, want int
		hybrid                            bool
	}{
		{"nothing healthy yet", 4, 1, 0, 4, 0, true},
		{"one healthy", 4, 1, 1, 4, 1, true},
		{"half", 4, 2, 2, 4, 2, true},
		{"all", 4, 4, 4, 4, 4, true},
		{"old already scaled down", 2, 2, 2, 4, 0, true},
		{"without the label the target is one", 4, 2, 2, 0, 2, false},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			before := App{ID: "/blue", Instances: r.old, HealthChecks: []HealthCheck{{Protocol: "TCP"}}}
			after := App{ID: "/green", Instances: r.fresh, HealthChecks: []HealthCheck{{Protocol: "TCP"}}, Labels: map[string]string{}}
			if r.hybrid {
				after.Labels[labelNew], after.Labels[labelTarget] = "0", fmt.Sprint(r.target)
			}
			for i := range r.old {
				before.Tasks = append(before.Tasks, Task{ID: fmt.Sprint("o", i), HealthCheckResults: []HealthResult{{Alive: true}}})
			}
			for i := range r.fresh {
				after.Tasks = append(after.Tasks, Task{ID: fmt.Sprint("n", i), HealthCheckResults: []HealthResult{{Alive: i < r.healthy}}})
			}
			got, problem := mergeTwo(before, after, Options{HealthCheck: true})
			drained := 0
			for _, k := range got.Tasks {
				if k.drain {
					drained++
				}
			}
			if drained != r.want || problem != nil {
				t.Errorf("%d drained, want %d; %v", drained, r.want, problem)
			}
		})
	}
}

// Whatever a label says, the other app is served, and the settings labels put no odd
// character into the service.
func TestAnyLabelValueCostsItsAppAtMost(t *testing.T) {
	keys := []string{
		"HAPROXY_GROUP", "HAPROXY_0_GROUP", "HAPROXY_0_ENABLED", "HAPROXY_0_VHOST", "HAPROXY_0_PATH", "HAPROXY_0_BACKEND_WEIGHT",
		"HAPROXY_0_PORT", "HAPROXY_0_BIND_ADDR", "HAPROXY_0_BIND_OPTIONS", "HAPROXY_0_SSL_CERT", "HAPROXY_0_MODE", "HAPROXY_0_BALANCE",
		"HAPROXY_0_STICKY", "HAPROXY_0_AUTH", "HAPROXY_0_HTTP_BACKEND_PROXYPASS_PATH", "HAPROXY_0_HTTP_BACKEND_REVPROXY_PATH",
		"HAPROXY_0_HTTP_BACKEND_REDIR", "HAPROXY_0_BACKEND_NETWORK_ALLOWED_ACL", "HAPROXY_0_BACKEND_HEALTHCHECK_PORT_INDEX",
		"HAPROXY_0_MAXCONN", "HAPROXY_0_SERVER_WEIGHT", "HAPROXY_0_TIMEOUT_SERVER", "HAPROXY_0_COMPRESSION",
		labelGroup, labelStartedAt, labelTarget, labelNew,
	}
	good := App{ID: "/zz-good", PortDefinitions: []PortDefinition{{Port: 10001}}, Tasks: []Task{{ID: "g", Host: "10.0.0.1", Ports: []int{1}}}}
	rapid.Check(t, func(t *rapid.T) {
		fuzzed := App{ID: "/fuzzed", Labels: map[string]string{}, PortDefinitions: []PortDefinition{{Port: 10000}}, Tasks: []Task{{ID: "f", Host: "10.0.0.1", Ports: []int{2}}}}
		for range rapid.IntRange(1, 6).Draw(t, "labels") {
			value := rapid.OneOf(rapid.String(), rapid.StringMatching("[a-z0-9:/. \n;\"'#{}$]{0,20}"), rapid.SampledFrom([]string{"true", "10001", "a.example.com", "-1", "1e9"}))
			fuzzed.Labels[rapid.SampledFrom(keys).Draw(t, "key")] = value.Draw(t, "value")
		}
		services, _ := Services([]App{fuzzed, good}, Options{Groups: []string{"*"}, KeepEmpty: true})
		served := false
		for _, s := range services {
			served = served || s.AppID == good.ID
			s.Templates, s.Servers = nil, nil
			if b, _ := json.Marshal(s); containsOdd(string(b)) {
				t.Fatalf("odd characters in %s", b)
			}
		}
		// Only a port that the fuzzed app took first may be missing.
		if v := fuzzed.Labels["HAPROXY_0_PORT"]; !served && v != "10001" {
			t.Fatalf("the other app is not served: %v", fuzzed.Labels)
		}
	})
}

func containsOdd(text string) bool {
	for _, odd := range []string{`\n`, `\r`, ";", `\"`, "'", "#", "`"} {
		for i := 0; i+len(odd) <= len(text); i++ {
			if text[i:i+len(odd)] == odd {
				return true
			}
		}
	}
	return false
}
