package lab_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/lab"
)

// ids gives the tasks' ids in order.
func ids(tasks []lab.Task) []string {
	out := make([]string, 0, len(tasks))
	for _, k := range tasks {
		out = append(out, k.ID)
	}
	slices.Sort(out)
	return out
}

// livePIDs gives the one process of each task.
func livePIDs(t *testing.T, tasks []lab.Task) map[string]int {
	t.Helper()
	out := map[string]int{}
	for _, k := range tasks {
		p := lab.PIDsWithEnv("MESOS_TASK_ID=" + k.ID)
		if len(p) != 1 {
			t.Fatalf("task %s has processes %v, want one", k.ID, p)
		}
		out[k.ID] = p[0]
	}
	return out
}

// untouched fails the test unless the app's tasks and their processes are the same as before.
func untouched(t *testing.T, api lab.API, app string, pids map[string]int) {
	t.Helper()
	now := api.AwaitRunning(t, 30*time.Second, app, len(pids), false)
	for _, k := range now {
		if p := lab.PIDsWithEnv("MESOS_TASK_ID=" + k.ID); len(p) != 1 || p[0] != pids[k.ID] {
			t.Errorf("task %s has processes %v, want [%d]: it was relaunched", k.ID, p, pids[k.ID])
		}
	}
}

const sleeper = `{"id":"/sleeper","cmd":"exec sleep 10000","instances":3,"cpus":0.1,"mem":32}`

// waits runs until a file appears and then exits with a code of its own.
const waits = `{"id":"/waits","cmd":"until test -e %s; do sleep 0.1; done; exit 7","instances":1,"cpus":0.1,"mem":32,
  "backoffSeconds":3600,"maxLaunchDelaySeconds":3600}`

// No control process is needed by a running task: each is killed -9 and started again
// on its work_dir; tasks run on, and what happened meanwhile is told.
func TestKillNineOfEachDaemon(t *testing.T) {
	c := lab.StartCluster(t, lab.ClusterConfig{Masters: 1, Agents: 1, Frameworks: 1})
	api := c.API(0)
	gate := c.Dir + "/gate"
	api.Must(t, "POST", "/v2/apps", sleeper)
	api.Must(t, "POST", "/v2/apps", fmt.Sprintf(waits, gate))
	pids := livePIDs(t, api.AwaitRunning(t, 40*time.Second, "/sleeper", 3, false))
	waiting := api.AwaitRunning(t, 40*time.Second, "/waits", 1, false)[0]
	api.AwaitNoDeployment(t, 20*time.Second)
	agentID := lab.ReadMasterState(t, c.Masters[0].URL).Slaves[0].ID

	t.Run("agent", func(t *testing.T) {
		c.Agents[0].Kill(t)
		for id, p := range pids {
			if !lab.Alive(p) {
				t.Fatalf("task %s died with the agent", id)
			}
		}
		// It ends while no agent watches.
		lab.Touch(t, gate)
		lab.Eventually(t, 10*time.Second, "the waiting task's process ends", func() error {
			if p := lab.PIDsWithEnv("MESOS_TASK_ID=" + waiting.ID); len(p) > 0 {
				return fmt.Errorf("%v", p)
			}
			return nil
		})
		c.Agents[0].Restart()
		lab.Eventually(t, 30*time.Second, "the exit code is reported", func() error {
			var app struct {
				App struct {
					LastTaskFailure struct{ Message, State, TaskID string }
				}
			}
			api.Must(t, "GET", "/v2/apps/waits?embed=app.lastTaskFailure", "").JSON(t, &app)
			f := app.App.LastTaskFailure
			if f.TaskID != waiting.ID || f.State != "TASK_FAILED" || f.Message != "Command exited with status 7" {
				return fmt.Errorf("%+v", f)
			}
			return nil
		})
		untouched(t, api, "/sleeper", pids)
		lab.Eventually(t, 20*time.Second, "the agent is back under its id", func() error {
			s := lab.ReadMasterState(t, c.Masters[0].URL)
			if len(s.Slaves) != 1 || s.Slaves[0].ID != agentID || !s.Slaves[0].Active {
				return fmt.Errorf("%+v, want %s", s.Slaves, agentID)
			}
			return nil
		})
	})

	t.Run("framework", func(t *testing.T) {
		before := lab.ReadMasterState(t, c.Masters[0].URL).Frameworks[0].ID
		c.Frameworks[0].Kill(t)
		c.Frameworks[0].Restart()
		untouched(t, api, "/sleeper", pids)
		s := lab.ReadMasterState(t, c.Masters[0].URL)
		if len(s.Frameworks) != 1 || s.Frameworks[0].ID != before {
			t.Errorf("frameworks %+v, want only %s", s.Frameworks, before)
		}
	})

	t.Run("master", func(t *testing.T) {
		c.Masters[0].Kill(t)
		c.Masters[0].Restart()
		lab.Eventually(t, 30*time.Second, "the master knows the agent and its tasks again", func() error {
			i, err := c.LeadingMaster()
			if err != nil {
				return err
			}
			s := lab.ReadMasterState(t, c.Masters[i].URL)
			if len(s.Slaves) != 1 || s.Slaves[0].ID != agentID || len(s.Frameworks) != 1 || len(s.Frameworks[0].Tasks) != 3 {
				return fmt.Errorf("%+v", s)
			}
			return nil
		})
		untouched(t, api, "/sleeper", pids)
		// And it is of use: the app can grow.
		api.Must(t, "PUT", "/v2/apps/sleeper", `{"instances":4}`)
		api.AwaitRunning(t, 40*time.Second, "/sleeper", 4, false)
	})
}
