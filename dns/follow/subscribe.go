package follow

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/stoa-project/stoa/dns/names"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
)

const (
	missedHeartbeats = 5 // of silence, then the stream counts as dead
	defaultHeartbeat = 15 * time.Second
	maxEvent         = 512 << 20 // octets of one event; the first holds the whole state
)

// subscribe follows the event stream until it ends, which is always an error.
func (s *source) subscribe(ctx context.Context) error {
	call, err := wire.Protobuf.Marshal(&masterapi.Call{Type: masterapi.Call_SUBSCRIBE.Enum()})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	resp, err := s.f.http.do(ctx, http.MethodPost, s.leader, "/api/v1", bytes.NewReader(call), map[string]string{
		"Content-Type": wire.MediaProtobuf, "Accept": wire.MediaProtobuf,
	})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed,
		http.StatusNotAcceptable, http.StatusUnsupportedMediaType, http.StatusNotImplemented:
		return fmt.Errorf("%w: %w", errNotOffered, statusError(resp))
	default:
		return statusError(resp)
	}
	codec, ok := wire.CodecFor(resp.Header.Get("Content-Type"))
	if !ok {
		return fmt.Errorf("%w: Content-Type %q", errNotOffered, resp.Header.Get("Content-Type"))
	}
	s.f.cfg.Notify(EventConnected)
	if err := s.answered(ctx, Subscribe, resp); err != nil {
		return err
	}

	silence := missedHeartbeats * defaultHeartbeat
	alarm := time.AfterFunc(silence, func() { cancel(errors.New("the stream fell silent")) })
	defer alarm.Stop()
	body := bufio.NewReader(resp.Body)
	records := wire.NewReader(body, maxEvent)
	for {
		record, err := records.ReadRecord()
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return fmt.Errorf("event stream: %w", err)
		}
		e, tasks := &masterapi.Event{}, []names.Task(nil)
		if len(record) >= largeEvent && codec.MediaType == wire.MediaProtobuf {
			e, tasks, err = readLarge(record)
		} else {
			err = codec.Unmarshal(record, e)
		}
		if err != nil {
			return err
		}
		if e.GetType() == masterapi.Event_SUBSCRIBED {
			if beat := e.GetSubscribed().GetHeartbeatIntervalSeconds(); beat > 0 && beat < 3600 {
				silence = missedHeartbeats * time.Duration(beat*float64(time.Second))
			}
		}
		alarm.Reset(silence)
		s.f.hear()
		if err := s.event(ctx, e, tasks...); err != nil {
			return err
		}
		if len(record) >= largeEvent {
			records = wire.NewReader(body, maxEvent) // without the memory of this one
		}
	}
}

// event turns one event into a change of the view; kinds that names do not depend on are
// passed over. A list of the whole cluster may have some of its tasks apart.
func (s *source) event(ctx context.Context, e *masterapi.Event, tasks ...names.Task) error {
	s.f.cfg.Notify(EventReceived)
	var apply func(*names.State, time.Time)
	switch e.GetType() {
	case masterapi.Event_SUBSCRIBED:
		state := e.GetSubscribed().GetGetState()
		if state == nil {
			return fault.New("dns.follow", fault.Malformed, "SUBSCRIBED", errors.New("get_state is missing"))
		}
		s.f.cfg.Notify(EventListed)
		snap := snapshotOf(state)
		snap.Tasks = append(snap.Tasks, tasks...)
		return s.sendList(ctx, Subscribe, snap)
	case masterapi.Event_TASK_ADDED:
		t := taskOf(e.GetTaskAdded().GetTask())
		apply = func(v *names.State, _ time.Time) { v.PutTask(t) }
	case masterapi.Event_TASK_UPDATED:
		u := updateOf(e.GetTaskUpdated())
		apply = func(v *names.State, _ time.Time) { v.UpdateTask(u) }
	case masterapi.Event_AGENT_ADDED:
		a := agentOf(e.GetAgentAdded().GetAgent())
		apply = func(v *names.State, _ time.Time) { v.PutAgent(a) }
	case masterapi.Event_AGENT_REMOVED:
		id := names.AgentID(e.GetAgentRemoved().GetAgentId().GetValue())
		apply = func(v *names.State, _ time.Time) { v.RemoveAgent(id) }
	case masterapi.Event_FRAMEWORK_ADDED:
		fw := frameworkOf(e.GetFrameworkAdded().GetFramework().GetFrameworkInfo())
		apply = func(v *names.State, _ time.Time) { v.PutFramework(fw) }
	case masterapi.Event_FRAMEWORK_UPDATED:
		fw := frameworkOf(e.GetFrameworkUpdated().GetFramework().GetFrameworkInfo())
		apply = func(v *names.State, _ time.Time) { v.PutFramework(fw) }
	case masterapi.Event_FRAMEWORK_REMOVED:
		id := names.FrameworkID(e.GetFrameworkRemoved().GetFrameworkInfo().GetId().GetValue())
		apply = func(v *names.State, _ time.Time) { v.RemoveFramework(id) }
	default:
		return nil
	}
	return s.send(ctx, Subscribe, apply)
}
