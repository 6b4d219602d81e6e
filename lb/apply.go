package lb

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/lb/haproxy"
	"github.com/stoa-project/stoa/lb/labels"
	"github.com/stoa-project/stoa/lb/render"
	"github.com/stoa-project/stoa/lb/rest"
)

// settings gives what the file holds besides the services.
func (b *LB) settings() render.Settings {
	return render.Settings{
		Profile: b.cfg.Profile, BindAddr: b.cfg.BindAddr, HTTPPort: b.cfg.HTTPPort, HTTPSPort: b.cfg.HTTPSPort, AppIDPort: b.cfg.AppIDPort,
		StatsPort: b.cfg.StatsPort, AdminBind: b.cfg.AdminBind, AdminAllow: b.cfg.AdminAllow,
		SSLCerts: b.cfg.SSLCerts, GroupHTTPS: b.cfg.GroupHTTPS, Maps: b.cfg.Maps, MapDir: b.mapDir, Syslog: b.cfg.Syslog,
		StatsSocket: b.files.StatsSocket(), StateFile: b.files.StateFile(), AdminSocket: b.files.AdminSocket(),
		HardStop: int(b.cfg.HardStop.Seconds()), MaxConn: haproxy.MaxConn(50000, b.listeners, b.servers), DefaultsOpts: b.cfg.DefaultsOptions, Templates: b.templates,
	}
}

// options gives what selects apps and servers. The listing's hosts are resolved now.
func (b *LB) options(ctx context.Context, now time.Time) labels.Options {
	return labels.Options{
		Groups: b.cfg.Groups, Strict: b.cfg.Strict, HealthCheck: b.cfg.HealthCheck, AllAlive: b.cfg.AllAlive, KeepEmpty: b.cfg.KeepEmpty,
		Compat: b.cfg.Profile == render.Compat, BindAddr: b.cfg.BindAddr, SkipApp: b.cfg.SkipApp,
		AssignMin: b.cfg.AssignMin, AssignMax: b.cfg.AssignMax,
		Up:        b.up(),
		Addresses: b.hosts.Addresses(ctx, now, b.listed), LastAlive: b.alive.remember(b.listed), LastGood: b.good,
	}
}

// up gives the tasks that HAProxy reaches, nil where nobody asks: Marathon-LB does not.
func (b *LB) up() map[string]bool {
	if b.cfg.Profile == render.Compat || b.cfg.Command != "" || !b.replacing.now {
		return nil
	}
	if b.replacing.up == nil {
		return map[string]bool{}
	}
	return b.replacing.up
}

// render gives the configuration for services. Where a template label is wrong the port
// keeps its last good settings, or is left out; the services in effect are given back.
func (b *LB) render(services []labels.Service) (render.Config, []labels.Service, []labels.Problem) {
	return b.renderBy(b.rendered.File, services)
}

// explain does the same with Origins, which takes longer.
func (b *LB) explain(services []labels.Service) (render.Config, []labels.Service, []labels.Problem) {
	return b.renderBy(render.File, services)
}

type renderer func([]labels.Service, render.Settings) (render.Config, []labels.Problem)

func (b *LB) renderBy(file renderer, services []labels.Service) (render.Config, []labels.Service, []labels.Problem) {
	b.listeners, b.servers = len(services), 0
	for i := range services {
		b.servers += len(services[i].Servers)
	}
	want, problems := file(services, b.settings())
	if len(problems) == 0 {
		return want, services, nil
	}
	bad := map[labels.PortKey]bool{}
	for i := range problems {
		key := labels.PortKey{AppID: problems[i].AppID, Index: problems[i].Index}
		bad[key] = true
		if _, problems[i].Kept = b.good[key]; problems[i].Kept {
			problems[i].Reason += "; the last good settings stay"
		}
	}
	services = b.fallBack(services, bad)
	want, _ = file(services, b.settings())
	return want, services, problems
}

