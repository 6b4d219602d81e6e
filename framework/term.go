package framework

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/stoa-project/stoa/framework/core"
	"github.com/stoa-project/stoa/framework/driver"
	"github.com/stoa-project/stoa/framework/feed"
	"github.com/stoa-project/stoa/framework/probe"
	"github.com/stoa-project/stoa/framework/repo"
	"github.com/stoa-project/stoa/internal/election"
	"github.com/stoa-project/stoa/internal/store"
	"github.com/stoa-project/stoa/internal/zk"
)

// Sizes and periods of a term.
const (
	inputsPending = 1024 // inputs that wait for the core; who brings more waits
	tickEvery     = 250 * time.Millisecond
	writeTimeout  = 20 * time.Second // of one batch; then leadership ends
	loadTimeout   = 180 * time.Second
	abdicateAfter = 500 * time.Millisecond // from the answer to its caller, as in Marathon
)

var (
	errLeaseLost = errors.New("the election was lost")
	errAbdicated = errors.New("asked to abdicate")
)

// term is one leadership: the core, owned by the goroutine of run, and its shells.
type term struct {
	began  time.Time
	log    *slog.Logger
	feed   *feed.Feed
	repo   *repo.Repo
	fence  zk.Fence
	driver *driver.Driver
	drains *drains
	probes *probe.Prober
	core   *core.Core // only run touches it

	inputs  chan core.Input
	writes  chan core.Persist // at most one is under way
	over    chan struct{}     // closed when run has ended
	why     error             // the reason of the end, set before over is closed
	shown   atomic.Pointer[core.Snapshot]
	mu      sync.Mutex // guards waiting and token
	waiting map[uint64]chan core.Reply
	token   uint64
}

// lead runs one term until it ends, and says why.
func (f *Framework) lead(ctx context.Context, lease election.Lease, records store.Store, masters election.Detector) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	f.mu.Lock()
	f.abdicate = func() { cancel(errAbdicated) }
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.abdicate = nil
		f.mu.Unlock()
	}()

	t := &term{
		began: time.Now(), log: f.log, feed: f.feed, repo: repo.New(records), fence: lease.Fence(),
		inputs: make(chan core.Input, inputsPending), writes: make(chan core.Persist, 1),
		over: make(chan struct{}), waiting: map[uint64]chan core.Reply{},
	}
	effects, frameworkID, err := t.load(ctx, cmp.Or(f.cfg.PrepareTimeout, loadTimeout), f.coreConfig())
	if err != nil {
		return err
	}
	t.probes = probe.New(probe.Config{Concurrent: f.cfg.MaxProbes, Deliver: t.deliver}, f.log)
	defer t.probes.Close()
	t.driver = driver.New(f.driverConfig(), masters, t.deliver, f.log)

	t.drains = &drains{feed: f.feed, shown: t.shown.Load, send: t.driver.Send}
	defer t.drains.close()

	var work sync.WaitGroup
	defer work.Wait()
	defer cancel(nil)
	defer func() {
		f.term.Store(nil)
		f.feed.EndAll()
	}()
	work.Go(func() {
		select {
		case <-lease.Lost():
			cancel(errLeaseLost)
		case <-ctx.Done():
		}
	})
	work.Go(func() {
		if err := t.write(ctx); err != nil {
			cancel(fmt.Errorf("write records: %w", err))
		}
	})
	work.Go(func() {
		err := t.driver.Run(ctx, frameworkID)
		if errors.Is(err, driver.ErrRemoved) {
			err = errors.Join(err, t.forget(ctx))
		}
		if ctx.Err() == nil {
			cancel(err)
		}
	})
	f.term.Store(t)
	t.run(ctx, effects)
	return context.Cause(ctx)
}

// load reads the records and builds the core.
func (t *term) load(ctx context.Context, limit time.Duration, cfg core.Config) ([]core.Effect, string, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	began := time.Now()
	if err := t.takeOver(ctx); err != nil {
		return nil, "", err
	}
	if err := t.repo.Open(ctx, t.fence); err != nil {
		return nil, "", err
	}
	stored, err := t.repo.Load(ctx)
	if err != nil {
		return nil, "", err
	}
	c, effects, err := core.New(cfg, time.Now(), stored)
	if err != nil {
		return nil, "", err
	}
	t.core = c
	t.log.Info("records loaded", "instances", len(stored.Instances), "deployments", len(stored.Plans), "took", time.Since(began))
	return effects, stored.FrameworkID, nil
}

// takeOver makes the backup, or loads the one, that the last leader left to do.
func (t *term) takeOver(ctx context.Context) error {
	h, refused, err := t.repo.TakeOver(ctx, t.fence)
	switch {
	case err != nil:
		return err
	case refused != nil:
		t.log.Error("backup or restore was not made, the records are as they were", "backup", h.Backup, "restore", h.Restore, "error", refused)
	case h != (repo.Handover{}):
		t.log.Info("backup or restore was made", "backup", h.Backup, "restore", h.Restore)
	}
	return nil
}

// forget drops the framework's identity and its instances after the master did: the
// next term begins with a new one and starts the apps again.
func (t *term) forget(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	t.log.Error("the master removed this framework; subscribing as a new one")
	changes := []core.Change{{Key: core.FrameworkKey}}
	stored, err := t.repo.Load(ctx)
	if err != nil {
		return err
	}
	for _, i := range stored.Instances {
		changes = append(changes, core.Change{Key: core.InstancePrefix + "/" + string(i.ID)})
	}
	for _, lo := range stored.Leftovers {
		changes = append(changes, core.Change{Key: core.LeftoverPrefix + "/" + string(lo.Instance)})
	}
	return t.repo.Apply(ctx, t.fence, changes)
}

