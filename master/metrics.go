package master

import (
	"context"
	"time"

	"github.com/stoa-project/stoa/internal/metrics"
	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/master/ledger"
)

// viewWait bounds what a scrape waits for the ledger's owner.
const viewWait = 2 * time.Second

// viewAge is how old the book may be that metrics are read from: one scrape asks for
// many numbers, and each should not cost a snapshot.
const viewAge = 200 * time.Millisecond

// agedView is a book for metrics and when it was read.
type agedView struct {
	at       time.Time
	snapshot *ledger.Snapshot
}

// view is the present book for metrics; an empty one while this master does not lead,
// so that followers publish the same names with zeros (mesos-master.md section 9).
func (d *Door) view() *ledger.Snapshot {
	if v := d.scraped.Load(); v != nil && time.Since(v.at) < viewAge {
		return v.snapshot
	}
	s := d.freshView()
	d.scraped.Store(&agedView{at: time.Now(), snapshot: s})
	return s
}

func (d *Door) freshView() *ledger.Snapshot {
	ctx, cancel := context.WithTimeout(context.Background(), viewWait)
	defer cancel()
	s, err := d.View(ctx)
	if err != nil {
		return &ledger.Snapshot{}
	}
	return s
}

// declareMetrics declares all metrics of the master: Prometheus names with their Mesos
// twins, and the Mesos names that come and go.
func (d *Door) declareMetrics() {
	gauge := func(name, flat, help string, f func(*ledger.Snapshot) float64) {
		d.metrics.GaugeFunc(metrics.Def{Name: "stoa_master_" + name, Flat: flat, Help: help}, func() float64 { return f(d.view()) })
	}
	counter := func(name, flat, help string, f func(*ledger.Counters) int) {
		d.metrics.CounterFunc(metrics.Def{Name: "stoa_master_" + name + "_total", Flat: flat, Help: help + " In this term."},
			func() float64 { return float64(f(&d.view().Counters)) })
	}
	d.metrics.GaugeFunc(metrics.Def{Name: "stoa_master_uptime_seconds", Flat: "master/uptime_secs", Help: "Time since the start."},
		func() float64 { return time.Since(d.started).Seconds() })
	d.metrics.GaugeFunc(metrics.Def{Name: "stoa_master_elected", Flat: "master/elected", Help: "1 while this master leads."},
		func() float64 {
			if d.leads.Load() != nil {
				return 1
			}
			return 0
		})
	d.metrics.GaugeFunc(metrics.Def{Name: "stoa_master_events_queued", Flat: "master/event_queue_dispatches", Help: "Events waiting for the ledger."},
		func() float64 {
			if t := d.term.Load(); t != nil {
				return float64(len(t.inbox))
			}
			return 0
		})
	d.metrics.GaugeFunc(metrics.Def{Name: "stoa_master_scheduler_streams", Help: "Open streams of HTTP frameworks."},
		func() float64 { return float64(d.schedulers.Streams()) })
	gauge("offers_outstanding", "master/outstanding_offers", "Offers not answered yet.", func(s *ledger.Snapshot) float64 { return float64(s.Offers) })
	d.snapshots = d.metrics.Histogram(metrics.Def{Name: "stoa_master_snapshot_seconds", Help: "Time the ledger stood still for a snapshot of it.",
		Buckets: []float64{.0001, .0003, .001, .003, .01, .03, .1, .3}})
	d.declareAgents(gauge)
	d.declareFrameworks(gauge)
	d.declareResources(gauge)
	d.declareRegistrar()
	d.declareAllocator()
	for _, c := range []struct {
		name, flat, help string
		f                func(*ledger.Counters) int
	}{
		{"agent_registrations", "master/slave_registrations", "Agents admitted.", func(c *ledger.Counters) int { return c.AgentRegistrations }},
		{"agent_reregistrations", "master/slave_reregistrations", "Agents that came back.", func(c *ledger.Counters) int { return c.AgentReregistrations }},
		{"agent_removals", "master/slave_removals", "Agents removed.", func(c *ledger.Counters) int { return c.AgentRemovals }},
		{"agent_removals_unhealthy", "master/slave_removals/reason_unhealthy", "Agents removed because they stopped answering.", func(c *ledger.Counters) int { return c.RemovedUnhealthy }},
		{"agent_removals_unregistered", "master/slave_removals/reason_unregistered", "Agents that left.", func(c *ledger.Counters) int { return c.RemovedUnregistered }},
		{"agent_removals_registered", "master/slave_removals/reason_registered", "Agents replaced by a new one at their address.", func(c *ledger.Counters) int { return c.RemovedRegistered }},
		{"agent_recovery_removals", "master/recovery_slave_removals", "Agents that did not come back after a failover.", func(c *ledger.Counters) int { return c.RecoveryRemovals }},
		{"agent_unreachable_scheduled", "master/slave_unreachable_scheduled", "Transitions to unreachable begun.", func(c *ledger.Counters) int { return c.UnreachableScheduled }},
		{"agent_unreachable_completed", "master/slave_unreachable_completed", "Transitions to unreachable done.", func(c *ledger.Counters) int { return c.UnreachableCompleted }},
		{"offers_sent", "", "Offers made.", func(c *ledger.Counters) int { return c.OffersSent }},
		{"offers_accepted", "", "Offers accepted.", func(c *ledger.Counters) int { return c.OffersAccepted }},
		{"offers_declined", "", "Offers declined.", func(c *ledger.Counters) int { return c.OffersDeclined }},
		{"offers_rescinded", "", "Offers taken back.", func(c *ledger.Counters) int { return c.OffersRescinded }},
		{"messages_dropped", "master/dropped_messages", "Messages that had no taker.", func(c *ledger.Counters) int { return c.Dropped }},
		{"status_updates_valid", "master/valid_status_updates", "Updates of known tasks.", func(c *ledger.Counters) int { return c.ValidUpdates }},
		{"status_updates_invalid", "master/invalid_status_updates", "Updates of unknown tasks, or from the wrong sender.", func(c *ledger.Counters) int { return c.InvalidUpdates }},
		{"acknowledgements_valid", "master/valid_status_update_acknowledgements", "Acknowledgements passed on.", func(c *ledger.Counters) int { return c.ValidAcks }},
		{"acknowledgements_invalid", "master/invalid_status_update_acknowledgements", "Acknowledgements dropped.", func(c *ledger.Counters) int { return c.InvalidAcks }},
	} {
		counter(c.name, c.flat, c.help, c.f)
	}
	d.declareMessages()
}

