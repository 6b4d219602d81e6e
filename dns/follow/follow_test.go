package follow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"reflect"
	"sort"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stoa-project/stoa/dns/mastertest"
	"github.com/stoa-project/stoa/dns/names"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

var quiet = slog.New(slog.DiscardHandler)

func config() Config {
	return Config{
		Source: Auto, Refresh: 10 * time.Millisecond, StateTimeout: 10 * time.Second,
		Rules: names.Rules{Domain: "mesos", Sources: []names.Source{names.SourceHost}},
	}
}

// run follows in the background and gives the stream of zones; the newest always arrives.
func run(t *testing.T, cfg Config) <-chan Published {
	t.Helper()
	f, err := New(cfg, quiet)
	if err != nil {
		t.Fatal(err)
	}
	out := make(chan Published, 1)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- f.Run(ctx, func(p Published) {
			select {
			case <-out:
			default:
			}
			out <- p
		})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return out
}

// until waits for a zone where name has exactly these A records.
func until(t *testing.T, zones <-chan Published, name string, want ...string) Published {
	t.Helper()
	last := "nothing"
	timeout := time.After(30 * time.Second)
	for {
		select {
		case p := <-zones:
			got := []string{}
			if n := p.Zone.Lookup(name); n != nil {
				for _, a := range n.IPs() {
					got = append(got, a.String())
				}
			}
			sort.Strings(got)
			if last = fmt.Sprint(got); last == fmt.Sprint(want) {
				return p
			}
		case <-timeout:
			t.Fatalf("%s: %s, want %v", name, last, want)
		}
	}
}

// replay serves a recorded event stream and keeps it open.
func replay(t *testing.T, file, contentType string) *httptest.Server {
	t.Helper()
	body, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", contentType)
		// Split at odd places: frames do not follow writes.
		for chunk := range chunks(body, 1000) {
			_, _ = w.Write(chunk)
			_ = http.NewResponseController(w).Flush()
		}
		<-r.Context().Done()
	}))
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	return srv
}

func chunks(b []byte, n int) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(b) > 0 {
			k := min(n, len(b))
			if !yield(b[:k]) {
				return
			}
			b = b[k:]
		}
	}
}

// TestRecordedStream applies the recorded life of a cluster event by event.
func TestRecordedStream(t *testing.T) {
	for file, codec := range map[string]wire.Codec{
		"testdata/SUBSCRIBE.json.recordio": wire.JSON, "testdata/SUBSCRIBE.pb.recordio": wire.Protobuf,
	} {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		r := wire.NewReader(bytes.NewReader(raw), 0)
		state := names.NewState(config().Rules)
		changes := make(chan change, 1)
		s := &source{f: &Follower{cfg: config()}, changes: changes}
		s.f.cfg.Notify = func(Event) {}
		var story []string
		for {
			record, err := r.ReadRecord()
			if errors.Is(err, io.EOF) {
				break
			}
			var e masterapi.Event
			if err == nil {
				err = codec.Unmarshal(record, &e)
			}
			if err == nil {
				err = s.event(context.Background(), &e)
			}
			if err != nil {
				t.Fatal(err)
			}
			select {
			case c := <-changes:
				c.apply(state, time.Unix(0, 0))
			default:
				continue
			}
			zone := state.Commit()
			var have []string
			for _, name := range []string{"op-fin.op-demo", "op-kill.op-demo", "op-on3.op-demo", "op-on3.op-demo-renamed"} {
				if zone.Lookup(name+".mesos.") != nil {
					have = append(have, name)
				}
			}
			agents := len(zone.Lookup("_slave._tcp.mesos.").SRV())
			story = append(story, fmt.Sprintf("%s: %d agents, %s", e.GetType(), agents, strings.Join(have, " ")))
		}
		want := []string{
			"SUBSCRIBED: 1 agents, ",
			"AGENT_ADDED: 2 agents, ",
			"FRAMEWORK_ADDED: 2 agents, ",
			"TASK_ADDED: 2 agents, ",
			"TASK_ADDED: 2 agents, ",
			"TASK_UPDATED: 2 agents, ",
			"TASK_UPDATED: 2 agents, ",
			"TASK_UPDATED: 2 agents, op-kill.op-demo",
			"TASK_UPDATED: 2 agents, op-fin.op-demo op-kill.op-demo",
			"TASK_UPDATED: 2 agents, op-kill.op-demo",
			"TASK_UPDATED: 2 agents, ",
			"TASK_UPDATED: 2 agents, ",
			"TASK_ADDED: 2 agents, ",
			"TASK_UPDATED: 2 agents, ",
			"TASK_UPDATED: 2 agents, op-on3.op-demo",
			"FRAMEWORK_UPDATED: 2 agents, op-on3.op-demo-renamed",
			"TASK_UPDATED: 2 agents, ",
			"TASK_ADDED: 2 agents, op-on3.op-demo-renamed",
			"AGENT_ADDED: 2 agents, op-on3.op-demo-renamed",
			"TASK_UPDATED: 2 agents, ",
			"AGENT_REMOVED: 1 agents, ",
			"FRAMEWORK_REMOVED: 1 agents, ",
		}
		if !reflect.DeepEqual(story, want) {
			t.Errorf("%s:\n%s", file, strings.Join(story, "\n"))
		}
	}
}

