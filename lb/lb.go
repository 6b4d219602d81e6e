// Package lb is the door of `stoa lb`: it follows a Marathon, turns labels into
// HAProxy's configuration and keeps the running HAProxy true to it.
package lb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/lb/follow"
	"github.com/stoa-project/stoa/lb/haproxy"
	"github.com/stoa-project/stoa/lb/labels"
	"github.com/stoa-project/stoa/lb/relay"
	"github.com/stoa-project/stoa/lb/render"
	"github.com/stoa-project/stoa/lb/rest"
)

// LB is one load balancer. Its loop goroutine owns proxy, hosts and the model.
type LB struct {
	cfg     Config
	log     *slog.Logger
	follow  *follow.Follower
	hosts   *follow.Hosts
	proxy   *haproxy.Proxy
	files   haproxy.Config
	metrics *roomMetrics

	status atomic.Pointer[rest.Status]
	ask    chan bool // true reloads the file as it is, false lists anew

	templates *render.Templates
	mapDir    string

	services *labels.Memo
	rendered *render.Memo
	listed   []labels.App                      // newest listing
	reported map[string]bool                   // problems already logged
	barred   map[labels.PortKey]barred         // what HAProxy refused, so that it is not tried again
	good     map[labels.PortKey]labels.Service // settings that HAProxy took last, without servers
	alive    *lastAlive
	// listeners and servers are those of the configuration that is being rendered.
	listeners, servers int
	lastReload         time.Time
	applied            []labels.Service // what HAProxy has; nil is not known yet
	drains             drainQueue
	draining           draining
	reports            chan []string // drained tasks, for reportDrains
	relay              *relay.Relay  // nil feeds nobody
	certs              certificates
	replacing          replacing
	crowded            time.Time // since when reloads wait for old workers; zero is not
	fileReload         bool      // one was asked for and waits for old workers
}

// barred is a service that HAProxy refused.
type barred struct {
	service labels.Service // without servers; one with other settings is tried again
	problem labels.Problem
}

// New checks the configuration; it starts and touches nothing.
func New(cfg Config, log *slog.Logger) (*LB, error) {
	if len(cfg.Groups) == 0 {
		return nil, fault.New("stoa lb", fault.Invalid, "--group", errors.New(`at least one is needed; "*" takes every app`))
	}
	if !filepath.IsAbs(cfg.ConfigPath) || !filepath.IsAbs(cfg.RunDir) {
		return nil, fault.New("stoa lb", fault.Invalid, cfg.ConfigPath+" "+cfg.RunDir, errors.New("paths must be absolute"))
	}
	// A socket's path ends at 107 bytes.
	if n := len(filepath.Join(cfg.RunDir, "stats.sock.")) + 20; n > 107 {
		return nil, fault.New("stoa lb", fault.Invalid, "--run_dir "+cfg.RunDir, fmt.Errorf("%d bytes too long for a unix socket below it", n-107))
	}
	if cfg.AssignMin > cfg.AssignMax || cfg.AssignMin < 0 || cfg.AssignMax > 65535 || (cfg.AssignMin == 0) != (cfg.AssignMax == 0) {
		return nil, fault.New("stoa lb", fault.Invalid, fmt.Sprintf("--min-serv-port-ip-per-task %d --max-serv-port-ip-per-task %d", cfg.AssignMin, cfg.AssignMax),
			errors.New("want both or neither, least first, up to 65535"))
	}
	templates, err := render.NewTemplates(cfg.Templates, cfg.Profile == render.Compat)
	if err != nil {
		return nil, fault.New("stoa lb", fault.Invalid, "templates", err)
	}
	if cfg.Poll > 0 {
		cfg.Resync = cfg.Poll
	}
	b := &LB{cfg: cfg, log: log, drains: drainQueue{wake: make(chan struct{}, 1)}, reports: make(chan []string, 64)}
	if cfg.RelayBind != "" {
		b.relay = relay.New(b.reportLater)
	}
	var drain func(app, task string)
	if !cfg.NoDrain {
		drain = func(app, task string) {
			if b.relay != nil {
				b.relay.Drain(app, task)
			}
			b.drains.add(task)
		}
	}
	f, err := follow.New(follow.Config{
		Drain: drain,
		URLs:  cfg.Marathon, User: cfg.User, Password: cfg.Password, Token: cfg.Token, CAFile: cfg.CAFile, Insecure: cfg.Insecure,
		MaxBackoff: cfg.MaxBackoff, Resync: cfg.Resync, Poll: cfg.Poll > 0, Logger: log,
	})
	if err != nil {
		return nil, err
	}
	b.templates, b.mapDir, b.alive = templates, filepath.Dir(cfg.ConfigPath), newLastAlive(cfg.LastKnown)
	b.files = haproxy.Config{
		ConfigPath: cfg.ConfigPath, RunDir: cfg.RunDir, Command: cfg.Command, Retry: cfg.CommandRetry, MaxRetries: cfg.CommandRetries,
		SkipValidation: cfg.SkipValidation, MaxOldWorkers: cfg.MaxOldWorkers, Archives: cfg.Archives, Logger: log,
	}
	b.follow, b.hosts, b.metrics = f, follow.NewHosts(30*time.Second), newMetrics()
	b.services, b.rendered, b.good = &labels.Memo{}, &render.Memo{}, map[labels.PortKey]labels.Service{}
	b.ask, b.reported, b.barred = make(chan bool, 1), map[string]bool{}, map[labels.PortKey]barred{}
	b.status.Store(&rest.Status{Problems: []string{}})
	return b, nil
}

