package agent

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/stoa-project/stoa/agent/check"
	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/container/docker"
	"github.com/stoa-project/stoa/agent/container/image"
	"github.com/stoa-project/stoa/agent/executors"
	"github.com/stoa-project/stoa/agent/fetch"
	"github.com/stoa-project/stoa/agent/gids"
	"github.com/stoa-project/stoa/agent/journal"
	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/agent/ports"
	"github.com/stoa-project/stoa/agent/prepare"
	"github.com/stoa-project/stoa/agent/quota"
	"github.com/stoa-project/stoa/agent/sandbox"
	"github.com/stoa-project/stoa/agent/uplink"
	"github.com/stoa-project/stoa/agent/volume"
	"github.com/stoa-project/stoa/internal/crash"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/libprocess"
	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

const (
	maxBatch    = 512  // events that share one fsync
	maxArrivals = 32   // of them, such as are not urgent
	maxWaiting  = 4096 // of those, taken from the queue already
	maxLaunches = 64   // sandboxes being made at a time; more wait
	maxEndings  = 16   // containers being forgotten at a time; more wait
)

// engine owns the core and the journal and carries out what the core decides.
type engine struct {
	cfg     Config
	log     *slog.Logger
	started time.Time           // of the process
	info    *messages.SlaveInfo // without id

	core     *lifecycle.Agent // the loop's alone
	jour     *journal.Journal // the loop's alone; nil before the first registration
	holdings *journal.Journal // reservations and volumes; the loop's alone
	meta     journal.Meta
	boot     string

	runtime   container.Runtime
	docker    *docker.Runtime // part of runtime; nil without the engine
	pulls     pullTimes       // of the Docker engine
	provided  pullTimes       // of the image store
	prepare   *prepare.Preparer
	groups    *gids.Groups // of volumes; nil without a range
	fetcher   *fetch.Fetcher
	collector *sandbox.Collector
	disks     *volume.Store
	quota     *quota.Watcher     // nil when nobody asked for it
	ports     *ports.Watcher     // likewise
	extra     resource.Resources // offered beyond what there is
	images    *image.Store       // nil without an image provider
	files     *sandbox.Files
	checks    *check.Runner
	executors *executors.Server
	old       *executors.Old
	uplink    *uplink.Uplink
	transport *libprocess.Transport

	work            chan work
	request         atomic.Uint64 // number of the newest container call
	view            atomic.Pointer[versioned]
	version         atomic.Uint64                         // of the core after the newest step
	recovery        atomic.Bool                           // it has ended
	phase           atomic.Int32                          // executors.Phase
	resourceVersion []byte                                // resource_version_uuid
	failures        atomic.Uint64                         // journal writes that failed
	recoveryTook    atomic.Int64                          // time.Duration from the start to the end of recovery; 0 before
	destroyErrors   atomic.Uint64                         // containers that did not end, or were not cleaned up, in time
	ends            map[lifecycle.ContainerID]*time.Timer // of containers that are told to end at once; the loop's alone
	damaged         atomic.Uint64                         // records lost at the start
	calls           map[uint64]chan lifecycle.Answer      // container calls without an answer; the loop's alone
	launches        map[lifecycle.ContainerID]*launch     // the loop's alone
	slots           *gate
	endings         chan struct{}  // see forget
	forgetting      sync.Map       // containers that are being forgotten
	wg              sync.WaitGroup // everything started by effects
	shutdown        chan string    // the master wants the agent gone
	ctx             context.Context
}

type versioned struct {
	version uint64
	view    *lifecycle.View
}

// work is an event for the core or something to do in the loop.
type work struct {
	event lifecycle.Event
	call  func()
}

func newEngine(cfg Config, log *slog.Logger) *engine {
	return &engine{
		cfg: cfg, log: log, work: make(chan work, maxBatch),
		calls: map[uint64]chan lifecycle.Answer{}, launches: map[lifecycle.ContainerID]*launch{}, ends: map[lifecycle.ContainerID]*time.Timer{}, slots: newGate(maxLaunches),
		endings:  make(chan struct{}, maxEndings),
		shutdown: make(chan string, 1),
	}
}

// post gives the core an event; it waits while the loop is busy and gives up with ctx.
func (e *engine) post(ctx context.Context, ev lifecycle.Event) {
	select {
	case e.work <- work{event: ev}:
	case <-ctx.Done():
	}
}

// do runs f in the loop and waits for it.
func (e *engine) do(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case e.work <- work{call: func() { f(); close(done) }}:
	case <-ctx.Done():
		return ctx.Err()
	case <-e.ctx.Done():
		return fault.New("agent", fault.Unavailable, "", errStopping)
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-e.ctx.Done():
		return fault.New("agent", fault.Unavailable, "", errStopping)
	}
}

// View gives a picture of the core that is no older than the call.
func (e *engine) View(ctx context.Context) (*lifecycle.View, error) {
	if v := e.view.Load(); v != nil && v.version == e.version.Load() {
		return v.view, nil
	}
	var out *lifecycle.View
	err := e.do(ctx, func() { out = e.takeView() })
	return out, err
}

func (e *engine) takeView() *lifecycle.View {
	if v := e.view.Load(); v != nil && v.version == e.core.Version() {
		return v.view
	}
	v := &versioned{version: e.core.Version(), view: e.core.View()}
	e.view.Store(v)
	return v.view
}

