package labels

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Numbers and cookies are those that Marathon-LB gave the same names.
func TestServerIdentity(t *testing.T) {
	for name, want := range map[string]int{"0": 17068, "1": 25733, "a": 25929, "10_0_6_25_23336": 14676, "agent1_1_1_1_1_1024": 28363} {
		if got := serverID(name, map[int]bool{}); got != want {
			t.Errorf("serverID(%q) = %d, want %d", name, got, want)
		}
	}
	s, _ := servers(&App{Tasks: []Task{{Host: "agent1", Ports: []int{1024}}}}, 0, -1, Options{Addresses: map[string]string{"agent1": "1.1.1.1"}})
	if len(s) != 1 || s[0].Name != "agent1_1_1_1_1_1024" || s[0].Cookie != "d6ad48c81f" || s[0].ID != 28363 {
		t.Errorf("server %+v", s)
	}
}

// Names whose number is 0 or taken hash on; the expected ones are Marathon-LB's.
func TestServerNumbersThatClash(t *testing.T) {
	taken := map[int]bool{}
	for _, r := range []struct {
		name string
		want int
	}{{"yftjqzplpu", 28876}, {"ttccbfrdhi", 7893}, {"ilvparharq", 22002}, {"gpagkxfzou", 21805}, {"dcsfcvfolh", 20892}, {"tsqkugaath", 25675}} {
		if got := serverID(r.name, taken); got != r.want {
			t.Errorf("serverID(%q) = %d, want %d", r.name, got, r.want)
		}
	}
	for name, want := range map[string]int{"uudnntiqtd": 26825, "rghtavdepy": 5030} {
		if got := serverID(name, map[int]bool{}); got != want {
			t.Errorf("serverID(%q) = %d, want %d", name, got, want)
		}
	}
}

// app decodes an app as Marathon sends it.
func app(t *testing.T, text string) App {
	t.Helper()
	var a App
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		t.Fatal(err)
	}
	return a
}

func TestSelection(t *testing.T) {
	const tasks = `"portDefinitions":[{"port":10000}],"tasks":[{"id":"t","host":"10.0.0.1","state":"TASK_RUNNING","ports":[31000]}]`
	rows := []struct {
		name, labels string
		o            Options
		want         int
	}{
		{"group of the app", `"HAPROXY_GROUP":"external"`, Options{Groups: []string{"external"}}, 1},
		{"one of several groups", `"HAPROXY_GROUP":"a,external"`, Options{Groups: []string{"external"}}, 1},
		{"other group", `"HAPROXY_GROUP":"internal"`, Options{Groups: []string{"external"}}, 0},
		{"group of the port replaces", `"HAPROXY_GROUP":"external","HAPROXY_0_GROUP":"internal"`, Options{Groups: []string{"external"}}, 0},
		{"no group", ``, Options{Groups: []string{"external"}}, 0},
		{"star takes no group", ``, Options{Groups: []string{"*"}}, 1},
		{"disabled", `"HAPROXY_0_ENABLED":"false"`, Options{Groups: []string{"*"}}, 0},
		{"strict", ``, Options{Groups: []string{"*"}, Strict: true}, 0},
		{"strict, enabled", `"HAPROXY_0_ENABLED":"Yes"`, Options{Groups: []string{"*"}, Strict: true}, 1},
		{"itself", ``, Options{Groups: []string{"*"}, SkipApp: "web"}, 0},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			got, problems := Services([]App{app(t, `{"id":"/web","labels":{`+r.labels+`},`+tasks+`}`)}, r.o)
			if len(got) != r.want || len(problems) > 0 {
				t.Errorf("%d services, want %d; problems %v", len(got), r.want, problems)
			}
		})
	}
}

func TestWhichTasksServe(t *testing.T) {
	rows := []struct {
		name, task string
		health     bool
		want       int
	}{
		{"running", `"state":"TASK_RUNNING"`, false, 1},
		{"no state", `"id":"t"`, false, 1},
		{"lost", `"state":"TASK_LOST"`, false, 1},
		{"unreachable", `"state":"TASK_UNREACHABLE"`, false, 1},
		{"staging", `"state":"TASK_STAGING"`, false, 0},
		{"killing", `"state":"TASK_KILLING"`, false, 0},
		{"alive", `"state":"TASK_RUNNING","healthCheckResults":[{"alive":false},{"alive":true}]`, true, 1},
		{"not alive", `"state":"TASK_RUNNING","healthCheckResults":[{"alive":false}]`, true, 0},
		{"no result yet", `"state":"TASK_RUNNING"`, true, 0},
		{"null results", `"state":"TASK_RUNNING","healthCheckResults":[null]`, true, 0},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			a := app(t, `{"id":"/web","portDefinitions":[{"port":10000}],"healthChecks":[{"protocol":"HTTP","portIndex":0}],
			  "tasks":[{"host":"10.0.0.1","ports":[31000],`+r.task+`}]}`)
			s, _ := servers(&a, 0, -1, Options{HealthCheck: r.health})
			if len(s) != r.want {
				t.Errorf("%d servers, want %d", len(s), r.want)
			}
		})
	}
}

