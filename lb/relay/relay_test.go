package relay

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stoa-project/stoa/lb/labels"
)

// rig is a relay behind HTTP that notes what it reports.
type rig struct {
	*Relay
	url  string
	mu   sync.Mutex // guards done
	done []string
}

func start(t *testing.T) *rig {
	r := &rig{}
	r.Relay = New(func(tasks []string) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.done = append(r.done, tasks...)
	})
	s := httptest.NewServer(r.Relay)
	t.Cleanup(s.Close)
	r.url = s.URL
	return r
}

// follow opens a stream and gives its data lines, and how to leave.
func (r *rig) follow(t *testing.T, query string) (*bufio.Scanner, func()) {
	t.Helper()
	before := r.Subscribers()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url+"/v2/events"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	if res.StatusCode != http.StatusOK || r.Subscribers() != before+1 {
		t.Fatalf("%s, %d streams after %d", res.Status, r.Subscribers(), before)
	}
	return bufio.NewScanner(res.Body), cancel
}

func data(t *testing.T, s *bufio.Scanner) string {
	t.Helper()
	for s.Scan() {
		if d, ok := strings.CutPrefix(s.Text(), "data: "); ok {
			return d
		}
	}
	t.Fatalf("the stream ended: %v", s.Err())
	return ""
}

func (r *rig) ask(t *testing.T, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, r.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

func app(id string, rev uint64) labels.App { return labels.App{ID: id, Rev: rev} }

func TestChangesAreTold(t *testing.T) {
	r := start(t)
	if code, _ := r.ask(t, "GET", "/v2/apps", ""); code != http.StatusServiceUnavailable {
		t.Errorf("before the first listing: %d", code)
	}
	r.Apps([]labels.App{app("/a", 1), app("/b", 2), app("/d/e", 3)})
	lines, _ := r.follow(t, "")
	r.Apps([]labels.App{app("/a", 1), app("/c", 5), app("/d/e", 4)})
	for _, want := range []string{
		`{"appId":"/b","eventType":"app_terminated_event"}`,
		`{"appDefinition":{"id":"/c"},"eventType":"api_post_event"}`,
		`{"appDefinition":{"id":"/d/e"},"eventType":"api_post_event"}`,
	} {
		if got := data(t, lines); got != want {
			t.Errorf("event %s, want %s", got, want)
		}
	}
	for path, want := range map[string]int{"/v2/apps": 200, "/v2/apps/d/e": 200, "/v2/apps/b": 404, "/v2/groups": 404} {
		code, body := r.ask(t, "GET", path, "")
		if code != want || want == 200 && !strings.Contains(body, `"id":"/d/e"`) {
			t.Errorf("GET %s: %d %s", path, code, body)
		}
	}
}

// A task is answered for when everybody who heard of it has answered or left.
func TestDrainsWaitForAll(t *testing.T) {
	r := start(t)
	one, _ := r.follow(t, "?drain=one")
	two, leave := r.follow(t, "?drain=two")
	r.follow(t, "") // takes no part
	for _, task := range []string{"x", "y"} {
		r.Drain("/a", task)
		want := `{"appId":"/a","eventType":"instance_drain_event","taskId":"` + task + `"}`
		if a, b := data(t, one), data(t, two); a != want || b != want {
			t.Errorf("events %s and %s, want %s", a, b, want)
		}
	}
	expect := func(want ...string) {
		t.Helper()
		deadline := time.Now().Add(10 * time.Second)
		for {
			r.mu.Lock()
			got := slices.Clone(r.done)
			r.mu.Unlock()
			if slices.Equal(got, want) {
				return
			}
			if len(got) > len(want) || time.Now().After(deadline) {
				t.Fatalf("reported %v, want %v", got, want)
			}
			time.Sleep(time.Millisecond)
		}
	}
	say := func(by, task string) {
		t.Helper()
		if code, body := r.ask(t, "POST", "/v2/events/drained", fmt.Sprintf(`{"balancer":%q,"tasks":[%q]}`, by, task)); code != http.StatusNoContent {
			t.Errorf("%d %s", code, body)
		}
	}
	r.Drained("", []string{"x", "y"})
	say("one", "x")
	say("stranger", "x")
	expect()
	say("two", "x")
	expect("x")
	say("one", "y")
	leave()
	expect("x", "y")
	r.Drained("", []string{"unheard"})
	expect("x", "y", "unheard")
	for _, body := range []string{`{`, `{"tasks":["y"]}`, `{"balancer":"","tasks":["y"]}`} {
		if code, _ := r.ask(t, "POST", "/v2/events/drained", body); code != http.StatusBadRequest {
			t.Errorf("%s: %d", body, code)
		}
	}
}

// A subscriber that does not read is left behind, not waited for.
func TestSlowSubscribersAreLeft(t *testing.T) {
	r := start(t)
	r.Apps(nil)
	r.follow(t, "")
	deadline := time.Now().Add(10 * time.Second)
	for rev := uint64(1); r.Subscribers() > 0; rev++ {
		// Each event fills the socket's buffers a little.
		r.Apps([]labels.App{app("/"+strings.Repeat("a", 100_000), rev)})
		if time.Now().After(deadline) {
			t.Fatal("it is still there")
		}
	}
}
