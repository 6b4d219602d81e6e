package lab_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/lab"
	"github.com/stoa-project/stoa/internal/lab/freeport"
	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
)

// host is one master and one real agent that a test may kill.
type host struct {
	dir    string // the agent's work_dir
	master *lab.Daemon
	agent  *lab.Daemon
}

func startHost(t *testing.T, resources string, flags ...string) *host {
	t.Helper()
	ports := freeport.Take(t, 2)
	base := t.TempDir()
	h := &host{dir: filepath.Join(base, "agent")}
	for _, dir := range []string{base, filepath.Dir(base)} { // users of tasks pass through
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	addr := "127.0.0.1:" + strconv.Itoa(ports[0])
	h.master = lab.StartDaemon(t, "http://"+addr, "master", "--ip", "127.0.0.1", "--port", strconv.Itoa(ports[0]), "--work_dir", filepath.Join(base, "master"))
	args := append([]string{"agent", "--master", addr, "--ip", "127.0.0.1", "--port", strconv.Itoa(ports[1]), "--hostname", "host1",
		"--work_dir", h.dir, "--runtime_dir", filepath.Join(h.dir, "run"), "--cgroups_root", lab.GroupsRoot(ports[1]),
		"--registration_backoff_factor", "50ms", "--executor_reregistration_timeout", "100ms", "--resources", resources}, flags...)
	h.agent = lab.StartDaemon(t, "http://127.0.0.1:"+strconv.Itoa(ports[1]), args...)
	t.Cleanup(func() {
		h.idle()
		h.agent.Stop(t)
		lab.RemoveGroups(t, lab.GroupsRoot(ports[1]))
		lab.KillUnder(t, base)
	})
	h.back(t)
	return h
}

// idle waits until the agent that lives has ended all containers: a keeper that is killed
// while it ends one leaves it frozen.
func (h *host) idle() {
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		got, err := lab.Request(http.MethodGet, h.agent.URL+"/state", nil)
		if err != nil || strings.Contains(string(got.Body), `"frameworks":[]`) {
			return
		}
	}
}

// back waits until the master has the agent.
func (h *host) back(t *testing.T) {
	t.Helper()
	lab.Eventually(t, 30*time.Second, "the agent is registered", func() error {
		got, err := lab.Request(http.MethodGet, h.agent.URL+"/metrics/snapshot", nil)
		if err == nil && !strings.Contains(string(got.Body), `"slave/registered":1`) {
			err = fmt.Errorf("%s", got.Body)
		}
		return err
	})
}

// bounce is kill -9 and a new start.
func (h *host) bounce(t *testing.T) {
	t.Helper()
	h.agent.Kill(t)
	h.agent.Restart()
	h.back(t)
}

func engineer(t *testing.T, master string, codec wire.Codec) *framework {
	t.Helper()
	f := &framework{t: t, url: master, codec: codec, info: &mesos.FrameworkInfo{User: proto.String("root"), Name: proto.String("f"),
		Principal: proto.String("p"), Roles: []string{"eng"}, Checkpoint: proto.Bool(true), FailoverTimeout: proto.Float64(3600)}}
	for _, c := range []mesos.FrameworkInfo_Capability_Type{mesos.FrameworkInfo_Capability_MULTI_ROLE,
		mesos.FrameworkInfo_Capability_RESERVATION_REFINEMENT, mesos.FrameworkInfo_Capability_PARTITION_AWARE,
		mesos.FrameworkInfo_Capability_TASK_KILLING_STATE, mesos.FrameworkInfo_Capability_SHARED_RESOURCES} {
		f.info.Capabilities = append(f.info.Capabilities, &mesos.FrameworkInfo_Capability{Type: c.Enum()})
	}
	f.subscribe()
	return f
}

