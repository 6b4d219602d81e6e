package agent

import (
	"context"
	"runtime"
	"strings"
	"time"

	"github.com/stoa-project/stoa/agent/fetch"
	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/agent/operators"
	"github.com/stoa-project/stoa/internal/metrics"
	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// metricsWait bounds how long a scrape waits for the core.
const metricsWait = 2 * time.Second

// newMetrics declares the agent's metrics: Mesos' names (mesos-agent.md 12.1) and their
// Prometheus twins.
func newMetrics(e *engine, started time.Time) *metrics.Registry {
	r := metrics.New()
	gauge := func(name, help, flat string, f func() float64) {
		r.GaugeFunc(metrics.Def{Name: "stoa_agent_" + name, Help: help, Flat: flat}, f)
	}
	counter := func(name, help, flat string, f func() float64) {
		r.CounterFunc(metrics.Def{Name: "stoa_agent_" + name, Help: help, Flat: flat}, f)
	}
	gauge("uptime_seconds", "Time since the process started.", "slave/uptime_secs", func() float64 { return time.Since(started).Seconds() })
	gauge("registered", "1 while a master has this agent.", "slave/registered", func() float64 { return flag(e.uplink.Registered()) })
	counter("recovery_errors_total", "Checkpoint records that could not be read at the start.", "slave/recovery_errors", func() float64 { return float64(e.damaged.Load()) })
	counter("checkpoint_failures_total", "Batches of checkpoints that could not be written.", "", func() float64 { return float64(e.failures.Load()) })
	gauge("sandbox_max_age_seconds", "Age at which unused sandboxes are removed at present.", "slave/executor_directory_max_allowed_age_secs", e.collector.MaxAge)
	counter("container_destroy_errors_total", "Containers that did not end, or could not be cleaned up, in time; both are tried on.", "containerizer/mesos/container_destroy_errors", func() float64 { return float64(e.destroyErrors.Load()) })
	r.FlatGroup(func(emit func(string, float64)) {
		if took := time.Duration(e.recoveryTook.Load()); took > 0 {
			emit("slave/recovery_time_secs", took.Seconds())
		}
	})
	fetched := func(f func(fetch.Stats) float64) func() float64 {
		return func() float64 { return f(e.fetcher.Stats()) }
	}
	counter("fetches_succeeded_total", "Containers whose URIs were fetched.", "containerizer/fetcher/task_fetches_succeeded", fetched(func(s fetch.Stats) float64 { return float64(s.Succeeded) }))
	counter("fetches_failed_total", "Containers with a URI that could not be fetched.", "containerizer/fetcher/task_fetches_failed", fetched(func(s fetch.Stats) float64 { return float64(s.Failed) }))
	gauge("fetcher_cache_size_bytes", "What the cache of fetched files may take.", "containerizer/fetcher/cache_size_total_bytes", fetched(func(s fetch.Stats) float64 { return float64(s.CacheTotal) }))
	gauge("fetcher_cache_used_bytes", "What it takes.", "containerizer/fetcher/cache_size_used_bytes", fetched(func(s fetch.Stats) float64 { return float64(s.CacheUsed) }))
	gauge("connections", "Connections to the agent's port that are open.", "", func() float64 { return float64(e.transport.Stats().Open) })
	counter("connections_turned_away_total", "Connections that were closed at once because too many were open.", "", func() float64 { return float64(e.transport.Stats().TurnedAway) })
	if e.docker != nil {
		e.pulls.register(r, "containerizer/docker/image_pull_ms")
	}
	if e.groups != nil {
		gauge("volume_gids", "Groups for volumes that users share (--volume_gid_range).", "volume_gid_manager/volume_gids_total", func() float64 { n, _ := e.groups.Counts(); return float64(n) })
		gauge("volume_gids_free", "Those of them that no volume has.", "volume_gid_manager/volume_gids_free", func() float64 { _, n := e.groups.Counts(); return float64(n) })
	}
	if e.images != nil {
		imageMetrics(e, r, gauge, counter)
	}
	r.FlatGroup(func(emit func(string, float64)) {
		if e.images == nil { // Mesos tells of them without images too
			emit("containerizer/mesos/filesystem/containers_new_rootfs", 0)
			emit("containerizer/mesos/provisioner/remove_container_errors", 0)
		}
		// No resource provider can subscribe to this agent (docs/agent.md).
		for _, name := range []string{"subscribed", "events/subscribe", "events/disconnect"} {
			emit("resource_provider_manager/"+name, 0)
		}
		// Trees of one layer are shown in place: there is nothing to remove that could fail.
		emit("containerizer/mesos/provisioner/bind/remove_rootfs_errors", 0)
	})
	counter("sandbox_removals_total", "Folders of sandboxes that were removed.", "gc/path_removals_succeeded", func() float64 { n, _, _ := e.collector.Counts(); return float64(n) })
	counter("sandbox_removal_failures_total", "Removals of sandboxes that failed; they are tried again.", "gc/path_removals_failed", func() float64 { _, n, _ := e.collector.Counts(); return float64(n) })
	gauge("sandbox_removals_pending", "Sandboxes that wait for their removal.", "gc/path_removals_pending", func() float64 { _, _, n := e.collector.Counts(); return float64(n) })
	tasks := r.GaugeVec(metrics.Def{Name: "stoa_agent_tasks", Help: "Tasks by state, terminal ones until acknowledged.", Labels: []string{"state"}})
	r.FlatGroup(func(emit func(string, float64)) {
		ctx, cancel := context.WithTimeout(context.Background(), metricsWait)
		defer cancel()
		if e.ctx == nil {
			return
		}
		v, err := e.View(ctx)
		if err != nil {
			return
		}
		emitView(e, v, emit)
		for state, n := range taskStates(v) {
			tasks.WithLabelValues(state.String()).Set(n)
		}
	})
	r.FlatGroup(func(emit func(string, float64)) {
		l := operators.SystemLoad()
		total, free := operators.SystemMemory()
		emit("system/cpus_total", float64(runtime.NumCPU()))
		emit("system/load_1min", l[0])
		emit("system/load_5min", l[1])
		emit("system/load_15min", l[2])
		emit("system/mem_total_bytes", total)
		emit("system/mem_free_bytes", free)
	})
	return r
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// taskStates counts the tasks in the books.
func taskStates(v *lifecycle.View) map[mesos.TaskState]float64 {
	n := map[mesos.TaskState]float64{}
	for _, f := range v.Frameworks {
		for _, x := range f.Executors {
			n[mesos.TaskState_TASK_STAGING] += float64(len(x.Queued))
			for _, t := range append(append([]*mesos.Task(nil), x.Launched...), x.Terminated...) {
				n[t.GetState()]++
			}
		}
	}
	return n
}

func emitView(e *engine, v *lifecycle.View, emit func(string, float64)) {
	states := taskStates(v)
	for _, s := range []mesos.TaskState{mesos.TaskState_TASK_STAGING, mesos.TaskState_TASK_STARTING, mesos.TaskState_TASK_RUNNING, mesos.TaskState_TASK_KILLING} {
		emit("slave/"+strings.ToLower(strings.Replace(s.String(), "TASK_", "tasks_", 1)), states[s])
	}
	for _, s := range []mesos.TaskState{mesos.TaskState_TASK_FINISHED, mesos.TaskState_TASK_FAILED, mesos.TaskState_TASK_KILLED, mesos.TaskState_TASK_LOST, mesos.TaskState_TASK_GONE} {
		emit("slave/"+strings.ToLower(strings.Replace(s.String(), "TASK_", "tasks_", 1)), float64(v.Counters.Updates[s]))
	}
	phases := map[string]float64{}
	for _, f := range v.Frameworks {
		for _, x := range f.Executors {
			phases[x.Phase]++
		}
	}
	emit("slave/frameworks_active", float64(len(v.Frameworks)))
	emit("slave/executors_registering", phases["LAUNCHING"]+phases["REGISTERING"])
	emit("slave/executors_running", phases["RUNNING"])
	emit("slave/executors_terminating", phases["TERMINATING"])
	completed := phases["TERMINATED"]
	for _, f := range append(append([]lifecycle.FrameworkView(nil), v.Frameworks...), v.Completed...) {
		completed += float64(len(f.Completed))
	}
	emit("slave/executors_terminated", completed)
	emit("slave/executors_preempted", 0)
	updates := uint64(0)
	for _, n := range v.Counters.Updates {
		updates += n
	}
	emit("slave/valid_status_updates", float64(updates))
	emit("slave/invalid_status_updates", float64(v.Counters.InvalidUpdates))
	emit("slave/valid_framework_messages", float64(v.Counters.ValidMessages))
	emit("slave/invalid_framework_messages", float64(v.Counters.InvalidMessages))
	emit("slave/container_launch_errors", float64(v.Counters.LaunchErrors))
	total, used := resource.Resources(v.Total).Add(e.extra), operators.Allocated(v)
	for _, name := range []string{"cpus", "gpus", "mem", "disk"} {
		for kind, pair := range map[string][2]resource.Resources{
			"": {total.NonRevocable(), used.NonRevocable()}, "revocable_": {total.Revocable(), used.Revocable()},
		} {
			has, uses := pair[0].Get(name).Float(), pair[1].Get(name).Float()
			share := 0.0
			if has > 0 {
				share = uses / has
			}
			emit("slave/"+name+"_"+kind+"total", has)
			emit("slave/"+name+"_"+kind+"used", uses)
			emit("slave/"+name+"_"+kind+"percent", share)
		}
	}
}
