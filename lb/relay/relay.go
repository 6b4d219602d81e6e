// Package relay lets one load balancer feed others: it answers the part of Marathon's API
// that a load balancer reads, from the apps that this one knows, so that Marathon has one
// follower however many load balancers there are.
package relay

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/stoa-project/stoa/lb/labels"
)

const (
	// maxSubscribers bounds the event streams; maxWaiting the events that wait on one of
	// them: one that falls further behind is ended, and lists anew when it returns.
	maxSubscribers = 1000
	maxWaiting     = 1024
	// maxDrains bounds the tasks whose kills wait.
	maxDrains = 4096
	// forgotten is when a task is given up that some subscriber never answers for.
	forgotten = 15 * time.Minute
	// maxReport bounds the body of a report of drained tasks.
	maxReport = 1 << 20
	// breath is how often a stream says something, whatever happens.
	breath = 15 * time.Second
	// patience is how long one write to a subscriber may take.
	patience = 30 * time.Second
)

// Relay holds the newest apps and the streams of those who follow them.
type Relay struct {
	drained func(tasks []string) // hears of tasks that nobody has requests of

	mu    sync.Mutex // guards the rest
	apps  []labels.App
	ready bool // apps are known
	subs  map[*subscriber]bool
	tasks map[string]*drain
}

// subscriber is one event stream.
type subscriber struct {
	name   string // under which it answers for drained tasks; "" does not
	events chan string
	gone   chan struct{} // closed when it fell behind
}

// drain is a task whose kill waits.
type drain struct {
	since time.Time
	wait  map[string]bool // who has not answered; "" is this load balancer
}

// New makes a Relay. It calls drained, from any goroutine, with the tasks that neither
// this load balancer nor a subscriber has requests of.
func New(drained func(tasks []string)) *Relay {
	return &Relay{drained: drained, subs: map[*subscriber]bool{}, tasks: map[string]*drain{}}
}

// Apps takes the newest state, sorted by id, and tells the subscribers which apps are
// others than before. The apps must not be changed later.
func (r *Relay) Apps(apps []labels.App) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.apps
	r.apps, r.ready = apps, true
	if len(r.subs) == 0 {
		return
	}
	for i, k := 0, 0; i < len(before) || k < len(apps); {
		switch {
		case k == len(apps) || i < len(before) && before[i].ID < apps[k].ID:
			r.send("app_terminated_event", map[string]any{"appId": before[i].ID}, nil)
			i++
		case i == len(before) || apps[k].ID < before[i].ID:
			r.changed(apps[k].ID)
			k++
		default:
			if apps[k].Rev == 0 || apps[k].Rev != before[i].Rev {
				r.changed(apps[k].ID)
			}
			i, k = i+1, k+1
		}
	}
}

func (r *Relay) changed(id string) {
	r.send("api_post_event", map[string]any{"appDefinition": map[string]any{"id": id}}, nil)
}

// Drain tells subscribers of a task that is about to be killed. It is answered for when
// they and this load balancer have.
func (r *Relay) Drain(app, task string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, d := range r.tasks {
		if time.Since(d.since) > forgotten {
			delete(r.tasks, id)
		}
	}
	if r.tasks[task] != nil || len(r.tasks) >= maxDrains {
		return
	}
	d := &drain{since: time.Now(), wait: map[string]bool{"": true}}
	r.tasks[task] = d
	r.send("instance_drain_event", map[string]any{"appId": app, "taskId": task}, func(s *subscriber) bool {
		if s.name != "" {
			d.wait[s.name] = true
		}
		return s.name != ""
	})
}

// Drained takes an answer for tasks: by "" is this load balancer's own.
func (r *Relay) Drained(by string, tasks []string) {
	r.mu.Lock()
	var done []string
	for _, task := range tasks {
		d := r.tasks[task]
		if d == nil {
			if by == "" {
				done = append(done, task) // there was no room for it
			}
			continue
		}
		if delete(d.wait, by); len(d.wait) == 0 {
			delete(r.tasks, task)
			done = append(done, task)
		}
	}
	r.mu.Unlock()
	if len(done) > 0 {
		r.drained(done)
	}
}

