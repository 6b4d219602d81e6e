package lab_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/lab"
)

// An app in an image, from the REST API to the process, without a Docker engine: the
// image comes from a folder of archives, and goes on over a restart of the agent.
func TestAppInImage(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("images need root")
	}
	t.Parallel()
	archives, stores := t.TempDir(), t.TempDir()
	if out, err := exec.Command(lab.Demo(t), "image", archives+"/stoa-demo:1.tar").CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	k := lab.StartCluster(t, lab.ClusterConfig{Masters: 1, Agents: 1, Frameworks: 1, AgentFlags: func(i int) []string {
		return []string{"--image_providers", "docker", "--isolation", "filesystem/linux,docker/runtime,cgroups/cpu,cgroups/mem",
			"--docker_registry", archives, "--docker_store_dir", filepath.Join(stores, fmt.Sprint(i))}
	}})
	api := k.API(0)
	api.Must(t, "POST", "/v2/apps", lab.AppFile(t, "image.json"))
	tasks := api.AwaitRunning(t, 60*time.Second, "/image", 2, true)
	answer := func() error {
		for _, task := range tasks {
			res, err := lab.Request(http.MethodGet, fmt.Sprintf("http://%s:%d/", task.Host, task.Ports[0]), nil)
			if err != nil || !strings.Contains(string(res.Body), "hello from an image") {
				return fmt.Errorf("%v %s", err, res.Body)
			}
		}
		return nil
	}
	lab.Eventually(t, 20*time.Second, "the app answers", answer)
	k.Agents[0].Kill(t)
	k.Agents[0].Restart()
	if err := answer(); err != nil {
		t.Errorf("after a kill of the agent: %v", err)
	}
	api.Must(t, "DELETE", "/v2/apps/image?force=true", "")
	lab.Eventually(t, 30*time.Second, "no file system of a container is left", func() error {
		left, err := filepath.Glob(filepath.Join(k.Dir, "agent0/provisioner/containers/*"))
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("%v", left)
		}
		return err
	})
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(raw), k.Dir) {
		t.Errorf("mounts are left: %v", err)
	}
}
