package operators_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/master/operators"
)

// post sends one request; headers are name, value pairs, "" leaves a default out.
func post(h http.Handler, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", wire.MediaJSON)
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i+1] == "" {
			r.Header.Del(headers[i])
			continue
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

var reads = []string{
	"GET_HEALTH", "GET_FLAGS", "GET_VERSION", "GET_LOGGING_LEVEL", "GET_STATE", "GET_AGENTS", "GET_FRAMEWORKS", "GET_EXECUTORS",
	"GET_OPERATIONS", "GET_TASKS", "GET_ROLES", "GET_WEIGHTS", "GET_MASTER", "GET_QUOTA", "GET_MAINTENANCE_STATUS", "GET_MAINTENANCE_SCHEDULE",
}

func TestReadsAsRecorded(t *testing.T) {
	shell, _ := recordedShell(t, nil)
	h := mux(shell)
	unlike := set(".get_state.get_frameworks.frameworks[].framework_info.hostname", ".get_frameworks.frameworks[].framework_info.hostname",
		".get_state.get_frameworks.completed_frameworks[].framework_info.hostname", ".get_frameworks.completed_frameworks[].framework_info.hostname",
		".get_flags.flags")
	for _, call := range reads {
		t.Run(call, func(t *testing.T) {
			want := record(t, "v1/"+call+".json.http")
			got := post(h, http.MethodPost, "/api/v1", fmt.Sprintf(`{"type":%q}`, call))
			checkHead(t, got, want.status, wire.MediaJSON)
			compare(t, "", ordered(t, want.body), ordered(t, got.Body.Bytes()), unlike)

			// The protobuf answer says the same as the JSON one.
			inPB := post(h, http.MethodPost, "/api/v1", fmt.Sprintf(`{"type":%q}`, call), "Accept", wire.MediaProtobuf)
			checkHead(t, inPB, want.status, wire.MediaProtobuf)
			a, b := &masterapi.Response{}, &masterapi.Response{}
			if err := wire.UnmarshalJSON(got.Body.Bytes(), a); err != nil {
				t.Fatal(err)
			}
			if err := wire.Protobuf.Unmarshal(inPB.Body.Bytes(), b); err != nil {
				t.Fatal(err)
			}
			sent, err := wire.JSON.Marshal(b)
			if err != nil {
				t.Fatal(err)
			}
			again, err := wire.JSON.Marshal(a)
			if err != nil {
				t.Fatal(err)
			}
			if string(sent) != string(again) {
				t.Errorf("the codecs disagree:\n%.2000s\n%.2000s", sent, again)
			}
		})
	}
}

func checkHead(t *testing.T, got *httptest.ResponseRecorder, status int, media string) {
	t.Helper()
	if got.Code != status || got.Header().Get("Content-Type") != media || got.Header().Get("Content-Length") != fmt.Sprint(got.Body.Len()) {
		t.Errorf("%d %v for %d bytes", got.Code, got.Header(), got.Body.Len())
	}
}

func TestGetMetrics(t *testing.T) {
	shell, _ := recordedShell(t, nil)
	got := post(mux(shell), http.MethodPost, "/api/v1", `{"type":"GET_METRICS","get_metrics":{"timeout":{"nanoseconds":5000000000}}}`)
	r := &masterapi.Response{}
	if err := wire.UnmarshalJSON(got.Body.Bytes(), r); err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, m := range r.GetGetMetrics().GetMetrics() {
		names[m.GetName()] = m.Value != nil
	}
	if !names["system/load_1min"] || !names["master/operator_event_stream_subscribers"] {
		t.Errorf("%v", names)
	}
}

// Wrong requests are answered with status, text and Allow of the real master.
func TestErrorsAsRecorded(t *testing.T) {
	shell, _ := recordedShell(t, nil)
	h := mux(shell)
	const health = `{"type":"GET_HEALTH"}`
	pb, err := proto.Marshal(&masterapi.Call{Type: masterapi.Call_GET_HEALTH.Enum()})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		file, method, path, body string
		headers                  []string
		prefix                   bool // the text goes on with the parser's own words
	}{
		{file: "accept-both-pb-first", body: health, headers: []string{"Accept", "application/x-protobuf, application/json"}},
		{file: "accept-pb-for-json-request", body: health, headers: []string{"Accept", "application/x-protobuf"}},
		{file: "accept-q0", body: health, headers: []string{"Accept", "application/json;q=0, application/x-protobuf"}},
		{file: "accept-recordio", body: health, headers: []string{"Accept", "application/recordio"}},
		{file: "accept-type-star", body: health, headers: []string{"Accept", "application/*"}},
		{file: "no-accept", body: health},
		{file: "bad-accept", body: health, headers: []string{"Accept", "text/html"}},
		{file: "bad-content-type", body: health, headers: []string{"Content-Type", "text/plain"}},
		{file: "no-content-type", body: health, headers: []string{"Content-Type", ""}},
		{file: "bad-json", body: `{"type":`, prefix: true},
		{file: "empty-body", body: ``, prefix: true},
		{file: "bad-pb", body: "\xff\xff\xff", headers: []string{"Content-Type", wire.MediaProtobuf}},
		{file: "not-object", body: `[1]`},
		{file: "numeric-type", body: `{"type":1}`},
		{file: "no-type", body: `{}`},
		{file: "unknown-type", body: `{"type":"NO_SUCH_CALL"}`},
		{file: "type-UNKNOWN", body: `{"type":"UNKNOWN"}`},
		{file: "missing-sub-message", body: `{"type":"GET_METRICS"}`},
		{file: "missing-framework-id", body: `{"type":"TEARDOWN","teardown":{}}`},
		{file: "teardown-unknown", body: `{"type":"TEARDOWN","teardown":{"framework_id":{"value":"nope"}}}`},
		{file: "list-files-missing", body: `{"type":"LIST_FILES","list_files":{"path":"/nope"}}`},
		{file: "read-file-missing", body: `{"type":"READ_FILE","read_file":{"path":"/nope","offset":0}}`},
		{file: "get-method", method: http.MethodGet},
		{file: "teardown-get", method: http.MethodGet, path: "/teardown"},
		{file: "form-teardown-missing", path: "/teardown", body: "x=y", headers: []string{"Content-Type", "application/x-www-form-urlencoded"}},
		{file: "form-teardown-unknown", path: "/teardown", body: "frameworkId=nope", headers: []string{"Content-Type", ""}},
		{file: "reserve-unknown-agent", body: `{"type":"RESERVE_RESOURCES","reserve_resources":{"agent_id":{"value":"nope"},"resources":[]}}`},
		{file: "reserve-form-missing", path: "/reserve", body: "x=y"},
		{file: "reserve-form-unknown-agent", path: "/reserve", body: "slaveId=nope&resources=[]"},
		{file: "weights-post", path: "/weights"},
	} {
		t.Run(c.file, func(t *testing.T) {
			want := record(t, "errors/"+c.file+".http")
			method, path := http.MethodPost, "/api/v1"
			if c.method != "" {
				method = c.method
			}
			if c.path != "" {
				path = c.path
			}
			got := post(h, method, path, c.body, c.headers...)
			body := got.Body.String()
			if c.prefix {
				text, _, _ := strings.Cut(string(want.body), ": ")
				want.body = []byte(text)
				body, _, _ = strings.Cut(body, ": ")
			}
			if want.header.Get("Content-Type") == wire.MediaProtobuf {
				want.body = []byte(body) // binary, compared elsewhere
			}
			if got.Code != want.status || body != string(want.body) {
				t.Errorf("%d %q, want %d %q", got.Code, body, want.status, want.body)
			}
			for _, name := range []string{"Content-Type", "Allow"} {
				if got.Header().Get(name) != want.header.Get(name) {
					t.Errorf("%s %q, want %q", name, got.Header().Get(name), want.header.Get(name))
				}
			}
		})
	}
	if got := post(h, http.MethodPost, "/api/v1", string(pb), "Content-Type", wire.MediaProtobuf); got.Code != 200 || got.Header().Get("Content-Type") != wire.MediaJSON {
		t.Errorf("protobuf request: %d %v", got.Code, got.Header())
	}
}

