package executors

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/executor"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// recorded gives the events of a recorded stream, as bytes and decoded.
func recorded(t *testing.T, name string) (records [][]byte, events []*executor.Event, codec wire.Codec) {
	t.Helper()
	codec = wire.JSON
	if strings.HasPrefix(name, "pb") {
		codec = wire.Protobuf
	}
	b, err := os.ReadFile(filepath.Join("testdata", "executor", name+"-stream.recordio"))
	if err != nil {
		t.Fatal(err)
	}
	r := wire.NewReader(bytes.NewReader(b), 0)
	for {
		rec, err := r.ReadRecord()
		if err == io.EOF {
			return records, events, codec
		}
		if err != nil {
			t.Fatal(err)
		}
		rec = bytes.Clone(rec)
		ev := &executor.Event{}
		if err := codec.Unmarshal(rec, ev); err != nil {
			t.Fatalf("record %d: %v", len(records), err)
		}
		records, events = append(records, rec), append(events, ev)
	}
}

// What a real agent said to an executor comes out of core and codec, in JSON byte by byte
// (protobuf leaves the order of fields to the writer), when they get what the real one got: SUBSCRIBED, two LAUNCH, three ACKNOWLEDGED, MESSAGE, SHUTDOWN.
func TestStreamAsRecorded(t *testing.T) {
	for _, name := range []string{"json", "json-none", "json-multi-role-only", "pb", "pb-none"} {
		t.Run(name, func(t *testing.T) {
			records, events, codec := recorded(t, name)
			sub := events[0].GetSubscribed()
			key := lifecycle.ExecutorKey{Framework: lifecycle.FrameworkID(sub.GetFrameworkInfo().GetId().GetValue()), Executor: lifecycle.ExecutorID(sub.GetExecutorInfo().GetExecutorId().GetValue())}
			core := lifecycle.New(lifecycle.Config{Info: sub.GetAgentInfo(), WorkDir: "/w", IP: "127.0.0.1", RegisterTimeout: time.Minute,
				NewID: func() [16]byte { return [16]byte{1} }})
			now := time.Unix(1, 0)
			var got [][]byte
			var container string
			var step func(ev lifecycle.Event)
			step = func(ev lifecycle.Event) {
				for _, ef := range core.Step(now, ev).Effects {
					switch ef := ef.(type) {
					case lifecycle.ToExecutor:
						b, err := codec.Marshal(ef.Event)
						if err != nil {
							t.Fatal(err)
						}
						got = append(got, bytes.ReplaceAll(b, []byte(container), []byte(sub.GetContainerId().GetValue())))
					case lifecycle.Launch:
						container = string(ef.Container)
					case lifecycle.Resize:
						defer step(lifecycle.Resized{Container: ef.Container})
					}
				}
			}
			step(lifecycle.Registered{Agent: sub.GetAgentInfo().GetId().GetValue()})
			update := 0
			states := []mesos.TaskState{mesos.TaskState_TASK_RUNNING, mesos.TaskState_TASK_FINISHED, mesos.TaskState_TASK_RUNNING}
			subscribed := false
			for i, ev := range events {
				switch ev.GetType() {
				case executor.Event_LAUNCH:
					step(lifecycle.RunTask{Framework: sub.GetFrameworkInfo(), Task: proto.CloneOf(ev.GetLaunch().GetTask())})
					if i+1 < len(events) && events[i+1].GetType() != executor.Event_LAUNCH && !subscribed {
						step(lifecycle.Started{Container: lifecycle.ContainerID(container), PID: 7})
						step(lifecycle.ExecutorSubscribed{Key: key})
						subscribed = true
					}
				case executor.Event_ACKNOWLEDGED:
					step(lifecycle.ExecutorUpdate{Key: key, Status: &mesos.TaskStatus{TaskId: ev.GetAcknowledged().GetTaskId(),
						State: states[update].Enum(), Uuid: ev.GetAcknowledged().GetUuid(), Source: mesos.TaskStatus_SOURCE_EXECUTOR.Enum()}})
					update++
				case executor.Event_MESSAGE:
					step(lifecycle.FrameworkMessage{Key: key, Data: ev.GetMessage().GetData()})
				case executor.Event_SHUTDOWN:
					step(lifecycle.ShutdownExecutor{Key: key})
				}
			}
			if len(got) != len(records) {
				t.Fatalf("%d events, recorded %d", len(got), len(records))
			}
			for i := range records {
				same := bytes.Equal(got[i], records[i])
				if codec.MediaType == wire.MediaProtobuf {
					mine := &executor.Event{}
					if err := codec.Unmarshal(got[i], mine); err != nil {
						t.Fatal(err)
					}
					if sub := events[i].GetSubscribed(); sub != nil { // the v0 field goes along there, unknown to v1
						sub.AgentInfo.Checkpoint = nil
					}
					same = proto.Equal(mine, events[i])
				}
				if !same {
					t.Errorf("event %d %s:\n got %q\nwant %q", i, events[i].GetType(), got[i], records[i])
				}
			}
		})
	}
}

// The calls that the recorded executor made get the recorded answers, and the stream the
// recorded head.
func TestCallsAsRecorded(t *testing.T) {
	for _, name := range []string{"json", "pb"} {
		_, events, _ := recorded(t, name)
		sub := events[0].GetSubscribed()
		f := &fake{phase: Ready, subscribed: true, events: make(chan lifecycle.Event, 100), framework: sub.GetFrameworkInfo().GetId().GetValue(), executor: "custom"}
		srv := httptest.NewServer(New(f, slog.New(slog.DiscardHandler)))
		t.Cleanup(srv.Close)
		file, err := os.Open(filepath.Join("testdata", "executor", name+"-calls.txt"))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		calls := 0
		lines := bufio.NewScanner(file)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if !strings.HasPrefix(lines.Text(), "{") {
				continue
			}
			call := lines.Bytes()
			if !json.Valid(call) {
				t.Fatalf("no JSON: %s", call)
			}
			resp, err := http.Post(srv.URL, "application/json", bytes.NewReader(call))
			if err != nil {
				t.Fatal(err)
			}
			b, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode != 202 || len(b) != 0 || resp.Header["Content-Type"] != nil {
				t.Errorf("%d %q %v for %s", resp.StatusCode, b, resp.Header, call)
			}
			calls++
		}
		if calls < 5 {
			t.Errorf("%d calls", calls)
		}
		accept := map[string]string{"json": wire.MediaJSON, "pb": wire.MediaProtobuf}[name]
		req, _ := http.NewRequest("POST", srv.URL, strings.NewReader(`{"type":"SUBSCRIBE","subscribe":{},"executor_id":{"value":"custom"},"framework_id":{"value":"`+f.framework+`"}}`))
		req.Header.Set("Content-Type", wire.MediaJSON)
		req.Header.Set("Accept", accept)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		head, err := os.ReadFile(filepath.Join("testdata", "executor", name+"-head.txt"))
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != 200 || !strings.Contains(string(head), "Content-Type: "+resp.Header.Get("Content-Type")+"\n") || len(resp.TransferEncoding) != 1 || len(resp.Header) != 2 {
			t.Errorf("head %d %v %v, recorded %s", resp.StatusCode, resp.Header, resp.TransferEncoding, head)
		}
	}
}
