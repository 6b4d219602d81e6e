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
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/lb/follow"
	"github.com/stoa-project/stoa/lb/haproxy"
	"github.com/stoa-project/stoa/lb/labels"
	"github.com/stoa-project/stoa/lb/render"
	"github.com/stoa-project/stoa/lb/rest"
)

// Config is everything `stoa lb` can be told.
type Config struct {
	Marathon    []string // URLs
	User        string   // HTTP basic authentication to Marathon
	Password    string
	Groups      []string // "*" takes every app; empty is an error
	Strict      bool
	HealthCheck bool
	KeepEmpty   bool
	SkipApp     string

	BindAddr  string // of every frontend, "" is "*"
	HTTPPort  int    // virtual hosts, 0 is off
	HTTPSPort int    // virtual hosts over TLS, 0 is off
	AppIDPort int    // by X-Marathon-App-Id, 0 is off
	StatsPort int
	SSLCerts  []string

	HAProxyPath string // "" looks for it
	ConfigPath  string
	RunDir      string // sockets, pid and state of HAProxy
	Command     string // reloads a HAProxy that is not ours
	// StopHAProxy ends HAProxy with Run; else it goes on serving and the next start adopts it.
	StopHAProxy bool

	Resync          time.Duration // full listing at least this often
	MaxBackoff      time.Duration // between two connects to the event stream
	ReloadInterval  time.Duration // between two reloads
	DefaultsOptions []string      // "option" lines of the defaults section
}

// Defaults gives Marathon-LB's settings.
func Defaults() Config {
	return Config{
		Marathon: []string{"http://master.mesos:8080"}, HTTPPort: 80, HTTPSPort: 443, AppIDPort: 9091, StatsPort: 9090,
		ConfigPath: "/etc/haproxy/haproxy.cfg", RunDir: "/run/stoa-lb",
		Resync: 5 * time.Minute, MaxBackoff: 5 * time.Minute, ReloadInterval: 2 * time.Second,
		DefaultsOptions: []string{"redispatch", "http-server-close", "dontlognull", "idle-close-on-response"},
	}
}

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

	listed     []labels.App      // newest listing
	reported   map[string]bool   // problems already logged
	barred     map[string]barred // by backend: what HAProxy refused, so that it is not tried again
	lastReload time.Time
}

