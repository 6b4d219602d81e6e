package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	mdns "github.com/miekg/dns"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Shape of the DNS rows.
const (
	dnsPerApp  = 3 // tasks per app, each on another agent
	dnsTime    = 2 * time.Second
	dnsChanges = 1000 // per second, while queries are timed
	slowQuery  = 5.0  // ms; those beyond are counted
	dnsSmall   = 1000 // tasks of the small cluster beside the large one
)

// responderEnv makes this program a bare DNS responder on that address.
const responderEnv = "STOA_BENCH_RESPONDER"

func init() {
	if at := os.Getenv(responderEnv); at != "" {
		respond(at)
		os.Exit(0)
	}
}

// respond answers every query with three fixed A records by the DNS library alone. As the
// server does, it has one socket per processor.
func respond(at string) {
	var sockets []net.PacketConn
	for range runtime.GOMAXPROCS(0) {
		conf := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
			var failed error
			err := c.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
			return errors.Join(err, failed)
		}}
		pc, err := conf.ListenPacket(context.Background(), "udp", at)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		sockets = append(sockets, pc)
		at = pc.LocalAddr().String()
	}
	fmt.Println(at)
	for _, pc := range sockets[1:] {
		go respondOn(pc)
	}
	respondOn(sockets[0])
}

func respondOn(pc net.PacketConn) {
	srv := &mdns.Server{PacketConn: pc, Handler: mdns.HandlerFunc(func(w mdns.ResponseWriter, q *mdns.Msg) {
		m := new(mdns.Msg)
		m.SetReply(q)
		m.Compress = true
		for i := range dnsPerApp {
			m.Answer = append(m.Answer, &mdns.A{
				Hdr: mdns.RR_Header{Name: q.Question[0].Name, Rrtype: mdns.TypeA, Class: mdns.ClassINET, Ttl: 5},
				A:   net.IP{10, 0, 0, byte(i)},
			})
		}
		_ = w.WriteMsg(m)
	})}
	_ = srv.ActivateAndServe()
}

// dnsQueries runs `stoa dns` against a master with n tasks and gives A queries per second.
// The extra figures are of the same server, and of one with few tasks.
func dnsQueries(n int) (float64, map[string]float64, error) {
	extra := map[string]float64{}
	if err := dnsFigures(dnsSmall, "small", extra); err != nil {
		return 0, nil, err
	}
	if err := dnsFigures(n, "large", extra); err != nil {
		return 0, nil, err
	}
	rate, cpu, err := bareFlood()
	extra["bare_per_s"], extra["bare_cpu_us"] = rate, cpu
	return extra["a_large_per_s"], extra, err
}

func dnsFigures(n int, size string, extra map[string]float64) error {
	m, err := newDNSMaster(n)
	if err != nil {
		return err
	}
	defer m.close()
	d, err := startDNS(m.addr())
	if err != nil {
		return err
	}
	defer d.stop()
	apps := n / dnsPerApp
	pid := d.cmd.Process.Pid
	last := fmt.Sprintf("web%d.marathon.mesos.", apps-1)
	if err := d.await(last, mdns.TypeA, func(r *mdns.Msg) bool { return len(r.Answer) == dnsPerApp }); err != nil {
		return err
	}
	extra["first_zone_"+size+"_s"] = time.Since(d.began).Seconds()
	// The first list leaves garbage to collect; that is no cost of queries.
	for before := time.Duration(-1); before != cpuTime(pid); time.Sleep(500 * time.Millisecond) {
		before = cpuTime(pid)
	}
	for kind, form := range map[uint16]string{mdns.TypeA: "web%d.marathon.mesos.", mdns.TypeSRV: "_web%d._tcp.marathon.mesos."} {
		label := strings.ToLower(mdns.TypeToString[kind]) + "_" + size
		rate, cpu, err := flood(d.addr, pid, form, kind, apps)
		if err != nil {
			return err
		}
		extra[label+"_per_s"], extra[label+"_cpu_us"] = rate, cpu
	}
	if err := m.freshness(d, size, extra); err != nil {
		return err
	}
	if err := m.busy(d, size, extra); err != nil {
		return err
	}
	extra["rss_"+size+"_mib"] = rss(pid)
	return nil
}

// bareQueries gives the queries per second of the bare responder.
func bareQueries(int) (float64, error) {
	rate, _, err := bareFlood()
	return rate, err
}

