package agent_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	mesosgo "github.com/mesos/mesos-go/api/v1/lib"
	goagent "github.com/mesos/mesos-go/api/v1/lib/agent"
	"github.com/mesos/mesos-go/api/v1/lib/agent/calls"
	"github.com/mesos/mesos-go/api/v1/lib/encoding/codecs"
	"github.com/mesos/mesos-go/api/v1/lib/httpcli"
	"github.com/mesos/mesos-go/api/v1/lib/httpcli/httpagent"

	"github.com/stoa-project/stoa/internal/lab/patience"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// mesos-agent.md 3.7: a task with a terminal is attached to as mesos-go's msh does it:
// output and input over the same container, in protobuf, until the program ends.
func TestTerminalOfTaskWithMesosGo(t *testing.T) {
	m, p := started(t)
	m.run(task("S0", "shell", "read line; stty size; echo got $line", func(t *mesos.TaskInfo) {
		t.Container = &mesos.ContainerInfo{Type: mesos.ContainerInfo_MESOS.Enum(), TtyInfo: &mesos.TTYInfo{}}
	}))
	seen := m.expect("shell", running)
	id := mesosgo.ContainerID{Value: seen[len(seen)-1].GetContainerStatus().GetContainerId().GetValue()}
	ctx, cancel := context.WithTimeout(context.Background(), patience.For(20*time.Second))
	defer cancel()
	cli := httpcli.New(httpcli.Endpoint(p.url("/api/v1")), httpcli.Codec(codecs.ByMediaType[codecs.MediaTypeProtobuf]), httpcli.Do(httpcli.With()))
	sender := httpagent.NewSender(cli.Send)
	out, err := sender.Send(ctx, calls.NonStreaming(calls.AttachContainerOutput(id)))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	in := make(chan *goagent.Call, 3)
	in <- calls.AttachContainerInput(id)
	in <- calls.AttachContainerInputTTY(&mesosgo.TTYInfo{WindowSize: &mesosgo.TTYInfo_WindowSize{Rows: 33, Columns: 77}})
	in <- calls.AttachContainerInputData([]byte("hello\n"))
	done := make(chan error, 1)
	go func() {
		resp, err := sender.Send(ctx, calls.FromChan(in))
		if resp != nil {
			resp.Close()
		}
		done <- err
	}()
	var text string
	for {
		var io1 goagent.ProcessIO
		if err := out.Decode(&io1); err != nil {
			if !errors.Is(err, io.EOF) {
				t.Errorf("output: %v", err)
			}
			break
		}
		text += string(io1.GetData().GetData())
	}
	close(in)
	if err := <-done; err != nil {
		t.Errorf("input: %v", err)
	}
	if text != "hello\r\n33 77\r\ngot hello\r\n" {
		t.Errorf("the terminal says %q", text)
	}
	end := m.expect("shell", finished)
	if msg := end[len(end)-1].GetMessage(); msg != "Command exited with status 0" {
		t.Error(msg)
	}
}
