package dns_test

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/stoa-project/stoa/dns"
	"github.com/stoa-project/stoa/dns/mastertest"
	"github.com/stoa-project/stoa/internal/election"
	"github.com/stoa-project/stoa/internal/lab/zookeeper"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/zk"
)

var update = flag.Bool("update", false, "rewrite golden files")

// Every endpoint's answer, of a cluster with tasks and of one with nothing on it.
func TestGoldenHTTP(t *testing.T) {
	full, empty := mastertest.Start(t), mastertest.Start(t)
	state := cluster()
	v6 := mastertest.Task("F1", "six.1", "six", "C-S1", 31002)
	running := mesos.TaskState_TASK_RUNNING
	stamp := 1.0
	v6.Statuses = []*mesos.TaskStatus{{TaskId: v6.TaskId, State: &running, Timestamp: &stamp, ContainerStatus: &mesos.ContainerStatus{
		NetworkInfos: []*mesos.NetworkInfo{{IpAddresses: []*mesos.NetworkInfo_IPAddress{{IpAddress: text("10.5.0.1")}, {IpAddress: text("fd00::5")}}}},
	}}}
	state.GetTasks.Tasks = append(state.GetTasks.Tasks, v6)
	full.SetState(state)
	ports := regexp.MustCompile(`127\.0\.0\.1:\d+|\.:\d{4,5}"|"(Serial|SOASerial)": \d+`)
	for name, m := range map[string]*mastertest.Master{"full": full, "empty": empty} {
		r := room(t, func(c *dns.Config) { c.Masters = []string{m.Addr()} })
		await(t, r, "leader.mesos.", mdns.TypeA, "127.0.0.1")
		if name == "full" {
			await(t, r, "six.marathon.mesos.", mdns.TypeAAAA, "fd00::5")
		} else {
			await(t, r, "slave.mesos.", mdns.TypeA)
		}
		for _, path := range []string{
			"/v1/version", "/v1/config", "/v1/hosts/six.marathon.mesos", "/v1/hosts/six.marathon.mesos./ports", "/v1/services/_six._tcp.marathon.mesos.",
			"/v1/services/_slave._tcp.mesos", "/v1/enumerate", "/v1/axfr", "/v1/unknown",
		} {
			status, body := get(t, r, path)
			if strings.HasSuffix(path, "/axfr") { // lists have no order
				var v map[string]any
				if err := json.Unmarshal([]byte(body), &v); err != nil {
					t.Fatal(err)
				}
				for _, kind := range v["Records"].(map[string]any) {
					for _, list := range kind.(map[string]any) {
						slices.SortFunc(list.([]any), func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
					}
				}
				sorted, _ := json.MarshalIndent(v, " ", " ")
				body = string(sorted)
			}
			got := fmt.Sprintf("%d\n%s\n", status, ports.ReplaceAllStringFunc(body, func(s string) string {
				return regexp.MustCompile(`\d+("?)$`).ReplaceAllString(s, "N$1")
			}))
			file := filepath.Join("testdata", name+strings.ReplaceAll(strings.Trim(path, "."), "/", "-")+".golden")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s of the %s cluster:\n%s\nwant (go test ./dns -update rewrites it)\n%s", path, name, got, want)
			}
		}
	}
}

func text(s string) *string { return &s }

