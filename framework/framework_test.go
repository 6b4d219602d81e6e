package framework

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/lab/freeport"
	"github.com/stoa-project/stoa/internal/lab/zookeeper"
	"github.com/stoa-project/stoa/internal/zk"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// The test servers' parent is a thread kept for the whole run.
		goleak.IgnoreAnyFunction("github.com/stoa-project/stoa/internal/lab/parent.Start.func1.1"))
}

// process is one framework on a loopback port; its master never answers.
type process struct {
	url    string
	cancel context.CancelFunc
	ended  chan error
}

func start(t *testing.T, dir string) *process {
	t.Helper()
	return startWith(t, Config{WorkDir: dir})
}

func startWith(t *testing.T, cfg Config) *process {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Master, cfg.Listener, cfg.Hostname = "127.0.0.1:"+strconv.Itoa(freeport.Row(t, 1)), l, "127.0.0.1"
	f := New(cfg, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{url: "http://" + l.Addr().String(), cancel: cancel, ended: make(chan error, 1)}
	go func() { p.ended <- f.Run(ctx) }()
	t.Cleanup(func() { p.stop() })
	return p
}

func (p *process) stop() error {
	p.cancel()
	select {
	case err := <-p.ended:
		p.ended <- err
		return err
	case <-time.After(20 * time.Second):
		return context.DeadlineExceeded
	}
}

// do makes a request and gives status and body.
func (p *process) do(t *testing.T, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, p.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, b.String()
}

// TestConformance_1_16_Info: clients of Marathon read the port as a number and the features as an array.
func TestConformance_1_16_Info(t *testing.T) {
	for _, features := range [][]string{nil, {"vips", "secrets"}} {
		p := startWith(t, Config{WorkDir: t.TempDir(), Features: features})
		code, body := p.do(t, "GET", "/v2/info", "")
		var info struct {
			HTTP struct {
				Port int `json:"http_port"`
			} `json:"http_config"`
			Marathon struct {
				Features []string `json:"features"`
			} `json:"marathon_config"`
		}
		var keys struct {
			Marathon  map[string]any `json:"marathon_config"`
			ZooKeeper map[string]any `json:"zookeeper_config"`
		}
		if err := json.Unmarshal([]byte(body), &keys); err != nil || len(keys.Marathon) != 41 || len(keys.ZooKeeper) != 8 {
			t.Errorf("%d and %d settings: %v %s", len(keys.Marathon), len(keys.ZooKeeper), err, body)
		}
		if err := json.Unmarshal([]byte(body), &info); err != nil || code != 200 {
			t.Fatal(code, err, body)
		}
		if info.HTTP.Port == 0 || info.Marathon.Features == nil || len(info.Marathon.Features) != len(features) {
			t.Errorf("info %s", body)
		}
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	}
}

// TestConformance_5_7_ResumesFromItsRecords shows that what was answered survives the process, and that the
// deployment under way is taken up again.
func TestConformance_5_7_ResumesFromItsRecords(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir)
	code, body := p.do(t, "POST", "/v2/apps", `{"id":"/g/w","cmd":"sleep 1","instances":2}`)
	if code != 201 {
		t.Fatal(code, body)
	}
	_, before := p.do(t, "GET", "/v2/deployments", "")
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}

	p = start(t, dir)
	_, after := p.do(t, "GET", "/v2/deployments", "")
	var was, is []struct{ ID string }
	if err := json.Unmarshal([]byte(before), &was); err != nil {
		t.Fatal(err, before)
	}
	if err := json.Unmarshal([]byte(after), &is); err != nil {
		t.Fatal(err, after)
	}
	if len(was) != 1 || len(is) != 1 || is[0].ID != was[0].ID {
		t.Errorf("deployments were %s and are %s", before, after)
	}
	if code, body := p.do(t, "GET", "/v2/apps//g/w", ""); code != 200 || !strings.Contains(body, `"instances":2`) {
		t.Error(code, body)
	}
	if _, body := p.do(t, "GET", "/v2/queue", ""); !strings.Contains(body, `"count":2`) {
		t.Error(body)
	}
}

