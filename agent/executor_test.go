package agent_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/executor"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

// runExecutor is a custom executor: every task runs and finishes at once; a message is
// sent back in reverse.
func runExecutor() {
	url := "http://" + os.Getenv("MESOS_AGENT_ENDPOINT") + "/api/v1/executor"
	base := executor.Call{
		FrameworkId: &mesos.FrameworkID{Value: proto.String(os.Getenv("MESOS_FRAMEWORK_ID"))},
		ExecutorId:  &mesos.ExecutorID{Value: proto.String(os.Getenv("MESOS_EXECUTOR_ID"))},
	}
	post := func(c *executor.Call) *http.Response {
		c.FrameworkId, c.ExecutorId = base.FrameworkId, base.ExecutorId
		b, err := wire.JSON.Marshal(c)
		if err != nil {
			panic(err)
		}
		req, _ := http.NewRequest("POST", url, bytes.NewReader(b))
		req.Header.Set("Content-Type", wire.MediaJSON)
		req.Header.Set("Accept", wire.MediaProtobuf)
		if token := os.Getenv("MESOS_EXECUTOR_AUTHENTICATION_TOKEN"); token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			panic(err)
		}
		if resp.StatusCode != 200 && resp.StatusCode != 202 {
			panic(resp.Status)
		}
		return resp
	}
	stream := post(&executor.Call{Type: executor.Call_SUBSCRIBE.Enum(), Subscribe: &executor.Call_Subscribe{}})
	if ct := stream.Header.Get("Content-Type"); ct != wire.MediaProtobuf {
		panic("stream of " + ct)
	}
	records := wire.NewReader(stream.Body, 0)
	for {
		b, err := records.ReadRecord()
		if err != nil {
			fmt.Println("stream ended:", err)
			return
		}
		var ev executor.Event
		if err := wire.Protobuf.Unmarshal(b, &ev); err != nil {
			panic(err)
		}
		fmt.Println(ev.GetType())
		switch ev.GetType() {
		case executor.Event_LAUNCH:
			for _, s := range []mesos.TaskState{mesos.TaskState_TASK_RUNNING, mesos.TaskState_TASK_FINISHED} {
				uuid := make([]byte, 16)
				_, _ = rand.Read(uuid)
				post(&executor.Call{Type: executor.Call_UPDATE.Enum(), Update: &executor.Call_Update{Status: &mesos.TaskStatus{
					TaskId: ev.GetLaunch().GetTask().GetTaskId(), State: s.Enum(), Uuid: uuid, Source: mesos.TaskStatus_SOURCE_EXECUTOR.Enum(),
					Data: ev.GetLaunch().GetTask().GetData(),
				}}}).Body.Close()
			}
		case executor.Event_MESSAGE:
			back := []byte{}
			for _, c := range ev.GetMessage().GetData() {
				back = append([]byte{c}, back...)
			}
			post(&executor.Call{Type: executor.Call_MESSAGE.Enum(), Message: &executor.Call_Message{Data: back}}).Body.Close()
		case executor.Event_SHUTDOWN:
			os.Exit(0)
		}
	}
}

func TestCustomExecutor(t *testing.T) {
	m, p := started(t)
	info := &mesos.ExecutorInfo{
		ExecutorId: &mesos.ExecutorID{Value: proto.String("x")}, Type: mesos.ExecutorInfo_CUSTOM.Enum(), FrameworkId: frameworkID,
		Command: &mesos.CommandInfo{Shell: proto.Bool(false), Value: proto.String(os.Args[0]), Arguments: []string{os.Args[0], "executor"}},
	}
	run := func(id string, launch bool) {
		m.send(&messages.RunTaskMessage{Framework: framework(), LaunchExecutor: proto.Bool(launch), Task: task("S0", id, "", func(t *mesos.TaskInfo) {
			t.Command, t.Executor, t.Data = nil, info, []byte("payload")
		})})
	}
	run("t0", true)
	for i := range 20 {
		id := fmt.Sprintf("t%d", i)
		if i > 0 {
			run(id, false)
		}
		seen := m.expect(id, finished)
		if len(seen) != 2 || string(seen[0].GetData()) != "payload" || seen[0].GetExecutorId().GetValue() != "x" || seen[0].GetContainerStatus() == nil {
			t.Fatalf("%s: %v", id, seen)
		}
	}
	m.send(&messages.FrameworkToExecutorMessage{SlaveId: agentID("S0"), FrameworkId: frameworkID, ExecutorId: info.ExecutorId, Data: []byte("abc")})
	if got := next(t, "message", m.data); string(got.GetData()) != "cba" {
		t.Errorf("message %q", got.GetData())
	}
	if ex := p.state().Frameworks[0].Executors[0]; len(ex.CompletedTasks) != 20 {
		t.Errorf("executor in state: %+v", ex)
	}
	m.send(&messages.ShutdownExecutorMessage{ExecutorId: info.ExecutorId, FrameworkId: frameworkID})
	if ex := next(t, "exit", m.exited); ex.GetStatus() != 0 {
		t.Errorf("exited with %d", ex.GetStatus())
	}
	p.eventually("nothing is left", func() bool { return len(p.state().Frameworks) == 0 })
}
