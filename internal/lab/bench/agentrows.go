package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// launches measures an agent that gets n tasks at once: time until all run, with the
// given isolation; extras: the first one, destruction, processor time.
func launches(box *mesos.ContainerInfo, args ...string) func(int) (float64, map[string]float64, error) {
	return func(n int) (float64, map[string]float64, error) {
		h, err := startHost(args...)
		if err != nil {
			return 0, nil, err
		}
		defer h.stop()
		first, err := h.launch("first", 1, box)
		if err != nil {
			return 0, nil, err
		}
		extra := map[string]float64{"alone_ms": h.running["first0"].Sub(first).Seconds() * 1000}
		keeper, err := h.keeper()
		if err != nil {
			return 0, nil, err
		}
		cpu := cpuSeconds(h.cmd.Process.Pid) + cpuSeconds(keeper)
		began, err := h.launch("t", n, box)
		if err != nil {
			return 0, nil, err
		}
		took := time.Since(began)
		extra["cpu_ms_per_task"] = (cpuSeconds(h.cmd.Process.Pid) + cpuSeconds(keeper) - cpu) * 1000 / float64(n)
		var soonest time.Time
		for id, at := range h.running {
			if id != "first0" && (soonest.IsZero() || at.Before(soonest)) {
				soonest = at
			}
			if syscall.Kill(int(h.pids[id]), 0) != nil {
				return 0, nil, fmt.Errorf("task %s is said to run, process %d does not exist", id, h.pids[id])
			}
		}
		extra["first_ms"] = soonest.Sub(began).Seconds() * 1000
		ended, err := h.kill()
		extra["destroy_s"] = ended.Seconds()
		return took.Seconds(), extra, err
	}
}

// idleTasks gives the bytes that agent and keeper need for each of n idle tasks.
func idleTasks(n int) (float64, map[string]float64, error) {
	h, err := startHost()
	if err != nil {
		return 0, nil, err
	}
	defer h.stop()
	if _, err := h.launch("first", 1, nil); err != nil {
		return 0, nil, err
	}
	keeper, err := h.keeper()
	if err != nil {
		return 0, nil, err
	}
	time.Sleep(10 * time.Second) // what a start needs is given back
	agentBefore, keeperBefore := pss(h.cmd.Process.Pid), pss(keeper)
	if _, err := h.launch("t", n, nil); err != nil {
		return 0, nil, err
	}
	time.Sleep(10 * time.Second) // what the launches needed is given back
	agent, kept := pss(h.cmd.Process.Pid), pss(keeper)
	const mib = 1 << 20
	return (agent + kept - agentBefore - keeperBefore) / float64(n), map[string]float64{
		"agent_mib": agent / mib, "keeper_mib": kept / mib, "agent_empty_mib": agentBefore / mib, "keeper_empty_mib": keeperBefore / mib,
		"agent_rss_mib": rss(h.cmd.Process.Pid), "keeper_rss_mib": rss(keeper),
	}, nil
}

// recovery kills an agent with n tasks and starts it again: seconds from its start until
// the master has its registration with all of them, each alive.
func recovery(n int) (float64, map[string]float64, error) {
	h, err := startHost()
	if err != nil {
		return 0, nil, err
	}
	defer h.stop()
	if _, err := h.launch("t", n, nil); err != nil {
		return 0, nil, err
	}
	time.Sleep(200 * time.Millisecond) // the last acknowledgements are recorded
	_ = h.cmd.Process.Kill()
	_ = h.cmd.Wait()
	h.mu.Lock()
	regs := h.regs
	h.mu.Unlock()
	began := time.Now()
	if err := h.start(); err != nil {
		return 0, nil, err
	}
	if err := h.await(time.Minute, func() bool { return h.regs > regs && h.again != nil }); err != nil {
		return 0, nil, err
	}
	took := time.Since(began)
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.again.GetTasks()) != n || len(h.ended) > 0 {
		return 0, nil, fmt.Errorf("%d of %d tasks came back, %d ended", len(h.again.GetTasks()), n, len(h.ended))
	}
	for id, pid := range h.pids {
		if syscall.Kill(int(pid), 0) != nil {
			return 0, nil, fmt.Errorf("process %d of task %s is gone", pid, id)
		}
	}
	return took.Seconds(), nil, nil
}

