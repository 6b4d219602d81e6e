package lab_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/stoa-project/stoa/internal/lab"
	"github.com/stoa-project/stoa/internal/lab/dockerd"
)

// An app in containers of the Docker engine goes through every room: posted, launched on the
// engine's bridge, checked inside its network, named by its container's address, reached
// through a published port, killed and replaced, and nothing is left when all stops.
func TestDockerAppThroughEveryRoom(t *testing.T) {
	if why := dockerd.Missing(); why != "" {
		t.Skip(why)
	}
	e, err := dockerd.Start(dockerd.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Stop)
	if err := e.Import("busybox:latest", dockerd.Busybox); err != nil {
		t.Fatal(err)
	}
	d := lab.StartDev(t, t.TempDir(), "--containerizers=docker,mesos", "--docker_socket="+e.Socket)
	d.Must(t, "POST", "/v2/apps", lab.AppFile(t, "docker.json"))
	tasks := d.AwaitRunning(t, 60*time.Second, "/docker/web", 2, true)

	var shown struct {
		Tasks []struct {
			ID          string
			IPAddresses []struct {
				IPAddress string `json:"ipAddress"`
			} `json:"ipAddresses"`
		}
	}
	res := d.Must(t, "GET", "/v2/apps/docker/web/tasks", "")
	res.JSON(t, &shown)
	var addresses []string
	for _, k := range shown.Tasks {
		if len(k.IPAddresses) != 1 || !strings.HasPrefix(k.IPAddresses[0].IPAddress, "172.") {
			t.Fatalf("addresses of %s: %s", k.ID, res.Body)
		}
		addresses = append(addresses, k.IPAddresses[0].IPAddress)
	}
	slices.Sort(addresses)
	lab.Eventually(t, 10*time.Second, "DNS has the containers' addresses", func() error {
		got := dig(t, d.DNS, "web-docker.marathon.mesos", "A")
		slices.Sort(got)
		if !slices.Equal(got, addresses) {
			return fmt.Errorf("%v, not %v", got, addresses)
		}
		return nil
	})
	host := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DialContext: e.Dial, DisableKeepAlives: true}} // on the engine's host
	for _, k := range tasks {
		res, err := host.Get(fmt.Sprintf("http://127.0.0.1:%d/", k.Ports[0]))
		if err != nil {
			t.Fatal(err)
		}
		said, err := io.ReadAll(res.Body)
		res.Body.Close()
		if want := fmt.Sprintf("/docker/web on %s:%d\n", k.Host, k.Ports[0]); err != nil || string(said) != want {
			t.Errorf("%q %v, want %q", said, err, want)
		}
	}
	all, err := e.API.ContainerList(t.Context(), client.ContainerListOptions{})
	if err != nil || len(all.Items) != 2 {
		t.Fatalf("%d containers: %v", len(all.Items), err)
	}
	if label := all.Items[0].Labels["MESOS_TASK_ID"]; label != tasks[0].ID && label != tasks[1].ID {
		t.Errorf("label MESOS_TASK_ID is %q", label)
	}
	// A container that dies under its task is replaced.
	if _, err := e.API.ContainerKill(t.Context(), all.Items[0].ID, client.ContainerKillOptions{}); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, 30*time.Second, "a replacement", func() error {
		now, err := d.Tasks("/docker/web")
		if err != nil {
			return err
		}
		fresh := 0
		for _, k := range now {
			if k.State == "TASK_RUNNING" && k.ID != tasks[0].ID && k.ID != tasks[1].ID {
				fresh++
			}
		}
		if len(now) != 2 || fresh != 1 {
			return fmt.Errorf("%d tasks, %d new", len(now), fresh)
		}
		return nil
	})
	var state struct {
		CompletedFrameworks json.RawMessage `json:"completed_frameworks"`
		Frameworks          []struct {
			CompletedTasks []struct {
				Statuses []struct{ Message string }
				State    string
			} `json:"completed_tasks"`
		}
	}
	answer, err := lab.Request(http.MethodGet, d.MasterURL+"/state", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer.JSON(t, &state)
	if done := state.Frameworks[0].CompletedTasks; len(done) != 1 || done[0].State != "TASK_FAILED" {
		t.Errorf("%+v", done)
	}
	d.Stop(t)
	if left, err := e.API.ContainerList(t.Context(), client.ContainerListOptions{All: true}); err != nil || len(left.Items) != 0 {
		t.Errorf("%d containers are left: %v", len(left.Items), err)
	}
}
