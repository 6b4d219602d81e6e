package lab_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/lab"
	"github.com/stoa-project/stoa/internal/lab/zookeeper"
)

// Three ZooKeeper servers, three masters, two frameworks: the leaders are killed, others
// take over, no task notices.
func TestLeadersAreReplaced(t *testing.T) {
	zk := zookeeper.Start(t, 3)
	c := lab.StartCluster(t, lab.ClusterConfig{ZK: zk.ConnectString(), Masters: 3, Agents: 2, Frameworks: 2})
	api := c.API(0)
	api.Must(t, "POST", "/v2/apps", sleeper)
	pids := livePIDs(t, api.AwaitRunning(t, 40*time.Second, "/sleeper", 3, false))
	api.AwaitNoDeployment(t, 20*time.Second)

	t.Run("any framework answers", func(t *testing.T) {
		for i := range c.Frameworks {
			if got := ids(c.API(i).AwaitRunning(t, 5*time.Second, "/sleeper", 3, false)); len(got) != 3 {
				t.Errorf("framework %d lists %v", i, got)
			}
		}
	})

	t.Run("leading master", func(t *testing.T) {
		old, err := c.LeadingMaster()
		if err != nil {
			t.Fatal(err)
		}
		c.Masters[old].Kill(t)
		start := time.Now()
		lab.Eventually(t, 12*time.Second, "another master leads and knows the agents and tasks", func() error {
			i, err := c.LeadingMaster()
			if err != nil {
				return err
			}
			s := lab.ReadMasterState(t, c.Masters[i].URL)
			if i == old || s.ActivatedSlaves != 2 || len(s.Frameworks) != 1 || len(s.Frameworks[0].Tasks) != 3 {
				return fmt.Errorf("master %d: %v agents, %+v", i, s.ActivatedSlaves, s.Frameworks)
			}
			return nil
		})
		// A new instance proves that the new leader offers.
		api.Must(t, "PUT", "/v2/apps/sleeper", `{"instances":4}`)
		four := api.AwaitRunning(t, 12*time.Second, "/sleeper", 4, false)
		t.Logf("offers %s after the kill", time.Since(start).Round(10*time.Millisecond))
		for id, p := range pids {
			if !lab.Alive(p) {
				t.Errorf("task %s died", id)
			}
		}
		pids = livePIDs(t, four)
		api.AwaitNoDeployment(t, 20*time.Second)
		c.Masters[old].Restart()
	})

	t.Run("leading framework", func(t *testing.T) {
		old, err := c.LeadingFramework()
		if err != nil {
			t.Fatal(err)
		}
		c.Frameworks[old].Kill(t)
		other := c.API(1 - old)
		lab.Eventually(t, 12*time.Second, "the other framework leads", func() error {
			i, err := c.LeadingFramework()
			if err == nil && i == old {
				err = fmt.Errorf("still framework %d", i)
			}
			return err
		})
		untouched(t, other, "/sleeper", pids)
		other.Must(t, "PUT", "/v2/apps/sleeper?force=true", `{"instances":5}`)
		other.AwaitRunning(t, 20*time.Second, "/sleeper", 5, false)
		c.Frameworks[old].Restart()
		lab.Eventually(t, 20*time.Second, "the old leader answers as standby", func() error {
			res, err := lab.Request(http.MethodGet, c.Frameworks[old].URL+"/v2/apps/sleeper", nil)
			if err == nil && res.Status != http.StatusOK {
				err = fmt.Errorf("%d %s", res.Status, res.Body)
			}
			return err
		})
	})
}
