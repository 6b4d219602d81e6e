package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
	"google.golang.org/protobuf/proto"
)

// refuseLong keeps what a framework does not need any more away from it.
const refuseLong = 1e6 // seconds

// framework is one scheduler with its share of the tasks.
type framework struct {
	cfg     Config
	log     *slog.Logger
	session *session
	id      *mesos.FrameworkID
	rate    float64

	launched, running atomic.Int64 // read by the progress line
	unanswered        atomic.Int64 // acknowledgements on the way

	// The fields below belong to run's goroutine.
	todo        []int // tasks to launch, the last one first
	tasks       []task
	ran, lost   int
	offers      []*mesos.Offer       // held because of the rate
	given       map[string]time.Time // agent id: when its rest was given back
	launchTimes []time.Duration
	offerTimes  []time.Duration
	tokens      float64
	filled      time.Time
	idle        bool // SUPPRESS was sent
	finished    time.Time
}

// task is one of ours.
type task struct {
	accepted time.Time
	tries    int  // launches; a refused offer is no fault of the task
	over     bool // ran or lost
}

// start subscribes one framework with n tasks to launch.
func start(ctx context.Context, client *http.Client, at *url.URL, cfg Config, n int, log *slog.Logger) (*framework, error) {
	info := &mesos.FrameworkInfo{
		User: &cfg.User, Name: &cfg.Name, Roles: []string{cfg.Role}, Checkpoint: proto.Bool(true), FailoverTimeout: proto.Float64(0),
	}
	for _, c := range []mesos.FrameworkInfo_Capability_Type{
		mesos.FrameworkInfo_Capability_MULTI_ROLE, mesos.FrameworkInfo_Capability_PARTITION_AWARE, mesos.FrameworkInfo_Capability_RESERVATION_REFINEMENT,
	} {
		info.Capabilities = append(info.Capabilities, &mesos.FrameworkInfo_Capability{Type: c.Enum()})
	}
	s, err := subscribe(ctx, client, at, cfg.Codec, &scheduler.Call{
		Type: scheduler.Call_SUBSCRIBE.Enum(), Subscribe: &scheduler.Call_Subscribe{FrameworkInfo: info},
	})
	if err != nil {
		return nil, err
	}
	s.tls = cfg.TLS
	f := &framework{
		cfg: cfg, log: log, session: s, id: &mesos.FrameworkID{Value: &s.framework}, rate: cfg.Rate / float64(cfg.Frameworks),
		tasks: make([]task, n), given: map[string]time.Time{},
	}
	for i := n - 1; i >= 0; i-- {
		f.todo = append(f.todo, i)
	}
	return f, nil
}

// run launches the tasks and waits until each ran or is lost and all acknowledgements
// are answered. It returns early when ctx ends or the master breaks off.
func (f *framework) run(ctx context.Context, began time.Time) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f.filled = began
	events := make(chan *scheduler.Event, 256)
	broken := make(chan error, 1)
	go func() {
		for {
			ev, err := f.session.event()
			if err != nil {
				broken <- err
				return
			}
			select {
			case events <- ev:
			case <-ctx.Done():
				return
			}
		}
	}()
	// Answers must never wait for this goroutine, which may wait for them to make room.
	failed, answered := make(chan error, 1), make(chan struct{}, 1)
	err := f.session.dial(ctx, func(id int, err error) {
		if err != nil {
			select {
			case failed <- err:
			default:
			}
		}
		if id == acknowledgement && f.unanswered.Add(-1) == 0 {
			select {
			case answered <- struct{}{}:
			default:
			}
		}
	})
	if err != nil {
		return err
	}
	pace := time.NewTicker(5 * time.Millisecond)
	defer pace.Stop()
	if f.rate == 0 {
		pace.Stop()
	}
	for f.ran+f.lost < len(f.tasks) || f.unanswered.Load() > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-broken:
			return err
		case err := <-failed:
			return fault.New("call", fault.Unavailable, f.session.target.Host, err)
		case <-answered: // perhaps the last one
		case ev := <-events:
			if err := f.handle(ctx, ev); err != nil {
				return err
			}
		case <-pace.C:
			if err := f.launch(ctx); err != nil {
				return err
			}
		}
		f.finished = time.Now()
	}
	return nil
}

// Ids of calls, by which their answers are told apart.
const (
	other = iota
	acknowledgement
)

func (f *framework) call(ctx context.Context, id int, c *scheduler.Call) error {
	c.FrameworkId = f.id
	return f.session.send(ctx, c, id)
}

