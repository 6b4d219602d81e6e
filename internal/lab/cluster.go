package lab

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/lab/freeport"
)

// Daemon is one room as a process of its own that a test may kill and start again.
type Daemon struct {
	*Process
	URL    string
	Binary string // what Restart starts; empty: the stoa under test
	args   []string
	t      testing.TB // of the whole cluster: a daemon outlives the subtest that restarts it
}

// Restart starts the same command again, after the process ended.
func (d *Daemon) Restart() {
	d.t.Helper()
	binary := d.Binary
	if binary == "" {
		binary = Stoa(d.t)
	}
	d.Process = Start(d.t, d.args[0], binary, d.args...)
}

// StartDaemon starts one verb of stoa that is restarted with the same arguments.
func StartDaemon(t testing.TB, url string, args ...string) *Daemon {
	t.Helper()
	d := &Daemon{URL: url, args: args, t: t}
	d.Restart()
	return d
}

// Cluster is an estate of separate daemons on loopback, with the predecessors' flags.
type Cluster struct {
	Dir        string
	ZK         string // host:port list, empty without ZooKeeper
	Masters    []*Daemon
	Agents     []*Daemon
	Frameworks []*Daemon

	groups []string // of the agents, see GroupsRoot
}

// ClusterConfig says how many of each; without ZK there is one master and one framework.
type ClusterConfig struct {
	ZK                          string
	Masters, Agents, Frameworks int
	AgentFlags                  func(i int) []string // more of them for agent i; may be nil
	FrameworkFlags              []string             // more of them
}

// StartCluster starts the daemons and waits until a framework answers and every
// agent is registered.
func StartCluster(t testing.TB, c ClusterConfig) *Cluster {
	t.Helper()
	k := &Cluster{Dir: t.TempDir(), ZK: c.ZK}
	ports := freeport.Take(t, c.Masters+c.Agents+c.Frameworks)
	port := func() int { p := ports[0]; ports = ports[1:]; return p }
	start := func(url string, args ...string) *Daemon { return StartDaemon(t, url, args...) }
	leader := ""
	for i := range c.Masters {
		p := port()
		args := []string{"master", "--ip", "127.0.0.1", "--port", strconv.Itoa(p), "--work_dir", k.path("master", i)}
		leader = "127.0.0.1:" + strconv.Itoa(p)
		if c.ZK != "" {
			leader = "zk://" + c.ZK + "/mesos"
			args = append(args, "--zk", leader, "--quorum", strconv.Itoa(c.Masters/2+1), "--zk_session_timeout", "4secs")
		}
		k.Masters = append(k.Masters, start("http://127.0.0.1:"+strconv.Itoa(p), args...))
	}
	for i := range c.Agents {
		p := port()
		from, to := TaskPorts(1000)
		ip := fmt.Sprintf("127.0.0.%d", i+1)
		args := []string{"agent", "--master", leader,
			"--ip", ip, "--port", strconv.Itoa(p), "--hostname", ip, "--work_dir", k.path("agent", i),
			"--runtime_dir", filepath.Join(k.path("agent", i), "run"), "--cgroups_root", GroupsRoot(p),
			"--resources", fmt.Sprintf("cpus:4;mem:2048;disk:4096;ports:[%d-%d]", from, to)}
		if c.AgentFlags != nil {
			args = append(args, c.AgentFlags(i)...)
		}
		k.groups = append(k.groups, GroupsRoot(p))
		k.Agents = append(k.Agents, start(fmt.Sprintf("http://%s:%d", ip, p), args...))
	}
	for i := range c.Frameworks {
		p := port()
		args := []string{"framework", "--master", leader, "--http_address", "127.0.0.1", "--http_port", strconv.Itoa(p), "--hostname", "127.0.0.1"}
		if c.ZK != "" {
			args = append(args, "--zk", "zk://"+c.ZK+"/marathon", "--zk_session_timeout", "4000")
		} else {
			args = append(args, "--work_dir", k.path("framework", i))
		}
		args = append(args, c.FrameworkFlags...)
		k.Frameworks = append(k.Frameworks, start("http://127.0.0.1:"+strconv.Itoa(p), args...))
	}
	t.Cleanup(func() { k.stopTasks(t) })
	for i := range k.Frameworks {
		api := k.API(i)
		Eventually(t, 30*time.Second, "framework answers", func() error {
			res, err := Request(http.MethodGet, api.URL+"/v2/apps", nil)
			if err == nil && res.Status != http.StatusOK {
				err = fmt.Errorf("%d %s", res.Status, res.Body)
			}
			return err
		})
	}
	Eventually(t, 30*time.Second, "agents register", func() error {
		n, err := k.activeAgents()
		if err == nil && n != c.Agents {
			err = fmt.Errorf("%d active", n)
		}
		return err
	})
	return k
}

func (k *Cluster) path(room string, i int) string {
	return filepath.Join(k.Dir, room+strconv.Itoa(i))
}

// API gives the REST API of framework i.
func (k *Cluster) API(i int) API { return API{URL: k.Frameworks[i].URL} }

// LeadingMaster gives the index of the master that says it leads, or why none does.
func (k *Cluster) LeadingMaster() (int, error) {
	for i, m := range k.Masters {
		select {
		case <-m.Done():
			continue
		default:
		}
		s, err := masterState(m.URL)
		if err == nil && s.ElectedTime != 0 {
			return i, nil
		}
	}
	return 0, fmt.Errorf("no master leads")
}

// LeadingFramework gives the index of the framework that GET /v2/leader names.
func (k *Cluster) LeadingFramework() (int, error) {
	for _, f := range k.Frameworks {
		select {
		case <-f.Done():
			continue
		default:
		}
		res, err := Request(http.MethodGet, f.URL+"/v2/leader", nil)
		if err != nil || res.Status != http.StatusOK {
			continue
		}
		for i, g := range k.Frameworks {
			if strings.Contains(string(res.Body), strings.TrimPrefix(g.URL, "http://")) {
				return i, nil
			}
		}
	}
	return 0, fmt.Errorf("no framework leads")
}

func (k *Cluster) activeAgents() (int, error) {
	i, err := k.LeadingMaster()
	if err != nil {
		return 0, err
	}
	s, err := masterState(k.Masters[i].URL)
	return int(s.ActivatedSlaves), err
}

// stopTasks ends what the agents left running: agents leave their tasks alone when they
// stop, and a test must not.
func (k *Cluster) stopTasks(t testing.TB) {
	for _, a := range k.Agents {
		a.Stop(t)
	}
	for _, root := range k.groups {
		RemoveGroups(t, root)
	}
	KillUnder(t, k.Dir)
}
