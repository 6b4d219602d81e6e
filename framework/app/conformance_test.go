package app

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// shows gives the JSON of one member of the app that a body makes, "" when it is not there.
func shows(t *testing.T, body, key string) string {
	t.Helper()
	b, err := json.Marshal(settled(t, body))
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]json.RawMessage
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	return string(m[key])
}

// TestConformance_2_1_Fields goes through the fields: what is shown when nothing is given,
// when an empty value is, and when a value is.
func TestConformance_2_1_Fields(t *testing.T) {
	for _, c := range []struct{ field, unset, empty, emptyShown, given, shown string }{
		{"acceptedResourceRoles", "", "", "", `["*"]`, `["*"]`},
		{"backoffFactor", "1.15", "", "", "2", "2"},
		{"backoffSeconds", "1", "0", "0", "5", "5"},
		{"maxLaunchDelaySeconds", "300", "0", "0", "60", "60"},
		{"constraints", "", "[]", "", `[["hostname","like","a.*"]]`, `[["hostname","LIKE","a.*"]]`},
		{"container", "", "", "", `{"type":"MESOS"}`, `{"type":"MESOS","volumes":[]}`},
		{"cpus", "1", "0", "0", "0.25", "0.25"},
		{"mem", "128", "0", "0", "64", "64"},
		{"disk", "0", "0", "0", "10", "10"},
		{"gpus", "0", "0", "0", "", ""},
		{"dependencies", "", "[]", "", `["/b"]`, `["/b"]`},
		{"env", "", "{}", "", `{"A":"1"}`, `{"A":"1"}`},
		{"executor", `""`, `""`, `""`, `"//cmd"`, `"//cmd"`},
		{"fetch", "", "[]", "", `[{"uri":"http://x/y"}]`, `[{"uri":"http://x/y","extract":true,"executable":false,"cache":false}]`},
		{"healthChecks", "", "[]", "", `[{"protocol":"TCP"}]`,
			`[{"delaySeconds":15,"gracePeriodSeconds":300,"intervalSeconds":60,"ipProtocol":"IPv4","maxConsecutiveFailures":3,"portIndex":0,"protocol":"TCP","timeoutSeconds":20}]`},
		{"instances", "1", "0", "0", "7", "7"},
		{"killSelection", `"YOUNGEST_FIRST"`, "", "", `"OLDEST_FIRST"`, `"OLDEST_FIRST"`},
		{"labels", "{}", "{}", "{}", `{"a":"b"}`, `{"a":"b"}`},
		{"networks", `[{"mode":"host"}]`, "[]", `[{"mode":"host"}]`, `[{"mode":"container/bridge"}]`, `[{"mode":"container/bridge"}]`},
		{"portDefinitions", `[{"name":"default","port":10000,"protocol":"tcp"}]`, "[]", "[]", `[{"port":9000}]`, `[{"port":9000,"protocol":"tcp"}]`},
		{"requirePorts", "false", "false", "false", "true", "true"},
		{"readinessChecks", "", "[]", "", `[{"portName":"default"}]`,
			`[{"httpStatusCodesForReady":[200],"intervalSeconds":30,"name":"readinessCheck","path":"/","portName":"default","preserveLastResponse":false,"protocol":"HTTP","timeoutSeconds":10}]`},
		{"resourceLimits", "", "", "", `{"cpus":"unlimited","mem":512}`, `{"cpus":"unlimited","mem":512}`},
		{"role", `"*"`, "", "", `"*"`, `"*"`},
		{"taskKillGracePeriodSeconds", "", "0", "0", "3", "3"},
		{"tty", "", "false", "false", "true", "true"},
		{"unreachableStrategy", `{"inactiveAfterSeconds":0,"expungeAfterSeconds":0}`, "{}", `{"inactiveAfterSeconds":0,"expungeAfterSeconds":0}`, `"disabled"`, `"disabled"`},
		{"upgradeStrategy", `{"maximumOverCapacity":1,"minimumHealthCapacity":1}`, "{}", `{"maximumOverCapacity":1,"minimumHealthCapacity":1}`, `{"minimumHealthCapacity":0.5}`, `{"maximumOverCapacity":1,"minimumHealthCapacity":0.5}`},
		{"user", "", "", "", `"joe"`, `"joe"`},
		{"args", "", "[]", "", "", ""},
		// Never shown.
		{"ports", "", "[]", "", "[8080]", ""}, {"uris", "", "[]", "", `["http://x/y"]`, ""}, {"ipAddress", "", "", "", `{"networkName":"n"}`, ""},
		{"storeUrls", "", "[]", "", `["x"]`, ""}, {"deployments", "", "[]", "", `[{"id":"x"}]`, ""}, {"tasksRunning", "", "0", "", "4", ""},
		// Ignored on input.
		{"version", `"2021-01-01T00:00:00.000Z"`, "", "", `"1999-01-01T00:00:00.000Z"`, `"2021-01-01T00:00:00.000Z"`},
		{"versionInfo", `{"lastScalingAt":"2021-01-01T00:00:00.000Z","lastConfigChangeAt":"2021-01-01T00:00:00.000Z"}`, "", "", `{"lastScalingAt":"1999-01-01T00:00:00.000Z"}`,
			`{"lastScalingAt":"2021-01-01T00:00:00.000Z","lastConfigChangeAt":"2021-01-01T00:00:00.000Z"}`},
	} {
		for _, each := range []struct{ value, want string }{{"", c.unset}, {"null", c.unset}, {c.empty, c.emptyShown}, {c.given, c.shown}} {
			body := `{"id":"/a","cmd":"sleep 1"}`
			if each.value != "" {
				body = `{"id":"/a","cmd":"sleep 1","` + c.field + `":` + each.value + `}`
			} else if each.want != c.unset {
				continue
			}
			if got := shows(t, body, c.field); got != each.want {
				t.Errorf("%s given as %q is shown as %s, want %s", c.field, each.value, got, each.want)
			}
		}
	}
}

