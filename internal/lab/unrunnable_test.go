package lab_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/lab"
)

// An app whose container no agent can run is taken, as Marathon takes it; the operator is
// told by the app's last failure, by a growing delay in the queue, and by events.
func TestAppsThatNoAgentCanRun(t *testing.T) {
	c := lab.StartCluster(t, lab.ClusterConfig{Masters: 1, Agents: 1, Frameworks: 1})
	api := c.API(0)
	res := api.Must(t, http.MethodPost, "/v2/apps", `{"id":"/image","container":{"type":"DOCKER","docker":{"image":"nginx"}},"cpus":0.1,"mem":16,"backoffSeconds":1,"backoffFactor":4}`)
	if res.Status != http.StatusCreated {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
	var app struct {
		App struct {
			TasksRunning    int
			Deployments     []struct{ ID string }
			LastTaskFailure struct{ Message, State, TaskID, Host, SlaveID, Timestamp, Version string }
		}
	}
	lab.Eventually(t, 30*time.Second, "the second failure", func() error {
		api.Must(t, http.MethodGet, "/v2/apps/image", "").JSON(t, &app)
		if f := app.App.LastTaskFailure; !strings.HasSuffix(f.TaskID, "._app.2") {
			return fmt.Errorf("last failure %+v", f)
		}
		return nil
	})
	if f := app.App.LastTaskFailure; !strings.Contains(f.Message, "containerizer") || !strings.HasPrefix(f.State, "TASK_") || f.Host == "" || f.SlaveID == "" || f.Timestamp == "" || f.Version == "" {
		t.Errorf("last failure %+v", f)
	}
	if app.App.TasksRunning != 0 || len(app.App.Deployments) != 1 {
		t.Errorf("%+v", app.App)
	}
	var queue struct {
		Queue []struct {
			Count int
			Delay struct {
				TimeLeftSeconds int
				Overdue         bool
			}
			App json.RawMessage
		}
	}
	lab.Eventually(t, 30*time.Second, "a delay that grew", func() error {
		api.Must(t, http.MethodGet, "/v2/queue", "").JSON(t, &queue)
		if len(queue.Queue) != 1 || queue.Queue[0].Delay.TimeLeftSeconds < 2 || queue.Queue[0].Delay.Overdue {
			return fmt.Errorf("queue %+v", queue.Queue)
		}
		return nil
	})
	api.Must(t, http.MethodDelete, "/v2/apps/image", "")
}
