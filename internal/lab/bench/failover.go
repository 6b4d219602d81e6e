package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/election"
	"github.com/stoa-project/stoa/internal/lab/zookeeper"
	"github.com/stoa-project/stoa/internal/wire/messages"
	"github.com/stoa-project/stoa/internal/zk"
)

// The row failover: n simulated agents with ten tasks each, ten frameworks, two masters
// and a real ZooKeeper. The leader is killed with SIGKILL; everything is counted from the
// end of its ephemeral node, which comes one session timeout later.

const (
	failoverFrameworks = 10
	tasksPerAgent      = 10
	failoverSession    = "4secs"
	failoverWait       = 3 * time.Minute
)

// benchTB stands in for a test where a lab helper wants one.
type benchTB struct {
	testing.TB
	dir      string
	cleanups []func()
	dirs     int
}

func (b *benchTB) Helper()                   {}
func (b *benchTB) Cleanup(f func())          { b.cleanups = append(b.cleanups, f) }
func (b *benchTB) Logf(f string, a ...any)   { fmt.Fprintf(os.Stderr, f+"\n", a...) }
func (b *benchTB) Fatal(a ...any)            { panic(benchFailed(fmt.Sprint(a...))) }
func (b *benchTB) Fatalf(f string, a ...any) { panic(benchFailed(fmt.Sprintf(f, a...))) }
func (b *benchTB) TempDir() string {
	b.dirs++
	dir := filepath.Join(b.dir, strconv.Itoa(b.dirs))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	return dir
}

func (b *benchTB) end() {
	for i := len(b.cleanups) - 1; i >= 0; i-- {
		b.cleanups[i]()
	}
}

type benchFailed string

// masterProcess is one of the two masters.
type masterProcess struct {
	cmd *exec.Cmd
	at  string // host:port
	log string
}

func startMaster(dir, name, url string) (*masterProcess, error) {
	at, err := freeAddress()
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(at)
	m := &masterProcess{at: at, log: filepath.Join(dir, name+".log")}
	m.cmd, _, err = background(stoa(), m.log, "master", "--ip", "127.0.0.1", "--port", port, "--hostname", "127.0.0.1",
		"--zk", url, "--quorum", "1", "--work_dir", filepath.Join(dir, name), "--zk_session_timeout", failoverSession)
	return m, err
}

