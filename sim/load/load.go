package load

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/stoa-project/stoa/internal/auth"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/tlsport"
	"github.com/stoa-project/stoa/internal/wire"
)

// Limits of one run.
const (
	MaxTasks      = 10_000_000
	MaxFrameworks = 10_000
)

// Config says how much load to make.
type Config struct {
	Master     *url.URL // http://host:port; its path is ignored
	Tasks      int
	Rate       float64 // tasks launched per second by all frameworks; 0 is as fast as offers come
	Frameworks int
	Codec      wire.Codec
	Role       string
	User       string
	Name       string  // of the frameworks
	CPUs, Mem  float64 // of each task; Mem in MiB
	PerOffer   int     // tasks launched on one offer at most
	Command    string
	Timeout    time.Duration // after which the run ends as it is

	TLS        *tlsport.Port   // nil: plain connections
	Credential auth.Credential // shown to the master by HTTP basic; empty: none is
}

// Run makes the load, measures it and tears the frameworks down. The report is valid
// also with an error, which says why not all tasks ran.
func Run(ctx context.Context, cfg Config, log *slog.Logger) (Report, error) {
	if err := cfg.Check(); err != nil {
		return Report{}, err
	}
	report := Report{Tasks: cfg.Tasks}
	at := *cfg.Master
	at.Path, at.RawQuery = "/api/v1/scheduler", ""
	at.Scheme = cfg.TLS.Scheme()
	if c := cfg.Credential; c.Principal != "" {
		at.User = url.UserPassword(c.Principal, c.Secret)
	}
	transport := cfg.TLS.Transport(&http.Transport{DisableCompression: true})
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if len(via) > 10 {
			return errors.New("the masters redirect in a circle")
		}
		if c := cfg.Credential; c.Principal != "" { // the leader is one of the same masters
			r.SetBasicAuth(c.Principal, c.Secret)
		}
		return nil
	}}

	stop, cancel := context.WithTimeoutCause(ctx, cfg.Timeout, fault.New("load", fault.Timeout, "--timeout", fmt.Errorf("not all tasks ran within %s", cfg.Timeout)))
	defer cancel()
	var all []*framework
	defer func() {
		for _, f := range all {
			f.session.close()
		}
	}()
	for i := range cfg.Frameworks {
		n := cfg.Tasks / cfg.Frameworks
		if i < cfg.Tasks%cfg.Frameworks {
			n++
		}
		f, err := start(stop, client, &at, cfg, n, log)
		if err != nil {
			teardown(client, all, log)
			return report, err
		}
		all = append(all, f)
	}
	log.Info("subscribed", "frameworks", len(all), "master", all[0].session.target.Host)
	began := time.Now()
	done := make(chan error, len(all))
	for _, f := range all {
		go func() { done <- f.run(stop, began) }()
	}
	ticker := time.NewTicker(2 * time.Second)
	defer ticker.Stop()
	var failed error
	for waiting := len(all); waiting > 0; {
		select {
		case err := <-done:
			waiting--
			if err != nil && failed == nil {
				failed = err
				cancel()
			}
		case <-ticker.C:
			var launched, running int64
			for _, f := range all {
				launched, running = launched+f.launched.Load(), running+f.running.Load()
			}
			log.Info("progress", "tasks", cfg.Tasks, "launched", launched, "running", running)
		}
	}
	var launch, offer []time.Duration
	end := began
	for _, f := range all {
		report.Running += int(f.running.Load())
		report.Lost += f.lost
		launch, offer = append(launch, f.launchTimes...), append(offer, f.offerTimes...)
		if f.finished.After(end) {
			end = f.finished
		}
	}
	if failed != nil {
		end = time.Now() // it went on without anything happening
	}
	report.Seconds = rounded(end.Sub(began).Seconds())
	if report.Seconds > 0 {
		report.Rate = rounded(float64(report.Running) / end.Sub(began).Seconds())
	}
	report.Launch, report.Offer = spreadOf(launch), spreadOf(offer)
	teardown(client, all, log)
	switch {
	case ctx.Err() != nil:
		return report, fault.New("load", fault.Other, "", errors.New("stopped before all tasks ran"))
	case failed != nil && errors.Is(failed, context.DeadlineExceeded):
		return report, context.Cause(stop)
	case failed != nil:
		return report, failed
	case report.Running < cfg.Tasks:
		return report, fault.New("load", fault.Other, "tasks", fmt.Errorf("%d of %d ran, %d were lost", report.Running, cfg.Tasks, report.Lost))
	}
	return report, nil
}

// Check says which value is unusable; errors are fault.Invalid and name the flag.
func (c Config) Check() error {
	bad := func(flag, why string) error { return fault.New("stoa sim load", fault.Invalid, flag, errors.New(why)) }
	switch {
	case c.Master == nil || c.Master.Host == "":
		return bad("--master", "give host:port of a master")
	case c.Tasks < 1 || c.Tasks > MaxTasks:
		return bad("--tasks", fmt.Sprintf("it must be from 1 to %d", MaxTasks))
	case c.Frameworks < 1 || c.Frameworks > MaxFrameworks:
		return bad("--frameworks", fmt.Sprintf("it must be from 1 to %d", MaxFrameworks))
	case c.Frameworks > c.Tasks:
		return bad("--frameworks", fmt.Sprintf("%d frameworks for %d tasks: each needs a task at least", c.Frameworks, c.Tasks))
	case !(c.Rate >= 0 && c.Rate <= 1e6):
		return bad("--rate", "it must be from 0, which is no limit, to 1000000 tasks per second")
	case !(c.CPUs >= 0.001 && c.CPUs <= 1e6):
		return bad("--cpus", "it must be from 0.001 to 1000000")
	case !(c.Mem >= 0 && c.Mem <= 1e9):
		return bad("--mem", "it must be from 0 to 1000000000 MiB")
	case c.PerOffer < 1:
		return bad("--tasks_per_offer", "it must be at least 1")
	case c.Timeout <= 0:
		return bad("--timeout", "it must be more than 0")
	}
	return nil
}

// teardown ends the frameworks at the master, whatever happened before.
func teardown(client *http.Client, all []*framework, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, f := range all {
		if err := f.teardown(ctx, client); err != nil {
			log.Warn("a framework could not be torn down; it goes when the master sees its stream closed", "framework", f.session.framework, "err", err)
		}
	}
}
