package framework

import (
	"iter"
	"runtime"
	"strings"
	"time"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
	"github.com/stoa-project/stoa/framework/rest"
	"github.com/stoa-project/stoa/internal/metrics"
)

// def names a metric of Marathon's (marathon.md 12) by its path below the prefix:
// --metrics_name_prefix.path in /metrics, with underscores in /metrics/prometheus.
func (f *Framework) def(path, help string) metrics.Def {
	flat := f.cfg.MetricsPrefix + "." + path
	return metrics.Def{Name: strings.NewReplacer(".", "_", "-", "_").Replace(flat), Flat: flat, Help: help}
}

// declareMetrics declares what the room counts. What is not about this process is read
// from the present snapshot and is 0 on a standby.
func (f *Framework) declareMetrics() {
	own := func(path, help string, read func() float64) { f.metrics.GaugeFunc(f.def(path, help), read) }
	gauge := func(path, help string, read func(*core.Snapshot) float64) {
		f.metrics.GaugeFunc(f.def(path, help), f.reading(read))
	}
	counter := func(path, help string, read func(*core.Snapshot) float64) {
		f.metrics.CounterFunc(f.def(path, help), f.reading(read))
	}
	f.traffic = f.declareTraffic()
	f.processMetrics(own)
	f.stateMetrics(gauge)
	countMetrics(counter)
}

// declareTraffic declares the metrics of requests and answers.
func (f *Framework) declareTraffic() *rest.Traffic {
	counter := func(path, help string) *metrics.Counter { return f.metrics.Counter(f.def(path, help)) }
	timer := func(path, help string) *metrics.Timer { return f.metrics.Timer(f.def(path, help)) }
	t := &rest.Traffic{
		Active:   f.metrics.Gauge(f.def("http.requests.active.gauge", "Requests being answered, event streams apart.")),
		Duration: timer("http.requests.duration.timer.seconds", "Time to answer a request."),
		ByMethod: map[string]*metrics.Timer{},
		Received: counter("http.requests.size.counter.bytes", "Bytes of request bodies."),
		Sent:     counter("http.responses.size.counter.bytes", "Bytes of answers, before compression."),
		Gzipped:  counter("http.responses.size.gzipped.counter.bytes", "Bytes of compressed answers."),
		Streamed: counter("http.responses.event-stream.size.counter.bytes", "Bytes of event streams."),
	}
	for _, method := range []string{"GET", "POST", "PUT", "DELETE"} {
		t.ByMethod[method] = timer("http.requests."+strings.ToLower(method)+".duration.timer.seconds", "Time to answer a "+method+" request.")
	}
	for i, class := range []string{"1xx", "2xx", "3xx", "4xx", "5xx"} {
		t.ByStatus[i] = f.metrics.Meter(f.def("http.responses."+class+".rate.meter", "Answers with a status "+class+"."))
	}
	return t
}

// processMetrics are those of this process, whether it leads or not.
func (f *Framework) processMetrics(own func(path, help string, read func() float64)) {
	started := time.Now()
	own("uptime.gauge.seconds", "Seconds since this process started.", func() float64 { return time.Since(started).Seconds() })
	own("leadership.duration.gauge.seconds", "Seconds since this process began to lead.", func() float64 {
		if t := f.term.Load(); t != nil {
			return time.Since(t.began).Seconds()
		}
		return 0
	})
	own("http.event-streams.active.gauge", "Event streams attached.", func() float64 { return float64(f.feed.Clients()) })
	// Names that dashboards of a JVM look at.
	own("jvm.memory.heap.used.gauge.bytes", "Bytes of the heap in use.", func() float64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapInuse)
	})
	own("jvm.threads.active.gauge", "Goroutines.", func() float64 { return float64(runtime.NumGoroutine()) })
}