func TestRecordedStreamOverSockets(t *testing.T) {
	for file, media := range map[string]string{
		"testdata/SUBSCRIBE.json.recordio": wire.MediaJSON, "testdata/SUBSCRIBE.pb.recordio": wire.MediaProtobuf,
	} {
		cfg := config()
		cfg.Masters = []string{replay(t, file, media).Listener.Addr().String()}
		if p := until(t, run(t, cfg), "slave.mesos.", "127.0.0.1"); p.Mode != Subscribe {
			t.Errorf("%s: mode %s", file, p.Mode)
		}
	}
}

// body cuts the headers off a recorded answer.
func body(t *testing.T, file string) []byte {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, b, ok := bytes.Cut(bytes.ReplaceAll(raw, []byte("\r\n"), []byte("\n")), []byte("\n\n"))
	if !ok {
		t.Fatalf("%s has no headers", file)
	}
	return b
}

// A recorded /master/state and the same cluster through the v1 API give the same records,
// but for what only the former tells: the pids of v0 frameworks.
func TestPollAndStreamAgree(t *testing.T) {
	polled := mastertest.Start(t)
	polled.SetPoll(body(t, "testdata/state.http"))
	polled.Refuse(http.StatusNotFound)
	streamed := mastertest.Start(t)
	var answer masterapi.Response
	if err := wire.JSON.Unmarshal(body(t, "testdata/GET_STATE.json.http"), &answer); err != nil {
		t.Fatal(err)
	}
	streamed.SetState(answer.GetGetState())
	var zones []map[string]string
	for _, m := range []*mastertest.Master{polled, streamed} {
		cfg := config()
		cfg.Masters = []string{m.Addr()}
		cfg.Rules.Sources = []names.Source{names.SourceNetInfo, names.SourceHost}
		p := until(t, run(t, cfg), "golden-db.golden-http.slave.mesos.")
		if p.Zone.Lookup("db.golden-http.mesos.") == nil {
			p = until(t, run(t, cfg), "db.golden-http.mesos.", "127.0.0.1")
		}
		nodes := map[string]string{}
		for n := range p.Zone.All() {
			name := n.Name()
			if strings.HasPrefix(name, "_leader.") || strings.HasPrefix(name, "_master.") || strings.Contains(name, "_framework") ||
				name == "noexecutorframework.mesos." || name == "_tcp.noexecutorframework.mesos." {
				continue
			}
			var values []string
			for _, a := range n.IPs() {
				values = append(values, a.String())
			}
			for _, v := range n.SRV() {
				values = append(values, fmt.Sprint(v.Target, v.Port))
			}
			sort.Strings(values)
			nodes[name] = strings.Join(values, " ")
		}
		zones = append(zones, nodes)
	}
	for name := range zones[0] {
		if _, ok := zones[1][name]; !ok {
			t.Errorf("only polled: %s", name)
		}
	}
	for name := range zones[1] {
		if _, ok := zones[0][name]; !ok {
			t.Errorf("only streamed: %s", name)
		} else if zones[0][name] != zones[1][name] {
			t.Errorf("%s: %s polled, %s streamed", name, zones[0][name], zones[1][name])
		}
	}
	if len(zones[0]) < 40 {
		t.Errorf("only %d names", len(zones[0]))
	}
}

func simple(ip string, tasks ...*mesos.Task) *masterapi.Response_GetState {
	return mastertest.State(
		[]*masterapi.Response_GetFrameworks_Framework{mastertest.Framework("F", "fw", "sched.example.org")},
		[]*masterapi.Response_GetAgents_Agent{mastertest.Agent("A-S0", ip+":5051")}, tasks)
}

func TestSourceSetting(t *testing.T) {
	m := mastertest.Start(t)
	m.SetState(simple("10.0.0.1"))
	m.SetPoll([]byte(`{"slaves":[{"id":"A-S0","pid":"slave(1)@10.0.0.2:5051"}]}`))
	for source, want := range map[Mode]string{Auto: "10.0.0.1", Subscribe: "10.0.0.1", Poll: "10.0.0.2"} {
		cfg := config()
		cfg.Masters, cfg.Source = []string{m.Addr()}, source
		until(t, run(t, cfg), "slave.mesos.", want)
	}
}