// fallBack gives bad services their last good settings, with the servers of today; those
// that never were good are left out.
func (b *LB) fallBack(services []labels.Service, bad map[labels.PortKey]bool) []labels.Service {
	var out []labels.Service
	for _, s := range services {
		if bad[s.Key()] {
			good, ok := b.good[s.Key()]
			if !ok {
				continue
			}
			good.Servers, good.Rev = s.Servers, 0
			s = good
		}
		out = append(out, s)
	}
	return out
}

// apply brings HAProxy to the newest listing. A reload that comes too soon after the
// last is put off: later is set.
func (b *LB) apply(ctx context.Context, later *<-chan time.Time, now bool) {
	began := time.Now()
	b.takeDrains() // they were told of before the listing without their tasks
	services, problems := b.services.Services(b.listed, b.options(ctx, began))
	services, refusals := b.withoutBarred(services)
	problems = append(problems, refusals...)
	services, busy := b.withoutBusy(services)
	problems = append(problems, busy...)
	want, services, refusals := b.render(services)
	problems = append(problems, refusals...)
	if wait := b.reloadWait(began); (wait > 0 && !now || wait == crowdedWait) && b.proxy.NeedsReload(ctx, want) {
		b.metrics.coalesced.Inc()
		if *later == nil {
			*later = time.After(wait)
		}
		return
	}
	groups := b.proxy.Groups()
	defer func() { b.metrics.groups.Add(float64(b.proxy.Groups() - groups)) }()
	change, err := b.proxy.Apply(ctx, want)
	if fault.KindOf(err) == fault.Invalid && !b.cfg.SkipCleanup {
		services, refusals, err = b.withoutRefused(ctx, services)
		problems = append(problems, refusals...)
		if err == nil {
			want, services, _ = b.render(services)
			change, err = b.proxy.Apply(ctx, want)
		}
	}
	if change == haproxy.Reloaded || change == haproxy.Started {
		b.lastReload = time.Now()
	}
	if err == nil {
		b.seeDraining(b.applied)
		b.remember(services)
		if b.applied = services; services == nil {
			b.applied = []labels.Service{} // nil is not known
		}
	}
	if len(busy) > 0 && *later == nil {
		// No event tells when another process lets go of a port.
		*later = time.After(busyRetry)
	}
	b.report(services, problems, change, err, began)
}

const (
	// crowdedWait is how soon a reload is tried again that would end connections of an
	// old worker, and crowdedMost how long it is put off for them.
	crowdedWait = 100 * time.Millisecond
	crowdedMost = 10 * time.Second
)

// reloadWait tells how long a reload is put off: because the last one was just now, or
// because it would end a worker that still has connections.
func (b *LB) reloadWait(now time.Time) time.Duration {
	if !b.proxy.Crowded() {
		b.crowded = time.Time{}
		return b.cfg.ReloadInterval - now.Sub(b.lastReload)
	}
	if b.crowded.IsZero() {
		b.crowded = now
	}
	if now.Sub(b.crowded) < crowdedMost {
		return crowdedWait
	}
	return 0
}

// remember keeps the settings that HAProxy took, for when labels become wrong.
func (b *LB) remember(services []labels.Service) {
	for i := range services {
		key := services[i].Key()
		if was, ok := b.good[key]; ok && was.Rev != 0 && was.Rev == services[i].Rev {
			continue
		}
		s := services[i]
		s.Servers = nil
		b.good[key] = s
	}
	if len(b.good) > len(services) {
		now := make(map[labels.PortKey]bool, len(services))
		for i := range services {
			now[services[i].Key()] = true
		}
		maps.DeleteFunc(b.good, func(k labels.PortKey, _ labels.Service) bool { return !now[k] })
	}
}