// What this master cannot do it says, with its name, and pretends nothing.
func TestUnsupported(t *testing.T) {
	shell, _ := recordedShell(t, nil)
	h := mux(shell)
	for _, c := range []struct {
		method, path, body string
		code               int
		text               string
	}{
		{"POST", "/api/v1", `{"type":"UPDATE_QUOTA"}`, 400, "Failed to validate master::Call: Expecting 'update_quota' to be present"},
		{"DELETE", "/maintenance/status", ``, 405, "405 Method Not Allowed. Expecting one of { 'GET' }, but received 'DELETE'."},
		{"POST", "/api/v1", `{"type":"GET_HEALTH","x":"` + strings.Repeat("x", 5<<20) + `"}`, 413, "read body: the request body is over the limit of 4194304 bytes"},
	} {
		if got := post(h, c.method, c.path, c.body); got.Code != c.code || got.Body.String() != c.text {
			t.Errorf("%s %s %.60s: %d %q", c.method, c.path, c.body, got.Code, got.Body)
		}
	}
}

func TestTeardown(t *testing.T) {
	shell, d := recordedShell(t, nil)
	h := mux(shell)
	id := string(d.book.Frameworks[0].ID)
	got := post(h, http.MethodPost, "/api/v1", `{"type":"TEARDOWN","teardown":{"framework_id":{"value":"`+id+`"}}}`)
	if _, typed := got.Header()["Content-Type"]; got.Code != 200 || got.Body.Len() != 0 || typed || got.Header().Get("Content-Length") != "0" {
		t.Errorf("%d %v %q", got.Code, got.Header(), got.Body)
	}
	got = post(h, http.MethodPost, "/teardown", "frameworkId="+id, "Content-Type", "application/x-www-form-urlencoded")
	if got.Code != 200 || got.Body.Len() != 0 || len(d.torndown) != 2 {
		t.Errorf("%d %q %v", got.Code, got.Body, d.torndown)
	}
}

func TestLogFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	text := strings.Repeat("0123456789", 10000)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	shell, _ := recordedShell(t, func(c *operators.Config) { c.LogFile = name })
	h := mux(shell)
	got := post(h, http.MethodPost, "/api/v1", `{"type":"LIST_FILES","list_files":{"path":"/master/log"}}`)
	if want := record(t, "v1/LIST_FILES.json.http"); got.Body.String() != string(want.body) {
		t.Errorf("LIST_FILES %s", got.Body)
	}
	for _, c := range []struct {
		args string
		want string
	}{
		{`"offset":0`, text[:65536]},
		{`"offset":95003`, text[95003:]},
		{`"offset":5,"length":10`, text[5:15]},
		{`"offset":5,"length":0`, ""},
		{`"offset":100000`, ""},
		{`"offset":18446744073709551615`, ""},
	} {
		got := post(h, http.MethodPost, "/api/v1", `{"type":"READ_FILE","read_file":{"path":"/master/log",`+c.args+`}}`)
		r := &masterapi.Response{}
		if err := wire.UnmarshalJSON(got.Body.Bytes(), r); err != nil {
			t.Fatalf("%s: %v in %.100s", c.args, err, got.Body)
		}
		if f := r.GetReadFile(); f.GetSize() != 100000 || string(f.GetData()) != c.want {
			t.Errorf("%s: size %d, %d bytes", c.args, f.GetSize(), len(f.GetData()))
		}
	}
}
