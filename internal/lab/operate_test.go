package lab_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/lab"
	"github.com/stoa-project/stoa/internal/lab/freeport"
)

// operated is what these tests read of /state.
type operated struct {
	Unreachable float64 `json:"unreachable_slaves"`
	Slaves      []struct {
		ID, Hostname        string
		Active, Deactivated bool
		DrainInfo           struct{ State string } `json:"drain_info"`
	}
	Frameworks []struct {
		Tasks       []operatedTask
		Unreachable []operatedTask `json:"unreachable_tasks"`
	}
}

type operatedTask struct {
	ID, State string
	Agent     string `json:"slave_id"`
}

func readOperated(master string) (s operated, err error) {
	res, err := lab.Request(http.MethodGet, master+"/state", nil)
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(res.Body, &s)
}

// operate sends a call of the operator API, which must be taken.
func operate(t *testing.T, master, call string) {
	t.Helper()
	res, err := lab.Request(http.MethodPost, master+"/api/v1", []byte(call), "Content-Type", "application/json")
	if err != nil || res.Status != http.StatusOK || len(res.Body) != 0 {
		t.Fatalf("%s: %v %d %s", call, err, res.Status, res.Body)
	}
}

// operatedFramework starts a framework for a master.
func operatedFramework(t *testing.T, master string) lab.API {
	t.Helper()
	port := strconv.Itoa(freeport.Take(t, 1)[0])
	f := lab.StartDaemon(t, "http://127.0.0.1:"+port, "framework", "--master", master, "--http_address", "127.0.0.1", "--http_port", port,
		"--hostname", "127.0.0.1", "--work_dir", t.TempDir())
	api := lab.API{URL: f.URL}
	lab.Eventually(t, 30*time.Second, "the framework answers", func() error {
		res, err := lab.Request(http.MethodGet, api.URL+"/v2/apps", nil)
		if err == nil && res.Status != http.StatusOK {
			err = fmt.Errorf("%d %s", res.Status, res.Body)
		}
		return err
	})
	return api
}

// TestDrainMovesTasks: an agent that is drained ends empty, and its tasks run elsewhere;
// with mark_gone it is told to shut down and does not come back.
func TestDrainMovesTasks(t *testing.T) {
	master, _, addr := simMaster(t, 2)
	api := operatedFramework(t, addr)
	api.Must(t, "POST", "/v2/apps", `{"id":"/moved","cmd":"exec sleep 10000","instances":4,"cpus":1,"mem":32,"backoffSeconds":1}`)
	// on gives the number of running tasks for each agent.
	on := func() (map[string]int, operated, error) {
		s, err := readOperated(master.URL)
		n := map[string]int{}
		for _, f := range s.Frameworks {
			for _, k := range f.Tasks {
				if k.State == "TASK_RUNNING" {
					n[k.Agent]++
				}
			}
		}
		return n, s, err
	}
	running := func(want int, without string) {
		t.Helper()
		lab.Eventually(t, 60*time.Second, fmt.Sprintf("%d tasks run, none of them on %q", want, without), func() error {
			n, s, err := on()
			sum := 0
			for _, k := range n {
				sum += k
			}
			if err != nil || sum != want || n[without] != 0 {
				return fmt.Errorf("%v %v %+v", err, n, s.Slaves)
			}
			return nil
		})
	}
	running(4, "")
	_, s, err := on()
	if err != nil || len(s.Slaves) != 2 {
		t.Fatal(err, s.Slaves)
	}
	first, second := s.Slaves[0].ID, s.Slaves[1].ID
	operate(t, master.URL, `{"type":"DRAIN_AGENT","drain_agent":{"agent_id":{"value":"`+first+`"},"max_grace_period":{"seconds":5}}}`)
	running(4, first)
	lab.Eventually(t, 30*time.Second, "the agent is drained", func() error {
		_, s, err := on()
		for _, a := range s.Slaves {
			if a.ID == first && a.DrainInfo.State == "DRAINED" && !a.Active && a.Deactivated {
				return nil
			}
		}
		return fmt.Errorf("%v %+v", err, s.Slaves)
	})
	operate(t, master.URL, `{"type":"REACTIVATE_AGENT","reactivate_agent":{"agent_id":{"value":"`+first+`"}}}`)
	operate(t, master.URL, `{"type":"DRAIN_AGENT","drain_agent":{"agent_id":{"value":"`+second+`"},"mark_gone":true}}`)
	running(4, second)
	lab.Eventually(t, 30*time.Second, "the agent is gone", func() error {
		_, s, err := on()
		if err != nil || len(s.Slaves) != 1 || s.Slaves[0].ID != first {
			return fmt.Errorf("%v %+v", err, s.Slaves)
		}
		return nil
	})
}