// A watcher hears what a name has now and after each change of it, and of nothing else.
func TestWatch(t *testing.T) {
	m := mastertest.Start(t)
	m.SetState(cluster())
	r := room(t, func(c *dns.Config) { c.Masters = []string{m.Addr()} })
	await(t, r, "web-prod.marathon.mesos.", mdns.TypeA, "10.0.0.1")
	ctx, stop := context.WithTimeout(context.Background(), 30*time.Second)
	defer stop()
	watch := func(name string) func() string {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.HTTPAddr().String()+"/v1/watch?name="+name, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
			t.Fatal(resp, err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		lines := bufio.NewScanner(resp.Body)
		return func() string {
			for lines.Scan() {
				if data, ok := strings.CutPrefix(lines.Text(), "data:"); ok {
					return strings.TrimSpace(data)
				}
			}
			t.Fatal("the stream ended", lines.Err())
			return ""
		}
	}
	services, hosts, none := watch("_web-prod._tcp.marathon.mesos"), watch("web-prod.marathon.mesos"), watch("later.marathon.mesos")
	const first = `{"service":"_web-prod._tcp.marathon.mesos","host":"web-prod-khsdw-s0.marathon.mesos.","ip":"10.0.0.1","port":"31000"}`
	for what, c := range map[string][2]string{
		"services": {services(), "[" + first + "]"},
		"hosts":    {hosts(), `[{"host":"web-prod.marathon.mesos.","ip":"10.0.0.1"}]`},
		"none":     {none(), "[]"},
	} {
		if c[0] != c[1] {
			t.Errorf("%s: %s, want %s", what, c[0], c[1])
		}
	}
	m.Send(mastertest.Added(mastertest.Task("F1", "x.1", "later", "C-S1", 31009)))
	if got := none(); got != `[{"host":"later.marathon.mesos.","ip":"10.0.0.2"}]` {
		t.Errorf("a new name: %s", got)
	}
	m.Send(mastertest.Added(mastertest.Task("F1", "plain.2", "web.prod", "C-S1", 31001)))
	if got := services(); !strings.Contains(got, first) || strings.Count(got, "host") != 2 {
		t.Errorf("a second task: %s", got)
	}
	if got := hosts(); strings.Count(got, "host") != 2 {
		t.Errorf("a second task: %s", got)
	}
	if status, _ := get(t, r, "/v1/watch"); status != http.StatusBadRequest {
		t.Errorf("without a name: %d", status)
	}
}

// A server that starts while no master answers serves what it knew, for a second at a time.
func TestStateCache(t *testing.T) {
	m := mastertest.Start(t)
	m.SetState(cluster())
	file := filepath.Join(t.TempDir(), "view")
	ctx, stop := context.WithCancel(context.Background())
	begin := func(master string) (*dns.Room, chan error) {
		cfg := dns.Defaults()
		cfg.Listener, cfg.HTTPListener, cfg.Port, cfg.HTTPPort, cfg.ExternalOn = "127.0.0.1", "127.0.0.1", 0, 0, false
		cfg.Masters, cfg.StateCache = []string{master}, file
		r, err := dns.New(cfg, "test", slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		<-r.Listening()
		return r, ended
	}
	r, ended := begin(m.Addr())
	await(t, r, "web-prod.marathon.mesos.", mdns.TypeA, "10.0.0.1")
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(file); err == nil {
			break
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	ctx, stop = context.WithCancel(context.Background())
	r, ended = begin("127.0.0.1:1")
	await(t, r, "web-prod.marathon.mesos.", mdns.TypeA, "10.0.0.1")
	if ttl := ask(t, r, "udp", "web-prod.marathon.mesos.", mdns.TypeA).Answer[0].Header().Ttl; ttl != 1 {
		t.Errorf("TTL %d, want 1", ttl)
	}
	if _, body := get(t, r, "/metrics"); strings.Contains(body, "stoa_dns_age_seconds -1") {
		t.Error("the age of the kept view is not shown")
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	// A file that was cut off is not believed.
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, cut := range []int{0, 1, len(whole) / 2, len(whole) - 12} {
		if err := os.WriteFile(file, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, stop = context.WithCancel(context.Background())
		r, ended = begin("127.0.0.1:1")
		if reply := ask(t, r, "udp", "web-prod.marathon.mesos.", mdns.TypeA); reply.Rcode != mdns.RcodeServerFailure {
			t.Errorf("%d of %d octets: %v", cut, len(whole), reply)
		}
		stop()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
}

// Clients ask all the time while the server ends and starts again: they may wait, and are
// never told that a name does not exist.
func TestRestartUnderLoad(t *testing.T) {
	m := mastertest.Start(t)
	m.SetState(cluster())
	cfg := dns.Defaults()
	cfg.Listener, cfg.HTTPListener, cfg.Port, cfg.HTTPOn, cfg.ExternalOn = "127.0.0.1", "127.0.0.1", 0, false, false
	cfg.Masters = []string{m.Addr()}
	var wrong, right atomic.Int32
	done := make(chan struct{})
	asking := make(chan struct{})
	for round := range 5 {
		r, err := dns.New(cfg, "test", slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		select {
		case <-r.Listening():
		case err := <-ended:
			t.Fatal(err)
		}
		if round == 0 {
			at := r.Addr()
			cfg.Port = int(at.Port())
			go func() {
				defer close(asking)
				q := new(mdns.Msg)
				q.SetQuestion("web-prod.marathon.mesos.", mdns.TypeA)
				c := mdns.Client{Timeout: 50 * time.Millisecond}
				for {
					select {
					case <-done:
						return
					default:
					}
					reply, _, err := c.Exchange(q, at.String())
					switch {
					case err != nil || reply.Rcode == mdns.RcodeServerFailure: // clients try again
					case reply.Rcode != 0 || len(reply.Answer) != 1:
						wrong.Add(1)
					default:
						right.Add(1)
					}
				}
			}()
		}
		before := right.Load()
		for deadline := time.Now().Add(20 * time.Second); right.Load() < before+20 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		}
		stop()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
	close(done)
	<-asking
	if wrong.Load() > 0 || right.Load() < 100 {
		t.Errorf("%d wrong and %d right answers", wrong.Load(), right.Load())
	}
}

// One ZooKeeper server of three, then all, then the master go away: the records stay, and
// what is new afterwards is found.
func TestZooKeeperAndMasterLoss(t *testing.T) {
	ens := zookeeper.Start(t, 3)
	u, err := zk.Parse(ens.URL("mesos"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	join := func(m *mastertest.Master) *zk.Session {
		s, err := zk.Dial(ctx, u, zk.Config{})
		if err != nil {
			t.Fatal(err)
		}
		info, err := election.MasterAt(m.Addr())
		if err == nil {
			err = s.EnsurePath(ctx, "/mesos", zk.Public)
		}
		if err == nil {
			_, err = s.Create(ctx, nil, "/mesos/"+election.MasterPrefix, info.JSON(), zk.EphemeralSequential, zk.Public)
		}
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	one, two := mastertest.Start(t), mastertest.Start(t)
	one.SetState(cluster())
	first := join(one)
	r := room(t, func(c *dns.Config) { c.Zk = ens.URL("mesos") })
	const web = "web-prod.marathon.mesos."
	await(t, r, web, mdns.TypeA, "10.0.0.1")

	ens.KillLeader()
	one.Send(mastertest.Added(mastertest.Task("F1", "b.1", "b", "C-S1")))
	await(t, r, "b.marathon.mesos.", mdns.TypeA, "10.0.0.2")
	ens.Pause()
	one.Drop() // the master goes too
	for range 50 {
		if m := ask(t, r, "udp", web, mdns.TypeA); m.Rcode != 0 || len(m.Answer) != 1 {
			t.Fatalf("without ZooKeeper: %v", m)
		}
	}
	ens.Resume()
	first.Close()
	next := cluster()
	next.GetTasks.Tasks = append(next.GetTasks.Tasks, mastertest.Task("F1", "c.1", "c", "C-S1"))
	two.SetState(next)
	second := join(two)
	defer second.Close()
	await(t, r, "c.marathon.mesos.", mdns.TypeA, "10.0.0.2")
	await(t, r, web, mdns.TypeA, "10.0.0.1")
}