// metric asks a master for some flat metrics.
func (m *masterProcess) metrics(client *http.Client, names ...string) ([]float64, error) {
	resp, err := client.Post("http://"+m.at+"/api/v1", "application/json", strings.NewReader(`{"type":"GET_METRICS","get_metrics":{}}`))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New(resp.Status)
	}
	var got struct {
		GetMetrics struct {
			Metrics []struct {
				Name  string
				Value float64
			}
		} `json:"get_metrics"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
		return nil, err
	}
	out := make([]float64, len(names))
	for i, name := range names {
		for _, each := range got.GetMetrics.Metrics {
			if each.Name == name {
				out[i] = each.Value
			}
		}
	}
	return out, nil
}

// failover measures one failover with n agents.
func failover(n int) (seconds float64, extra map[string]float64, err error) {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return 0, nil, err
	}
	defer os.RemoveAll(dir)
	tb := &benchTB{dir: dir}
	defer tb.end()
	defer func() {
		if r := recover(); r != nil {
			failed, ours := r.(benchFailed)
			if !ours {
				panic(r)
			}
			err = errors.New(string(failed))
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 2*failoverWait)
	defer cancel()
	url := zookeeper.Start(tb, 1).URL("mesos")
	one, err := startMaster(dir, "one", url)
	if err != nil {
		return 0, nil, err
	}
	dead := false
	defer func() {
		if !dead {
			end(one.cmd)
		}
	}()
	leaders, closeZK, err := watchLeaders(ctx, url)
	if err != nil {
		return 0, nil, err
	}
	defer closeZK()
	if err := awaitLeader(leaders, one.at); err != nil {
		return 0, nil, err
	}
	two, err := startMaster(dir, "two", url)
	if err != nil {
		return 0, nil, err
	}
	defer end(two.cmd)
	agents, err := startAgents(dir, url, n, "--registration_backoff_factor", "200ms")
	if err != nil {
		return 0, nil, err
	}
	defer end(agents)
	var all []*miniScheduler
	defer func() {
		for _, s := range all {
			s.close()
		}
	}()
	for i := range failoverFrameworks {
		s := &miniScheduler{name: fmt.Sprintf("bench-%d", i), want: n * tasksPerAgent / failoverFrameworks}
		if err := s.subscribe(ctx, one.at); err != nil {
			return 0, nil, err
		}
		all = append(all, s)
	}
	began := time.Now()
	for _, s := range all {
		if err := s.awaitRunning(ctx); err != nil {
			return 0, nil, fmt.Errorf("launch of the tasks: %w", err)
		}
	}
	fmt.Fprintf(os.Stderr, "failover: %d tasks run after %.1f s\n", n*tasksPerAgent, time.Since(began).Seconds())
	client := &http.Client{}
	if err := two.listens(ctx, client); err != nil {
		return 0, nil, err
	}

	killed := time.Now()
	if err := one.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		return 0, nil, err
	}
	_ = one.cmd.Wait()
	dead = true
	for _, s := range all {
		s.close()
	}
	if err := awaitLeader(leaders, two.at); err != nil {
		return 0, nil, err
	}
	gone := time.Now()
	masterCPU, agentsCPU := cpuSeconds(two.cmd.Process.Pid), cpuSeconds(agents.Process.Pid)
	type mark struct {
		what string
		at   time.Time
		err  error
	}
	marks := make(chan mark, len(all)+2)
	go func() {
		for {
			if _, err := two.metrics(client); err == nil {
				marks <- mark{what: "leads", at: time.Now()}
				break
			}
			if time.Since(gone) > failoverWait {
				marks <- mark{err: errors.New("the new leader does not answer")}
				return
			}
			time.Sleep(2 * time.Millisecond)
		}
		for {
			v, err := two.metrics(client, "master/slaves_connected", "master/tasks_running")
			if err == nil && int(v[0]) == n && int(v[1]) == n*tasksPerAgent {
				marks <- mark{what: "known", at: time.Now()}
				return
			}
			if time.Since(gone) > failoverWait {
				marks <- mark{err: fmt.Errorf("agents and tasks known: %v (%v)", v, err)}
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
	}()
	for _, s := range all {
		go func() {
			at, err := s.again(ctx, two.at)
			marks <- mark{what: "offers", at: at, err: err}
		}()
	}
	extra = map[string]float64{"kill_to_node_gone_s": gone.Sub(killed).Seconds()}
	for range len(all) + 2 {
		m := <-marks
		if m.err != nil {
			return 0, nil, m.err
		}
		s := m.at.Sub(gone).Seconds()
		switch m.what {
		case "leads":
			extra["leads_ms"] = s * 1e3
		case "known":
			seconds = s
		case "offers":
			extra["last_framework_offered_s"] = max(extra["last_framework_offered_s"], s)
			if first, any := extra["first_offers_s"]; !any || s < first {
				extra["first_offers_s"] = s
			}
		}
	}
	v, err := two.metrics(client, "master/tasks_lost", "master/tasks_running")
	if err != nil {
		return 0, nil, err
	}
	extra["tasks_lost"], extra["tasks_running"] = v[0], v[1]
	// The simulated agents are one process, so that their share tells how long it waits for them.
	extra["master_cpu_s"] = cpuSeconds(two.cmd.Process.Pid) - masterCPU
	extra["agents_cpu_s"] = cpuSeconds(agents.Process.Pid) - agentsCPU
	extra["master_rss_mib"] = rss(two.cmd.Process.Pid)
	return seconds, extra, nil
}

// listens waits until the standby answers at all.
func (m *masterProcess) listens(ctx context.Context, client *http.Client) error {
	for ctx.Err() == nil {
		if resp, err := client.Get("http://" + m.at + "/health"); err == nil {
			resp.Body.Close()
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return ctx.Err()
}

// watchLeaders hears of each leader as ZooKeeper clients do.
func watchLeaders(ctx context.Context, text string) (<-chan election.Leader, func(), error) {
	url, err := zk.Parse(text)
	if err != nil {
		return nil, nil, err
	}
	session, err := zk.Dial(ctx, url, zk.Config{})
	if err != nil {
		return nil, nil, err
	}
	return election.NewZK(session, session.Path(), election.MasterPrefix, nil).Watch(ctx), session.Close, nil
}

func awaitLeader(leaders <-chan election.Leader, at string) error {
	deadline := time.After(failoverWait)
	for {
		select {
		case l, open := <-leaders:
			if !open {
				return errors.New("the watch of the leader ended")
			}
			if l.Data == nil {
				continue
			}
			m, err := election.ParseMaster(l.Data)
			if err == nil && m.Addr() == at {
				return nil
			}
		case <-deadline:
			return fmt.Errorf("%s does not lead", at)
		}
	}
}

// bareReregistrations is the work that no master can avoid: the re-registrations of n
// agents encoded, sent over one loopback socket and decoded.
func bareReregistrations(n int) (float64, error) {
	nc, err := echo()
	if err != nil {
		return 0, err
	}
	defer nc.Close()
	if err := nc.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		return 0, err
	}
	m := sampleReregistration()
	began := time.Now()
	sizes := make(chan int, 1024)
	failed := make(chan error, 1)
	go func() {
		defer close(sizes)
		w := bufio.NewWriterSize(nc, 64<<10)
		for range n {
			b, err := proto.Marshal(m)
			if err == nil {
				_, err = w.Write(b)
			}
			if err != nil {
				failed <- err
				return
			}
			sizes <- len(b)
		}
		if err := w.Flush(); err != nil {
			failed <- err
		}
	}()
	r := bufio.NewReaderSize(nc, 64<<10)
	var buf bytes.Buffer
	for size := range sizes {
		buf.Reset()
		if _, err := io.CopyN(&buf, r, int64(size)); err != nil {
			return 0, err
		}
		if err := proto.Unmarshal(buf.Bytes(), &messages.ReregisterSlaveMessage{}); err != nil {
			return 0, err
		}
	}
	select {
	case err := <-failed:
		return 0, err
	default:
	}
	return time.Since(began).Seconds(), nil
}
