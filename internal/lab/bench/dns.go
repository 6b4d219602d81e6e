package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
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
	d := &dnsProcess{cmd: exec.Command(stoa(), "dns", "--config", file), dir: dir, addr: fmt.Sprint("127.0.0.1:", port), began: time.Now()}
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