// persistent makes a volume of reserved disk.
func persistent(disk *mesos.Resource, id, at string) *mesos.Resource {
	v := proto.CloneOf(disk)
	if v.Disk == nil {
		v.Disk = &mesos.Resource_DiskInfo{}
	}
	v.Disk.Persistence = &mesos.Resource_DiskInfo_Persistence{Id: &id, Principal: proto.String("p")}
	v.Disk.Volume = &mesos.Volume{ContainerPath: &at, Mode: mesos.Volume_RW.Enum()}
	return v
}

func opReserve(rs ...*mesos.Resource) *mesos.Offer_Operation {
	return &mesos.Offer_Operation{Type: mesos.Offer_Operation_RESERVE.Enum(), Reserve: &mesos.Offer_Operation_Reserve{Resources: rs}}
}

func opUnreserve(rs ...*mesos.Resource) *mesos.Offer_Operation {
	return &mesos.Offer_Operation{Type: mesos.Offer_Operation_UNRESERVE.Enum(), Unreserve: &mesos.Offer_Operation_Unreserve{Resources: rs}}
}

func opCreate(vs ...*mesos.Resource) *mesos.Offer_Operation {
	return &mesos.Offer_Operation{Type: mesos.Offer_Operation_CREATE.Enum(), Create: &mesos.Offer_Operation_Create{Volumes: vs}}
}

func opDestroy(vs ...*mesos.Resource) *mesos.Offer_Operation {
	return &mesos.Offer_Operation{Type: mesos.Offer_Operation_DESTROY.Enum(), Destroy: &mesos.Offer_Operation_Destroy{Volumes: vs}}
}

// opShell launches a command as user.
func opShell(o *mesos.Offer, id, user, command string, rs ...*mesos.Resource) *mesos.Offer_Operation {
	return &mesos.Offer_Operation{Type: mesos.Offer_Operation_LAUNCH.Enum(), Launch: &mesos.Offer_Operation_Launch{TaskInfos: []*mesos.TaskInfo{{
		Name: &id, TaskId: &mesos.TaskID{Value: &id}, AgentId: o.AgentId, Resources: rs,
		Command: &mesos.CommandInfo{Value: &command, User: &user}}}}}
}

// caughtUp waits until all that the master said before has been heard: offers that it
// took back are not used any more.
func (f *framework) caughtUp() {
	f.t.Helper()
	f.call(&scheduler.Call{Type: scheduler.Call_RECONCILE.Enum(), Reconcile: &scheduler.Call_Reconcile{
		Tasks: []*scheduler.Call_Reconcile_Task{{TaskId: &mesos.TaskID{Value: proto.String("nobody")}}}}})
	f.next(func(e *scheduler.Event) bool {
		return e.GetUpdate().GetStatus().GetTaskId().GetValue() == "nobody"
	})
}

func (f *framework) kill(id string) {
	f.t.Helper()
	f.call(&scheduler.Call{Type: scheduler.Call_KILL.Enum(), Kill: &scheduler.Call_Kill{TaskId: &mesos.TaskID{Value: &id}}})
}

func content(t *testing.T, path, want string) {
	t.Helper()
	lab.Eventually(t, 20*time.Second, path+" is written", func() error {
		b, err := os.ReadFile(path)
		if err == nil && string(b) != want {
			err = fmt.Errorf("it holds %q", b)
		}
		return err
	})
}

// A volume keeps what a task wrote over kill -9 of the agent while the task runs, between
// two tasks, and over a change of the agent's id; it goes when it is destroyed.
func TestVolumeKeepsItsData(t *testing.T) {
	t.Parallel()
	for _, codec := range []wire.Codec{wire.JSON, wire.Protobuf} {
		t.Run(codec.MediaType[strings.Index(codec.MediaType, "/")+1:], func(t *testing.T) {
			t.Parallel()
			volumeKeepsItsData(t, codec)
		})
	}
}

