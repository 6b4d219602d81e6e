// Package zdd replaces an app by a new version of it behind the load balancer, step by
// step: a blue one by a green one. It is a client of Marathon's REST API and of the load
// balancers' statistics, and keeps nothing of its own: what it needs to know is in the
// labels of the two apps.
//
// Contract: zdd.py of Marathon-LB 1.15.0 (marathon-lb.md 15).
package zdd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"strings"
	"time"
)

// Options are those of zdd.py.
type Options struct {
	App       []byte // JSON of the new app
	Marathon  string // URL
	Balancer  string // URL of the statistics; all addresses of its host are asked
	User      string // HTTP basic authentication to Marathon
	Password  string
	Token     TokenSource // instead of those
	CAFile    string
	Insecure  bool
	DryRun    bool // print the app and stop
	Force     bool // ask nobody
	Resume    bool
	Current   bool // a hybrid deployment becomes the newer app's
	Previous  bool // it becomes the older app's again
	StepDelay time.Duration
	MaxWait   time.Duration // for the last request of a drained task
	Initial   int           // first instances of the new app
	Linear    int           // instances added at each step; 0 adds half
	New       int           // instances of a hybrid deployment; 0 is none
	Hook      string        // program that is asked before each kill

	Out io.Writer
	// Confirm asks a person; nil says yes to everything, as Force does.
	Confirm func(question string) bool
	Log     *slog.Logger
	// Now gives the time that the deployment is marked with.
	Now func() time.Time
}

// TokenSource gives the value of the Authorization header.
type TokenSource interface {
	Authorization(ctx context.Context) (string, error)
}

// Error is a failure with the exit code that zdd.py ends with.
type Error struct {
	Code int
	Err  error
}

// Codes of failures. A person who declines is 1, anything else 2.
const (
	Declined    = 1
	Unknown     = 2
	BadArgument = 3
	BadApp      = 4
	BadBalancer = 5
	BadMarathon = 6
	NotCreated  = 7
	NotDeleted  = 8
	NotScaled   = 9
)

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap gives the reason.
func (e *Error) Unwrap() error { return e.Err }

// ExitCode gives Code.
func (e *Error) ExitCode() int { return e.Code }

func failed(code int, format string, args ...any) error {
	return &Error{code, fmt.Errorf(format, args...)}
}

var errDeclined = &Error{Declined, errors.New("stopped: the question was not answered with yes")}

// deploy is one run.
type deploy struct {
	Options
	client *client
}

// Run deploys. The error, if any, is an Error.
func Run(ctx context.Context, o Options) error {
	if o.Now == nil {
		o.Now = time.Now
	}
	c, err := newClient(o)
	if err != nil {
		return &Error{BadArgument, err}
	}
	err = (&deploy{o, c}).run(ctx)
	var coded *Error
	if err != nil && !errors.As(err, &coded) {
		err = &Error{Unknown, err}
	}
	return err
}

func (d *deploy) run(ctx context.Context) error {
	next, err := readApp(d.App)
	if err != nil {
		return err
	}
	if err := validate(next); err != nil {
		return err
	}
	before, err := d.previous(ctx, next.label(labelGroup))
	if err != nil {
		return err
	}
	if len(before) > 1 {
		return d.again(ctx, before)
	}
	if d.Current || d.Previous {
		return failed(BadArgument, "--complete-cur and --complete-prev are for a hybrid deployment, which group %s is not", next.label(labelGroup))
	}
	var last app
	if len(before) == 1 {
		last = before[0]
	}
	if next, err = prepare(next, last, d.Options); err != nil {
		return err
	}
	text, err := json.MarshalIndent(next, "", "  ")
	if err != nil {
		return err
	}
	fmt.Fprintf(d.Out, "%s\n", text)
	if d.DryRun {
		return nil
	}
	if !d.ask("Continue with deployment?") {
		return errDeclined
	}
	if err := d.client.create(ctx, next); err != nil {
		return err
	}
	if last == nil {
		return nil // the first of its group has nothing to replace
	}
	return d.swap(ctx, next.id(), last.id())
}

// previous gives the apps of a deployment group, oldest first.
func (d *deploy) previous(ctx context.Context, group string) ([]app, error) {
	apps, err := d.client.apps(ctx)
	if err != nil {
		return nil, err
	}
	return ofGroup(apps, group), nil
}

// again goes on with a deployment that has two apps already.
func (d *deploy) again(ctx context.Context, before []app) error {
	older, newer := before[len(before)-2], before[len(before)-1]
	switch {
	case d.Current, !d.Previous && d.Resume:
		return d.swap(ctx, newer.id(), older.id())
	case d.Previous:
		return d.swap(ctx, older.id(), newer.id())
	}
	return failed(Unknown, "a deployment of this group is under way already (%s and %s); --resume goes on with it, --complete-cur and --complete-prev end a hybrid one", older.id(), newer.id())
}

