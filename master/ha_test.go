package master_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/lab/zookeeper"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
	"github.com/stoa-project/stoa/internal/zk"
	"github.com/stoa-project/stoa/master"
)

// TestStandbyTakesOver: two masters on ZooKeeper. The standby redirects; when the leader
// goes it leads with the agents the other admitted, and the task goes on.
func TestStandbyTakesOver(t *testing.T) {
	ens := zookeeper.Start(t, 1)
	url, err := zk.Parse(ens.URL("mesos"))
	if err != nil {
		t.Fatal(err)
	}
	one := startMaster(t, master.Config{ZK: &url, SessionTimeout: 5 * time.Second, Hostname: "localhost"})
	two := startStandby(t, master.Config{ZK: &url, SessionTimeout: 5 * time.Second, Hostname: "127.0.0.1"})
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	get := func(m *running, method, path string) *http.Response {
		t.Helper()
		req, err := http.NewRequest(method, "http://"+m.addr+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp
	}
	_, port, err := net.SplitHostPort(one.addr)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the standby knows the leader", func() bool { return get(two, "GET", "/redirect").StatusCode == 307 })
	for _, c := range []struct {
		method, path, location string
		code                   int
	}{
		{"GET", "/redirect", "//localhost:" + port, 307},
		{"GET", "/master/redirect", "//localhost:" + port, 307},
		{"POST", "/api/v1/scheduler", "//localhost:" + port + "/master/api/v1/scheduler", 307},
		{"PUT", "/master/api/v1/scheduler?a=b", "//localhost:" + port + "/master/api/v1/scheduler?a=b", 307},
		{"GET", "/state", "//localhost:" + port + "/master/state", 307},
		{"GET", "/master/tasks?limit=5", "//localhost:" + port + "/master/tasks?limit=5", 307},
		{"POST", "/api/v1", "//localhost:" + port + "/master/api/v1", 307},
		{"GET", "/flags", "", 200},
		{"GET", "/version", "", 200},
		{"GET", "/health", "", 200},
		{"GET", "/metrics/snapshot", "", 200},
	} {
		resp := get(two, c.method, c.path)
		if resp.StatusCode != c.code || resp.Header.Get("Location") != c.location {
			t.Errorf("%s %s: %d to %q, want %d to %q", c.method, c.path, resp.StatusCode, resp.Header.Get("Location"), c.code, c.location)
		}
	}

	a := startAgent(t, one.addr)
	a.register()
	f := one.subscribe(fmt.Sprintf(subscribeJSON, "", ""))
	f.next(scheduler.Event_SUBSCRIBED)
	f.launch("one", "sleep")
	f.update("one", mesos.TaskState_TASK_RUNNING)
	a.await("ack")
	one.stop()
	f.ended()
	eventually(t, "the standby leads", func() bool {
		_, err := two.door.View(context.Background())
		return err == nil
	})
	a.follow(two.addr)
	a.reregister()
	id := f.id
	g := two.subscribe(fmt.Sprintf(subscribeJSON, fmt.Sprintf(`,"id":{"value":%q}`, id), `,"framework_id":{"value":"`+id+`"}`))
	g.next(scheduler.Event_SUBSCRIBED)
	g.call(`{"type":"RECONCILE","reconcile":{"tasks":[{"task_id":{"value":"one"}}]}}`)
	if st := g.next(scheduler.Event_UPDATE).GetUpdate().GetStatus(); st.GetState() != mesos.TaskState_TASK_RUNNING {
		t.Errorf("reconciliation %v", st)
	}
	s, err := two.door.View(t.Context())
	if err != nil || len(s.Agents) != 1 || string(s.Agents[0].ID) != a.id.GetValue() || len(s.Recovered) != 0 {
		t.Errorf("agents %+v, recovered %v (%v)", s.Agents, s.Recovered, err)
	}
}