func (f *framework) handle(ctx context.Context, ev *scheduler.Event) error {
	switch ev.GetType() {
	case scheduler.Event_OFFERS:
		now := time.Now()
		for _, o := range ev.GetOffers().GetOffers() {
			agent := o.GetAgentId().GetValue()
			if t, ok := f.given[agent]; ok {
				delete(f.given, agent)
				f.offerTimes = append(f.offerTimes, now.Sub(t))
			}
			f.offers = append(f.offers, o)
		}
		return f.launch(ctx)
	case scheduler.Event_RESCIND:
		id := ev.GetRescind().GetOfferId().GetValue()
		for i, o := range f.offers {
			if o.GetId().GetValue() == id {
				f.offers = append(f.offers[:i], f.offers[i+1:]...)
				break
			}
		}
	case scheduler.Event_UPDATE:
		return f.update(ctx, ev.GetUpdate().GetStatus())
	case scheduler.Event_ERROR:
		return fault.New("event stream", fault.Forbidden, f.session.target.Host, errors.New(ev.GetError().GetMessage()))
	case scheduler.Event_FAILURE:
		f.log.Warn("failure reported", "agent", ev.GetFailure().GetAgentId().GetValue(), "executor", ev.GetFailure().GetExecutorId().GetValue())
	}
	return nil
}

// update takes one status and acknowledges it when it asks for that.
func (f *framework) update(ctx context.Context, st *mesos.TaskStatus) error {
	now := time.Now()
	if i, ok := index(st.GetTaskId().GetValue()); ok && i < len(f.tasks) && !f.tasks[i].over {
		t := &f.tasks[i]
		switch st.GetState() {
		case mesos.TaskState_TASK_RUNNING, mesos.TaskState_TASK_FINISHED:
			t.over = true
			f.ran++
			f.running.Add(1)
			f.launchTimes = append(f.launchTimes, now.Sub(t.accepted))
		case mesos.TaskState_TASK_STAGING, mesos.TaskState_TASK_STARTING, mesos.TaskState_TASK_KILLING, mesos.TaskState_TASK_UNREACHABLE, mesos.TaskState_TASK_UNKNOWN:
		default:
			if st.GetReason() == mesos.TaskStatus_REASON_INVALID_OFFERS && t.tries < 10 {
				f.log.Info("launching again: the offer was gone", "task", st.GetTaskId().GetValue(), "message", st.GetMessage())
				f.todo = append(f.todo, i)
				f.launched.Add(-1)
				if err := f.wake(ctx); err != nil {
					return err
				}
				break
			}
			t.over = true
			f.lost++
			f.log.Warn("task lost", "task", st.GetTaskId().GetValue(), "state", st.GetState().String(), "reason", st.GetReason().String(), "message", st.GetMessage())
		}
	}
	if len(st.GetUuid()) == 0 {
		return nil
	}
	f.unanswered.Add(1)
	return f.call(ctx, acknowledgement, &scheduler.Call{Type: scheduler.Call_ACKNOWLEDGE.Enum(), Acknowledge: &scheduler.Call_Acknowledge{
		AgentId: st.GetAgentId(), TaskId: st.GetTaskId(), Uuid: st.GetUuid(),
	}})
}

// launch uses the held offers as far as tasks and the rate allow.
func (f *framework) launch(ctx context.Context) error {
	if f.rate > 0 {
		now := time.Now()
		// At most a second's worth is saved up.
		f.tokens = min(f.tokens+f.rate*now.Sub(f.filled).Seconds(), max(f.rate, 1))
		f.filled = now
	}
	for len(f.offers) > 0 {
		if len(f.todo) == 0 {
			return f.rest(ctx)
		}
		allowed := min(len(f.todo), f.cfg.PerOffer)
		if f.rate > 0 {
			if allowed = min(allowed, int(f.tokens)); allowed == 0 {
				return nil // more tokens come with time
			}
		}
		o := f.offers[0]
		f.offers = f.offers[1:]
		if err := f.use(ctx, o, allowed); err != nil {
			return err
		}
	}
	return nil
}

