package app

import (
	"errors"
	"strings"
	"testing"
)

// TestConformance_2_10_Validation lists bodies, the message, and a path with a part of the text expected there.
func TestConformance_2_10_Validation(t *testing.T) {
	for _, c := range []struct{ body, message, path, text string }{
		// wrong types and missing keys
		{`{"id":1,"cmd":"sleep 1"}`, MsgInvalidJSON, "/id", "error.expected.jsstring"},
		{`{"id":"/a","cmd":"sleep 1","cpus":"1"}`, MsgInvalidJSON, "/cpus", "error.expected.jsnumber"},
		{`{"id":"/a","cmd":"sleep 1","cpus":1e999}`, MsgInvalidJSON, "/cpus", "error.expected.jsnumber"},
		{`{"id":"/a","cmd":"sleep 1","instances":1.5}`, MsgInvalidJSON, "/instances", "error.expected.int"},
		{`{"id":"/a","cmd":"sleep 1","instances":99999999999}`, MsgInvalidJSON, "/instances", "error.expected.int"},
		{`{"id":"/a","cmd":"sleep 1","labels":[]}`, MsgInvalidJSON, "/labels", "error.expected.jsobject"},
		{`{"id":"/a","cmd":"sleep 1","env":{"A":1}}`, MsgInvalidJSON, "/env/A", "error.expected.jsstring"},
		{`{"id":"/a","cmd":"sleep 1","env":{"A":{}}}`, MsgInvalidJSON, "/env/A/secret", "error.path.missing"},
		{`{"id":"/a","cmd":"sleep 1","ports":{}}`, MsgInvalidJSON, "/ports", "error.expected.jsarray"},
		{`{"id":"/a","cmd":"sleep 1","requirePorts":"yes"}`, MsgInvalidJSON, "/requirePorts", "error.expected.jsboolean"},
		{`{"id":"/a","cmd":"sleep 1","container":"x"}`, MsgInvalidJSON, "/container", "error.expected.jsobject"},
		{`{"id":"/a","cmd":"sleep 1","container":{"type":"RKT"}}`, MsgInvalidJSON, "/container/type", "expected one of"},
		{`{"id":"/a","cmd":"sleep 1","container":{"docker":{}}}`, MsgInvalidJSON, "/container/docker/image", "error.path.missing"},
		{`{"id":"/a","cmd":"sleep 1","fetch":[{}]}`, MsgInvalidJSON, "/fetch(0)/uri", "error.path.missing"},
		{`{"id":"/a","cmd":"sleep 1","killSelection":"RANDOM"}`, MsgInvalidJSON, "/killSelection", "expected one of"},
		{`{"id":"/a","cmd":"sleep 1","unreachableStrategy":"off"}`, MsgInvalidJSON, "/unreachableStrategy", "expected one of"},
		{`{"id":"/a","cmd":"sleep 1","constraints":["hostname"]}`, MsgInvalidJSON, "/constraints(0)", "error.expected.jsarray"},
		{`[]`, MsgInvalidJSON, "/", "error.expected.jsobject"},
		{`null`, MsgInvalidJSON, "/", "error.expected.jsobject"},
		// ids
		{`{"id":"/A","cmd":"sleep 1"}`, MsgInvalidObject, "/id", "must fully match regular expression"},
		{`{"id":"/a_b","cmd":"sleep 1"}`, MsgInvalidObject, "/id", "must fully match regular expression"},
		{`{"id":"/a-","cmd":"sleep 1"}`, MsgInvalidObject, "/id", "must fully match regular expression"},
		{`{"id":"/","cmd":"sleep 1"}`, MsgInvalidObject, "/id", "must not be empty"},
		{`{"id":"/a/tasks","cmd":"sleep 1"}`, MsgInvalidObject, "/id", "reserved words"},
		// what to run
		{`{"id":"/a"}`, MsgInvalidObject, "/", "AppDefinition must either contain one of 'cmd' or 'args', and/or a 'container'."},
		{`{"id":"/a","cmd":"sleep 1","args":["x"]}`, MsgInvalidObject, "/", "AppDefinition must either contain"},
		{`{"id":"/a","cmd":"x"}`, MsgInvalidObject, "/cmd", "must not be an empty string"},
		{`{"id":"/a","cmd":"sleep 1","executor":"/"}`, MsgInvalidObject, "/executor", "must fully match"},
		// numbers
		{`{"id":"/a","cmd":"sleep 1","cpus":-1}`, MsgInvalidObject, "/cpus", "got -1.0, expected 0.0 or more"},
		{`{"id":"/a","cmd":"sleep 1","mem":-0.5}`, MsgInvalidObject, "/mem", "got -0.5"},
		{`{"id":"/a","cmd":"sleep 1","instances":-1}`, MsgInvalidObject, "/instances", "got -1, expected 0 or more"},
		{`{"id":"/a","cmd":"sleep 1","instances":100001}`, MsgInvalidObject, "/instances", "expected 100000 or less"},
		{`{"id":"/a","cmd":"sleep 1","backoffFactor":0.5}`, MsgInvalidObject, "/backoffFactor", "expected 1.0 or more"},
		{`{"id":"/a","cmd":"sleep 1","gpus":1}`, MsgInvalidObject, "/gpus", "gpu_resources is not enabled"},
		{`{"id":"/a","cmd":"sleep 1","cpus":2,"resourceLimits":{"cpus":1}}`, MsgInvalidObject, "/resourceLimits/cpus", "greater than or equal to requested resource (2.0)"},
		{`{"id":"/a","cmd":"sleep 1","upgradeStrategy":{"minimumHealthCapacity":2}}`, MsgInvalidObject, "/upgradeStrategy/minimumHealthCapacity", "got 2.0, expected between 0.0 and 1.0"},
		{`{"id":"/a","cmd":"sleep 1","unreachableStrategy":{"inactiveAfterSeconds":5,"expungeAfterSeconds":2}}`, MsgInvalidObject, "/unreachableStrategy/inactiveAfterSeconds", "got 5, expected 2 or less"},
		{`{"id":"/a","cmd":"sleep 1","instances":2,"labels":{"MARATHON_SINGLE_INSTANCE_APP":"true"}}`, MsgInvalidObject, "/instances", "got 2"},
		// roles and secrets
		{`{"id":"/a","cmd":"sleep 1","role":"dev"}`, MsgInvalidObject, "/role", "got dev, expected one of: [*]"},
		{`{"id":"/a","cmd":"sleep 1","acceptedResourceRoles":[]}`, MsgInvalidObject, "/acceptedResourceRoles", "must not be empty"},
		{`{"id":"/a","cmd":"sleep 1","acceptedResourceRoles":["x"]}`, MsgInvalidObject, "/acceptedResourceRoles", "acceptedResourceRoles can only contain * and *"},
		{`{"id":"/a","cmd":"sleep 1","env":{"A":{"secret":"s"}}}`, MsgInvalidObject, "/env/A", "references an undefined secret"},
		{`{"id":"/a","cmd":"sleep 1","secrets":{"s":{"source":"/x"}}}`, MsgInvalidObject, "/secrets", "Feature secrets is not enabled"},
		// networks and ports
		{`{"id":"/a","cmd":"sleep 1","networks":[{"mode":"host"},{"mode":"container/bridge"}]}`, MsgInvalidObject, "/networks", "exactly one host network"},
		{`{"id":"/a","cmd":"sleep 1","networks":[{"mode":"container"}]}`, MsgInvalidObject, "/networks(0)/name", "Network name must be specified"},
		{`{"id":"/a","cmd":"sleep 1","networks":[{"mode":"host","name":"x"}]}`, MsgInvalidObject, "/networks(0)/name", "must be empty"},
		{`{"id":"/a","cmd":"sleep 1","networks":[{"mode":"container/bridge"}],"portDefinitions":[{"port":1}]}`, MsgInvalidObject, "/portDefinitions", "only allowed with host-networking"},
		{`{"id":"/a","networks":[{"name":"x"},{"name":"y"}],"container":{"docker":{"image":"i"},"portMappings":[]}}`, MsgInvalidObject, "/networks", "single container network when using the Docker"},
		{`{"id":"/a","cmd":"sleep 1","networks":[{"name":"x"},{"name":"y"}],"container":{"type":"MESOS","portMappings":[{"hostPort":0}]}}`, MsgInvalidObject, "/container/portMappings(0)", "networkNames must be a single item list"},
		{`{"id":"/a","cmd":"sleep 1","portDefinitions":[{"name":"Web"}]}`, MsgInvalidObject, "/portDefinitions(0)/name", "must fully match"},
		{`{"id":"/a","cmd":"sleep 1","portDefinitions":[{"name":"w"},{"name":"w"}]}`, MsgInvalidObject, "/portDefinitions", "unique"},
		{`{"id":"/a","cmd":"sleep 1","portDefinitions":[{"port":65536}]}`, MsgInvalidObject, "/portDefinitions(0)/port", "got 65536"},
		{`{"id":"/a","cmd":"sleep 1","ports":[9000,9000]}`, MsgInvalidObject, "/ports", "ports must be unique"},
		{`{"id":"/a","cmd":"sleep 1","ports":[9000],"portDefinitions":[{"port":1}]}`, MsgInvalidObject, "/", "cannot specify both ports and port definitions"},
		{`{"id":"/a","networks":[{"mode":"host"}],"container":{"docker":{"image":"i","network":"HOST"}}}`, MsgInvalidObject, "/", "must not specify both container.docker.network and networks"},
		{`{"id":"/a","cmd":"sleep 1","networks":[{"mode":"host"}],"ipAddress":{}}`, MsgInvalidObject, "/", "must not specify both networks and ipAddress"},
		{`{"id":"/a","cmd":"sleep 1","ports":[1],"ipAddress":{"networkName":"x"}}`, MsgInvalidObject, "/", "cannot specify both an IP address and port"},
		// containers and volumes
		{`{"id":"/a","cmd":"sleep 1","container":{}}`, MsgInvalidObject, "/container/docker", "needs an image"},
		{`{"id":"/a","container":{"docker":{"image":"i","network":"NONE"}}}`, MsgInvalidObject, "/container/docker/network", "NONE"},
		{`{"id":"/a","container":{"docker":{"image":"i","pullConfig":{"secret":"s"}}}}`, MsgInvalidObject, "/container/docker/pullConfig", "not supported with Docker"},
		{`{"id":"/a","cmd":"sleep 1","container":{"type":"MESOS","volumes":[{"containerPath":"/x"}]}}`, MsgInvalidObject, "/container/volumes(0)", "exactly one of"},
		{`{"id":"/a","cmd":"sleep 1","container":{"type":"MESOS","volumes":[{"containerPath":"/x","hostPath":"/y"}]}}`, MsgInvalidObject, "/container/volumes(0)/mode", "RO or RW"},
		{`{"id":"/a","cmd":"sleep 1","role":"*","container":{"type":"MESOS","volumes":[{"containerPath":"a/b","mode":"RW","persistent":{"size":1}}]}}`, MsgInvalidObject, "/container/volumes(0)/containerPath", `value must not contain "/"`},
		// checks
		{`{"id":"/a","cmd":"sleep 1","healthChecks":[{"portIndex":1}]}`, MsgInvalidObject, "/healthChecks(0)/portIndex", "Health check port indices must address an element"},
		{`{"id":"/a","cmd":"sleep 1","ports":[],"healthChecks":[{}]}`, MsgInvalidObject, "/healthChecks(0)/portIndex", "Health check port indices"},
		{`{"id":"/a","cmd":"sleep 1","healthChecks":[{"protocol":"COMMAND"}]}`, MsgInvalidObject, "/healthChecks(0)/command", "needs a command"},
		{`{"id":"/a","cmd":"sleep 1","healthChecks":[{"protocol":"MESOS_TCP"},{"protocol":"MESOS_HTTP"}]}`, MsgInvalidObject, "/healthChecks", "at most one Mesos health check"},
		{`{"id":"/a","cmd":"sleep 1","readinessChecks":[{"portName":"x"}]}`, MsgInvalidObject, "/readinessChecks(0)/portName", "name of one of the app's ports"},
		{`{"id":"/a","cmd":"sleep 1","check":{}}`, MsgInvalidObject, "/check", "exactly one of"},
		// constraints
		{`{"id":"/a","cmd":"sleep 1","constraints":[["hostname"]]}`, MsgInvalidObject, "/constraints(0)", "Missing field and operator"},
		{`{"id":"/a","cmd":"sleep 1","constraints":[["hostname","NEAR"]]}`, MsgInvalidObject, "/constraints(0)", "operator must be one of the following"},
		{`{"id":"/a","cmd":"sleep 1","constraints":[["hostname","UNIQUE","x"]]}`, MsgInvalidObject, "/constraints(0)", "UNIQUE does not accept a value"},
		{`{"id":"/a","cmd":"sleep 1","constraints":[["hostname","LIKE","("]]}`, MsgInvalidObject, "/constraints(0)", "not a valid regular expression"},
		{`{"id":"/a","cmd":"sleep 1","constraints":[["hostname","MAX_PER"]]}`, MsgInvalidObject, "/constraints(0)", "MAX_PER requires an integer value"},
		{`{"id":"/a","cmd":"sleep 1","constraints":[["hostname","GROUP_BY","x"]]}`, MsgInvalidObject, "/constraints(0)", "GROUP BY must define"},
		// the rest
		{`{"id":"/a","cmd":"sleep 1","uris":["http://x/y"],"fetch":[{"uri":"http://x/y"}]}`, MsgInvalidObject, "/uris", "may not be set in conjunction with fetch"},
		{`{"id":"/a","cmd":"sleep 1","fetch":[{"uri":"http://[x"}]}`, MsgInvalidObject, "/fetch(0)/uri", "invalid syntax"},
		{`{"id":"/a","cmd":"sleep 1","dependencies":["/B"]}`, MsgInvalidObject, "/dependencies(0)", "must fully match"},
	} {
		err := create(c.body)
		var invalid *Invalid
		if !errors.As(err, &invalid) {
			t.Errorf("%s: got %v, want a violation at %s", c.body, err, c.path)
			continue
		}
		found := false
		for _, d := range invalid.Details {
			found = found || d.Path == c.path && strings.Contains(strings.Join(d.Errors, "\n"), c.text)
		}
		if !found || invalid.Message != c.message {
			t.Errorf("%s: got %q %+v, want %q at %s: %s", c.body, invalid.Message, invalid.Details, c.message, c.path, c.text)
		}
	}
}