func volumeKeepsItsData(t *testing.T, codec wire.Codec) {
	const all = "cpus:4;mem:1024;disk:1000;ports:[]"
	h := startHost(t, all)
	f := engineer(t, h.master.URL, codec)
	total := parse(t, "cpus:4;mem:1024;disk:1000")
	offer := f.offer(func(r resource.Resources) bool { return r.Equal(total) })
	disk := reserved(parse(t, "disk:100"))
	v := persistent(disk[0], "v", "data")
	reserve := opReserve(disk...)
	reserve.Id = &mesos.OperationID{Value: proto.String("o1")}
	small := parse(t, "cpus:0.1;mem:32")
	f.accept(offer, reserve, opCreate(v), opShell(offer, "writer", "root", "echo one > data/file; sleep 1000", append(small, v)...))
	s := f.next(func(e *scheduler.Event) bool { return e.GetType() == scheduler.Event_UPDATE_OPERATION_STATUS }).GetUpdateOperationStatus().GetStatus()
	if s.GetOperationId().GetValue() != "o1" || s.GetState() != mesos.OperationState_OPERATION_FINISHED || s.GetUuid() == nil {
		t.Fatalf("operation: %v", s)
	}
	files := filepath.Join(h.dir, "volumes", "roles", "eng", "v")
	content(t, filepath.Join(files, "file"), "one\n")

	h.bounce(t) // the status was not acknowledged: it comes again, and only then goes
	s = f.next(func(e *scheduler.Event) bool { return e.GetType() == scheduler.Event_UPDATE_OPERATION_STATUS }).GetUpdateOperationStatus().GetStatus()
	f.call(&scheduler.Call{Type: scheduler.Call_ACKNOWLEDGE_OPERATION_STATUS.Enum(), AcknowledgeOperationStatus: &scheduler.Call_AcknowledgeOperationStatus{
		AgentId: s.AgentId, Uuid: s.GetUuid().GetValue(), OperationId: s.OperationId}})
	lab.Eventually(t, 20*time.Second, "no operation is open", func() error { return openOperations(h.master.URL, 0) })
	lab.Eventually(t, 20*time.Second, "the agent shows its reservation", func() error {
		got, err := lab.Request(http.MethodGet, h.agent.URL+"/state", nil)
		if err == nil && !strings.Contains(string(got.Body), `"persistence":{"id":"v","principal":"p"}`) {
			err = fmt.Errorf("%s", got.Body)
		}
		return err
	})
	f.kill("writer")
	f.state("writer", mesos.TaskState_TASK_KILLED)

	hasVolume := func(r resource.Resources) bool { return r.Contains(resource.Resources{v}) }
	offer = f.offer(hasVolume)
	f.accept(offer, opShell(offer, "reader", "nobody", "cat data/file > copy && echo two >> data/file && echo mine > data/new", append(small, v)...))
	f.state("reader", mesos.TaskState_TASK_FAILED) // root's file
	if info, err := os.Stat(files); err != nil || info.Sys().(*syscall.Stat_t).Uid != 65534 {
		t.Errorf("the volume does not belong to the task's user: %v %v", info, err)
	}
	if err := os.Chmod(filepath.Join(files, "file"), 0o666); err != nil {
		t.Fatal(err)
	}
	h.bounce(t)
	f.caughtUp()
	offer = f.offer(hasVolume)
	f.accept(offer, opShell(offer, "again", "nobody", "cat data/file > copy && echo two >> data/file && echo mine > data/new", append(small, v)...))
	f.state("again", mesos.TaskState_TASK_FINISHED)
	content(t, filepath.Join(files, "file"), "one\ntwo\n")
	content(t, filepath.Join(files, "new"), "mine\n")

	// Under another id it is still the same host.
	h.agent.Kill(t)
	if err := os.Remove(filepath.Join(h.dir, "meta", "slaves", "latest")); err != nil {
		t.Fatal(err)
	}
	h.agent.Restart()
	h.back(t)
	f.caughtUp()
	offer = f.offer(hasVolume)
	content(t, filepath.Join(files, "file"), "one\ntwo\n")
	f.accept(offer, opDestroy(v), opUnreserve(disk...))
	f.offer(func(r resource.Resources) bool { return r.Equal(total) })
	lab.Eventually(t, 20*time.Second, "the files are gone", func() error {
		if _, err := os.Stat(files); err == nil {
			return fmt.Errorf("they are there")
		}
		if left, _ := os.ReadDir(filepath.Join(h.dir, "volumes", ".destroyed")); len(left) > 0 {
			return fmt.Errorf("%v", left)
		}
		return nil
	})
	h.bounce(t)
	f.caughtUp()
	f.offer(func(r resource.Resources) bool { return r.Equal(total) })
	f.call(&scheduler.Call{Type: scheduler.Call_TEARDOWN.Enum()})
}

