package master_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
	"github.com/stoa-project/stoa/master"
)

// Each test is one or more rows of mesos-master.md 1.1, on real connections.

const js, pb = "application/json", "application/x-protobuf"

func protoSubscribe(t *testing.T) []byte {
	t.Helper()
	body, err := proto.Marshal(&scheduler.Call{Type: scheduler.Call_SUBSCRIBE.Enum(), Subscribe: &scheduler.Call_Subscribe{
		FrameworkInfo: &mesos.FrameworkInfo{User: proto.String("root"), Name: proto.String("f"), FailoverTimeout: proto.Float64(60)}}})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// do sends one request and gives the answer with its body.
func (m *running) do(method, path string, header http.Header, body []byte) (*http.Response, []byte) {
	m.t.Helper()
	req, err := http.NewRequest(method, "http://"+m.addr+path, bytes.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	req.Header = header
	transport := &http.Transport{DisableCompression: true, DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(req)
	if err != nil {
		m.t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		m.t.Fatal(err)
	}
	return resp, got
}

// TestBothPaths: every route answers with and without /master in front.
func TestBothPaths(t *testing.T) {
	m := startMaster(t, master.Config{})
	for _, path := range []string{"/api/v1/scheduler", "/master/api/v1/scheduler"} {
		s := m.open(path, http.Header{"Content-Type": {js}}, []byte(fmt.Sprintf(subscribeJSON, "", "")))
		s.next(scheduler.Event_SUBSCRIBED)
		for _, callPath := range []string{"/api/v1/scheduler", "/master/api/v1/scheduler"} {
			resp, body := m.do("POST", callPath, http.Header{"Content-Type": {js}, "Mesos-Stream-Id": {s.stream}},
				[]byte(`{"type":"REVIVE","framework_id":{"value":"`+s.id+`"}}`))
			if resp.StatusCode != 202 {
				t.Errorf("stream on %s, call on %s: %s %s", path, callPath, resp.Status, body)
			}
		}
	}
	for _, path := range []string{"/api/v1", "/master/api/v1"} {
		if resp, body := m.do("POST", path, http.Header{"Content-Type": {js}}, []byte(`{"type":"GET_HEALTH"}`)); resp.StatusCode != 200 {
			t.Errorf("%s: %s %s", path, resp.Status, body)
		}
	}
}

// TestAcceptNegotiation: JSON is tried first, whatever the order; the answer's type has no
// parameter; the same header line twice is one wish.
func TestAcceptNegotiation(t *testing.T) {
	m := startMaster(t, master.Config{})
	for _, c := range []struct {
		accept []string
		want   string // "" is 406
	}{
		{nil, js},
		{[]string{"*/*"}, js},
		{[]string{"application/*"}, js},
		{[]string{js}, js},
		{[]string{pb}, pb},
		{[]string{pb, pb}, pb},
		{[]string{js, js}, js},
		{[]string{pb + ", " + js}, js},
		{[]string{pb, js}, js},
		{[]string{js + ";q=0, " + pb}, pb},
		{[]string{js + ";q=0, */*"}, pb},
		{[]string{"text/html, " + pb + ";q=0.1"}, pb},
		{[]string{"text/html"}, ""},
		{[]string{"application/recordio"}, ""},
		{[]string{"*/*;q=0"}, ""},
	} {
		header := http.Header{"Content-Type": {pb}}
		if c.accept != nil {
			header["Accept"] = c.accept
		}
		if c.want == "" {
			if resp, body := m.do("POST", "/api/v1/scheduler", header, protoSubscribe(t)); resp.StatusCode != 406 {
				t.Errorf("%q: %s %s", c.accept, resp.Status, body)
			}
			continue
		}
		s := m.open("/api/v1/scheduler", header, protoSubscribe(t))
		if s.codec.MediaType != c.want {
			t.Errorf("%q: %s, want %s", c.accept, s.codec.MediaType, c.want)
		}
		s.next(scheduler.Event_SUBSCRIBED)
		s.close()
	}
}

// TestContentTypes: parameters and case do not matter on the way in; both v1 endpoints
// follow the same rules.
func TestContentTypes(t *testing.T) {
	m := startMaster(t, master.Config{})
	for _, c := range []struct {
		contentType string
		code        int
		text        string
	}{
		{"", 400, "Expecting 'Content-Type' to be present"},
		{"text/plain", 415, "Expecting 'Content-Type' of application/json or application/x-protobuf"},
		{"application/recordio", 415, "Expecting 'Content-Type' of application/json or application/x-protobuf"},
		{js, 0, ""}, {js + "; charset=utf-8", 0, ""}, {"Application/JSON", 0, ""}, {" application/json ;charset=UTF-8", 0, ""},
	} {
		header := http.Header{}
		if c.contentType != "" {
			header.Set("Content-Type", c.contentType)
		}
		for path, body := range map[string]string{"/api/v1": `{"type":"GET_HEALTH"}`, "/api/v1/scheduler": `{"type":"REVIVE","framework_id":{"value":"x"}}`} {
			resp, got := m.do("POST", path, header, []byte(body))
			fine := map[string]int{"/api/v1": 200, "/api/v1/scheduler": 400}
			switch {
			case c.code != 0 && (resp.StatusCode != c.code || string(got) != c.text):
				t.Errorf("%s with %q: %s %q, want %d %q", path, c.contentType, resp.Status, got, c.code, c.text)
			case c.code == 0 && (resp.StatusCode != fine[path] || strings.Contains(string(got), "Content-Type")):
				t.Errorf("%s with %q: %s %q", path, c.contentType, resp.Status, got)
			}
		}
	}
}

// TestStreamOnTheWire reads the bytes of a subscription: headers come at once and alone,
// chunked, never with a length, never compressed; records are framed independently of
// chunks; Connection: close of the client does not end it.
func TestStreamOnTheWire(t *testing.T) {
	m := startMaster(t, master.Config{})
	c, err := net.Dial("tcp", m.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	body := fmt.Sprintf(subscribeJSON, "", "")
	// As mesos-go sends it: Accept twice, Connection: close, gzip welcome.
	fmt.Fprintf(c, "POST /api/v1/scheduler HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nAccept: application/json\r\nAccept: application/json\r\n"+
		"Accept-Encoding: gzip\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", m.addr, len(body), body)
	r := bufio.NewReader(c)
	status, err := r.ReadString('\n')
	if err != nil || status != "HTTP/1.1 200 OK\r\n" {
		t.Fatalf("%q %v", status, err)
	}
	header := map[string]string{}
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line = strings.TrimRight(line, "\r\n"); line == "" {
			break
		}
		name, value, _ := strings.Cut(line, ": ")
		header[name] = value
	}
	if header["Content-Type"] != js || header["Transfer-Encoding"] != "chunked" || header["Mesos-Stream-Id"] == "" || len(header["Mesos-Stream-Id"]) > 128 {
		t.Errorf("headers %v", header)
	}
	for _, never := range []string{"Content-Length", "Content-Encoding"} {
		if header[never] != "" {
			t.Errorf("header %s: %s", never, header[never])
		}
	}
	stream := newChunks(r)
	first := readRecordText(t, stream)
	if !strings.HasPrefix(first, `{"type":"SUBSCRIBED","subscribed":{"framework_id":{"value":"`) {
		t.Errorf("first record %s", first)
	}
	if second := readRecordText(t, stream); second != `{"type":"HEARTBEAT"}` {
		t.Errorf("second record %s", second)
	}
	// Still there, although the client asked to close: an event much later arrives.
	a := startAgent(t, m.addr)
	a.register()
	if third := readRecordText(t, stream); !strings.HasPrefix(third, `{"type":"OFFERS","offers":{"offers":[{"id":`) {
		t.Errorf("third record %s", third)
	}
}

// newChunks removes HTTP/1.1 chunks.
func newChunks(r *bufio.Reader) *bufio.Reader {
	return bufio.NewReader(&chunks{r: r})
}

type chunks struct {
	r    *bufio.Reader
	left int
}

func (c *chunks) Read(p []byte) (int, error) {
	if c.left == 0 {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return 0, err
		}
		n, err := strconv.ParseInt(strings.TrimSpace(line), 16, 32)
		if err != nil {
			return 0, err
		}
		if n == 0 {
			return 0, io.EOF
		}
		c.left = int(n)
	}
	n, err := c.r.Read(p[:min(len(p), c.left)])
	c.left -= n
	if c.left == 0 && err == nil {
		_, err = c.r.Discard(2)
	}
	return n, err
}

// readRecordText reads "<length>\n<payload>" by hand; nothing stands between two records.
func readRecordText(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	line, err := r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSuffix(line, "\n"))
	if err != nil || n <= 0 {
		t.Fatalf("record length %q", line)
	}
	payload := make([]byte, n)
	if _, err := io.ReadFull(r, payload); err != nil {
		t.Fatal(err)
	}
	return string(payload)
}

// TestGzipOfAnswers: complete bodies from 1024 bytes on are compressed when the client
// takes it; shorter ones and 202 never.
func TestGzipOfAnswers(t *testing.T) {
	m := startMaster(t, master.Config{})
	s := m.subscribe(fmt.Sprintf(subscribeJSON, "", ""))
	s.next(scheduler.Event_SUBSCRIBED)
	call := []byte(`{"type":"REVIVE","framework_id":{"value":"` + s.id + `"}}`)
	long := strings.Repeat("x", 1500)
	for _, c := range []struct {
		encoding, stream string
		packed           bool
	}{{"gzip", long, true}, {"deflate, gzip;q=0.5", long, true}, {"gzip;q=0", long, false}, {"", long, false}, {"gzip", "short", false}} {
		header := http.Header{"Content-Type": {js}, "Mesos-Stream-Id": {c.stream}}
		if c.encoding != "" {
			header.Set("Accept-Encoding", c.encoding)
		}
		resp, body := m.do("POST", "/api/v1/scheduler", header, call)
		if packed := resp.Header.Get("Content-Encoding") == "gzip"; packed != c.packed {
			t.Errorf("%q with %d bytes: packed %v", c.encoding, len(c.stream), packed)
		}
		if c.packed {
			z, err := gzip.NewReader(bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			if body, err = io.ReadAll(z); err != nil {
				t.Fatal(err)
			}
		}
		if resp.StatusCode != 400 || !strings.HasPrefix(string(body), "The stream ID '"+c.stream+"'") {
			t.Errorf("%s %.60s", resp.Status, body)
		}
	}
	resp, _ := m.do("POST", "/api/v1/scheduler", http.Header{"Content-Type": {js}, "Mesos-Stream-Id": {s.stream}, "Accept-Encoding": {"gzip"}}, call)
	if resp.StatusCode != 202 || resp.Header.Get("Content-Length") != "0" || resp.Header.Get("Content-Encoding") != "" || resp.Header.Get("Content-Type") != "" {
		t.Errorf("202 with %v", resp.Header)
	}
}

// TestLenientJSON: what the parser of Mesos takes is taken: null is unset, unknown fields
// are ignored, numbers and booleans may be quoted, doubles may be infinite, an unknown
// name of an optional enum is unset.
func TestLenientJSON(t *testing.T) {
	m := startMaster(t, master.Config{})
	f := m.subscribe(`{"type":"SUBSCRIBE","dance":{"a":[1,{"b":null}]},"framework_id":null,"subscribe":{"suppressed_roles":null,"force":true,` +
		`"framework_info":{"user":"root","name":"f","id":null,"failover_timeout":"3600","checkpoint":"true","capabilities":null,` +
		`"offer_filters":null,"labels":{"labels":null},"hostname":"h","camelCase":1}}}`)
	f.next(scheduler.Event_SUBSCRIBED)
	s, err := m.door.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	info := s.Frameworks[0].Info
	if info.GetFailoverTimeout() != 3600 || !info.GetCheckpoint() || len(info.GetCapabilities()) != 0 || info.GetHostname() != "h" {
		t.Errorf("framework %v", info)
	}
	a := startAgent(t, m.addr)
	a.register()
	o := f.next(scheduler.Event_OFFERS).GetOffers().GetOffers()[0]
	code, text := f.call(fmt.Sprintf(`{"type":"ACCEPT","accept":{"offer_ids":[{"value":%q}],"filters":{"refuse_seconds":"Infinity"},"operations":[{"type":"LAUNCH","id":null,"launch":{"task_infos":[`+
		`{"name":"t","task_id":{"value":"t"},"agent_id":{"value":%q},"command":{"value":"sleep","shell":"true","environment":null},"health_check":null,`+
		`"resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":"0.5"},"reservations":null,"role":"*"},{"name":"mem","type":"SCALAR","scalar":{"value":32},"shared":null},`+
		`{"name":"ports","type":"RANGES","ranges":{"range":[{"begin":"31000","end":31001}]}}]}]}}]}}`, o.GetId().GetValue(), o.GetAgentId().GetValue()))
	if code != 202 {
		t.Fatalf("ACCEPT: %d %s", code, text)
	}
	f.update("t", mesos.TaskState_TASK_RUNNING)
	// An infinite refusal is one of 365 days, not of nothing: no offer comes back at once,
	// and REVIVE still ends it.
	if code, _ := f.call(`{"type":"REVIVE"}`); code != 202 {
		t.Errorf("REVIVE %d", code)
	}
	f.next(scheduler.Event_OFFERS)
	for _, c := range []struct{ body, text string }{
		{`{"type":"KILL","kill":{"task_id":{"value":7}}}`, "Failed to convert JSON into Call protobuf: "},
		{`{"type":"KILL","kill":[]}`, "Failed to convert JSON into Call protobuf: "},
		{`{"type":"KILL","kill":{"taskId":{"value":"t"}}}`, "Failed to convert JSON into Call protobuf: Missing required fields: kill.task_id"},
		{`{"type":"KILL","kill":{"task_id":{"value":"t"}}} x`, "Failed to parse body into JSON: "},
		{`{"type":"FLY"}`, "Failed to validate scheduler::Call: Expecting 'type' to be present"},
		{`{"type":5}`, "Failed to convert JSON into Call protobuf: "},
	} {
		if code, text := f.call(c.body); code != 400 || !strings.HasPrefix(text, c.text) {
			t.Errorf("%s: %d %s, want %s", c.body, code, text, c.text)
		}
	}
}

// TestJSONOutput: names in snake_case, 64-bit numbers as numbers, bytes as base64,
// optional fields with a default printed when unset, empty lists left out.
func TestJSONOutput(t *testing.T) {
	m := startMaster(t, master.Config{})
	resp, _ := m.do("POST", "/api/v1", http.Header{"Content-Type": {js}}, []byte(`{"type":"GET_FRAMEWORKS"}`))
	if resp.StatusCode != 200 {
		t.Fatal(resp.Status)
	}
	f := m.subscribe(`{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"u","name":"f"}}}`)
	f.next(scheduler.Event_SUBSCRIBED)
	_, body := m.do("POST", "/api/v1", http.Header{"Content-Type": {js}}, []byte(`{"type":"GET_FRAMEWORKS"}`))
	for _, part := range []string{`"failover_timeout":0.0`, `"checkpoint":false`, `"registered_time":{"nanoseconds":1`} {
		if !bytes.Contains(body, []byte(part)) {
			t.Errorf("%s is missing in %s", part, body)
		}
	}
	for _, part := range []string{"capabilities", "Timeout", `"offers"`, `"roles"`} {
		if bytes.Contains(body, []byte(part)) {
			t.Errorf("%s is in %s", part, body)
		}
	}
}

// TestManyConnectionsOneStream: calls go over any number of other connections, and those
// of one connection are taken in their order.
func TestManyConnectionsOneStream(t *testing.T) {
	m := startMaster(t, master.Config{})
	f := m.subscribe(fmt.Sprintf(subscribeJSON, "", ""))
	f.next(scheduler.Event_SUBSCRIBED)
	c, err := net.Dial("tcp", m.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	const n = 50
	var out bytes.Buffer
	for i := range n {
		body := fmt.Sprintf(`{"type":"RECONCILE","framework_id":{"value":%q},"reconcile":{"tasks":[{"task_id":{"value":"t%02d"}}]}}`, f.id, i)
		fmt.Fprintf(&out, "POST /api/v1/scheduler HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nMesos-Stream-Id: %s\r\nContent-Length: %d\r\n\r\n%s", f.stream, len(body), body)
	}
	if _, err := c.Write(out.Bytes()); err != nil { // pipelined
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	for range n {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != 202 {
			t.Fatal(resp.Status)
		}
		resp.Body.Close()
	}
	if _, metrics := m.do("GET", "/metrics", nil, nil); !bytes.Contains(metrics, []byte(fmt.Sprintf("\nstoa_master_scheduler_calls_together_total %d\n", n))) {
		t.Error("the calls did not go together")
	}
	for i := range n {
		if got := f.next(scheduler.Event_UPDATE).GetUpdate().GetStatus().GetTaskId().GetValue(); got != fmt.Sprintf("t%02d", i) {
			t.Fatalf("answer %d is of %s", i, got)
		}
	}
}
