package operators_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/metrics"
	"github.com/stoa-project/stoa/master/ledger"
	"github.com/stoa-project/stoa/master/operators"
)

// TestFiles compares /files with its recordings and reads a log piece by piece.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "log")
	long := strings.Repeat("0123456789", 10000)
	odd := "a\"b\\c\n\t\x01\xff\u00e9"
	if err := os.WriteFile(name, []byte(odd+long), 0o600); err != nil {
		t.Fatal(err)
	}
	shell, _ := recordedShell(t, func(c *operators.Config) { c.LogFile = name })
	h := mux(shell)
	for url, recorded := range map[string]string{
		"/files/browse":                   "http/files-browse.http",
		"/files/browse?path=/master/log":  "http/files-browse-path=-master-log.http",
		"/files/browse?path=/master/log/": "http/files-browse-path=-master-log.http",
		"/files/browse?path=/nope":        "http/files-browse-path=-nope.http",
		"/files/read?path=/nope":          "http/files-browse-path=-nope.http",
		"/files/download?path=/etc/x":     "http/files-browse-path=-nope.http",
		"/files/read":                     "http/files-browse.http",
	} {
		want, got := record(t, recorded), get(t, h, url)
		if got.Code != want.status || strings.TrimSpace(got.Body.String()) != string(want.body) || got.Header().Get("Content-Type") != want.header.Get("Content-Type") {
			t.Errorf("%s: %d %q %v", url, got.Code, got.Body, got.Header())
		}
	}
	for query, want := range map[string]string{
		"":                     fmt.Sprintf(`{"data":"","offset":%d}`, len(odd)+len(long)),
		"&offset=-1":           fmt.Sprintf(`{"data":"","offset":%d}`, len(odd)+len(long)),
		"&offset=0&length=11":  `{"data":"a\"b\\c\n\t\u0001` + "\xff\u00e9" + `","offset":0}`,
		"&offset=11&length=5":  `{"data":"01234","offset":11}`,
		"&offset=999999":       `{"data":"","offset":999999}`,
		"&offset=11":           `{"data":"` + long[:65536] + `","offset":11}`,
		"&offset=11&length=-1": `{"data":"` + long[:65536] + `","offset":11}`,
	} {
		if got := get(t, h, "/files/read?path=/master/log"+query); got.Body.String() != want {
			t.Errorf("%s: %.100q, want %.100q", query, got.Body, want)
		}
	}
	for query, want := range map[string]string{
		"&offset=x":           "Failed to parse offset: Failed to convert 'x' to number.\n",
		"&offset=0&length=-2": "Negative length provided: -2.\n",
	} {
		if got := get(t, h, "/files/read?path=/master/log"+query); got.Code != 400 || got.Body.String() != want {
			t.Errorf("%s: %d %q", query, got.Code, got.Body)
		}
	}
	got := get(t, h, "/files/download?path=/master/log")
	if got.Body.String() != odd+long || got.Header().Get("Content-Disposition") != "attachment; filename=log" ||
		got.Header().Get("Content-Type") != "application/octet-stream" {
		t.Errorf("download: %d bytes, %v", got.Body.Len(), got.Header())
	}
	if got := get(t, h, "/files/debug").Body.String(); got != `{"/master/log":"`+name+`"}` {
		t.Errorf("debug: %s", got)
	}
	if got := get(t, h, "/files/debug?jsonp=cb").Body.String(); !strings.HasPrefix(got, "cb({") {
		t.Errorf("debug with jsonp: %s", got)
	}
	without, _ := recordedShell(t, nil)
	if got := get(t, mux(without), "/files/debug").Body.String(); got != "{}" {
		t.Errorf("debug without a log: %s", got)
	}
	if got := get(t, mux(without), "/files/browse?path=/master/log"); got.Code != 404 {
		t.Errorf("browse without a log: %d", got.Code)
	}
}

