// Package follow keeps a copy of Marathon's apps and tasks: it re-lists when the event
// stream says that something changed, after each reconnect, and every few minutes
// whatever happened. It works against any Marathon since 1.4.
package follow

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/lb/labels"
)

// Limits on what a Marathon may send.
const (
	maxListing   = 256 << 20 // bytes of one listing
	maxEventLine = 1 << 20   // bytes of one line of the event stream
)

// silence is how long the event stream may say nothing at all before it counts as dead:
// a framework sends a comment line far more often.
const silence = 5 * time.Minute

// Config says whom to follow.
type Config struct {
	URLs       []string // Marathon addresses, tried in turn
	User       string   // HTTP basic authentication; "" sends none
	Password   string
	MaxBackoff time.Duration // longest wait between two connects
	Resync     time.Duration // a full listing at least this often
	Logger     *slog.Logger
	HTTP       *http.Client // nil is a client with sensible limits
}

// Follower follows one Marathon.
type Follower struct {
	cfg    Config
	stream *http.Client // without an overall deadline
	list   *http.Client

	mu   sync.Mutex // guards good
	good int        // index of the URL that answered last
}

// events are the ones after which tasks, ports or labels may differ. Older Marathons
// ignore names they do not know.
var events = []string{
	"api_post_event", "app_terminated_event", "health_status_changed_event", "status_update_event",
	"instance_changed_event", "instance_health_changed_event", "unhealthy_instance_kill_event",
	"group_change_success", "deployment_success",
}

// New makes a Follower; Run starts it.
func New(cfg Config) (*Follower, error) {
	if len(cfg.URLs) == 0 {
		return nil, fault.New("follow marathon", fault.Invalid, "--marathon", errors.New("no URL given"))
	}
	for i, u := range cfg.URLs {
		p, err := url.Parse(u)
		if err != nil || p.Host == "" || p.Scheme != "http" && p.Scheme != "https" {
			return nil, fault.New("follow marathon", fault.Invalid, "--marathon "+u, errors.New("wants http://host:port or https://host:port"))
		}
		cfg.URLs[i] = strings.TrimRight(u, "/")
	}
	f := &Follower{cfg: cfg, stream: cfg.HTTP, list: cfg.HTTP}
	if cfg.HTTP == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.ResponseHeaderTimeout = 46 * time.Second
		f.stream = &http.Client{Transport: t}
		f.list = &http.Client{Transport: t, Timeout: time.Minute}
	}
	return f, nil
}

// Run calls changed from one goroutine with each new listing until ctx ends. Changes
// that arrive while changed runs lead to one further call.
func (f *Follower) Run(ctx context.Context, changed func([]labels.App)) error {
	dirty := make(chan struct{}, 1)
	mark := func() {
		select {
		case dirty <- struct{}{}:
		default: // one is pending already
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	var streaming sync.WaitGroup
	streaming.Go(func() { f.follow(ctx, mark) })
	defer streaming.Wait()
	defer cancel()

	resync := time.NewTicker(f.cfg.Resync)
	defer resync.Stop()
	mark()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-resync.C:
		case <-dirty:
		}
		apps, err := f.List(ctx)
		if err == nil {
			changed(apps)
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		f.cfg.Logger.Warn("apps not listed, keeping what is known", "error", err)
		retry := time.NewTimer(time.Second)
		select {
		case <-ctx.Done():
		case <-retry.C:
			mark()
		}
		retry.Stop()
	}
}

// follow reads event streams one after the other.
func (f *Follower) follow(ctx context.Context, mark func()) {
	const least = 3 * time.Second
	wait := least
	for ctx.Err() == nil {
		began := time.Now()
		err := f.read(ctx, mark)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > 10*time.Minute {
			wait = least
		}
		pause := time.Duration(rand.Int64N(int64(wait)))
		if errors.Is(err, errQuiet) {
			pause = 0
		}
		f.cfg.Logger.Info("event stream ended", "error", err, "again_in", pause)
		f.next()
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
		wait = min(wait*3/2, max(f.cfg.MaxBackoff, least))
	}
}

var errQuiet = errors.New("no byte for five minutes")

// read follows one stream to its end; mark is called at its start and at each event.
func (f *Follower) read(ctx context.Context, mark func()) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	q := url.Values{"plan-format": {"light"}, "event_type": events}
	res, err := f.get(ctx, f.stream, f.base()+"/v2/events?"+q.Encode(), "text/event-stream")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	watchdog := time.AfterFunc(silence, func() { cancel(errQuiet) })
	defer watchdog.Stop()
	mark()
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(make([]byte, 0, 64<<10), maxEventLine)
	for lines.Scan() {
		watchdog.Reset(silence)
		if strings.HasPrefix(lines.Text(), "event:") && !strings.Contains(lines.Text(), "event_stream_") {
			mark()
		}
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return io.EOF
}

// List fetches all apps with their tasks from the first address that answers.
func (f *Follower) List(ctx context.Context) ([]labels.App, error) {
	var errs []error
	for range f.cfg.URLs {
		apps, err := f.listFrom(ctx, f.base())
		if err == nil {
			return apps, nil
		}
		errs = append(errs, err)
		f.next()
	}
	return nil, fault.New("list apps", fault.Unavailable, "", errors.Join(errs...))
}

func (f *Follower) listFrom(ctx context.Context, base string) ([]labels.App, error) {
	res, err := f.get(ctx, f.list, base+"/v2/apps?embed=apps.tasks", "application/json")
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var listing struct {
		Apps []labels.App `json:"apps"`
	}
	body := &io.LimitedReader{R: res.Body, N: maxListing}
	if err := json.NewDecoder(body).Decode(&listing); err != nil {
		if body.N == 0 {
			err = fmt.Errorf("longer than %d bytes", maxListing)
		}
		return nil, fmt.Errorf("%s/v2/apps: %w", base, err)
	}
	return listing.Apps, nil
}

func (f *Follower) get(ctx context.Context, client *http.Client, url, accept string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", accept)
	if f.cfg.User != "" {
		req.SetBasicAuth(f.cfg.User, f.cfg.Password)
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(io.LimitReader(res.Body, 300))
		res.Body.Close()
		return nil, fmt.Errorf("GET %s: %s: %s", url, res.Status, strings.TrimSpace(string(said)))
	}
	return res, nil
}

func (f *Follower) base() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cfg.URLs[f.good]
}

// next moves on to the next address.
func (f *Follower) next() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.good = (f.good + 1) % len(f.cfg.URLs)
}
