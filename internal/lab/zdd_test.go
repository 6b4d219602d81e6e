package lab_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/lab"
	"github.com/stoa-project/stoa/internal/lab/httpload"
)

// `stoa lb zdd` replaces a blue app by a green one on our own stack while clients ask for
// it: no request fails, the old app is gone and the new one has all instances.
func TestBlueGreenDeployment(t *testing.T) {
	d := lab.StartDev(t, t.TempDir())
	at, err := url.Parse(d.LBHTTP)
	if err != nil {
		t.Fatal(err)
	}
	deploy := func(greeting string) string {
		t.Helper()
		text, err := json.Marshal(map[string]any{
			"id": "shop", "cmd": "exec stoa-demo web --port $PORT0 --drain 0s --greeting " + greeting, "instances": 3, "cpus": 0.1, "mem": 32,
			"portDefinitions": []any{map[string]any{"port": 10020}},
			"healthChecks": []any{map[string]any{"protocol": "HTTP", "path": "/health", "portIndex": 0,
				"gracePeriodSeconds": 10, "intervalSeconds": 1, "timeoutSeconds": 2, "maxConsecutiveFailures": 3}},
			"labels": map[string]any{"HAPROXY_GROUP": "external", "HAPROXY_0_VHOST": "shop.example.com", "HAPROXY_0_MODE": "http",
				"HAPROXY_DEPLOYMENT_GROUP": "shop", "HAPROXY_DEPLOYMENT_ALT_PORT": "10021"},
		})
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "app.json")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(lab.Stoa(t), "lb", "zdd", "--json", file, "--marathon", d.API.URL, "--marathon-lb", d.LBStats, "--force", "--step-delay", "1", "--max-wait", "60")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("zdd: %v\n%s\n%s", err, out, d.Output())
		}
		return string(out)
	}
	answers := func(want string) error {
		res, err := lab.Request("GET", d.LBHTTP, nil, "Host", "shop.example.com")
		if err == nil && !strings.Contains(string(res.Body), want) {
			err = fmt.Errorf("%d %s", res.Status, res.Body)
		}
		return err
	}
	deploy("one")
	d.AwaitRunning(t, 30*time.Second, "/shop-blue", 3, true)
	lab.Eventually(t, 20*time.Second, "the blue app answers", func() error { return answers("one") })

	l := httpload.Start(t, at.Host, "shop.example.com")
	out := deploy("two")
	l.Stop()
	l.Check(t, "blue to green", func() string { return out + d.Output() })
	d.AwaitRunning(t, 30*time.Second, "/shop-green", 3, true)
	for range 5 {
		if err := answers("two"); err != nil {
			t.Errorf("after the deployment: %v", err)
		}
	}
	if res := d.Do(t, "GET", "/v2/apps/shop-blue", ""); res.Status != 404 {
		t.Errorf("the old app: %d %s", res.Status, res.Body)
	}
	var green struct {
		App struct {
			Labels          map[string]string
			PortDefinitions []struct{ Port int }
		}
	}
	d.Must(t, "GET", "/v2/apps/shop-green", "").JSON(t, &green)
	if got := green.App; got.PortDefinitions[0].Port != 10021 || got.Labels["HAPROXY_0_PORT"] != "10020" || got.Labels["HAPROXY_DEPLOYMENT_COLOUR"] != "green" ||
		got.Labels["HAPROXY_APP_ID"] != "shop" || got.Labels["HAPROXY_DEPLOYMENT_TARGET_INSTANCES"] != "3" {
		t.Errorf("the new app is %+v", got)
	}
}
