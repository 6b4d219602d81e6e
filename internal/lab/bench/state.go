package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	stateAgents  = 10_000
	statePolls   = 7  // one after the other
	statePollers = 10 // at once
)

// state fills a master with n running tasks and polls: one client again and again, then
// ten at once; first while nothing happens, then while launches go on at a steady
// rate. What it gives is the median time of one poll in between launches.
func state(n int) (float64, map[string]float64, error) {
	// One half of each agent is for the tasks that stay, the other for those that come.
	per := n / stateAgents
	f, err := startFleet(stateAgents, "--resources", fmt.Sprintf("cpus(stay):%g;mem(stay):%d;cpus(come):1;mem(come):320", float64(per)/10, per*32))
	if err != nil {
		return 0, nil, err
	}
	defer f.stop()
	// One task more than there is room for: so the load never ends, and keeps its tasks.
	stay, _, err := background(stoa(), filepath.Join(f.dir, "stay.log"), "sim", "load", "--master", f.address, "--tasks", strconv.Itoa(n+1),
		"--role", "stay", "--name", "web_application-7.instance-6cf6d4c2-4a5d-11ee-9f3c-0242ac110002._app")
	if err != nil {
		return 0, nil, err
	}
	defer end(stay)
	url := "http://" + f.address
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(300 * time.Millisecond) {
		running, err := flat(url, "master/tasks_running")
		if err != nil {
			return 0, nil, err
		}
		if int(running) >= n {
			break
		}
		if time.Now().After(deadline) {
			return 0, nil, fmt.Errorf("%v of %d tasks run", running, n)
		}
	}
	still, stillMS, err := pollStates(url, f.master.Process.Pid)
	if err != nil {
		return 0, nil, err
	}
	quiet, err := comers(f.address)
	if err != nil {
		return 0, nil, err
	}
	type outcome struct {
		r   simReport
		err error
	}
	came := make(chan outcome, 1)
	go func() {
		r, err := comers(f.address)
		came <- outcome{r, err}
	}()
	extra, value, err := pollStates(url, f.master.Process.Pid)
	if err != nil {
		return 0, nil, err
	}
	meanwhile := <-came
	if meanwhile.err != nil {
		return 0, nil, meanwhile.err
	}
	extra["still_ms"], extra["still_cpu_ms_per_poll"], extra["still_ten_pollers_ms"] = stillMS, still["cpu_ms_per_poll"], still["ten_pollers_ms"]
	extra["offer_p50_ms"], extra["offer_p99_ms"] = meanwhile.r.Offer.P50, meanwhile.r.Offer.P99
	extra["quiet_offer_p50_ms"], extra["quiet_offer_p99_ms"] = quiet.Offer.P50, quiet.Offer.P99
	return value, extra, nil
}

// comers launches tasks at the rate of the offers row and measures offers.
func comers(addr string) (r simReport, err error) {
	load := exec.Command(stoa(), "sim", "load", "--master", addr, "--tasks", "5000", "--rate", strconv.Itoa(offerRate), "--role", "come", "--tasks_per_offer", "1")
	var said, why bytes.Buffer
	load.Stdout, load.Stderr = &said, &why
	if err := load.Run(); err != nil {
		return r, fmt.Errorf("sim load: %w: %s", err, why.Bytes())
	}
	return r, json.Unmarshal(said.Bytes(), &r)
}

// pollStates gives the median of polls one after the other, and figures of these and
// of many at once.
func pollStates(url string, pid int) (extra map[string]float64, median float64, err error) {
	poll := func() (ms float64, bytes int64, err error) {
		began := time.Now()
		resp, err := http.Get(url + "/state")
		if err != nil {
			return 0, 0, err
		}
		defer resp.Body.Close()
		bytes, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, resp.Body, make([]byte, 256<<10))
		return time.Since(began).Seconds() * 1e3, bytes, err
	}
	http.DefaultTransport.(*http.Transport).DisableCompression = true
	before := rss(pid)
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil { // the peak starts anew
		return nil, 0, err
	}
	cpu := cpuSeconds(pid)
	var times []float64
	var size int64
	for range statePolls {
		ms, n, err := poll()
		if err != nil {
			return nil, 0, err
		}
		times, size = append(times, ms), n
		time.Sleep(200 * time.Millisecond)
	}
	slices.Sort(times)
	extra = map[string]float64{"mib": float64(size) / (1 << 20), "slowest_ms": times[len(times)-1],
		"cpu_ms_per_poll": (cpuSeconds(pid) - cpu) * 1e3 / statePolls}
	hits, err := flat(url, "master/http_cache_hits")
	if err != nil {
		return nil, 0, err
	}
	var wg sync.WaitGroup
	var mu sync.Mutex // guards last and failed
	var last float64
	var failed error
	for range statePollers {
		wg.Go(func() {
			ms, _, err := poll()
			mu.Lock()
			defer mu.Unlock()
			last, failed = max(last, ms), errors.Join(failed, err)
		})
	}
	wg.Wait()
	if failed != nil {
		return nil, 0, failed
	}
	shared, err := flat(url, "master/http_cache_hits")
	if err != nil {
		return nil, 0, err
	}
	extra["ten_pollers_ms"], extra["ten_pollers_encodings"] = last, statePollers-(shared-hits)
	extra["extra_rss_mib"], extra["master_rss_mib"] = peak(pid)-before, before
	err = owner(url, extra)
	return extra, times[len(times)/2], err
}

