package master

import (
	"strings"

	"github.com/stoa-project/stoa/internal/metrics"
	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/master/ledger"
)

func (p printer) agents(s *ledger.Snapshot) {
	var connected, active float64
	for _, a := range s.Agents {
		if a.Connected {
			connected++
		}
		if a.Active {
			active++
		}
	}
	all := float64(len(s.Agents))
	p.gauge("agents_connected", "master/slaves_connected", "Agents with a connection.", connected)
	p.gauge("agents_disconnected", "master/slaves_disconnected", "Registered agents without a connection.", all-connected)
	p.gauge("agents_active", "master/slaves_active", "Agents that take part in offers.", active)
	p.gauge("agents_inactive", "master/slaves_inactive", "Registered agents that take no part in offers.", all-active)
	p.gauge("agents_unreachable", "master/slaves_unreachable", "Agents that stopped answering.", float64(len(s.Unreachable)))
	p.gauge("offers_outstanding", "master/outstanding_offers", "Offers not answered yet.", float64(s.Offers))
}

// liveStates are the states of tasks that have not ended, as gauges.
var liveStates = []mesos.TaskState{mesos.TaskState_TASK_STAGING, mesos.TaskState_TASK_STARTING, mesos.TaskState_TASK_RUNNING, mesos.TaskState_TASK_KILLING}

// endStates are the states in which tasks end, as counters.
var endStates = []mesos.TaskState{mesos.TaskState_TASK_FINISHED, mesos.TaskState_TASK_FAILED, mesos.TaskState_TASK_KILLED,
	mesos.TaskState_TASK_LOST, mesos.TaskState_TASK_ERROR, mesos.TaskState_TASK_DROPPED, mesos.TaskState_TASK_GONE, mesos.TaskState_TASK_GONE_BY_OPERATOR}

// short is a state's name in metrics: "running".
func short(s mesos.TaskState) string { return strings.ToLower(strings.TrimPrefix(s.String(), "TASK_")) }

func (p printer) tasks(s *ledger.Snapshot) {
	var connected, active, unreachable float64
	states := map[mesos.TaskState]float64{}
	for _, f := range s.Frameworks {
		if f.Connected {
			connected++
		}
		if f.Active {
			active++
		}
		unreachable += float64(len(f.Unreachable))
		for _, t := range f.Tasks {
			states[t.GetState()]++
		}
	}
	all := float64(len(s.Frameworks))
	p.gauge("frameworks_connected", "master/frameworks_connected", "Frameworks with a connection.", connected)
	p.gauge("frameworks_disconnected", "master/frameworks_disconnected", "Frameworks without a connection.", all-connected)
	p.gauge("frameworks_active", "master/frameworks_active", "Frameworks that take offers.", active)
	p.gauge("frameworks_inactive", "master/frameworks_inactive", "Frameworks that take no offers.", all-active)
	for _, state := range liveStates {
		p.gauge("tasks_"+short(state), "master/tasks_"+short(state), "Tasks in the state "+state.String()+".", states[state])
	}
	p.gauge("tasks_unreachable", "master/tasks_unreachable", "Tasks on unreachable agents.", unreachable)
	for _, state := range endStates {
		p.counter("tasks_"+short(state), "master/tasks_"+short(state), "Tasks that ended as "+state.String()+".", s.Counters.Ended[state])
	}
}

// measured are the resources with gauges.
var measured = []string{"cpus", "gpus", "mem", "disk"}

// amounts sums measured resources: plain ones and revocable ones.
type amounts [2][4]resource.Fixed

func (a *amounts) add(list resource.Resources) {
	for _, r := range list {
		for i, name := range measured {
			if r.GetName() == name && r.GetType() == mesos.Value_SCALAR {
				kind := 0
				if r.GetRevocable() != nil {
					kind = 1
				}
				a[kind][i] += resource.FromFloat(r.GetScalar().GetValue())
			}
		}
	}
}

func (p printer) resources(s *ledger.Snapshot) {
	var total, used amounts
	for _, a := range s.Agents {
		total.add(a.Total)
		used.add(a.Used)
	}
	for i, name := range measured {
		for kind, infix := range []string{"", "revocable_"} {
			base := name + "_" + infix
			all, taken := total[kind][i].Float(), used[kind][i].Float()
			share := 0.0
			if all > 0 {
				share = taken / all
			}
			p.gauge("resource_"+base+"total", "master/"+base+"total", "What registered agents have.", all)
			p.gauge("resource_"+base+"used", "master/"+base+"used", "What tasks and executors use.", taken)
			p.gauge("resource_"+base+"fraction", "master/"+base+"percent", "Used by total, 0 to 1.", share)
		}
	}
}

