package master

import (
	"context"

	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/master/ledger"
	"github.com/stoa-project/stoa/master/operators"
)

// Submit hands an event to the ledger's owner. It waits while the owner is busy. The
// error is fault.Unavailable while this master does not lead or recovers.
func (d *Door) Submit(ctx context.Context, e ledger.Event) error {
	t := d.term.Load()
	if t == nil {
		return errNotLeading
	}
	return t.put(ctx, request{event: e})
}

// Ready says whether Submit would take an event now.
func (d *Door) Ready() bool { return d.term.Load() != nil }

// Ask submits a call and waits for its answer. Errors are Submit's.
func (d *Door) Ask(ctx context.Context, c ledger.Call) (ledger.Answer, error) { return d.ask(ctx, c) }

// AskAll submits calls together: they are carried out in their order, with nothing between
// them. Errors are Submit's.
func (d *Door) AskAll(ctx context.Context, calls []ledger.Call) ([]ledger.Answer, error) {
	t := d.term.Load()
	if t == nil {
		return nil, errNotLeading
	}
	done := make(chan []ledger.Answer, 1)
	if err := t.put(ctx, request{calls: calls, answers: done}); err != nil {
		return nil, err
	}
	select {
	case a := <-done:
		return a, nil
	case <-t.over:
		return nil, errNotLeading
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Teardown removes a framework for an operator: 200, or 400 when it is not known.
func (d *Door) Teardown(ctx context.Context, id ledger.FrameworkID) (ledger.Answer, error) {
	return d.ask(ctx, ledger.Teardown{Framework: id})
}

// Order hands an operator's call to the ledger and gives its answer, which may wait for
// the registry. Errors are Submit's.
func (d *Door) Order(ctx context.Context, c ledger.OperatorCall) (ledger.Answer, error) {
	return d.ask(ctx, c)
}

func (d *Door) ask(ctx context.Context, e ledger.Event) (ledger.Answer, error) {
	t := d.term.Load()
	if t == nil {
		return ledger.Answer{}, errNotLeading
	}
	reply := make(chan ledger.Answer, 1)
	if err := t.put(ctx, request{event: e, reply: reply}); err != nil {
		return ledger.Answer{}, err
	}
	select {
	case a := <-reply:
		return a, nil
	case <-t.over:
		return ledger.Answer{}, errNotLeading
	case <-ctx.Done():
		return ledger.Answer{}, ctx.Err()
	}
}

// View gives the book as it is now: everything answered before the call is in it. The
// error is fault.Unavailable while this master does not lead or recovers. Without
// changes since the last reader it costs two atomic loads.
func (d *Door) View(ctx context.Context) (*ledger.Snapshot, error) {
	t := d.term.Load()
	if t == nil {
		return nil, errNotLeading
	}
	if s := t.seen.Load(); s != nil && s.revision == t.revision.Load() {
		return s.snapshot, nil
	}
	got := make(chan *ledger.Snapshot, 1)
	if err := t.put(ctx, request{read: func(s *ledger.Snapshot) { got <- s }}); err != nil {
		return nil, err
	}
	select {
	case s := <-got:
		return s, nil
	case <-t.over:
		return nil, errNotLeading
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Atomically runs fn with the book as it is now, between two events: what fn sets up
// sees every later operator event and none that is in the snapshot already. fn runs on
// the ledger's goroutine and must be quick. Errors are View's.
func (d *Door) Atomically(ctx context.Context, fn func(*ledger.Snapshot)) error {
	return d.withOwner(ctx, func(done func()) request {
		return request{read: func(s *ledger.Snapshot) { fn(s); done() }}
	})
}

// withOwner puts a request to the owner of the present term and waits until it has called done,
// the term is over or ctx ends.
func (d *Door) withOwner(ctx context.Context, with func(done func()) request) error {
	t := d.term.Load()
	if t == nil {
		return errNotLeading
	}
	done := make(chan struct{})
	if err := t.put(ctx, with(func() { close(done) })); err != nil {
		return err
	}
	select {
	case <-done:
		return nil
	case <-t.over:
		return errNotLeading
	case <-ctx.Done():
		return ctx.Err()
	}
}

// operatorShell is what the door needs of the operators' shell.
type operatorShell interface {
	// Publish hands an event to the subscribers; it never blocks.
	Publish(*masterapi.Event)
	// TermEnded closes the subscriptions.
	TermEnded()
	// Routes lists what it answers.
	Routes() []operators.Route
}