// refused tells why a body is refused, by path.
func refused(t *testing.T, body string) map[string]string {
	t.Helper()
	out := map[string]string{}
	if invalid, ok := create(body).(*Invalid); ok {
		for _, d := range invalid.Details {
			out[d.Path] = strings.Join(d.Errors, "; ")
		}
	}
	return out
}

func TestConformance_2_1_WhatToRun(t *testing.T) {
	const docker = `,"container":{"type":"DOCKER","docker":{"image":"i"}}`
	for body, at := range map[string]string{
		`"cmd":"ab"`: "", `"args":["a"]`: "", `"container":{"docker":{"image":"i"}}`: "", `"cmd":"ab"` + docker: "", `"args":["a"]` + docker: "",
		`"cmd":"a"`: "/cmd", `"cmd":""`: "/cmd", `"cmd":""` + docker: "/cmd", `"cmd":"ab","args":["a"]`: "/", `"cpus":1`: "/", `"container":{"type":"MESOS"}`: "/", `"args":[]`: "/",
	} {
		got := refused(t, `{"id":"/a",`+body+`}`)
		if _, there := got[at]; (len(got) == 0) != (at == "") || at != "" && !there {
			t.Errorf("%s: %v, want a refusal at %q", body, got, at)
		}
	}
	if text := refused(t, `{"id":"/a","cmd":"x"}`)["/cmd"]; text != "must not be an empty string" {
		t.Errorf("%q", text)
	}
}

func TestConformance_2_1_Sets(t *testing.T) {
	a := settled(t, `{"id":"/a","cmd":"sleep 1","healthChecks":[{"path":"/x"},{"path":"/x"},{"path":"/y"}],"constraints":[["a","UNIQUE"],["a","UNIQUE"]],"dependencies":["/b","b"]}`)
	if len(a.HealthChecks) != 2 || len(a.Constraints) != 1 || len(a.Dependencies) != 1 {
		t.Errorf("%+v %+v %+v", a.HealthChecks, a.Constraints, a.Dependencies)
	}
}