type gaugeFunc func(name, flat, help string, f func(*ledger.Snapshot) float64)

func (d *Door) declareAgents(gauge gaugeFunc) {
	count := func(yes func(*ledger.AgentView) bool) func(*ledger.Snapshot) float64 {
		return func(s *ledger.Snapshot) (n float64) {
			for _, a := range s.Agents {
				if yes(a) {
					n++
				}
			}
			return n
		}
	}
	gauge("agents_connected", "master/slaves_connected", "Agents with a connection.", count(func(a *ledger.AgentView) bool { return a.Connected }))
	gauge("agents_disconnected", "master/slaves_disconnected", "Registered agents without a connection.", count(func(a *ledger.AgentView) bool { return !a.Connected }))
	gauge("agents_active", "master/slaves_active", "Agents that take part in offers.", count(func(a *ledger.AgentView) bool { return a.Active }))
	gauge("agents_inactive", "master/slaves_inactive", "Registered agents that take no part in offers.", count(func(a *ledger.AgentView) bool { return !a.Active }))
	gauge("agents_unreachable", "master/slaves_unreachable", "Agents that stopped answering.", func(s *ledger.Snapshot) float64 { return float64(len(s.Unreachable)) })
}

func (d *Door) declareFrameworks(gauge gaugeFunc) {
	count := func(yes func(*ledger.FrameworkView) bool) func(*ledger.Snapshot) float64 {
		return func(s *ledger.Snapshot) (n float64) {
			for _, f := range s.Frameworks {
				if yes(f) {
					n++
				}
			}
			return n
		}
	}
	gauge("frameworks_connected", "master/frameworks_connected", "Frameworks with a connection.", count(func(f *ledger.FrameworkView) bool { return f.Connected }))
	gauge("frameworks_disconnected", "master/frameworks_disconnected", "Frameworks without a connection.", count(func(f *ledger.FrameworkView) bool { return !f.Connected }))
	gauge("frameworks_active", "master/frameworks_active", "Frameworks that take offers.", count(func(f *ledger.FrameworkView) bool { return f.Active }))
	gauge("frameworks_inactive", "master/frameworks_inactive", "Frameworks that take no offers.", count(func(f *ledger.FrameworkView) bool { return !f.Active }))
	state := func(want mesos.TaskState) func(*ledger.Snapshot) float64 {
		return func(s *ledger.Snapshot) (n float64) {
			for _, f := range s.Frameworks {
				for _, t := range f.Tasks {
					if t.GetState() == want {
						n++
					}
				}
			}
			return n
		}
	}
	gauge("tasks_staging", "master/tasks_staging", "Tasks sent to their agent.", state(mesos.TaskState_TASK_STAGING))
	gauge("tasks_starting", "master/tasks_starting", "Tasks whose executor has them.", state(mesos.TaskState_TASK_STARTING))
	gauge("tasks_running", "master/tasks_running", "Running tasks.", state(mesos.TaskState_TASK_RUNNING))
	gauge("tasks_killing", "master/tasks_killing", "Tasks being killed.", state(mesos.TaskState_TASK_KILLING))
	gauge("tasks_unreachable", "master/tasks_unreachable", "Tasks on unreachable agents.", func(s *ledger.Snapshot) (n float64) {
		for _, f := range s.Frameworks {
			n += float64(len(f.Unreachable))
		}
		return n
	})
	ended := d.metrics
	for name, st := range map[string]mesos.TaskState{
		"finished": mesos.TaskState_TASK_FINISHED, "failed": mesos.TaskState_TASK_FAILED, "killed": mesos.TaskState_TASK_KILLED,
		"lost": mesos.TaskState_TASK_LOST, "error": mesos.TaskState_TASK_ERROR, "dropped": mesos.TaskState_TASK_DROPPED,
		"gone": mesos.TaskState_TASK_GONE, "gone_by_operator": mesos.TaskState_TASK_GONE_BY_OPERATOR,
	} {
		ended.CounterFunc(metrics.Def{Name: "stoa_master_tasks_" + name + "_total", Flat: "master/tasks_" + name, Help: "Tasks that ended so. In this term."},
			func() float64 { return float64(d.view().Counters.Ended[st]) })
	}
}

