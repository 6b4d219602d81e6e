package main

import (
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
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// estate is a master, simulated agents and a framework, each a process of its own.
type estate struct {
	api       string // http://host:port of the framework
	framework *exec.Cmd
	fleet     *fleet // nil: the framework's master never answers
	dir       string
}

// stop ends everything.
func (e *estate) stop() {
	if e.framework != nil {
		end(e.framework)
	}
	if e.fleet != nil {
		e.fleet.stop()
	}
	_ = os.RemoveAll(e.dir)
}

// startEstate starts all three, or with no agents the framework alone, whose master never
// answers, and waits until the framework leads.
func startEstate(agents int, flags ...string) (_ *estate, err error) {
	e := &estate{}
	if e.dir, err = os.MkdirTemp("", "bench"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			e.stop()
		}
	}()
	master, err := freeAddress()
	if err != nil {
		return nil, err
	}
	if agents > 0 {
		if e.fleet, err = startFleet(agents); err != nil {
			return nil, err
		}
		master = e.fleet.address
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	host, port, _ := net.SplitHostPort(address)
	e.api = "http://" + address
	if e.framework, _, err = background(stoa(), filepath.Join(e.dir, "framework.log"), append([]string{"framework", "--master", master, "--hostname", host, "--http_address", host, "--http_port", port,
		"--work_dir", filepath.Join(e.dir, "framework"), "--local_port_max", "60000"}, flags...)...); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if status, _, err := e.call(http.MethodGet, "/v2/apps", ""); err == nil && status == http.StatusOK {
			return e, nil
		}
		if time.Now().After(deadline) {
			return nil, errors.New("the framework does not lead after 30 s")
		}
	}
}

// call makes a request and gives status and body.
func (e *estate) call(method, path, body string) (int, []byte, error) {
	r, err := http.NewRequest(method, e.api+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, b, err
}

// must is a call that has to succeed.
func (e *estate) must(method, path, body string) ([]byte, error) {
	status, b, err := e.call(method, path, body)
	if err == nil && status >= 300 {
		err = fmt.Errorf("%s %s: %d %.300s", method, path, status, b)
	}
	return b, err
}

// gauge reads one of Marathon's metrics.
func (e *estate) gauge(name string) (float64, error) {
	b, err := e.must(http.MethodGet, "/metrics", "")
	if err != nil {
		return 0, err
	}
	var page struct {
		Gauges map[string]struct{ Value float64 }
	}
	err = json.Unmarshal(b, &page)
	return page.Gauges["marathon."+name].Value, err
}

// await polls until as many tasks run and no deployment does.
func (e *estate) await(running int, limit time.Duration) error {
	for deadline := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		n, err := e.gauge("instances.running.gauge")
		if err == nil && int(n) == running {
			if d, err := e.gauge("deployments.active.gauge"); err == nil && d == 0 {
				return nil
			}
		}
		if time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("%g of %d tasks run after %s", n, running, limit), err)
		}
	}
}

// simDeploy posts one app of n instances to simulated agents: seconds until all are known
// to run. Extra: the same app changed, restarted by the usual upgrade strategy.
func simDeploy(n int) (float64, map[string]float64, error) {
	e, err := startEstate(simAgents)
	if err != nil {
		return 0, nil, err
	}
	defer e.stop()
	const app = `{"id":"/bench","cmd":"exec sleep 100000","instances":%d,"cpus":0.01,"mem":8,"labels":{"round":"%d"},"portDefinitions":[{"port":0,"name":"http"}]}`
	before := cpuSeconds(e.framework.Process.Pid)
	began := time.Now()
	if _, err := e.must(http.MethodPost, "/v2/apps", fmt.Sprintf(app, n, 0)); err != nil {
		return 0, nil, err
	}
	answered := time.Since(began)
	if err := e.await(n, 2*time.Minute); err != nil {
		return 0, nil, err
	}
	took := time.Since(began)
	extra := map[string]float64{"answer_ms": float64(answered.Microseconds()) / 1000, "framework_cpu_us_per_task": (cpuSeconds(e.framework.Process.Pid) - before) * 1e6 / float64(n)}
	began = time.Now()
	if _, err := e.must(http.MethodPut, "/v2/apps/bench", fmt.Sprintf(app, n, 1)); err != nil {
		return 0, nil, err
	}
	if err := e.await(n, 2*time.Minute); err != nil {
		return 0, nil, err
	}
	extra["rolling_s"] = time.Since(began).Seconds()
	extra["framework_rss_mib"] = rss(e.framework.Process.Pid)
	return took.Seconds(), extra, nil
}

