package executors

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/agent/lifecycle"
)

// mesos-agent.md 14.1, item 29: mesos-go's example executor dies of a HEARTBEAT event, so
// the first one comes after half an hour, and a Content-Type has no parameters.
func TestTrap29HeartbeatsAreRare(t *testing.T) {
	if heartbeat < 30*time.Minute {
		t.Errorf("each %s", heartbeat)
	}
	f := &fake{phase: Ready, subscribed: true}
	_, url := serve(t, f)
	resp, err := http.Post(url, "application/json", strings.NewReader(`{"type":"SUBSCRIBE",`+ids+`,"subscribe":{}}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := resp.Header.Values("Content-Type"); len(got) != 1 || got[0] != "application/json" {
		t.Errorf("Content-Type %q", got)
	}
}

// mesos-agent.md 14.1, item 30, and 1.3: 503 for every call before the agent knows its
// executors; then SUBSCRIBE and HEARTBEAT are taken, the rest waits for the end of recovery.
func TestTrap30RecoveryAnswers503(t *testing.T) {
	calls := map[string]string{
		"SUBSCRIBE": `{"type":"SUBSCRIBE",` + ids + `,"subscribe":{}}`,
		"HEARTBEAT": `{"type":"HEARTBEAT",` + ids + `}`,
		"MESSAGE":   `{"type":"MESSAGE",` + ids + `,"message":{"data":"YQ=="}}`,
		"UPDATE":    `{"type":"UPDATE",` + ids + `,"update":{"status":{"task_id":{"value":"t"},"state":"TASK_RUNNING","source":"SOURCE_EXECUTOR","uuid":"AAAAAAAAAAAAAAAAAAAAAA=="}}}`,
	}
	for phase, want := range map[Phase]map[string]int{
		Starting:     {"SUBSCRIBE": 503, "HEARTBEAT": 503, "MESSAGE": 503, "UPDATE": 503},
		Reconnecting: {"SUBSCRIBE": 200, "HEARTBEAT": 202, "MESSAGE": 503, "UPDATE": 503},
		Ready:        {"SUBSCRIBE": 200, "HEARTBEAT": 202, "MESSAGE": 202, "UPDATE": 202},
	} {
		for name, body := range calls {
			f := &fake{phase: phase, subscribed: true}
			s, url := serve(t, f)
			resp, err := http.Post(url, "application/json", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != want[name] {
				t.Errorf("%s in phase %d: %d, want %d", name, phase, resp.StatusCode, want[name])
			}
			if resp.StatusCode == 503 {
				if b, _ := io.ReadAll(resp.Body); string(b) != "Agent has not finished recovery" {
					t.Errorf("%s in phase %d: %q", name, phase, b)
				}
			}
			s.Close(lifecycle.ExecutorKey{Framework: "f", Executor: "e"})
			resp.Body.Close()
		}
	}
}
