package master

import (
	"context"
	"errors"
	"hash/fnv"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stoa-project/stoa/internal/election"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/libprocess"
	"github.com/stoa-project/stoa/internal/store"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/master/allocate"
	"github.com/stoa-project/stoa/master/ledger"
	"github.com/stoa-project/stoa/master/registry"
)

// term is one term of leadership: the ledger, the allocator and the goroutine that
// owns both.
type term struct {
	door     *Door
	info     *mesos.MasterInfo
	registry *registry.Registry
	inbox    chan request // of frameworks and operators
	reports  chan request // of agents: thousands at a time, which must not hold the others up
	durable  chan []ledger.Ticket
	over     chan struct{} // closed when the owner has stopped

	// The owner's alone.
	book    *ledger.Ledger
	alloc   *allocate.Allocator
	soiled  time.Time // since when the allocator has something to do; zero: it has not
	waiting map[ledger.Ticket]chan<- ledger.Answer
	ticket  ledger.Ticket
	asked   ledger.Ticket // by doAll, whose answer goes to answer; zero: none
	answer  ledger.Answer
	// abandoned is why the process must end; nil while it need not.
	abandoned error

	revision atomic.Uint64 // grows with each batch of events
	seen     atomic.Pointer[seen]
}

// seen is the newest snapshot that a reader asked for.
type seen struct {
	revision uint64
	snapshot *ledger.Snapshot
}

// request is one thing for the owner to do.
type request struct {
	event ledger.Event
	reply chan<- ledger.Answer      // of a call; buffered
	read  func(*ledger.Snapshot)    // run by the owner: must be quick
	look  func(*allocate.Allocator) // likewise

	calls   []ledger.Call          // instead of event: several, one after the other
	answers chan<- []ledger.Answer // theirs; buffered
}

const (
	inboxSize = 4096 // requests of one kind waiting for the owner; more wait in their goroutines
	batchSize = 256  // requests of one kind between two allocations
)

// runTerm leads until the lease is lost, a registry write fails or ctx ends. Everything
// that needs leadership starts here and has ended when it returns.
func (d *Door) runTerm(ctx context.Context, lease election.Lease, s store.Store, info *mesos.MasterInfo) error {
	d.leads.Store(info)
	defer d.leads.Store(nil)
	t := d.newTerm(info, registry.New(timed{s, func(took time.Duration) {
		d.registry.store.observe(time.Now(), took)
		d.registry.stores.Observe(took.Seconds())
	}}, d.cfg.StoreTimeout))
	began := time.Now()
	load, cancel := context.WithTimeout(ctx, d.cfg.FetchTimeout)
	facts, err := t.registry.Load(load)
	cancel()
	d.registry.fetch.Store(int64(time.Since(began)))
	if err != nil {
		return err
	}
	d.log.Info("leading", "master_id", info.GetId(), "admitted", len(facts.Admitted), "unreachable", len(facts.Unreachable))

	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		select {
		case <-lease.Lost():
			return errors.New("leadership was lost")
		case <-gctx.Done():
			return gctx.Err()
		}
	})
	group.Go(func() error {
		return t.registry.Run(gctx, lease.Fence(), info, func(done []ledger.Ticket) {
			select {
			case t.durable <- done:
			case <-gctx.Done():
			}
		})
	})
	if path := d.cfg.Whitelist; path != "" {
		if hosts, err := readWhitelist(path); err == nil { // before the first offer
			t.alloc.SetWhitelist(hosts)
		}
		group.Go(func() error { return t.followWhitelist(gctx, path) })
	}
	group.Go(func() error { return t.own(gctx, facts) })
	err = group.Wait()
	d.term.CompareAndSwap(t, nil)
	d.schedulers.EndAll()
	d.operators.TermEnded()
	return err
}

func (d *Door) newTerm(info *mesos.MasterInfo, r *registry.Registry) *term {
	c := d.cfg
	seed := c.Seed
	if seed == 0 {
		h := fnv.New64a()
		_, _ = h.Write([]byte(info.GetId()))
		seed = h.Sum64()
	}
	return &term{
		door: d, info: info, registry: r,
		inbox: make(chan request, inboxSize), reports: make(chan request, inboxSize), durable: make(chan []ledger.Ticket), over: make(chan struct{}),
		waiting: map[ledger.Ticket]chan<- ledger.Answer{},
		book: ledger.New(ledger.Config{Master: info, PingInterval: c.PingTimeout, MaxMissedPings: c.MaxPingTimeouts,
			ReregisterTimeout: c.ReregisterTimeout, OfferTimeout: c.OfferTimeout, MaxCompleted: c.MaxCompletedFrameworks,
			MaxCompletedTasks: c.MaxCompletedTasks, MaxUnreachable: c.MaxUnreachableTasks, NoRoot: c.NoRoot, Constraints: c.constraintLimits(), Roles: c.Roles, ACL: c.Security.ACL,
			RemovalRate: ledger.Rate{N: c.RemovalRate.Permits, Per: c.RemovalRate.Per}, RemovalLimit: c.RecoveryLimit, Domain: c.Domain, RequireDomain: c.RequireAgentDomain,
			Weights: weightSets(c.Weights), RecoveryFactor: c.RecoveryFactor, RecoveryTimeout: c.RecoveryWait,
			MaxGone: c.MaxAgents, MaxAge: c.MaxAgentAge, GCInterval: c.RegistryGC}),
		alloc: c.newAllocator(seed),
	}
}