func bareFlood() (rate, cpu float64, err error) {
	addr, pid, stop, err := startBare()
	if err != nil {
		return 0, 0, err
	}
	defer stop()
	return flood(addr, pid, "web%d.marathon.mesos.", mdns.TypeA, 1000)
}

// startBare runs the bare responder as a process.
func startBare() (addr string, pid int, stop func(), err error) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), responderEnv+"=127.0.0.1:0")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", 0, nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", 0, nil, err
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	if _, err := fmt.Fscanln(out, &addr); err != nil {
		stop()
		return "", 0, nil, err
	}
	return addr, cmd.Process.Pid, stop, nil
}

// dnsProcess is a `stoa dns` of its own.
type dnsProcess struct {
	cmd   *exec.Cmd
	dir   string
	addr  string
	began time.Time
}

func startDNS(master string) (*dnsProcess, error) {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	config, err := json.Marshal(map[string]any{
		"masters": []string{master}, "port": port, "listener": "127.0.0.1", "httpon": false, "externalon": false,
	})
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "config.json")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		return nil, err
	}
	stoa := os.Getenv("STOA_BIN")
	if stoa == "" {
		stoa = "bin/stoa"
	}
	d := &dnsProcess{cmd: exec.Command(stoa, "dns", "--config", file), dir: dir, addr: fmt.Sprint("127.0.0.1:", port), began: time.Now()}
	d.cmd.Stderr = os.Stderr
	d.cmd.Args = slices.Insert(d.cmd.Args, 1, "--log_level", "warn")
	return d, d.cmd.Start()
}

func (d *dnsProcess) stop() {
	_ = d.cmd.Process.Kill()
	_ = d.cmd.Wait()
	os.RemoveAll(d.dir)
}

// await asks until the answer is good.
func (d *dnsProcess) await(name string, kind uint16, good func(*mdns.Msg) bool) error {
	q := new(mdns.Msg)
	q.SetQuestion(name, kind)
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if r, err := mdns.Exchange(q, d.addr); err == nil && good(r) {
			return nil
		}
		time.Sleep(200 * time.Microsecond)
	}
	return fmt.Errorf("%s was not answered as it should be", name)
}

// flood asks for random names as fast as it can and gives the answers per second, and the
// server's processor time for each in microseconds.
func flood(addr string, pid int, form string, kind uint16, names int) (rate, cpu float64, err error) {
	const clients, window = 4, 16
	var queries [][]byte
	for range 1000 {
		q := new(mdns.Msg)
		q.SetQuestion(fmt.Sprintf(form, rand.IntN(names)), kind)
		q.SetEdns0(1232, false)
		raw, err := q.Pack()
		if err != nil {
			return 0, 0, err
		}
		queries = append(queries, raw)
	}
	var answered, lost, wrong atomic.Int64
	var all sync.WaitGroup
	before, began := cpuTime(pid), time.Now()
	for range clients {
		conn, err := net.Dial("udp", addr)
		if err != nil {
			return 0, 0, err
		}
		all.Go(func() {
			defer conn.Close()
			buf := make([]byte, 4096)
			for i := rand.IntN(len(queries)); time.Since(began) < dnsTime; {
				for range window {
					i = (i + 1) % len(queries)
					_, _ = conn.Write(queries[i])
				}
				_ = conn.SetReadDeadline(time.Now().Add(time.Second))
				for k := range window {
					if _, err := conn.Read(buf); err != nil {
						lost.Add(int64(window - k))
						break
					}
					if buf[3]&15 != 0 || buf[7] != dnsPerApp {
						wrong.Add(1)
					}
					answered.Add(1)
				}
			}
		})
	}
	all.Wait()
	took := time.Since(began)
	used := cpuTime(pid) - before
	if wrong.Load() > 0 {
		return 0, 0, fmt.Errorf("%d wrong answers of %d", wrong.Load(), answered.Load())
	}
	if lost.Load() > answered.Load()/100 {
		return 0, 0, fmt.Errorf("%d answers lost of %d", lost.Load(), answered.Load())
	}
	return float64(answered.Load()) / took.Seconds(), float64(used.Microseconds()) / float64(answered.Load()), nil
}

// cpuTime is the processor time that a process has used.
func cpuTime(pid int) time.Duration {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	fields := strings.Fields(string(b)[strings.LastIndexByte(string(b), ')')+1:])
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100
}

