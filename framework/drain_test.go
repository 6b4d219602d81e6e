package framework

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
	"github.com/stoa-project/stoa/framework/feed"
)

// held is a drains with a running task of /web and n attached load balancers.
type held struct {
	*drains
	mu   sync.Mutex // guards sent
	sent []core.Effect
	task app.TaskID
}

func newHeld(t *testing.T, labels map[string]string, balancers ...string) *held {
	t.Helper()
	f := feed.New(feed.Config{}, slog.New(slog.DiscardHandler))
	s := httptest.NewServer(f)
	t.Cleanup(func() { f.EndAll(); s.CloseClientConnections(); s.Close() })
	for _, b := range balancers {
		res, err := http.Get(s.URL + "?event_type=instance_drain_event&drain=" + b)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { res.Body.Close() })
	}
	for deadline := time.Now().Add(10 * time.Second); len(f.Balancers()) != len(balancers); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("balancers %q, want %q", f.Balancers(), balancers)
		}
	}
	id := app.InstanceID("web.instance-c6a1b2f0-0000-11ee-8000-000000000001")
	v := app.Timestamp(1)
	snap := (&core.Snapshot{}).With("/web", core.NewAppState(
		[]*app.RunSpec{(&app.App{ID: "/web", Version: v, Labels: labels}).RunSpec()},
		&app.Instance{ID: id, App: "/web", AppVersion: v, Condition: app.Running}))
	h := &held{task: id.Task(1)}
	h.drains = &drains{feed: f, shown: func() *core.Snapshot { return snap }, send: func(e core.Effect) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.sent = append(h.sent, e)
	}}
	t.Cleanup(h.close)
	return h
}

func (h *held) kills() int { h.mu.Lock(); defer h.mu.Unlock(); return len(h.sent) }

func TestKillsWaitForEveryLoadBalancer(t *testing.T) {
	h := newHeld(t, nil, "lb-1", "lb-2")
	k := core.Kill{Task: h.task, AgentID: "a"}
	for range 2 {
		if !h.hold(k) {
			t.Fatal("the kill is not held")
		}
	}
	h.drained("lb-1", []app.TaskID{h.task, "other"})
	h.drained("lb-1", []app.TaskID{h.task})
	h.drained("stranger", []app.TaskID{h.task})
	if h.kills() != 0 {
		t.Fatal("killed although one load balancer has not answered")
	}
	h.gone("lb-2") // one that is no longer attached is not waited for
	if !slices.Equal(h.sent, []core.Effect{k}) {
		t.Fatalf("sent %+v, want the kill once", h.sent)
	}
	h.drained("lb-2", []app.TaskID{h.task})
	if h.kills() != 1 {
		t.Error("killed twice")
	}
}

func TestKillsDoNotWait(t *testing.T) {
	for name, h := range map[string]*held{
		"nobody answers":  newHeld(t, nil),
		"the label is 0":  newHeld(t, map[string]string{"HAPROXY_0_DRAIN_SECONDS": "0"}, "lb-1"),
		"no running task": newHeld(t, nil, "lb-1"),
	} {
		task := h.task
		if name == "no running task" {
			task = app.InstanceID("web.instance-c6a1b2f0-0000-11ee-8000-000000000002").Task(1)
		}
		if h.hold(core.Kill{Task: task}) {
			t.Errorf("%s, and the kill is held", name)
		}
	}
}

func TestKillsWaitNoLongerThanTheLabel(t *testing.T) {
	h := newHeld(t, map[string]string{"HAPROXY_0_DRAIN_SECONDS": "1"}, "lb-1")
	if !h.hold(core.Kill{Task: h.task}) {
		t.Fatal("the kill is not held")
	}
	for deadline := time.Now().Add(10 * time.Second); h.kills() != 1; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not killed after the label's time")
		}
	}
}

// The end of a term drops what waits: the next term decides anew.
func TestKillsOfAnEndedTerm(t *testing.T) {
	h := newHeld(t, nil, "lb-1")
	h.hold(core.Kill{Task: h.task})
	h.close()
	h.drained("lb-1", []app.TaskID{h.task})
	if h.hold(core.Kill{Task: h.task}) || h.kills() != 0 {
		t.Errorf("%d kills sent, or one held, after the end", h.kills())
	}
}

func TestDrainSeconds(t *testing.T) {
	for _, c := range []struct {
		labels map[string]string
		want   time.Duration
	}{
		{nil, 5 * time.Second},
		{map[string]string{"HAPROXY_GROUP": "x"}, 5 * time.Second},
		{map[string]string{"HAPROXY_0_DRAIN_SECONDS": "0"}, 0},
		{map[string]string{"HAPROXY_0_DRAIN_SECONDS": "2", "HAPROXY_1_DRAIN_SECONDS": " 30 "}, 30 * time.Second},
		{map[string]string{"HAPROXY_0_DRAIN_SECONDS": "soon"}, 5 * time.Second},
		{map[string]string{"HAPROXY_0_DRAIN_SECONDS": "-1"}, 5 * time.Second},
		{map[string]string{"HAPROXY_0_DRAIN_SECONDS": "100000"}, 600 * time.Second},
	} {
		if got := drainSeconds(c.labels); got != c.want {
			t.Errorf("%v: %v, want %v", c.labels, got, c.want)
		}
	}
}
