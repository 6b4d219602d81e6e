package lab_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/lab"
)

// podStatus is what the tests read of GET /v2/pods/ID::status.
type podStatus struct {
	Status    string
	Instances []struct {
		ID, Status, AgentHostname string
		Containers                []podContainer
	}
}

type podContainer struct {
	Name, Status, ContainerID string
	Endpoints                 []struct {
		Name              string
		AllocatedHostPort int
		Healthy           *bool
	}
}

// container finds a container of the first instance.
func (p *podStatus) container(name string) *podContainer {
	for i := range p.Instances[0].Containers {
		if c := &p.Instances[0].Containers[i]; c.Name == name {
			return c
		}
	}
	return &podContainer{}
}

// awaitPod waits until the pod is stable with n instances and fits.
func awaitPod(t *testing.T, api lab.API, id string, n int, fits func(*podStatus) bool) *podStatus {
	t.Helper()
	var p podStatus
	lab.Eventually(t, 60*time.Second, fmt.Sprintf("%s is stable with %d instances", id, n), func() error {
		res, err := lab.Request(http.MethodGet, api.URL+"/v2/pods"+id+"::status", nil)
		if err != nil {
			return err
		}
		p = podStatus{}
		if err := json.Unmarshal(res.Body, &p); err != nil {
			return err
		}
		if p.Status != "STABLE" || len(p.Instances) != n || fits != nil && !fits(&p) {
			return fmt.Errorf("%s", res.Body)
		}
		return nil
	})
	return &p
}

// onlyPID gives the process of a task.
func onlyPID(t *testing.T, task string) int {
	t.Helper()
	p := lab.PIDsWithEnv("MESOS_TASK_ID=" + task)
	if len(p) != 1 {
		t.Fatalf("task %s has processes %v, want one", task, p)
	}
	return p[0]
}

