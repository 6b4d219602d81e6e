package master_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/lab/zookeeper"
	"github.com/stoa-project/stoa/internal/zk"
	"github.com/stoa-project/stoa/master"
)

// TestStandbyAsRecorded asks a standby what a real one was asked: the same routes redirect,
// to the same places, and the others have the same status and form.
func TestStandbyAsRecorded(t *testing.T) {
	ens := zookeeper.Start(t, 1)
	url, err := zk.Parse(ens.URL("mesos"))
	if err != nil {
		t.Fatal(err)
	}
	leader := startMaster(t, master.Config{ZK: &url, SessionTimeout: 5 * time.Second, Hostname: "zm1.example.org"})
	standby := startStandby(t, master.Config{ZK: &url, SessionTimeout: 5 * time.Second, Hostname: "zm2.example.org"})
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	_, port, err := net.SplitHostPort(leader.addr)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(method, path string) (*http.Response, string) {
		t.Helper()
		req, err := http.NewRequest(method, "http://"+standby.addr+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(body)
	}
	eventually(t, "the standby knows the leader", func() bool {
		resp, _ := ask("GET", "/redirect")
		return resp.StatusCode == http.StatusTemporaryRedirect
	})
	for file, request := range map[string]string{
		"GET-":                             "GET /",
		"GET-api-v1":                       "GET /api/v1",
		"GET-files-browse":                 "GET /files/browse",
		"GET-flags":                        "GET /flags",
		"GET-health":                       "GET /health",
		"GET-logging-toggle":               "GET /logging/toggle",
		"GET-maintenance-schedule":         "GET /maintenance/schedule",
		"GET-master-redirect":              "GET /master/redirect",
		"GET-master-slaves":                "GET /master/slaves",
		"GET-master-state-jsonp=x":         "GET /master/state?jsonp=x",
		"GET-metrics-snapshot":             "GET /metrics/snapshot",
		"GET-quota":                        "GET /quota",
		"GET-redirect-foo":                 "GET /redirect/foo",
		"GET-redirect":                     "GET /redirect",
		"GET-registrar-1-registry":         "GET /registrar(1)/registry",
		"GET-roles":                        "GET /roles",
		"GET-state-summary":                "GET /state-summary",
		"GET-state":                        "GET /state",
		"GET-system-stats-json":            "GET /system/stats.json",
		"GET-tasks-limit=5":                "GET /tasks?limit=5",
		"GET-version":                      "GET /version",
		"GET-weights":                      "GET /weights",
		"POST-api-v1-scheduler":            "POST /api/v1/scheduler",
		"POST-api-v1":                      "POST /api/v1",
		"POST-master-api-v1-scheduler-x=y": "POST /master/api/v1/scheduler?x=y",
		"POST-master-api-v1":               "POST /master/api/v1",
	} {
		raw, err := os.ReadFile(filepath.Join("testdata", "standby", file+".http"))
		if err != nil {
			t.Fatal(err)
		}
		head, want, _ := bytes.Cut(raw, []byte("\n\n"))
		recorded, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(append(bytes.ReplaceAll(head, []byte("\n"), []byte("\r\n")), "\r\n\r\n"...))), nil)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		method, path, _ := strings.Cut(request, " ")
		got, body := ask(method, path)
		location := strings.ReplaceAll(recorded.Header.Get("Location"), ":16060", ":"+port)
		if got.StatusCode != recorded.StatusCode || got.Header.Get("Location") != location || got.Header.Get("Content-Type") != recorded.Header.Get("Content-Type") {
			t.Errorf("%s: %d %q %q, want %d %q %q", request, got.StatusCode, got.Header.Get("Location"), got.Header.Get("Content-Type"),
				recorded.StatusCode, location, recorded.Header.Get("Content-Type"))
		}
		switch {
		case recorded.Header.Get("Content-Type") != "application/json":
			if strings.TrimSpace(body) != strings.TrimSpace(string(want)) {
				t.Errorf("%s: %q, want %q", request, body, want)
			}
		default:
			var object map[string]any
			if err := json.Unmarshal([]byte(body), &object); err != nil {
				t.Errorf("%s: %v in %.100s", request, err, body)
			}
		}
	}
}