func (d *Door) declareResources(gauge gaugeFunc) {
	sum := func(s *ledger.Snapshot, name string, of func(*ledger.AgentView) resource.Resources, revocable bool) (n float64) {
		for _, a := range s.Agents {
			r := of(a)
			if revocable {
				r = r.Revocable()
			} else {
				r = r.NonRevocable()
			}
			amount := r.Get(name)
			n += amount.Float()
		}
		return n
	}
	total := func(a *ledger.AgentView) resource.Resources { return a.Total }
	used := func(a *ledger.AgentView) resource.Resources { return a.Used }
	for _, name := range []string{"cpus", "gpus", "mem", "disk"} {
		for _, kind := range []struct {
			infix     string
			revocable bool
		}{{"", false}, {"revocable_", true}} {
			base := name + "_" + kind.infix
			all := func(s *ledger.Snapshot) float64 { return sum(s, name, total, kind.revocable) }
			taken := func(s *ledger.Snapshot) float64 { return sum(s, name, used, kind.revocable) }
			gauge("resource_"+base+"total", "master/"+base+"total", "What connected agents have.", all)
			gauge("resource_"+base+"used", "master/"+base+"used", "What tasks and executors use.", taken)
			gauge("resource_"+base+"fraction", "master/"+base+"percent", "Used by total, 0 to 1.", func(s *ledger.Snapshot) float64 {
				if a := all(s); a > 0 {
					return taken(s) / a
				}
				return 0
			})
		}
	}
}

func (d *Door) declareRegistrar() {
	stat := func(name, flat, help string, pick func(queued, writes, bytes int) int) {
		d.metrics.GaugeFunc(metrics.Def{Name: "stoa_master_registry_" + name, Flat: flat, Help: help}, func() float64 {
			if t := d.term.Load(); t != nil {
				return float64(pick(t.registry.Stats()))
			}
			return 0
		})
	}
	stat("facts_queued", "registrar/queued_operations", "Facts waiting to be written.", func(q, _, _ int) int { return q })
	stat("writes", "", "Writes made in this term.", func(_, w, _ int) int { return w })
	stat("bytes", "registrar/registry_size_bytes", "Size of all records.", func(_, _, b int) int { return b })
}

// messageNames are the counters of calls that exist before the first call.
var messageNames = []string{
	"register_framework", "reregister_framework", "unregister_framework", "deactivate_framework", "kill_task",
	"status_update_acknowledgement", "operation_status_update_acknowledgement", "resource_request", "launch_tasks",
	"decline_offers", "revive_offers", "suppress_offers", "reconcile_tasks", "reconcile_operations", "framework_to_executor",
}

// declareMessages adds the counters by message and by reason, which only Mesos' flat
// form names one by one.
func (d *Door) declareMessages() {
	d.metrics.FlatGroup(func(emit func(string, float64)) {
		c := d.view().Counters
		for _, name := range messageNames {
			emit("master/messages_"+name, float64(c.Calls[name]))
		}
		for name, n := range map[string]int{
			"register_slave": c.Messages.RegisterAgent, "reregister_slave": c.Messages.ReregisterAgent,
			"unregister_slave": c.Messages.UnregisterAgent, "update_slave": c.Messages.UpdateAgent,
			"status_update": c.Messages.StatusUpdate, "exited_executor": c.Messages.ExitedExecutor,
			"executor_to_framework": c.Messages.ExecutorToFramework,
		} {
			emit("master/messages_"+name, float64(n))
		}
		for name, n := range c.Reasons {
			emit("master/"+name, float64(n))
		}
		emit("master/valid_framework_to_executor_messages", float64(c.ValidFrameworkMessages))
		emit("master/invalid_framework_to_executor_messages", float64(c.InvalidFrameworkMessages))
		emit("master/valid_executor_to_framework_messages", float64(c.ValidExecutorMessages))
		emit("master/invalid_executor_to_framework_messages", float64(c.InvalidExecutorMessages))
	})
}