// Run keeps HAProxy true until ctx ends. It fails at once when there is no usable
// haproxy binary.
func (b *LB) Run(ctx context.Context) error {
	binary, err := haproxy.Find(ctx, b.cfg.HAProxyPath)
	if err != nil {
		return err
	}
	for _, dir := range []string{b.cfg.RunDir, filepath.Dir(b.cfg.ConfigPath)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fault.New("stoa lb", fault.Unavailable, dir, err)
		}
	}
	b.files.Binary = binary
	if head, ok := b.cfg.Templates["HEAD"]; ok {
		_, notes := render.FixHead(head, b.settings())
		for _, n := range notes {
			b.log.Warn("template HAPROXY_HEAD changed", "how", n)
		}
	}
	b.proxy = haproxy.New(b.files)

	admin, err := b.listenAdmin()
	if err != nil {
		return err
	}
	server := &http.Server{Handler: rest.Handler(b, rest.Files{
		Config: b.cfg.ConfigPath, DomainMap: filepath.Join(b.mapDir, render.DomainMap), AppMap: filepath.Join(b.mapDir, render.AppMap),
	}, b.metrics.handler()), ReadHeaderTimeout: 10 * time.Second}
	listings := make(chan []labels.App, 1)
	g, ctx := errgroup.WithContext(ctx)
	if b.relay != nil {
		if err := b.serveRelay(ctx, g); err != nil {
			return errors.Join(err, admin.Close())
		}
	}
	g.Go(func() error {
		if err := server.Serve(admin); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go(func() error {
		return b.follow.Run(ctx, func(apps []labels.App) {
			if b.relay != nil {
				b.relay.Apps(apps)
			}
			// Only the newest listing counts.
			select {
			case <-listings:
				b.metrics.coalesced.Inc()
			default:
			}
			listings <- apps
		})
	})
	g.Go(func() error {
		defer server.Close()
		return b.loop(ctx, listings)
	})
	err = g.Wait()
	if b.cfg.StopHAProxy {
		err = errors.Join(err, b.proxy.Close())
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (b *LB) listenAdmin() (net.Listener, error) {
	path := b.files.AdminSocket()
	_ = os.Remove(path) // left by a process that was killed
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fault.New("stoa lb", fault.Unavailable, path, err)
	}
	// HAProxy's workers may run as another user.
	return l, os.Chmod(path, 0o666)
}

// loop applies listings, restarts a HAProxy that died and finishes what waits.
func (b *LB) loop(ctx context.Context, listings <-chan []labels.App) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	var later <-chan time.Time // set while a reload waits for its interval
	var look <-chan time.Time  // set while tasks drain
	var reporting sync.WaitGroup
	reporting.Go(func() { b.reportDrains(ctx, b.reports) })
	defer reporting.Wait()
	if !b.proxy.Resume(ctx) {
		// Before Marathon answers there is nothing to route, but stats and health answer.
		b.apply(ctx, &later, true)
	}
	next, pace := listings, (<-chan time.Time)(nil)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case apps := <-next:
			b.take(apps)
			b.apply(ctx, &later, false)
			// What comes within the interval is taken together at its end.
			next, pace = nil, time.After(b.cfg.ChangeInterval)
		case <-pace:
			next, pace = listings, nil
		case <-b.drains.wake:
			b.takeDrains()
			look = time.After(drainTick)
		case <-look:
			look = nil
			if done := b.answerDrains(ctx); len(done) > 0 {
				if b.relay != nil {
					b.relay.Drained("", done)
				} else {
					b.reportLater(done)
				}
			}
			if len(b.draining.tasks) > 0 {
				look = time.After(drainTick)
			}
		case <-later:
			later = nil
			b.apply(ctx, &later, true)
		case reload := <-b.ask:
			if reload {
				b.fileReload = true
				b.reloadFile(ctx)
			} else if apps, err := b.follow.List(ctx); err == nil {
				b.take(apps)
				b.apply(ctx, &later, true)
			}
		case <-tick.C:
			if err := b.proxy.Check(ctx); err != nil {
				b.fail(err)
			}
			b.watchCertificates(ctx, time.Now())
			b.reloadFile(ctx)
			if b.watchReplacements(ctx, time.Now()) {
				b.apply(ctx, &later, false)
			}
			b.metrics.dying.Set(float64(b.proxy.Sweep(ctx)))
			b.metrics.workers.Set(float64(b.proxy.TrimWorkers(ctx)))
			if b.relay != nil {
				b.metrics.relayed.Set(float64(b.relay.Subscribers()))
			}
			b.stream()
		}
	}
}

