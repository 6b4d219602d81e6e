package lab_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/lab"
	"github.com/stoa-project/stoa/internal/lab/freeport"
)

// oldClients builds the programs of the nested module and gives their folder.
func oldClients(t *testing.T) string {
	t.Helper()
	bin := t.TempDir()
	const mesosGo = "github.com/mesos/mesos-go/api/v1/cmd/"
	cmd := exec.Command("go", "build", "-o", bin+"/", "./v0driver", "./v1group", mesosGo+"example-scheduler", mesosGo+"example-executor", mesosGo+"msh", mesosGo+"mwatch")
	cmd.Dir = filepath.Join(lab.Root(t), "internal/lab/oldclients")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1") // msh's terminal code is C
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building the old clients: %v\n%s", err, out)
	}
	return bin
}

// Programs made for Apache Mesos, unchanged, run on our master and agent.
func TestClientsOfTheMesosEra(t *testing.T) {
	bin := oldClients(t)
	c := lab.StartCluster(t, lab.ClusterConfig{Masters: 1, Agents: 1})
	master := c.Masters[0].URL
	host, port, err := net.SplitHostPort(strings.TrimPrefix(master, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	watch := lab.Start(t, "mwatch", filepath.Join(bin, "mwatch"), "-master", host, "-port", port)

	for _, codec := range []string{"protobuf", "json"} {
		t.Run("example-scheduler runs 20 tasks in "+codec, func(t *testing.T) {
			p := freeport.Take(t, 2)
			s := lab.Start(t, "example-scheduler", filepath.Join(bin, "example-scheduler"),
				"-url", master+"/api/v1/scheduler", "-codec", codec, "-tasks", "20", "-cpu", "0.1", "-memory", "8", "-exec.memory", "32",
				"-exec.image", "", "-executor", filepath.Join(bin, "example-executor"), "-name", "example-"+codec, "-failoverTimeout", "0s",
				"-server.port", strconv.Itoa(p[0]), "-metrics.port", strconv.Itoa(p[1]), "-verbose")
			select {
			case <-s.Done():
			case <-time.After(90 * time.Second):
				t.Fatal("no end within 90 s")
			}
			out := s.Output()
			// Its exit code says nothing: it cancels itself when its mission is accomplished.
			if !strings.Contains(out, "mission accomplished") {
				t.Errorf("ended with code %d and its mission not accomplished", s.ExitCode())
			}
			if n := strings.Count(out, "TASK_FINISHED"); n < 20 {
				t.Errorf("%d times TASK_FINISHED, want 20", n)
			}
		})
	}

	t.Run("msh runs a command", func(t *testing.T) {
		s := lab.Start(t, "msh", filepath.Join(bin, "msh"), "-master", strings.TrimPrefix(master, "http://"), "-cpus", "0.1", "-memory", "32", "--", "echo", "from msh")
		select {
		case <-s.Done():
		case <-time.After(30 * time.Second):
			t.Fatal("no end within 30 s")
		}
		if s.ExitCode() != 0 {
			t.Errorf("exit code %d", s.ExitCode())
		}
	})

	t.Run("mesos-go's v1 API launches groups on the default and on a custom executor", func(t *testing.T) {
		s := lab.Start(t, "v1group", filepath.Join(bin, "v1group"), strings.TrimPrefix(master, "http://"))
		select {
		case <-s.Done():
		case <-time.After(60 * time.Second):
			t.Fatal("no end within 60 s")
		}
		if out := s.Output(); s.ExitCode() != 0 || strings.Count(out, "TASK_FINISHED") < 4 {
			t.Errorf("exit code %d: %s", s.ExitCode(), out)
		}
	})

	t.Run("the v0 driver launches a task over libprocess", func(t *testing.T) {
		s := lab.Start(t, "v0driver", filepath.Join(bin, "v0driver"), "-master_address", strings.TrimPrefix(master, "http://"))
		select {
		case <-s.Done():
		case <-time.After(60 * time.Second):
			t.Fatal("no end within 60 s")
		}
		if out := s.Output(); s.ExitCode() != 0 || !strings.Contains(out, "old-1 TASK_FINISHED") {
			t.Errorf("exit code %d: %s", s.ExitCode(), out)
		}
	})

	t.Run("mwatch saw the frameworks come and go and their tasks end", func(t *testing.T) {
		for _, line := range []string{"FRAMEWORK_ADDED ", "TASK_ADDED ", "TASK_UPDATED ", "TASK_FINISHED", "FRAMEWORK_REMOVED "} {
			watch.AwaitOutput(t, 20*time.Second, line)
		}
	})
}