// TestLoggingLevel sets the level by both APIs; it goes back by itself.
func TestLoggingLevel(t *testing.T) {
	level := new(slog.LevelVar)
	level.Set(slog.LevelWarn)
	shell, _ := recordedShell(t, func(c *operators.Config) { c.LogLevel = level })
	h := mux(shell)
	want := record(t, "http/logging-toggle.http")
	if got := get(t, h, "/logging/toggle"); got.Code != want.status || strings.TrimSpace(got.Body.String()) != string(want.body) ||
		got.Header().Get("Content-Type") != want.header.Get("Content-Type") {
		t.Errorf("%d %q %v", got.Code, got.Body, got.Header())
	}
	for query, want := range map[string]string{
		"?level=1":                    "Expecting 'duration=value' in query.\n",
		"?duration=1secs":             "Expecting 'level=value' in query.\n",
		"?level=x&duration=1secs":     "Failed to convert 'x' to number.\n",
		"?level=-1&duration=1secs":    "Invalid level '-1'.\n",
		"?level=1&duration=1parsec":   "Unknown duration unit 'parsec'.\n",
		"?level=1&duration=manysecs":  "Unknown duration unit 'manysecs'.\n",
		"?level=1&duration=1e99weeks": "Failed to convert '1e99' to number.\n",
		"?level=1&duration=":          "Unknown duration unit ''.\n",
	} {
		if got := get(t, h, "/logging/toggle"+query); got.Code != 400 || got.Body.String() != want {
			t.Errorf("%s: %d %q", query, got.Code, got.Body)
		}
	}
	present := func(want string) {
		t.Helper()
		if got := post(h, http.MethodPost, "/api/v1", `{"type":"GET_LOGGING_LEVEL"}`).Body.String(); !strings.Contains(got, `{"level":`+want+`}`) {
			t.Errorf("%s, want level %s", got, want)
		}
		if want == "0" != (level.Level() == slog.LevelWarn) {
			t.Errorf("level %s logs from %s on", want, level.Level())
		}
	}
	if got := get(t, h, "/logging/toggle?level=2&duration=1hrs"); got.Code != 200 || got.Body.Len() != 0 {
		t.Errorf("%d %q", got.Code, got.Body)
	}
	present("2")
	got := post(h, http.MethodPost, "/api/v1", `{"type":"SET_LOGGING_LEVEL","set_logging_level":{"level":1,"duration":{"nanoseconds":3600000000000}}}`)
	if _, typed := got.Header()["Content-Type"]; got.Code != 200 || got.Body.Len() != 0 || typed {
		t.Errorf("%d %q %v", got.Code, got.Body, got.Header())
	}
	present("1")
	get(t, h, "/logging/toggle?level=3&duration=1ms")
	for deadline := time.Now().Add(10 * time.Second); level.Level() != slog.LevelWarn; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the level does not go back")
		}
	}
	present("0")
	get(t, h, "/logging/toggle?level=3&duration=1hrs")
	get(t, h, "/logging/toggle?level=0&duration=1hrs")
	present("0")
	if got := post(h, http.MethodPost, "/api/v1", `{"type":"SET_LOGGING_LEVEL"}`); got.Code != 400 {
		t.Errorf("without its message: %d %s", got.Code, got.Body)
	}
}

// TestHelp looks for every endpoint in the page.
func TestHelp(t *testing.T) {
	shell, _ := recordedShell(t, nil)
	h := mux(shell)
	page := get(t, h, "/help")
	if page.Header().Get("Content-Type") != "text/html" {
		t.Errorf("%v", page.Header())
	}
	for _, r := range shell.Routes() {
		if path := r.Path; !strings.HasSuffix(path, "/*") && !strings.HasPrefix(path, "/files/") && !strings.Contains(page.Body.String(), "<dt>"+path+"</dt>") {
			t.Errorf("no help for %s", path)
		}
	}
	var below http.Handler
	for _, r := range shell.Routes() {
		if r.Path == "/help/*" {
			below = r.Handler
		}
	}
	if got := get(t, below, "/help/files").Body.String(); !strings.Contains(got, "/files/read") || strings.Contains(got, "/state") {
		t.Errorf("%s", got)
	}
	if got := get(t, below, "/help/nothing"); got.Code != 400 {
		t.Errorf("%d", got.Code)
	}
}

