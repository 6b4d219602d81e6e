package agent_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent"
	"github.com/stoa-project/stoa/internal/lab/patience"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

const cniPlugins = "/usr/lib/cni" // Debian's containernetworking-plugins

// alone runs the calling test in a process whose network namespace is its own, because CNI
// plugins make bridges and rules on the host. It tells whether this is that process.
func alone(t *testing.T) bool {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("container networks need root")
	}
	if _, err := os.Stat(filepath.Join(cniPlugins, "bridge")); err != nil {
		t.Skip("containernetworking-plugins is not installed: scripts/setup installs it")
	}
	if os.Getenv("STOA_TEST_ALONE") != "" {
		return true
	}
	limit := "3m"
	if end, ok := t.Deadline(); ok {
		limit = time.Until(end).String()
	}
	cmd := exec.Command("unshare", "--net", "sh", "-c", `ip link set lo up; exec "$0" "$@"`, os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout="+limit)
	cmd.Env = append(os.Environ(), "STOA_TEST_ALONE=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	} else if testing.Verbose() {
		t.Logf("%s", out)
	}
	return false
}

// networked registers an agent with two container networks: "plain", and "mapped", which maps
// ports as Mesos' own plugin does.
func networked(t *testing.T, change ...func(*agent.Config)) (*master, *process) {
	t.Helper()
	m := newMaster(t, 0)
	p := newProcess(t, m)
	conf := t.TempDir()
	for name, text := range map[string]string{
		"plain.conflist": `{"cniVersion":"0.4.0","name":"plain","plugins":[{"type":"bridge","bridge":"br-plain","isGateway":true,
			"ipam":{"type":"host-local","ranges":[[{"subnet":"10.77.1.0/24"}]],"dataDir":"` + conf + `/data"},"dns":{"nameservers":["10.77.1.1"],"search":["here"]}}]}`,
		"mapped.json": `{"name":"mapped","type":"mesos-cni-port-mapper","chain":"MESOS-TEST","excludeDevices":["br-mapped"],
			"delegate":{"type":"bridge","bridge":"br-mapped","isGateway":true,"ipMasq":true,"ipam":{"type":"host-local","subnet":"10.77.2.0/24","dataDir":"` + conf + `/data"}}}`,
		"broken.json": `{`,
	} {
		if err := os.WriteFile(filepath.Join(conf, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p.cfg.CNI.ConfigDir, p.cfg.CNI.PluginsDir = conf, cniPlugins
	for _, f := range change {
		f(&p.cfg)
	}
	t.Cleanup(func() { nothingJoined(t, p, conf) })
	p.start()
	m.register("S0")
	return m, p
}

// nothingJoined fails for what containers have left of their networks.
func nothingJoined(t *testing.T, p *process, conf string) {
	t.Helper()
	var left []string
	for end := time.Now().Add(patience.For(10 * time.Second)); ; time.Sleep(50 * time.Millisecond) {
		left = nil
		for _, pattern := range []string{p.cfg.RuntimeDir + "/isolators/network/cni/[^.]*", conf + "/data/*/10.*"} {
			found, err := filepath.Glob(pattern)
			if err != nil {
				t.Fatal(err)
			}
			left = append(left, found...)
		}
		mounts, err := os.ReadFile("/proc/self/mounts")
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(mounts), p.cfg.RuntimeDir) {
			left = append(left, "mounts below "+p.cfg.RuntimeDir)
		}
		if len(left) == 0 || time.Now().After(end) {
			break
		}
	}
	if len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// onNetwork lets a task join networks.
func onNetwork(names ...string) func(*mesos.TaskInfo) {
	return func(t *mesos.TaskInfo) {
		t.Container = &mesos.ContainerInfo{Type: mesos.ContainerInfo_MESOS.Enum(), Mesos: &mesos.ContainerInfo_MesosInfo{}}
		for _, n := range names {
			t.Container.NetworkInfos = append(t.Container.NetworkInfos, &mesos.NetworkInfo{Name: proto.String(n),
				Labels: &mesos.Labels{Labels: []*mesos.Label{{Key: proto.String("k"), Value: proto.String(n)}}}})
		}
	}
}

func addresses(st *mesos.TaskStatus) (out []string) {
	for _, info := range st.GetContainerStatus().GetNetworkInfos() {
		for _, ip := range info.GetIpAddresses() {
			out = append(out, ip.GetIpAddress())
		}
	}
	return out
}

// mesos-agent.md 7.8: several networks, names, files, environment, ports, checks, end.
func TestContainerNetworks(t *testing.T) {
	if !alone(t) {
		return
	}
	m, p := networked(t)
	m.run(task("S0", "two", `ip -o -4 addr | awk '{print $2, $4}'; hostname; cat /etc/hosts /etc/resolv.conf /etc/hostname; echo "L=$LIBPROCESS_IP"`,
		onNetwork("plain", "mapped"), func(t *mesos.TaskInfo) { t.Container.Hostname = proto.String("twin") }))
	seen := m.expect("two", finished)
	st := seen[1]
	got := addresses(st)
	if st.GetState() != running || len(got) != 2 || !strings.HasPrefix(got[0], "10.77.1.") || !strings.HasPrefix(got[1], "10.77.2.") || st.GetContainerStatus().GetNetworkInfos()[1].GetLabels().GetLabels()[0].GetValue() != "mapped" {
		t.Fatalf("%v", st)
	}
	want := "lo 127.0.0.1/8\neth0 " + got[0] + "/24\neth1 " + got[1] + "/24\ntwin\n127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n" +
		got[0] + " twin\n" + got[1] + " twin\nsearch here\nnameserver 10.77.1.1\ntwin\nL=0.0.0.0\n"
	if text := p.stdout("two"); text != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
	for id, c := range map[string]struct {
		names []string
		text  string
	}{
		"none":  {[]string{"nowhere"}, "Failed to launch container: Unknown CNI network 'nowhere'"},
		"twice": {[]string{"plain", "plain"}, "Failed to launch container: Attempted to join CNI network 'plain' multiple times"},
	} {
		m.run(task("S0", id, "true", onNetwork(c.names...)))
		if st := m.expect(id, failed)[0]; st.GetMessage() != c.text || st.GetReason() != mesos.TaskStatus_REASON_CONTAINER_LAUNCH_FAILED {
			t.Errorf("%v", st)
		}
	}
	// A server that only its own network knows, but for a mapped port; its checks ask inside.
	m.run(task("S0", "web", `while :; do echo hello | busybox nc -l -p 80; done`, onNetwork("mapped"), func(t *mesos.TaskInfo) {
		t.Container.NetworkInfos[0].PortMappings = []*mesos.NetworkInfo_PortMapping{{HostPort: proto.Uint32(31007), ContainerPort: proto.Uint32(80)}}
		t.HealthCheck = &mesos.HealthCheck{Type: mesos.HealthCheck_COMMAND.Enum(), DelaySeconds: proto.Float64(0), IntervalSeconds: proto.Float64(0.2),
			Command: &mesos.CommandInfo{Value: proto.String("ip -o -4 addr | grep -q 10.77.2.")}}
		t.Check = &mesos.CheckInfo{Type: mesos.CheckInfo_TCP.Enum(), DelaySeconds: proto.Float64(0), IntervalSeconds: proto.Float64(0.1), Tcp: &mesos.CheckInfo_Tcp{Port: proto.Uint32(80)}}
	}))
	seen = m.expect("web", running)
	healthy, connected := false, false
	for end := time.Now().Add(patience.For(20 * time.Second)); !(healthy && connected) && time.Now().Before(end); {
		last := m.expect("web", running)
		st = last[len(last)-1]
		healthy, connected = healthy || st.GetHealthy(), connected || st.GetCheckStatus().GetTcp().GetSucceeded()
	}
	if !healthy || !connected {
		t.Errorf("healthy %v connected %v: %v", healthy, connected, seen)
	}
	p.eventually("the mapped port", func() bool {
		outside := ""
		ifs, err := net.InterfaceByName("br-mapped")
		if err == nil {
			if addrs, err := ifs.Addrs(); err == nil && len(addrs) > 0 {
				outside, _, _ = strings.Cut(addrs[0].String(), "/")
			}
		}
		c, err := net.DialTimeout("tcp", outside+":31007", time.Second)
		if err != nil {
			return false
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(time.Second))
		b := make([]byte, 100)
		n, _ := c.Read(b)
		return string(b[:n]) == "hello\n"
	})
	p.eventually("what its network carried", func() bool {
		got := p.carried(`{"type":"GET_CONTAINERS","get_containers":{}}`)
		return len(got) == 1 && got[0].RX > 0 && got[0].TX > 0 && got[0].Dropped != nil && got[0].ips() == addresses(st)[0] &&
			strings.Contains(string(p.get("/monitor/statistics")), `"net_rx_packets"`) && strings.Contains(string(p.get("/containers")), `"net_tx_errors"`)
	})
	for { // what the checks still tell
		select {
		case u := <-m.updates:
			m.ack(u.GetUpdate().GetStatus())
			continue
		case <-time.After(300 * time.Millisecond):
		}
		break
	}
	m.kill("web")
	m.expect("web", killed)
}

// shownContainer is what operators see of a container and its networks.
type shownContainer struct {
	ID struct {
		Value  string
		Parent *struct{ Value string }
	}
	Networks []struct {
		IPs []struct {
			IP string `json:"ip_address"`
		} `json:"ip_addresses"`
	}
	RX, TX  uint64
	Dropped *uint64
}

func (c shownContainer) ips() string {
	var out []string
	for _, n := range c.Networks {
		for _, ip := range n.IPs {
			out = append(out, ip.IP)
		}
	}
	return strings.Join(out, " ")
}

// carried gives the containers that a call lists.
func (p *process) carried(call string) []shownContainer {
	p.t.Helper()
	var answer struct {
		Get struct {
			Containers []struct {
				Status struct {
					ID       json.RawMessage `json:"container_id"`
					Networks json.RawMessage `json:"network_infos"`
				} `json:"container_status"`
				Statistics struct {
					RX      uint64  `json:"net_rx_bytes"`
					TX      uint64  `json:"net_tx_bytes"`
					Dropped *uint64 `json:"net_rx_dropped"`
				} `json:"resource_statistics"`
			}
		} `json:"get_containers"`
	}
	res := p.api(call, "Accept", "application/json")
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		p.t.Fatal(err)
	}
	var out []shownContainer
	for _, c := range answer.Get.Containers {
		x := shownContainer{RX: c.Statistics.RX, TX: c.Statistics.TX, Dropped: c.Statistics.Dropped}
		if err := json.Unmarshal(c.Status.ID, &x.ID); err != nil {
			p.t.Fatal(err)
		}
		if c.Status.Networks != nil {
			if err := json.Unmarshal(c.Status.Networks, &x.Networks); err != nil {
				p.t.Fatal(err)
			}
		}
		out = append(out, x)
	}
	return out
}

// A task of a pod may have a network of its own: address, names, ports, checks, sessions
// and figures are its own, also after kill -9 of the agent, while its mate lives in that of
// the pod.
func TestTaskOfAPodInANetworkOfItsOwn(t *testing.T) {
	if !alone(t) {
		return
	}
	m, p := networked(t)
	exec := podExecutor("pod")
	exec.Container = &mesos.ContainerInfo{Type: mesos.ContainerInfo_MESOS.Enum(), NetworkInfos: []*mesos.NetworkInfo{{Name: proto.String("plain")}}}
	own := task("S0", "own", `hostname; grep solo /etc/hosts; echo $MESOS_CONTAINER_IP $LIBPROCESS_IP; while :; do echo hello | busybox nc -l -p 80; done`, onNetwork("mapped"), func(t *mesos.TaskInfo) {
		t.Container.Hostname = proto.String("solo")
		t.Container.NetworkInfos[0].PortMappings = []*mesos.NetworkInfo_PortMapping{{HostPort: proto.Uint32(31009), ContainerPort: proto.Uint32(80)}}
		t.HealthCheck = &mesos.HealthCheck{Type: mesos.HealthCheck_COMMAND.Enum(), DelaySeconds: proto.Float64(0), IntervalSeconds: proto.Float64(0.2), ConsecutiveFailures: proto.Uint32(1000),
			GracePeriodSeconds: proto.Float64(0), Command: &mesos.CommandInfo{Value: proto.String("! test -e sick && ip -o -4 addr | grep -q 10.77.2. && ! ip -o -4 addr | grep -q 10.77.1.")}}
		t.Check = &mesos.CheckInfo{Type: mesos.CheckInfo_TCP.Enum(), DelaySeconds: proto.Float64(0), IntervalSeconds: proto.Float64(0.1), Tcp: &mesos.CheckInfo_Tcp{Port: proto.Uint32(80)}}
	})
	m.group(exec, true, own, task("S0", "mate", `echo $MESOS_CONTAINER_IP; sleep 1000`))
	ip := map[string]string{}
	var box *mesos.ContainerID
	seen := map[string]bool{}
	await := func(done func() bool) {
		t.Helper()
		for !done() {
			st := next(t, "update", m.updates).GetUpdate().GetStatus()
			m.ack(st)
			if st.GetState() != running {
				continue
			}
			id := st.GetTaskId().GetValue()
			ip[id] = strings.Join(addresses(st), " ")
			if id == "own" {
				box = st.GetContainerStatus().GetContainerId()
				seen["healthy"], seen["sick"] = st.GetHealthy(), st.Healthy != nil && !st.GetHealthy()
				seen["connected"] = seen["connected"] || st.GetCheckStatus().GetTcp().GetSucceeded()
			}
		}
	}
	await(func() bool { return seen["healthy"] && seen["connected"] && ip["mate"] != "" })
	if !strings.HasPrefix(ip["own"], "10.77.2.") || !strings.HasPrefix(ip["mate"], "10.77.1.") {
		t.Fatalf("%v", ip)
	}
	root, id := box.GetParent().GetValue(), box.GetValue()
	read := func(task string) string {
		raw, _ := os.ReadFile(filepath.Join(p.state().Frameworks[0].Executors[0].Directory, "tasks", task, "stdout"))
		return string(raw)
	}
	if got, want := read("own"), "solo\n"+ip["own"]+" solo\n"+ip["own"]+" 0.0.0.0\n"; !strings.HasPrefix(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := read("mate"); got != ip["mate"]+"\n" {
		t.Errorf("%q", got)
	}
	look := func(when string) {
		t.Helper()
		p.eventually("figures "+when, func() bool {
			got := map[string]shownContainer{}
			for _, c := range p.carried(`{"type":"GET_CONTAINERS","get_containers":{"show_nested":true}}`) {
				got[c.ID.Value] = c
			}
			for k, c := range got { // those of its mate are the pod's
				if k != id && k != root && c.Dropped != nil {
					return false
				}
			}
			return len(got) == 3 && got[root].ips() == ip["mate"] && got[id].ips() == ip["own"] && got[root].Dropped != nil && got[id].RX > 0
		})
		stdout, _ := hear(t, p.api(`{"type":"LAUNCH_NESTED_CONTAINER_SESSION","launch_nested_container_session":{"container_id":{"value":"s-`+when+`","parent":{"value":"`+id+`","parent":{"value":"`+root+`"}}},"command":{"value":"hostname -i; hostname"}}}`,
			"Accept", "application/recordio", "Message-Accept", "application/json").Body)
		if stdout != ip["own"]+"\nsolo\n" {
			t.Errorf("a session %s: %q", when, stdout)
		}
	}
	look("before")
	p.stop(syscall.SIGKILL)
	p.start()
	m.reregister("S0")
	sick := filepath.Join(p.state().Frameworks[0].Executors[0].Directory, "tasks", "own", "sick")
	if err := os.WriteFile(sick, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	await(func() bool { return seen["sick"] })
	if err := os.Remove(sick); err != nil {
		t.Fatal(err)
	}
	await(func() bool { return seen["healthy"] }) // asked in its own network again
	look("after")
	m.kill("mate")
	for ends := 0; ends < 2; {
		st := next(t, "end", m.updates).GetUpdate().GetStatus()
		m.ack(st)
		if st.GetState() == killed {
			ends++
			if got := strings.Join(addresses(st), " "); got != ip[st.GetTaskId().GetValue()] {
				t.Errorf("%s ended at %s", st.GetTaskId().GetValue(), got)
			}
		}
	}
	next(t, "executor's end", m.exited)
	// A pod in the host's network whose only task is not.
	exec = podExecutor("hosted")
	m.group(exec, true, task("S0", "lone", `ip -o -4 addr show dev eth0 | wc -l; exec sleep 1000`, onNetwork("plain")))
	got := m.collect(map[string]mesos.TaskState{"lone": running})
	if ips := addresses(got["lone"][len(got["lone"])-1]); len(ips) != 1 || !strings.HasPrefix(ips[0], "10.77.1.") {
		t.Errorf("%v", got)
	}
	m.kill("lone")
	m.collect(map[string]mesos.TaskState{"lone": killed})
	next(t, "executor's end", m.exited)
	m.group(podExecutor("wrong"), true, task("S0", "nowhere", `true`, onNetwork("nowhere")))
	got = m.collect(map[string]mesos.TaskState{"nowhere": failed})
	if st := got["nowhere"][len(got["nowhere"])-1]; st.GetMessage() != "Failed to launch container: Unknown CNI network 'nowhere'" || st.Reason != nil {
		t.Errorf("%v", st)
	}
}

// A pod's tasks share their executor's network; sessions are in it too.
func TestPodInAContainerNetwork(t *testing.T) {
	if !alone(t) {
		return
	}
	m, p := networked(t)
	exec := &mesos.ExecutorInfo{Type: mesos.ExecutorInfo_DEFAULT.Enum(), ExecutorId: &mesos.ExecutorID{Value: proto.String("pod")}, FrameworkId: frameworkID,
		Resources: []*mesos.Resource{amount("cpus", 0.1), amount("mem", 32)},
		Container: &mesos.ContainerInfo{Type: mesos.ContainerInfo_MESOS.Enum(), NetworkInfos: []*mesos.NetworkInfo{{Name: proto.String("plain")}}}}
	text := `ip -o -4 addr show dev eth0 | sed 's/.*inet //; s,/.*,,'; echo $MESOS_CONTAINER_IP; readlink /proc/self/ns/net; sleep 1000`
	m.send(&messages.RunTaskGroupMessage{Framework: framework(), Executor: exec, LaunchExecutor: proto.Bool(true),
		TaskGroup: &mesos.TaskGroupInfo{Tasks: []*mesos.TaskInfo{task("S0", "a", text), task("S0", "b", text)}}})
	var ips []string
	dirs := map[string]string{}
	for range 4 {
		st := next(t, "update", m.updates).GetUpdate().GetStatus()
		m.ack(st)
		if st.GetState() == running {
			ips = append(ips, addresses(st)...)
			dirs[st.GetTaskId().GetValue()] = filepath.Join(p.state().Frameworks[0].Executors[0].Directory, "containers", st.GetContainerStatus().GetContainerId().GetValue(), "stdout")
		}
	}
	if len(ips) != 2 || ips[0] != ips[1] || !strings.HasPrefix(ips[0], "10.77.1.") {
		t.Fatalf("%v", ips)
	}
	said := map[string]string{}
	for id, file := range dirs {
		p.eventually("output of "+id, func() bool {
			raw, _ := os.ReadFile(file)
			said[id] = string(raw)
			return strings.Count(said[id], "\n") == 3
		})
	}
	if said["a"] != said["b"] || !strings.HasPrefix(said["a"], ips[0]+"\n"+ips[0]+"\n") {
		t.Errorf("%q", said)
	}
	m.send(&messages.ShutdownExecutorMessage{ExecutorId: exec.ExecutorId, FrameworkId: frameworkID})
	next(t, "end", m.updates)
}

// kill -9 of the agent at any step of a launch or end in a network leaves nothing of it.
func TestAgentKilledAroundNetworks(t *testing.T) {
	if !alone(t) {
		return
	}
	m, p := networked(t)
	rounds := 6
	if os.Getenv("STOA_SOAK") != "" {
		rounds = 60
	}
	for i := range rounds {
		id := fmt.Sprintf("t%d", i)
		m.run(task("S0", id, "exec sleep 1000", onNetwork("mapped"), func(t *mesos.TaskInfo) {
			t.Container.NetworkInfos[0].PortMappings = []*mesos.NetworkInfo_PortMapping{{HostPort: proto.Uint32(31007), ContainerPort: proto.Uint32(80)}}
		}))
		p.eventually("its record", func() bool { return strings.Contains(string(p.get("/state")), `"`+id+`"`) })
		if i%3 == 2 {
			m.expect(id, running)
			m.kill(id)
		}
		time.Sleep(time.Duration(i*40%250) * time.Millisecond)
		p.stop(syscall.SIGKILL)
		p.start()
		m.reregister("S0")
		for ended := false; !ended; {
			st := next(t, "update of "+id, m.updates).GetUpdate().GetStatus()
			m.ack(st)
			if st.GetTaskId().GetValue() != id {
				continue
			}
			switch st.GetState() {
			case killed, failed, finished, mesos.TaskState_TASK_DROPPED:
				ended = true
			case running:
				if got := addresses(st); len(got) != 1 || !strings.HasPrefix(got[0], "10.77.2.") {
					t.Errorf("%s: %v", id, got)
				}
				m.kill(id)
			}
		}
		p.eventually("closed books", func() bool { return len(p.state().Frameworks) == 0 })
	}
}