// deaths kills the processes of n tasks at once: seconds until the master has heard all
// ends. extras: of one, the median and 99th percentile of 100 one after the other.
func deaths(n int) (float64, map[string]float64, error) {
	h, err := startHost()
	if err != nil {
		return 0, nil, err
	}
	defer h.stop()
	const single = 100
	if _, err := h.launch("one", single, nil); err != nil {
		return 0, nil, err
	}
	var each []time.Duration
	for i := range single {
		id := fmt.Sprintf("one%d", i)
		began := time.Now()
		if err := syscall.Kill(int(h.pids[id]), syscall.SIGKILL); err != nil {
			return 0, nil, err
		}
		if err := h.await(10*time.Second, func() bool { return !h.ended[id].IsZero() }); err != nil {
			return 0, nil, err
		}
		each = append(each, h.ended[id].Sub(began))
	}
	slices.Sort(each)
	if _, err := h.launch("t", n, nil); err != nil {
		return 0, nil, err
	}
	h.mu.Lock()
	pids := map[string]uint32{}
	for id, pid := range h.pids {
		if h.ended[id].IsZero() {
			pids[id] = pid
		}
	}
	h.mu.Unlock()
	began := time.Now()
	for _, pid := range pids {
		if err := syscall.Kill(int(pid), syscall.SIGKILL); err != nil {
			return 0, nil, err
		}
	}
	err = h.await(time.Minute, func() bool { return len(h.ended) == len(h.running) })
	return time.Since(began).Seconds(), map[string]float64{
		"one_ms": each[single/2].Seconds() * 1000, "one_p99_ms": each[single-1].Seconds() * 1000,
	}, err
}

// spawnParallel starts n sleeping processes, as many at a time as there are processors.
func spawnParallel(n int) (float64, error) {
	took, all, err := spawnAll(n)
	for _, c := range all {
		_ = c.Process.Kill()
	}
	for _, c := range all {
		_ = c.Wait()
	}
	return took.Seconds(), err
}

func spawnAll(n int) (time.Duration, []*exec.Cmd, error) {
	began := time.Now()
	var mu sync.Mutex
	var all []*exec.Cmd
	var failure error
	var wg sync.WaitGroup
	for w := range max(2, runtime.NumCPU()) {
		wg.Go(func() {
			for i := w; i < n; i += max(2, runtime.NumCPU()) {
				c := exec.Command("/bin/sh", "-c", "exec sleep 100000")
				err := c.Start()
				mu.Lock()
				if err != nil {
					failure = err
				} else {
					all = append(all, c)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return time.Since(began), all, failure
}

// reapAll kills n sleeping processes and waits for them: the least that hearing of n ends takes.
func reapAll(n int) (float64, error) {
	_, all, err := spawnAll(n)
	began := time.Now()
	for _, c := range all {
		_ = c.Process.Kill()
	}
	for _, c := range all {
		_ = c.Wait()
	}
	return time.Since(began).Seconds(), err
}

// bareTask is the description of an idle task and its newest status, encoded, in bytes:
// the least that must be kept of it.
func bareTask(int) (float64, error) {
	task, err := proto.MarshalOptions{AllowPartial: true}.Marshal(benchTask("t0", nil))
	if err != nil {
		return 0, err
	}
	status, err := proto.MarshalOptions{AllowPartial: true}.Marshal(&mesos.TaskStatus{
		TaskId: &mesos.TaskID{Value: proto.String("t0")}, State: mesos.TaskState_TASK_RUNNING.Enum(), Uuid: make([]byte, 16), Timestamp: proto.Float64(1),
		AgentId: &mesos.AgentID{Value: proto.String(benchAgent)}, ContainerStatus: &mesos.ContainerStatus{
			ContainerId: &mesos.ContainerID{Value: proto.String("7cdcfa64-2afb-4d5e-8a2e-4ebd18cfba23")}, ExecutorPid: proto.Uint32(12345)},
	})
	return float64(len(task) + len(status)), err
}

// openProcesses opens a descriptor of each of n processes and reads who it is: the least
// that finding them again takes.
func openProcesses(n int) (float64, error) {
	_, all, err := spawnAll(n)
	began := time.Now()
	for _, c := range all {
		fd, e := unix.PidfdOpen(c.Process.Pid, 0)
		if e == nil {
			_, e = os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.Process.Pid))
			unix.Close(fd)
		}
		if e != nil {
			err = e
		}
	}
	took := time.Since(began)
	for _, c := range all {
		_ = c.Process.Kill()
	}
	for _, c := range all {
		_ = c.Wait()
	}
	return took.Seconds(), err
}