// callNames are the counters of scheduler calls by the name of their metric.
var callNames = []string{
	"register_framework", "reregister_framework", "unregister_framework", "deactivate_framework", "kill_task",
	"status_update_acknowledgement", "operation_status_update_acknowledgement", "resource_request", "launch_tasks",
	"decline_offers", "revive_offers", "suppress_offers", "reconcile_tasks", "reconcile_operations", "framework_to_executor",
}

func (p printer) counters(c *ledger.Counters) {
	for _, each := range []struct {
		name, flat, help string
		n                int
	}{
		{"agent_registrations", "slave_registrations", "Agents admitted.", c.AgentRegistrations},
		{"agent_reregistrations", "slave_reregistrations", "Agents that came back.", c.AgentReregistrations},
		{"agent_removals", "slave_removals", "Agents removed.", c.AgentRemovals},
		{"agent_removals_unhealthy", "slave_removals/reason_unhealthy", "Agents removed because they stopped answering.", c.RemovedUnhealthy},
		{"agent_removals_unregistered", "slave_removals/reason_unregistered", "Agents that left.", c.RemovedUnregistered},
		{"agent_removals_registered", "slave_removals/reason_registered", "Agents replaced by a new one at their address.", c.RemovedRegistered},
		{"agent_recovery_removals", "recovery_slave_removals", "Agents that did not come back after a failover.", c.RecoveryRemovals},
		{"agent_unreachable_scheduled", "slave_unreachable_scheduled", "Transitions to unreachable begun.", c.UnreachableScheduled},
		{"agent_unreachable_completed", "slave_unreachable_completed", "Transitions to unreachable done.", c.UnreachableCompleted},
		{"agent_unreachable_canceled", "slave_unreachable_canceled", "Transitions to unreachable given up.", c.UnreachableCanceled},
		// Names of a time before agents became unreachable: always zero, in Mesos too.
		{"", "slave_shutdowns_scheduled", "", 0},
		{"", "slave_shutdowns_completed", "", 0},
		{"", "slave_shutdowns_canceled", "", 0},
		{"offers_sent", "", "Offers made.", c.OffersSent},
		{"offers_accepted", "", "Offers accepted.", c.OffersAccepted},
		{"offers_declined", "", "Offers declined.", c.OffersDeclined},
		{"offers_rescinded", "", "Offers taken back.", c.OffersRescinded},
		{"messages_dropped", "dropped_messages", "Messages that had no taker.", c.Dropped},
		{"status_updates_valid", "valid_status_updates", "Updates of known tasks.", c.ValidUpdates},
		{"status_updates_invalid", "invalid_status_updates", "Updates of unknown tasks, or from the wrong sender.", c.InvalidUpdates},
		{"acknowledgements_valid", "valid_status_update_acknowledgements", "Acknowledgements passed on.", c.ValidAcks},
		{"acknowledgements_invalid", "invalid_status_update_acknowledgements", "Acknowledgements dropped.", c.InvalidAcks},
		{"operation_updates_valid", "valid_operation_status_updates", "Updates of known operations.", c.ValidOperationUpdates},
		{"operation_updates_invalid", "invalid_operation_status_updates", "Updates of unknown operations, or from the wrong sender.", c.InvalidOperationUpdates},
		{"operation_acknowledgements_valid", "valid_operation_status_update_acknowledgements", "Acknowledgements of operations passed on.", c.ValidOperationAcks},
		{"operation_acknowledgements_invalid", "invalid_operation_status_update_acknowledgements", "Acknowledgements of operations dropped.", c.InvalidOperationAcks},
		{"framework_messages_valid", "valid_framework_to_executor_messages", "Messages to executors passed on.", c.ValidFrameworkMessages},
		{"framework_messages_invalid", "invalid_framework_to_executor_messages", "Messages to executors dropped.", c.InvalidFrameworkMessages},
		{"executor_messages_valid", "valid_executor_to_framework_messages", "Messages to frameworks passed on.", c.ValidExecutorMessages},
		{"executor_messages_invalid", "invalid_executor_to_framework_messages", "Messages to frameworks dropped.", c.InvalidExecutorMessages},
	} {
		flat := ""
		if each.flat != "" {
			flat = "master/" + each.flat
		}
		if each.name == "" {
			p.emit(metrics.Sample{Flat: flat, Value: float64(each.n)})
			continue
		}
		p.counter(each.name, flat, each.help, each.n)
	}
	for _, name := range callNames {
		p.message(name, c.Calls[name])
	}
	p.message("register_slave", c.Messages.RegisterAgent)
	p.message("reregister_slave", c.Messages.ReregisterAgent)
	p.message("unregister_slave", c.Messages.UnregisterAgent)
	p.message("update_slave", c.Messages.UpdateAgent)
	p.message("status_update", c.Messages.StatusUpdate)
	p.message("operation_status_update", c.Messages.OperationUpdate)
	p.message("exited_executor", c.Messages.ExitedExecutor)
	p.message("executor_to_framework", c.Messages.ExecutorToFramework)
	for name, n := range c.Reasons {
		parts := strings.SplitN(name, "/", 3)
		if len(parts) != 3 {
			continue
		}
		p.by("task_reasons_total", "master/"+name, "Updates with a reason, by state, source and reason. In this term.", metrics.IsCounter,
			[]string{"state", "source", "reason"}, parts, float64(n))
	}
}