// TestRegistry compares the names in /registrar(1)/registry with the recording.
func TestRegistry(t *testing.T) {
	shell, d := recordedShell(t, nil)
	h := mux(shell)
	want := ordered(t, record(t, "http/registrar-1-registry.http").body).(object)
	got := ordered(t, get(t, h, "/registrar(1)/registry").Body.Bytes()).(object)
	for _, path := range [][]string{{"master", "info", "hostname"}, {"master", "info", "pid"}, {"master", "info", "id"}} {
		a, b := want, got
		for _, name := range path[:len(path)-1] {
			a, b = a.values[name].(object), b.values[name].(object)
		}
		if last := path[len(path)-1]; a.values[last] != b.values[last] {
			t.Errorf("%v: %v, want %v", path, b.values[last], a.values[last])
		}
	}
	agents := func(o object) map[string]bool {
		found := map[string]bool{}
		for _, a := range o.values["slaves"].(object).values["slaves"].([]any) {
			found[a.(object).values["info"].(object).values["id"].(object).values["value"].(string)] = true
		}
		return found
	}
	if a, b := agents(want), agents(got); fmt.Sprint(a) != fmt.Sprint(b) {
		t.Errorf("agents %v, want %v", b, a)
	}
	d.book.Gone = []ledger.Absence{{Agent: "x-S1", Since: time.Unix(5, 0)}}
	if got := get(t, h, "/registrar(1)/registry").Body.String(); !strings.Contains(got, `"gone":{"slaves":[{"id":{"value":"x-S1"},"timestamp":{"nanoseconds":5000000000}}]}`) {
		t.Errorf("%s", got)
	}
	d.recovering()
	if got := get(t, h, "/registrar(1)/registry").Body.String(); got != "{}" {
		t.Errorf("a standby tells %s", got)
	}
}

// TestMetricsTimeout leaves out what takes longer than the client wants to wait.
func TestMetricsTimeout(t *testing.T) {
	reg := metrics.New()
	reg.Source(func(ctx context.Context, emit func(metrics.Sample)) {
		if _, limited := ctx.Deadline(); limited {
			<-ctx.Done() // as a busy ledger
			return
		}
		emit(metrics.Sample{Flat: "master/slow", Value: 1})
	})
	shell, _ := recordedShell(t, func(c *operators.Config) { c.Metrics = reg })
	h := mux(shell)
	if got := get(t, h, "/metrics/snapshot").Body.String(); !strings.Contains(got, `"master/slow":1.0`) {
		t.Errorf("without a timeout %s", got)
	}
	if got := get(t, h, "/metrics/snapshot?timeout=1ms").Body.String(); strings.Contains(got, "master/slow") || !strings.Contains(got, `"system/cpus_total":`) {
		t.Errorf("with a timeout %s", got)
	}
	body := post(h, http.MethodPost, "/api/v1", `{"type":"GET_METRICS","get_metrics":{"timeout":{"nanoseconds":1000000}}}`).Body.String()
	if strings.Contains(body, "master/slow") || !strings.Contains(body, `"system/cpus_total"`) {
		t.Errorf("GET_METRICS with a timeout %s", body)
	}
	if got := get(t, h, "/metrics/snapshot?timeout=soon"); got.Code != 400 || !strings.HasPrefix(got.Body.String(), "Invalid timeout 'soon': ") {
		t.Errorf("%d %s", got.Code, got.Body)
	}
}

// TestSnapshotRate shows that the third answer waits for its turn, and that a client
// which goes away does not.
func TestSnapshotRate(t *testing.T) {
	shell, _ := recordedShell(t, func(c *operators.Config) { c.SnapshotEvery = 30 * time.Millisecond })
	h := mux(shell)
	began := time.Now()
	for range 3 {
		if got := get(t, h, "/metrics/snapshot"); got.Code != 200 {
			t.Errorf("%d", got.Code)
		}
	}
	if took := time.Since(began); took < 60*time.Millisecond {
		t.Errorf("three answers took %s", took)
	}
}

// TestWebUI serves a folder and nothing outside of it.
func TestWebUI(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"index.html": "<p>home", "app/a.js": "1", "assets/b.css": "2"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/hostname", filepath.Join(dir, "app", "out")); err != nil {
		t.Fatal(err)
	}
	shell, _ := recordedShell(t, func(c *operators.Config) { c.WebUIDir = dir })
	byPath := map[string]http.Handler{}
	for _, r := range shell.Routes() {
		byPath[r.Path] = r.Handler
	}
	for url, want := range map[string]string{"/": "<p>home", "/app/a.js": "1", "/assets/b.css": "2"} {
		if got := get(t, byPath["/app/*"], url); got.Code != 200 || got.Body.String() != want {
			t.Errorf("%s: %d %q", url, got.Code, got.Body)
		}
	}
	for _, url := range []string{"/app/none", "/app", "/app/../../etc/hostname", "/app/out"} {
		if got := get(t, byPath["/app/*"], url); got.Code != 404 {
			t.Errorf("%s: %d %q", url, got.Code, got.Body)
		}
	}
}
