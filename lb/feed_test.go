package lb

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stoa-project/stoa/internal/lab/freeport"
)

// A second load balancer follows the first, not Marathon; a kill waits for the requests
// of both; when the first ends, the second goes on with Marathon itself.
func TestOneLoadBalancerFeedsAnother(t *testing.T) {
	m, ports := newMarathon(t), freeport.Take(t, 6)
	cfg := testConfig(m, shortDir(t), ports[:3])
	cfg.StopHAProxy, cfg.RelayBind = true, fmt.Sprintf("127.0.0.1:%d", ports[3])
	first := startWith(t, m, cfg, ports[:3])
	k, begun, end := slow(t, "slow")
	other := backend(t, "other")
	m.set(first.app(k))
	first.answering(t, "slow")

	cfg2 := testConfig(m, shortDir(t), ports[4:])
	cfg2.BindAddr, cfg2.StopHAProxy = "127.0.0.2", true
	cfg2.Marathon = []string{"http://" + cfg.RelayBind, m.URL}
	second := startWith(t, m, cfg2, []int{ports[4], ports[5], ports[2]})
	second.http, second.stats = fmt.Sprintf("http://127.0.0.2:%d", ports[4]), fmt.Sprintf("http://127.0.0.2:%d", ports[5])
	second.answering(t, "slow")
	answer := make(chan error, 1)
	go func() {
		got, err := get(second.http+"/slow", "web.example.com")
		if err == nil && got != "slow" {
			err = fmt.Errorf("answered by %q", got)
		}
		answer <- err
	}()
	<-begun
	m.set(first.app(k, other))
	second.answering(t, "other", "slow")
	if got := m.streams.Load(); got != 1 {
		t.Errorf("Marathon has %d event streams, want 1", got)
	}
	drained := func(want ...string) {
		t.Helper()
		waitFor(t, "reports", func() error {
			if got := m.reported(); !slices.Equal(got, want) {
				return fmt.Errorf("drained %q, want %q", got, want)
			}
			return nil
		})
	}
	m.send("instance_drain_event", map[string]any{"appId": "/web", "taskId": "slow", "seconds": 5})
	first.answering(t, "other")
	second.answering(t, "other")
	m.send("instance_drain_event", map[string]any{"appId": "/else", "taskId": "nobody", "seconds": 5})
	drained("nobody")
	end()
	if err := <-answer; err != nil {
		t.Errorf("the request under way: %v", err)
	}
	drained("nobody", "slow")

	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	third := backend(t, "third")
	m.set(first.app(other, third))
	second.answering(t, "other", "third")
}
