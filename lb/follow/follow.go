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
	maxEventLine = 4 << 20   // bytes of one line of the event stream
)

// silence is how long the event stream may say nothing at all before it counts as dead:
// a framework sends a comment line far more often.
const silence = 5 * time.Minute

// Config says whom to follow.
type Config struct {
	URLs       []string // Marathon addresses, tried in turn
	User       string   // HTTP basic authentication; "" sends none
	Password   string
	Token      TokenSource   // gives the Authorization header instead; nil does not
	CAFile     string        // certificates that an https Marathon's is checked against; "" is the system's
	Insecure   bool          // an https Marathon's certificate is not checked
	MaxBackoff time.Duration // longest wait between two connects
	Resync     time.Duration // a full listing at least this often
	Poll       bool          // no event stream: Resync is all
	// Drain hears of each task whose kill waits for Drained, from the goroutine of Run and
	// before the state of the apps without it; nil has no kill wait.
	Drain  func(app, task string)
	Logger *slog.Logger
	HTTP   *http.Client // nil is a client with sensible limits
}

// Follower follows one Marathon.
type Follower struct {
	cfg    Config
	name   string       // of this load balancer, where kills wait for it
	stream *http.Client // without an overall deadline
	list   *http.Client
	events chan event    // from the stream to Run
	lost   chan struct{} // asks Run for a full listing

	mu    sync.Mutex // guards good and state
	good  int        // index of the URL that answered last
	state State
}

// State tells how the event stream does.
type State struct {
	Connected bool
	LastEvent time.Time // when it last said anything, comments included
}

// State gives the state now.
func (f *Follower) State() State {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state
}

func (f *Follower) heard(connected bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state.Connected = connected; connected {
		f.state.LastEvent = time.Now()
	}
}

// events are the ones after which tasks, ports or labels may differ. Older Marathons
// ignore names they do not know.
var events = []string{
	"api_post_event", "app_terminated_event", "health_status_changed_event", "status_update_event", "unhealthy_task_kill_event",
	"instance_changed_event", "instance_health_changed_event", "unhealthy_instance_kill_event",
	"group_change_success", "deployment_success",
	drainEvent,
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
	f := &Follower{cfg: cfg, name: fmt.Sprintf("lb-%016x", rand.Uint64()), stream: cfg.HTTP, list: cfg.HTTP, events: make(chan event, 1024), lost: make(chan struct{}, 1)}
	if cfg.HTTP == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.ResponseHeaderTimeout = 46 * time.Second
		var err error
		if t.TLSClientConfig, err = cfg.tls(); err != nil {
			return nil, err
		}
		f.stream = &http.Client{Transport: t, CheckRedirect: f.redirect}
		f.list = &http.Client{Transport: t, CheckRedirect: f.redirect, Timeout: time.Minute}
	}
	return f, nil
}

// redirect follows a standby to its leader. Credentials go only to addresses that were
// named for Marathon.
func (f *Follower) redirect(req *http.Request, via []*http.Request) error {
	if len(via) > 3 {
		return errors.New("more than three redirects")
	}
	req.Header.Del("Authorization")
	for _, u := range f.cfg.URLs {
		if p, err := url.Parse(u); err == nil && p.Host == req.URL.Host && p.Scheme == req.URL.Scheme {
			req.Header.Set("Authorization", via[0].Header.Get("Authorization"))
		}
	}
	return nil
}

// fewApps is how many touched apps are fetched one by one; more are listed together.
const fewApps = 20

// Run calls changed from one goroutine with each new state of the apps until ctx ends.
// What an event says by itself is handed on at once; the app it is about is then fetched
// anew. Events that arrive meanwhile are taken together. While all apps are listed, which
// can take seconds, events are taken as ever, and once more when the listing is there: it
// may be older than they are.
func (f *Follower) Run(ctx context.Context, changed func([]labels.App)) error {
	ctx, cancel := context.WithCancel(ctx)
	var background sync.WaitGroup
	if !f.cfg.Poll {
		background.Go(func() { f.follow(ctx) })
	}
	defer background.Wait()
	defer cancel()

	resync := time.NewTicker(f.cfg.Resync)
	defer resync.Stop()
	retry := time.NewTimer(0)
	defer retry.Stop()
	m := newModel()
	all, touched := true, map[string]bool{}
	listings := make(chan listing, 1)
	var since []event // taken since the listing that is under way began
	busy := false     // one is under way
	failed := func(err error) {
		f.cfg.Logger.Warn("apps not listed, keeping what is known", "error", err)
		retry.Reset(time.Second)
	}
	for {
		news := false
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-resync.C:
			all = true
		case <-f.lost:
			all = true
		case <-retry.C:
		case l := <-listings:
			busy = false
			if l.err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				all = true
				failed(l.err)
				continue
			}
			m.replace(time.Now(), l.apps)
			news = true // host names may resolve otherwise, at least
			for _, e := range since {
				m.apply(time.Now(), e)
				touched[e.app()] = true
			}
			since = nil
		case e := <-f.events:
			taken := f.take(e)
			for _, e := range taken {
				if e.kind == drainEvent && e.Task != "" && f.cfg.Drain != nil {
					f.cfg.Drain(e.app(), e.Task)
				}
				news = m.apply(time.Now(), e) || news
				touched[e.app()] = true
			}
			if busy {
				since = append(since, taken...)
			}
			if news {
				news = false
				changed(m.list())
			}
		}
		if _, any := touched[""]; any || len(touched) > fewApps || len(since) > cap(f.events) {
			all = true
			clear(touched)
			if len(since) > cap(f.events) {
				since = nil
			}
		}
		if all && !busy {
			all, busy, since = false, true, nil
			background.Go(func() {
				apps, err := f.List(ctx)
				listings <- listing{apps, err}
			})
		}
		if !busy && len(touched) > 0 {
			more, err := f.refresh(ctx, m, touched)
			news = news || more
			if err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				failed(err)
			}
		}
		if news {
			changed(m.list())
		}
	}
}

