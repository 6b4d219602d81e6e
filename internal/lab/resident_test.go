package lab_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/lab"
)

// residentTask is what the API tells of a task with volumes.
type residentTask struct {
	ID, SlaveID, State, Role string
	LocalVolumes             []struct{ RunSpecID, ContainerPath, PersistenceID, UUID string }
}

func residentTasks(t *testing.T, api lab.API, id string) []residentTask {
	t.Helper()
	var answer struct{ Tasks []residentTask }
	api.Must(t, "GET", "/v2/apps"+id+"/tasks", "").JSON(t, &answer)
	return answer.Tasks
}

// oneRunning waits for the one running task of an app.
func oneRunning(t *testing.T, api lab.API, id string) residentTask {
	t.Helper()
	var got residentTask
	lab.Eventually(t, 60*time.Second, id+" runs one task", func() error {
		tasks := residentTasks(t, api, id)
		if len(tasks) != 1 || tasks[0].State != "TASK_RUNNING" {
			return fmt.Errorf("tasks %+v", tasks)
		}
		got = tasks[0]
		return nil
	})
	return got
}

// reservedFor lists what the master's agents have reserved for a role.
func reservedFor(t *testing.T, master, role string) []string {
	t.Helper()
	res, err := lab.Request(http.MethodGet, master+"/slaves", nil)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Slaves []struct {
			ID       string
			Reserved map[string]map[string]any `json:"reserved_resources"`
		}
	}
	res.JSON(t, &answer)
	var out []string
	for _, s := range answer.Slaves {
		for r, amounts := range s.Reserved {
			if r == role {
				out = append(out, fmt.Sprint(s.ID, " ", amounts))
			}
		}
	}
	slices.Sort(out)
	return out
}

// A resident app keeps its file: over a restart, scaling to nothing and back, a kill, and a
// new leader; wiped, it starts empty; deleted, it leaves no reservation.
func TestResidentAppKeepsItsFile(t *testing.T) {
	d := lab.StartDev(t, t.TempDir())
	const id = "/db/one"
	d.Must(t, "POST", "/v2/apps", `{"id":"/db/one","role":"db","cpus":0.1,"mem":32,"cmd":"echo $MESOS_TASK_ID >> data/log; exec sleep 600",
		"container":{"type":"MESOS","volumes":[{"containerPath":"data","mode":"RW","persistent":{"size":8}}]}}`)
	// lines waits until the volume of the app has this many lines.
	lines := func(n int, ids ...string) {
		t.Helper()
		lab.Eventually(t, 20*time.Second, fmt.Sprintf("the file has %d lines", n), func() error {
			var all []string
			err := filepath.WalkDir(d.WorkDir, func(path string, e os.DirEntry, err error) error {
				if err == nil && e.Type().IsRegular() && e.Name() == "log" && strings.Contains(path, "db_one#data#") {
					b, err := os.ReadFile(path)
					if err != nil {
						return nil // it was removed meanwhile
					}
					all = append(all, string(b))
				}
				return nil
			})
			if err != nil || len(all) != 1 || strings.Count(all[0], "\n") != n {
				return fmt.Errorf("files %q, error %v", all, err)
			}
			for _, task := range ids {
				if !strings.Contains(all[0], task+"\n") {
					return fmt.Errorf("no line %s in %q", task, all[0])
				}
			}
			return nil
		})
	}
	first := oneRunning(t, d.API, id)
	if len(first.LocalVolumes) != 1 || first.LocalVolumes[0].ContainerPath != "data" || first.LocalVolumes[0].RunSpecID != id || first.Role != "db" ||
		first.LocalVolumes[0].PersistenceID != "db_one#data#"+first.LocalVolumes[0].UUID || !strings.HasSuffix(first.ID, "._app.1") {
		t.Fatalf("task %+v", first)
	}
	lines(1, first.ID)

	same := func(what string, launch int) residentTask {
		t.Helper()
		d.AwaitNoDeployment(t, 60*time.Second)
		now := oneRunning(t, d.API, id)
		if now.SlaveID != first.SlaveID || now.LocalVolumes[0] != first.LocalVolumes[0] || now.ID != strings.TrimSuffix(first.ID, "1")+fmt.Sprint(launch) {
			t.Fatalf("after %s: %+v, before %+v", what, now, first)
		}
		lines(launch, first.ID, now.ID)
		return now
	}
	d.Must(t, "POST", "/v2/apps"+id+"/restart", "{}")
	same("a restart", 2)

	d.Must(t, "PUT", "/v2/apps"+id, `{"instances":0}`)
	d.AwaitNoDeployment(t, 60*time.Second)
	if tasks := residentTasks(t, d.API, id); len(tasks) != 1 || tasks[0].State != "TASK_KILLED" || tasks[0].SlaveID != "" || len(tasks[0].LocalVolumes) != 1 {
		t.Errorf("suspended: %+v", tasks)
	}
	if got := reservedFor(t, d.MasterURL, "db"); len(got) != 1 {
		t.Errorf("reserved while suspended: %v", got)
	}
	d.Must(t, "PUT", "/v2/apps"+id, `{"instances":1}`)
	now := same("scaling to 0 and back", 3)

	d.Must(t, "DELETE", "/v2/apps"+id+"/tasks/"+now.ID, "")
	lab.Eventually(t, 60*time.Second, "it is launched again", func() error {
		if k := residentTasks(t, d.API, id); len(k) != 1 || k[0].ID == now.ID || k[0].State != "TASK_RUNNING" {
			return fmt.Errorf("tasks %+v", k)
		}
		return nil
	})
	same("a kill", 4)

	d.Kill(t)
	d.Restart(t)
	lab.Eventually(t, 60*time.Second, "everybody is there again", func() error {
		_, err := d.API.Tasks(id)
		return err
	})
	same("a crash of everything but the tasks", 4)
	d.Must(t, "PUT", "/v2/apps"+id, `{"env":{"A":"b"}}`)
	now = same("an update under a new leader", 5)

	if res := d.Do(t, "PUT", "/v2/apps"+id, `{"mem":64}`); res.Status != http.StatusUnprocessableEntity {
		t.Errorf("another mem: %d %s", res.Status, res.Body)
	}
	if res := d.Do(t, "PUT", "/v2/apps"+id, `{"role":"*"}`); res.Status != http.StatusUnprocessableEntity {
		t.Errorf("the role *: %d %s", res.Status, res.Body)
	}

	d.Must(t, "DELETE", "/v2/apps"+id+"/tasks/"+now.ID+"?wipe=true", "")
	lab.Eventually(t, 60*time.Second, "a fresh instance runs", func() error {
		if k := residentTasks(t, d.API, id); len(k) != 1 || !strings.HasSuffix(k[0].ID, "._app.1") || k[0].State != "TASK_RUNNING" {
			return fmt.Errorf("tasks %+v", k)
		}
		return nil
	})
	lines(1) // the old volume is destroyed

	d.Must(t, "DELETE", "/v2/apps"+id, "")
	lab.Eventually(t, 60*time.Second, "nothing is reserved", func() error {
		if got := reservedFor(t, d.MasterURL, "db"); len(got) > 0 {
			return fmt.Errorf("reserved: %v", got)
		}
		return nil
	})
}