// weightSets gives the weights of the flag by role.
func weightSets(weights map[string]float64) []ledger.WeightSet {
	var out []ledger.WeightSet
	for _, role := range slices.Sorted(maps.Keys(weights)) {
		out = append(out, ledger.WeightSet{Role: role, Weight: weights[role]})
	}
	return out
}

// own is the goroutine that owns the ledger. It opens the doors when the ledger has
// what the registry held, and works until ctx ends.
func (t *term) own(ctx context.Context, facts ledger.Recovered) error {
	defer close(t.over)
	t.step(facts)
	t.door.schedulers.Open()
	t.door.term.Store(t)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case r := <-t.inbox:
			t.do(r)
			t.more()
		case r := <-t.reports:
			t.do(r)
			t.more()
		case done := <-t.durable:
			t.step(ledger.RegistryDone{Tickets: done})
		case <-timer.C:
			t.step(ledger.Tick{})
		}
		if t.abandoned != nil {
			return t.abandoned
		}
		timer.Reset(time.Until(t.allocate()))
	}
}

// more does what waits already, so that one allocation serves many events.
func (t *term) more() {
	for _, from := range []<-chan request{t.inbox, t.reports} {
		for n := 0; n < batchSize; n++ {
			select {
			case r := <-from:
				t.do(r)
				n += len(r.calls)
				continue
			default:
			}
			break
		}
	}
}

func (t *term) do(r request) {
	later := false // the answer may wait for the registry
	switch {
	case r.read != nil:
		r.read(t.snapshot())
		return
	case r.look != nil:
		r.look(t.alloc)
		return
	case r.calls != nil:
		t.doAll(r)
		return
	case r.reply != nil:
		t.ticket++
		switch e := r.event.(type) {
		case ledger.Call:
			e.Ticket = t.ticket
			r.event = e
		case ledger.Teardown:
			e.Ticket = t.ticket
			r.event = e
		case ledger.OperatorCall:
			e.Ticket, later = t.ticket, true
			r.event = e
		}
		t.waiting[t.ticket] = r.reply
	}
	t.step(r.event)
	if reply, open := t.waiting[t.ticket]; open && r.reply != nil && !later {
		delete(t.waiting, t.ticket)
		reply <- ledger.Answer{Code: 500, Body: "the call found no answer"}
	}
}

// doAll carries out calls that came together. Their answers are made in the same step.
func (t *term) doAll(r request) {
	out := make([]ledger.Answer, len(r.calls))
	for i, c := range r.calls {
		t.ticket++
		c.Ticket = t.ticket
		t.asked, t.answer = t.ticket, ledger.Answer{Code: 500, Body: "the call found no answer"}
		t.step(c)
		out[i] = t.answer
	}
	t.asked = 0
	r.answers <- out
}

// step applies one event and carries its effects out, in order.
func (t *term) step(e ledger.Event) {
	now := time.Now()
	for _, effect := range t.book.Step(now, e) {
		t.alloc.Apply(now, effect)
		t.carryOut(effect)
	}
	t.noteDirty(now)
	t.revision.Add(1)
}

func (t *term) carryOut(effect ledger.Effect) {
	d := t.door
	switch e := effect.(type) {
	case ledger.ToFramework:
		d.schedulers.Deliver(e)
	case ledger.CloseFramework:
		d.schedulers.Close(e)
	case ledger.ToAgent:
		d.agents.Deliver(e)
	case ledger.LinkPID:
		if to, err := libprocess.Parse(string(e.PID)); err == nil {
			d.transport.Link(d.pid, to, false)
		}
	case ledger.Answer:
		if e.Ticket != 0 && e.Ticket == t.asked {
			t.answer = e
		} else if reply := t.waiting[e.Ticket]; reply != nil {
			delete(t.waiting, e.Ticket)
			reply <- e
		}
	case ledger.Registry:
		t.registry.Add(e)
	case ledger.Abandon:
		t.abandoned = fault.New("master", fault.Forbidden, "recovery", errors.New(e.Reason))
	case ledger.Operator:
		d.operators.Publish(e.Event)
	case ledger.Note:
		note(d.log, e)
	}
}

func note(log *slog.Logger, n ledger.Note) {
	var attrs []any
	for _, a := range []struct{ key, value string }{
		{"agent", string(n.Agent)}, {"framework", string(n.Framework)}, {"task", string(n.Task)}, {"offer", string(n.Offer)},
	} {
		if a.value != "" {
			attrs = append(attrs, a.key, a.value)
		}
	}
	if n.Warn {
		log.Warn(n.Text, attrs...)
	} else {
		log.Info(n.Text, attrs...)
	}
}

// snapshot is the book now; the owner's to call.
func (t *term) snapshot() *ledger.Snapshot {
	r := t.revision.Load()
	if s := t.seen.Load(); s != nil && s.revision == r {
		return s.snapshot
	}
	began := time.Now()
	s := &seen{revision: r, snapshot: t.book.Snapshot()}
	t.door.snapshots.Observe(time.Since(began).Seconds())
	t.seen.Store(s)
	return s.snapshot
}

// put hands a request to the owner. Those of frameworks and operators keep their order,
// and so do those of agents; each kind gets its turn however many of the other wait.
func (t *term) put(ctx context.Context, r request) error {
	to := t.inbox
	switch r.event.(type) {
	case ledger.AgentMessage, ledger.AgentExited:
		to = t.reports
	}
	select {
	case to <- r:
		return nil
	case <-t.over:
		return errNotLeading
	case <-ctx.Done():
		return ctx.Err()
	}
}
