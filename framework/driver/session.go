package driver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/encoding/codecs"
	"github.com/mesos/mesos-go/api/v1/lib/httpcli"
	"github.com/mesos/mesos-go/api/v1/lib/httpcli/httpsched"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler/calls"

	"github.com/stoa-project/stoa/framework/core"
	"github.com/stoa-project/stoa/framework/match"
)

// session is one subscription with one master. It ends with the first error of its
// stream or of any call: what the master then knows is found out by reconciliation.
type session struct {
	d           *Driver
	addr        string
	frameworkID string // as known before, then as the master gave it
	caller      calls.Caller
	transport   *http.Transport

	mu      sync.Mutex // guards waiting
	waiting []core.Effect
	wake    chan struct{} // one token when waiting is not empty
}

func newSession(d *Driver, addr, frameworkID string) *session {
	transport := &http.Transport{
		DialContext:           (&net.Dialer{Timeout: d.cfg.CallTimeout, KeepAlive: 30 * time.Second}).DialContext,
		ResponseHeaderTimeout: d.cfg.CallTimeout,
		MaxIdleConnsPerHost:   2,
		IdleConnTimeout:       time.Minute,
	}
	if d.cfg.TLS != nil {
		transport = d.cfg.TLS.Transport(transport)
	}
	options := []httpcli.ConfigOpt{httpcli.RoundTripper(transport)}
	if c := d.cfg.Credential; c.Principal != "" {
		options = append(options, httpcli.BasicAuth(c.Principal, c.Secret))
	}
	client := httpcli.New(
		httpcli.Endpoint(d.cfg.TLS.Scheme()+"://"+addr+"/api/v1/scheduler"),
		httpcli.Codec(codecs.ByMediaType[codecs.MediaTypeProtobuf]),
		httpcli.Do(httpcli.With(options...)),
	)
	return &session{
		d: d, addr: addr, frameworkID: frameworkID, wake: make(chan struct{}, 1), transport: transport,
		caller: httpsched.NewCaller(client,
			httpsched.MaxRedirects(0),
			httpsched.EndpointCandidates(func() string { return "" })),
	}
}

// queue adds an effect to what is sent.
func (s *session) queue(e core.Effect) {
	s.mu.Lock()
	s.waiting = append(s.waiting, e)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run subscribes, reads the stream and sends calls until something fails or ctx ends.
func (s *session) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer s.transport.CloseIdleConnections()
	s.d.mu.Lock()
	roles := s.d.roles.Roles
	s.d.mu.Unlock()
	subscribe := calls.Subscribe(s.d.framework(s.frameworkID, roles))
	// The stream lives as long as this context, the wait for its beginning does not.
	streamCtx, hangUp := context.WithCancel(ctx)
	defer hangUp()
	late := time.AfterFunc(s.d.cfg.CallTimeout, hangUp)
	resp, err := s.caller.Call(streamCtx, subscribe)
	if resp != nil {
		defer resp.Close()
	}
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	var first scheduler.Event
	if err := resp.Decode(&first); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	if !late.Stop() {
		return errors.New("subscribe: no answer in time")
	}
	if err := s.begin(&first); err != nil {
		return err
	}
	s.d.mu.Lock()
	s.d.live = s
	if !slices.Equal(roles, s.d.roles.Roles) { // they changed meanwhile
		s.queue(core.Roles{Roles: s.d.roles.Roles})
	}
	s.d.mu.Unlock()
	defer func() {
		s.d.mu.Lock()
		s.d.live = nil
		s.d.mu.Unlock()
		s.d.deliver(core.Disconnected{})
	}()
	s.d.log.Info("subscribed", "master", s.addr, "framework", s.frameworkID)
	s.d.deliver(core.Subscribed{FrameworkID: s.frameworkID, Master: s.addr, HomeRegion: homeRegion(&first)})

	var work sync.WaitGroup
	work.Go(func() {
		if err := s.send(ctx); err != nil {
			cancel(err)
			hangUp()
		}
	})
	defer work.Wait()
	defer cancel(nil)

	silence := cmp.Or(s.d.cfg.Heartbeat, 15*time.Second)
	if h := first.Subscribed.HeartbeatIntervalSeconds; h != nil && *h > 0 {
		silence = time.Duration(*h * float64(time.Second))
	}
	silence *= time.Duration(s.d.cfg.MissedHeartbeats)
	watchdog := time.AfterFunc(silence, func() {
		cancel(fmt.Errorf("no event for %s", silence))
		hangUp()
	})
	defer watchdog.Stop()
	for {
		var e scheduler.Event
		if err := resp.Decode(&e); err != nil {
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			if errors.Is(err, io.EOF) {
				return errors.New("the master closed the stream")
			}
			return err
		}
		watchdog.Reset(silence)
		if err := s.take(&e); err != nil {
			return err
		}
	}
}

