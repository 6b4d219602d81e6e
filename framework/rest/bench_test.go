package rest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// loaded is a stack with apps of some running tasks each, in groups of 100.
func loaded(b *testing.B, apps, tasks int) *stack {
	b.Helper()
	s := newStackWith(b, func(c *Config) { c.Ports.Max = 60000 })
	for g := 0; g < apps; g += 100 {
		var list []string
		for i := g; i < min(g+100, apps); i++ {
			list = append(list, fmt.Sprintf(`{"id":"a%d","cmd":"sleep 1","cpus":0.001,"mem":1,"instances":%d,"labels":{"HAPROXY_GROUP":"external"}}`, i, tasks))
		}
		s.want(http.StatusOK, "PUT", fmt.Sprintf("/v2/groups/g%d", g), `{"apps":[`+strings.Join(list, ",")+`]}`)
		s.run()
	}
	return s
}

// discard is a client that reads nothing and counts.
type discard struct {
	header http.Header
	status int
	bytes  int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(p []byte) (int, error) { d.bytes += len(p); return len(p), nil }

// BenchmarkApps is row H12 without the network: what the handler itself costs.
func BenchmarkApps(b *testing.B) {
	s := loaded(b, 5000, 5)
	for _, path := range []string{"/v2/apps?embed=apps.tasks", "/v2/apps", "/v2/groups", "/v2/apps/g0/a7", "/v2/tasks", "/v2/queue", "/v2/deployments"} {
		b.Run(path, func(b *testing.B) {
			b.ReportAllocs()
			var d discard
			for b.Loop() {
				d = discard{header: http.Header{}}
				s.server.Config.Handler.ServeHTTP(&d, httptest.NewRequest(http.MethodGet, path, nil))
			}
			if d.status != http.StatusOK {
				b.Fatal(d.status)
			}
			b.ReportMetric(float64(d.bytes), "bytes")
		})
	}
}

// BenchmarkWaiting has 10,000 apps in one group wait for offers that never come: one more
// app, and lists.
func BenchmarkWaiting(b *testing.B) {
	s := newStackWith(b, func(c *Config) { c.Ports.Max = 60000 })
	var list []string
	for i := range 10_000 {
		list = append(list, fmt.Sprintf(`{"id":"a%d","cmd":"sleep 1","cpus":0.001,"mem":1}`, i))
	}
	s.want(http.StatusOK, "PUT", "/v2/groups/many", `{"apps":[`+strings.Join(list, ",")+`]}`)
	b.Run("POST", func(b *testing.B) {
		n := 0
		for b.Loop() {
			n++
			s.want(http.StatusCreated, "POST", "/v2/apps", fmt.Sprintf(`{"id":"/x%d","cmd":"sleep 1"}`, n))
			s.want(http.StatusOK, "DELETE", fmt.Sprintf("/v2/apps/x%d", n), "")
		}
	})
	for _, path := range []string{"/v2/queue", "/v2/deployments"} {
		b.Run(path, func(b *testing.B) {
			var d discard
			for b.Loop() {
				d = discard{header: http.Header{}}
				s.server.Config.Handler.ServeHTTP(&d, httptest.NewRequest(http.MethodGet, path, nil))
			}
			b.ReportMetric(float64(d.bytes), "bytes")
		})
	}
}