// dnsMaster is as much of a master as dns follows: an event stream.
type dnsMaster struct {
	srv    *http.Server
	l      net.Listener
	first  []byte
	events chan []byte
	tasks  int
}

func newDNSMaster(n int) (*dnsMaster, error) {
	m := &dnsMaster{events: make(chan []byte, 1024), tasks: n}
	state := &masterapi.Response_GetState{
		GetFrameworks: &masterapi.Response_GetFrameworks{Frameworks: []*masterapi.Response_GetFrameworks_Framework{{
			FrameworkInfo: &mesos.FrameworkInfo{User: proto.String("root"), Name: proto.String("marathon"), Id: &mesos.FrameworkID{Value: proto.String("F")}, Hostname: proto.String("10.0.0.1")},
			Active:        proto.Bool(true), Connected: proto.Bool(true), Recovered: proto.Bool(false),
		}}},
		GetAgents: &masterapi.Response_GetAgents{}, GetTasks: &masterapi.Response_GetTasks{},
	}
	for i := range m.agents() {
		state.GetAgents.Agents = append(state.GetAgents.Agents, &masterapi.Response_GetAgents_Agent{
			AgentInfo: &mesos.AgentInfo{Hostname: proto.String("h"), Id: &mesos.AgentID{Value: proto.String(fmt.Sprint("A-S", i))}},
			Active:    proto.Bool(true), Version: proto.String("1.12.0"), Pid: proto.String(fmt.Sprintf("slave(1)@10.1.%d.%d:5051", i>>8, i&255)),
		})
	}
	for i := range n {
		state.GetTasks.Tasks = append(state.GetTasks.Tasks, m.task(i, i))
	}
	var err error
	m.first, err = wire.Protobuf.Marshal(&masterapi.Event{
		Type:       masterapi.Event_SUBSCRIBED.Enum(),
		Subscribed: &masterapi.Event_Subscribed{GetState: state, HeartbeatIntervalSeconds: proto.Float64(15)},
	})
	if err == nil {
		m.l, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return nil, err
	}
	m.srv = &http.Server{Handler: http.HandlerFunc(m.serve), ReadHeaderTimeout: time.Minute}
	go func() { _ = m.srv.Serve(m.l) }()
	return m, nil
}

func (m *dnsMaster) agents() int  { return max(dnsPerApp+1, m.tasks/20) }
func (m *dnsMaster) addr() string { return m.l.Addr().String() }
func (m *dnsMaster) close()       { _ = m.srv.Close() }

// task i on one of the agents.
func (m *dnsMaster) task(i, agent int) *mesos.Task {
	name := fmt.Sprintf("web%d", i/dnsPerApp)
	port := uint64(31000 + i%1000)
	return &mesos.Task{
		Name: &name, TaskId: &mesos.TaskID{Value: proto.String(fmt.Sprintf("%s.instance-%08d-0000-0000-0000-000000000000._app.1", name, i))},
		FrameworkId: &mesos.FrameworkID{Value: proto.String("F")}, AgentId: &mesos.AgentID{Value: proto.String(fmt.Sprint("A-S", agent%m.agents()))},
		State:     mesos.TaskState_TASK_RUNNING.Enum(),
		Resources: []*mesos.Resource{{Name: proto.String("ports"), Type: mesos.Value_RANGES.Enum(), Ranges: &mesos.Value_Ranges{Range: []*mesos.Value_Range{{Begin: &port, End: &port}}}}},
		Discovery: &mesos.DiscoveryInfo{Visibility: mesos.DiscoveryInfo_FRAMEWORK.Enum(), Name: &name, Ports: &mesos.Ports{Ports: []*mesos.Port{
			{Number: proto.Uint32(uint32(port)), Name: proto.String("http"), Protocol: proto.String("tcp")},
		}}},
	}
}

func (m *dnsMaster) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/api/v1" {
		http.NotFound(w, r)
		return
	}
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", wire.MediaProtobuf)
	out := http.NewResponseController(w)
	for raw := m.first; ; {
		if _, err := w.Write(wire.AppendRecord(nil, raw)); err != nil || out.Flush() != nil {
			return
		}
		select {
		case raw = <-m.events:
		case <-r.Context().Done():
			return
		}
	}
}