// A master that recovers is not one without streams: it is asked again, not polled.
func TestRecoveringMasterIsNotPolled(t *testing.T) {
	m := mastertest.Start(t)
	m.SetState(simple("10.0.0.1"))
	m.Refuse(http.StatusServiceUnavailable)
	cfg := config()
	cfg.Masters = []string{m.Addr()}
	zones := run(t, cfg)
	for deadline := time.Now().Add(30 * time.Second); m.Asked("/api/v1") < 2 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
	}
	m.Refuse(0)
	until(t, zones, "slave.mesos.", "10.0.0.1")
	if m.Asked("/master/state") != 0 {
		t.Error("a recovering master was polled")
	}
}

func TestHostNamesAreResolvedAside(t *testing.T) {
	m := mastertest.Start(t)
	state := simple("10.0.0.1")
	state.GetAgents.Agents = append(state.GetAgents.Agents, mastertest.Agent("A-S1", "agent.example.org:5051"), mastertest.Agent("A-S2", "loop.mesos:5051"))
	m.SetState(state)
	cfg := config()
	cfg.Masters = []string{m.Addr()}
	release := make(chan struct{})
	var looped atomic.Bool
	cfg.Lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
		switch host {
		case "agent.example.org":
			<-release
			return []netip.Addr{netip.MustParseAddr("10.0.0.7")}, nil
		case "loop.mesos":
			looped.Store(true)
		}
		return nil, errors.New("no such host")
	}
	zones := run(t, cfg)
	until(t, zones, "slave.mesos.", "10.0.0.1") // does not wait for names
	close(release)
	until(t, zones, "slave.mesos.", "10.0.0.1", "10.0.0.7")
	if looped.Load() {
		t.Error("a name of the own zone was looked up")
	}
}

func TestParsePorts(t *testing.T) {
	for text, want := range map[string][]names.Range{
		"":                             nil,
		"[]":                           nil,
		"[31000-31001, 31005-31005]":   {{First: 31000, Last: 31001}, {First: 31005, Last: 31005}},
		"[80]":                         {{First: 80, Last: 80}},
		"[5-1, x, 1-99999, -3, 7 - 9]": nil,
	} {
		if got := parsePorts(text); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

// A large list read in parts says the same as one read at once.
func TestLargeListIsReadInParts(t *testing.T) {
	raw, err := os.ReadFile("testdata/SUBSCRIBE.pb.recordio")
	if err != nil {
		t.Fatal(err)
	}
	var tasks []*mesos.Task
	for i := range 50 {
		tasks = append(tasks, mastertest.Task("F", fmt.Sprint("t", i), fmt.Sprint("app", i/5), "A-S0", 31000))
	}
	synthetic, err := wire.Protobuf.Marshal(&masterapi.Event{
		Type: masterapi.Event_SUBSCRIBED.Enum(), Subscribed: &masterapi.Event_Subscribed{GetState: simple("10.0.0.1", tasks...)},
	})
	if err != nil {
		t.Fatal(err)
	}
	recorded, err := wire.NewReader(bytes.NewReader(raw), 0).ReadRecord()
	if err != nil {
		t.Fatal(err)
	}
	for _, record := range [][]byte{recorded, synthetic} {
		var whole masterapi.Event
		if err := wire.Protobuf.Unmarshal(record, &whole); err != nil {
			t.Fatal(err)
		}
		want := snapshotOf(whole.GetSubscribed().GetGetState())
		parts, tasks, err := readLarge(record)
		if err != nil {
			t.Fatal(err)
		}
		got := snapshotOf(parts.GetSubscribed().GetGetState())
		got.Tasks = append(got.Tasks, tasks...)
		if !reflect.DeepEqual(got, want) || parts.GetType() != masterapi.Event_SUBSCRIBED {
			t.Errorf("in parts %+v\nat once %+v", got, want)
		}
		for cut := range len(record) {
			_, _, _ = readLarge(record[:cut]) // must not panic
		}
	}
}

// A master of old that stands by does not redirect: its empty state names the leader.
func TestOldStandbyNamesTheLeader(t *testing.T) {
	leader, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	port := leader.Addr().(*net.TCPAddr).Port
	standby, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port))
	if err != nil {
		t.Fatal(err)
	}
	for l, body := range map[net.Listener]string{
		leader:  `{"leader":"master@127.0.0.2:5050","slaves":[{"id":"A-S0","pid":"slave(1)@10.0.0.2:5051"}]}`,
		standby: `{"leader":"master@127.0.0.2:5050","slaves":[],"frameworks":[]}`,
	} {
		srv := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, body)
		})}}
		srv.Start()
		t.Cleanup(func() {
			srv.CloseClientConnections()
			srv.Close()
		})
	}
	cfg := config()
	cfg.Masters, cfg.Source = []string{standby.Addr().String()}, Poll
	zones := run(t, cfg)
	until(t, zones, "slave.mesos.", "10.0.0.2")
	until(t, zones, "leader.mesos.", "127.0.0.2")
}
