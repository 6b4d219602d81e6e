package lab_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/stoa-project/stoa/internal/lab"
)

// kept is a resident app in a private image of an own registry, with every kind of volume,
// with secrets, a seccomp profile and memory segments of its own. It needs a second to stop.
const kept = `{"id":"/db/kept","cpus":0.1,"mem":64,"role":"db","taskKillGracePeriodSeconds":20,
 "cmd":"echo $MESOS_TASK_ID >> data/log; mkdir data/x 2>/dev/null || made=refused; echo \"$PW,$(cat key),$(df -m /dev/shm | awk 'END{print $2}'),$made\" > data/seen; echo $MESOS_TASK_ID > ext/file; trap 'sleep 1; echo graceful >> data/log; exit 0' TERM; while :; do sleep 0.1; done",
 "env":{"PW":{"secret":"pw"}},"secrets":{"pw":{"source":"db/password"},"pull":{"source":"pull"}},
 "container":{"type":"MESOS","docker":{"image":%q,"pullConfig":{"secret":"pull"}},
  "linuxInfo":{"seccomp":{"profileName":"nodirs.json"},"ipcInfo":{"mode":"PRIVATE","shmSize":16}},
  "volumes":[{"containerPath":"data","mode":"RW","persistent":{"size":8}},{"containerPath":"key","secret":"pw"},
   {"containerPath":"ext","mode":"RW","external":{"name":"v1","provider":"dvdi","options":{"dvdi/driver":"disks"}}}]},
 "residency":{"taskLostBehavior":"WAIT_FOREVER","relaunchEscalationTimeoutSeconds":10},
 "upgradeStrategy":{"minimumHealthCapacity":0,"maximumOverCapacity":0}}`

// Containers of every kind on one real agent, by the REST API: a resident app in an image
// goes on over a restart, kill -9 of the agent and its upgrade, with its volumes, secrets
// and confinement; tasks in networks of their own, of both containerizers, are reached at
// what DNS says and at their mapped ports. Nothing is left in the end.
func TestContainersThroughEveryRoom(t *testing.T) {
	t.Parallel() // it has a network of its own
	if !lab.Alone(t) {
		return
	}
	e := startEstate(t)
	e.api.Must(t, "POST", "/v2/apps", fmt.Sprintf(kept, e.image))
	served := e.postServers(t)
	first := oneRunning(t, e.api, "/db/kept")
	if len(first.LocalVolumes) != 1 || first.LocalVolumes[0].ContainerPath != "data" {
		t.Fatalf("%+v", first)
	}
	// wrote waits for the lines of the file that all launches share.
	wrote := func(what string, want ...string) {
		t.Helper()
		lab.Eventually(t, 20*time.Second, what+" leaves its mark", func() error {
			got, err := e.lines("volumes/roles/db/*/log")
			if err == nil && !slices.Equal(got, want) {
				err = fmt.Errorf("%q, want %q", got, want)
			}
			return err
		})
	}
	wrote("the first launch", first.ID)
	lab.Eventually(t, 10*time.Second, "secrets, segments and seccomp are as asked for", func() error {
		got, err := e.lines("volumes/roles/db/*/seen")
		if err == nil && !slices.Equal(got, []string{"open sesame,open sesame,16,refused"}) {
			err = fmt.Errorf("%q", got)
		}
		return err
	})
	if raw, err := os.ReadFile(filepath.Join(e.plugin.root, "v1", "file")); err != nil || string(raw) != first.ID+"\n" || e.plugin.users("v1") != 1 {
		t.Errorf("external volume: %q, %v, %d users", raw, err, e.plugin.users("v1"))
	}

	t.Run("networks", func(t *testing.T) { e.reach(t, served) })

	e.api.Must(t, "POST", "/v2/apps/db/kept/restart", "{}")
	second := strings.TrimSuffix(first.ID, "1") + "2"
	wrote("a restart", first.ID, "graceful", second)
	e.api.AwaitNoDeployment(t, 30*time.Second)
	shell := slices.Min(lab.PIDsWithEnv("MESOS_TASK_ID=" + second)) // and its child of the moment
	same := func(what string) {
		t.Helper()
		lab.Eventually(t, 30*time.Second, "the agent is back after "+what, func() error {
			_, err := lab.Request(http.MethodGet, e.Agents[0].URL+"/containers", nil)
			return err
		})
		if now := oneRunning(t, e.api, "/db/kept"); now.ID != second || !lab.Alive(shell) {
			t.Errorf("after %s %s runs, process %d alive: %v", what, now.ID, shell, lab.Alive(shell))
		}
		if n := e.plugin.users("v1"); n != 1 {
			t.Errorf("after %s the external volume has %d users", what, n)
		}
		e.reach(t, served)
	}
	e.Agents[0].Kill(t)
	e.Agents[0].Restart()
	same("kill -9")

	raw, err := os.ReadFile(lab.Stoa(t))
	if err != nil {
		t.Fatal(err)
	}
	next := filepath.Join(t.TempDir(), "stoa")
	if err := os.WriteFile(next, raw, 0o755); err != nil {
		t.Fatal(err)
	}
	e.Agents[0].Kill(t)
	e.Agents[0].Binary = next
	e.Agents[0].Restart()
	lab.Eventually(t, 30*time.Second, "the keeper runs the other program", func() error {
		_, now, err := keeperOf(e.Cluster)
		if err == nil && now != next {
			err = fmt.Errorf("it runs %s", now)
		}
		return err
	})
	same("an upgrade")
	wrote("nothing since", first.ID, "graceful", second)

	for _, id := range append([]string{"/db/kept"}, served.ids()...) {
		e.api.Must(t, "DELETE", "/v2/apps"+id+"?force=true", "")
	}
	e.nothingLeft(t)
}

// nothingLeft waits until containers have taken everything with them.
func (e *estate) nothingLeft(t *testing.T) {
	t.Helper()
	lab.Eventually(t, 40*time.Second, "nothing is left", func() error {
		left := reservedFor(t, e.Masters[0].URL, "db")
		for _, pattern := range []string{e.Dir + "/agent0/run/isolators/network/cni/[^.]*", e.Dir + "/agent0/provisioner/containers/*", e.Dir + "/agent0/volumes/roles/*/*",
			"/var/lib/cni/networks/*/10.*", "/sys/fs/cgroup/*/stoa-lab/" + e.Agents[0].URL[strings.LastIndexByte(e.Agents[0].URL, ':')+1:] + "/*-*-*-*-*"} {
			found, err := filepath.Glob(pattern)
			if err != nil {
				return err
			}
			left = append(left, found...)
		}
		if n := e.plugin.users("v1"); n != 0 {
			left = append(left, fmt.Sprintf("%d users of the external volume", n))
		}
		mounts, err := os.ReadFile("/proc/self/mounts")
		if err != nil {
			return err
		}
		if strings.Contains(string(mounts), e.Dir) {
			left = append(left, "mounts")
		}
		all, err := e.engine.API.ContainerList(t.Context(), client.ContainerListOptions{All: true})
		if err != nil {
			return err
		}
		for _, c := range all.Items {
			left = append(left, c.Names...)
		}
		if len(left) > 0 {
			return fmt.Errorf("%v", left)
		}
		return nil
	})
}