// move ends the first task of an app and starts it on another agent.
func (m *dnsMaster) move(app, agent int) error {
	t := m.task(app*dnsPerApp, agent)
	for _, e := range []*masterapi.Event{
		{Type: masterapi.Event_TASK_UPDATED.Enum(), TaskUpdated: &masterapi.Event_TaskUpdated{
			FrameworkId: t.FrameworkId, State: mesos.TaskState_TASK_KILLED.Enum(),
			Status: &mesos.TaskStatus{TaskId: t.TaskId, State: mesos.TaskState_TASK_KILLED.Enum()},
		}},
		{Type: masterapi.Event_TASK_ADDED.Enum(), TaskAdded: &masterapi.Event_TaskAdded{Task: t}},
	} {
		raw, err := wire.Protobuf.Marshal(e)
		if err != nil {
			return err
		}
		m.events <- raw
	}
	return nil
}

// freshness moves tasks one by one and times each from the event to the new answer.
func (m *dnsMaster) freshness(d *dnsProcess, size string, extra map[string]float64) error {
	var times []float64
	for i := range 300 {
		time.Sleep(5 * time.Millisecond) // one move, not a storm of them
		app, agent := i%(m.tasks/dnsPerApp), 1+rand.IntN(m.agents()-1)
		want := net.IP{10, 1, byte(agent >> 8), byte(agent)}
		began := time.Now()
		if err := m.move(app, agent); err != nil {
			return err
		}
		err := d.await(fmt.Sprintf("web%d.marathon.mesos.", app), mdns.TypeA, func(r *mdns.Msg) bool {
			return slices.ContainsFunc(r.Answer, func(rr mdns.RR) bool { a, ok := rr.(*mdns.A); return ok && a.A.Equal(want) })
		})
		if err != nil {
			return err
		}
		times = append(times, float64(time.Since(began).Microseconds())/1000)
	}
	slices.Sort(times)
	extra["fresh_p50_"+size+"_ms"], extra["fresh_p99_"+size+"_ms"] = times[len(times)/2], times[len(times)*99/100]
	return nil
}

// busy times single queries while tasks move at a steady rate, and the server's processor
// time for each change.
func (m *dnsMaster) busy(d *dnsProcess, size string, extra map[string]float64) error {
	stop := make(chan struct{})
	ended := make(chan error, 1)
	var moved atomic.Int64
	before := cpuTime(d.cmd.Process.Pid)
	go func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				for range dnsChanges / 100 {
					if err := m.move(rand.IntN(m.tasks/dnsPerApp), rand.IntN(m.agents())); err != nil {
						ended <- err
						return
					}
					moved.Add(1)
				}
			case <-stop:
				ended <- nil
				return
			}
		}
	}()
	// The bare responder is asked in turn: how late it is, is the machine's doing.
	bare, _, stopBare, err := startBare()
	if err != nil {
		return err
	}
	defer stopBare()
	q := new(mdns.Msg)
	q.SetQuestion("web0.marathon.mesos.", mdns.TypeA)
	times := map[string][]float64{}
	conns := map[string]*mdns.Conn{}
	for who, addr := range map[string]string{"query": d.addr, "bare": bare} {
		if conns[who], err = mdns.Dial("udp", addr); err != nil {
			return err
		}
		defer conns[who].Close()
	}
	for began := time.Now(); time.Since(began) < 2*dnsTime; time.Sleep(time.Millisecond) {
		for who, conn := range conns {
			asked := time.Now()
			_ = conn.SetDeadline(asked.Add(time.Second))
			err := conn.WriteMsg(q)
			if err == nil {
				_, err = conn.ReadMsg()
			}
			if err != nil {
				return errors.Join(err, errors.New("a query was not answered while tasks moved"))
			}
			times[who] = append(times[who], float64(time.Since(asked).Microseconds())/1000)
		}
	}
	used := cpuTime(d.cmd.Process.Pid) - before
	close(stop)
	if err := <-ended; err != nil {
		return err
	}
	for who, t := range times {
		slices.Sort(t)
		over, _ := slices.BinarySearch(t, slowQuery)
		extra[who+"_p99_busy_"+size+"_ms"], extra[who+"_max_busy_"+size+"_ms"] = t[len(t)*99/100], t[len(t)-1]
		extra[who+"_slow_busy_"+size+"_permille"] = 1000 * float64(len(t)-over) / float64(len(t))
	}
	extra["change_"+size+"_cpu_us"] = float64(used.Microseconds()) / float64(moved.Load())
	return nil
}