func TestConformance_2_2_Ids(t *testing.T) {
	for id, ok := range map[string]bool{
		"/a": true, "/a-b/c.d": true, "/1/2": true, "a": true, "/a.b-c.d": true, "/tasks/a": true,
		"/A": false, "/a_b": false, "/-a": false, "/a-": false, "/a/.b": false, "/a b": false, "/": false, "/a/restart": false, "/a/tasks": false, "/a/versions": false,
	} {
		if got := refused(t, `{"id":"`+id+`","cmd":"sleep 1"}`); (len(got) == 0) != ok || !ok && got["/id"] == "" {
			t.Errorf("%s: %v", id, got)
		}
	}
	if text := refused(t, `{"id":"/A","cmd":"sleep 1"}`)["/id"]; !strings.HasPrefix(text, "must fully match regular expression ") {
		t.Errorf("%q", text)
	}
	a := settled(t, `{"id":"g/../h//a/","cmd":"sleep 1","dependencies":["b","../x","/y/"]}`)
	if a.ID != "/h/a" || !slices.Equal(a.Dependencies, []PathID{"/h/b", "/x", "/y"}) {
		t.Errorf("%s depends on %v", a.ID, a.Dependencies)
	}
}

func TestConformance_2_5_Networking(t *testing.T) {
	const nets = `{"id":"/a","cmd":"sleep 1","networks":`
	for body, at := range map[string]string{
		nets + `[{"mode":"host"}]}`: "", nets + `[{"mode":"container/bridge"}]}`: "", nets + `[{"name":"x"}]}`: "", nets + `[{"name":"x"},{"name":"y"}]}`: "",
		nets + `[{"mode":"host"},{"mode":"host"}]}`: "/networks", nets + `[{"mode":"host"},{"name":"x"}]}`: "/networks", nets + `[{"name":"x"},{"name":"x"}]}`: "/networks",
		nets + `[{"mode":"container"}]}`: "/networks(0)/name", nets + `[{"mode":"host","name":"x"}]}`: "/networks(0)/name", nets + `[{"mode":"container/bridge","name":"x"}]}`: "/networks(0)/name",
		nets + `[{"mode":"host","labels":{"a":"b"}}]}`:                                                                                   "/networks(0)/labels",
		nets + `[{"name":"x"},{"name":"y"}],"container":{"type":"MESOS","portMappings":[{"hostPort":0}]}}`:                               "/container/portMappings(0)",
		nets + `[{"name":"x"},{"name":"y"}],"container":{"type":"MESOS","portMappings":[{"hostPort":0,"networkNames":["x"]}]}}`:          "",
		nets + `[{"name":"x"}],"container":{"type":"MESOS","portMappings":[{"networkNames":["z"]}]}}`:                                    "/container/portMappings(0)/networkNames(0)",
		nets + `[{"name":"x"}],"portDefinitions":[{"port":1}]}`:                                                                          "/portDefinitions",
		nets + `[{"mode":"container/bridge"}],"container":{"type":"MESOS","portMappings":[{"containerPort":65536}]}}`:                    "/container/portMappings(0)/containerPort",
		nets + `[{"mode":"container/bridge"}],"container":{"type":"MESOS","portMappings":[{"name":"x"},{"name":"x"}]}}`:                  "/container/portMappings",
		nets + `[{"mode":"container/bridge"}],"container":{"type":"MESOS","portMappings":[{"name":"` + strings.Repeat("x", 64) + `"}]}}`: "/container/portMappings(0)/name",
		nets + `[{"mode":"container/bridge"}],"container":{"type":"MESOS","portMappings":[{"protocol":"sctp"}]}}`:                        "/container/portMappings(0)/protocol",
		`{"id":"/a","cmd":"sleep 1","portDefinitions":[{"port":9000},{"port":9000}]}`:                                                    "/portDefinitions",
	} {
		got := refused(t, body)
		if _, there := got[at]; (len(got) == 0) != (at == "") || at != "" && !there {
			t.Errorf("%s: %v, want a refusal at %q", body, got, at)
		}
	}
	for given, want := range map[string]string{`"tcp"`: "tcp", `"udp"`: "udp", `"udp,tcp"`: "udp,tcp", `"tcp,udp"`: "udp,tcp", "null": "tcp"} {
		if got := settled(t, `{"id":"/a","cmd":"sleep 1","portDefinitions":[{"protocol":`+given+`}]}`).PortDefinitions[0].Protocol; got != want {
			t.Errorf("protocol %s becomes %s", given, got)
		}
	}
}

