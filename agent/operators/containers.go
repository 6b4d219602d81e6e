package operators

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/agentapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Containers carries out calls about nested containers and connects with their input
// and output.
type Containers interface {
	// Call waits for the answer of a call; a wait lasts as long as the container.
	Call(ctx context.Context, c lifecycle.ContainerCall) (lifecycle.Answer, error)
	// Output and Input are those of container.Runtime.
	Output(ctx context.Context, id lifecycle.ContainerID, ready func(), f func(stderr bool, data []byte) error) error
	Input(ctx context.Context, id lifecycle.ContainerID, data []byte, eof bool, size *container.Terminal) error
}

// containerID gives the id that a call about a container names, nil for other calls.
func containerID(c *agentapi.Call) *mesos.ContainerID {
	switch c.GetType() {
	case agentapi.Call_LAUNCH_NESTED_CONTAINER:
		return c.GetLaunchNestedContainer().GetContainerId()
	case agentapi.Call_LAUNCH_CONTAINER:
		return c.GetLaunchContainer().GetContainerId()
	case agentapi.Call_WAIT_NESTED_CONTAINER:
		return c.GetWaitNestedContainer().GetContainerId()
	case agentapi.Call_WAIT_CONTAINER:
		return c.GetWaitContainer().GetContainerId()
	case agentapi.Call_KILL_NESTED_CONTAINER:
		return c.GetKillNestedContainer().GetContainerId()
	case agentapi.Call_KILL_CONTAINER:
		return c.GetKillContainer().GetContainerId()
	case agentapi.Call_REMOVE_NESTED_CONTAINER:
		return c.GetRemoveNestedContainer().GetContainerId()
	case agentapi.Call_REMOVE_CONTAINER:
		return c.GetRemoveContainer().GetContainerId()
	case agentapi.Call_LAUNCH_NESTED_CONTAINER_SESSION:
		return c.GetLaunchNestedContainerSession().GetContainerId()
	case agentapi.Call_ATTACH_CONTAINER_OUTPUT:
		return c.GetAttachContainerOutput().GetContainerId()
	case agentapi.Call_ATTACH_CONTAINER_INPUT:
		return c.GetAttachContainerInput().GetContainerId()
	}
	return nil
}

// aboutContainer tells whether a call is about one container.
func aboutContainer(t agentapi.Call_Type) bool {
	return strings.HasSuffix(t.String(), "_CONTAINER") || strings.Contains(t.String(), "_CONTAINER_")
}

// invalidContainer says what is wrong with the container a call names (mesos-agent.md 0.4), or "".
func invalidContainer(c *agentapi.Call) string {
	if !aboutContainer(c.GetType()) {
		return ""
	}
	field := strings.ToLower(c.GetType().String())
	id := containerID(c)
	if id == nil {
		return "Expecting '" + field + "' to be present"
	}
	depth := 0
	for x := id; x != nil; x = x.GetParent() {
		if why := unsafeID(x.GetValue()); why != "" {
			return "'" + field + ".container_id' is invalid: " + why
		}
		if depth++; depth > 32 {
			return "'" + field + ".container_id' is invalid: more than 32 levels"
		}
	}
	if strings.Contains(field, "nested") && id.GetParent() == nil {
		return "Expecting '" + field + ".container_id.parent' to be present"
	}
	return ""
}

func unsafeID(v string) string {
	switch {
	case v == "":
		return "it is empty"
	case len(v) > 242:
		return "it is longer than 242 characters"
	case strings.ContainsAny(v, "./\\ "):
		return "'" + v + "' holds '.', '/', '\\' or a space"
	case !container.ValidID(container.ID(v)):
		return "'" + v + "' holds a character that folder names must not have"
	}
	return ""
}