// barred is a service that HAProxy refused.
type barred struct {
	structure string // a service that renders otherwise is tried again
	problem   labels.Problem
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
	f, err := follow.New(follow.Config{
		URLs: cfg.Marathon, User: cfg.User, Password: cfg.Password,
		MaxBackoff: cfg.MaxBackoff, Resync: cfg.Resync, Logger: log,
	})
	if err != nil {
		return nil, err
	}
	b := &LB{
		cfg: cfg, log: log, follow: f, hosts: follow.NewHosts(30 * time.Second), metrics: newMetrics(),
		ask: make(chan bool, 1), reported: map[string]bool{}, barred: map[string]barred{},
	}
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
	b.files = haproxy.Config{Binary: binary, ConfigPath: b.cfg.ConfigPath, RunDir: b.cfg.RunDir, Command: b.cfg.Command, Logger: b.log}
	b.proxy = haproxy.New(b.files)

	admin, err := b.listenAdmin()
	if err != nil {
		return err
	}
	server := &http.Server{Handler: rest.Handler(b, b.cfg.ConfigPath, b.metrics.handler()), ReadHeaderTimeout: 10 * time.Second}
	listings := make(chan []labels.App, 1)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := server.Serve(admin); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go(func() error {
		return b.follow.Run(ctx, func(apps []labels.App) {
			// Only the newest listing counts.
			select {
			case <-listings:
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
	// Before Marathon answers there is nothing to route, but stats and health answer.
	b.apply(ctx, &later, true)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case apps := <-listings:
			b.listed = apps
			s := *b.status.Load()
			s.LastListing = time.Now()
			b.status.Store(&s)
			b.apply(ctx, &later, false)
		case <-later:
			later = nil
			b.apply(ctx, &later, true)
		case reload := <-b.ask:
			if reload {
				b.reloadFile(ctx)
			} else if apps, err := b.follow.List(ctx); err == nil {
				b.listed = apps
				b.apply(ctx, &later, true)
			}
		case <-tick.C:
			if err := b.proxy.Check(ctx); err != nil {
				b.fail(err)
			}
			b.metrics.dying.Set(float64(b.proxy.Sweep(ctx)))
		}
	}
}

// render gives the configuration for services.
func (b *LB) render(services []labels.Service) render.Config {
	return render.File(services, render.Settings{
		BindAddr: b.cfg.BindAddr, HTTPPort: b.cfg.HTTPPort, HTTPSPort: b.cfg.HTTPSPort, AppIDPort: b.cfg.AppIDPort,
		StatsPort: b.cfg.StatsPort, SSLCerts: b.cfg.SSLCerts,
		StatsSocket: b.files.StatsSocket(), StateFile: b.files.StateFile(), AdminSocket: b.files.AdminSocket(),
		HardStop: 900, MaxConn: haproxy.MaxConn(50000), DefaultsOpts: b.cfg.DefaultsOptions,
	})
}

// apply brings HAProxy to the newest listing. A reload that comes too soon after the
// last is put off: later is set.
func (b *LB) apply(ctx context.Context, later *<-chan time.Time, now bool) {
	began := time.Now()
	services, problems := labels.Services(b.listed, labels.Options{
		Groups: b.cfg.Groups, Strict: b.cfg.Strict, HealthCheck: b.cfg.HealthCheck, KeepEmpty: b.cfg.KeepEmpty,
		BindAddr: b.cfg.BindAddr, SkipApp: b.cfg.SkipApp, Addresses: b.hosts.Addresses(ctx, began, b.listed),
	})
	services, refusals := b.withoutBarred(services)
	problems = append(problems, refusals...)
	services, refusals = b.withoutBusy(services)
	problems = append(problems, refusals...)
	want := b.render(services)
	if wait := b.cfg.ReloadInterval - time.Since(b.lastReload); !now && wait > 0 && b.proxy.NeedsReload(want) {
		if *later == nil {
			*later = time.After(wait)
		}
		return
	}
	change, err := b.proxy.Apply(ctx, want)
	if fault.KindOf(err) == fault.Invalid {
		var bad []refused
		services, bad, err = isolate(ctx, services, func(ctx context.Context, s []labels.Service) error {
			return b.proxy.Validate(ctx, b.render(s).Text)
		})
		for _, r := range bad {
			p := labels.Problem{AppID: r.service.AppID, Index: r.service.Index, Reason: r.why.Error()}
			b.barred[r.service.Backend] = barred{b.structureOf(r.service), p}
			problems = append(problems, p)
		}
		if err == nil {
			change, err = b.proxy.Apply(ctx, b.render(services))
		}
	}
	if change == haproxy.Reloaded || change == haproxy.Started {
		b.lastReload = time.Now()
	}
	b.report(services, problems, change, err, began)
}

// structureOf identifies what HAProxy refused of a service.
func (b *LB) structureOf(s labels.Service) string { return b.render([]labels.Service{s}).Structure }

// withoutBarred leaves out services that HAProxy refused and that have not changed since.
func (b *LB) withoutBarred(services []labels.Service) ([]labels.Service, []labels.Problem) {
	if len(b.barred) == 0 {
		return services, nil
	}
	var problems []labels.Problem
	still := map[string]barred{}
	services = slices.DeleteFunc(slices.Clone(services), func(s labels.Service) bool {
		was, ok := b.barred[s.Backend]
		if !ok || was.structure != b.structureOf(s) {
			return false
		}
		still[s.Backend] = was
		problems = append(problems, was.problem)
		return true
	})
	b.barred = still
	return services, problems
}

// report logs what changed and publishes the status.
func (b *LB) report(services []labels.Service, problems []labels.Problem, change haproxy.Change, err error, began time.Time) {
	s := *b.status.Load()
	s.Services, s.Servers, s.Problems = len(services), 0, []string{}
	for _, v := range services {
		s.Servers += len(v.Servers)
	}
	seen := map[string]bool{}
	for _, p := range problems {
		text := p.String()
		seen[text] = true
		s.Problems = append(s.Problems, text)
		if !b.reported[text] {
			b.log.Warn("service port left out", "app", p.AppID, "reason", p.Reason, "label", p.Label)
		}
	}
	b.reported = seen
	if err != nil {
		b.status.Store(&s)
		b.fail(err)
		return
	}
	s.LastError = ""
	if change != haproxy.Unchanged {
		s.LastChange, s.LastChangeAt = string(change), time.Now()
		if change == haproxy.Reloaded {
			s.Reloads++
		}
		took := time.Since(began)
		b.metrics.changes.WithLabelValues(string(change)).Inc()
		b.metrics.seconds.Observe(took.Seconds())
		b.log.Info("haproxy changed", "by", string(change), "services", s.Services, "servers", s.Servers, "took", took.Round(time.Microsecond))
	}
	b.metrics.services.Set(float64(s.Services))
	b.metrics.servers.Set(float64(s.Servers))
	b.metrics.problems.Set(float64(len(s.Problems)))
	b.status.Store(&s)
}

func (b *LB) fail(err error) {
	s := *b.status.Load()
	if s.LastError != err.Error() {
		b.log.Error("haproxy keeps what it has", "error", err)
	}
	s.LastError = err.Error()
	b.status.Store(&s)
}

// reloadFile validates the live file as it is, edited by hand perhaps, and reloads it.
func (b *LB) reloadFile(ctx context.Context) {
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
