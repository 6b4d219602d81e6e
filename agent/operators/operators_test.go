package operators

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/agent/sandbox"
	"github.com/stoa-project/stoa/internal/metrics"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/agentapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

func amount(name string, v float64) *mesos.Resource {
	return &mesos.Resource{Name: proto.String(name), Type: mesos.Value_SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: proto.Float64(v)},
		AllocationInfo: &mesos.Resource_AllocationInfo{Role: proto.String("dev")}}
}

func view() *lifecycle.View {
	status := &mesos.TaskStatus{State: mesos.TaskState_TASK_RUNNING.Enum(), TaskId: &mesos.TaskID{Value: proto.String("t")}, Timestamp: proto.Float64(5),
		ContainerStatus: &mesos.ContainerStatus{ContainerId: &mesos.ContainerID{Value: proto.String("c")}, ExecutorPid: proto.Uint32(7)}}
	task := &mesos.Task{Name: proto.String("t"), TaskId: status.TaskId, FrameworkId: &mesos.FrameworkID{Value: proto.String("F")}, AgentId: &mesos.AgentID{Value: proto.String("S0")},
		State: status.State, Resources: []*mesos.Resource{amount("cpus", 0.5)}, Statuses: []*mesos.TaskStatus{status}}
	return &lifecycle.View{Agent: "S0", Frameworks: []lifecycle.FrameworkView{{
		Info: &mesos.FrameworkInfo{Id: task.FrameworkId, Name: proto.String("f"), User: proto.String("root")},
		Executors: []lifecycle.ExecutorView{{
			Info:      &mesos.ExecutorInfo{ExecutorId: &mesos.ExecutorID{Value: proto.String("t")}, Source: proto.String("t"), Name: proto.String("x")},
			Generated: true, Container: "c", Directory: "/d", PID: 7, Phase: "RUNNING", Launched: []*mesos.Task{task},
			Resources: []*mesos.Resource{amount("cpus", 0.5), amount("cpus", 0.1)},
		}},
	}}}
}

// serve starts the routes with one sandbox at /box.
func serve(t *testing.T, recovered bool, change ...func(*Config)) (url, box string) {
	t.Helper()
	box = t.TempDir()
	if err := os.WriteFile(filepath.Join(box, "stdout"), []byte("hello from db\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	files := sandbox.NewFiles()
	files.Attach("/box", box)
	cfg := Config{
		PID: "slave(1)@127.0.0.1:5051", Version: "1.11.0", Started: time.Unix(1, 0), Flags: map[string]string{"port": "5051"},
		Info: &messages.SlaveInfo{Hostname: proto.String("h"), Resources: []*mesos.Resource{{Name: proto.String("cpus"), Type: mesos.Value_SCALAR.Enum(),
			Scalar: &mesos.Value_Scalar{Value: proto.Float64(4)}}}},
		Recovered: func() bool { return recovered }, View: func(context.Context) (*lifecycle.View, error) { return view(), nil },
		MasterHostname: func() string { return "m" }, Files: files, Metrics: metrics.New(), Executors: http.NotFoundHandler(),
		Usage: func(_ context.Context, id lifecycle.ContainerID) (*mesos.ResourceStatistics, error) {
			if id != "c" {
				return nil, errors.New("unknown")
			}
			return &mesos.ResourceStatistics{Timestamp: proto.Float64(1), MemRssBytes: proto.Uint64(4096)}, nil
		},
	}
	for _, f := range change {
		f(&cfg)
	}
	srv := httptest.NewServer(New(cfg, slog.New(slog.DiscardHandler)))
	t.Cleanup(srv.Close)
	return srv.URL, box
}

// recorded reads a capture: status, media type and body.
func recorded(t *testing.T, file string) (status int, media, body string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, body, _ := strings.Cut(strings.ReplaceAll(string(b), "\r\n", "\n"), "\n\n")
	status, _ = strconv.Atoi(strings.Fields(head)[1])
	for _, line := range strings.Split(head, "\n") {
		if v, ok := strings.CutPrefix(line, "Content-Type: "); ok {
			media = v
		}
	}
	return status, media, body
}

// The answers to wrong requests are those that Mesos gave.
func TestCallErrorsAsRecorded(t *testing.T) {
	health := `{"type":"GET_HEALTH"}`
	for name, c := range map[string]struct {
		method, body string
		header       map[string]string
		recovering   bool
	}{
		"accept-recordio":                    {body: health, header: map[string]string{"Accept": "application/recordio"}},
		"accept-star":                        {body: health, header: map[string]string{"Accept": "*/*"}},
		"attach-input-json":                  {body: `{"type":"ATTACH_CONTAINER_INPUT","attach_container_input":{"type":"CONTAINER_ID","container_id":{"value":"c"}}}`},
		"bad-accept":                         {body: health, header: map[string]string{"Accept": "text/html"}},
		"bad-content-type":                   {body: health, header: map[string]string{"Content-Type": "text/plain"}},
		"charset-content-type":               {body: health, header: map[string]string{"Content-Type": "application/json; charset=utf-8"}},
		"get-method":                         {method: "GET"},
		"list-files-missing":                 {body: `{"type":"LIST_FILES","list_files":{"path":"/nope"}}`},
		"message-accept-on-json":             {body: health, header: map[string]string{"Message-Accept": "application/json"}},
		"message-content-type-on-json":       {body: health, header: map[string]string{"Message-Content-Type": "application/json"}},
		"missing-sub-message":                {body: `{"type":"GET_METRICS"}`},
		"no-accept":                          {body: health},
		"no-content-type":                    {body: health, header: map[string]string{"Content-Type": ""}},
		"no-type":                            {body: `{}`},
		"read-file-missing":                  {body: `{"type":"READ_FILE","read_file":{"path":"/nope","offset":0}}`},
		"recordio-content-type":              {body: health, header: map[string]string{"Content-Type": "application/recordio"}},
		"recordio-with-message-content-type": {body: "21\n" + health, header: map[string]string{"Content-Type": "application/recordio", "Message-Content-Type": "application/json"}},
		"recovering-GET_STATE":               {body: `{"type":"GET_STATE"}`, recovering: true},
		"type-UNKNOWN":                       {body: `{"type":"UNKNOWN"}`},
		"unknown-type":                       {body: `{"type":"NO_SUCH_CALL"}`},
	} {
		t.Run(name, func(t *testing.T) {
			url, _ := serve(t, !c.recovering)
			if c.method == "" {
				c.method = "POST"
			}
			req, err := http.NewRequest(c.method, url+"/api/v1", strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			for k, v := range c.header {
				req.Header.Del(k)
				if v != "" {
					req.Header.Set(k, v)
				}
			}
			check(t, req, filepath.Join("testdata", "errors", name+".http"))
		})
	}
}

func check(t *testing.T, req *http.Request, file string) {
	t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	status, media, want := recorded(t, file)
	if resp.StatusCode != status || resp.Header.Get("Content-Type") != media || string(body) != want {
		t.Errorf("%d %q %q, recorded %d %q %q", resp.StatusCode, resp.Header.Get("Content-Type"), body, status, media, want)
	}
	if status == http.StatusMethodNotAllowed && resp.Header.Get("Allow") != "POST" {
		t.Error("no Allow header")
	}
}

func TestFileReadsAsRecorded(t *testing.T) {
	url, _ := serve(t, true)
	for name, query := range map[string]string{
		"read-bad-offset": "path=/box/stdout&offset=x", "read-directory": "path=/box&offset=0", "read-no-offset": "path=/box/stdout",
		"read-no-path": "", "read-past-end": "path=/box/stdout&offset=999999", "read-stdout": "path=/box/stdout&offset=0",
		"read-offset--1": "path=/box/stdout&offset=-1",
	} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequest("GET", url+"/files/read?"+query, nil)
			if err != nil {
				t.Fatal(err)
			}
			check(t, req, filepath.Join("testdata", "files", name+".http"))
		})
	}
}