type listing struct {
	apps []labels.App
	err  error
}

// take gives e and all events that wait behind it.
func (f *Follower) take(e event) []event {
	out := []event{e}
	for {
		select {
		case e = <-f.events:
			out = append(out, e)
		default:
			return out
		}
	}
}

// refresh fetches the touched apps and forgets that they were. It tells whether anything
// is news: often an app is just what its event made of it.
func (f *Follower) refresh(ctx context.Context, m *model, touched map[string]bool) (news bool, err error) {
	for id := range touched {
		a, err := f.fetch(ctx, id)
		_, known := m.apps[id]
		switch {
		case err != nil:
			return news, err
		case a == nil:
			m.remove(id)
			news = news || known
		default:
			news = m.put(*a) || news
		}
		delete(touched, id)
	}
	return news, nil
}

// follow reads event streams one after the other.
func (f *Follower) follow(ctx context.Context) {
	const least = 3 * time.Second
	wait := least
	for ctx.Err() == nil {
		began := time.Now()
		err := f.read(ctx)
		f.heard(false)
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

// read follows one stream to its end. At its start everything is listed, because what
// happened before is not known.
func (f *Follower) read(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	q := url.Values{"plan-format": {"light"}, "event_type": events}
	if f.cfg.Drain != nil {
		q.Set("drain", f.name)
	}
	res, err := f.get(ctx, f.stream, f.base()+"/v2/events?"+q.Encode(), "text/event-stream")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	watchdog := time.AfterFunc(silence, func() { cancel(errQuiet) })
	defer watchdog.Stop()
	f.relist()
	f.heard(true)
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(make([]byte, 0, 64<<10), maxEventLine)
	kind := ""
	for lines.Scan() {
		watchdog.Reset(silence)
		f.heard(true)
		line := lines.Text()
		if v, ok := strings.CutPrefix(line, "event:"); ok {
			kind = strings.TrimSpace(v)
		} else if v, ok := strings.CutPrefix(line, "data:"); ok && kind != "" && !strings.HasPrefix(kind, "event_stream_") {
			select {
			case f.events <- parse(kind, v):
			default: // too many wait: they are made up for by a listing
				f.relist()
			}
		} else if line == "" {
			kind = ""
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

// relist asks Run for a full listing.
func (f *Follower) relist() {
	select {
	case f.lost <- struct{}{}:
	default: // one is pending already
	}
}

// fetch gets one app, nil when there is none of this id.
func (f *Follower) fetch(ctx context.Context, id string) (*labels.App, error) {
	u := f.base() + "/v2/apps/" + strings.TrimPrefix((&url.URL{Path: id}).EscapedPath(), "/") + "?embed=app.tasks"
	res, err := f.get(ctx, f.list, u, "application/json")
	var status *statusError
	if errors.As(err, &status) && status.code == http.StatusNotFound {
		return nil, nil
	}
	if err != nil {
		f.next()
		return nil, err
	}
	defer res.Body.Close()
	var answer struct {
		App *labels.App `json:"app"`
	}
	if err := f.decode(res.Body, u, &answer); err != nil {
		return nil, err
	}
	if answer.App == nil || answer.App.ID != id {
		return nil, fmt.Errorf("GET %s: the answer is not this app", u)
	}
	return answer.App, nil
}

// decode reads JSON. A field of another type than it should have costs only itself.
func (f *Follower) decode(r io.Reader, from string, into any) error {
	body := &io.LimitedReader{R: r, N: maxListing}
	err := json.NewDecoder(body).Decode(into)
	var mistyped *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case body.N == 0:
		return fmt.Errorf("%s: longer than %d bytes", from, maxListing)
	case errors.As(err, &mistyped):
		f.cfg.Logger.Warn("a field of an app is ignored", "from", from, "error", err)
		return nil
	}
	return fmt.Errorf("%s: %w", from, err)
}

// statusError is an answer other than 200.
type statusError struct {
	code int
	said string
}

func (e *statusError) Error() string { return e.said }

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
	if err := f.decode(res.Body, base+"/v2/apps", &listing); err != nil {
		return nil, err
	}
	return listing.Apps, nil
}

func (f *Follower) get(ctx context.Context, client *http.Client, url, accept string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", accept)
	if err := f.authorize(ctx, req); err != nil {
		return nil, err
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(io.LimitReader(res.Body, 300))
		res.Body.Close()
		return nil, &statusError{res.StatusCode, fmt.Sprintf("GET %s: %s: %s", url, res.Status, strings.TrimSpace(string(said)))}
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
