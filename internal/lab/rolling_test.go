package lab_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/lab"
	"github.com/stoa-project/stoa/internal/lab/httpload"
)

// An app is restarted again and again, one instance after the other, while clients ask
// for it through HAProxy: no request fails, because a task is killed only when HAProxy has
// none of its requests left.
func TestRollingRestartsDropNothing(t *testing.T) {
	restarts := 2
	if os.Getenv("STOA_SOAK") == "1" {
		restarts = 20
	}
	d := lab.StartDev(t, t.TempDir())
	var app map[string]any
	if err := json.Unmarshal([]byte(lab.AppFile(t, "web.json")), &app); err != nil {
		t.Fatal(err)
	}
	app["instances"] = 5
	app["cmd"] = "exec stoa-demo web --port $PORT0 --drain 0s" // it ends as soon as it is told to
	app["healthChecks"].([]any)[0].(map[string]any)["intervalSeconds"] = 1
	app["upgradeStrategy"] = map[string]any{"minimumHealthCapacity": 0.8, "maximumOverCapacity": 0.2}
	text, err := json.Marshal(app)
	if err != nil {
		t.Fatal(err)
	}
	d.Must(t, "POST", "/v2/apps", string(text))
	d.AwaitRunning(t, 30*time.Second, "/web", 5, true)
	d.AwaitNoDeployment(t, 20*time.Second)
	at, err := url.Parse(d.LBHTTP)
	if err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, 10*time.Second, "HAProxy answers for the app", func() error {
		res, err := lab.Request("GET", d.LBHTTP, nil, "Host", "web.example.com")
		if err == nil && res.Status != 200 {
			err = fmt.Errorf("%d", res.Status)
		}
		return err
	})
	drains := countEvents(t, d.API.URL, "instance_drain_event")
	l := httpload.Start(t, at.Host, "web.example.com")
	began := time.Now()
	for i := range restarts {
		d.Must(t, "POST", "/v2/apps/web/restart", "")
		d.AwaitNoDeployment(t, 90*time.Second)
		l.Check(t, fmt.Sprintf("restart %d", i+1), d.Output)
	}
	l.Stop()
	l.Check(t, "at the end", d.Output)
	if n := drains.Load(); n != int64(5*restarts) {
		t.Errorf("%d kills waited for the load balancer, want %d", n, 5*restarts)
	}
	t.Logf("a restart took %v", time.Since(began)/time.Duration(restarts))
}

// countEvents attaches to the event stream for one type and counts what comes.
func countEvents(t *testing.T, api, kind string) *atomic.Int64 {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", api+"/v2/events?event_type="+kind, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	res, err := http.DefaultClient.Do(req)
	if err != nil || res.StatusCode != 200 {
		t.Fatal(err, res)
	}
	var n atomic.Int64
	var reading sync.WaitGroup
	reading.Go(func() {
		for lines := bufio.NewScanner(res.Body); lines.Scan(); {
			if strings.HasPrefix(lines.Text(), "event: "+kind) || strings.HasPrefix(lines.Text(), "event:"+kind) {
				n.Add(1)
			}
		}
	})
	t.Cleanup(func() { res.Body.Close(); reading.Wait() })
	return &n
}
