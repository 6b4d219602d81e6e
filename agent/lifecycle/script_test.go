package lifecycle

import (
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

var rewrite = flag.Bool("rewrite", false, "write the golden scripts instead of comparing with them")

// world plays events against an agent and writes down everything that comes out.
type world struct {
	t     *testing.T
	a     *Agent
	now   time.Time
	log   strings.Builder
	saved map[string]Record // as a journal would hold it
	ids   byte
	box   map[string]ContainerID // task or executor -> its container
	heads map[string]*messages.StatusUpdate
	own   []*mesos.Resource // what the agent was started with
	ops   []*messages.UpdateOperationStatusMessage
	slow  bool // limits are changed only when the script says so
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, now: time.Unix(1000, 0), saved: map[string]Record{}, box: map[string]ContainerID{}, heads: map[string]*messages.StatusUpdate{}}
	w.a = w.agent()
	return w
}

func (w *world) agent() *Agent {
	return New(Config{
		PID: "slave(1)@10.0.0.1:5051", Endpoint: "10.0.0.1:5051", IP: "10.0.0.1", WorkDir: "/w", SwitchUser: true,
		ShutdownGrace: 5 * time.Second, RegisterTimeout: time.Minute, ReregisterTimeout: 2 * time.Second, RecoveryTimeout: 15 * time.Minute,
		Info: &mesos.AgentInfo{Hostname: ptr("h"), Resources: w.own},
		NewID: func() [16]byte {
			w.ids++
			return [16]byte{15: w.ids}
		},
	})
}

func (w *world) say(format string, args ...any) { fmt.Fprintf(&w.log, format+"\n", args...) }

// step plays one event and prints what came of it.
func (w *world) step(ev Event) {
	w.say("> %s", strings.TrimPrefix(fmt.Sprintf("%T", ev), "lifecycle."))
	w.take(w.a.Step(w.now, ev))
}

// sleep lets time pass, with all ticks that come due.
func (w *world) sleep(d time.Duration) {
	end := w.now.Add(d)
	w.say("> sleep %s", d)
	for next := w.a.Next(); !next.IsZero() && !next.After(end); next = w.a.Next() {
		w.now = next
		w.take(w.a.Step(w.now, Tick{}))
	}
	w.now = end
}

func (w *world) take(out Output) {
	var resized []ContainerID
	defer func() {
		for _, id := range resized {
			w.step(Resized{Container: id})
		}
	}()
	for _, r := range out.Records {
		if r.Removal() {
			delete(w.saved, r.Key)
			w.say("  record -%s", r.Key)
			continue
		}
		w.saved[r.Key] = r
		detail := ""
		if r.Task != nil {
			detail = fmt.Sprintf(" %s pending=%d", short(r.Task.State), len(r.Task.Pending))
		}
		if r.Resources != nil {
			detail = fmt.Sprintf(" %s operations=%d doomed=%d", resource.Resources(r.Resources.Checkpointed), len(r.Resources.Operations), len(r.Resources.Doomed))
		}
		w.say("  record %s%s", r.Key, detail)
	}
	for _, e := range out.Effects {
		switch e := e.(type) {
		case Note:
		case Launch:
			if e.Nested {
				name := string(e.Task)
				if name == "" {
					name = e.Container.value()
				}
				w.box[name] = e.Container
				w.say("  launch nested %s in %s as %s, share %v: %s", name, strings.TrimPrefix(e.Directory, "/w/slaves/S0/frameworks/F/executors/"), e.User, e.Share, e.Command.GetValue())
				break
			}
			w.box[string(e.Key.Executor)] = e.Container
			w.say("  launch %s in %s as %s", e.Key.Executor, e.Directory, e.User)
		case SendUpdate:
			st := e.Update.GetStatus()
			w.heads[st.GetTaskId().GetValue()] = e.Update
			w.say("  send %s", statusText(e.Update))
			if hex.EncodeToString(e.Update.GetUuid()) != hex.EncodeToString(st.GetUuid()) || len(st.GetUuid()) != 16 {
				w.t.Errorf("update and status carry different uuids")
			}
		case Resize:
			w.say("  resize %s", w.name(e.Container))
			if !w.slow {
				resized = append(resized, e.Container)
			}
		case ToExecutor:
			if e.UPID != "" {
				w.say("  to %s at %s %s%s", e.Key.Executor, e.UPID, e.Event.GetType(), map[bool]string{true: " again"}[e.Again])
				break
			}
			w.say("  to %s %s", e.Key.Executor, e.Event.GetType())
		case Reconnect:
			w.say("  reconnect %s at %s", e.Key.Executor, e.UPID)
		case Kill:
			w.say("  kill %s grace %s", w.name(e.Container), e.Grace)
		case Destroy:
			w.say("  destroy %s", w.name(e.Container))
		case Forget:
			w.say("  forget %s", w.name(e.Container))
		case Signal:
			w.say("  signal %s %d", w.name(e.Container), e.Signal)
		case Answer:
			w.say("  answer %d: %d %s", e.Request, e.Code, e.Text)
			if e.Exit != nil {
				w.say("    status %d, limited %v", e.Exit.WaitStatus(), e.Limitation != nil)
			}
		case StartChecks:
			w.say("  start checks of %s", e.Key.Task)
		case StopChecks:
			w.say("  stop checks of %s", e.Key.Task)
		case SendOperation:
			w.ops = append(w.ops, e.Update)
			st := e.Update.GetStatus()
			w.say("  operation %x is %s, repeated until acknowledged: %v %q", e.Update.GetOperationUuid().GetValue(),
				strings.TrimPrefix(st.GetState().String(), "OPERATION_"), st.GetUuid() != nil, st.GetMessage())
		case MakeVolumes:
			w.say("  make %s", resource.Resources(e.Volumes))
		case RemoveVolumes:
			w.say("  remove %s", resource.Resources(e.Volumes))
		case SendExited:
			w.say("  executor %s exited %d", e.Key.Executor, e.Status)
		default:
			w.say("  %s", strings.TrimPrefix(fmt.Sprintf("%T", e), "lifecycle."))
		}
	}
}

