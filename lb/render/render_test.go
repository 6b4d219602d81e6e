package render

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stoa-project/stoa/lb/labels"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func settings() Settings {
	return Settings{HTTPPort: 80, HTTPSPort: 443, AppIDPort: 9091, StatsPort: 9090, SSLCerts: []string{"/etc/ssl/cert.pem"},
		StatsSocket: "/run/lb/stats.sock", StateFile: "/run/lb/servers.state", AdminSocket: "/run/lb/admin.sock",
		HardStop: 900, MaxConn: 50000, DefaultsOpts: []string{"redispatch", "dontlognull", "redispatch"}}
}

func server(n int) labels.Server {
	return labels.Server{Name: fmt.Sprintf("10_0_0_%d_31000", n), ID: n, Cookie: fmt.Sprintf("c%d", n), Addr: fmt.Sprintf("10.0.0.%d", n), Port: 31000}
}

// every is a service list that uses each feature once.
func every() []labels.Service {
	return []labels.Service{
		{AppID: "/acl", Port: 10000, Backend: "acl_10000", BindAddr: "*", Mode: "tcp", Balance: "leastconn", Allowed: []string{"10.0.0.0/8", "192.168.1.1"}, Servers: []labels.Server{server(1)}, Check: &labels.Check{Interval: 10, Failures: 3, Timeout: 20}},
		{AppID: "/auth", Port: 10001, Backend: "auth_10001", BindAddr: "*", Mode: "http", Balance: "roundrobin", VHosts: []string{"auth.example.com"}, Auth: &labels.Auth{Realm: "ops", User: "ann", Password: "$1$x"}, Servers: []labels.Server{server(1)}},
		{AppID: "/path", Port: 10002, Backend: "path_10002", BindAddr: "*", Mode: "http", Balance: "roundrobin", VHosts: []string{"www.example.com"}, Path: "/api", Weight: 1, Servers: []labels.Server{server(1)}},
		{AppID: "/secure", Port: 10003, Backend: "secure_10003", BindAddr: "127.0.0.1", BindOptions: "accept-proxy", Mode: "http", Balance: "roundrobin", VHosts: []string{"secure.example.com"}, ToHTTPS: true, HSTS: true, Servers: []labels.Server{server(1)}},
		{AppID: "/sticky/web", Port: 10004, Backend: "sticky_web_10004", BindAddr: "*", Mode: "http", Balance: "roundrobin", Sticky: true, VHosts: []string{"a.example.com", "b.example.com"}, Servers: []labels.Server{server(1), server(2)}, Check: &labels.Check{HTTP: true, Path: "/health", Interval: 2, Timeout: 3, Failures: 3}},
		{AppID: "/wild", Port: 10005, Backend: "wild_10005", BindAddr: "*", Mode: "http", Balance: "roundrobin", VHosts: []string{"*.example.com"}, Weight: 9, Servers: []labels.Server{{Name: "v6", ID: 7, Addr: "2001:db8::1", Port: 80}}},
	}
}

func render(t *testing.T, services []labels.Service, s Settings) Config {
	t.Helper()
	c, problems := File(services, s)
	if len(problems) > 0 {
		t.Fatalf("problems %v", problems)
	}
	return c
}

func TestGolden(t *testing.T) {
	got := render(t, every(), settings()).Text
	path := filepath.Join("testdata", "every.cfg")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the configuration differs from %s (rewrite with -update):\n%s", path, got)
	}
}

// Two configurations of one structure differ in servers that may change at run time; all
// else is a change of structure.
func TestWhatIsStructure(t *testing.T) {
	base := func() []labels.Service {
		return []labels.Service{{AppID: "/a", Port: 10000, Backend: "a_10000", BindAddr: "*", Mode: "http", Balance: "roundrobin", VHosts: []string{"a.example.com"}, Servers: []labels.Server{server(1)}}}
	}
	rows := []struct {
		name   string
		change func(s *labels.Service)
		same   bool
	}{
		{"a server more", func(s *labels.Service) { s.Servers = append(s.Servers, server(2)) }, true},
		{"no server", func(s *labels.Service) { s.Servers = nil }, true},
		{"a vhost", func(s *labels.Service) { s.VHosts = append(s.VHosts, "b.example.com") }, false},
		{"a check", func(s *labels.Service) { s.Check = &labels.Check{Interval: 1, Failures: 1} }, false},
		{"the balance", func(s *labels.Service) { s.Balance = "leastconn" }, false},
		{"the port", func(s *labels.Service) { s.Port = 10001 }, false},
	}
	before := render(t, base(), settings())
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			s := base()
			r.change(&s[0])
			after := render(t, s, settings())
			if after.Text == before.Text {
				t.Fatal("the text did not change")
			}
			if same := RuntimeOnly(before, after); same != r.same {
				t.Errorf("same structure: %v, want %v", same, r.same)
			}
		})
	}
	sticky := func(s *labels.Service) { s.Sticky = true }
	for _, c := range []struct {
		name    string
		change  func(s *labels.Service)
		profile Profile
		runtime bool
	}{
		{"sticky", sticky, Standard, true},
		{"sticky, modern", sticky, Modern, true},
		{"sticky, compat", sticky, Compat, false},
		{"sticky by its own template", func(s *labels.Service) {
			s.Sticky, s.Templates = true, map[string]string{"BACKEND_STICKY_OPTIONS": "  cookie id insert\n"}
		}, Standard, false},
		{"sticky with its own server lines", func(s *labels.Service) {
			s.Sticky, s.Templates = true, map[string]string{"BACKEND_SERVER_OPTIONS": "  server {serverName} {host_ipv4}:{port}{cookieOptions}{otherOptions}"}
		}, Standard, true},
		{"sticky with a cookie in its own server lines", func(s *labels.Service) {
			s.Sticky, s.Templates = true, map[string]string{"BACKEND_SERVER_OPTIONS": "  server {serverName} {host_ipv4}:{port} cookie {serverName}{otherOptions}"}
		}, Standard, false},
		{"static-rr", func(s *labels.Service) { s.Balance = "static-rr" }, Standard, false},
	} {
		one, two := base(), base()
		c.change(&one[0])
		c.change(&two[0])
		two[0].Servers = append(two[0].Servers, server(2))
		set := settings()
		set.Profile = c.profile
		if got := RuntimeOnly(render(t, one, set), render(t, two, set)); got != c.runtime {
			t.Errorf("%s: a server comes at run time: %v, want %v", c.name, got, c.runtime)
		}
	}
}

func BenchmarkFile(b *testing.B) {
	var services []labels.Service
	for i := range 1000 {
		s := labels.Service{AppID: fmt.Sprintf("/app-%04d", i), Port: 10000 + i, Backend: fmt.Sprintf("app-%04d_%d", i, 10000+i), BindAddr: "*", Mode: "http", Balance: "roundrobin", VHosts: []string{fmt.Sprintf("app-%d.example.com", i)}}
		for k := range 10 {
			s.Servers = append(s.Servers, server(k+1))
		}
		services = append(services, s)
	}
	b.ReportAllocs()
	for b.Loop() {
		File(services, settings())
	}
}
