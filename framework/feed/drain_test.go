package feed

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/framework/core"
)

// Only a stream that asks by name hears of drains, and a load balancer is known by the
// name that it gave while any stream of its is attached.
func TestDrainsAreForThoseWhoAsk(t *testing.T) {
	gone := make(chan string, 1)
	f, url := serve(t, Config{BalancerGone: func(name string) { gone <- name }})
	every := attach(t, f, url)
	named := attach(t, f, url+"?event_type="+drainType+"&drain=lb-1")
	if got := f.Balancers(); len(got) != 1 || got[0] != "lb-1" {
		t.Fatalf("balancers %q, want lb-1", got)
	}
	f.Publish(DrainStarted{At: now(), App: "/web", Task: "t1", Seconds: 5})
	f.Publish(core.SchedulerDisconnected{At: now()})
	b := make([]byte, 1)
	read := func(r io.Reader, until string) string {
		var text strings.Builder
		for !strings.Contains(text.String(), until) {
			if _, err := r.Read(b); err != nil {
				t.Fatalf("%v after %q", err, text.String())
			}
			text.Write(b)
		}
		return text.String()
	}
	if got := read(every, "scheduler_disconnected_event"); strings.Contains(got, drainType) {
		t.Errorf("a stream of all events got %q", got)
	}
	if got := read(named, `"seconds":5}`); !strings.Contains(got, `"taskId":"t1"`) || strings.Contains(got, "scheduler") {
		t.Errorf("the load balancer got %q", got)
	}
	named.Close()
	select {
	case name := <-gone:
		if name != "lb-1" || len(f.Balancers()) != 0 {
			t.Errorf("%s went, %q are left", name, f.Balancers())
		}
	case <-time.After(10 * time.Second):
		t.Fatal("nobody was told that the load balancer went")
	}
}
