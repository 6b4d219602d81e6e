package lab_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/lab"
)

// Apps of two groups run in the roles of their groups; the framework takes part in all of
// them.
func TestAppsInTheRolesOfTheirGroups(t *testing.T) {
	d := lab.StartDev(t, t.TempDir())
	for _, team := range []string{"red", "blue"} {
		d.Must(t, "POST", "/v2/groups", fmt.Sprintf(
			`{"id":"/%s","enforceRole":true,"apps":[{"id":"sleep","cmd":"sleep 600","cpus":0.05,"mem":16,"disk":0}]}`, team))
	}
	d.Must(t, "POST", "/v2/apps", `{"id":"/plain","cmd":"sleep 600","cpus":0.05,"mem":16,"disk":0}`)
	roles := func() map[string]string {
		var answer struct {
			Tasks []struct{ AppID, Role string }
		}
		d.Must(t, "GET", "/v2/tasks", "").JSON(t, &answer)
		out := map[string]string{}
		for _, k := range answer.Tasks {
			out[k.AppID] = k.Role
		}
		return out
	}
	for _, id := range []string{"/red/sleep", "/blue/sleep", "/plain"} {
		d.AwaitRunning(t, 30*time.Second, id, 1, false)
	}
	if got := roles(); got["/red/sleep"] != "red" || got["/blue/sleep"] != "blue" || got["/plain"] != "*" {
		t.Errorf("roles of the tasks: %v", got)
	}
	lab.Eventually(t, 10*time.Second, "the master lists the roles", func() error {
		res, err := lab.Request(http.MethodGet, d.MasterURL+"/frameworks", nil)
		if err != nil {
			return err
		}
		var answer struct {
			Frameworks []struct{ Roles []string }
		}
		res.JSON(t, &answer)
		if len(answer.Frameworks) != 1 || !slices.Equal(answer.Frameworks[0].Roles, []string{"*", "blue", "red"}) {
			return fmt.Errorf("frameworks %+v", answer.Frameworks)
		}
		return nil
	})
	d.Must(t, "PUT", "/v2/apps/blue/sleep", `{"instances":3}`)
	d.AwaitRunning(t, 30*time.Second, "/blue/sleep", 3, false)
}
