package lab_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/lab"
)

// keeperOf gives the keeper of the only agent and the program it runs.
func keeperOf(c *lab.Cluster) (pid int, program string, err error) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil || !strings.Contains(string(b), "\x00keeper\x00--runtime_dir="+c.Dir) {
			continue
		}
		dir := filepath.Dir(f)
		if pid, err = strconv.Atoi(filepath.Base(dir)); err != nil {
			return 0, "", err
		}
		program, err = os.Readlink(dir + "/exe")
		return pid, program, err
	}
	return 0, "", fmt.Errorf("no keeper below %s", c.Dir)
}

// Another build of the agent has the keeper become that build, in place: no task notices,
// exit codes stay known, and so on the way back.
func TestUpgradeOfAgentAndKeeper(t *testing.T) {
	next := filepath.Join(t.TempDir(), "stoa")
	build := exec.Command("go", "build", "-ldflags", "-s -w -X main.version=next", "-o", next, "./cmd/stoa")
	build.Dir = lab.Root(t)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the other version: %v\n%s", err, out)
	}
	c := lab.StartCluster(t, lab.ClusterConfig{Masters: 1, Agents: 1, Frameworks: 1})
	api := c.API(0)
	gate := c.Dir + "/gate"
	api.Must(t, "POST", "/v2/apps", sleeper)
	api.Must(t, "POST", "/v2/apps", fmt.Sprintf(waits, gate))
	pids := livePIDs(t, api.AwaitRunning(t, 40*time.Second, "/sleeper", 3, false))
	waiting := api.AwaitRunning(t, 40*time.Second, "/waits", 1, false)[0]
	api.AwaitNoDeployment(t, 20*time.Second)
	keeper, old, err := keeperOf(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, program := range []string{next, old} {
		c.Agents[0].Kill(t)
		c.Agents[0].Binary = program
		c.Agents[0].Restart()
		lab.Eventually(t, 30*time.Second, "the keeper runs "+program, func() error {
			pid, now, err := keeperOf(c)
			if err == nil && (pid != keeper || now != program) {
				err = fmt.Errorf("process %d runs %s, was %d", pid, now, keeper)
			}
			return err
		})
		untouched(t, api, "/sleeper", pids)
	}
	lab.Touch(t, gate)
	lab.Eventually(t, 30*time.Second, "the exit code is reported", func() error {
		var app struct {
			App struct {
				LastTaskFailure struct{ Message, TaskID string }
			}
		}
		api.Must(t, "GET", "/v2/apps/waits?embed=app.lastTaskFailure", "").JSON(t, &app)
		if f := app.App.LastTaskFailure; f.TaskID != waiting.ID || f.Message != "Command exited with status 7" {
			return fmt.Errorf("%+v", f)
		}
		return nil
	})
}
