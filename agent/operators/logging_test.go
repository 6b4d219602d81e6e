package operators

import (
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The level of the log is told, set for a time and goes back, by /logging/toggle and by
// calls (mesos-agent.md 0.1, 6.1).
func TestLoggingLevel(t *testing.T) {
	level := new(slog.LevelVar)
	url, _ := serve(t, true, func(c *Config) { c.LogLevel = level })
	toggle := func(method, query string) (int, string, string) {
		t.Helper()
		req, err := http.NewRequest(method, url+"/logging/toggle"+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		return answered(t, req)
	}
	call := func(body string) (int, string, string) {
		t.Helper()
		req, err := http.NewRequest(http.MethodPost, url+"/api/v1", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept", "application/json")
		return answered(t, req)
	}
	set := `{"type":"SET_LOGGING_LEVEL","set_logging_level":{"level":2,"duration":{"nanoseconds":3600000000000}}}`
	for name, give := range map[string]func() (int, string, string){
		"GET_LOGGING_LEVEL.json": func() (int, string, string) { return call(`{"type":"GET_LOGGING_LEVEL"}`) },
		"logging-toggle":         func() (int, string, string) { return toggle(http.MethodGet, "") },
	} {
		status, media, body := recorded(t, filepath.Join("testdata", "calls", name+".http"))
		if c, m, b := give(); c != status || m != media || b != body {
			t.Errorf("%s: %d %s %q, recorded %d %s %q", name, c, m, b, status, media, body)
		}
	}
	present := func(want string, least slog.Level) {
		t.Helper()
		if _, _, got := call(`{"type":"GET_LOGGING_LEVEL"}`); !strings.Contains(got, `{"level":`+want+`}`) || level.Level() != least {
			t.Errorf("%s, want level %s; logs from %s on", got, want, level.Level())
		}
	}
	if c, m, b := call(set); c != 200 || m != "" || b != "" {
		t.Errorf("%d %q %q", c, m, b)
	}
	present("2", slog.LevelDebug)
	if c, m, b := toggle(http.MethodPost, "?level=1&duration=10mins"); c != 200 || m != "" || b != "" {
		t.Errorf("%d %q %q", c, m, b)
	}
	present("1", slog.LevelDebug)
	if c, _, b := toggle(http.MethodPost, "?level=1"); c != 400 || b != "Expecting 'duration=value' in query.\n" {
		t.Errorf("%d %q", c, b)
	}
	if c, _, b := call(`{"type":"SET_LOGGING_LEVEL"}`); c != 400 || !strings.HasSuffix(b, "Expecting 'set_logging_level' to be present") {
		t.Errorf("%d %q", c, b)
	}
	toggle(http.MethodPost, "?level=3&duration=1ms")
	for deadline := time.Now().Add(10 * time.Second); level.Level() != slog.LevelInfo; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the level does not go back")
		}
	}
	present("0", slog.LevelInfo)
}

// answered sends a request and gives status, media type and body of the answer.
func answered(t *testing.T, req *http.Request) (status int, media, body string) {
	t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("Content-Type"), string(b)
}