// loop runs until ctx ends. What launches under way wait for is taken first, and the rest
// a few at a time: the first of a thousand tasks that come together is not to wait until
// the last one is recorded.
func (e *engine) loop(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var later []work
	for {
		if next := e.core.Next(); next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(max(0, time.Until(next)))
		}
		var batch []work
		take := func(w work) {
			if w.urgent() {
				batch = append(batch, w)
			} else {
				later = append(later, w)
			}
		}
		if len(later) == 0 {
			select {
			case <-ctx.Done():
				return nil
			case w := <-e.work:
				take(w)
			case <-timer.C:
				batch = append(batch, work{event: lifecycle.Tick{}})
			}
		} else {
			select {
			case <-ctx.Done():
				return nil
			case <-timer.C:
				batch = append(batch, work{event: lifecycle.Tick{}})
			default:
			}
		}
	more:
		for len(batch) < maxBatch && len(later) < maxWaiting {
			select {
			case w := <-e.work:
				take(w)
			default:
				break more
			}
		}
		n := min(len(later), maxArrivals)
		e.turn(append(batch, later[:n]...))
		if later = slices.Delete(later, 0, n); len(later) == 0 {
			later = nil
		}
	}
}

// urgent tells what may overtake: an acknowledgement is about one update and a start about
// one launch of this agent, whatever else has been asked for meanwhile.
func (w work) urgent() bool {
	switch w.event.(type) {
	case lifecycle.Acknowledge, lifecycle.Started:
		return true
	}
	return false
}

// turn takes a batch: events step the core, and their records become durable together.
// A call sees all that was posted before it as durable and done.
func (e *engine) turn(batch []work) {
	var outs []lifecycle.Output
	for _, w := range batch {
		e.ended(w.event)
		if w.call != nil {
			e.commit(outs)
			outs = nil
			w.call()
			continue
		}
		if x, ok := w.event.(lifecycle.Exited); ok && e.launches[x.Container] != nil {
			e.launches[x.Container].exit = &x // told after the start it belongs to
			continue
		}
		if id, ok := launchEnded(w.event); ok {
			l := e.launches[id]
			delete(e.launches, id)
			outs = append(outs, e.core.Step(time.Now(), w.event))
			if l != nil && l.exit != nil {
				outs = append(outs, e.core.Step(time.Now(), *l.exit))
			}
			continue
		}
		if changesResources(w.event) {
			e.commit(outs)
			outs = nil
			e.alter(w.event)
			continue
		}
		outs = append(outs, e.core.Step(time.Now(), w.event))
	}
	e.commit(outs)
	e.version.Store(e.core.Version())
}

func launchEnded(ev lifecycle.Event) (lifecycle.ContainerID, bool) {
	switch ev := ev.(type) {
	case lifecycle.Started:
		return ev.Container, true
	case lifecycle.LaunchFailed:
		return ev.Container, true
	}
	return "", false
}

// commit makes the records of some outputs durable and carries out their effects. When
// the journal cannot be written, only launches suffer: they fail, and what runs goes on
// being told, since the keeper still holds every exit (reliability D.3, row 23).
func (e *engine) commit(outs []lifecycle.Output) {
	for len(outs) > 0 {
		err := e.write(outs)
		if err != nil {
			e.failures.Add(1)
			e.log.Error("checkpoint failed", "err", err)
		}
		var next []lifecycle.Output
		for _, out := range outs {
			for _, ef := range out.Effects {
				if l, ok := ef.(lifecycle.Launch); ok && err != nil {
					next = append(next, e.core.Step(time.Now(), lifecycle.LaunchFailed{
						Container: l.Container, Message: "Failed to checkpoint the task: " + err.Error(),
					}))
					continue
				}
				e.perform(ef)
			}
		}
		outs = next
	}
}

// write brings the newest image of each key to disk.
func (e *engine) write(outs []lifecycle.Output) error {
	var records []lifecycle.Record
	at := map[string]int{}
	for _, out := range outs {
		for _, r := range out.Records {
			if i, seen := at[r.Key]; seen {
				records[i] = r
				continue
			}
			at[r.Key] = len(records)
			records = append(records, r)
		}
	}
	if len(records) == 0 {
		return nil
	}
	all, err := journal.Encode(records)
	if err != nil {
		return err
	}
	var entries, lasting []journal.Entry
	for _, entry := range all {
		if journal.ResourcesRecord(entry.Key) {
			lasting = append(lasting, entry)
		} else {
			entries = append(entries, entry)
		}
	}
	if len(lasting) > 0 {
		if err := e.holdings.Append(lasting); err != nil {
			return err
		}
	}
	if len(entries) == 0 {
		return nil
	}
	if e.jour == nil {
		return fault.New("agent.write", fault.Unavailable, "journal", errors.New("there is none before the first registration"))
	}
	err = e.jour.Append(entries)
	crash.Here("agent.recorded")
	return err
}

// step gives the core an event; only the loop may.
func (e *engine) step(ev lifecycle.Event) lifecycle.Output { return e.core.Step(time.Now(), ev) }

var errStopping = errors.New("the agent stops")

func newUUID() [16]byte { return uuid.New() }
