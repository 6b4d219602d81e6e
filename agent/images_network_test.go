package agent_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent"
	"github.com/stoa-project/stoa/internal/lab/patience"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// imaged is an agent whose containers may live in images and in networks.
func imaged(t *testing.T) (*master, *process, *hub) {
	t.Helper()
	h := newHub(t)
	m, p := networked(t, func(c *agent.Config) {
		c.Isolation, c.CgroupsRoot, c.CgroupsHierarchy = imageIsolation, "stoa-test-"+c.Port, "/sys/fs/cgroup"
		c.Images = agent.Images{Providers: "docker", StoreDir: filepath.Join(c.WorkDir, "store")}
	})
	return m, p, h
}

// inside says what a container in an image sees of its network.
const inside = `busybox ip -o -4 addr | busybox awk '{print $2, $4}'; busybox hostname; cat /etc/hosts /etc/resolv.conf /etc/hostname; `

// mesos-agent.md 7.7, 7.8: a container in an image and in a network has the network's
// names, whatever the image has; its checks and sessions live in both, also after a kill of
// the agent. In the host's network it has the host's names.
func TestImageInAContainerNetwork(t *testing.T) {
	if !alone(t) {
		return
	}
	m, p, h := imaged(t)
	bare := h.push(t, "bare", v1.Config{Env: []string{"PATH=/bin"}}, map[string]string{})
	own := h.push(t, "own", v1.Config{Env: []string{"PATH=/bin"}}, map[string]string{"etc/hosts": "wrong\n", "etc/resolv.conf": "wrong\n", "etc/hostname": "wrong\n"})
	seen := func(ip, name string) string {
		return "lo 127.0.0.1/8\neth0 " + ip + "/24\n" + name + "\n127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n" + ip + " " + name +
			"\nsearch here\nnameserver 10.77.1.1\n" + name + "\n"
	}
	for id, image := range map[string]string{"bare": bare, "own": own} {
		m.run(task("S0", id, inside+`echo "$LIBPROCESS_IP"; touch /etc/hosts 2>/dev/null || echo fixed`, onNetwork("plain"), inImage(image),
			func(t *mesos.TaskInfo) { t.Container.Hostname = proto.String("twin") }))
		st := m.expect(id, finished)[1]
		got := addresses(st)
		if len(got) != 1 || !strings.HasPrefix(got[0], "10.77.1.") {
			t.Fatalf("%v", st)
		}
		if text, want := p.stdout(id), seen(got[0], "twin")+"0.0.0.0\nfixed\n"; text != want {
			t.Errorf("%s: got\n%s\nwant\n%s", id, text, want)
		}
	}

	// One that serves: checks of both kinds, a mapped port's plugin, a session, a kill.
	m.run(task("S0", "web", `while :; do echo hello | busybox nc -l -p 80; done`, onNetwork("plain"), inImage(own), func(t *mesos.TaskInfo) {
		t.HealthCheck = &mesos.HealthCheck{Type: mesos.HealthCheck_COMMAND.Enum(), DelaySeconds: proto.Float64(0), IntervalSeconds: proto.Float64(0.2),
			Command: &mesos.CommandInfo{Value: proto.String("busybox ip -o -4 addr | grep -q 10.77.1. && grep -q 10.77.1. /etc/hosts && test -x /bin/busybox && test ! -e /usr")}}
		t.Check = &mesos.CheckInfo{Type: mesos.CheckInfo_TCP.Enum(), DelaySeconds: proto.Float64(0), IntervalSeconds: proto.Float64(0.1), Tcp: &mesos.CheckInfo_Tcp{Port: proto.Uint32(80)}}
	}))
	updates := m.expect("web", running)
	first := updates[len(updates)-1]
	root, ip := first.GetContainerStatus().GetContainerId().GetValue(), addresses(first)[0]
	healthy, connected := false, false
	for end := time.Now().Add(patience.For(20 * time.Second)); !(healthy && connected) && time.Now().Before(end); {
		last := m.expect("web", running)
		st := last[len(last)-1]
		healthy, connected = healthy || st.GetHealthy(), connected || st.GetCheckStatus().GetTcp().GetSucceeded()
	}
	if !healthy || !connected {
		t.Errorf("healthy %v connected %v", healthy, connected)
	}
	look := func(name string) {
		t.Helper()
		resp := p.api(`{"type":"LAUNCH_NESTED_CONTAINER_SESSION","launch_nested_container_session":{`+ref(root, name)+`,"command":{"value":"`+strings.ReplaceAll(inside, `"`, `\"`)+`"}}}`,
			"Accept", "application/recordio", "Message-Accept", "application/json")
		if stdout, stderr := hear(t, resp.Body); stdout != seen(ip, root) {
			t.Errorf("session %s: got\n%s\nwant\n%s\n%s", name, stdout, seen(ip, root), stderr)
		}
	}
	look("before")
	quiet(m)
	p.stop(syscall.SIGKILL)
	p.start()
	m.reregister("S0")
	look("after")
	quiet(m)
	m.kill("web")
	m.expect("web", killed)

	// Network infos without a name mean the host's network.
	m.run(task("S0", "host", `cat /etc/hosts /etc/resolv.conf`, boxed(t, `"network_infos":[{}]`), inImage(own)))
	m.expect("host", finished)
	want := ""
	for _, file := range []string{"/etc/hosts", "/etc/resolv.conf"} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want += string(b)
	}
	if got := p.stdout("host"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	p.gone()
}

// The tasks of a pod have its network and its names, those in an image and those without.
func TestImagePodInAContainerNetwork(t *testing.T) {
	if !alone(t) {
		return
	}
	m, p, h := imaged(t)
	image := h.push(t, "own", v1.Config{Env: []string{"PATH=/bin"}}, map[string]string{"etc/hosts": "wrong\n"})
	exec := podExecutor("pod")
	exec.Container = &mesos.ContainerInfo{Type: mesos.ContainerInfo_MESOS.Enum(), Hostname: proto.String("twin"), NetworkInfos: []*mesos.NetworkInfo{{Name: proto.String("plain")}}}
	text := `cat /etc/hosts /etc/resolv.conf /etc/hostname; readlink /proc/self/ns/net; echo $MESOS_CONTAINER_IP`
	m.group(exec, true, task("S0", "a", text, inImage(image)), task("S0", "b", text))
	got := m.collect(map[string]mesos.TaskState{"a": finished, "b": finished})
	status := got["a"][1]
	root, ips := status.GetContainerStatus().GetContainerId().GetParent().GetValue(), addresses(status)
	if len(ips) != 1 || !strings.HasPrefix(ips[0], "10.77.1.") {
		t.Fatalf("%v", status)
	}
	said := map[string]string{}
	for _, id := range []string{"a", "b"} {
		b, err := os.ReadFile(filepath.Join(p.cfg.WorkDir, "slaves/S0/frameworks/F/executors/pod/runs", root, "tasks", id, "stdout"))
		if err != nil {
			t.Fatal(err)
		}
		said[id] = string(b)
	}
	head := "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n" + ips[0] + " twin\nsearch here\nnameserver 10.77.1.1\ntwin\n"
	if said["a"] != said["b"] || !strings.HasPrefix(said["a"], head) || !strings.HasSuffix(said["a"], "\n"+ips[0]+"\n") {
		t.Errorf("%q", said)
	}
	next(t, "executor's end", m.exited)
	p.gone()
}

// quiet acknowledges what is still told, until nothing is.
func quiet(m *master) {
	for {
		select {
		case u := <-m.updates:
			m.ack(u.GetUpdate().GetStatus())
		case <-time.After(300 * time.Millisecond):
			return
		}
	}
}