func (w *world) name(id ContainerID) string {
	for n, c := range w.box {
		if c == id {
			return n
		}
	}
	return "?" + string(id)
}

func short(s mesos.TaskState) string { return strings.TrimPrefix(s.String(), "TASK_") }

func statusText(u *messages.StatusUpdate) string {
	st := u.GetStatus()
	out := fmt.Sprintf("%s %s (latest %s) %s", st.GetTaskId().GetValue(), short(st.GetState()), short(u.GetLatestState()), strings.TrimPrefix(st.GetSource().String(), "SOURCE_"))
	if st.Reason != nil {
		out += " " + st.GetReason().String()
	}
	if st.Healthy != nil {
		out += fmt.Sprintf(" healthy=%v", st.GetHealthy())
	}
	if st.CheckStatus != nil {
		out += fmt.Sprintf(" check=%v", st.GetCheckStatus().GetCommand().GetExitCode())
	}
	if cs := st.GetContainerStatus(); cs != nil {
		ip := ""
		if len(cs.GetNetworkInfos()) > 0 {
			ip = cs.GetNetworkInfos()[0].GetIpAddresses()[0].GetIpAddress()
		}
		out += fmt.Sprintf(" pid=%d ip=%s", cs.GetExecutorPid(), ip)
		if cs.GetContainerId().GetParent() != nil {
			out += " nested"
		}
	}
	if st.GetMessage() != "" {
		out += fmt.Sprintf(" %q", st.GetMessage())
	}
	return out
}

// ack acknowledges the update that was sent last for a task.
func (w *world) ack(task string) {
	w.step(Acknowledge{Framework: "F", Task: TaskID(task), UUID: w.heads[task].GetUuid()})
}

// compare checks the log against testdata/<name>.txt.
func (w *world) compare(name string) {
	w.t.Helper()
	file := filepath.Join("testdata", name+".txt")
	if *rewrite {
		if err := os.WriteFile(file, []byte(w.log.String()), 0o644); err != nil {
			w.t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		w.t.Fatal(err)
	}
	if got := w.log.String(); got != string(want) {
		w.t.Errorf("%s differs; got:\n%s", file, got)
	}
}

func frameworkInfo(caps ...mesos.FrameworkInfo_Capability_Type) *mesos.FrameworkInfo {
	f := &mesos.FrameworkInfo{Id: &mesos.FrameworkID{Value: ptr("F")}, Name: ptr("f"), User: ptr("bob"), Checkpoint: ptr(true)}
	for _, c := range caps {
		f.Capabilities = append(f.Capabilities, &mesos.FrameworkInfo_Capability{Type: c.Enum()})
	}
	return f
}

func commandTask(id string, change ...func(*mesos.TaskInfo)) *mesos.TaskInfo {
	t := &mesos.TaskInfo{
		Name: ptr(id), TaskId: &mesos.TaskID{Value: ptr(id)}, AgentId: &mesos.AgentID{Value: ptr("S0")},
		Command:   &mesos.CommandInfo{Value: ptr("sleep 1000")},
		Resources: []*mesos.Resource{scalar("cpus", 1, "dev"), scalar("mem", 64, "dev")},
	}
	for _, c := range change {
		c(t)
	}
	return t
}

func executorTask(id, executor string) *mesos.TaskInfo {
	return commandTask(id, func(t *mesos.TaskInfo) {
		t.Command = nil
		t.Executor = &mesos.ExecutorInfo{ExecutorId: &mesos.ExecutorID{Value: ptr(executor)},
			Type: mesos.ExecutorInfo_CUSTOM.Enum(), Command: &mesos.CommandInfo{Value: ptr("./executor")}}
	})
}

func (w *world) run(t *mesos.TaskInfo, caps ...mesos.FrameworkInfo_Capability_Type) {
	w.step(RunTask{Framework: frameworkInfo(caps...), Task: t})
}

// restart makes a new agent from what was saved, as after kill -9.
func (w *world) restart(live map[ContainerID]Live, rebooted bool) {
	w.say("> restart")
	var records []Record
	for _, r := range w.saved {
		records = append(records, r)
	}
	sort.Slice(records, func(i, j int) bool { return records[i].Key < records[j].Key })
	w.a = w.agent()
	w.take(w.a.Restore(w.now, "S0", records, live, rebooted))
}
