package operators

import (
	"context"
	"errors"
	"io"
	"net/http"
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
