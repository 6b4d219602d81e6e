package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// replaced kills tasks of an app of n instances on `stoa dev`, twelve times one and once
// all: milliseconds until a replacement runs, median; extra: all at once, in seconds. The
// kills are further apart than --min_revive_offers_interval (5 s), which bounds how often
// the framework asks for offers that it has declined.
func replaced(n int) (float64, map[string]float64, error) {
	d, err := startDev(1, "21000-23999")
	if err != nil {
		return 0, nil, err
	}
	defer d.stop()
	app := fmt.Sprintf(`{"id":"/bench","cmd":"exec sleep 100000","instances":%d,"cpus":0.001,"mem":1,"portDefinitions":[],"backoffSeconds":0,"maxLaunchDelaySeconds":0}`, n)
	res, err := http.Post(d.api()+"/v2/apps", "application/json", bytes.NewReader([]byte(app)))
	if err != nil {
		return 0, nil, err
	}
	said, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if res.StatusCode != http.StatusCreated {
		return 0, nil, fmt.Errorf("POST: %s %s", res.Status, said)
	}
	var gone []string
	full := func(patience time.Duration) error {
		for deadline := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
			ids, err := runningTasks(d.api())
			lost := err == nil && len(ids) == n
			for _, id := range gone {
				lost = lost && !slices.Contains(ids, id)
			}
			if lost {
				return nil
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("%d of %d running after %s, %w", len(ids), n, patience, err)
			}
		}
	}
	if err := full(time.Minute); err != nil {
		return 0, nil, err
	}
	const kills = 12
	var each []float64
	for range kills {
		time.Sleep(5200 * time.Millisecond)
		ids, err := runningTasks(d.api())
		if err != nil {
			return 0, nil, err
		}
		pid := processOf(ids[0])
		gone = ids[:1]
		began := time.Now()
		if err := syscall.Kill(pid, syscall.SIGKILL); pid == 0 || err != nil {
			return 0, nil, fmt.Errorf("process %d of %s: %v", pid, ids[0], err)
		}
		if err := full(20 * time.Second); err != nil {
			return 0, nil, err
		}
		each = append(each, time.Since(began).Seconds()*1000)
	}
	slices.Sort(each)
	if gone, err = runningTasks(d.api()); err != nil {
		return 0, nil, err
	}
	var pids []int
	for _, id := range gone {
		pids = append(pids, processOf(id))
	}
	time.Sleep(5200 * time.Millisecond)
	began := time.Now()
	for _, pid := range pids {
		if pid > 0 {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	err = full(time.Minute)
	return each[kills/2], map[string]float64{"slowest_ms": each[kills-1], "all_s": time.Since(began).Seconds()}, err
}

func runningTasks(api string) ([]string, error) {
	res, err := http.Get(api + "/v2/apps/bench/tasks")
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var a struct {
		Tasks []struct{ ID, State string }
	}
	err = json.NewDecoder(res.Body).Decode(&a)
	var ids []string
	for _, t := range a.Tasks {
		if t.State == "TASK_RUNNING" {
			ids = append(ids, t.ID)
		}
	}
	return ids, err
}

// processOf gives the process whose environment names the task.
func processOf(task string) int {
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err == nil && bytes.Contains(b, []byte("\x00MESOS_TASK_ID="+task+"\x00")) {
			pid, _ := strconv.Atoi(strings.Split(f, "/")[2])
			return pid
		}
	}
	return 0
}

// respawn kills a sleeping process and starts the next, one of n after the other: median
// in milliseconds.
func respawn(int) (float64, error) {
	var each []float64
	for range 40 {
		_, all, err := spawnAll(1)
		if err != nil {
			return 0, err
		}
		began := time.Now()
		_ = all[0].Process.Kill()
		_ = all[0].Wait()
		_, next, err := spawnAll(1)
		each = append(each, time.Since(began).Seconds()*1000)
		if err != nil {
			return 0, err
		}
		_ = next[0].Process.Kill()
		_ = next[0].Wait()
	}
	slices.Sort(each)
	return each[len(each)/2], nil
}
