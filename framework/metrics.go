package framework

import (
	"strings"
	"time"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
	"github.com/stoa-project/stoa/internal/metrics"
)

// declareMetrics declares what the room counts, under Marathon's names (marathon.md 12)
// in their Prometheus form and, for /metrics as JSON, with dots. All are read from the
// present snapshot and are 0 on a standby.
func (f *Framework) declareMetrics() {
	started := time.Now()
	f.metrics.GaugeFunc(metrics.Def{Name: "marathon_uptime_gauge_seconds", Flat: "marathon.uptime.gauge.seconds",
		Help: "Seconds since this process started."}, func() float64 { return time.Since(started).Seconds() })
	f.metrics.GaugeFunc(metrics.Def{Name: "marathon_http_event_streams_active_gauge", Flat: "marathon.http.event-streams.active.gauge",
		Help: "Event streams attached."}, func() float64 { return float64(f.feed.Clients()) })

	gauge := func(name, flat, help string, read func(*core.Snapshot) float64) {
		f.metrics.GaugeFunc(metrics.Def{Name: name, Flat: flat, Help: help}, f.reading(read))
	}
	counter := func(name, flat, help string, read func(*core.Snapshot) float64) {
		f.metrics.CounterFunc(metrics.Def{Name: name, Flat: flat, Help: help}, f.reading(read))
	}
	gauge("marathon_apps_active_gauge", "marathon.apps.active.gauge", "Apps defined.",
		func(s *core.Snapshot) float64 { return countDefined(s, "app") })
	gauge("marathon_pods_active_gauge", "marathon.pods.active.gauge", "Pods defined.",
		func(s *core.Snapshot) float64 { return countDefined(s, "pod") })
	f.metrics.GaugeFunc(metrics.Def{Name: "marathon_leadership_duration_gauge_seconds", Flat: "marathon.leadership.duration.gauge.seconds",
		Help: "Seconds since this process began to lead."}, func() float64 {
		if t := f.term.Load(); t != nil {
			return time.Since(t.began).Seconds()
		}
		return 0
	})
	gauge("marathon_instances_launch_overdue_gauge", "marathon.instances.launch-overdue.gauge", "Instances whose launch takes too long.",
		func(s *core.Snapshot) float64 { return float64(s.Totals.Overdue) })
	gauge("marathon_instances_inflight_kill_attempts_gauge", "marathon.instances.inflight-kill-attempts.gauge", "Repetitions of the kills in flight.",
		func(s *core.Snapshot) float64 { return float64(s.Totals.KillAttempts) })
	counter("marathon_deployments_dismissed_counter", "marathon.deployments.dismissed.counter", "Deployments cancelled.",
		func(s *core.Snapshot) float64 { return float64(s.Totals.Dismissed) })
	counter("marathon_mesos_offer_operations_launch_counter", "marathon.mesos.offer-operations.launch.counter", "LAUNCH operations.",
		func(s *core.Snapshot) float64 { return float64(s.Totals.OffersUsed) })
	for _, state := range []string{"STAGING", "STARTING", "RUNNING", "KILLING", "FINISHED", "FAILED", "KILLED", "ERROR", "LOST",
		"DROPPED", "UNREACHABLE", "GONE", "GONE_BY_OPERATOR", "UNKNOWN"} {
		low := strings.ToLower(state)
		counter("marathon_mesos_task_updates_task_"+low+"_counter", "marathon.mesos.task-updates.task-"+strings.ReplaceAll(low, "_", "-")+".counter",
			"Status updates TASK_"+state+".", func(s *core.Snapshot) float64 { return float64(s.Totals.Updates["TASK_"+state]) })
	}
	gauge("marathon_groups_active_gauge", "marathon.groups.active.gauge", "Groups defined.",
		func(s *core.Snapshot) float64 { return float64(countGroups(s.Root)) })
	gauge("marathon_deployments_active_gauge", "marathon.deployments.active.gauge", "Deployments running.",
		func(s *core.Snapshot) float64 { return float64(len(s.Deployments)) })
	gauge("marathon_instances_running_gauge", "marathon.instances.running.gauge", "Instances running.",
		func(s *core.Snapshot) float64 { return countInstances(s, app.Running) })
	gauge("marathon_instances_staged_gauge", "marathon.instances.staged.gauge", "Instances launched and not yet running.",
		func(s *core.Snapshot) float64 { return countInstances(s, app.Provisioned, app.Staging, app.Starting) })
	gauge("marathon_instances_inflight_kills_gauge", "marathon.instances.inflight-kills.gauge", "Kills waiting for the end of their task.",
		func(s *core.Snapshot) float64 { return float64(s.Totals.KillsInFlight) })
	counter("marathon_deployments_counter", "marathon.deployments.counter", "Deployments begun.",
		func(s *core.Snapshot) float64 { return float64(s.Totals.Deployments) })
	counter("marathon_tasks_launched_counter", "marathon.tasks.launched.counter", "Tasks launched.",
		func(s *core.Snapshot) float64 { return float64(s.Totals.TasksLaunched) })
	counter("marathon_mesos_offers_incoming_counter", "marathon.mesos.offers.incoming.counter", "Offers received.",
		func(s *core.Snapshot) float64 { return float64(s.Totals.OffersIncoming) })
	counter("marathon_mesos_offers_used_counter", "marathon.mesos.offers.used.counter", "Offers accepted.",
		func(s *core.Snapshot) float64 { return float64(s.Totals.OffersUsed) })
	counter("marathon_mesos_offers_declined_counter", "marathon.mesos.offers.declined.counter", "Offers declined.",
		func(s *core.Snapshot) float64 { return float64(s.Totals.OffersDeclined) })
	counter("marathon_mesos_calls_revive_counter", "marathon.mesos.calls.revive.counter", "REVIVE calls.",
		func(s *core.Snapshot) float64 { return float64(s.Totals.Revives) })
	counter("marathon_mesos_calls_suppress_counter", "marathon.mesos.calls.suppress.counter", "SUPPRESS calls.",
		func(s *core.Snapshot) float64 { return float64(s.Totals.Suppresses) })
}

// reading makes a metric of a number in the snapshot.
func (f *Framework) reading(read func(*core.Snapshot) float64) func() float64 {
	return func() float64 {
		s := f.Snapshot()
		if s == nil {
			return 0
		}
		return read(s)
	}
}

// countDefined counts what is in the tree.
func countDefined(s *core.Snapshot, kind string) float64 {
	n := 0.0
	for _, state := range s.Apps() {
		if k := len(state.Versions); k > 0 && state.Versions[k-1].Kind() == kind {
			n++
		}
	}
	return n
}

func countGroups(g *app.Group) int {
	n := 1
	for _, sub := range g.Groups {
		n += countGroups(sub)
	}
	return n
}

func countInstances(s *core.Snapshot, conditions ...app.Condition) float64 {
	n := 0.0
	for _, state := range s.Apps() {
		for _, i := range state.Instances {
			for _, c := range conditions {
				if i.Condition == c {
					n++
				}
			}
		}
	}
	return n
}
