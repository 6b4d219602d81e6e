package operators

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/acl"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

func request(t *testing.T, method, url string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

// mesos-agent.md 0.1: endpoints that are read take any method; with rules three of them
// take GET only.
func TestMethodsOfEndpoints(t *testing.T) {
	free, _ := serve(t, true)
	list, _, err := acl.Parse([]byte(`{"permissive":true}`))
	if err != nil {
		t.Fatal(err)
	}
	ruled, _ := serve(t, true, func(c *Config) { c.Rules = list })
	for _, path := range []string{"/health", "/version", "/state", "/state.json", "/flags", "/containers", "/monitor/statistics", "/monitor/statistics.json", "/metrics/snapshot",
		"/system/stats.json", "/files/browse?path=/box", "/files/read?path=/box/stdout&offset=0", "/files/download?path=/box/stdout", "/files/debug", "/containerizer/debug", "/help"} {
		methods := []string{"GET", "HEAD", "POST", "PUT", "DELETE"}
		if strings.HasPrefix(path, "/monitor/") { // each at its turn
			methods = []string{"GET", "POST"}
		}
		for _, method := range methods {
			if resp, body := request(t, method, free+path); resp.StatusCode != 200 {
				t.Errorf("%s %s: %d %s", method, path, resp.StatusCode, body)
			}
			strict := path == "/flags" || path == "/containers" || strings.HasPrefix(path, "/monitor/")
			want := 200
			if strict && method != "GET" && method != "HEAD" {
				want = 405
			}
			if resp, body := request(t, method, ruled+path); resp.StatusCode != want || want == 405 && (resp.Header.Get("Allow") != "GET" || !strings.Contains(body, "but received '"+method+"'")) {
				t.Errorf("with rules, %s %s: %d %q %s, want %d", method, path, resp.StatusCode, resp.Header.Get("Allow"), body, want)
			}
		}
	}
}

func TestSnapshotTimeout(t *testing.T) {
	url, _ := serve(t, true)
	if resp, _ := request(t, "GET", url+"/metrics/snapshot?timeout=10secs"); resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	for _, text := range []string{"soon", "", "1m0s"} {
		if resp, body := request(t, "GET", url+"/metrics/snapshot?timeout="+text); resp.StatusCode != 400 || !strings.HasPrefix(body, "Invalid timeout '"+text+"': ") {
			t.Errorf("%d %s", resp.StatusCode, body)
		}
	}
}

// mesos-agent.md 6.4: which containers.
func TestContainersThatAreAskedFor(t *testing.T) {
	v := &lifecycle.View{}
	for _, id := range []string{"F", "G"} {
		f := lifecycle.FrameworkView{Info: &mesos.FrameworkInfo{Id: &mesos.FrameworkID{Value: proto.String(id)}}}
		for _, x := range []string{"a", "b"} {
			f.Executors = append(f.Executors, lifecycle.ExecutorView{Info: &mesos.ExecutorInfo{ExecutorId: &mesos.ExecutorID{Value: proto.String(x)}},
				Container: lifecycle.ContainerID("c" + id + x), Phase: "RUNNING"})
		}
		v.Frameworks = append(v.Frameworks, f)
	}
	base, _ := serve(t, true, func(c *Config) {
		c.View = func(context.Context) (*lifecycle.View, error) { return v, nil }
		c.Usage = func(context.Context, lifecycle.ContainerID) (*mesos.ResourceStatistics, error) {
			return &mesos.ResourceStatistics{Timestamp: proto.Float64(1)}, nil
		}
	})
	for query, want := range map[string]string{
		"": "cFa cFb cGa cGb", "container_id=cGa": "cGa", "container_id=none": "", "framework_id=F": "cFa cFb", "framework_id=F&executor_id=b": "cFb",
		"executor_id=b": "400", "container_id=cGa&framework_id=G": "400", "container_id=cGa&framework_id=G&executor_id=a": "400",
	} {
		resp, body := request(t, "GET", base+"/containers?"+query)
		got := "400"
		if resp.StatusCode == 200 {
			var ids []string
			for _, part := range strings.Split(body, `"container_id":"`)[1:] {
				id, _, _ := strings.Cut(part, `"`)
				ids = append(ids, id)
			}
			got = strings.Join(ids, " ")
		}
		if got != want || resp.StatusCode == 400 && !strings.Contains(body, "'executor_id'") {
			t.Errorf("%q: %d %s, want %q", query, resp.StatusCode, body, want)
		}
	}
}

// mesos-agent.md 0.1: measurements keep their distance, nobody is refused, and who asks
// together gets the same.
func TestPaced(t *testing.T) {
	var mu sync.Mutex
	var begun []time.Time
	p := &paced[int]{every: 50 * time.Millisecond, f: func(context.Context) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		begun = append(begun, time.Now())
		return len(begun), nil
	}}
	var all sync.WaitGroup
	for range 4 {
		for range 20 {
			all.Go(func() {
				if n, err := p.get(context.Background()); n == 0 || err != nil {
					t.Errorf("%d %v", n, err)
				}
			})
		}
		time.Sleep(10 * time.Millisecond) // not for a result: only so that they do not all come together
	}
	all.Wait()
	for i := 1; i < len(begun); i++ {
		if d := begun[i].Sub(begun[i-1]); d < p.every-time.Millisecond {
			t.Errorf("round %d came %v after the one before", i, d)
		}
	}
	if len(begun) > 40 {
		t.Errorf("%d rounds for 80 requests", len(begun))
	}
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	slow := &paced[int]{every: time.Hour, last: time.Now(), f: p.f}
	if _, err := slow.get(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("who went away got %v", err)
	}
}