// TestConformance_2_9_WhatRestarts changes every field that is compared, one at a time.
func TestConformance_2_9_WhatRestarts(t *testing.T) {
	const stored = `{"id":"/a","cmd":"sleep 1"}`
	for patch, kind := range map[string]ChangeKind{
		`{"cmd":"sleep 2"}`: ConfigChanged, `{"user":"x"}`: ConfigChanged, `{"env":{"A":"1"}}`: ConfigChanged, `{"cpus":2}`: ConfigChanged, `{"mem":2}`: ConfigChanged,
		`{"disk":2}`: ConfigChanged, `{"executor":"//cmd"}`: ConfigChanged, `{"constraints":[["hostname","UNIQUE"]]}`: ConfigChanged, `{"fetch":[{"uri":"x"}]}`: ConfigChanged,
		`{"portDefinitions":[]}`: ConfigChanged, `{"requirePorts":true}`: ConfigChanged, `{"backoffSeconds":9}`: ConfigChanged, `{"backoffFactor":9}`: ConfigChanged,
		`{"maxLaunchDelaySeconds":9}`: ConfigChanged, `{"container":{"type":"MESOS"}}`: ConfigChanged, `{"healthChecks":[{}]}`: ConfigChanged,
		`{"check":{"tcp":{"port":80}}}`: ConfigChanged, `{"readinessChecks":[{"portName":"default"}]}`: ConfigChanged, `{"taskKillGracePeriodSeconds":1}`: ConfigChanged,
		`{"dependencies":["/b"]}`: ConfigChanged, `{"upgradeStrategy":{"minimumHealthCapacity":0}}`: ConfigChanged, `{"labels":{"a":"b"}}`: ConfigChanged,
		`{"acceptedResourceRoles":["*"]}`: ConfigChanged, `{"networks":[{"mode":"container/bridge"}]}`: ConfigChanged, `{"unreachableStrategy":"disabled"}`: ConfigChanged,
		`{"killSelection":"OLDEST_FIRST"}`: ConfigChanged, `{"tty":true}`: ConfigChanged, `{"resourceLimits":{"mem":"unlimited"}}`: ConfigChanged,
		`{"instances":2}`: Scaled, `{}`: Unchanged, `{"versionInfo":{}}`: Unchanged, `{"cmd":"sleep 1"}`: Unchanged,
	} {
		cur, next, err := apply(t, stored, patch)
		if err != nil {
			t.Errorf("%s: %v", patch, err)
			continue
		}
		if got := Compare(cur, next); got != kind {
			t.Errorf("%s: kind of change %d, want %d", patch, got, kind)
		}
	}
}

func TestConformance_2_12_ReadinessChecks(t *testing.T) {
	for check, at := range map[string]string{
		`{"portName":"default"}`: "", `{"portName":"other"}`: "/readinessChecks(0)/portName", `{"portName":"default","intervalSeconds":5,"timeoutSeconds":5}`: "/readinessChecks(0)/timeoutSeconds",
		`{"portName":"default","protocol":"TCP"}`: "/readinessChecks(0)/protocol", `{"portName":"default"},{"portName":"default","name":"b"}`: "/readinessChecks",
	} {
		got := refused(t, `{"id":"/a","cmd":"sleep 1","readinessChecks":[`+check+`]}`)
		if _, there := got[at]; (len(got) == 0) != (at == "") || at != "" && !there {
			t.Errorf("%s: %v, want a refusal at %q", check, got, at)
		}
	}
}

func TestConformance_2_11_SingleInstance(t *testing.T) {
	const label = `{"id":"/a","cmd":"sleep 1","labels":{"MARATHON_SINGLE_INSTANCE_APP":"true"}`
	if got := shows(t, label+`}`, "upgradeStrategy"); got != `{"maximumOverCapacity":0,"minimumHealthCapacity":0}` {
		t.Errorf("default %s", got)
	}
	for more, at := range map[string]string{`,"instances":2`: "/instances", `,"upgradeStrategy":{"minimumHealthCapacity":1}`: "/upgradeStrategy/minimumHealthCapacity",
		`,"upgradeStrategy":{"maximumOverCapacity":1}`: "/upgradeStrategy/maximumOverCapacity"} {
		if refused(t, label+more+`}`)[at] == "" {
			t.Errorf("%s was taken", more)
		}
	}
}