// A download as recorded, by its old name too; and what leads out of a sandbox.
func TestDownload(t *testing.T) {
	url, box := serve(t, true)
	for _, path := range []string{"/files/download", "/files/download.json"} {
		req, err := http.NewRequest("GET", url+path+"?path=/box/stdout", nil)
		if err != nil {
			t.Fatal(err)
		}
		check(t, req, filepath.Join("testdata", "files", "download-stdout.http"))
	}
	if err := os.WriteFile(filepath.Join(box, `a "b".html`), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string][2]string{"stdout": {"attachment; filename=stdout", "application/octet-stream"},
		"a%20%22b%22.html": {`attachment; filename="a \"b\".html"`, "text/html; charset=utf-8"}} {
		code, h, _ := get(t, url+"/files/download?path=/box/"+path)
		if code != 200 || h.Get("Content-Disposition") != want[0] || h.Get("Content-Type") != want[1] {
			t.Errorf("%s: %d %v", path, code, h)
		}
	}
	_, _, recordedText := recorded(t, filepath.Join("testdata", "files", "browse-dotdot.http"))
	_, says, _ := strings.Cut(strings.TrimSuffix(recordedText, "\n"), "..' ")
	for _, path := range []string{"/files/browse", "/files/read", "/files/download"} {
		if code, _, body := get(t, url+path+"?path=/box/../../.."); code != 400 || string(body) != "'/box/../../..' "+says+"\n" {
			t.Errorf("%s: %d %q", path, code, body)
		}
		if code, _, body := get(t, url+path+"?path=/box/none"); code != 404 || len(body) > 0 {
			t.Errorf("%s: %d %q", path, code, body)
		}
		if code, _, body := get(t, url+path); code != 400 || string(body) != "Expecting 'path=value' in query.\n" {
			t.Errorf("%s: %d %q", path, code, body)
		}
	}
	if code, _, body := get(t, url+"/files/download?path=/box"); code != 400 || string(body) != "Cannot download a directory.\n" {
		t.Errorf("%d %q", code, body)
	}
}

func get(t *testing.T, url string) (int, http.Header, []byte) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, b
}