func TestHelpAndWhatHangs(t *testing.T) {
	v := view()
	v.Frameworks[0].Executors = append(v.Frameworks[0].Executors, lifecycle.ExecutorView{Info: &mesos.ExecutorInfo{}, Container: "b", Phase: "LAUNCHING",
		Nested: []lifecycle.NestedView{{Container: "b.n"}}}, lifecycle.ExecutorView{Info: &mesos.ExecutorInfo{}, Container: "a", Phase: "TERMINATING"})
	base, _ := serve(t, true, func(c *Config) { c.View = func(context.Context) (*lifecycle.View, error) { return v, nil } })
	resp, body := request(t, "GET", base+"/containerizer/debug")
	if want := `{"pending":[{"operation":"destroy","args":{"containerId":"a"}},{"operation":"launch","args":{"containerId":"b"}},{"operation":"launch","args":{"containerId":"b.n"}}]}`; resp.StatusCode != 200 || body != want {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	for path, want := range map[string]string{"/help": "/files/read", "/help/slave(1)": "/state", "/help/files": "/files/read", "/help/slave(1)/flags": "/flags", "/help/files/read": "/files/read"} {
		resp, body := request(t, "GET", base+(&url.URL{Path: path}).String())
		if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/html" || !strings.Contains(body, "<dt>"+want+"</dt>") || strings.Contains(path, "files") && strings.Contains(body, "/state") {
			t.Errorf("%s: %d %v %s", path, resp.StatusCode, resp.Header, body)
		}
	}
	if resp, body := request(t, "GET", base+"/__processes__"); resp.StatusCode != 200 || body != `[{"events":[],"id":"slave(1)"}]` {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
	for _, path := range []string{"/profiler/start", "/memory-profiler/state"} {
		if resp, body := request(t, "GET", base+path); resp.StatusCode != 400 {
			t.Errorf("%s: %d %q", path, resp.StatusCode, body)
		}
	}
	if resp, body := request(t, "GET", base+"/help/nothing"); resp.StatusCode != 400 || body != "No help available for '/nothing'.\n" {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
}

// mesos-agent.md 0.2: long answers are compressed for who takes that, short ones not.
func TestCompressed(t *testing.T) {
	base, _ := serve(t, true, func(c *Config) { c.Flags = map[string]string{"long": strings.Repeat("x", 2000)} })
	for path, want := range map[string]bool{"/flags": true, "/version": false, "/help": true} {
		if resp, body := request(t, "GET", base+path); resp.Uncompressed != want || !strings.ContainsAny(body, "{<") {
			t.Errorf("%s: compressed %v: %s", path, resp.Uncompressed, body)
		}
	}
	resp, err := http.Post(base+"/api/v1", "application/json", strings.NewReader(`{"type":"GET_FLAGS"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || !resp.Uncompressed || resp.Header.Get("Content-Type") != "application/json" || !strings.HasPrefix(string(b), `{"type":"GET_FLAGS"`) {
		t.Errorf("%v %v %s", err, resp.Header, b)
	}
}
