package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// deploy starts `stoa dev` on ports of its own, posts one app of n sleeping instances and
// counts the time from the request to the moment when all run.
func deploy(n int) (float64, map[string]float64, error) {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return 0, nil, err
	}
	defer os.RemoveAll(dir)
	stoa := os.Getenv("STOA_BIN")
	if stoa == "" {
		stoa = "bin/stoa"
	}
	var listeners []net.Listener // held until each flag has a port of its own
	args := []string{"dev", "--work_dir", dir, "--agents", "1", "--task_ports", "21000-23999"}
	var apiPort string
	for _, flag := range []string{"--master_port", "--agent_port", "--dns_port", "--dns_http_port", "--lb_stats_port", "--lb_http_port", "--framework_port"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 0, nil, err
		}
		_, apiPort, _ = net.SplitHostPort(l.Addr().String())
		args = append(args, flag, apiPort)
		listeners = append(listeners, l)
	}
	for _, l := range listeners {
		l.Close()
	}
	cmd := exec.Command(stoa, args...)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return 0, nil, err
	}
	defer log.Close()
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, nil, err
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, nil, err
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}()
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "ready" {
	}
	if lines.Text() != "ready" {
		text, _ := os.ReadFile(log.Name())
		return 0, nil, fmt.Errorf("stoa dev did not get ready: %s", text)
	}
	extra := map[string]float64{"dev_ready_s": time.Since(began).Seconds()}
	go func() { _, _ = io.Copy(io.Discard, out) }()

	api := "http://127.0.0.1:" + apiPort
	app := fmt.Sprintf(`{"id":"/bench","cmd":"exec sleep 100000","instances":%d,"cpus":0.001,"mem":1,"portDefinitions":[]}`, n)
	began = time.Now()
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
	extra["dev_rss_mib"] = rss(cmd.Process.Pid)
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