// run owns the core.
func (t *term) run(ctx context.Context, effects []core.Effect) {
	defer close(t.over)
	ticks := time.NewTicker(tickEvery)
	defer ticks.Stop()
	t.carryOut(effects)
	for {
		select {
		case in := <-t.inputs:
			t.carryOut(t.core.Step(time.Now(), in))
		case <-ticks.C:
			t.carryOut(t.core.Step(time.Now(), core.Tick{}))
		case <-ctx.Done():
			t.why = context.Cause(ctx)
			return
		}
	}
}

// carryOut does what the core asks, in order.
func (t *term) carryOut(effects []core.Effect) {
	for _, e := range effects {
		switch e := e.(type) {
		case core.Persist:
			t.writes <- e // never waits: the core asks for one at a time
		case core.Reply:
			t.answer(e)
		case core.Show:
			t.shown.Store(e.Snapshot)
		case core.Publish:
			t.feed.Publish(e.Event)
		case core.StartProbes:
			t.probes.Start(e)
		case core.StopProbes:
			t.probes.Stop(e.Instance)
		case core.Kill:
			if !t.drains.hold(e) {
				t.driver.Send(e)
			}
		case core.Note:
			t.log.Info(e.Text, e.Args...)
		default:
			t.driver.Send(e)
		}
	}
}

// write makes batches durable one after another. The first failure ends the term: the
// batch may or may not have happened, and only a fresh load can tell.
func (t *term) write(ctx context.Context) error {
	for {
		select {
		case p := <-t.writes:
			limited, cancel := context.WithTimeout(ctx, writeTimeout)
			err := t.repo.Apply(limited, t.fence, p.Changes)
			cancel()
			if err != nil {
				return err
			}
			t.deliver(core.Persisted{Batch: p.Batch})
		case <-ctx.Done():
			return nil
		}
	}
}

// deliver brings an input to the core, unless the term is over.
func (t *term) deliver(in core.Input) {
	select {
	case t.inputs <- in:
	case <-t.over:
	}
}

// do submits a command and waits for its reply.
func (t *term) do(ctx context.Context, cmd core.Command) (core.Outcome, error) {
	reply := make(chan core.Reply, 1)
	t.mu.Lock()
	t.token++
	token := t.token
	t.waiting[token] = reply
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		delete(t.waiting, token)
		t.mu.Unlock()
	}()
	select {
	case t.inputs <- core.Do{Token: token, Command: cmd}:
	case <-t.over:
		return core.Outcome{}, termEnded(t.why)
	case <-ctx.Done():
		return core.Outcome{}, ctx.Err()
	}
	select {
	case r := <-reply:
		return r.Outcome, r.Err
	case <-t.over:
		return core.Outcome{}, termEnded(t.why)
	case <-ctx.Done():
		return core.Outcome{}, ctx.Err()
	}
}

func (t *term) answer(r core.Reply) {
	t.mu.Lock()
	reply := t.waiting[r.Token]
	t.mu.Unlock()
	if reply != nil {
		reply <- r
	}
}

// timeUUID makes a UUID of version 1, as the ids of Marathon's instances are (marathon.md 7.1).
func timeUUID() string {
	id, err := uuid.NewUUID()
	if err != nil { // no clock sequence: any other will do
		return uuid.NewString()
	}
	return id.String()
}

func (f *Framework) coreConfig() core.Config {
	c := f.cfg
	return core.Config{
		Role: c.Role, Ports: c.Ports, UUID: timeUUID, Rand: rand.Uint64,
		MaxPerOffer: c.MaxPerOffer, DeclineFor: c.DeclineFor, ReviveEvery: c.ReviveInterval, KeepOffers: c.KeepOffers,
		KillsInFlight: c.KillsInFlight, KillRetry: c.KillRetry,
		ConfirmTimeout: c.LaunchConfirmTimeout, LaunchTimeout: c.LaunchTimeout,
		ReconcileInitial: c.ReconcileInitial, ReconcileEvery: c.ReconcileInterval,
		ScaleInitial: c.ScaleInitial, ScaleEvery: c.ScaleInterval,
		MaxDeployments: c.MaxDeployments, MaxVersions: c.MaxVersions, AcceptedRoles: c.AcceptedRoles,
		LaunchTokens: c.LaunchTokens, TokenRefresh: c.TokenRefresh, LostInitial: c.LostInitial, LostEvery: c.LostInterval,
		Draining: c.Draining, IgnoreMaintenance: c.IgnoreMaintenance,
		ReservationTimeout: c.ReservationTimeout, AnyGPU: c.AnyGPU,
	}
}

func (f *Framework) driverConfig() driver.Config {
	c := f.cfg
	web := c.WebUI
	if web == "" {
		web = f.scheme() + "://" + f.self
	}
	return driver.Config{
		Name: c.Name, User: c.User, Role: c.Role, Principal: c.Principal, Hostname: hostOf(f.self), WebUI: web,
		FailoverTimeout: c.FailoverTimeout, Checkpoint: !c.NoCheckpoint, EnvPrefix: c.EnvPrefix, BridgeName: c.BridgeName,
		MissedHeartbeats: c.MissedHeartbeats, Heartbeat: c.Heartbeat, TLS: c.MasterTLS, Credential: c.MasterCredential,
		GPUs: slices.Contains(c.Features, "gpu_resources"),
	}
}
