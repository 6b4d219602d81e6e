package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
)

// miniScheduler is a framework that launches its tasks, ten on each offer, acknowledges
// what it hears, and subscribes again with a new leader.
type miniScheduler struct {
	name string
	want int // tasks

	id      *mesos.FrameworkID
	body    io.Closer
	calls   *pipeline
	events  *wire.Reader
	running map[string]bool
	asked   int // tasks launched
}

const protobufType = "application/x-protobuf"

// subscribe opens the stream and the connection for calls.
func (s *miniScheduler) subscribe(ctx context.Context, at string) error {
	info := &mesos.FrameworkInfo{User: proto.String("root"), Name: proto.String(s.name), Checkpoint: proto.Bool(true),
		FailoverTimeout: proto.Float64(3600), Id: s.id}
	body, err := proto.Marshal(&scheduler.Call{Type: scheduler.Call_SUBSCRIBE.Enum(), FrameworkId: s.id,
		Subscribe: &scheduler.Call_Subscribe{FrameworkInfo: info}})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+at+"/api/v1/scheduler", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", protobufType)
	req.Header.Set("Accept", protobufType)
	client := &http.Client{Transport: &http.Transport{DisableCompression: true}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return errors.New(resp.Status)
	}
	s.body, s.events = resp.Body, wire.NewReader(bufio.NewReaderSize(resp.Body, 256<<10), 0)
	e, err := s.next()
	if err != nil {
		return err
	}
	s.id = e.GetSubscribed().GetFrameworkId()
	if s.id == nil {
		return fmt.Errorf("not subscribed: %v", e)
	}
	s.calls, err = dialPipeline(at, resp.Header.Get("Mesos-Stream-Id"))
	return err
}

func (s *miniScheduler) next() (*scheduler.Event, error) {
	b, err := s.events.ReadRecord()
	if err != nil {
		return nil, err
	}
	e := &scheduler.Event{}
	return e, proto.Unmarshal(b, e)
}

// awaitRunning launches until all tasks run and their updates are acknowledged.
func (s *miniScheduler) awaitRunning(ctx context.Context) error {
	if s.running == nil {
		s.running = map[string]bool{}
	}
	for len(s.running) < s.want {
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %d of %d tasks run: %w", s.name, len(s.running), s.want, ctx.Err())
		}
		e, err := s.next()
		if err != nil {
			return err
		}
		switch e.GetType() {
		case scheduler.Event_OFFERS:
			for _, o := range e.GetOffers().GetOffers() {
				if err := s.offered(o); err != nil {
					return err
				}
			}
		case scheduler.Event_UPDATE:
			st := e.GetUpdate().GetStatus()
			if len(st.GetUuid()) > 0 {
				if err := s.call(&scheduler.Call{Type: scheduler.Call_ACKNOWLEDGE.Enum(), Acknowledge: &scheduler.Call_Acknowledge{
					AgentId: st.AgentId, TaskId: st.TaskId, Uuid: st.Uuid}}); err != nil {
					return err
				}
			}
			if st.GetState() == mesos.TaskState_TASK_RUNNING {
				s.running[st.GetTaskId().GetValue()] = true
			}
		}
	}
	return nil
}

// offered uses an offer, or gives it to others.
func (s *miniScheduler) offered(o *mesos.Offer) error {
	n := min(tasksPerAgent, s.want-s.asked)
	if n == 0 {
		year := 365 * 86400.0
		return s.call(&scheduler.Call{Type: scheduler.Call_DECLINE.Enum(), Decline: &scheduler.Call_Decline{
			OfferIds: []*mesos.OfferID{o.Id}, Filters: &mesos.Filters{RefuseSeconds: &year}}})
	}
	launch := &mesos.Offer_Operation_Launch{}
	for range n {
		launch.TaskInfos = append(launch.TaskInfos, sampleTask(fmt.Sprintf("%s-%d", s.name, s.asked), o.AgentId))
		s.asked++
	}
	year := 365 * 86400.0
	return s.call(&scheduler.Call{Type: scheduler.Call_ACCEPT.Enum(), Accept: &scheduler.Call_Accept{OfferIds: []*mesos.OfferID{o.Id},
		Filters:    &mesos.Filters{RefuseSeconds: &year},
		Operations: []*mesos.Offer_Operation{{Type: mesos.Offer_Operation_LAUNCH.Enum(), Launch: launch}}}})
}