func TestPortsOfEachNetwork(t *testing.T) {
	rows := []struct{ name, app, want string }{
		{"host", `{"portDefinitions":[{"port":10000}],"tasks":[{"host":"10.0.0.1","ports":[31000]}]}`, "10000:10.0.0.1:31000"},
		{"old ports", `{"ports":[10000],"tasks":[{"host":"10.0.0.1","ports":[31000]}]}`, "10000:10.0.0.1:31000"},
		{"bridge", `{"networks":[{"mode":"container/bridge"}],"container":{"portMappings":[{"containerPort":80,"servicePort":10001}]},
		  "tasks":[{"host":"10.0.0.1","ports":[31000]}]}`, "10001:10.0.0.1:31000"},
		{"bridge of Docker", `{"container":{"docker":{"network":"BRIDGE","portMappings":[{"containerPort":80,"servicePort":10001}]}},
		  "tasks":[{"host":"10.0.0.1","ports":[31000]}]}`, "10001:10.0.0.1:31000"},
		{"container", `{"networks":[{"mode":"container","name":"n"}],"container":{"portMappings":[{"containerPort":80,"servicePort":10002}]},
		  "tasks":[{"host":"10.0.0.1","ports":[],"ipAddresses":[{"ipAddress":"172.16.0.9"}]}]}`, "10002:172.16.0.9:80"},
		{"address per task", `{"ipAddress":{"discovery":{"ports":[{"number":8080}]}},"portDefinitions":[{"port":10003}],
		  "tasks":[{"host":"10.0.0.1","ipAddresses":[{"ipAddress":"172.16.0.9"}]}]}`, "10003:172.16.0.9:8080"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			a := app(t, r.app)
			a.ID = "/a"
			got, problems := Services([]App{a}, Options{Groups: []string{"*"}})
			if len(got) != 1 || len(got[0].Servers) != 1 {
				t.Fatalf("%+v %v", got, problems)
			}
			k := got[0].Servers[0]
			if s := fmt.Sprintf("%d:%s:%d", got[0].Port, k.Addr, k.Port); s != r.want {
				t.Errorf("got %s, want %s", s, r.want)
			}
		})
	}
}

// Whatever stands in a label, other apps keep their services and nothing that could end a
// configuration line gets through.
func TestLabelsNeverHurtOthers(t *testing.T) {
	good := app(t, `{"id":"/good","portDefinitions":[{"port":10001}],"tasks":[{"host":"10.0.0.1","ports":[31000]}]}`)
	keys := []string{"GROUP", "ENABLED", "VHOST", "PATH", "BACKEND_WEIGHT", "PORT", "BIND_ADDR", "BIND_OPTIONS", "SSL_CERT", "MODE", "BALANCE", "STICKY", "AUTH", "BACKEND_NETWORK_ALLOWED_ACL"}
	rapid.Check(t, func(r *rapid.T) {
		bad := App{ID: "/bad", Labels: map[string]string{}, PortDefinitions: []PortDefinition{{Port: 10002}}, Tasks: []Task{{Host: "10.0.0.2", Ports: []int{31000}}}}
		for _, k := range keys {
			if rapid.Bool().Draw(r, "set") {
				bad.Labels["HAPROXY_0_"+k] = rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"a b;c", "x\n  server evil 1.2.3.4:1", "*.example.com", "a,b", "r:u:p", "10.0.0.0/8", "99999"})).Draw(r, k)
			}
		}
		got, _ := Services([]App{bad, good}, Options{Groups: []string{"*"}})
		if !slices.ContainsFunc(got, func(s Service) bool { return s.AppID == "/good" && len(s.Servers) == 1 }) {
			r.Fatalf("the good app is gone: %+v", got)
		}
		for _, s := range got {
			for _, text := range append([]string{s.Backend, s.BindAddr, s.BindOptions, s.SSLCert, s.Mode, s.Balance, s.Path}, s.VHosts...) {
				if strings.ContainsAny(text, "\n\r;\"'\\#") {
					r.Fatalf("%q got through", text)
				}
			}
		}
	})
}

func TestProblemsNameTheLabel(t *testing.T) {
	const tasks = `"portDefinitions":[{"port":10000}],"tasks":[{"host":"10.0.0.1","ports":[31000]}]`
	for label, value := range map[string]string{
		"HAPROXY_0_PORT": "abc", "HAPROXY_0_VHOST": "exa mple.com", "HAPROXY_0_MODE": "udp", "HAPROXY_0_AUTH": "realm:user",
		"HAPROXY_0_BACKEND_WEIGHT": "1.5", "HAPROXY_0_BACKEND_NETWORK_ALLOWED_ACL": "10.0.0.300", "HAPROXY_0_BALANCE": "roundrobin; quit",
	} {
		b, _ := json.Marshal(map[string]string{label: value})
		got, problems := Services([]App{app(t, `{"id":"/web","labels":`+string(b)+`,`+tasks+`}`)}, Options{Groups: []string{"*"}})
		if len(got) != 0 || len(problems) != 1 || problems[0].Label != label {
			t.Errorf("%s=%s: services %v, problems %v", label, value, got, problems)
		}
	}
}

func TestSecondOwnerOfAServicePortIsLeftOut(t *testing.T) {
	one := app(t, `{"id":"/one","portDefinitions":[{"port":10000}],"tasks":[{"host":"10.0.0.1","ports":[31000]}]}`)
	two := app(t, `{"id":"/two","portDefinitions":[{"port":10000}],"tasks":[{"host":"10.0.0.1","ports":[31001]}]}`)
	got, problems := Services([]App{two, one}, Options{Groups: []string{"*"}})
	if len(got) != 1 || got[0].AppID != "/one" || len(problems) != 1 || !strings.Contains(problems[0].Reason, "/one") {
		t.Errorf("services %+v, problems %v", got, problems)
	}
}

func TestKeepEmpty(t *testing.T) {
	a := app(t, `{"id":"/a","portDefinitions":[{"port":10000}],"tasks":[]}`)
	if got, _ := Services([]App{a}, Options{Groups: []string{"*"}}); len(got) != 0 {
		t.Errorf("an app without tasks has %d services, want none", len(got))
	}
	if got, _ := Services([]App{a}, Options{Groups: []string{"*"}, KeepEmpty: true}); len(got) != 1 {
		t.Errorf("with KeepEmpty: %d services, want 1", len(got))
	}
}
