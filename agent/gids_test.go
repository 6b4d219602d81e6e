package agent_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// mesos-agent.md 7.9, --volume_gid_range: a volume has a group of its own, its tasks are in
// it whatever their user, and a volume of a pod gives it back with the pod.
func TestVolumesHaveGroups(t *testing.T) {
	h := newHub(t)
	m, p := imaging(t, imageIsolation, func(c *agent.Config) { c.Disk.GIDs = "[5000-5010]" })
	image := h.push(t, "one", v1.Config{}, map[string]string{})
	as := func(user string) func(*mesos.TaskInfo) {
		return func(t *mesos.TaskInfo) { t.Command.User = proto.String(user) }
	}
	for i, op := range []*mesos.Offer_Operation{onOperation(mesos.Offer_Operation_RESERVE, held("disk", 100)), onOperation(mesos.Offer_Operation_CREATE, heldVolume("v", 60))} {
		m.apply(string(rune('1'+i)), op)
		st := next(t, "status", m.operations)
		m.ackOperation(st)
		if st.GetStatus().GetState() != mesos.OperationState_OPERATION_FINISHED {
			t.Fatal(st)
		}
	}
	used := heldVolume("v", 60)
	used.AllocationInfo = &mesos.Resource_AllocationInfo{Role: proto.String("dev")}
	m.run(task("S0", "keeps", `id -G; touch data/x`, inImage(image), as("nobody"), func(t *mesos.TaskInfo) { t.Resources = append(t.Resources, used) }))
	m.expect("keeps", finished)
	if groups := strings.Fields(p.stdout("keeps")); len(groups) < 2 || groups[len(groups)-1] != "5000" {
		t.Errorf("groups of the task: %v", groups)
	}
	volume := filepath.Join(p.cfg.WorkDir, "volumes", "roles", "dev", "v")
	for _, path := range []string{volume, volume + "/x"} {
		info, err := os.Stat(path)
		if err != nil || info.Sys().(*syscall.Stat_t).Gid != 5000 || info.IsDir() && info.Mode()&fs.ModeSetgid == 0 {
			t.Errorf("%s: %v %v", path, info, err)
		}
	}
	shared := boxed(t, `"volumes":[{"container_path":"/shared","mode":"RW","source":{"type":"SANDBOX_PATH","sandbox_path":{"type":"PARENT","path":"data"}}}]`)
	m.group(podExecutor("pod"), true, task("S0", "first", `until test -e /shared/second; do sleep 0.05; done; stat -c %g /shared/second`, shared, inImage(image), as("nobody")))
	m.collect(map[string]mesos.TaskState{"first": running})
	m.group(podExecutor("pod"), false, task("S0", "second", `touch /shared/second && id -G`, shared, inImage(image), as("daemon")))
	got := m.collect(map[string]mesos.TaskState{"first": finished, "second": finished})
	root := got["first"][0].GetContainerStatus().GetContainerId().GetParent().GetValue()
	sandbox := filepath.Join(p.cfg.WorkDir, "slaves/S0/frameworks/F/executors/pod/runs", root)
	for id, want := range map[string]string{"first": "5001\n", "second": " 5001\n"} {
		b, err := os.ReadFile(filepath.Join(sandbox, "tasks", id, "stdout"))
		if err != nil || !strings.HasSuffix(string(b), want) {
			t.Errorf("%s: %q %v", id, b, err)
		}
	}
	next(t, "executor's end", m.exited)
	p.eventually("the group of the pod's volume is free", func() bool {
		info, err := os.Stat(filepath.Join(sandbox, "data"))
		return err == nil && info.Sys().(*syscall.Stat_t).Gid != 5001 && info.Mode()&fs.ModeSetgid == 0 &&
			strings.Contains(string(p.get("/metrics/snapshot")), `"volume_gid_manager/volume_gids_free":10`)
	})
}
