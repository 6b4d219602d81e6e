package master_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
	"github.com/stoa-project/stoa/master"
	"google.golang.org/protobuf/proto"
)

// recordedAnswer is one answer of a real Mesos master, a file of testdata.
type recordedAnswer struct {
	code   int
	header map[string]string
	body   string
}

func loadAnswer(t *testing.T, name string) recordedAnswer {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	head, body, _ := strings.Cut(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n\n")
	lines := strings.Split(head, "\n")
	a := recordedAnswer{header: map[string]string{}, body: body}
	if a.code, err = strconv.Atoi(strings.Fields(lines[0])[1]); err != nil {
		t.Fatal(err)
	}
	for _, line := range lines[1:] {
		k, v, _ := strings.Cut(line, ": ")
		a.header[k] = v
	}
	return a
}

// ids replaces what differs between two masters.
var ids = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(-[0-9]{4})?`)

func anonymous(s string) string { return ids.ReplaceAllString(s, "ID") }

// TestRecordedAnswers sends what a recorded Mesos answered with an error (or without a
// body) and compares status, headers and text. Rows are those of mesos-master.md 1.2.
func TestRecordedAnswers(t *testing.T) {
	m := startMaster(t, master.Config{})
	f := m.subscribe(fmt.Sprintf(subscribeJSON, "", ""))
	f.next(scheduler.Event_SUBSCRIBED)
	old := f.stream
	again := fmt.Sprintf(subscribeJSON, fmt.Sprintf(`,"id":{"value":%q}`, f.id), `,"framework_id":{"value":"`+f.id+`"}`)
	f = m.subscribe(again)
	f.next(scheduler.Event_SUBSCRIBED)
	gone := m.subscribe(fmt.Sprintf(subscribeJSON, "", ""))
	gone.next(scheduler.Event_SUBSCRIBED)
	gone.close()
	eventually(t, "the second framework is disconnected", func() bool {
		s, err := m.door.View(context.Background())
		return err == nil && len(s.Frameworks) == 2 && !s.Frameworks[1].Connected
	})
	done := m.subscribe(fmt.Sprintf(subscribeJSON, "", ""))
	done.next(scheduler.Event_SUBSCRIBED)
	if code, _ := done.call(`{"type":"TEARDOWN"}`); code != 202 {
		t.Fatalf("TEARDOWN: %d", code)
	}
	done.ended()

	own := fmt.Sprintf(`"framework_id":{"value":%q}`, f.id)
	plain := `{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"u","name":"f"}}}`
	update := func(info string) string {
		return `{"type":"UPDATE_FRAMEWORK",` + own + `,"update_framework":{"framework_info":{"id":{"value":"` + f.id + `"},"name":"f",` + info + `}}}`
	}
	type request struct{ method, contentType, accept, stream, body string }
	for name, r := range map[string]request{
		"06-get-method":                         {"GET", js, "", "", ""},
		"06-put-method":                         {"PUT", js, "", "", "{}"},
		"07-no-content-type":                    {"POST", "", "", "", "{}"},
		"07-unsupported-content-type":           {"POST", "text/plain", "", "", "{}"},
		"08-bad-protobuf":                       {"POST", pb, "", "", "\xff\xff"},
		"08-missing-type":                       {"POST", js, "", "", "{}"},
		"08-type-not-known":                     {"POST", js, "", "", `{"type":"DANCE"}`},
		"08-missing-required-user":              {"POST", js, "", "", `{"type":"SUBSCRIBE","subscribe":{"framework_info":{"name":"f"}}}`},
		"08-camelCase-key":                      {"POST", js, "", "", `{"type":"SUBSCRIBE","subscribe":{"frameworkInfo":{"user":"u","name":"f"}}}`},
		"08-missing-subscribe":                  {"POST", js, "", "", `{"type":"SUBSCRIBE"}`},
		"08-framework-id-mismatch":              {"POST", js, "", "", `{"type":"SUBSCRIBE","framework_id":{"value":"x"},"subscribe":{"framework_info":{"user":"u","name":"f","id":{"value":"y"}}}}`},
		"08-framework-id-only-outer":            {"POST", js, "", "", `{"type":"SUBSCRIBE","framework_id":{"value":"x"},"subscribe":{"framework_info":{"user":"u","name":"f"}}}`},
		"08-framework-id-only-inner":            {"POST", js, "", "", `{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"u","name":"f","id":{"value":"y"}}}}`},
		"08-missing-framework-id":               {"POST", js, "", f.stream, `{"type":"REVIVE"}`},
		"08-bad-uuid":                           {"POST", js, "", f.stream, `{"type":"ACKNOWLEDGE",` + own + `,"acknowledge":{"agent_id":{"value":"a"},"task_id":{"value":"t"},"uuid":"AAAA"}}`},
		"09-subscribe-bad-accept":               {"POST", js, "text/html", "", plain},
		"09-subscribe-accept-recordio":          {"POST", js, "application/recordio", "", plain},
		"09-reconcile-operations-bad-accept":    {"POST", js, "text/html", f.stream, `{"type":"RECONCILE_OPERATIONS",` + own + `,"reconcile_operations":{}}`},
		"10-subscribe-with-stream-id":           {"POST", js, "", "x", plain},
		"11-unknown-framework":                  {"POST", js, "", "x", `{"type":"REVIVE","framework_id":{"value":"nobody"}}`},
		"11-unknown-framework-accept-ignored":   {"POST", js, "text/html", "x", `{"type":"REVIVE","framework_id":{"value":"nobody"}}`},
		"11-completed-framework":                {"POST", js, "", done.stream, `{"type":"REVIVE","framework_id":{"value":"` + done.id + `"}}`},
		"13-disconnected-framework":             {"POST", js, "", gone.stream, `{"type":"REVIVE","framework_id":{"value":"` + gone.id + `"}}`},
		"15-missing-stream-id":                  {"POST", js, "", "", `{"type":"REVIVE",` + own + `}`},
		"15-wrong-stream-id":                    {"POST", js, "", "nope", `{"type":"REVIVE",` + own + `}`},
		"15-old-stream-id":                      {"POST", js, "", old, `{"type":"REVIVE",` + own + `}`},
		"16-type-UNKNOWN-no-framework":          {"POST", js, "", "", `{"type":"UNKNOWN"}`},
		"16-type-UNKNOWN-unknown-framework":     {"POST", js, "", "", `{"type":"UNKNOWN","framework_id":{"value":"nobody"}}`},
		"17-update-framework-change-user":       {"POST", js, "", f.stream, update(`"user":"nobody","checkpoint":true`)},
		"17-update-framework-change-checkpoint": {"POST", js, "", f.stream, update(`"user":"root"`)},
		"17-update-framework-change-principal":  {"POST", js, "", f.stream, update(`"user":"root","checkpoint":true,"principal":"p"`)},
		"17-update-framework-missing-role":      {"POST", js, "", f.stream, update(`"user":"root","checkpoint":true,"roles":["a"]`)},
		"17-update-framework-ok":                {"POST", js, "", f.stream, update(`"user":"root","checkpoint":true`)},
		"18-ok":                                 {"POST", js, "", f.stream, `{"type":"REVIVE",` + own + `}`},
		"18-ok-accept-ignored":                  {"POST", js, "text/html", f.stream, `{"type":"SUPPRESS",` + own + `}`},
	} {
		checkAnswer(t, m, name, r.method, r.contentType, r.accept, r.stream, r.body)
	}
	for _, what := range []string{"accept", "decline", "accept_inverse_offers", "decline_inverse_offers", "kill", "shutdown", "acknowledge",
		"acknowledge_operation_status", "reconcile", "reconcile_operations", "message", "request", "update_framework"} {
		checkAnswer(t, m, "08-missing-"+what, "POST", js, "", f.stream, `{"type":"`+strings.ToUpper(what)+`",`+own+`}`)
	}
	checkAnswer(t, m, "18-teardown", "POST", js, "", f.stream, `{"type":"TEARDOWN",`+own+`}`)
}

func checkAnswer(t *testing.T, m *running, name, method, contentType, accept, stream, body string) {
	t.Helper()
	want := loadAnswer(t, "scheduler-errors/"+name+".http")
	header := http.Header{}
	for k, v := range map[string]string{"Content-Type": contentType, "Accept": accept, "Mesos-Stream-Id": stream} {
		if v != "" {
			header.Set(k, v)
		}
	}
	resp, got := m.do(method, "/master/api/v1/scheduler", header, []byte(body))
	if resp.StatusCode != want.code {
		t.Errorf("%s: %s %s, want %d %s", name, resp.Status, got, want.code, want.body)
		return
	}
	switch text := anonymous(string(got)); {
	case name == "17-update-framework-change-checkpoint": // the recorded framework had it the other way round
		if !strings.HasSuffix(text, "attempted to update from 'true' to 'false'") {
			t.Errorf("%s: %q", name, text)
		}
		return
	case text != anonymous(want.body):
		t.Errorf("%s: %q\nwant %q", name, text, anonymous(want.body))
	}
	delete(want.header, "Date")
	if text := anonymous(want.body); text != want.body {
		want.header["Content-Length"] = strconv.Itoa(len(got))
	}
	if name == "17-update-framework-ok" {
		want.header["Content-Type"] = js // mesos-go takes an answer without it for a failure (T3)
	}
	has := map[string]string{}
	for k := range resp.Header {
		if k != "Date" && k != "Connection" {
			has[k] = resp.Header.Get(k)
		}
	}
	if fmt.Sprint(has) != fmt.Sprint(want.header) {
		t.Errorf("%s: headers %v\nwant %v", name, has, want.header)
	}
}

// TestAnswersBesideMesos are the rows where the contract decides otherwise than Mesos, and
// the texts that depend on a parser.
func TestAnswersBesideMesos(t *testing.T) {
	m := startMaster(t, master.Config{})
	f := m.subscribe(fmt.Sprintf(subscribeJSON, "", ""))
	f.next(scheduler.Event_SUBSCRIBED)
	for _, c := range []struct {
		body string
		code int
		text string
	}{
		{"{", 400, "Failed to parse body into JSON: "},
		{"", 400, "Failed to parse body into JSON: "},
		{"[]", 400, "Failed to convert JSON into Call protobuf: Expecting a JSON object"},
		{`{"type":"UNKNOWN","framework_id":{"value":"` + f.id + `"}}`, 501, "Received 'UNKNOWN' call"},
		{`{"type":"REVIVE","framework_id":{"value":"` + f.id + `"}}`, 202, ""},
	} {
		resp, got := m.do("POST", "/api/v1/scheduler", http.Header{"Content-Type": {js}, "Mesos-Stream-Id": {f.stream}}, []byte(c.body))
		if resp.StatusCode != c.code || !strings.HasPrefix(string(got), c.text) {
			t.Errorf("%s: %s %s", c.body, resp.Status, got)
		}
	}
	// A call of type UNKNOWN must not end anything (row 16): the stream is still there.
	if code, _ := f.call(`{"type":"RECONCILE","reconcile":{"tasks":[{"task_id":{"value":"t"}}]}}`); code != 202 {
		t.Errorf("RECONCILE: %d", code)
	}
	f.next(scheduler.Event_UPDATE)
}

// TestDriverConnected is row 14: a framework that is there through a driver takes no calls
// over HTTP, until it subscribes there; then the driver hears that it failed over.
func TestDriverConnected(t *testing.T) {
	m := startMaster(t, master.Config{})
	d := startDriver(t, m.addr)
	d.send(&messages.RegisterFrameworkMessage{Framework: &mesos.FrameworkInfo{User: proto.String("root"), Name: proto.String("f"),
		FailoverTimeout: proto.Float64(3600), Checkpoint: proto.Bool(true)}})
	id := await[*messages.FrameworkRegisteredMessage](d).GetFrameworkId().GetValue()
	resp, got := m.do("POST", "/api/v1/scheduler", http.Header{"Content-Type": {js}, "Mesos-Stream-Id": {"x"}},
		[]byte(`{"type":"REVIVE","framework_id":{"value":"`+id+`"}}`))
	if resp.StatusCode != 403 || string(got) != "Framework is not connected via HTTP" {
		t.Errorf("%s %s", resp.Status, got)
	}
	f := m.subscribe(fmt.Sprintf(subscribeJSON, fmt.Sprintf(`,"id":{"value":%q}`, id), `,"framework_id":{"value":"`+id+`"}`))
	if now := f.next(scheduler.Event_SUBSCRIBED).GetSubscribed().GetFrameworkId().GetValue(); now != id {
		t.Errorf("framework id %s, want %s", now, id)
	}
	if text := await[*messages.FrameworkErrorMessage](d).GetMessage(); text != "Framework failed over" {
		t.Errorf("error %q", text)
	}
	if code, _ := f.call(`{"type":"REVIVE"}`); code != 202 {
		t.Errorf("REVIVE: %d", code)
	}
}

// TestRecordedRefusals: SUBSCRIBEs that break a rule of content are 200 with a stream of
// one ERROR event, in Mesos' words, and its end (T23).
func TestRecordedRefusals(t *testing.T) {
	m := startMaster(t, master.Config{})
	removed := m.subscribe(fmt.Sprintf(subscribeJSON, "", ""))
	removed.next(scheduler.Event_SUBSCRIBED)
	removed.call(`{"type":"TEARDOWN"}`)
	removed.ended()
	const multi = `"capabilities":[{"type":"MULTI_ROLE"}]`
	requests := map[string]struct{ info, beside, outer string }{
		"bad-framework-id":          {`"id":{"value":"a/b"}`, "", `,"framework_id":{"value":"a/b"}`},
		"completed-framework":       {`"id":{"value":"` + removed.id + `"}`, "", `,"framework_id":{"value":"` + removed.id + `"}`},
		"constraint-empty-groups":   {`"roles":["a"],` + multi, `,"offer_constraints":{"role_constraints":{"a":{}}}`, ""},
		"constraint-foreign-role":   {`"roles":["a"],` + multi, `,"offer_constraints":{"role_constraints":{"b":{"groups":[{"attribute_constraints":[{"selector":{"attribute_name":"x"},"predicate":{"exists":{}}}]}]}}}`, ""},
		"duplicate-roles":           {`"roles":["a","a"],` + multi, "", ""},
		"failover-timeout-overflow": {`"failover_timeout":1e300`, "", ""},
		"offer-filters-empty-group": {`"offer_filters":{"*":{"min_allocatable_resources":{"quantities":[{}]}}}`, "", ""},
		"role-with-multi-role":      {`"role":"a",` + multi, "", ""},
		"roles-without-multi-role":  {`"roles":["a"]`, "", ""},
		"suppressed-not-subset":     {`"roles":["a"],` + multi, `,"suppressed_roles":["b"]`, ""},
	}
	for i, role := range []string{"/a", "a/", "a//b", ".", "..", "a/../b", "-a", "a b", "a/*", `a\tb`, `a\u007f`} {
		requests["bad-role-"+strconv.Itoa(i)] = struct{ info, beside, outer string }{`"role":"` + role + `"`, "", ""}
	}
	for name, r := range requests {
		want := loadAnswer(t, "scheduler-errors/subscribe-"+name+".txt")
		resp, body := m.do("POST", "/api/v1/scheduler", http.Header{"Content-Type": {js}},
			[]byte(`{"type":"SUBSCRIBE"`+r.outer+`,"subscribe":{"framework_info":{"user":"u","name":"f",`+r.info+`}`+r.beside+`}}`))
		if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != js || resp.Header.Get("Mesos-Stream-Id") == "" || resp.ContentLength != -1 {
			t.Errorf("%s: %s %v", name, resp.Status, resp.Header)
		}
		record, err := wire.NewReader(bytes.NewReader(body), 0).ReadRecord()
		if err != nil {
			t.Errorf("%s: %v in %q", name, err, body)
			continue
		}
		_, text, _ := strings.Cut(want.body, "\n")
		if string(record) != text || len(body) != len(record)+len(strconv.Itoa(len(record)))+1 {
			t.Errorf("%s: %s\nwant %s", name, body, text)
		}
	}
}

// TestMoreRefusals are those without a recording.
func TestMoreRefusals(t *testing.T) {
	m := startMaster(t, master.Config{NoRoot: true, Roles: []string{"web"}})
	const multi = `"capabilities":[{"type":"MULTI_ROLE"}]`
	long := strings.Repeat("x", 256)
	for _, c := range []struct{ info, beside, outer, text string }{
		{`"user":"root"`, "", "", "User 'root' is not allowed to run frameworks without --root_submissions set"},
		{`"user":"u","roles":["web","b","a"],` + multi, "", "", "Roles { a, b } are not present in the master's --roles"},
		{`"user":"u","roles":["web","/b"],` + multi, "", "", "'FrameworkInfo.roles' contains invalid role: Role '/b' cannot start with a slash"},
		{`"user":"u","failover_timeout":"Infinity"`, "", "", "The framework failover_timeout (+Inf) is invalid"},
		{`"user":"u","offer_filters":{"*":{"min_allocatable_resources":{"quantities":[{"quantities":{"cpus":{"value":-1}}}]}}}`, "", "", "Invalid resource quantity for 'cpus': Negative values not supported"},
		{`"user":"u","id":{"value":"` + long + `"}`, "", `,"framework_id":{"value":"` + long + `"}`, "ID must not be greater than 255 characters"},
		{`"user":"u","id":{"value":".."}`, "", `,"framework_id":{"value":".."}`, "'..' is disallowed"},
		{`"user":"u","id":{"value":"a\\b"}`, "", `,"framework_id":{"value":"a\\b"}`, `'a\b' contains invalid characters`},
		{`"user":"u","roles":["web"],` + multi, `,"offer_constraints":{"role_constraints":{"web":{"groups":[{}]}}}`, "", "Offer constraints are not valid: "},
		{`"user":"u","roles":["web"],` + multi, `,"offer_constraints":{"role_constraints":{"web":{"groups":[{"attribute_constraints":[{"selector":{"attribute_name":"x"},"predicate":{"text_matches":{"regex":"("}}}]}]}}}`, "", "Offer constraints are not valid: "},
	} {
		s := m.subscribe(`{"type":"SUBSCRIBE"` + c.outer + `,"subscribe":{"framework_info":{"name":"f",` + c.info + `}` + c.beside + `}}`)
		if got := s.next(scheduler.Event_ERROR).GetError().GetMessage(); !strings.HasPrefix(got, c.text) {
			t.Errorf("%s: got %q, want %q", c.info, got, c.text)
		}
		s.ended()
	}
	s, err := m.door.View(t.Context())
	if err != nil || len(s.Frameworks) != 0 {
		t.Errorf("frameworks %v, %v", s.Frameworks, err)
	}
}