// owner adds how long the ledger's owner stood still for snapshots.
func owner(url string, extra map[string]float64) error {
	resp, err := http.Get(url + "/metrics")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	found := map[string]float64{}
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if strings.HasPrefix(name, "stoa_master_snapshot_seconds") {
			found[name], _ = strconv.ParseFloat(value, 64)
		}
	}
	count := found["stoa_master_snapshot_seconds_count"]
	if count == 0 {
		return errors.New("the master has no stoa_master_snapshot_seconds")
	}
	extra["owner_pause_mean_ms"] = found["stoa_master_snapshot_seconds_sum"] / count * 1e3
	for _, bound := range []string{"0.0001", "0.0003", "0.001", "0.003", "0.01", "0.03", "0.1", "0.3", "1", "3"} {
		limit, _ := strconv.ParseFloat(bound, 64)
		extra["owner_pause_p95_below_ms"] = limit * 1e3 // of nineteen in twenty
		if found[`stoa_master_snapshot_seconds_bucket{le="`+bound+`"}`] >= 0.95*count {
			break
		}
	}
	return nil
}

// flat reads one value of /metrics/snapshot.
func flat(url, name string) (float64, error) {
	resp, err := http.Get(url + "/metrics/snapshot")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	all := map[string]float64{}
	if err := json.NewDecoder(resp.Body).Decode(&all); err != nil {
		return 0, err
	}
	return all[name], nil
}

// peak is the greatest resident memory since it was last reset, in MiB.
func peak(pid int) float64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(b)) {
		var kib float64
		if _, err := fmt.Sscanf(line, "VmHWM: %f kB", &kib); err == nil {
			return kib / 1024
		}
	}
	return 0
}

// bareState appends the texts of n tasks and sends them to a reader in pieces: what any
// /state must do. It gives ms.
func bareState(n int) (float64, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	read := make(chan error, 1)
	go func() {
		nc, err := l.Accept()
		if err == nil {
			_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{nc}, make([]byte, 256<<10))
			nc.Close()
		}
		read <- err
	}()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return 0, err
	}
	defer nc.Close()
	began := time.Now()
	const id = "d7c04596-ea68-43d8-9ff4-459ba365e659-S1"
	b := make([]byte, 0, 160<<10)
	quote := func(name, v string) {
		b = append(append(append(b, name...), '"'), v...)
		b = append(b, '"')
	}
	for i := range n {
		b = append(b, '{')
		quote(`"id":`, "web_application-7.instance-6cf6d4c2-4a5d-11ee-9f3c-0242ac110002._app-12345")
		quote(`,"name":`, "web_application-7.instance-6cf6d4c2-4a5d-11ee-9f3c-0242ac110002._app")
		quote(`,"framework_id":`, id)
		quote(`,"executor_id":`, "")
		quote(`,"slave_id":`, id)
		quote(`,"state":`, "TASK_RUNNING")
		b = append(b, `,"resources":{"disk":0.0,"mem":`...)
		b = strconv.AppendFloat(b, 32, 'f', 1, 64)
		b = append(b, `,"gpus":0.0,"cpus":`...)
		b = strconv.AppendFloat(b, 0.1, 'f', -1, 64)
		quote(`},"role":`, "stay")
		b = append(b, `,"statuses":[`...)
		for _, s := range []string{"TASK_STARTING", "TASK_RUNNING"} {
			quote(`{"state":`, s)
			b = append(b, `,"timestamp":`...)
			b = strconv.AppendFloat(b, 1795224082.75+float64(i), 'f', -1, 64)
			b = append(b, `,"container_status":{"container_id":{`...)
			quote(`"value":`, id)
			b = append(b, `},"network_infos":[{"ip_addresses":[{"protocol":"IPv4","ip_address":"10.0.0.1"}]}]}},`...)
		}
		b = append(b, "]},"...)
		if len(b) >= 128<<10 || i == n-1 {
			if _, err := nc.Write(b); err != nil {
				return 0, err
			}
			b = b[:0]
		}
	}
	if err := nc.(*net.TCPConn).CloseWrite(); err != nil {
		return 0, err
	}
	err = <-read
	return time.Since(began).Seconds() * 1e3, err
}
