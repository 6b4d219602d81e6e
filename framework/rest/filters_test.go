package rest

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"

	"github.com/stoa-project/stoa/internal/auth"
)

func TestMediaTypes(t *testing.T) {
	s := newStack(t)
	const body = `{"id":"/a","cmd":"sleep 1"}`
	for _, each := range []struct {
		method, path, contentType, accept string
		status                            int
	}{
		{"POST", "/v2/apps", "application/x-www-form-urlencoded", "", 415},
		{"POST", "/v2/apps", "text/plain", "", 415},
		{"POST", "/v2/apps", "nonsense/", "", 415},
		{"POST", "/v2/apps", "application/json", "text/html", 406},
		{"POST", "/v2/apps", "application/json", "application/json;q=0", 406},
		{"GET", "/v2/apps", "", "text/plain", 406},
		{"POST", "/v2/apps?force=true", "application/json; charset=UTF-8", "application/json, text/javascript, */*; q=0.01", 201},
		{"PUT", "/v2/apps/a?force=true", "", "", 200}, // no Content-Type at all: taken as JSON
		{"GET", "/v2/apps", "text/plain", "text/html, application/*", 200},
		{"GET", "/v2/apps", "", "", 200},
		{"GET", "/v2/tasks", "", "text/plain", 200},
	} {
		var headers []string
		if each.contentType != "" {
			headers = append(headers, "Content-Type", each.contentType)
		}
		if each.accept != "" {
			headers = append(headers, "Accept", each.accept)
		}
		a := s.call(each.method, each.path, body, headers...)
		if a.status != each.status {
			t.Errorf("%+v: status %d: %s", each, a.status, a.text)
		}
		if a.status == 415 || a.status == 406 {
			if text, _ := a.at("message").(string); !strings.Contains(text, each.contentType) || !strings.Contains(text, "application/json") {
				t.Errorf("%+v: message %q", each, text)
			}
		}
	}
}

func TestGzip(t *testing.T) {
	s := newStack(t)
	s.want(201, "POST", "/v2/groups", shop)
	a := s.want(200, "GET", "/v2/groups", "", "Accept-Encoding", "gzip")
	if a.header.Get("Content-Encoding") != "gzip" {
		t.Fatalf("headers %v", a.header)
	}
	z, err := gzip.NewReader(strings.NewReader(a.text))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(z)
	if err != nil || !json.Valid(raw) || !strings.Contains(string(raw), "/shop/front/web") {
		t.Errorf("%v: %s", err, raw)
	}
	if a := s.want(200, "GET", "/v2/groups", "", "Accept-Encoding", "identity"); a.header.Get("Content-Encoding") != "" {
		t.Errorf("headers %v", a.header)
	}
	if a := s.want(404, "GET", "/v2/apps/none", "", "Accept-Encoding", "gzip"); a.header.Get("Content-Encoding") != "" || a.at("message") != "App '/none' does not exist" {
		t.Errorf("a short refusal: %v %q", a.header, a.text)
	}
}

func TestBasicAuth(t *testing.T) {
	s := newStackWith(t, func(c *Config) {
		c.Auth = &auth.Basic{Realm: "Mesosphere", Credentials: auth.NewCredentials(auth.Credential{Principal: "ops", Secret: "s3cret"})}
	})
	for _, path := range []string{"/v2/apps", "/ping", "/ui/", "/metrics", "/v2/events", "/none"} {
		a := s.want(401, "GET", path, "")
		if a.header.Get("WWW-Authenticate") != `Basic realm="Mesosphere"` || a.at("message") != "Invalid username or password." {
			t.Errorf("%s: %v %s", path, a.header, a.text)
		}
	}
	s.want(401, "GET", "/v2/apps", "", "Authorization", "Basic b3BzOndyb25n") // ops:wrong
	s.want(200, "GET", "/v2/apps", "", "Authorization", "Basic b3BzOnMzY3JldA==")
	s.want(200, "GET", "/ping", "", "Authorization", "Basic b3BzOnMzY3JldA==")
}

func TestConcurrentLimit(t *testing.T) {
	limited := atMost(1)
	inside, leave := make(chan bool), make(chan bool)
	slow := limited(func(echo.Context) error { inside <- true; <-leave; return nil })
	quick := limited(func(echo.Context) error { return nil })
	request := func(path string) echo.Context {
		return echo.New().NewContext(httptest.NewRequest(http.MethodGet, path, nil), httptest.NewRecorder())
	}
	ended := make(chan error)
	go func() { ended <- slow(request("/v2/apps")) }()
	<-inside
	var refused *echo.HTTPError
	if err := quick(request("/v2/info")); !errors.As(err, &refused) || refused.Code != 503 || refused.Message != "Too many concurrent requests! Allowed: 1." {
		t.Errorf("the second request: %v", err)
	}
	if err := quick(request("/v2/events")); err != nil {
		t.Errorf("an event stream: %v", err)
	}
	leave <- true
	if err := <-ended; err != nil {
		t.Errorf("the first request: %v", err)
	}
	if err := quick(request("/v2/info")); err != nil {
		t.Errorf("after it: %v", err)
	}
	s := newStackWith(t, func(c *Config) { c.MaxRequests = 1 })
	s.want(200, "GET", "/v2/info", "")
}

func TestPages(t *testing.T) {
	s := newStack(t)
	for path, to := range map[string]string{"/": "/ui/", "/ui": "/ui/"} {
		if a := s.want(302, "GET", path, ""); a.header.Get("Location") != to {
			t.Errorf("%s: Location %q", path, a.header.Get("Location"))
		}
	}
	a := s.want(200, "GET", "/ui/", "")
	if !strings.Contains(a.text, "ui.js") || !strings.Contains(a.header.Get("Content-Security-Policy"), "default-src 'self'") ||
		a.header.Get("X-Frame-Options") != "DENY" || !strings.HasPrefix(a.header.Get("Content-Type"), "text/html") {
		t.Errorf("%v %s", a.header, a.text)
	}
	s.want(200, "GET", "/ui/ui.js", "")
	s.want(404, "GET", "/ui/none.js", "")
	s.want(405, "POST", "/ui/", "")

	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "index.html"), []byte("built elsewhere"), 0o600); err != nil {
		t.Fatal(err)
	}
	s = newStackWith(t, func(c *Config) { c.Assets = dir })
	if a := s.want(200, "GET", "/ui/", ""); a.text != "built elsewhere" {
		t.Errorf("page %q", a.text)
	}
	s.want(404, "GET", "/ui/ui.js", "")
}
