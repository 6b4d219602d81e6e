package lab_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/lab"
)

// Every file of apps/ deploys and does what it is there to show. (web.json is used by
// the other tests.)
func TestAppsOfTheFolder(t *testing.T) {
	t.Parallel() // it has a network of its own
	if !lab.Alone(t) {
		return
	}
	archives, folder := t.TempDir(), lab.Root(t)+"/apps/"
	if out, err := exec.Command(lab.Demo(t), "image", archives+"/stoa-demo:1.tar").CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	d := lab.StartDev(t, t.TempDir(), "--task_ports", "31000-31999", "--docker_registry", archives, "--network_cni_config_dir", folder+"networks", "--secrets_dir", folder+"secrets")
	// It wants one certain port, which any other task may get that comes before it.
	d.Must(t, "POST", "/v2/apps", lab.AppFile(t, "legacy.json"))
	d.AwaitRunning(t, 40*time.Second, "/legacy/billing", 1, false)
	// All at once: each takes its time.
	for _, name := range []string{"bridge", "image", "resident", "secrets"} {
		d.Must(t, "POST", "/v2/apps", lab.AppFile(t, name+".json"))
	}
	d.Must(t, "POST", "/v2/pods", lab.AppFile(t, "netpod.json"))
	// says waits for an answer through HAProxy.
	says := func(t *testing.T, port int, host string, parts ...string) {
		t.Helper()
		lab.Eventually(t, 20*time.Second, fmt.Sprintf("HAProxy's port %d answers", port), func() error {
			url := fmt.Sprintf("http://127.0.0.1:%d/", port)
			if port == 0 {
				url = d.LBHTTP
			}
			res, err := lab.Request(http.MethodGet, url, nil, "Host", host)
			for _, part := range parts {
				if err == nil && !strings.Contains(string(res.Body), part) {
					err = fmt.Errorf("no %q in %.300s", part, res.Body)
				}
			}
			return err
		})
	}

	t.Run("legacy service with fetched archive and fixed port", func(t *testing.T) {
		tasks := d.AwaitRunning(t, 40*time.Second, "/legacy/billing", 1, true)
		if tasks[0].Ports[0] != 31080 {
			t.Errorf("port %d, want the fixed 31080", tasks[0].Ports[0])
		}
		res, err := lab.Request(http.MethodGet, fmt.Sprintf("http://%s:31080/", tasks[0].Host), nil)
		if err != nil || !strings.Contains(string(res.Body), "billing-north-blue") {
			t.Errorf("answer %s %v: environment or archive did not arrive", res.Body, err)
		}
	})

	t.Run("group with dependencies", func(t *testing.T) {
		d.Must(t, "PUT", "/v2/groups", lab.AppFile(t, "shop.json"))
		d.AwaitRunning(t, 60*time.Second, "/shop/front", 2, true)
		lab.Eventually(t, 15*time.Second, "the front shows what stock answers through two service ports", func() error {
			res, err := lab.Request(http.MethodGet, d.LBHTTP, nil, "Host", "shop.example.com")
			if err != nil {
				return err
			}
			if s := string(res.Body); !strings.Contains(s, `"shop"`) || !strings.Contains(s, `"basket"`) || !strings.Contains(s, `"stock"`) {
				return fmt.Errorf("%d %.300s", res.Status, s)
			}
			return nil
		})
	})

	t.Run("TCP service behind its service port", func(t *testing.T) {
		d.Must(t, "POST", "/v2/apps", lab.AppFile(t, "echo.json"))
		d.AwaitRunning(t, 40*time.Second, "/echo", 2, true)
		lab.Eventually(t, 15*time.Second, "the echo answers", func() error {
			conn, err := net.DialTimeout("tcp", "127.0.0.1:10100", time.Second)
			if err != nil {
				return err
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
			fmt.Fprintln(conn, "there")
			line, err := bufio.NewReader(conn).ReadString('\n')
			if err == nil && line != "echo there\n" {
				err = fmt.Errorf("%q", line)
			}
			return err
		})
	})

	t.Run("network of its own in bridge mode", func(t *testing.T) {
		for _, k := range d.AwaitRunning(t, 40*time.Second, "/bridge", 2, true) {
			res, err := lab.Request(http.MethodGet, fmt.Sprintf("http://%s:%d/", k.Host, k.Ports[0]), nil)
			if err != nil || !strings.Contains(string(res.Body), k.ID) || !strings.Contains(string(res.Body), `"port":8000`) {
				t.Errorf("%s at the mapped port: %s %v", k.ID, res.Body, err)
			}
		}
		says(t, 10110, "any", "from a network of its own")
		says(t, 0, "bridge.example.com", "from a network of its own")
	})

	t.Run("image without a Docker engine", func(t *testing.T) {
		for _, k := range d.AwaitRunning(t, 40*time.Second, "/image", 2, true) {
			res, err := lab.Request(http.MethodGet, fmt.Sprintf("http://%s:%d/", k.Host, k.Ports[0]), nil)
			if err != nil || !strings.Contains(string(res.Body), "hello from an image") {
				t.Errorf("%s %v", res.Body, err)
			}
		}
	})

	t.Run("persistent volume", func(t *testing.T) {
		first := d.AwaitRunning(t, 40*time.Second, "/db/counter", 1, true)[0].ID
		says(t, 10111, "any", "/db/counter", `"file":"`+first+`"`)
	})

	t.Run("secrets", func(t *testing.T) {
		d.AwaitRunning(t, 40*time.Second, "/vault", 1, true)
		says(t, 10112, "any", "a password of 11 characters", "a key of the demo")
	})

	t.Run("pod with a network of its own", func(t *testing.T) {
		p := awaitPod(t, d.API, "/couple", 1, nil)
		at := fmt.Sprintf("http://%s:%d/", p.Instances[0].AgentHostname, p.container("front").Endpoints[0].AllocatedHostPort)
		res, err := lab.Request(http.MethodGet, at, nil)
		if err != nil || !strings.Contains(string(res.Body), "only my pod reaches me") {
			t.Errorf("%s %v", res.Body, err)
		}
	})

	t.Run("worker with a COMMAND check", func(t *testing.T) {
		d.Must(t, "POST", "/v2/apps", lab.AppFile(t, "worker.json"))
		d.AwaitRunning(t, 40*time.Second, "/worker", 1, true)
	})

	t.Run("deleted, they leave nothing", func(t *testing.T) {
		for _, id := range []string{"apps/bridge", "apps/image", "apps/db/counter", "apps/vault", "pods/couple"} {
			d.Must(t, "DELETE", "/v2/"+id+"?force=true", "")
		}
		lab.Eventually(t, 30*time.Second, "nothing is left", func() error {
			var left []string
			for _, pattern := range []string{"agent*-run/isolators/network/cni/[^.]*", "agent*/provisioner/containers/*", "agent*/volumes/roles/*/*"} {
				found, err := filepath.Glob(filepath.Join(d.WorkDir, pattern))
				if err != nil {
					return err
				}
				left = append(left, found...)
			}
			addresses, err := filepath.Glob("/var/lib/cni/networks/mesos-bridge/10.*")
			if err != nil {
				return err
			}
			left = append(left, addresses...)
			mounts, err := os.ReadFile("/proc/self/mounts")
			if err != nil {
				return err
			}
			if strings.Contains(string(mounts), d.WorkDir) {
				left = append(left, "mounts")
			}
			rules, err := exec.Command("iptables-save", "-t", "nat").Output()
			if err != nil {
				return err
			}
			if strings.Contains(string(rules), "CNI-DN-") || strings.Contains(string(rules), "10.88.") {
				left = append(left, string(rules))
			}
			if len(left) > 0 {
				return fmt.Errorf("%v", left)
			}
			return nil
		})
	})
}