// swap moves instances from the old app to the new one until the old one can go.
func (d *deploy) swap(ctx context.Context, newID, oldID string) error {
	for {
		before, err := d.client.app(ctx, oldID)
		if err != nil {
			return err
		}
		next, err := d.client.app(ctx, newID)
		if err != nil {
			return err
		}
		if next.deploying() {
			if err := d.pause(ctx); err != nil {
				return err
			}
			continue
		}
		hybrid := next.hybrid(d.Current || d.Previous)
		var drained []string
		// Load balancers drain what there is beyond the target. zdd.py waits for a drained
		// server in any case, and so sits out --max-wait where there will be none.
		if next.instances()+before.instances() > next.target() {
			if drained, err = d.drained(ctx, next, before); err != nil {
				return err
			}
		}
		if done(next, before, len(drained), hybrid) {
			return d.finish(ctx, before, hybrid)
		}
		if len(drained) > 0 {
			if err := d.hook(ctx, before, drained, next); err != nil {
				return err
			}
			d.Log.Info("tasks without requests are about to be killed", "app", before.id(), "tasks", drained)
			if !d.ask(fmt.Sprintf("Kill %d tasks of %s (%s)?", len(drained), before.id(), strings.Join(drained, ", "))) {
				return errDeclined
			}
			if err := d.client.kill(ctx, drained); err != nil {
				return err
			}
		}
		if n, more := grow(next, before, d.Linear, hybrid); more {
			d.Log.Info("scaling", "app", next.id(), "instances", n)
			if err := d.client.scale(ctx, next.id(), n); err != nil {
				return err
			}
		}
	}
}

// finish deletes the old app, unless both stay.
func (d *deploy) finish(ctx context.Context, before app, hybrid bool) error {
	if hybrid {
		d.Log.Info("both apps stay: the deployment is hybrid", "old", before.id())
		return nil
	}
	if !d.ask("Delete " + before.id() + "?") {
		return errDeclined
	}
	return d.client.remove(ctx, before.id())
}

// drained waits until every load balancer has the wanted servers and at least one of
// them without requests, and gives the old app's tasks that are. After MaxWait it gives
// those that are out of service, whatever requests they have.
func (d *deploy) drained(ctx context.Context, next, before app) ([]string, error) {
	urls, err := d.client.balancers(ctx)
	if err != nil {
		return nil, err
	}
	proxy := next.label(labelGroup) + "_" + next.label(labelPort)
	rows, err := d.client.listeners(ctx, urls, proxy)
	if err != nil {
		return nil, failed(BadBalancer, "%w", err)
	}
	names, err := serverNames(ctx, before)
	if err != nil {
		return nil, err
	}
	for began := time.Now(); time.Since(began) < d.MaxWait; {
		if err := d.pause(ctx); err != nil {
			return nil, err
		}
		d.Log.Info("waiting for load balancers", "old", before.instances(), "new", next.instances(), "servers", len(rows), "load_balancers", len(urls))
		if d.client.reloading(ctx, urls) {
			continue
		}
		now, err := d.client.listeners(ctx, urls, proxy)
		if err != nil {
			d.Log.Info("a load balancer does not answer", "error", err)
			continue // it may be reloading
		}
		if rows = now; !settled(rows, len(urls), next, before) {
			continue
		}
		return onAll(names, rows, len(urls), listener.drained), nil
	}
	d.Log.Warn("tasks still have requests after the longest wait; going on", "max_wait", d.MaxWait)
	return onAll(names, rows, len(urls), listener.out), nil
}

// hook runs the user's program, which may stop the deployment by its exit code.
func (d *deploy) hook(ctx context.Context, before app, tasks []string, next app) error {
	if d.Hook == "" {
		return nil
	}
	var args []string
	for _, v := range []any{before, tasks, next} {
		text, err := json.Marshal(v)
		if err != nil {
			return err
		}
		args = append(args, string(text))
	}
	cmd := exec.CommandContext(ctx, d.Hook, args...)
	cmd.Stdout, cmd.Stderr = d.Out, d.Out
	if err := cmd.Run(); err != nil {
		return failed(Unknown, "--pre-kill-hook %s stopped the deployment: %w", d.Hook, err)
	}
	return nil
}

func (d *deploy) ask(question string) bool {
	return d.Force || d.Confirm == nil || d.Confirm(question)
}

func (d *deploy) pause(ctx context.Context) error {
	timer := time.NewTimer(d.StepDelay)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