// partitionCluster is a real agent with a task under a master that loses patience soon.
func partitionCluster(t *testing.T) (master, agent *lab.Daemon, api lab.API, pid int) {
	t.Helper()
	ports := freeport.Take(t, 2)
	addr := "127.0.0.1:" + strconv.Itoa(ports[0])
	master = lab.StartDaemon(t, "http://"+addr, "master", "--ip", "127.0.0.1", "--port", strconv.Itoa(ports[0]), "--work_dir", t.TempDir(),
		"--agent_ping_timeout", "1secs", "--max_agent_ping_timeouts", "2")
	dir := t.TempDir()
	from, to := lab.TaskPorts(100)
	agent = lab.StartDaemon(t, fmt.Sprintf("http://127.0.0.1:%d", ports[1]), "agent", "--master", addr, "--ip", "127.0.0.1",
		"--port", strconv.Itoa(ports[1]), "--hostname", "127.0.0.1", "--work_dir", dir, "--runtime_dir", filepath.Join(dir, "run"),
		"--cgroups_root", lab.GroupsRoot(ports[1]), "--resources", fmt.Sprintf("cpus:4;mem:2048;disk:4096;ports:[%d-%d]", from, to))
	t.Cleanup(func() {
		agent.Stop(t)
		lab.RemoveGroups(t, lab.GroupsRoot(ports[1]))
		lab.KillUnder(t, dir)
	})
	api = operatedFramework(t, addr)
	api.Must(t, "POST", "/v2/apps", `{"id":"/stays","cmd":"exec sleep 10000","instances":1,"cpus":0.1,"mem":32,
	  "unreachableStrategy":{"inactiveAfterSeconds":900,"expungeAfterSeconds":1800}}`)
	tasks := api.AwaitRunning(t, 60*time.Second, "/stays", 1, false)
	return master, agent, api, livePIDs(t, tasks)[tasks[0].ID]
}

// TestStoppedAgentBecomesUnreachable: an agent that does not answer is unreachable with its
// task, and both are back when it goes on; the task's process never noticed.
func TestStoppedAgentBecomesUnreachable(t *testing.T) {
	master, agent, _, pid := partitionCluster(t)
	if err := syscall.Kill(agent.PID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(agent.PID(), syscall.SIGCONT) }()
	lab.Eventually(t, 30*time.Second, "the agent is unreachable", func() error {
		s, err := readOperated(master.URL)
		if err != nil || s.Unreachable != 1 || len(s.Slaves) != 0 || len(s.Frameworks) != 1 || len(s.Frameworks[0].Unreachable) != 1 ||
			s.Frameworks[0].Unreachable[0].State != "TASK_UNREACHABLE" {
			return fmt.Errorf("%v %+v", err, s)
		}
		return nil
	})
	if err := syscall.Kill(agent.PID(), syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, 60*time.Second, "agent and task are back", func() error {
		s, err := readOperated(master.URL)
		if err != nil || s.Unreachable != 0 || len(s.Slaves) != 1 || !s.Slaves[0].Active || len(s.Frameworks) != 1 ||
			len(s.Frameworks[0].Unreachable) != 0 || len(s.Frameworks[0].Tasks) != 1 || s.Frameworks[0].Tasks[0].State != "TASK_RUNNING" {
			return fmt.Errorf("%v %+v", err, s)
		}
		return nil
	})
	if !lab.Alive(pid) {
		t.Error("the task's process did not survive the partition")
	}
}

// TestMachineDown: a machine in maintenance is emptied: its agent shuts down with its
// tasks, and is taken again after the maintenance.
func TestMachineDown(t *testing.T) {
	master, agent, api, pid := partitionCluster(t)
	const machine = `[{"hostname":"127.0.0.1","ip":"127.0.0.1"}]`
	operate(t, master.URL, `{"type":"UPDATE_MAINTENANCE_SCHEDULE","update_maintenance_schedule":{"schedule":{"windows":[{"machine_ids":`+machine+
		`,"unavailability":{"start":{"nanoseconds":1795231284229985792}}}]}}}`)
	operate(t, master.URL, `{"type":"START_MAINTENANCE","start_maintenance":{"machines":`+machine+`}}`)
	lab.Eventually(t, 30*time.Second, "the agent is removed, and its task ends", func() error {
		s, err := readOperated(master.URL)
		if err != nil || len(s.Slaves) != 0 || lab.Alive(pid) {
			return fmt.Errorf("%v %+v, task alive: %v", err, s.Slaves, lab.Alive(pid))
		}
		return nil
	})
	lab.Eventually(t, 30*time.Second, "the agent's process ends", func() error {
		select {
		case <-agent.Done():
			return nil
		default:
			return fmt.Errorf("it runs on")
		}
	})
	operate(t, master.URL, `{"type":"STOP_MAINTENANCE","stop_maintenance":{"machines":`+machine+`}}`)
	agent.Restart()
	api.AwaitRunning(t, 60*time.Second, "/stays", 1, false)
}
