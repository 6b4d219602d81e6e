package lab_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/lab"
)

// What a user does wrong is answered with the status and the reason of the contract, and
// the process serves on.
func TestWrongRequestsAreExplained(t *testing.T) {
	d := lab.StartDev(t, t.TempDir())
	// Stays deploying: no agent has 1,000 CPUs.
	d.Must(t, "POST", "/v2/apps", `{"id":"/stuck","cmd":"sleep 1000","cpus":1000,"mem":32}`)
	var stuck []struct{ ID string }
	d.Must(t, "GET", "/v2/deployments", "").JSON(t, &stuck)
	if len(stuck) != 1 {
		t.Fatalf("deployments %+v, want the stuck one", stuck)
	}
	rows := []struct {
		name, method, path, body string
		status                   int
		says                     []string
	}{
		{"rule broken", "POST", "/v2/apps", `{"id":"/a","cmd":"true","instances":-1}`, 422, []string{"/instances"}},
		{"bad id", "POST", "/v2/apps", `{"id":"/UPPER case","cmd":"true"}`, 422, []string{"/id"}},
		{"no command", "POST", "/v2/apps", `{"id":"/a"}`, 422, []string{"cmd"}},
		{"broken JSON", "POST", "/v2/apps", `{"id":`, 400, nil},
		{"wrong type", "POST", "/v2/apps", `{"id":"/a","cmd":"true","instances":"many"}`, 0, []string{"instances"}},
		{"unknown app", "GET", "/v2/apps/nowhere", "", 404, []string{"/nowhere"}},
		{"unknown app deleted", "DELETE", "/v2/apps/nowhere", "", 404, []string{"/nowhere"}},
		{"exists", "POST", "/v2/apps", `{"id":"/stuck","cmd":"sleep 1"}`, 409, []string{"/stuck"}},
		{"locked", "PUT", "/v2/apps/stuck", `{"instances":2}`, 409, []string{stuck[0].ID}},
		{"too large", "POST", "/v2/apps", `{"id":"/a","cmd":"` + strings.Repeat("x", 2<<20) + `"}`, 413, nil},
		{"too deep", "POST", "/v2/apps", `{"id":"/a","labels":` + strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000) + "}", 0, nil},
		{"unknown route", "GET", "/v2/nonsense", "", 404, nil},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			res := d.Do(t, r.method, r.path, r.body)
			if r.status != 0 && res.Status != r.status || res.Status < 400 || res.Status >= 500 {
				t.Errorf("status %d, want %d: %.300s", res.Status, r.status, res.Body)
			}
			for _, s := range r.says {
				if !strings.Contains(string(res.Body), s) {
					t.Errorf("answer does not name %q: %.300s", s, res.Body)
				}
			}
			if strings.Contains(string(res.Body), "goroutine ") {
				t.Errorf("answer shows a stack: %.300s", res.Body)
			}
		})
	}
	d.Must(t, "DELETE", "/v2/apps/stuck?force=true", "")
	d.Must(t, "POST", "/v2/apps", `{"id":"/fine","cmd":"sleep 1000","cpus":0.1,"mem":32}`)
	d.AwaitRunning(t, 20*time.Second, "/fine", 1, false)
	if res := d.Do(t, http.MethodGet, "/ping", ""); res.Status != http.StatusOK {
		t.Errorf("ping: %d", res.Status)
	}
}