// again subscribes with a new leader, as often as it takes, and gives the time of the
// first offers. A lost task is an error.
func (s *miniScheduler) again(ctx context.Context, at string) (time.Time, error) {
	for {
		err := s.subscribe(ctx, at)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return time.Time{}, err
		}
		time.Sleep(5 * time.Millisecond)
	}
	for {
		e, err := s.next()
		if err != nil {
			return time.Time{}, err
		}
		switch e.GetType() {
		case scheduler.Event_OFFERS:
			return time.Now(), nil
		case scheduler.Event_UPDATE:
			if st := e.GetUpdate().GetStatus(); st.GetState() != mesos.TaskState_TASK_RUNNING {
				return time.Time{}, fmt.Errorf("task %s is %s", st.GetTaskId().GetValue(), st.GetState())
			}
		}
	}
}

func (s *miniScheduler) call(c *scheduler.Call) error {
	c.FrameworkId = s.id
	return s.calls.send(c)
}

func (s *miniScheduler) close() {
	if s.body != nil {
		s.body.Close()
	}
	if s.calls != nil {
		s.calls.nc.Close()
	}
}

// pipeline sends calls on one connection without waiting for their answers.
type pipeline struct {
	nc   net.Conn
	head string
	mu   sync.Mutex // guards w
	w    *bufio.Writer
}

func dialPipeline(at, stream string) (*pipeline, error) {
	nc, err := net.Dial("tcp", at)
	if err != nil {
		return nil, err
	}
	go func() { _, _ = io.Copy(io.Discard, nc) }()
	return &pipeline{nc: nc, w: bufio.NewWriterSize(nc, 64<<10), head: fmt.Sprintf(
		"POST /api/v1/scheduler HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nAccept: %s\r\nMesos-Stream-Id: %s\r\nContent-Length: ", at, protobufType, protobufType, stream)}, nil
}

func (p *pipeline) send(c *scheduler.Call) error {
	body, err := proto.Marshal(c)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = fmt.Fprintf(p.w, "%s%d\r\n\r\n", p.head, len(body))
	_, _ = p.w.Write(body)
	return p.w.Flush()
}

func sampleTask(id string, on *mesos.AgentID) *mesos.TaskInfo {
	t := &mesos.TaskInfo{Name: proto.String("bench"), TaskId: &mesos.TaskID{Value: &id}, AgentId: on,
		Command: &mesos.CommandInfo{Value: proto.String("exec sleep 1000000")}}
	for _, r := range []struct {
		name  string
		value float64
	}{{"cpus", 0.1}, {"mem", 32}} {
		t.Resources = append(t.Resources, &mesos.Resource{Name: proto.String(r.name), Type: mesos.Value_SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: proto.Float64(r.value)}})
	}
	return t
}

// sampleReregistration is what one agent of the row says of itself.
func sampleReregistration() *messages.ReregisterSlaveMessage {
	id := &mesos.AgentID{Value: proto.String("d7c04596-ea68-43d8-9ff4-459ba365e659-S1234")}
	framework := &mesos.FrameworkID{Value: proto.String("d7c04596-ea68-43d8-9ff4-459ba365e659-0001")}
	m := &messages.ReregisterSlaveMessage{Slave: &messages.SlaveInfo{Id: id, Hostname: proto.String("sim-1234"), Port: proto.Int32(5051)},
		Version: proto.String("1.11.0"), Frameworks: []*mesos.FrameworkInfo{{User: proto.String("root"), Name: proto.String("bench"), Id: framework}}}
	for i := range tasksPerAgent {
		info := sampleTask(fmt.Sprintf("bench-1-%d", i), id)
		state := mesos.TaskState_TASK_RUNNING
		m.Tasks = append(m.Tasks, &mesos.Task{Name: info.Name, TaskId: info.TaskId, FrameworkId: framework, AgentId: id, State: &state,
			Resources: info.Resources, Statuses: []*mesos.TaskStatus{{TaskId: info.TaskId, State: &state, AgentId: id, Uuid: make([]byte, 16)}}})
	}
	return m
}
