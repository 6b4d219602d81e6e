// Command v1group launches two task groups through mesos-go's v1 API and waits until all
// their tasks have finished: one on the DEFAULT executor, and one on a custom executor,
// which is this program itself with the argument "executor". It prints one line per step;
// the exit code is 0 when all went well.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/encoding/codecs"
	"github.com/mesos/mesos-go/api/v1/lib/executor"
	execalls "github.com/mesos/mesos-go/api/v1/lib/executor/calls"
	"github.com/mesos/mesos-go/api/v1/lib/httpcli"
	"github.com/mesos/mesos-go/api/v1/lib/httpcli/httpexec"
	"github.com/mesos/mesos-go/api/v1/lib/httpcli/httpsched"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler/calls"
	"github.com/pborman/uuid"
)

func fail(what string, err error) {
	if err != nil {
		fmt.Println(what+":", err)
		os.Exit(1)
	}
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "executor" {
		execute()
		return
	}
	schedule("http://" + os.Args[1] + "/api/v1/scheduler")
}

func scalar(name string, v float64) mesos.Resource {
	return mesos.Resource{Name: name, Type: mesos.SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: v}}
}

func size(cpus, mem float64) []mesos.Resource {
	return []mesos.Resource{scalar("cpus", cpus), scalar("mem", mem)}
}

// schedule launches both groups on the first offer that comes for each.
func schedule(url string) {
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Second)
	defer cancel()
	caller := httpsched.NewCaller(httpcli.New(httpcli.Endpoint(url), httpcli.Codec(codecs.ByMediaType[codecs.MediaTypeProtobuf]), httpcli.Do(httpcli.With())))
	checkpoint := true
	info := &mesos.FrameworkInfo{User: "root", Name: "v1group", Checkpoint: &checkpoint}
	stream, err := caller.Call(ctx, calls.Subscribe(info))
	fail("subscribe", err)
	defer stream.Close()
	self, err := os.Executable()
	fail("executable", err)
	send := func(what string, call *scheduler.Call) {
		call.FrameworkID = info.ID
		fail(what, calls.CallNoData(ctx, caller, call))
	}
	next, finished := 0, map[string]bool{}
	for len(finished) < 4 {
		var e scheduler.Event
		fail("event", stream.Decode(&e))
		switch e.GetType() {
		case scheduler.Event_SUBSCRIBED:
			info.ID = e.GetSubscribed().GetFrameworkID()
			fmt.Println("subscribed")
		case scheduler.Event_OFFERS:
			for _, o := range e.GetOffers().GetOffers() {
				if next == 2 {
					send("decline", calls.Decline(o.ID))
					continue
				}
				ex := mesos.ExecutorInfo{ExecutorID: mesos.ExecutorID{Value: fmt.Sprintf("x%d", next)}, FrameworkID: info.ID, Resources: append(size(0.1, 32), scalar("disk", 5))}
				var tasks []mesos.TaskInfo
				for _, name := range []string{"a", "b"} {
					t := mesos.TaskInfo{Name: name, TaskID: mesos.TaskID{Value: fmt.Sprintf("%s%d", name, next)}, AgentID: o.AgentID, Resources: size(0.1, 32)}
					if next == 0 {
						value := "echo in a group; sleep 0.2"
						t.Command = &mesos.CommandInfo{Value: &value}
					}
					tasks = append(tasks, t)
				}
				if next == 0 {
					ex.Type = mesos.ExecutorInfo_DEFAULT
				} else {
					value := "exec " + self + " executor"
					ex.Type, ex.Command = mesos.ExecutorInfo_CUSTOM, &mesos.CommandInfo{Value: &value}
				}
				send("accept", calls.Accept(calls.OfferOperations{calls.OpLaunchGroup(ex, tasks...)}.WithOffers(o.ID)))
				fmt.Println("launched group", next)
				next++
			}
		case scheduler.Event_UPDATE:
			st := e.GetUpdate().GetStatus()
			fmt.Println("status", st.TaskID.GetValue(), st.GetState(), st.GetMessage())
			if len(st.GetUUID()) > 0 {
				send("acknowledge", calls.Acknowledge(st.GetAgentID().GetValue(), st.TaskID.GetValue(), st.GetUUID()))
			}
			switch st.GetState() {
			case mesos.TASK_FINISHED:
				finished[st.TaskID.GetValue()] = true
			case mesos.TASK_STARTING, mesos.TASK_RUNNING:
			default:
				fail(st.TaskID.GetValue(), fmt.Errorf("%s %s", st.GetState(), st.GetMessage()))
			}
		}
	}
	send("teardown", &scheduler.Call{Type: scheduler.Call_TEARDOWN})
	fmt.Println("all finished")
}

// execute is the custom executor: the tasks of a group must come in one event.
func execute() {
	url := "http://" + os.Getenv("MESOS_AGENT_ENDPOINT") + "/api/v1/executor"
	cli := httpcli.New(httpcli.Endpoint(url), httpcli.Codec(codecs.ByMediaType[codecs.MediaTypeJSON]))
	who := executor.CallOptions{execalls.Framework(os.Getenv("MESOS_FRAMEWORK_ID")), execalls.Executor(os.Getenv("MESOS_EXECUTOR_ID"))}
	send := execalls.SenderWith(httpexec.NewSender(cli.Send), who...)
	stream, err := execalls.SenderWith(httpexec.NewSender(cli.Send, httpcli.Close(true)), who...).Send(context.Background(), execalls.NonStreaming(execalls.Subscribe(nil, nil)))
	fail("subscribe", err)
	defer stream.Close()
	tell := func(id mesos.TaskID, state mesos.TaskState) {
		_, err := send.Send(context.Background(), execalls.NonStreaming(execalls.Update(mesos.TaskStatus{
			TaskID: id, State: &state, Source: mesos.SOURCE_EXECUTOR.Enum(), ExecutorID: &mesos.ExecutorID{Value: os.Getenv("MESOS_EXECUTOR_ID")}, UUID: []byte(uuid.NewRandom()),
		})))
		fail("update", err)
	}
	for {
		var e executor.Event
		if err := stream.Decode(&e); err != nil {
			fmt.Println("stream ended:", err)
			return
		}
		fmt.Println("event", strings.ToLower(e.GetType().String()))
		switch e.GetType() {
		case executor.Event_LAUNCH_GROUP:
			all := e.GetLaunchGroup().GetTaskGroup().Tasks
			if len(all) != 2 {
				fail("group", fmt.Errorf("%d tasks", len(all)))
			}
			for _, t := range all {
				tell(t.TaskID, mesos.TASK_RUNNING)
			}
			for _, t := range all {
				tell(t.TaskID, mesos.TASK_FINISHED)
			}
		case executor.Event_LAUNCH:
			fail("launch", fmt.Errorf("a task of a group came alone"))
		case executor.Event_SHUTDOWN:
			return
		}
	}
}