func (b *LB) take(apps []labels.App) {
	b.listed, b.replacing.now = apps, labels.Replacing(apps)
	s := *b.status.Load()
	s.LastListing = time.Now()
	b.status.Store(&s)
}

// stream publishes how the event stream does.
func (b *LB) stream() {
	st := b.follow.State()
	s := *b.status.Load()
	s.Connected, s.LastEvent = st.Connected, st.LastEvent
	b.status.Store(&s)
	connected := 0.0
	if st.Connected {
		connected = 1
	}
	b.metrics.connected.Set(connected)
	if !st.LastEvent.IsZero() {
		b.metrics.eventAge.Set(time.Since(st.LastEvent).Seconds())
	}
}

// reloadFile validates the live file as it is, edited by hand perhaps, and reloads it,
// when that was asked for and no old worker would have to end for it.
func (b *LB) reloadFile(ctx context.Context) {
	if !b.fileReload || b.reloadWait(time.Now()) == crowdedWait {
		return
	}
	b.fileReload = false
	if err := b.proxy.ReloadFile(ctx); err != nil {
		b.fail(err)
		return
	}
	b.lastReload = time.Now()
}

// Status gives a copy of what is known now.
func (b *LB) Status() rest.Status { return *b.status.Load() }

// PIDs gives the processes of our HAProxy.
func (b *LB) PIDs() []int { return b.proxy.PIDs() }

// Resync lists the apps anew and applies them, like SIGHUP.
func (b *LB) Resync() { b.request(false) }

// Reload reloads the live file, like SIGUSR1.
func (b *LB) Reload() { b.request(true) }

func (b *LB) request(reload bool) {
	select {
	case b.ask <- reload:
	default: // one is waiting already
	}
}