// containerCall answers the calls that launch, wait for, kill and remove containers
// (mesos-agent.md 3.5).
func (s *server) containerCall(c echo.Context, call *agentapi.Call) (*agentapi.Response, *refusal) {
	ev := lifecycle.ContainerCall{ID: lifecycle.PrintedID(containerID(call)), Signal: 9}
	switch call.GetType() {
	case agentapi.Call_LAUNCH_NESTED_CONTAINER:
		m := call.GetLaunchNestedContainer()
		ev.Op, ev.Command, ev.Box = lifecycle.CallLaunch, m.GetCommand(), m.GetContainer()
	case agentapi.Call_LAUNCH_CONTAINER:
		m := call.GetLaunchContainer()
		ev.Op, ev.Command, ev.Box, ev.Resources, ev.Limits = lifecycle.CallLaunch, m.GetCommand(), m.GetContainer(), m.GetResources(), m.GetLimits()
	case agentapi.Call_WAIT_NESTED_CONTAINER, agentapi.Call_WAIT_CONTAINER:
		ev.Op = lifecycle.CallWait
	case agentapi.Call_KILL_NESTED_CONTAINER:
		ev.Op = lifecycle.CallKill
		if m := call.GetKillNestedContainer(); m.Signal != nil {
			ev.Signal = int(m.GetSignal())
		}
	case agentapi.Call_KILL_CONTAINER:
		ev.Op = lifecycle.CallKill
		if m := call.GetKillContainer(); m.Signal != nil {
			ev.Signal = int(m.GetSignal())
		}
	default:
		ev.Op = lifecycle.CallRemove
	}
	if ev.Signal < 1 || ev.Signal > 64 {
		return nil, &refusal{400, "'signal' is no signal"}
	}
	a, err := s.Containers.Call(c.Request().Context(), ev)
	switch {
	case err != nil:
		return nil, &refusal{503, "The agent is stopping"}
	case a.Code == http.StatusAccepted:
		return nil, &refusal{http.StatusAccepted, ""}
	case a.Code != http.StatusOK:
		return nil, &refusal{a.Code, a.Text}
	case ev.Op != lifecycle.CallWait:
		return nil, nil
	}
	kind := agentapi.Response_Type(agentapi.Response_Type_value[call.GetType().String()])
	out := &agentapi.Response{Type: &kind}
	w := &agentapi.Response_WaitContainer{}
	if a.Exit != nil && a.Exit.Known {
		w.ExitStatus = proto.Int32(a.Exit.WaitStatus())
	}
	if l := a.Limitation; l != nil {
		w.State, w.Reason, w.Message = mesos.TaskState_TASK_FAILED.Enum(), l.Reason.Enum(), proto.String(l.Message)
		w.Limitation = &mesos.TaskResourceLimitation{Resources: l.Resources}
	}
	out.WaitContainer = w
	if call.GetType() == agentapi.Call_WAIT_NESTED_CONTAINER {
		out.WaitContainer = nil
		out.WaitNestedContainer = &agentapi.Response_WaitNestedContainer{ExitStatus: w.ExitStatus, State: w.State, Reason: w.Reason,
			Message: w.Message, Limitation: w.Limitation}
	}
	return out, nil
}

// output is how an output stream is written: frames of inner, announced as media.
type output struct {
	inner wire.Codec
	media string // Content-Type
	named bool   // inner is told in Message-Content-Type
	// patience bounds one write; 0: the client may stop reading, and its program waits.
	patience time.Duration
}

// readerPatience is for readers of a task that goes on without them.
const readerPatience = time.Minute

// session launches a debugging session and streams what it says. It ends with its
// stream, whichever side ends that (mesos-agent.md 3.7).
func (s *server) session(c echo.Context, call *agentapi.Call, o output) *refusal {
	m := call.GetLaunchNestedContainerSession()
	id := lifecycle.PrintedID(m.GetContainerId())
	ctx := c.Request().Context()
	a, err := s.Containers.Call(ctx, lifecycle.ContainerCall{Op: lifecycle.CallLaunch, ID: id, Command: m.GetCommand(), Box: m.GetContainer(), Session: true})
	switch {
	case err != nil:
		return &refusal{503, "The agent is stopping"}
	case a.Code != http.StatusOK:
		return &refusal{a.Code, a.Text}
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		// Unless it has ended by itself, which is no error.
		_, _ = s.Containers.Call(end, lifecycle.ContainerCall{Op: lifecycle.CallDestroy, ID: id, Signal: 9})
	}()
	return s.stream(c, id, o)
}

// stream is ATTACH_CONTAINER_OUTPUT (mesos-agent.md 3.6).
func (s *server) stream(c echo.Context, id lifecycle.ContainerID, o output) *refusal {
	w := c.Response()
	records := wire.NewWriter(w)
	control := http.NewResponseController(w)
	// The connection may serve other requests after a clean end.
	defer func() { _ = control.SetWriteDeadline(time.Time{}) }()
	var mu sync.Mutex // guards writes: output and heartbeats take turns
	begun := false
	send := func(io *agentapi.ProcessIO) error {
		b, err := o.inner.Marshal(io)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		if o.patience > 0 {
			_ = control.SetWriteDeadline(time.Now().Add(o.patience))
		}
		if err := records.WriteRecord(b); err != nil {
			return err
		}
		w.Flush()
		return nil
	}
	ctx, cancel := context.WithCancel(c.Request().Context())
	var beats sync.WaitGroup
	ready := func() {
		begun = true
		w.Header().Set("Content-Type", o.media)
		if o.named {
			w.Header().Set("Message-Content-Type", o.inner.MediaType)
		}
		w.WriteHeader(http.StatusOK)
		w.Flush()
		beats.Go(func() {
			tick := time.NewTicker(s.Heartbeat)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
					if send(&agentapi.ProcessIO{Type: agentapi.ProcessIO_CONTROL.Enum(), Control: &agentapi.ProcessIO_Control{
						Type:      agentapi.ProcessIO_Control_HEARTBEAT.Enum(),
						Heartbeat: &agentapi.ProcessIO_Control_Heartbeat{Interval: &mesos.DurationInfo{Nanoseconds: proto.Int64(int64(s.Heartbeat))}},
					}}) != nil {
						cancel()
						return
					}
				}
			}
		})
	}
	err := s.Containers.Output(ctx, id, ready, func(stderr bool, data []byte) error {
		kind := agentapi.ProcessIO_Data_STDOUT
		if stderr {
			kind = agentapi.ProcessIO_Data_STDERR
		}
		return send(&agentapi.ProcessIO{Type: agentapi.ProcessIO_DATA.Enum(), Data: &agentapi.ProcessIO_Data{Type: &kind, Data: data}})
	})
	cancel()
	beats.Wait()
	switch {
	case !begun:
		return attachRefusal(id, err)
	case err != nil && c.Request().Context().Err() == nil:
		s.log.Info("an output stream is cut off", "container", string(id), "err", err)
		panic(http.ErrAbortHandler) // an orderly end would say that the output has ended
	}
	return nil
}