// bareDeploy is the messages of n tasks, through one socket.
func bareDeploy(n int) (float64, error) {
	rate, err := bareTasks(n)
	return float64(n) / rate, err
}

// groupOf is a body of apps in groups of 100.
func groupOf(apps, instances int) string {
	var b strings.Builder
	b.WriteString(`{"groups":[`)
	for g := 0; g < apps; g += 100 {
		if g > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"id":"g%d","apps":[`, g)
		for i := g; i < min(g+100, apps); i++ {
			if i > g {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `{"id":"a%d","cmd":"exec sleep 100000","cpus":0.001,"mem":1,"instances":%d,"labels":{"HAPROXY_GROUP":"external"}}`, i, instances)
		}
		b.WriteString("]}")
	}
	return b.String() + "]}"
}

const perApp = 5

// lastPage is the answer of the last round, for the floor program.
var lastPage []byte

// readApps has n apps of five tasks running on simulated agents: ms of
// GET /v2/apps?embed=apps.tasks to the last byte, median of 20. Extra: other lists, one
// app asked for by 32 connections.
func readApps(n int) (float64, map[string]float64, error) {
	e, err := startEstate(simAgents, "--disable_http_compression")
	if err != nil {
		return 0, nil, err
	}
	defer e.stop()
	began := time.Now()
	if _, err := e.must(http.MethodPut, "/v2/groups", groupOf(n, perApp)); err != nil {
		return 0, nil, err
	}
	extra := map[string]float64{"put_answer_ms": float64(time.Since(began).Milliseconds())}
	if err := e.await(n*perApp, 5*time.Minute); err != nil {
		return 0, nil, err
	}
	extra["running_s"] = time.Since(began).Seconds()
	pid := e.framework.Process.Pid
	get := func(path string) (ms, cpu float64, err error) {
		var all []float64
		before := 0.0
		const times = 20
		for k := range times + 2 {
			if k == 2 { // the first two encode what nobody asked for before
				before = cpuSeconds(pid)
			}
			began := time.Now()
			b, err := e.must(http.MethodGet, path, "")
			if err != nil {
				return 0, 0, err
			}
			if k >= 2 {
				all = append(all, float64(time.Since(began).Microseconds())/1000)
			}
			if strings.Contains(path, "apps.tasks") {
				lastPage = b
			}
		}
		slices.Sort(all)
		return all[times/2], (cpuSeconds(pid) - before) * 1000 / times, nil
	}
	var value float64
	for name, path := range map[string]string{"apps_tasks": "/v2/apps?embed=apps.tasks", "apps": "/v2/apps", "groups": "/v2/groups", "groups_tasks": "/v2/groups?embed=group.groups&embed=group.apps&embed=group.apps.tasks", "tasks": "/v2/tasks"} {
		ms, cpu, err := get(path)
		if err != nil {
			return 0, nil, err
		}
		extra[name+"_ms"], extra[name+"_cpu_ms"] = ms, cpu
		if name == "apps_tasks" {
			value = ms
		}
	}
	extra["bytes"] = float64(len(lastPage))
	if extra["one_app_per_s"], err = e.hammer("/v2/apps/g0/a7", 32, 3*time.Second); err != nil {
		return 0, nil, err
	}
	extra["framework_rss_mib"] = rss(pid)
	extra["rss_b_per_task"] = extra["framework_rss_mib"] * (1 << 20) / float64(n*perApp)
	return value, extra, nil
}

// hammer asks for a page over so many connections and gives answers per second.
func (e *estate) hammer(path string, conns int, lasting time.Duration) (float64, error) {
	var done atomic.Int64
	var failed atomic.Pointer[error]
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: conns, DisableCompression: true}}
	defer client.CloseIdleConnections()
	var work sync.WaitGroup
	until := time.Now().Add(lasting)
	for range conns {
		work.Go(func() {
			for time.Now().Before(until) {
				res, err := client.Get(e.api + path)
				if err == nil {
					_, err = io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
				if err != nil {
					failed.Store(&err)
					return
				}
				done.Add(1)
			}
		})
	}
	work.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return float64(done.Load()) / lasting.Seconds(), nil
}

// barePage serves the bytes of the last page from memory: ms to the last byte, median.
func barePage(int) (float64, error) {
	page := lastPage
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(page) })}
	go func() { _ = srv.Serve(l) }()
	defer srv.Close()
	var all []float64
	for range 20 {
		began := time.Now()
		res, err := http.Get("http://" + l.Addr().String())
		if err != nil {
			return 0, err
		}
		b, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || !bytes.Equal(b, page) {
			return 0, errors.Join(errors.New("the page did not come whole"), err)
		}
		all = append(all, float64(time.Since(began).Microseconds())/1000)
	}
	slices.Sort(all)
	return all[len(all)/2], nil
}

// putGroup sends a tree of n apps to a framework without a master: ms to the answer,
// which is durable. Extra: 500 deployments at once and the API beside them.
func putGroup(n int) (float64, map[string]float64, error) {
	e, err := startEstate(0, "--max_running_deployments", "1000")
	if err != nil {
		return 0, nil, err
	}
	defer e.stop()
	body := groupOf(n, 1)
	lastPage = []byte(body)
	began := time.Now()
	if _, err := e.must(http.MethodPut, "/v2/groups", body); err != nil {
		return 0, nil, err
	}
	took := time.Since(began)
	extra := map[string]float64{}
	began = time.Now()
	if _, err := e.must(http.MethodPut, "/v2/apps/g0/a7?force=true", `{"instances":2}`); err != nil {
		return 0, nil, err
	}
	extra["put_one_ms"] = float64(time.Since(began).Microseconds()) / 1000
	for i := range 500 {
		if _, err := e.must(http.MethodPost, "/v2/apps", fmt.Sprintf(`{"id":"/more/a%d","cmd":"exec sleep 100000"}`, i)); err != nil {
			return 0, nil, err
		}
	}
	var all []float64
	for i := range 200 {
		began := time.Now()
		path := []string{"/v2/deployments", "/v2/apps/more/a1", "/v2/queue", "/v2/apps/g0/a8"}[i%4]
		if _, err := e.must(http.MethodGet, path, ""); err != nil {
			return 0, nil, err
		}
		all = append(all, float64(time.Since(began).Microseconds())/1000)
	}
	slices.Sort(all)
	extra["api_p50_ms"], extra["api_p99_ms"] = all[len(all)/2], all[len(all)*99/100]
	extra["framework_rss_mib"] = rss(e.framework.Process.Pid)
	return float64(took.Microseconds()) / 1000, extra, nil
}

// barePut decodes the body of the last round and writes it to a file that is flushed.
func barePut(int) (float64, error) {
	f, err := os.CreateTemp("", "bench")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	began := time.Now()
	var v any
	if err := json.Unmarshal(lastPage, &v); err != nil {
		return 0, err
	}
	if _, err := f.Write(lastPage); err != nil {
		return 0, err
	}
	if err := f.Sync(); err != nil {
		return 0, err
	}
	return float64(time.Since(began).Microseconds()) / 1000, nil
}