// send hands an event to the subscribers that to picks, nil picks all. mu is held.
func (r *Relay) send(kind string, body map[string]any, to func(*subscriber) bool) {
	body["eventType"] = kind
	data, err := json.Marshal(body)
	if err != nil {
		return // texts always become JSON
	}
	text := "event: " + kind + "\r\ndata: " + string(data) + "\r\n\r\n"
	for s := range r.subs {
		if to != nil && !to(s) {
			continue
		}
		select {
		case s.events <- text:
		default:
			delete(r.subs, s)
			close(s.gone)
		}
	}
}

// ServeHTTP answers GET /v2/apps, GET /v2/apps/{id}, GET /v2/events, and
// POST /v2/events/drained.
func (r *Relay) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	get := req.Method == http.MethodGet
	id, isApp := strings.CutPrefix(req.URL.Path, "/v2/apps/")
	switch {
	case get && req.URL.Path == "/v2/apps":
		if apps, ok := r.known(w); ok {
			answer(w, map[string]any{"apps": apps})
		}
	case get && isApp:
		apps, ok := r.known(w)
		if !ok {
			return
		}
		for i := range apps {
			if apps[i].ID == "/"+id {
				answer(w, map[string]any{"app": apps[i]})
				return
			}
		}
		http.Error(w, `{"message":"App '/`+strings.ReplaceAll(id, `"`, "")+`' does not exist"}`, http.StatusNotFound)
	case get && req.URL.Path == "/v2/events":
		r.stream(w, req)
	case req.Method == http.MethodPost && req.URL.Path == "/v2/events/drained":
		r.report(w, req)
	default:
		http.Error(w, "a load balancer's relay answers GET /v2/apps, /v2/apps/{id} and /v2/events, and POST /v2/events/drained", http.StatusNotFound)
	}
}

// known gives the apps; before the first listing it answers that they are not known.
func (r *Relay) known(w http.ResponseWriter) ([]labels.App, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ready {
		http.Error(w, "this load balancer does not know the apps yet", http.StatusServiceUnavailable)
	}
	return r.apps, r.ready
}

func answer(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body)
}

func (r *Relay) report(w http.ResponseWriter, req *http.Request) {
	var body struct {
		Balancer string   `json:"balancer"`
		Tasks    []string `json:"tasks"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, req.Body, maxReport)).Decode(&body); err != nil || body.Balancer == "" {
		http.Error(w, "wants a JSON object with balancer, the name of the stream's drain, and tasks", http.StatusBadRequest)
		return
	}
	r.Drained(body.Balancer, body.Tasks)
	w.WriteHeader(http.StatusNoContent)
}

func (r *Relay) stream(w http.ResponseWriter, req *http.Request) {
	s := &subscriber{name: req.URL.Query().Get("drain"), events: make(chan string, maxWaiting), gone: make(chan struct{})}
	if len(s.name) > 100 {
		http.Error(w, "drain: longer than 100 bytes", http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	full := len(r.subs) >= maxSubscribers
	if !full {
		r.subs[s] = true
	}
	r.mu.Unlock()
	if full {
		http.Error(w, "too many event streams", http.StatusServiceUnavailable)
		return
	}
	defer r.leave(s)
	w.Header().Set("Content-Type", "text/event-stream")
	beat := time.NewTicker(breath)
	defer beat.Stop()
	control := http.NewResponseController(w)
	text := "\r\n"
	for {
		_ = control.SetWriteDeadline(time.Now().Add(patience))
		if _, err := w.Write([]byte(text)); err != nil || control.Flush() != nil {
			return
		}
		select {
		case <-req.Context().Done():
			return
		case <-s.gone:
			return
		case text = <-s.events:
		case <-beat.C:
			text = "\r\n"
		}
	}
}

// leave forgets a stream. Nobody waits for answers of who has none.
func (r *Relay) leave(s *subscriber) {
	r.mu.Lock()
	delete(r.subs, s)
	back := s.name == "" // or it is here with another stream
	for other := range r.subs {
		back = back || other.name == s.name
	}
	var waiting []string
	for task, d := range r.tasks {
		if !back && d.wait[s.name] {
			waiting = append(waiting, task)
		}
	}
	r.mu.Unlock()
	r.Drained(s.name, waiting)
}

// Subscribers gives how many event streams there are.
func (r *Relay) Subscribers() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.subs)
}