func (p printer) message(name string, n int) {
	p.by("messages_total", "master/messages_"+name, "Messages and calls received, by kind. In this term.", metrics.IsCounter,
		[]string{"message"}, []string{name}, float64(n))
}

// operationTypes are the operations with metrics of their own.
var operationTypes = []mesos.Offer_Operation_Type{
	mesos.Offer_Operation_RESERVE, mesos.Offer_Operation_UNRESERVE, mesos.Offer_Operation_CREATE, mesos.Offer_Operation_DESTROY,
	mesos.Offer_Operation_GROW_VOLUME, mesos.Offer_Operation_SHRINK_VOLUME, mesos.Offer_Operation_CREATE_DISK, mesos.Offer_Operation_DESTROY_DISK,
}

// operationEnds are the states in which operations end.
var operationEnds = []mesos.OperationState{
	mesos.OperationState_OPERATION_FINISHED, mesos.OperationState_OPERATION_FAILED, mesos.OperationState_OPERATION_ERROR,
	mesos.OperationState_OPERATION_DROPPED, mesos.OperationState_OPERATION_GONE_BY_OPERATOR,
}

// operations emits how many operations began, how many are in each live state, and how
// many ended in which way: of each type and of all.
func (p printer) operations(s *ledger.Snapshot) {
	live := map[ledger.OperationCount]int{}
	for _, a := range s.Agents {
		for _, o := range a.Operations {
			if state := o.GetLatestStatus().GetState(); !ledger.TerminalOperation(state) {
				live[ledger.OperationCount{Type: o.GetInfo().GetType(), State: state}]++
			}
		}
	}
	all := map[string]int{}
	for _, t := range operationTypes {
		kind := strings.ToLower(t.String())
		one := func(state string, n int) {
			all[state] += n
			p.by("operations", "master/operations/"+kind+"/"+state, "Operations by type and state; those that ended are counted since the start of the term.",
				metrics.IsGauge, []string{"type", "state"}, []string{kind, state}, float64(n))
		}
		one("total", s.Counters.Operations[ledger.OperationCount{Type: t, State: mesos.OperationState_OPERATION_PENDING}])
		for _, state := range []mesos.OperationState{mesos.OperationState_OPERATION_PENDING, mesos.OperationState_OPERATION_RECOVERING, mesos.OperationState_OPERATION_UNREACHABLE} {
			one(strings.ToLower(strings.TrimPrefix(state.String(), "OPERATION_")), live[ledger.OperationCount{Type: t, State: state}])
		}
		for _, state := range operationEnds {
			one(strings.ToLower(strings.TrimPrefix(state.String(), "OPERATION_")), s.Counters.Operations[ledger.OperationCount{Type: t, State: state}])
		}
	}
	for state, n := range all {
		p.emit(metrics.Sample{Flat: "master/operations/" + state, Value: float64(n)})
	}
}
