package lab_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/lab"
	"github.com/stoa-project/stoa/internal/lab/freeport"
)

// footprint is what a process holds, by its own metrics.
type footprint struct{ goroutines, files, heap float64 }

func readFootprint(t *testing.T, metrics string) (f footprint) {
	t.Helper()
	resp, err := http.Get(metrics)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	fields := map[string]*float64{"go_goroutines": &f.goroutines, "process_open_fds": &f.files, "go_gc_heap_live_bytes": &f.heap}
	found := 0
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if to := fields[name]; to != nil {
			if *to, err = strconv.ParseFloat(value, 64); err != nil {
				t.Fatal(err)
			}
			found++
		}
	}
	if found != len(fields) {
		t.Fatalf("%s has %d of %d figures", metrics, found, len(fields))
	}
	return f
}

// settled is the least that a process holds while it rests for a while; page is what is
// asked of it meanwhile.
func settled(t *testing.T, metrics, page string, rounds int) footprint {
	t.Helper()
	least := readFootprint(t, metrics)
	for range rounds {
		time.Sleep(20 * time.Millisecond)
		// Each answer is garbage as soon as it was read, so the collector runs.
		for range 20 {
			if resp, err := http.Get(page); err == nil {
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		}
		f := readFootprint(t, metrics)
		least.goroutines, least.files, least.heap = min(least.goroutines, f.goroutines), min(least.files, f.files), min(least.heap, f.heap)
	}
	return least
}

// TestMasterKeepsNothing: everybody comes and goes at a real master: agents register, run
// tasks and leave or vanish, frameworks subscribe, launch and are torn down, operators hold
// event streams, poll, and send what is wrong. What the process holds afterwards is what it
// held after the first rounds. With STOA_SOAK=1 that is 90,000 tasks, one a second of a day
// and more.
func TestMasterKeepsNothing(t *testing.T) {
	rounds, tasks := 2, 300
	if os.Getenv("STOA_SOAK") == "1" {
		rounds, tasks = 90, 1000
	}
	port := strconv.Itoa(freeport.Take(t, 1)[0])
	addr := "127.0.0.1:" + port
	t.Setenv("GOGC", "20") // many collections
	master := lab.StartDaemon(t, "http://"+addr, "master", "--ip", "127.0.0.1", "--port", port, "--work_dir", t.TempDir(),
		"--max_completed_frameworks", "3", "--max_completed_tasks_per_framework", "20", "--max_unreachable_tasks_per_framework", "20",
		"--agent_ping_timeout", "1secs", "--max_agent_ping_timeouts", "2", "--registry_max_agent_count", "20", "--registry_gc_interval", "1secs")
	round := func(n int) {
		agents := lab.Start(t, "sim agents", lab.Stoa(t), "sim", "agents", "--master", addr, "--count", "20", "--task_seconds", "1")
		agents.AwaitOutput(t, 60*time.Second, "ready 20 agents\n")
		stream, err := http.Post("http://"+addr+"/api/v1", "application/json", strings.NewReader(`{"type":"SUBSCRIBE"}`))
		if err != nil || stream.StatusCode != http.StatusOK {
			t.Fatal(stream, err)
		}
		codec := []string{"protobuf", "json"}[n%2]
		r, stderr, code := simLoad(t, addr, "--tasks", strconv.Itoa(tasks), "--frameworks", "3", "--codec", codec, "--timeout", "100secs")
		if code != 0 || r.Running != tasks {
			t.Fatalf("round %d: code %d, %+v\n%s", n, code, r, stderr)
		}
		for _, body := range []string{"", "{", `{"type":"NOTHING"}`, `{"type":"GET_STATE"}`, `{"type":"TEARDOWN","teardown":{"framework_id":{"value":"none"}}}`, strings.Repeat("[", 20000)} {
			for _, path := range []string{"/api/v1", "/api/v1/scheduler", "/master/slave(1)/x"} {
				resp, err := http.Post("http://"+addr+path, "application/json", bytes.NewReader([]byte(body)))
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		}
		stream.Body.Close()
		if n%3 == 0 {
			agents.Kill(t) // the links break, the agents become unreachable
		} else {
			agents.Stop(t)
		}
		lab.Eventually(t, 60*time.Second, "no agent is left", func() error {
			if s := lab.ReadMasterState(t, master.URL); s.ActivatedSlaves != 0 || len(s.Frameworks) != 0 {
				return fmt.Errorf("%v agents, %d frameworks", s.ActivatedSlaves, len(s.Frameworks))
			}
			return nil
		})
	}
	const (
		warm  = 3
		pages = 16 << 20 // printed answers that the master keeps, at most, and their empty buffers
	)
	for n := range warm {
		round(n)
	}
	before := settled(t, master.URL+"/metrics", master.URL+"/state", 20)
	for n := range rounds {
		round(warm + n)
	}
	var after footprint
	lab.Eventually(t, 30*time.Second, "the master holds what it held", func() error {
		after = settled(t, master.URL+"/metrics", master.URL+"/state", 5)
		if after.goroutines > before.goroutines+2 || after.files > before.files+1 || after.heap > before.heap*1.25+pages {
			return fmt.Errorf("%+v, before %d rounds %+v", after, rounds, before)
		}
		return nil
	})
	t.Logf("before %+v, after %d rounds of %d tasks %+v", before, rounds, tasks, after)
}

// TestFrameworkKeepsNothing: apps are made, scaled, changed, killed and deleted again at a
// framework with a real master and simulated agents, while clients open and close event
// streams. What the process holds afterwards is what it held after the first rounds.
func TestFrameworkKeepsNothing(t *testing.T) {
	rounds := 2
	if os.Getenv("STOA_SOAK") == "1" {
		rounds = 60
	}
	_, _, addr := simMaster(t, 20)
	port := strconv.Itoa(freeport.Take(t, 1)[0])
	url := "http://127.0.0.1:" + port
	t.Setenv("GOGC", "20") // many collections
	lab.StartDaemon(t, url, "framework", "--master", addr, "--http_address", "127.0.0.1", "--http_port", port, "--work_dir", t.TempDir())
	api := lab.API{URL: url}
	lab.Eventually(t, 30*time.Second, "the framework leads", func() error {
		res, err := lab.Request(http.MethodGet, url+"/v2/leader", nil)
		if err == nil && res.Status != http.StatusOK {
			err = fmt.Errorf("%d %s", res.Status, res.Body)
		}
		return err
	})
	round := func(n int) {
		req, err := http.NewRequest(http.MethodGet, url+"/v2/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", "text/event-stream")
		stream, err := http.DefaultClient.Do(req)
		if err != nil || stream.StatusCode != http.StatusOK {
			t.Fatal(stream, err)
		}
		group := fmt.Sprintf("/round-%d", n)
		apps := make([]string, 5)
		for i := range apps {
			apps[i] = fmt.Sprintf(`{"id":"app-%d","cmd":"sleep 1","cpus":0.01,"mem":1,"disk":0,"instances":20,"backoffSeconds":0,"labels":{"round":"%d"}}`, i, n)
		}
		api.Must(t, "PUT", "/v2/groups"+group, `{"apps":[`+strings.Join(apps, ",")+`]}`)
		api.AwaitNoDeployment(t, 60*time.Second)
		api.Must(t, "PUT", "/v2/apps"+group+"/app-0", `{"instances":30}`)
		api.Must(t, "PUT", "/v2/apps"+group+"/app-1", `{"env":{"A":"b"}}`)
		api.Must(t, "DELETE", "/v2/apps"+group+"/app-2/tasks", "")
		api.Must(t, "POST", "/v2/apps"+group+"/app-3/restart", "")
		api.Do(t, "PUT", "/v2/apps"+group+"/app-4", `{"instances":-1}`)
		api.AwaitNoDeployment(t, 60*time.Second)
		api.Must(t, "DELETE", "/v2/groups"+group+"?force=true", "")
		api.AwaitNoDeployment(t, 60*time.Second)
		stream.Body.Close()
	}
	const (
		warm  = 2
		spare = 4 << 20 // bytes: what clients asked last is kept encoded
	)
	for n := range warm {
		round(n)
	}
	before := settled(t, url+"/metrics/prometheus", url+"/v2/apps", 20)
	for n := range rounds {
		round(warm + n)
	}
	var after footprint
	lab.Eventually(t, 30*time.Second, "the framework holds what it held", func() error {
		after = settled(t, url+"/metrics/prometheus", url+"/v2/apps", 5)
		if after.goroutines > before.goroutines+2 || after.files > before.files+1 || after.heap > before.heap*1.25+spare {
			return fmt.Errorf("%+v, before %d rounds %+v", after, rounds, before)
		}
		return nil
	})
	t.Logf("before %+v, after %d rounds %+v", before, rounds, after)
}