// TestConformance_10_5_BackupAndRestore: the leader abdicates, and the next one does with the records what
// was asked.
func TestConformance_10_5_BackupAndRestore(t *testing.T) {
	servers := zookeeper.Start(t, 1)
	u, err := zk.Parse("zk://" + servers.ConnectString() + "/backup")
	if err != nil {
		t.Fatal(err)
	}
	t.Run("file", func(t *testing.T) { backUpAndRestore(t, Config{WorkDir: t.TempDir()}) })
	t.Run("zookeeper", func(t *testing.T) { backUpAndRestore(t, Config{ZK: &u, SessionTimeout: 4 * time.Second}) })
}

func backUpAndRestore(t *testing.T, cfg Config) {
	p := startWith(t, cfg)
	file := filepath.Join(t.TempDir(), "backup.tar")
	await := func(what string, done func() bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("in vain: ", what)
			}
		}
	}
	must := func(method, path, body string) {
		t.Helper()
		if code, answer := p.do(t, method, path, body); code < 200 || code > 299 {
			t.Fatal(method, path, code, answer)
		}
	}
	await("leadership", func() bool { code, _ := p.do(t, "GET", "/v2/apps", ""); return code == 200 })
	must("POST", "/v2/apps", `{"id":"/w","cmd":"sleep 1","instances":0}`)
	must("DELETE", "/v2/leader?backup=file://"+file, "")
	await("the backup", func() bool { _, err := os.Stat(file); return err == nil })
	await("the next term", func() bool { code, _ := p.do(t, "GET", "/v2/apps/w", ""); return code == 200 })
	must("DELETE", "/v2/apps/w", "")
	must("DELETE", "/v2/leader?restore=file://"+file, "")
	await("the app of the backup", func() bool { code, _ := p.do(t, "GET", "/v2/apps/w", ""); return code == 200 })
}

func TestTwoProcessesCannotShareRecords(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir)
	if code, body := p.do(t, "GET", "/v2/apps", ""); code != 200 {
		t.Fatal(code, body)
	}
	second := start(t, dir)
	select {
	case err := <-second.ended:
		second.ended <- err
		if fault.KindOf(err) != fault.Conflict {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the second process runs on")
	}
}

// TestConformance_10_1_LeadershipMoves runs two processes on one ZooKeeper: both answer, and when the
// leader goes the other one has everything.
func TestConformance_10_1_LeadershipMoves(t *testing.T) {
	servers := zookeeper.Start(t, 1)
	u, err := zk.Parse("zk://" + servers.ConnectString() + "/marathon")
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{ZK: &u, SessionTimeout: 4 * time.Second}
	first, second := startWith(t, cfg), startWith(t, cfg)
	await := func(p *process, path, want string) string {
		t.Helper()
		deadline := time.Now().Add(30 * time.Second)
		for {
			code, body := p.do(t, "GET", path, "")
			if code == 200 && strings.Contains(body, want) {
				return body
			}
			if time.Now().After(deadline) {
				t.Fatal(path, ": ", code, body)
			}
		}
	}
	await(first, "/v2/apps", `"apps"`)
	if code, body := second.do(t, "POST", "/v2/apps", `{"id":"/w","cmd":"sleep 1","instances":2}`); code != 201 {
		t.Fatal(code, body)
	}
	await(first, "/v2/apps/w", `"/w"`)
	leader := await(second, "/v2/leader", "leader")
	stays, goes := first, second
	if strings.Contains(leader, strings.TrimPrefix(first.url, "http://")) {
		stays, goes = second, first
	}
	if err := goes.stop(); err != nil {
		t.Fatal(err)
	}
	await(stays, "/v2/apps/w", `"instances":2`)
	await(stays, "/v2/leader", strings.TrimPrefix(stays.url, "http://"))
	await(stays, "/v2/deployments", `"/w"`)
}
