package master_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stoa-project/stoa/internal/wire/scheduler"
	"github.com/stoa-project/stoa/master"
)

// TestResponseCodes is the table of mesos-master.md 1.2 against a leading master; the
// texts are those recorded from Mesos where they are its own.
func TestResponseCodes(t *testing.T) {
	m := startMaster(t, master.Config{})
	f := m.subscribe(fmt.Sprintf(subscribeJSON, "", ""))
	f.next(scheduler.Event_SUBSCRIBED)
	gone := m.subscribe(fmt.Sprintf(subscribeJSON, "", ""))
	gone.next(scheduler.Event_SUBSCRIBED)
	gone.close()
	eventually(t, "the second framework is disconnected", func() bool {
		s, err := m.door.View(context.Background())
		return err == nil && len(s.Frameworks) == 2 && !s.Frameworks[1].Connected
	})
	const js = "application/json"
	own := fmt.Sprintf(`"framework_id":{"value":%q}`, f.id)
	for _, c := range []struct {
		name, method, contentType, accept, stream, body string
		code                                            int
		text                                            string // prefix
	}{
		{"6 GET", "GET", js, "", "", "", 405, "405 Method Not Allowed. Expecting one of { 'POST' }, but received 'GET'."},
		{"6 PUT", "PUT", js, "", "", "{}", 405, "405 Method Not Allowed. Expecting one of { 'POST' }, but received 'PUT'."},
		{"7 none", "POST", "", "", "", "{}", 400, "Expecting 'Content-Type' to be present"},
		{"7 other", "POST", "text/plain", "", "", "{}", 415, "Expecting 'Content-Type' of application/json or application/x-protobuf"},
		{"7 charset accepted", "POST", js + "; charset=utf-8", "", "", `{"type":"REVIVE"}`, 400, "Failed to validate scheduler::Call: Expecting 'framework_id' to be present"},
		{"8 bad json", "POST", js, "", "", "{", 400, "Failed to parse body into JSON: "},
		{"8 empty", "POST", js, "", "", "", 400, "Failed to parse body into JSON: "},
		{"8 bad protobuf", "POST", "application/x-protobuf", "", "", "\xff\xff", 400, "Failed to parse body into Call protobuf"},
		{"8 no type", "POST", js, "", "", `{}`, 400, "Failed to validate scheduler::Call: Expecting 'type' to be present"},
		{"8 type not known", "POST", js, "", "", `{"type":"DANCE"}`, 400, "Failed to validate scheduler::Call: Expecting 'type' to be present"},
		{"8 no user", "POST", js, "", "", `{"type":"SUBSCRIBE","subscribe":{"framework_info":{"name":"f"}}}`, 400, "Failed to convert JSON into Call protobuf: Missing required fields: subscribe.framework_info.user"},
		{"8 no subscribe", "POST", js, "", "", `{"type":"SUBSCRIBE"}`, 400, "Failed to validate scheduler::Call: Expecting 'subscribe' to be present"},
		{"8 ids differ", "POST", js, "", "", `{"type":"SUBSCRIBE","framework_id":{"value":"x"},"subscribe":{"framework_info":{"user":"u","name":"f"}}}`, 400, "Failed to validate scheduler::Call: 'framework_id' differs from 'subscribe.framework_info.id'"},
		{"8 no accept", "POST", js, "", "", `{"type":"ACCEPT",` + own + `}`, 400, "Failed to validate scheduler::Call: Expecting 'accept' to be present"},
		{"8 no reconcile", "POST", js, "", "", `{"type":"RECONCILE",` + own + `}`, 400, "Failed to validate scheduler::Call: Expecting 'reconcile' to be present"},
		{"8 uuid", "POST", js, "", "", `{"type":"ACKNOWLEDGE",` + own + `,"acknowledge":{"agent_id":{"value":"a"},"task_id":{"value":"t"},"uuid":"AAAA"}}`, 400, "Failed to validate scheduler::Call: Not a valid UUID"},
		{"9 accept", "POST", js, "application/recordio", "", fmt.Sprintf(subscribeJSON, "", ""), 406, "Expecting 'Accept' to allow 'application/x-protobuf' or 'application/json'"},
		{"9 accept, reconcile operations", "POST", js, "text/html", "", `{"type":"RECONCILE_OPERATIONS","framework_id":{"value":"nobody"},"reconcile_operations":{}}`, 406, "Expecting 'Accept'"},
		{"10 stream", "POST", js, "", "x", fmt.Sprintf(subscribeJSON, "", ""), 400, "Subscribe calls should not include the 'Mesos-Stream-Id' header"},
		{"11 unknown", "POST", js, "text/html", "", `{"type":"REVIVE","framework_id":{"value":"nobody"}}`, 400, "Framework cannot be found"},
		{"13 disconnected", "POST", js, "", gone.stream, fmt.Sprintf(`{"type":"REVIVE","framework_id":{"value":%q}}`, gone.id), 403, "Framework is not subscribed"},
		{"15 missing", "POST", js, "", "", `{"type":"REVIVE",` + own + `}`, 400, "All non-subscribe calls should include the 'Mesos-Stream-Id' header"},
		{"15 wrong", "POST", js, "", "nope", `{"type":"REVIVE",` + own + `}`, 400, "The stream ID 'nope' included in this request didn't match the stream ID currently associated with framework ID " + f.id},
		{"16 unknown type", "POST", js, "", f.stream, `{"type":"UNKNOWN",` + own + `}`, 501, ""},
		{"17 user", "POST", js, "", f.stream, `{"type":"UPDATE_FRAMEWORK",` + own + `,"update_framework":{"framework_info":{"user":"nobody","name":"f","checkpoint":true,"id":{"value":"` + f.id + `"}}}}`, 400, "FrameworkInfo update is not valid: Updating 'FrameworkInfo.user' is unsupported; attempted to update from 'root' to 'nobody'"},
		{"17 fine", "POST", js, "", f.stream, `{"type":"UPDATE_FRAMEWORK",` + own + `,"update_framework":{"framework_info":{"user":"root","name":"g","checkpoint":true,"id":{"value":"` + f.id + `"}}}}`, 200, ""},
		{"18 fine", "POST", js, "", f.stream, `{"type":"REVIVE",` + own + `}`, 202, ""},
		{"18 accept ignored", "POST", js, "text/html", f.stream, `{"type":"SUPPRESS",` + own + `}`, 202, ""},
		{"18 nothing known", "POST", js, "", f.stream, `{"type":"KILL",` + own + `,"kill":{"task_id":{"value":"t"}}}`, 202, ""},
		{"18 teardown", "POST", js, "", f.stream, `{"type":"TEARDOWN",` + own + `}`, 202, ""},
		{"11 completed", "POST", js, "", f.stream, `{"type":"REVIVE",` + own + `}`, 400, "Framework cannot be found"},
	} {
		t.Run(c.name, func(t *testing.T) {
			req, err := http.NewRequest(c.method, "http://"+m.addr+"/master/api/v1/scheduler", strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			for name, value := range map[string]string{"Content-Type": c.contentType, "Accept": c.accept, "Mesos-Stream-Id": c.stream} {
				if value != "" {
					req.Header.Set(name, value)
				}
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body := readAll(t, resp)
			if resp.StatusCode != c.code || !strings.HasPrefix(body, c.text) {
				t.Errorf("got %d %q, want %d %q", resp.StatusCode, body, c.code, c.text)
			}
			switch {
			case c.code == 202 && (resp.Header.Get("Content-Type") != "" || resp.ContentLength != 0):
				t.Errorf("202 with %v", resp.Header)
			case c.code == 200 && resp.Header.Get("Content-Type") != js:
				t.Errorf("200 with %v", resp.Header)
			case c.code == 405 && resp.Header.Get("Allow") != "POST":
				t.Errorf("405 with %v", resp.Header)
			case c.code >= 400 && resp.Header.Get("Content-Type") != "text/plain; charset=utf-8":
				t.Errorf("%d with %v", c.code, resp.Header)
			}
		})
	}
}

// TestRefusedSubscriptions: refusals of content are an ERROR event on a 200 stream (T23).
func TestRefusedSubscriptions(t *testing.T) {
	m := startMaster(t, master.Config{NoRoot: true})
	for _, c := range []struct{ info, text string }{
		{`"user":"root","name":"f"`, "User 'root' is not allowed to run frameworks without '--root_submissions' set"},
		{`"user":"u","name":"f","roles":["a"]`, "'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable"},
		{`"user":"u","name":"f","role":"a","capabilities":[{"type":"MULTI_ROLE"}]`, "'FrameworkInfo.role' must not be set when the framework is MULTI_ROLE capable"},
		{`"user":"u","name":"f","roles":["a","a"],"capabilities":[{"type":"MULTI_ROLE"}]`, "'FrameworkInfo.roles' contains the duplicate role 'a'"},
		{`"user":"u","name":"f","role":"/a"`, "Role '/a' cannot start with a slash"},
		{`"user":"u","name":"f","failover_timeout":1e300`, "The framework failover_timeout (1e+300) is invalid"},
	} {
		s := m.subscribe(`{"type":"SUBSCRIBE","subscribe":{"framework_info":{` + c.info + `}}}`)
		if got := s.next(scheduler.Event_ERROR).GetError().GetMessage(); !strings.HasPrefix(got, c.text) {
			t.Errorf("%s: got %q, want %q", c.info, got, c.text)
		}
		s.ended()
	}
}
