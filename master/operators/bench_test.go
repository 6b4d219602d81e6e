package operators_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/master/ledger"
	"github.com/stoa-project/stoa/master/operators"
)

// largeBook is a cluster of agents with tasks as Marathon makes them, of one framework.
func largeBook(agents, tasks int) *ledger.Snapshot {
	scalar := func(name string, v float64) *mesos.Resource {
		return &mesos.Resource{Name: &name, Type: mesos.Value_SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: &v}}
	}
	id := func(n int) string { return fmt.Sprintf("43bdaa57-94e8-4891-a620-405c630fedfa-S%d", n) }
	start := time.Unix(1795224069, 485937000)
	b := &ledger.Snapshot{Elected: start, Master: &mesos.MasterInfo{Id: proto.String("43bdaa57"), Ip: proto.Uint32(1), Port: proto.Uint32(5050),
		Pid: proto.String("master@127.0.0.1:5050"), Hostname: proto.String("m")}}
	for i := range agents {
		name := fmt.Sprintf("agent%d.example.org", i)
		b.Agents = append(b.Agents, &ledger.AgentView{ID: ledger.AgentID(id(i)), PID: "slave(1)@10.0.0.1:5051", Version: "1.11.0",
			Info:      &mesos.AgentInfo{Id: &mesos.AgentID{Value: proto.String(id(i))}, Hostname: &name, Port: proto.Int32(5051)},
			Connected: true, Active: true, Registered: start,
			Total: resource.Of(scalar("cpus", 16), scalar("mem", 65536), scalar("disk", 1e6)), Used: resource.Of(scalar("cpus", 2), scalar("mem", 512)).Allocate("*")})
	}
	f := &ledger.FrameworkView{ID: "43bdaa57-94e8-4891-a620-405c630fedfa-0000", Info: &mesos.FrameworkInfo{User: proto.String("root"), Name: proto.String("marathon")},
		Roles: []string{"*"}, Active: true, Connected: true, Registered: start}
	for i := range tasks {
		name := fmt.Sprintf("web_app%d.instance-6cf6d4c2-4a5d-11ee-9f3c-0242ac110002._app.1", i%100)
		tid := fmt.Sprintf("%s.%d", name, i)
		status := func(s mesos.TaskState) *mesos.TaskStatus {
			return &mesos.TaskStatus{TaskId: &mesos.TaskID{Value: &tid}, State: s.Enum(), Timestamp: proto.Float64(1795224082.7517079), Uuid: []byte("0123456789abcdef"),
				ContainerStatus: &mesos.ContainerStatus{ContainerId: &mesos.ContainerID{Value: proto.String("63f3bb6b-f368-4bef-bff3-1125850cae47")},
					NetworkInfos: []*mesos.NetworkInfo{{IpAddresses: []*mesos.NetworkInfo_IPAddress{{IpAddress: proto.String("10.0.0.1")}}}}}}
		}
		ports := &mesos.Resource{Name: proto.String("ports"), Type: mesos.Value_RANGES.Enum(), Ranges: &mesos.Value_Ranges{Range: []*mesos.Value_Range{
			{Begin: proto.Uint64(uint64(31000 + i%1000)), End: proto.Uint64(uint64(31000 + i%1000))}}}}
		f.Tasks = append(f.Tasks, &mesos.Task{Name: &name, TaskId: &mesos.TaskID{Value: &tid}, FrameworkId: &mesos.FrameworkID{Value: proto.String(string(f.ID))},
			AgentId: &mesos.AgentID{Value: proto.String(id(i % agents))}, State: mesos.TaskState_TASK_RUNNING.Enum(),
			Resources: resource.Of(scalar("cpus", 0.2), scalar("mem", 64), ports).Allocate("*"),
			Statuses:  []*mesos.TaskStatus{status(mesos.TaskState_TASK_STARTING), status(mesos.TaskState_TASK_RUNNING)},
			Discovery: &mesos.DiscoveryInfo{Visibility: mesos.DiscoveryInfo_FRAMEWORK.Enum(), Name: proto.String("app.web"),
				Ports: &mesos.Ports{Ports: []*mesos.Port{{Number: proto.Uint32(31000), Name: proto.String("http"), Protocol: proto.String("tcp")}}}}})
	}
	b.Frameworks = []*ledger.FrameworkView{f}
	return b
}

// discard is a client that costs nothing.
type discard struct {
	header http.Header
	n      int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(int)             {}
func (d *discard) Write(p []byte) (int, error) { d.n += len(p); return len(p), nil }

// BenchmarkState polls a cluster of 1,000 agents and 10,000 tasks: changed means that the
// book differs at each poll, unchanged that it does not.
func BenchmarkState(b *testing.B) {
	books := []*ledger.Snapshot{largeBook(1000, 10000)}
	second := *books[0]
	books = append(books, &second)
	for _, c := range []struct {
		name, method, path, body, accept, gzip string
		changed                                bool
	}{
		{name: "state/changed", method: "GET", path: "/state", changed: true},
		{name: "state/unchanged", method: "GET", path: "/state"},
		{name: "state/changed_gzip", method: "GET", path: "/state", gzip: "gzip", changed: true},
		{name: "summary/changed", method: "GET", path: "/state-summary", changed: true},
		{name: "tasks/page", method: "GET", path: "/tasks?limit=100", changed: true},
		{name: "GET_STATE/json_changed", method: "POST", path: "/api/v1", body: `{"type":"GET_STATE"}`, changed: true},
		{name: "GET_STATE/protobuf_changed", method: "POST", path: "/api/v1", body: `{"type":"GET_STATE"}`, accept: wire.MediaProtobuf, changed: true},
	} {
		b.Run(c.name, func(b *testing.B) {
			d := &door{book: books[0], leading: books[0].Master}
			h := mux(operators.New(operators.Config{}, d))
			b.ReportAllocs()
			size := 0
			for i := 0; b.Loop(); i++ {
				if c.changed {
					d.book = books[i%2]
				}
				r := httptest.NewRequest(c.method, c.path, strings.NewReader(c.body))
				r.Header.Set("Content-Type", wire.MediaJSON)
				if c.accept != "" {
					r.Header.Set("Accept", c.accept)
				}
				if c.gzip != "" {
					r.Header.Set("Accept-Encoding", c.gzip)
				}
				w := &discard{header: http.Header{}}
				h.ServeHTTP(w, r)
				size = w.n
			}
			b.ReportMetric(float64(size), "bytes/answer")
		})
	}
}

// BenchmarkPublish is what one event costs the ledger's owner with 100 subscribers.
func BenchmarkPublish(b *testing.B) {
	d := &door{book: largeBook(1, 1), leading: &mesos.MasterInfo{}}
	shell := operators.New(operators.Config{QueueLength: 1 << 30}, d)
	h := mux(shell)
	for range 100 {
		w := &stuck{ResponseWriter: httptest.NewRecorder(), writes: make(chan struct{}), reached: make(chan struct{})}
		r := httptest.NewRequest(http.MethodPost, "/api/v1", strings.NewReader(`{"type":"SUBSCRIBE"}`))
		r.Header.Set("Content-Type", wire.MediaJSON)
		go h.ServeHTTP(w, r)
		<-w.reached
		b.Cleanup(func() { close(w.writes) })
	}
	e := &masterapi.Event{Type: masterapi.Event_TASK_ADDED.Enum(), TaskAdded: &masterapi.Event_TaskAdded{Task: d.book.Frameworks[0].Tasks[0]}}
	b.ReportAllocs()
	for b.Loop() {
		shell.Publish(e)
	}
	b.StopTimer()
	shell.TermEnded()
}