// begin reads the answer to SUBSCRIBE.
func (s *session) begin(e *scheduler.Event) error {
	if e.Type == scheduler.Event_ERROR {
		return errorEvent(e)
	}
	if e.Type != scheduler.Event_SUBSCRIBED || e.Subscribed == nil || e.Subscribed.FrameworkID == nil {
		return fmt.Errorf("subscribe: the first event is %s", e.Type)
	}
	s.frameworkID = e.Subscribed.FrameworkID.Value
	return nil
}

// homeRegion is where the master says it is, "" when it does not.
func homeRegion(e *scheduler.Event) string {
	if m := e.Subscribed.MasterInfo; m != nil && m.Domain != nil && m.Domain.FaultDomain != nil {
		return m.Domain.FaultDomain.Region.Name
	}
	return ""
}

// errorEvent tells what an ERROR means for us.
func errorEvent(e *scheduler.Event) error {
	text := "unknown"
	if e.Error != nil {
		text = e.Error.Message
	}
	low := strings.ToLower(text)
	switch {
	case strings.Contains(low, "removed") || strings.Contains(low, "completed framework"):
		return fmt.Errorf("%w: %s", ErrRemoved, text)
	case strings.Contains(low, "failed over"):
		return fmt.Errorf("%w: %s", ErrReplaced, text)
	}
	return fmt.Errorf("error event: %s", text)
}

// take delivers one event.
func (s *session) take(e *scheduler.Event) error {
	switch e.Type {
	case scheduler.Event_OFFERS:
		if e.Offers == nil {
			return nil
		}
		offers := make([]*match.Offer, 0, len(e.Offers.Offers))
		for i := range e.Offers.Offers {
			offers = append(offers, leanOffer(&e.Offers.Offers[i], s.d.cfg.Role))
		}
		s.d.deliver(core.Offers{Offers: offers})
	case scheduler.Event_UPDATE:
		if e.Update != nil {
			s.d.deliver(update(&e.Update.Status))
		}
	case scheduler.Event_MESSAGE:
		if m := e.Message; m != nil {
			s.d.deliver(core.Message{AgentID: m.AgentID.Value, ExecutorID: m.ExecutorID.Value, Data: m.Data})
		}
	case scheduler.Event_ERROR:
		return errorEvent(e)
	case scheduler.Event_FAILURE:
		if f := e.Failure; f != nil && f.AgentID != nil {
			s.d.log.Info("agent or executor failed", "agent", f.AgentID.Value)
		}
	}
	return nil // RESCIND needs nothing: no offer is held; HEARTBEAT did its work
}

func update(st *mesos.TaskStatus) core.Update {
	u := core.Update{State: st.GetState().String(), Message: st.GetMessage(), UUID: st.UUID, Healthy: st.Healthy}
	u.Task = taskID(st.TaskID.Value)
	if st.AgentID != nil {
		u.AgentID = st.AgentID.Value
	}
	if st.Reason != nil {
		u.Reason = st.Reason.String()
	}
	if st.ContainerStatus != nil {
		u.IPs = addresses(st.ContainerStatus)
	}
	return u
}
