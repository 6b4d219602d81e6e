package lab_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/lab"
	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
)

// Tasks that fill their sandbox or their volume end with the reason; one that stays
// within its quota runs on, and its use is told.
func TestDiskQuota(t *testing.T) {
	t.Parallel()
	h := startHost(t, "cpus:4;mem:1024;disk:200;ports:[]", "--isolation", "cgroups/cpu,cgroups/mem,disk/du",
		"--enforce_container_disk_quota", "--container_disk_watch_interval", "100ms")
	f := engineer(t, h.master.URL, wire.JSON)
	offer := f.offer(func(r resource.Resources) bool { return r.Get("disk") == resource.Whole(200) })
	small := parse(t, "cpus:0.1;mem:32;disk:5")
	disk := reserved(parse(t, "disk:10"))
	v := persistent(disk[0], "v", "data")
	f.accept(offer, opReserve(disk...), opCreate(v),
		opShell(offer, "modest", "root", "head -c 1000000 /dev/zero > file; sleep 1000", small...),
		opShell(offer, "greedy", "root", "sleep 1; head -c 31457280 /dev/zero > file; sleep 1000", small...),
		opShell(offer, "hoarder", "root", "sleep 1; head -c 15000000 /dev/zero > data/file; sleep 1000", append(parse(t, "cpus:0.1;mem:32"), v)...),
		opPod(offer, f.info.Id, small, podTask(offer, "pod", "sleep 1; head -c 31457280 /dev/zero > file; sleep 1000", parse(t, "cpus:0.1;mem:32;disk:1")...)))
	want := map[string]string{"greedy": "exceeds quota (5MB)", "hoarder": "exceeds quota (10MB) in persistent volume 'v'", "pod": "exceeds quota (6MB)"}
	for len(want) > 0 {
		st := f.next(func(e *scheduler.Event) bool {
			return e.GetUpdate().GetStatus().GetState() == mesos.TaskState_TASK_FAILED
		}).GetUpdate().GetStatus()
		text := want[st.GetTaskId().GetValue()]
		if text == "" || st.GetReason() != mesos.TaskStatus_REASON_CONTAINER_LIMITATION_DISK || st.GetSource() != mesos.TaskStatus_SOURCE_AGENT ||
			!strings.HasPrefix(st.GetMessage(), "Disk usage (") || !strings.HasSuffix(st.GetMessage(), text) || len(st.GetLimitation().GetResources()) != 1 {
			t.Errorf("%v", st)
		}
		delete(want, st.GetTaskId().GetValue())
	}
	lab.Eventually(t, 20*time.Second, "the use of the disk is told", func() error {
		got, err := lab.Request(http.MethodGet, h.agent.URL+"/monitor/statistics", nil)
		if err != nil {
			return err
		}
		var all []struct {
			Source     string
			Statistics struct {
				Used  uint64 `json:"disk_used_bytes"`
				Limit uint64 `json:"disk_limit_bytes"`
			}
		}
		if err := json.Unmarshal(got.Body, &all); err != nil || len(all) != 1 || all[0].Source != "modest" ||
			all[0].Statistics.Limit != 5<<20 || all[0].Statistics.Used < 1_000_000 || all[0].Statistics.Used > 2_000_000 {
			return fmt.Errorf("%v %s", err, got.Body)
		}
		return nil
	})
	f.call(&scheduler.Call{Type: scheduler.Call_TEARDOWN.Enum()})
}

// What is oversubscribed is offered to those who ask for it, also after the agent was killed.
func TestFixedOversubscription(t *testing.T) {
	t.Parallel()
	h := startHost(t, "cpus:4;mem:1024;disk:0;ports:[]", "--resource_estimator", "org_apache_mesos_FixedResourceEstimator",
		"--modules", `{"libraries":[{"file":"libfixed.so","modules":[{"name":"org_apache_mesos_FixedResourceEstimator","parameters":[{"key":"resources","value":"cpus:2"}]}]}]}`)
	f := &framework{t: t, url: h.master.URL, codec: wire.JSON, info: &mesos.FrameworkInfo{User: str("root"), Name: str("f"), Checkpoint: ptr(true),
		Roles: []string{"eng"}, FailoverTimeout: ptr(3600.0), Capabilities: []*mesos.FrameworkInfo_Capability{
			{Type: mesos.FrameworkInfo_Capability_MULTI_ROLE.Enum()}, {Type: mesos.FrameworkInfo_Capability_REVOCABLE_RESOURCES.Enum()}}}}
	f.subscribe()
	whole := func(r resource.Resources) bool {
		return r.Revocable().Get("cpus") == resource.Whole(2) && r.NonRevocable().Get("cpus") == resource.Whole(4)
	}
	offer := f.offer(whole)
	cheap := parse(t, "cpus:1")[0]
	cheap.Revocable = &mesos.Resource_RevocableInfo{}
	f.accept(offer, opShell(offer, "cheap", "root", "sleep 1000", append(parse(t, "mem:32"), cheap)...))
	f.state("cheap", mesos.TaskState_TASK_RUNNING)
	h.bounce(t)
	f.caughtUp()
	f.offer(func(r resource.Resources) bool {
		return r.Revocable().Get("cpus") == resource.Whole(1) && r.NonRevocable().Get("cpus") == resource.Whole(4)
	})
	got, err := lab.Request(http.MethodGet, h.agent.URL+"/metrics/snapshot", nil)
	if err != nil || !strings.Contains(string(got.Body), `"slave/cpus_revocable_total":2`) || !strings.Contains(string(got.Body), `"slave/cpus_revocable_used":1`) {
		t.Errorf("%v %s", err, got.Body)
	}
	f.kill("cheap")
	f.state("cheap", mesos.TaskState_TASK_KILLED)
	f.call(&scheduler.Call{Type: scheduler.Call_TEARDOWN.Enum()})
}

func str(s string) *string { return &s }
func ptr[T any](v T) *T    { return &v }
