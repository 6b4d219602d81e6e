package agent_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent"
	"github.com/stoa-project/stoa/agent/container/cgroup"
	"github.com/stoa-project/stoa/agent/fetch/carry"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// fetching gives a task a URI.
func fetching(uri string) func(*mesos.TaskInfo) {
	return func(t *mesos.TaskInfo) { t.Command.Uris = []*mesos.CommandInfo_URI{{Value: proto.String(uri)}} }
}

// fetchers lists the processes that fetch into sandboxes of this agent.
func (p *process) fetchers() (out []string) {
	items, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, i := range items {
		raw, err := os.ReadFile(i)
		if err == nil && bytes.HasPrefix(raw, []byte(carry.Name+"\x00"+p.cfg.WorkDir)) {
			out = append(out, i)
		}
	}
	return out
}

// A fetch is bounded like a task: one that takes too much memory fails its own task with
// the reason; a neighbour, the agent and the next fetch do not notice. How far a fetch is can
// be seen, it is gone when its task is killed, and when the agent is.
func TestFetchIsContained(t *testing.T) {
	m, p := guarded(t, withCgroups, func(c *agent.Config) { c.Fetch.Memory = 48 << 20 })
	stop := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(1<<30))
		block := make([]byte, 1<<20)
		for {
			select {
			case <-stop:
				return
			case <-r.Context().Done():
				return
			case <-time.After(200 * time.Millisecond):
				_, _ = w.Write(block)
			}
		}
	}))
	defer srv.Close()
	defer close(stop)

	n := newNeighbour(m, p)
	const name = 60 << 10 // of zeros, which take no room on the disk
	greedy, err := os.Create(filepath.Join(t.TempDir(), "greedy.zip"))
	if err != nil {
		t.Fatal(err)
	}
	at, entries := int64(0), 96<<20/name
	for range entries {
		head := binary.LittleEndian.AppendUint16(append([]byte("PK\x01\x02"), make([]byte, 24)...), name)
		if _, err := greedy.WriteAt(append(head, make([]byte, 16)...), at); err != nil {
			t.Fatal(err)
		}
		at += 46 + name
	}
	end := append([]byte("PK\x05\x06"), 0, 0, 0, 0, byte(entries), byte(entries>>8), byte(entries), byte(entries>>8))
	if _, err := greedy.WriteAt(append(binary.LittleEndian.AppendUint32(end, uint32(at)), make([]byte, 6)...), at); err != nil {
		t.Fatal(err)
	}
	greedy.Close()
	m.run(task("S0", "greedy", "true", fetching(greedy.Name())))
	seen := m.expect("greedy", failed)
	last := seen[len(seen)-1]
	if last.GetReason() != mesos.TaskStatus_REASON_CONTAINER_LAUNCH_FAILED || !strings.HasPrefix(last.GetMessage(), "Failed to launch container: Failed to fetch all URIs for container '") ||
		!strings.Contains(last.GetMessage(), "more than 48MB of memory") {
		t.Errorf("%v", last)
	}
	log, err := os.ReadFile(filepath.Join(p.cfg.WorkDir, "slaves/S0/frameworks/F/executors/greedy/runs/latest/stderr"))
	if err != nil || !strings.Contains(string(log), "Fetched '"+greedy.Name()+"' to '") || !strings.Contains(string(log), "Failed to fetch: fetch: memory: ") {
		t.Errorf("stderr: %q %v", log, err)
	}
	if n.advance(200*time.Millisecond) <= 0 || p.get("/state") == nil {
		t.Error("the neighbour or the agent noticed")
	}

	m.run(task("S0", "slow", "true", fetching(srv.URL+"/slow")))
	for told := false; !told; {
		u := next(t, "progress", m.updates)
		st := u.GetUpdate().GetStatus()
		m.ack(st)
		told = strings.HasPrefix(st.GetMessage(), "Fetching '"+srv.URL+"/slow': ") && strings.HasSuffix(st.GetMessage(), " MB of 1024 MB")
		if over(st.GetState()) || st.GetTaskId().GetValue() != "slow" {
			t.Fatalf("%v", st)
		}
	}
	if len(p.fetchers()) != 1 || len(p.groups(cgroup.FetchFolder+"/*")) == 0 {
		t.Errorf("%v in %v", p.fetchers(), p.groups(cgroup.FetchFolder+"/*"))
	}
	m.kill("slow")
	m.expect("slow", killed)
	p.eventually("nothing of the fetch is left", func() bool {
		return len(p.fetchers()) == 0 && len(p.groups(cgroup.FetchFolder+"/*")) == 0
	})

	m.run(task("S0", "lost", "true", fetching(srv.URL+"/lost")))
	p.eventually("it is fetched", func() bool { return len(p.fetchers()) == 1 })
	p.stop(syscall.SIGKILL)
	p.eventually("the fetch ends with the agent", func() bool { return len(p.fetchers()) == 0 })
	for len(m.reregistrations) > 0 {
		<-m.reregistrations
	}
	p.start()
	m.reregister("S0")
	if left := p.groups(cgroup.FetchFolder + "/*"); len(left) > 0 {
		t.Errorf("groups of the fetch: %v", left)
	}
	for told := false; !told; {
		st := next(t, "end of the task that was being fetched", m.updates).GetUpdate().GetStatus()
		m.ack(st)
		told = st.GetTaskId().GetValue() == "lost" && over(st.GetState())
	}
	p.kill(m, "neighbour")
}