// stateMetrics are those of what is there now.
func (f *Framework) stateMetrics(gauge func(path, help string, read func(*core.Snapshot) float64)) {
	gauge("apps.active.gauge", "Apps defined.", func(s *core.Snapshot) float64 {
		return countAll(s.Root.AllApps())
	})
	gauge("pods.active.gauge", "Pods defined.", func(s *core.Snapshot) float64 { return countAll(s.Root.AllPods()) })
	gauge("groups.active.gauge", "Groups defined.", func(s *core.Snapshot) float64 { return float64(countGroups(s.Root)) })
	gauge("deployments.active.gauge", "Deployments running.", func(s *core.Snapshot) float64 { return float64(len(s.Deployments)) })
	gauge("instances.running.gauge", "Instances running.", func(s *core.Snapshot) float64 { return countInstances(s, app.Running) })
	gauge("instances.staged.gauge", "Instances launched and not yet running.",
		func(s *core.Snapshot) float64 { return countInstances(s, app.Provisioned, app.Staging, app.Starting) })
	gauge("instances.launch-overdue.gauge", "Instances whose launch takes too long.", func(s *core.Snapshot) float64 { return float64(s.Totals.Overdue) })
	gauge("instances.inflight-kills.gauge", "Kills waiting for the end of their task.", func(s *core.Snapshot) float64 { return float64(s.Totals.KillsInFlight) })
	gauge("instances.inflight-kill-attempts.gauge", "Repetitions of the kills in flight.", func(s *core.Snapshot) float64 { return float64(s.Totals.KillAttempts) })
}

// countMetrics are those of what happened since this process began to lead.
func countMetrics(counter func(path, help string, read func(*core.Snapshot) float64)) {
	for path, c := range map[string]struct {
		help string
		read func(*core.Totals) uint64
	}{
		"deployments.counter":                         {"Deployments begun.", func(t *core.Totals) uint64 { return t.Deployments }},
		"deployments.dismissed.counter":               {"Deployments cancelled.", func(t *core.Totals) uint64 { return t.Dismissed }},
		"tasks.launched.counter":                      {"Instances launched.", func(t *core.Totals) uint64 { return t.TasksLaunched }},
		"mesos.calls.revive.counter":                  {"REVIVE calls.", func(t *core.Totals) uint64 { return t.Revives }},
		"mesos.calls.suppress.counter":                {"SUPPRESS calls.", func(t *core.Totals) uint64 { return t.Suppresses }},
		"mesos.offers.incoming.counter":               {"Offers received.", func(t *core.Totals) uint64 { return t.OffersIncoming }},
		"mesos.offers.used.counter":                   {"Offers accepted.", func(t *core.Totals) uint64 { return t.OffersUsed }},
		"mesos.offers.declined.counter":               {"Offers declined.", func(t *core.Totals) uint64 { return t.OffersDeclined }},
		"mesos.offer-operations.launch.counter":       {"LAUNCH operations.", func(t *core.Totals) uint64 { return t.Launches }},
		"mesos.offer-operations.launch-group.counter": {"LAUNCH_GROUP operations.", func(t *core.Totals) uint64 { return t.GroupLaunches }},
		"mesos.offer-operations.reserve.counter":      {"RESERVE operations.", func(t *core.Totals) uint64 { return t.Reserves }},
		"mesos.task.oom.counter":                      {"Tasks ended for lack of memory.", func(t *core.Totals) uint64 { return t.OutOfMemory }},
	} {
		counter(path, c.help, func(s *core.Snapshot) float64 { return float64(c.read(&s.Totals)) })
	}
	for _, state := range []string{"STAGING", "STARTING", "RUNNING", "KILLING", "FINISHED", "FAILED", "KILLED", "ERROR", "LOST",
		"DROPPED", "UNREACHABLE", "GONE", "GONE_BY_OPERATOR", "UNKNOWN"} {
		name := "TASK_" + state
		counter("mesos.task-updates."+strings.ReplaceAll(strings.ToLower(name), "_", "-")+".counter", "Status updates "+name+".",
			func(s *core.Snapshot) float64 { return float64(s.Totals.Updates[name]) })
	}
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

func countAll[T any](all iter.Seq[T]) float64 {
	n := 0.0
	for range all {
		n++
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
		for i := range state.All() {
			for _, c := range conditions {
				if i.Condition == c {
					n++
				}
			}
		}
	}
	return n
}
