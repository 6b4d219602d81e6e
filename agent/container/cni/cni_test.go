package cni

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// rig has a folder of configurations, and plugins that write down what they are called with
// and fail for networks named "refused".
func rig(t *testing.T, dns string, confs map[string]string) (*Networks, string) {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{"conf", "plugins", "calls"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range confs {
		if err := os.WriteFile(filepath.Join(dir, "conf", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	script := `#!/bin/sh
in=$(cat)
case $CNI_COMMAND in VERSION) echo '{"cniVersion":"1.0.0","supportedVersions":["0.3.1","0.4.0","1.0.0"]}'; exit;; esac
echo "$in" > "` + dir + `/calls/$CNI_COMMAND-$CNI_IFNAME-${0##*/}"
case $in in *'"name":"refused"'*) if [ $CNI_COMMAND = ADD ]; then echo '{"code":7,"msg":"no address is left"}'; exit 1; fi;; esac
[ $CNI_COMMAND = ADD ] && echo '{"cniVersion":"0.3.1","ips":[{"version":"4","address":"10.1.2.3/24"},{"version":"6","address":"fd00::3/64"}],"dns":{}}'
exit 0
`
	for _, name := range []string{"bridge", "portmap"} {
		if err := os.WriteFile(filepath.Join(dir, "plugins", name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	defaults, err := container.ParseDNS(dns)
	if err != nil {
		t.Fatal(err)
	}
	n, err := New(Config{ConfigDir: filepath.Join(dir, "conf"), PluginsDir: filepath.Join(dir, "plugins"), Dir: filepath.Join(dir, "state"), DNS: defaults.CNI}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return n, dir
}

func asked(name string) *mesos.NetworkInfo { return &mesos.NetworkInfo{Name: &name} }

// call reads what a plugin was called with.
func call(t *testing.T, dir, name string) map[string]any {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "calls", name))
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func dig(v any, path ...string) any {
	for _, p := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[p]
	}
	return v
}

// Mesos' port mapper becomes a chain; plugins see the task's NetworkInfo and its ports; DEL
// gets what ADD got, also after the file is gone and from another process.
func TestJoinAndLeave(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	n, dir := rig(t, `{"mesos":[{"network_mode":"CNI","network_name":"m","dns":{"nameservers":["9.9.9.9"],"search":["s"],"options":["o"]}}]}`, map[string]string{
		"m":       `{"name":"m","type":"mesos-cni-port-mapper","chain":"C","delegate":{"type":"bridge","bridge":"b","args":{"own":1}}}`,
		"r.conf":  `{"name":"refused","cniVersion":"0.3.1","type":"bridge"}`,
		"bad":     `{"name":"bad","type":"mesos-cni-port-mapper"}`,
		"noname":  `{"type":"bridge"}`,
		"nothing": ``,
	})
	info := asked("m")
	info.Groups = []string{"g"}
	info.PortMappings = []*mesos.NetworkInfo_PortMapping{{HostPort: proto.Uint32(31000), ContainerPort: proto.Uint32(80), Protocol: proto.String("udp")}}
	j, err := n.Join(t.Context(), "c1", []*mesos.NetworkInfo{info}, "")
	if err != nil {
		t.Fatal(err)
	}
	if ips := j.Networks[0].GetIpAddresses(); len(ips) != 2 || ips[0].GetIpAddress() != "10.1.2.3" || ips[1].GetProtocol() != mesos.NetworkInfo_IPv6 || j.Networks[0].GetGroups()[0] != "g" || j.Hostname != "c1" {
		t.Errorf("%+v", j)
	}
	first, second := call(t, dir, "ADD-eth0-bridge"), call(t, dir, "ADD-eth0-portmap")
	if first["name"] != "m" || first["bridge"] != "b" || dig(first, "args", "own") != 1.0 || dig(first, "args", "org.apache.mesos", "network_info", "name") != "m" || first["delegate"] != nil {
		t.Errorf("%v", first)
	}
	ports, _ := dig(second, "runtimeConfig", "portMappings").([]any)
	if len(ports) != 1 || dig(ports[0], "hostPort") != 31000.0 || dig(ports[0], "protocol") != "udp" || second["prevResult"] == nil {
		t.Errorf("%v", second)
	}
	for name, want := range map[string]string{"hostname": "c1\n", "resolv.conf": "search s\noptions o\nnameserver 9.9.9.9\n",
		"hosts": "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n10.1.2.3 c1\nfd00::3 c1\n"} {
		at := slices.IndexFunc(j.Mounts, func(m container.Mount) bool { return m.Target == "/etc/"+name && m.ReadOnly })
		if at < 0 {
			t.Fatalf("%v", j.Mounts)
		}
		if raw, err := os.ReadFile(j.Mounts[at].Source); err != nil || string(raw) != want {
			t.Errorf("%s: %q %v", name, raw, err)
		}
	}
	if again := n.Again("c1"); again == nil || again.Namespace != j.Namespace || again.Hostname != "c1" || n.Again("other") != nil {
		t.Errorf("%+v", again)
	}
	if known := n.Known("c1"); len(known) != 1 || !proto.Equal(known[0], j.Networks[0]) {
		t.Errorf("%v", known)
	}
	if _, err := n.Join(t.Context(), "c1", []*mesos.NetworkInfo{info}, ""); !errors.Is(err, os.ErrExist) {
		t.Errorf("joined twice: %v", err)
	}
	if c, err := n.Traffic("c1"); err != nil || c.Interfaces != 0 { // the plugin here makes none
		t.Errorf("%+v %v", c, err)
	}
	if out, err := exec.Command("nsenter", "--net="+j.Namespace, "sh", "-c", "ip link add eth0 type veth peer name eth1 && ip link add br0 type bridge").CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	if c, err := n.Traffic("c1"); err != nil || c.Interfaces != 1 { // eth0 was joined, the others were not
		t.Errorf("%+v %v", c, err)
	}
	if c, err := n.Traffic("other"); err != nil || c.Interfaces != 0 {
		t.Errorf("%+v %v", c, err)
	}
	if n.Space("c1") == "" {
		t.Fatal("a second join has undone the first")
	}
	for name, text := range map[string]string{"refused": "no address is left", "bad": "has no delegate", "gone": "Unknown CNI network 'gone'"} {
		if _, err := n.Join(t.Context(), "c2", []*mesos.NetworkInfo{asked(name)}, "h"); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", name, err)
		}
		if left, err := os.ReadDir(filepath.Join(dir, "state", "c2")); err == nil {
			t.Errorf("%s: left %v", name, left)
		}
	}
	if err := os.Remove(filepath.Join(dir, "conf", "m")); err != nil {
		t.Fatal(err)
	}
	n.Sweep(t.Context(), func(id string) bool { return id == "c1" })
	if n.Space("c1") == "" {
		t.Fatal("the network of a living container is gone")
	}
	n.Sweep(t.Context(), func(string) bool { return false })
	if end := call(t, dir, "DEL-eth0-bridge"); end["bridge"] != "b" {
		t.Errorf("%v", end)
	}
	if mounts, err := os.ReadFile("/proc/self/mounts"); err != nil || strings.Contains(string(mounts), dir) || n.Space("c1") != "" {
		t.Errorf("it is left: %v", err)
	}
	if err := n.Leave(t.Context(), "c1"); err != nil {
		t.Errorf("left twice: %v", err)
	}
}

func TestFlagsAreChecked(t *testing.T) {
	dir := t.TempDir()
	for flag, cfg := range map[string]Config{
		"--network_cni_config_dir":  {PluginsDir: dir},
		"--network_cni_plugins_dir": {ConfigDir: dir, PluginsDir: filepath.Join(dir, "no")},
	} {
		if _, err := New(cfg, nil); fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), flag) {
			t.Errorf("%s: %v", flag, err)
		}
	}
}