// use launches up to n tasks on an offer and gives its rest back.
func (f *framework) use(ctx context.Context, o *mesos.Offer, n int) error {
	var free resource.Resources
	for _, r := range resource.Upgrade(o.GetResources()) {
		if r.GetRevocable() == nil && r.GetDisk() == nil && (r.GetName() == "cpus" || r.GetName() == "mem") {
			free = append(free, r)
		}
	}
	var infos []*mesos.TaskInfo
	now := time.Now()
	for range n {
		taken, rest, ok := take(free, f.cfg.CPUs, f.cfg.Mem)
		if !ok {
			break
		}
		free = rest
		i := f.todo[len(f.todo)-1]
		f.todo = f.todo[:len(f.todo)-1]
		t := &f.tasks[i]
		t.accepted = now
		t.tries++
		infos = append(infos, &mesos.TaskInfo{
			Name: &f.cfg.Name, TaskId: &mesos.TaskID{Value: proto.String(name(i, t.tries))}, AgentId: o.GetAgentId(), Resources: taken,
			Command: &mesos.CommandInfo{Shell: proto.Bool(true), Value: &f.cfg.Command},
		})
	}
	if len(infos) == 0 { // too small; the rest of the agent may come back later
		return f.call(ctx, other, &scheduler.Call{Type: scheduler.Call_DECLINE.Enum(), Decline: &scheduler.Call_Decline{
			OfferIds: []*mesos.OfferID{o.GetId()}, Filters: &mesos.Filters{RefuseSeconds: proto.Float64(1)},
		}})
	}
	f.tokens -= float64(len(infos))
	f.launched.Add(int64(len(infos)))
	refuse := 0.0
	if len(f.todo) == 0 {
		refuse = refuseLong
	} else {
		f.given[o.GetAgentId().GetValue()] = now
	}
	return f.call(ctx, other, &scheduler.Call{Type: scheduler.Call_ACCEPT.Enum(), Accept: &scheduler.Call_Accept{
		OfferIds: []*mesos.OfferID{o.GetId()}, Filters: &mesos.Filters{RefuseSeconds: &refuse},
		Operations: []*mesos.Offer_Operation{{Type: mesos.Offer_Operation_LAUNCH.Enum(), Launch: &mesos.Offer_Operation_Launch{TaskInfos: infos}}},
	}})
}

// rest declines all offers, as nothing is left to launch.
func (f *framework) rest(ctx context.Context) error {
	ids := make([]*mesos.OfferID, len(f.offers))
	for i, o := range f.offers {
		ids[i] = o.GetId()
	}
	f.offers = nil
	err := f.call(ctx, other, &scheduler.Call{Type: scheduler.Call_DECLINE.Enum(), Decline: &scheduler.Call_Decline{
		OfferIds: ids, Filters: &mesos.Filters{RefuseSeconds: proto.Float64(refuseLong)},
	}})
	if err != nil || f.idle {
		return err
	}
	f.idle = true
	return f.call(ctx, other, &scheduler.Call{Type: scheduler.Call_SUPPRESS.Enum()})
}

// wake asks for offers again after rest.
func (f *framework) wake(ctx context.Context) error {
	if !f.idle {
		return nil
	}
	f.idle = false
	return f.call(ctx, other, &scheduler.Call{Type: scheduler.Call_REVIVE.Enum()})
}

// take cuts what one task needs out of free, whatever reservations it comes from.
func take(free resource.Resources, cpus, mem float64) (taken []*mesos.Resource, rest resource.Resources, ok bool) {
	rest = free
	for _, need := range []struct {
		name   string
		amount resource.Fixed
	}{{"cpus", resource.FromFloat(cpus)}, {"mem", resource.FromFloat(mem)}} {
		want := need.amount
		var left resource.Resources
		for _, r := range rest {
			have := resource.FromFloat(r.GetScalar().GetValue())
			if r.GetName() != need.name || want == 0 || have == 0 {
				left = append(left, r)
				continue
			}
			part := min(have, want)
			want -= part
			taken = append(taken, scalarOf(r, part))
			if have > part {
				left = append(left, scalarOf(r, have-part))
			}
		}
		if want > 0 {
			return nil, free, false
		}
		rest = left
	}
	return taken, rest, true
}

// scalarOf is r with another amount, sharing everything else.
func scalarOf(r *mesos.Resource, amount resource.Fixed) *mesos.Resource {
	return &mesos.Resource{ProviderId: r.ProviderId, Name: r.Name, Type: r.Type, Scalar: amount.Scalar(), Role: r.Role,
		AllocationInfo: r.AllocationInfo, Reservation: r.Reservation, Reservations: r.Reservations, Shared: r.Shared}
}

// name is the task's id: its number, and its try after the first.
func name(i, try int) string {
	if try == 1 {
		return "load-" + strconv.Itoa(i)
	}
	return fmt.Sprintf("load-%d-%d", i, try)
}

func index(id string) (int, bool) {
	var i int
	if n, err := fmt.Sscanf(id, "load-%d", &i); n != 1 || err != nil || i < 0 {
		return 0, false
	}
	return i, true
}

// teardown removes the framework and its tasks from the master.
func (f *framework) teardown(ctx context.Context, client *http.Client) error {
	body, err := f.session.codec.Marshal(&scheduler.Call{Type: scheduler.Call_TEARDOWN.Enum(), FrameworkId: f.id})
	if err != nil {
		return err
	}
	req, err := request(ctx, f.session.target, f.session.codec, f.session.streamID, body)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if res.StatusCode != http.StatusAccepted {
		return fmt.Errorf("%s: %s", res.Status, said)
	}
	return nil
}