// attachRefusal says why nobody can attach to a container.
func attachRefusal(id lifecycle.ContainerID, err error) *refusal {
	switch fault.KindOf(err) {
	case fault.Unsupported: // the client of Mesos compares this text
		return &refusal{500, "I/O switchboard server was disabled for this container"}
	case fault.NotFound:
		return &refusal{404, "Container " + string(id) + " cannot be found"}
	case fault.Invalid:
		var f *fault.Error
		if errors.As(err, &f) && f.Err != nil {
			return &refusal{400, f.Err.Error()}
		}
		return &refusal{400, "Unable to set the window size"}
	}
	return &refusal{500, "Failed to attach to container " + string(id)}
}

// afterEnd is how long input is taken from a client after its container has ended.
const afterEnd = time.Second

// endOf waits for the end of a container: a little later nothing more is read from the
// client, who may have nothing to say and waits for its answer (mesos-agent.md 3.6). stop
// ends the waiting.
func (s *server) endOf(c echo.Context, id lifecycle.ContainerID) (ended *atomic.Bool, stop func()) {
	ended = &atomic.Bool{}
	ctx, cancel := context.WithCancel(c.Request().Context())
	var waiting sync.WaitGroup
	waiting.Go(func() {
		if _, err := s.Containers.Call(ctx, lifecycle.ContainerCall{Op: lifecycle.CallWait, ID: id}); err != nil {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(afterEnd):
			ended.Store(true)
			_ = http.NewResponseController(c.Response()).SetReadDeadline(time.Now()) // the reader below wakes up
		}
	})
	return ended, func() { cancel(); waiting.Wait() }
}

// input is ATTACH_CONTAINER_INPUT: records follow the first one until the client, or the
// container, ends (mesos-agent.md 3.6).
func (s *server) input(c echo.Context, id lifecycle.ContainerID, codec wire.Codec, records *wire.Reader) *refusal {
	ctx := c.Request().Context()
	s.inputs.Lock()
	taken := s.attached[id]
	if !taken {
		s.attached[id] = true
	}
	s.inputs.Unlock()
	if taken {
		return &refusal{409, "Multiple input connections are not allowed"}
	}
	defer func() {
		s.inputs.Lock()
		delete(s.attached, id)
		s.inputs.Unlock()
	}()
	// Nothing is written yet: this only asks whether the container can be attached to.
	if err := s.Containers.Input(ctx, id, nil, false, nil); err != nil {
		return attachRefusal(id, err)
	}
	ended, stop := s.endOf(c, id)
	defer stop()
	for {
		b, err := records.ReadRecord()
		switch {
		case errors.Is(err, io.EOF), err != nil && ended.Load():
			return nil
		case err != nil:
			return &refusal{400, "Failed to read a record of the input: " + err.Error()}
		}
		call := &agentapi.Call{}
		if why := wire.DecodeCall(codec, b, call); why != "" {
			return &refusal{400, why}
		}
		p := call.GetAttachContainerInput().GetProcessIo()
		if call.GetType() != agentapi.Call_ATTACH_CONTAINER_INPUT || p == nil {
			return &refusal{400, "Expecting records of type PROCESS_IO after the first one"}
		}
		switch {
		case p.GetType() == agentapi.ProcessIO_DATA && p.GetData().GetType() == agentapi.ProcessIO_Data_STDIN:
			data := p.GetData().GetData()
			err = s.Containers.Input(ctx, id, data, len(data) == 0, nil)
		case p.GetType() == agentapi.ProcessIO_DATA:
			return &refusal{400, "Expecting 'process_io.data.type' to be STDIN"}
		case p.GetControl().GetType() == agentapi.ProcessIO_Control_TTY_INFO:
			size := p.GetControl().GetTtyInfo().GetWindowSize()
			if size == nil {
				return &refusal{400, "Unable to set the window size: expecting 'tty_info.window_size' to be present"}
			}
			err = s.Containers.Input(ctx, id, nil, false, &container.Terminal{Rows: uint16(min(size.GetRows(), 65535)), Columns: uint16(min(size.GetColumns(), 65535))})
		}
		if fault.KindOf(err) == fault.NotFound {
			return nil // it has ended: nobody reads any more
		}
		if err != nil {
			return attachRefusal(id, err)
		}
	}
}
