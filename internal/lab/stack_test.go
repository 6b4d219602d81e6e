package lab_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/lab"
)

// dig asks the cluster's DNS server with the real dig and gives the answer's lines.
func dig(t *testing.T, server, name, kind string) []string {
	t.Helper()
	host, port, _ := strings.Cut(server, ":")
	out, err := exec.Command("dig", "+short", "+tries=1", "+time=2", "-p", port, "@"+host, name, kind).CombinedOutput()
	if err != nil {
		t.Logf("dig %s %s: %v %s", name, kind, err, out)
		return nil
	}
	return strings.Fields(strings.ReplaceAll(strings.TrimSpace(string(out)), " ", "_"))
}

// answering gives the ids of the tasks that answer n requests through HAProxy.
func answering(t *testing.T, url, host string, n int) ([]string, error) {
	t.Helper()
	seen := map[string]bool{}
	for range n {
		res, err := lab.Request(http.MethodGet, url, nil, "Host", host)
		if err != nil {
			return nil, err
		}
		if res.Status != http.StatusOK {
			return nil, fmt.Errorf("status %d: %.100s", res.Status, res.Body)
		}
		var a struct{ Task string }
		if err := json.Unmarshal(res.Body, &a); err != nil {
			return nil, err
		}
		seen[a.Task] = true
	}
	return slices.Sorted(maps.Keys(seen)), nil
}

// reloads gives how often HAProxy has been reloaded.
func reloads(t *testing.T, d *lab.Dev) int {
	t.Helper()
	res, err := lab.Request(http.MethodGet, d.LBStats+"/_stoa/status", nil)
	if err != nil {
		t.Fatal(err)
	}
	var s struct{ Reloads int }
	res.JSON(t, &s)
	return s.Reloads
}

// One app goes through every room: posted, offered, launched, checked, named,
// balanced, killed, replaced, updated under load.
func TestServiceThroughEveryRoom(t *testing.T) {
	d := lab.StartDev(t, t.TempDir())
	d.Must(t, "POST", "/v2/apps", lab.AppFile(t, "web.json"))
	tasks := d.AwaitRunning(t, 30*time.Second, "/web", 3, true)

	srv := func(want []lab.Task) {
		t.Helper()
		ports := map[string]bool{}
		for _, k := range want {
			ports[strconv.Itoa(k.Ports[0])] = true
		}
		lab.Eventually(t, 5*time.Second, "SRV lists the tasks", func() error {
			lines := dig(t, d.DNS, "_web._tcp.marathon.mesos", "SRV")
			got := map[string]bool{}
			for _, l := range lines {
				f := strings.Split(l, "_")
				if len(f) != 4 {
					return fmt.Errorf("odd SRV line %q", l)
				}
				got[f[2]] = true
				if a := dig(t, d.DNS, f[3], "A"); len(a) != 1 || !strings.HasPrefix(a[0], "127.") {
					return fmt.Errorf("target %s has A %v", f[3], a)
				}
			}
			if !maps.Equal(got, ports) {
				return fmt.Errorf("ports %v, want %v", got, ports)
			}
			return nil
		})
	}
	balanced := func(want []lab.Task) {
		t.Helper()
		ids := make([]string, 0, len(want))
		for _, k := range want {
			ids = append(ids, k.ID)
		}
		slices.Sort(ids)
		lab.Eventually(t, 10*time.Second, "HAProxy reaches the tasks", func() error {
			got, err := answering(t, d.LBHTTP, "web.example.com", 12)
			if err != nil {
				return err
			}
			if !slices.Equal(got, ids) {
				return fmt.Errorf("answered by %v, want %v", got, ids)
			}
			return nil
		})
	}
	srv(tasks)
	balanced(tasks)

	t.Run("a killed process is replaced without a reload", func(t *testing.T) {
		before := reloads(t, d)
		pid := pidOfTask(t, d, tasks[0])
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		lab.Eventually(t, 20*time.Second, "the killed task is gone from the list", func() error {
			now, err := d.Tasks("/web")
			if err != nil {
				return err
			}
			for _, k := range now {
				if k.ID == tasks[0].ID {
					return fmt.Errorf("%s still listed as %s", k.ID, k.State)
				}
			}
			return nil
		})
		tasks = d.AwaitRunning(t, 20*time.Second, "/web", 3, true)
		srv(tasks)
		balanced(tasks)
		if after := reloads(t, d); after != before {
			t.Errorf("%d reloads became %d", before, after)
		}
	})

	t.Run("a rolling update under load fails no request", func(t *testing.T) {
		load := lab.Start(t, "load", lab.Demo(t), "load", d.LBHTTP, "--host", "web.example.com", "--duration", "60s", "--connections", "4")
		old := map[string]bool{}
		for _, k := range tasks {
			old[k.ID] = true
		}
		d.Must(t, "PUT", "/v2/apps/web", `{"env":{"GREETING":"bonjour"}}`)
		least := 1 << 30
		lab.Eventually(t, 55*time.Second, "the update ends", func() error {
			now, err := d.Tasks("/web")
			if err != nil {
				return err
			}
			healthy, stale := 0, 0
			for _, k := range now {
				if old[k.ID] {
					stale++
				}
				if k.State == "TASK_RUNNING" && len(k.HealthCheckResults) > 0 && k.HealthCheckResults[0].Alive {
					healthy++
				}
			}
			least = min(least, healthy)
			if stale > 0 || healthy != 3 {
				return fmt.Errorf("%d old tasks, %d healthy", stale, healthy)
			}
			return nil
		})
		d.AwaitNoDeployment(t, 20*time.Second)
		if least < 3 {
			t.Errorf("only %d healthy tasks during the update, minimumHealthCapacity 1 wants 3", least)
		}
		_ = syscall.Kill(load.PID(), syscall.SIGTERM)
		<-load.Done()
		var report struct {
			Requests, Failed int
			Errors           map[string]int
		}
		if err := json.Unmarshal([]byte(load.Output()), &report); err != nil {
			t.Fatalf("%v in %q", err, load.Output())
		}
		if report.Failed != 0 || report.Requests < 100 {
			t.Errorf("%d of %d requests failed: %v", report.Failed, report.Requests, report.Errors)
		}
		tasks = d.AwaitRunning(t, 10*time.Second, "/web", 3, true)
		srv(tasks)
		balanced(tasks)
	})

	t.Run("a deleted app leaves no process, name or server", func(t *testing.T) {
		var pids []int
		for _, k := range tasks {
			pids = append(pids, pidOfTask(t, d, k))
		}
		d.Must(t, "DELETE", "/v2/apps/web", "")
		lab.Eventually(t, 30*time.Second, "everything of the app is gone", func() error {
			for _, p := range pids {
				if lab.Alive(p) {
					return fmt.Errorf("process %d lives", p)
				}
			}
			if l := dig(t, d.DNS, "_web._tcp.marathon.mesos", "SRV"); len(l) > 0 {
				return fmt.Errorf("SRV %v", l)
			}
			if res := d.Do(t, "GET", "/v2/apps/web", ""); res.Status != http.StatusNotFound {
				return fmt.Errorf("GET app: %d", res.Status)
			}
			return nil
		})
	})
}

// pidOfTask finds the process that listens for a task: the one whose environment
// names its id and whose program is stoa-demo.
func pidOfTask(t *testing.T, d *lab.Dev, k lab.Task) int {
	t.Helper()
	pids := lab.PIDsWithEnv("MESOS_TASK_ID=" + k.ID)
	if len(pids) != 1 {
		t.Fatalf("task %s has processes %v, want one", k.ID, pids)
	}
	return pids[0]
}