// opPod launches a group on the default executor.
func opPod(o *mesos.Offer, framework *mesos.FrameworkID, own []*mesos.Resource, tasks ...*mesos.TaskInfo) *mesos.Offer_Operation {
	return &mesos.Offer_Operation{Type: mesos.Offer_Operation_LAUNCH_GROUP.Enum(), LaunchGroup: &mesos.Offer_Operation_LaunchGroup{
		Executor: &mesos.ExecutorInfo{Type: mesos.ExecutorInfo_DEFAULT.Enum(), ExecutorId: &mesos.ExecutorID{Value: proto.String("pod")},
			FrameworkId: framework, Resources: own},
		TaskGroup: &mesos.TaskGroupInfo{Tasks: tasks}}}
}

func podTask(o *mesos.Offer, id, command string, rs ...*mesos.Resource) *mesos.TaskInfo {
	return &mesos.TaskInfo{Name: &id, TaskId: &mesos.TaskID{Value: &id}, AgentId: o.AgentId, Resources: rs, Command: &mesos.CommandInfo{Value: &command}}
}

// Volumes on PATH and MOUNT disks, one that two tasks share, and those of a pod: all are
// in the sandboxes, and in the right place on the host.
func TestVolumesOnDisks(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Log("only root can mount a disk")
		return
	}
	base := t.TempDir()
	mount, data := filepath.Join(base, "mount"), filepath.Join(base, "data")
	if err := os.Mkdir(mount, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("stoa-lab", mount, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Unmount(mount, syscall.MNT_DETACH) })
	h := startHost(t, `[{"name":"cpus","type":"SCALAR","scalar":{"value":4}},{"name":"mem","type":"SCALAR","scalar":{"value":1024}},
		{"name":"disk","type":"SCALAR","scalar":{"value":500}},{"name":"ports","type":"RANGES","ranges":{}},
		{"name":"disk","type":"SCALAR","scalar":{"value":300},"disk":{"source":{"type":"PATH","path":{"root":"`+data+`"}}}},
		{"name":"disk","type":"SCALAR","scalar":{"value":1},"disk":{"source":{"type":"MOUNT","mount":{"root":"`+mount+`"}}}}]`)
	f := engineer(t, h.master.URL, wire.Protobuf)
	offer := f.offer(func(r resource.Resources) bool { return len(r) == 5 })
	total := resource.Of(offer.GetResources()...).Unallocate()
	pick := func(kind mesos.Resource_DiskInfo_Source_Type, amount float64) *mesos.Resource {
		for _, r := range reserved(total) {
			if s := r.GetDisk().GetSource(); r.GetName() == "disk" && (s == nil && kind == 0 || s != nil && s.GetType() == kind) {
				r.Scalar = &mesos.Value_Scalar{Value: &amount}
				return r
			}
		}
		t.Fatalf("no disk of type %v in %v", kind, total)
		return nil
	}
	onRoot, onPath, onMount := pick(0, 50), pick(mesos.Resource_DiskInfo_Source_PATH, 100), pick(mesos.Resource_DiskInfo_Source_MOUNT, 1)
	common, path, whole := persistent(onRoot, "common", "common"), persistent(onPath, "path", "a/path"), persistent(onMount, "whole", "whole")
	common.Shared = &mesos.Resource_SharedInfo{}
	small := parse(t, "cpus:0.1;mem:32")
	with := func(vs ...*mesos.Resource) []*mesos.Resource {
		return append(append([]*mesos.Resource(nil), small...), vs...)
	}
	f.accept(offer, opReserve(onRoot, onPath, onMount), opCreate(common, path, whole),
		opShell(offer, "t1", "root", "echo c > common/x && mv common/x common/c && echo p > a/path/p && echo w > whole/w && sleep 1000", with(common, path, whole)...),
		opShell(offer, "t2", "root", "until test -e common/c; do sleep 0.05; done; cat common/c > common/d; sleep 1000", with(common)...))
	content(t, filepath.Join(h.dir, "volumes/roles/eng/common/d"), "c\n")
	content(t, filepath.Join(data, "volumes/roles/eng/path/p"), "p\n")
	content(t, filepath.Join(mount, "w"), "w\n")

	// Operators look into a volume through the sandbox.
	lab.Eventually(t, 20*time.Second, "the volume is browsed", func() error {
		short := "/frameworks/" + f.info.GetId().GetValue() + "/executors/t1/runs/latest/a/path/p"
		got, err := lab.Request(http.MethodGet, h.agent.URL+"/files/read?offset=0&path="+short, nil)
		if err == nil && !strings.Contains(string(got.Body), `"data":"p\n"`) {
			err = fmt.Errorf("%s", got.Body)
		}
		return err
	})
	// A volume in use is not destroyed, whoever asks.
	destroyed, err := lab.Request(http.MethodPost, h.master.URL+"/api/v1", destroyCall(t, offer.AgentId, path), "Content-Type", "application/json")
	if err != nil || destroyed.Status == 202 {
		t.Errorf("destroy of a volume in use: %v %d %s", err, destroyed.Status, destroyed.Body)
	}
	for _, id := range []string{"t1", "t2"} {
		f.kill(id)
		f.state(id, mesos.TaskState_TASK_KILLED)
	}

	// A pod: the executor's volume and the task's own.
	offer = f.offer(func(r resource.Resources) bool {
		return r.Contains(resource.Resources{common, path, whole}) && r.Get("cpus") >= resource.FromFloat(1)
	})
	f.accept(offer, opPod(offer, f.info.Id, with(whole),
		podTask(offer, "p1", "cat whole/w a/path/p > common/x && mv common/x common/pod && sleep 1000", with(common, path)...),
		podTask(offer, "p2", "until test -e common/pod; do sleep 0.05; done; cat common/pod > whole/pod && sleep 1000", with(common)...)))
	content(t, filepath.Join(mount, "pod"), "w\np\n")
	h.bounce(t)
	f.caughtUp()
	f.kill("p1")
	f.state("p1", mesos.TaskState_TASK_KILLED)
	f.state("p2", mesos.TaskState_TASK_KILLED)

	offer = f.offer(func(r resource.Resources) bool { return r.Contains(resource.Resources{common, path, whole}) })
	f.accept(offer, opDestroy(common, path, whole))
	lab.Eventually(t, 20*time.Second, "the files are gone", func() error {
		if left, err := os.ReadDir(mount); len(left) > 0 || err != nil {
			return fmt.Errorf("%v %v", left, err)
		}
		for _, dir := range []string{filepath.Join(data, "volumes/roles/eng"), filepath.Join(h.dir, "volumes/roles/eng")} {
			if left, _ := os.ReadDir(dir); len(left) > 0 {
				return fmt.Errorf("%v", left)
			}
		}
		return nil
	})
	f.call(&scheduler.Call{Type: scheduler.Call_TEARDOWN.Enum()})
}

func destroyCall(t *testing.T, agent *mesos.AgentID, v *mesos.Resource) []byte {
	t.Helper()
	b, err := wire.MarshalJSON(&masterapi.Call{Type: masterapi.Call_DESTROY_VOLUMES.Enum(), DestroyVolumes: &masterapi.Call_DestroyVolumes{
		AgentId: agent, Volumes: []*mesos.Resource{v}}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}
