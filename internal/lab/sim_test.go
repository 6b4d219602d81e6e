package lab_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/lab"
	"github.com/stoa-project/stoa/internal/lab/freeport"
)

// simMaster starts a master and count simulated agents, and gives both and its address.
func simMaster(t *testing.T, count int, flags ...string) (master *lab.Daemon, agents *lab.Process, addr string) {
	t.Helper()
	port := strconv.Itoa(freeport.Take(t, 1)[0])
	addr = "127.0.0.1:" + port
	master = lab.StartDaemon(t, "http://"+addr, "master", "--ip", "127.0.0.1", "--port", port, "--work_dir", t.TempDir())
	agents = lab.Start(t, "sim agents", lab.Stoa(t), append([]string{"sim", "agents", "--master", addr, "--count", strconv.Itoa(count)}, flags...)...)
	agents.AwaitOutput(t, 60*time.Second, fmt.Sprintf("ready %d agents\n", count))
	return master, agents, addr
}

// simLoad runs the load to its end and gives its one line.
func simLoad(t *testing.T, addr string, args ...string) (report simReport, stderr string, code int) {
	t.Helper()
	cmd := exec.Command(lab.Stoa(t), append([]string{"sim", "load", "--master", addr}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatal("sim load did not start")
	}
	if out.Len() > 0 {
		if strings.Count(out.String(), "\n") != 1 {
			t.Fatalf("stdout is not one line:\n%s", out.String())
		}
		d := json.NewDecoder(&out)
		d.DisallowUnknownFields()
		if err := d.Decode(&report); err != nil {
			t.Fatal(err)
		}
	}
	return report, errs.String(), cmd.ProcessState.ExitCode()
}

type simReport struct {
	Tasks, Running, Lost int
	Seconds              float64
	Rate                 float64   `json:"tasks_per_second"`
	Launch               simSpread `json:"launch_latency_ms"`
	Offer                simSpread `json:"offer_latency_ms"`
}

type simSpread struct{ P50, P99, Max float64 }

// 200 agents run 2,000 tasks for each codec; the agents' and the master's counts agree,
// and nothing is left of the frameworks.
func TestSimulatedClusterTakesLoad(t *testing.T) {
	master, agents, addr := simMaster(t, 200, "--attributes", "rack:a")
	s := lab.ReadMasterState(t, master.URL)
	names := map[string]bool{}
	for _, a := range s.Slaves {
		names[a.Hostname] = a.Active
	}
	if len(names) != 200 || !names["sim-1"] || !names["sim-200"] || s.ActivatedSlaves != 200 {
		t.Fatalf("%d active agents with %d names", int(s.ActivatedSlaves), len(names))
	}
	for _, row := range [][]string{
		{"--codec", "protobuf"},
		{"--codec", "json"},
		{"--codec", "protobuf", "--frameworks", "7", "--tasks_per_offer", "1000", "--rate", "4000"},
	} {
		t.Run(strings.Join(row, " "), func(t *testing.T) {
			r, stderr, code := simLoad(t, addr, append(row, "--tasks", "2000", "--timeout", "100secs")...)
			if code != 0 || r.Tasks != 2000 || r.Running != 2000 || r.Lost != 0 {
				t.Fatalf("code %d, %+v\n%s", code, r, stderr)
			}
			if !(r.Seconds > 0 && r.Rate > 0 && r.Launch.P50 > 0 && r.Launch.P50 <= r.Launch.P99 && r.Launch.P99 <= r.Launch.Max) {
				t.Errorf("figures make no sense: %+v", r)
			}
			lab.Eventually(t, 20*time.Second, "the frameworks are gone", func() error {
				if s := lab.ReadMasterState(t, master.URL); len(s.Frameworks) != 0 {
					return fmt.Errorf("%d frameworks", len(s.Frameworks))
				}
				return nil
			})
		})
	}
	agents.Stop(t)
	if c := agents.ExitCode(); c != 0 {
		t.Errorf("the agents end with code %d after SIGTERM", c)
	}
}

// Agents outlive their master: after kill -9 and a restart all are back under their ids
// with all their tasks, and the master can use them.
func TestSimulatedAgentsSurviveTheMaster(t *testing.T) {
	master, _, addr := simMaster(t, 50)
	before := map[string]bool{}
	for _, a := range lab.ReadMasterState(t, master.URL).Slaves {
		before[a.ID] = true
	}
	// A framework that stays: its tasks are to be reported by the agents.
	load := lab.Start(t, "sim load", lab.Stoa(t), "sim", "load", "--master", addr, "--tasks", "500", "--rate", "100", "--tasks_per_offer", "3")
	running := func() (n int) {
		for _, f := range lab.ReadMasterState(t, master.URL).Frameworks {
			for _, k := range f.Tasks {
				if k.State == "TASK_RUNNING" {
					n++
				}
			}
		}
		return n
	}
	lab.Eventually(t, 30*time.Second, "100 tasks run", func() error {
		if n := running(); n < 100 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	master.Kill(t)
	<-load.Done()
	if load.ExitCode() != 1 || !strings.Contains(load.Output(), `"tasks":500`) {
		t.Errorf("the load ends with code %d without its master: %s", load.ExitCode(), load.Output())
	}
	master.Restart()
	lab.Eventually(t, 60*time.Second, "the agents are back", func() error {
		res, err := lab.Request(http.MethodGet, master.URL+"/state", nil)
		if err != nil {
			return err
		}
		var s lab.MasterState
		if err := json.Unmarshal(res.Body, &s); err != nil {
			return err
		}
		active := 0
		for _, a := range s.Slaves {
			if !before[a.ID] {
				return fmt.Errorf("agent %s is new", a.ID)
			}
			if a.Active {
				active++
			}
		}
		if active != 50 {
			return fmt.Errorf("%d active", active)
		}
		return nil
	})
	if r, stderr, code := simLoad(t, addr, "--tasks", "200", "--timeout", "60secs"); code != 0 || r.Running != 200 {
		t.Errorf("code %d, %+v\n%s", code, r, stderr)
	}
}

// A task of given length finishes by itself and leaves the master.
func TestSimulatedTasksFinish(t *testing.T) {
	master, _, addr := simMaster(t, 2, "--task_seconds", "0.2", "--resources", "cpus:1;mem:100")
	// More tasks than fit at once: the later ones need the earlier to finish.
	if r, stderr, code := simLoad(t, addr, "--tasks", "12", "--cpus", "0.5", "--mem", "10", "--timeout", "60secs"); code != 0 || r.Running != 12 {
		t.Errorf("code %d, %+v\n%s", code, r, stderr)
	}
	if s := lab.ReadMasterState(t, master.URL); s.ActivatedSlaves != 2 {
		t.Errorf("%v agents", s.ActivatedSlaves)
	}
}

// What cannot run says which flag and why; too small a cluster ends with code 1 and
// the line.
func TestSimExplains(t *testing.T) {
	for _, row := range []struct{ args, says string }{
		{"agents --master nowhere --count 1", "--master: master address: nowhere: it must be host:port"},
		{"agents --master 127.0.0.1:1 --count 0", "--count: 0 agents: it must be from 1"},
		{"agents --master 127.0.0.1:1 --count 1 --ip ::1", "--ip"},
		{"agents --master 127.0.0.1:1 --count 1 --resources cpus:x", "--resources"},
		{"agents --master 127.0.0.1:1 --count 1 --task_seconds -1", "--task_seconds"},
		{"load --master zk://127.0.0.1:1/mesos --tasks 1", "--master"},
		{"load --master 127.0.0.1:1 --tasks 0", "--tasks: it must be from 1"},
		{"load --master 127.0.0.1:1 --tasks 1 --codec xml", `--codec: "xml" is neither protobuf nor json`},
		{"load --master 127.0.0.1:1 --tasks 1 --frameworks 2", "--frameworks"},
		{"load --master 127.0.0.1:1 --tasks 1", "connection refused"},
	} {
		out, err := exec.Command(lab.Stoa(t), append([]string{"sim"}, strings.Fields(strings.ReplaceAll(row.args, "task_seconds -1", "task_seconds=-1"))...)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), row.says) {
			t.Errorf("sim %s: %v, %q; want %q", row.args, err, out, row.says)
		}
	}
	_, _, addr := simMaster(t, 1, "--resources", "cpus:1;mem:100")
	r, stderr, code := simLoad(t, addr, "--tasks", "3", "--cpus", "0.5", "--mem", "10", "--timeout", "2secs")
	if code != 1 || r.Running != 2 || !strings.Contains(stderr, "--timeout: not all tasks ran within 2s") {
		t.Errorf("code %d, %+v\n%s", code, r, stderr)
	}
}
