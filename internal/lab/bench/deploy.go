package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// deploy starts `stoa dev` on ports of its own, posts one app of n sleeping instances and
// counts the time from the request to the moment when all run.
func deploy(n int) (float64, map[string]float64, error) {
	d, err := startDev(1, "21000-23999")
	if err != nil {
		return 0, nil, err
	}
	defer d.stop()
	api, extra := d.api(), map[string]float64{"dev_ready_s": d.ready.Seconds()}
	app := fmt.Sprintf(`{"id":"/bench","cmd":"exec sleep 100000","instances":%d,"cpus":0.001,"mem":1,"portDefinitions":[]}`, n)
	began := time.Now()
	res, err := http.Post(api+"/v2/apps", "application/json", bytes.NewReader([]byte(app)))
	if err != nil {
		return 0, nil, err
	}
	said, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if res.StatusCode != http.StatusCreated {
		return 0, nil, fmt.Errorf("POST: %s %s", res.Status, said)
	}
	for deadline := began.Add(2 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
		running, err := tasksRunning(api)
		if err == nil && running == n {
			break
		}
		if time.Now().After(deadline) {
			return 0, nil, errors.Join(fmt.Errorf("%d of %d running after two minutes", running, n), err)
		}
	}
	took := time.Since(began).Seconds()
	if alive := processes("MARATHON_APP_ID=/bench"); alive != n {
		return 0, nil, fmt.Errorf("%d tasks are said to run, %d processes exist", n, alive)
	}
	extra["dev_rss_mib"] = rss(d.cmd.Process.Pid)
	return took, extra, nil
}

func tasksRunning(api string) (int, error) {
	res, err := http.Get(api + "/v2/apps/bench")
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	var a struct {
		App struct{ TasksRunning int }
	}
	err = json.NewDecoder(res.Body).Decode(&a)
	return a.App.TasksRunning, err
}

// processes counts those whose environment holds the entry.
func processes(entry string) int {
	n := 0
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err == nil && bytes.Contains(append([]byte{0}, b...), []byte("\x00"+entry+"\x00")) {
			n++
		}
	}
	return n
}

// rss gives a process' resident memory in MiB.
func rss(pid int) float64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(b)) {
		var kib float64
		if _, err := fmt.Sscanf(line, "VmRSS: %f kB", &kib); err == nil {
			return kib / 1024
		}
	}
	return 0
}

// spawn starts n sleeping processes one after the other, as little as any scheduler must
// do, and ends them.
func spawn(n int) (float64, error) {
	began := time.Now()
	var all []*exec.Cmd
	defer func() {
		for _, c := range all {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
	}()
	for range n {
		c := exec.Command("/bin/sh", "-c", "exec sleep 100000")
		if err := c.Start(); err != nil {
			return 0, err
		}
		all = append(all, c)
	}
	return time.Since(began).Seconds(), nil
}
