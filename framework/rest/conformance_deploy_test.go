package rest

import (
	"strings"
	"testing"
	"time"
)

func TestConformance_5_8_DeploymentsJSON(t *testing.T) {
	s := tree(t)
	body := `{"cmd":"sleep 8","readinessChecks":[{"name":"r","portName":"default"}]}`
	a := s.want(200, "PUT", "/v2/apps/three", body)
	id, version := a.at("deploymentId").(string), a.at("version").(string)
	s.want(200, "GET", "/v2/deployments", "").has(t, "1", "null", "0.id", `"`+id+`"`, "0.version", `"`+version+`"`, "0.affectedApps", `["/three"]`, "0.affectedPods", "[]",
		"0.steps", `[{"actions":[{"action":"RestartApplication","app":"/three"}]}]`, "0.currentStep", "1", "0.totalSteps", "1",
		"0.currentActions", `[{"action":"RestartApplication","app":"/three","readinessCheckResults":[]}]`)
	s.want(200, "GET", "/v2/apps/three", "").has(t, "app.deployments", `[{"id":"`+id+`"}]`)
	s.want(200, "DELETE", "/v2/deployments/"+id, "")
	s.want(201, "POST", "/v2/apps", `{"id":"/made","cmd":"sleep 1"}`)
	s.want(200, "DELETE", "/v2/apps/made", "")
	for kind, plan := range map[string][]string{
		"create": {`{"id":"/k","apps":[{"id":"new","cmd":"sleep 1"}]}`, "StartApplication", "ScaleApplication"},
		"delete": {`{"id":"/g","apps":[]}`, "StopApplication"},
		"scale":  {`{"id":"/g","apps":[{"id":"one","cmd":"sleep 1","labels":{"tier":"front","x":"1"},"instances":4},{"id":"two","cmd":"SLEEP 2","labels":{"tier":"back"},"instances":2}]}`, "ScaleApplication"},
		"update": {`{"id":"/g","apps":[{"id":"one","cmd":"sleep 7"},{"id":"two","cmd":"SLEEP 2","labels":{"tier":"back"},"instances":2}]}`, "RestartApplication"},
	} {
		group := "/g"
		if kind == "create" {
			group = "/k"
		}
		steps := s.plan(group, plan[0])
		var names []string
		for _, step := range steps {
			name, _, _ := strings.Cut(step[0], " ")
			names = append(names, name)
		}
		if strings.Join(names, " ") != strings.Join(plan[1:], " ") {
			t.Errorf("%s: %v", kind, steps)
		}
	}
}

func TestConformance_6_5_ServicePorts(t *testing.T) {
	t.Run("lowest free one, and none that is used", func(t *testing.T) {
		s := newStack(t)
		s.want(201, "POST", "/v2/apps", `{"id":"/a","cmd":"sleep 1","portDefinitions":[{"port":10001}]}`)
		s.want(201, "POST", "/v2/apps", `{"id":"/b","cmd":"sleep 1","portDefinitions":[{"port":0},{"port":0}]}`).has(t, "portDefinitions.0.port", "10000", "portDefinitions.1.port", "10002")
		s.want(200, "DELETE", "/v2/apps/a", "")
		s.want(201, "POST", "/v2/apps", `{"id":"/c","cmd":"sleep 1"}`).has(t, "portDefinitions.0.port", "10001")
	})
	t.Run("of mappings", func(t *testing.T) {
		newStack(t).want(201, "POST", "/v2/apps", `{"id":"/a","cmd":"sleep 1","networks":[{"mode":"container/bridge"}],"container":{"type":"MESOS","portMappings":[{"containerPort":80},{"containerPort":81,"servicePort":9000}]}}`).
			has(t, "container.portMappings.0.servicePort", "10000", "container.portMappings.1.servicePort", "9000")
	})
	t.Run("explicit ones may be shared and lie anywhere", func(t *testing.T) {
		s := newStack(t)
		for _, id := range []string{"/a", "/b"} {
			s.want(201, "POST", "/v2/apps", `{"id":"`+id+`","cmd":"sleep 1","portDefinitions":[{"port":80}]}`)
		}
	})
	t.Run("unchanged apps keep theirs", func(t *testing.T) {
		s := newStack(t)
		s.want(201, "POST", "/v2/apps", sleeper)
		s.run()
		s.advance(time.Second)
		s.want(200, "PUT", "/v2/apps/a?partialUpdate=false", `{"cmd":"sleep 9"}`)
		s.want(200, "GET", "/v2/apps/a", "").has(t, "app.portDefinitions.0.port", "10000")
	})
	t.Run("none left", func(t *testing.T) {
		s := newStackWith(t, func(c *Config) { c.Ports.Max = 10001 })
		a := s.want(422, "POST", "/v2/apps", `{"id":"/a","cmd":"sleep 1","portDefinitions":[{},{},{}]}`)
		if text, _ := a.at("message").(string); !strings.Contains(text, "All ports in the range [10000-10001) are already in use") {
			t.Errorf("%q", text)
		}
		s.want(201, "POST", "/v2/apps", `{"id":"/a","cmd":"sleep 1","portDefinitions":[{},{}]}`)
	})
}

// TestConformance_2_7_Artifacts: defaults and forms of fetch.
func TestConformance_2_7_Artifacts(t *testing.T) {
	s := newStack(t)
	s.want(201, "POST", "/v2/apps", `{"id":"/a","cmd":"sleep 1","fetch":[{"uri":"http://x/a.tgz"},{"uri":"file:///b","extract":false,"executable":true,"cache":true,"destPath":"../c"}]}`).
		has(t, "fetch", `[{"uri":"http://x/a.tgz","extract":true,"executable":false,"cache":false},{"uri":"file:///b","extract":false,"executable":true,"cache":true,"destPath":"../c"}]`)
	s.want(422, "POST", "/v2/apps", `{"id":"/b","cmd":"sleep 1","fetch":[{}]}`).has(t, "details.0.path", `"/fetch(0)/uri"`)
	s.want(422, "POST", "/v2/apps", `{"id":"/b","cmd":"sleep 1","fetch":[{"uri":"http://[x"}]}`).has(t, "details.0.path", `"/fetch(0)/uri"`)
	s.want(201, "POST", "/v2/apps", `{"id":"/c","cmd":"sleep 1","uris":["http://x/a.tar.xz","http://x/a.war"]}`).has(t, "fetch.0.extract", "true", "fetch.1.extract", "false")
}