// withoutRefused finds the services at fault for a refusal, first by the lines that
// HAProxy names, then by halving, and falls back to their last good settings.
func (b *LB) withoutRefused(ctx context.Context, services []labels.Service) ([]labels.Service, []labels.Problem, error) {
	rest, bad := services, []refused{}
	for {
		c, _, _ := b.explain(rest)
		err := b.proxy.Validate(ctx, c)
		if err == nil {
			break
		}
		named := blame(c, rest, err)
		if len(named) == 0 {
			var more []refused
			if rest, more, err = isolate(ctx, rest, b.valid); err != nil {
				return nil, nil, err
			}
			bad = append(bad, more...)
			break
		}
		bad = append(bad, named...)
		rest = slices.DeleteFunc(slices.Clone(rest), func(s labels.Service) bool {
			return slices.ContainsFunc(named, func(r refused) bool { return r.service.Key() == s.Key() })
		})
	}
	keys := map[labels.PortKey]bool{}
	for _, r := range bad {
		keys[r.service.Key()] = true
	}
	kept := b.fallBack(services, keys)
	if len(kept) > len(rest) && b.valid(ctx, kept) != nil {
		kept = rest
	}
	var problems []labels.Problem
	for _, r := range bad {
		p := labels.Problem{AppID: r.service.AppID, Index: r.service.Index, Reason: r.why.Error()}
		p.Kept = slices.ContainsFunc(kept, func(s labels.Service) bool { return s.Key() == r.service.Key() })
		r.service.Servers = nil
		b.barred[r.service.Key()] = barred{r.service, p}
		problems = append(problems, p)
	}
	return kept, problems, nil
}

func (b *LB) valid(ctx context.Context, s []labels.Service) error {
	c, _, _ := b.render(s)
	return b.proxy.Validate(ctx, c)
}

// blame gives the services that made the lines which a refusal names.
func blame(c render.Config, services []labels.Service, err error) []refused {
	var r *haproxy.Refusal
	if !errors.As(err, &r) {
		return nil
	}
	seen := map[labels.PortKey]bool{}
	var out []refused
	for _, line := range r.Lines {
		key, ok := c.OwnerOf(line)
		if !ok || seen[key] {
			continue
		}
		seen[key] = true
		for _, s := range services {
			if s.Key() == key {
				out = append(out, refused{s, err})
			}
		}
	}
	return out
}

// withoutBarred spares services that HAProxy refused, and that have not changed since,
// another try.
func (b *LB) withoutBarred(services []labels.Service) ([]labels.Service, []labels.Problem) {
	if len(b.barred) == 0 {
		return services, nil
	}
	var problems []labels.Problem
	still, bad := map[labels.PortKey]barred{}, map[labels.PortKey]bool{}
	for _, s := range services {
		was, ok := b.barred[s.Key()]
		if now := s; ok {
			now.Servers, now.Rev = nil, was.service.Rev
			ok = reflect.DeepEqual(was.service, now)
		}
		if !ok {
			continue
		}
		still[s.Key()], bad[s.Key()] = was, true
		problems = append(problems, was.problem)
	}
	b.barred = still
	// One that could not be kept then cannot be kept now.
	for key, was := range still {
		if !was.problem.Kept {
			delete(b.good, key)
		}
	}
	return b.fallBack(services, bad), problems
}

// report logs what changed and publishes the status.
func (b *LB) report(services []labels.Service, problems []labels.Problem, change haproxy.Change, err error, began time.Time) {
	s := *b.status.Load()
	s.Services, s.Servers, s.Problems, s.Ports = len(services), 0, []string{}, []rest.Port{}
	for i := range services {
		s.Servers += len(services[i].Servers)
	}
	seen := map[string]bool{}
	for _, p := range problems {
		text := p.String()
		if seen[text] {
			continue
		}
		seen[text] = true
		s.Problems = append(s.Problems, text)
		state := "left out"
		if p.Kept {
			state = "kept"
		}
		s.Ports = append(s.Ports, rest.Port{App: p.AppID, Index: p.Index, State: state, Label: p.Label, Reason: p.Reason})
		if !b.reported[text] {
			what := "service port left out"
			if p.Kept {
				what = "service port is not as its app asks"
			}
			b.log.Warn(what, "app", p.AppID, "reason", p.Reason, "label", p.Label)
		}
	}
	b.reported = seen
	b.metrics.problems.Set(float64(len(s.Problems)))
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
	b.status.Store(&s)
}

func (b *LB) fail(err error) {
	s := *b.status.Load()
	if s.LastError != err.Error() {
		b.log.Error("haproxy keeps what it has", "error", err)
	}
	s.LastError = err.Error()
	b.status.Store(&s)
	b.metrics.failures.Inc()
}
