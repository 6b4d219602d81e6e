package lab_test

import (
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/lab"
	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
)

// bound reads a file of the cgroup, version 1, that a process is in.
func bound(t *testing.T, pid int, controller, file string) string {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		part := strings.SplitN(strings.TrimSpace(line), ":", 3)
		for name := range strings.SplitSeq(part[1], ",") {
			if name != controller {
				continue
			}
			b, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", controller, part[2], file))
			if err != nil {
				t.Fatal(err)
			}
			return strings.TrimSpace(string(b))
		}
	}
	t.Skipf("no version 1 controller %s here", controller)
	return ""
}

// Limits apart from requests hold from the REST API to the kernel: of an app, and of the
// containers of a pod.
func TestLimitsThroughEveryRoom(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("limits need root")
	}
	t.Parallel()
	k := lab.StartCluster(t, lab.ClusterConfig{Masters: 1, Agents: 1, Frameworks: 1, AgentFlags: func(int) []string {
		return []string{"--isolation", "cgroups/cpu,cgroups/mem"}
	}})
	api := k.API(0)
	api.Must(t, "POST", "/v2/apps", `{"id":"/burst","cpus":0.1,"mem":32,"cmd":"exec sleep 1000","resourceLimits":{"cpus":"unlimited","mem":256}}`)
	api.Must(t, "POST", "/v2/pods", `{"id":"/bursts","containers":[{"name":"one","exec":{"command":{"shell":"exec sleep 1000"}},
		"resources":{"cpus":0.1,"mem":32},"resourceLimits":{"cpus":0.5,"mem":"unlimited"}}],"networks":[{"mode":"host"}]}`)
	pids := []int{onlyPID(t, api.AwaitRunning(t, 60*time.Second, "/burst", 1, false)[0].ID), onlyPID(t, awaitPod(t, api, "/bursts", 1, nil).Instances[0].ID+".one.1")}
	for _, c := range []struct {
		of                     int
		controller, file, want string
	}{
		{0, "cpu", "cpu.cfs_quota_us", "-1"}, {0, "memory", "memory.limit_in_bytes", strconv.Itoa((256 + 32) << 20)},
		{0, "memory", "memory.soft_limit_in_bytes", strconv.Itoa((32 + 32) << 20)},
		{1, "cpu", "cpu.cfs_quota_us", "50000"}, {1, "memory", "memory.limit_in_bytes", "9223372036854771712"},
	} {
		if got := bound(t, pids[c.of], c.controller, c.file); got != c.want {
			t.Errorf("%s of %d is %s, want %s", c.file, c.of, got, c.want)
		}
	}
	for _, url := range []string{k.Masters[0].URL, k.Agents[0].URL} {
		res, err := lab.Request(http.MethodPost, url+"/api/v1", []byte(`{"type":"GET_TASKS"}`), "Content-Type", "application/json", "Accept", "application/json")
		if err != nil || res.Status != http.StatusOK || !strings.Contains(string(res.Body), `"limits":`) || !strings.Contains(string(res.Body), `"mem":{"value":256`) {
			t.Errorf("%v %d %s", err, res.Status, res.Body)
		}
		if res, err := lab.Request(http.MethodGet, url+"/state", nil); err != nil || res.Status != http.StatusOK || !strings.Contains(string(res.Body), `"TASK_RESOURCE_LIMITS"`) {
			t.Errorf("%v %d %s", err, res.Status, res.Body)
		}
	}
	api.Must(t, "DELETE", "/v2/pods/bursts?force=true", "")
	api.Must(t, "DELETE", "/v2/apps/burst?force=true", "")
}

// Any framework may ask for limits, in both codecs, also after the agent was killed; those
// below the request are refused.
func TestLimitsOfAFramework(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("limits need root")
	}
	t.Parallel()
	h := startHost(t, "cpus:4;mem:1024;disk:0;ports:[]", "--isolation", "cgroups/cpu,cgroups/mem")
	for _, codec := range []wire.Codec{wire.JSON, wire.Protobuf} {
		f := engineer(t, h.master.URL, codec)
		limited := func(o *mesos.Offer, id string, mem float64) *mesos.Offer_Operation {
			op := opShell(o, id, "root", "exec sleep 1000", parse(t, "cpus:0.1;mem:64")...)
			op.Launch.TaskInfos[0].Limits = map[string]*mesos.Value_Scalar{"mem": {Value: &mem}}
			return op
		}
		all := func(r resource.Resources) bool { return r.Get("cpus") == resource.Whole(4) }
		offer := f.offer(all)
		f.accept(offer, limited(offer, "open", math.Inf(1)), limited(offer, "low", 32))
		st := f.next(func(e *scheduler.Event) bool {
			return e.GetUpdate().GetStatus().GetTaskId().GetValue() == "low"
		}).GetUpdate().GetStatus()
		if st.GetState() != mesos.TaskState_TASK_ERROR || !strings.Contains(st.GetMessage(), "must be greater than or equal to the memory request") {
			t.Errorf("%v", st)
		}
		pid := int(f.status("open", mesos.TaskState_TASK_RUNNING).GetContainerStatus().GetExecutorPid())
		h.bounce(t)
		f.caughtUp()
		if got := bound(t, pid, "memory", "memory.limit_in_bytes"); got != "9223372036854771712" {
			t.Errorf("limit %s", got)
		}
		f.kill("open")
		f.state("open", mesos.TaskState_TASK_KILLED)
		f.call(&scheduler.Call{Type: scheduler.Call_TEARDOWN.Enum()})
	}
}
