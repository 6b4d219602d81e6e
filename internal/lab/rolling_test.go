package lab_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
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
	l := httpload.Start(t, at.Host, "web.example.com")
	began := time.Now()
	for i := range restarts {
		d.Must(t, "POST", "/v2/apps/web/restart", "")
		d.AwaitNoDeployment(t, 90*time.Second)
		l.Check(t, fmt.Sprintf("restart %d", i+1), d.Output)
	}
	l.Stop()
	l.Check(t, "at the end", d.Output)
	t.Logf("a restart took %v", time.Since(began)/time.Duration(restarts))
}
