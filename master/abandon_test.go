package master_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/master"
)

// TestTooManyStayAway: a master that misses more agents after a restart than it may ends,
// and says how many, rather than to declare the cluster lost.
func TestTooManyStayAway(t *testing.T) {
	dir := t.TempDir()
	m := startMaster(t, master.Config{WorkDir: dir})
	for range 3 {
		startAgent(t, m.addr).register()
	}
	m.stop()
	for _, c := range []struct {
		limit float64
		ends  bool
	}{{0.5, true}, {-1, true}, {1, false}} {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		door, err := master.New(master.Config{Listener: l, WorkDir: dir, RecoveryLimit: c.limit, ReregisterTimeout: 50 * time.Millisecond}, nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- door.Run(ctx) }()
		if !c.ends {
			eventually(t, "the agents are unreachable", func() bool {
				s, err := door.View(context.Background())
				return err == nil && len(s.Unreachable) == 3 && len(s.Recovered) == 0
			})
			stop()
		}
		select {
		case err := <-ended:
			if c.ends != (err != nil) || c.ends && !strings.Contains(err.Error(), "3 of 3 agents (100%) did not reregister within 50ms") {
				t.Errorf("limit %v: %v", c.limit, err)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("limit %v: the master goes on", c.limit)
		}
		stop()
	}
}