// create decodes a body and gives its first error.
func create(body string) error {
	u, err := ReadUpdate([]byte(body))
	if err != nil {
		return err
	}
	id := Root
	if u.ID != nil {
		id = ParsePath(*u.ID, Root)
	}
	_, err = u.Create(id, testRules, testRules.RolesAt(EmptyRoot(), id))
	return err
}

func TestBroken(t *testing.T) {
	for _, body := range []string{"", "  ", "{", `{"id":}`, "{}{}", "\x00\xff", `{"id":"a"} x`} {
		var broken *Broken
		if err := create(body); !errors.As(err, &broken) || broken.Details == "" {
			t.Errorf("%q: got %v, want Broken", body, err)
		}
	}
}

// FuzzUpdate feeds the decoder anything: it must not panic, and what it accepts must
// survive the store and be accepted again.
func FuzzUpdate(f *testing.F) {
	for _, seed := range []string{
		`{"id":"/a","cmd":"sleep 1"}`,
		`{"id":"/a","container":{"docker":{"image":"i","network":"BRIDGE","portMappings":[{"containerPort":80}]}},"ports":[1,0]}`,
		`{"id":"../x","args":["a"],"networks":[{"name":"n"}],"constraints":[["a","LIKE","b.*"]],"ipAddress":{"discovery":{"ports":[{"number":1}]}}}`,
		`{"id":"/a","cmd":"sleep 1","healthChecks":[{}],"unreachableStrategy":"disabled","resourceLimits":{"cpus":"unlimited"},"env":{"A":{"secret":"b"}}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		u, err := ReadUpdate(body)
		if err != nil || u.ID == nil {
			return
		}
		id := ParsePath(*u.ID, Root)
		a, err := u.Create(id, testRules, testRules.RolesAt(EmptyRoot(), id))
		if err != nil {
			return
		}
		if _, err := Settle(EmptyRoot(), EmptyRoot().PutApp(a, 1), 1, PortPool{10000, 20000}); err != nil {
			return
		}
		b, err := u.Apply(a, testRules, testRules.RolesAt(EmptyRoot(), id))
		if err != nil {
			t.Fatalf("%s: accepted, then refused as an update of itself: %v", body, err)
		}
		if Compare(a, b) != Unchanged {
			t.Fatalf("%s: an update with the same body is a change:\n%s\n%s", body, a.fingerprint(), b.fingerprint())
		}
	})
}