// A pod of two containers that share a folder goes through every room: both run, one
// reads what the other writes, it is found by name, a killed container brings a new launch
// of the whole instance, an update rolls, and nothing is left of it at the end.
func TestPodThroughEveryRoom(t *testing.T) {
	d := lab.StartDev(t, t.TempDir())
	var pod map[string]any
	if err := json.Unmarshal([]byte(lab.AppFile(t, "pod.json")), &pod); err != nil {
		t.Fatal(err)
	}
	d.Must(t, "POST", "/v2/pods", lab.AppFile(t, "pod.json"))
	first := awaitPod(t, d.API, "/journal", 1, nil)
	d.AwaitNoDeployment(t, 10*time.Second)
	id, host := first.Instances[0].ID, first.Instances[0].AgentHostname
	if first.container("web").ContainerID != id+".web.1" || first.container("writer").ContainerID != id+".writer.1" || first.container("writer").Status != "TASK_RUNNING" {
		t.Errorf("%+v", first)
	}
	port := first.container("web").Endpoints[0].AllocatedHostPort
	ask := func(port int) (file string, err error) {
		res, err := lab.Request(http.MethodGet, fmt.Sprintf("http://%s:%d/", host, port), nil)
		if err != nil {
			return "", err
		}
		var a struct{ Greeting, App, Task, File string }
		if err := json.Unmarshal(res.Body, &a); err != nil || a.Greeting != "dear diary" || a.App != "/journal" {
			return "", fmt.Errorf("%d %s %v", res.Status, res.Body, err)
		}
		return a.File, nil
	}
	lab.Eventually(t, 10*time.Second, "one container reads what the other writes", func() error {
		beat, err := ask(port)
		if err != nil {
			return err
		}
		if at, err := strconv.ParseInt(beat, 10, 64); err != nil || time.Since(time.Unix(at, 0)) > 20*time.Second {
			return fmt.Errorf("the shared file holds %q", beat)
		}
		return nil
	})

	t.Run("DNS names it, the load balancer does not know it", func(t *testing.T) {
		lab.Eventually(t, 10*time.Second, "A and SRV of the pod", func() error {
			a, srv := dig(t, d.DNS, "journal.marathon.mesos", "A"), dig(t, d.DNS, "_http._journal._tcp.marathon.mesos", "SRV")
			if !slices.Contains(a, host) || len(srv) != 1 || !strings.Contains(srv[0], "_"+strconv.Itoa(port)+"_") {
				return fmt.Errorf("A %v, SRV %v, want %s and port %d", a, srv, host, port)
			}
			return nil
		})
		res, err := lab.Request(http.MethodGet, d.LBStats+"/_haproxy_getconfig", nil)
		if err != nil || res.Status != http.StatusOK || strings.Contains(string(res.Body), "journal") {
			t.Errorf("%v %d %s", err, res.Status, res.Body)
		}
	})

	t.Run("a killed container brings the instance back as a whole", func(t *testing.T) {
		web := onlyPID(t, id+".web.1")
		if err := syscall.Kill(onlyPID(t, id+".writer.1"), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		awaitPod(t, d.API, "/journal", 1, func(p *podStatus) bool {
			return p.container("web").ContainerID == id+".web.2" && p.container("writer").ContainerID == id+".writer.2"
		})
		lab.Eventually(t, 10*time.Second, "the other container ended too", func() error {
			if lab.Alive(web) {
				return fmt.Errorf("process %d lives", web)
			}
			return nil
		})
		res := d.Must(t, "GET", "/v2/pods/journal::status", "")
		if !strings.Contains(string(res.Body), `"lastKnownState":"TASK_FAILED"`) {
			t.Errorf("no history of the failure: %s", res.Body)
		}
	})

	t.Run("an update rolls", func(t *testing.T) {
		pod["environment"].(map[string]any)["EDITION"] = "2"
		pod["scaling"] = map[string]any{"kind": "fixed", "instances": 2}
		body, _ := json.Marshal(pod)
		d.Must(t, "PUT", "/v2/pods/journal", string(body))
		d.AwaitNoDeployment(t, 60*time.Second)
		now := awaitPod(t, d.API, "/journal", 2, nil)
		for _, i := range now.Instances {
			if i.ID == id {
				t.Errorf("instance %s is still there", id)
			}
			env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", onlyPID(t, i.ID+".writer.1")))
			if err != nil || !strings.Contains(string(env), "EDITION=2\x00") {
				t.Errorf("%s runs without the new variable: %v", i.ID, err)
			}
		}
		if left := lab.PIDsWithEnv("MESOS_TASK_ID=" + id + ".web.2"); len(left) > 0 {
			t.Errorf("processes %v of the old version", left)
		}
		var versions []string
		d.Must(t, "GET", "/v2/pods/journal::versions", "").JSON(t, &versions)
		if len(versions) != 2 {
			t.Errorf("versions %v", versions)
		}
	})

	t.Run("deleting leaves nothing", func(t *testing.T) {
		instances := awaitPod(t, d.API, "/journal", 2, nil).Instances
		if res := d.Do(t, "DELETE", "/v2/pods/journal", ""); res.Status != http.StatusAccepted {
			t.Fatalf("%d %s", res.Status, res.Body)
		}
		d.AwaitNoDeployment(t, 60*time.Second)
		if res := d.Do(t, "GET", "/v2/pods/journal::status", ""); res.Status != http.StatusNotFound {
			t.Errorf("%d %s", res.Status, res.Body)
		}
		lab.Eventually(t, 20*time.Second, "no process, no executor, no cgroup, no name", func() error {
			for _, i := range instances {
				for _, c := range i.Containers {
					if p := lab.PIDsWithEnv("MESOS_TASK_ID=" + c.ContainerID); len(p) > 0 {
						return fmt.Errorf("processes %v of %s", p, c.ContainerID)
					}
				}
			}
			for _, agent := range d.AgentURLs {
				res, err := lab.Request(http.MethodGet, agent+"/containers", nil)
				if err != nil || strings.TrimSpace(string(res.Body)) != "[]" {
					return fmt.Errorf("%v %s", err, res.Body)
				}
			}
			if a := dig(t, d.DNS, "journal.marathon.mesos", "A"); len(a) > 0 {
				return fmt.Errorf("A %v", a)
			}
			return nil
		})
	})
}

// A pod outlives its control processes: the framework and the agent are killed and started
// again, and the same processes run on; a container that ends meanwhile is seen.
func TestPodOutlivesItsDaemons(t *testing.T) {
	c := lab.StartCluster(t, lab.ClusterConfig{Masters: 1, Agents: 1, Frameworks: 1})
	api := c.API(0)
	gate := filepath.Join(c.Dir, "gate")
	api.Must(t, "POST", "/v2/pods", fmt.Sprintf(`{"id":"/pair","containers":[
		{"name":"one","exec":{"command":{"shell":"exec sleep 10000"}},"resources":{"cpus":0.1,"mem":32}},
		{"name":"two","exec":{"command":{"shell":"until test -e %s; do sleep 0.1; done; exit 7"}},"resources":{"cpus":0.1,"mem":32}}]}`, gate))
	p := awaitPod(t, api, "/pair", 1, nil)
	api.AwaitNoDeployment(t, 20*time.Second)
	id := p.Instances[0].ID
	pid := onlyPID(t, id+".one.1")

	c.Frameworks[0].Kill(t)
	c.Frameworks[0].Restart()
	c.Agents[0].Kill(t)
	c.Agents[0].Restart()
	lab.Eventually(t, 30*time.Second, "the framework answers", func() error {
		_, err := lab.Request(http.MethodGet, api.URL+"/v2/pods", nil)
		return err
	})
	awaitPod(t, api, "/pair", 1, func(p *podStatus) bool { return p.container("one").ContainerID == id+".one.1" })
	if got := onlyPID(t, id+".one.1"); got != pid {
		t.Errorf("process %d, before %d: it was started again", got, pid)
	}

	c.Frameworks[0].Kill(t)
	lab.Touch(t, gate)
	lab.Eventually(t, 20*time.Second, "the pod ends while no framework runs", func() error {
		if lab.Alive(pid) {
			return fmt.Errorf("process %d lives", pid)
		}
		return nil
	})
	if err := os.Remove(gate); err != nil {
		t.Fatal(err)
	}
	c.Frameworks[0].Restart()
	awaitPod(t, api, "/pair", 1, func(p *podStatus) bool { return p.container("one").ContainerID == id+".one.2" })
	api.Must(t, "DELETE", "/v2/pods/pair", "")
	api.AwaitNoDeployment(t, 30*time.Second)
}

// keeps writes a line each time it starts, into a volume that two containers share.
const keeps = `{"id":"/team/db","role":"team","containers":[
	{"name":"db","exec":{"command":{"shell":"echo started >> store/log; exec sleep 10000"}},"resources":{"cpus":0.1,"mem":32},
	 "volumeMounts":[{"name":"data","mountPath":"store"}]},
	{"name":"reader","exec":{"command":{"shell":"while sleep 0.1; do cp data/log seen; done"}},"resources":{"cpus":0.1,"mem":32},
	 "volumeMounts":[{"name":"data","mountPath":"data","readOnly":true}]}],
	"volumes":[{"name":"data","persistent":{"size":16}}]}`

// A pod with a persistent volume: it is reserved and made first, mounted by two containers
// under names of their own, there again when the instance starts anew, and gone with the pod.
func TestPodKeepsItsData(t *testing.T) {
	c := lab.StartCluster(t, lab.ClusterConfig{Masters: 1, Agents: 1, Frameworks: 1})
	api := c.API(0)
	api.Must(t, "POST", "/v2/pods", keeps)
	p := awaitPod(t, api, "/team/db", 1, nil)
	api.AwaitNoDeployment(t, 20*time.Second)
	id := p.Instances[0].ID
	logs := func() (files []string, lines int) {
		files, _ = filepath.Glob(filepath.Join(c.Dir, "agent0", "volumes", "roles", "team", "*", "log"))
		if len(files) == 1 {
			b, _ := os.ReadFile(files[0])
			lines = strings.Count(string(b), "started\n")
		}
		return files, lines
	}
	lab.Eventually(t, 10*time.Second, "the volume holds one line", func() error {
		if files, n := logs(); n != 1 {
			return fmt.Errorf("%v hold %d", files, n)
		}
		return nil
	})
	if err := syscall.Kill(onlyPID(t, id+".db.1"), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	awaitPod(t, api, "/team/db", 1, func(p *podStatus) bool { return p.container("reader").ContainerID == id+".reader.2" })
	lab.Eventually(t, 10*time.Second, "the volume holds a second line, and the other container sees both", func() error {
		seen, _ := filepath.Glob(filepath.Join(c.Dir, "agent0", "slaves", "*", "frameworks", "*", "executors", "*", "runs", "latest", "containers", "*", "seen"))
		files, n := logs()
		if n != 2 || len(seen) != 1 {
			return fmt.Errorf("%v hold %d, %v", files, n, seen)
		}
		b, err := os.ReadFile(seen[0])
		if err == nil && string(b) != "started\nstarted\n" {
			err = fmt.Errorf("seen %q", b)
		}
		return err
	})
	api.Must(t, "DELETE", "/v2/pods/team/db", "")
	api.AwaitNoDeployment(t, 30*time.Second)
	lab.Eventually(t, 60*time.Second, "the reservation is freed and the volume destroyed", func() error {
		res, err := lab.Request(http.MethodGet, c.Masters[0].URL+"/slaves", nil)
		if err != nil {
			return err
		}
		var s struct {
			Slaves []struct {
				Reserved map[string]any `json:"reserved_resources"`
			}
		}
		if err := json.Unmarshal(res.Body, &s); err != nil {
			return err
		}
		if files, _ := logs(); len(s.Slaves) != 1 || len(s.Slaves[0].Reserved) > 0 || len(files) > 0 {
			return fmt.Errorf("%+v, %v", s.Slaves, files)
		}
		return nil
	})
}