func TestState(t *testing.T) {
	url, _ := serve(t, true)
	_, h, b := get(t, url+"/state")
	if h.Get("Content-Type") != "application/json" {
		t.Errorf("media type %q", h.Get("Content-Type"))
	}
	var s map[string]any
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"version", "id", "pid", "hostname", "capabilities", "resources", "reserved_resources", "unreserved_resources", "reserved_resources_full",
		"unreserved_resources_full", "reserved_resources_allocated", "unreserved_resources_allocated", "attributes", "flags", "frameworks", "completed_frameworks", "start_time"} {
		if _, ok := s[key]; !ok {
			t.Errorf("no %s", key)
		}
	}
	for _, part := range []string{`"resources":{"cpus":4.0,"disk":0.0,"gpus":0.0,"mem":0.0}`, `"unreserved_resources_allocated":{"cpus":0.6,`,
		`"executor_id":""`, `"container_status":{"container_id":{"value":"c"}}`, `"master_hostname":"m"`} {
		if !strings.Contains(string(b), part) {
			t.Errorf("no %s in %s", part, b)
		}
	}
	if code, _, _ := get(t, url+"/nothing"); code != 404 {
		t.Errorf("unknown path gives %d", code)
	}
	if _, h, b := get(t, url+"/flags?jsonp=f"); h.Get("Content-Type") != "text/javascript" || string(b) != `f({"flags":{"port":"5051"}})` {
		t.Errorf("jsonp: %q %s", h.Get("Content-Type"), b)
	}
	if _, h, _ := get(t, url+"/flags?jsonp=%3Cscript%3E"); h.Get("Content-Type") != "application/json" {
		t.Error("a callback that is no name was used")
	}
}

func TestRecoveringAnswers503ButHealth(t *testing.T) {
	url, _ := serve(t, false)
	for path, want := range map[string]int{"/health": 200, "/version": 200, "/state": 503, "/containers": 503, "/files/browse?path=/box": 503} {
		if code, _, _ := get(t, url+path); code != want {
			t.Errorf("%s gives %d, want %d", path, code, want)
		}
	}
}

// Every read call answers in both codecs with its own type.
func TestCallsInBothCodecs(t *testing.T) {
	url, _ := serve(t, true)
	for _, call := range []*agentapi.Call{
		{Type: agentapi.Call_GET_HEALTH.Enum()}, {Type: agentapi.Call_GET_VERSION.Enum()}, {Type: agentapi.Call_GET_FLAGS.Enum()},
		{Type: agentapi.Call_GET_METRICS.Enum(), GetMetrics: &agentapi.Call_GetMetrics{}}, {Type: agentapi.Call_GET_STATE.Enum()},
		{Type: agentapi.Call_GET_TASKS.Enum()}, {Type: agentapi.Call_GET_EXECUTORS.Enum()}, {Type: agentapi.Call_GET_FRAMEWORKS.Enum()},
		{Type: agentapi.Call_GET_CONTAINERS.Enum()}, {Type: agentapi.Call_GET_AGENT.Enum()}, {Type: agentapi.Call_GET_OPERATIONS.Enum()},
		{Type: agentapi.Call_LIST_FILES.Enum(), ListFiles: &agentapi.Call_ListFiles{Path: proto.String("/box")}},
		{Type: agentapi.Call_READ_FILE.Enum(), ReadFile: &agentapi.Call_ReadFile{Path: proto.String("/box/stdout"), Offset: proto.Uint64(6), Length: proto.Uint64(4)}},
	} {
		for _, codec := range []wire.Codec{wire.JSON, wire.Protobuf} {
			body, err := codec.Marshal(call)
			if err != nil {
				t.Fatal(err)
			}
			req, _ := http.NewRequest("POST", url+"/api/v1", strings.NewReader(string(body)))
			req.Header.Set("Content-Type", codec.MediaType)
			req.Header.Set("Accept", codec.MediaType)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			b, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			var out agentapi.Response
			if err := codec.Unmarshal(b, &out); err != nil || resp.StatusCode != 200 || resp.Header.Get("Content-Type") != codec.MediaType || out.GetType().String() != call.GetType().String() {
				t.Errorf("%s in %s: %d %v %s", call.GetType(), codec.MediaType, resp.StatusCode, err, b)
			}
			if rf := out.GetReadFile(); rf != nil && (string(rf.GetData()) != "from" || rf.GetSize() != 14) {
				t.Errorf("read %q of %d", rf.GetData(), rf.GetSize())
			}
			if gc := out.GetGetContainers(); gc != nil && (len(gc.GetContainers()) != 1 || gc.GetContainers()[0].GetResourceStatistics().GetMemRssBytes() != 4096) {
				t.Errorf("containers %v", gc)
			}
		}
	}
}

func TestBytesThatAreNoTextPass(t *testing.T) {
	got := string(appendRead(nil, []byte("a\"\\\n\x01\xff\xc3\xa9"), 3))
	if got != "{\"data\":\"a\\\"\\\\\\n\\u0001\xff\xc3\xa9\",\"offset\":3}" {
		t.Errorf("got %q", got)
	}
}
