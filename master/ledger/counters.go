package ledger

import (
	"maps"
	"strings"

	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
)

// Counters count since the start of the term; the metrics of mesos-master.md section 9
// are made from them.
type Counters struct {
	AgentRegistrations, AgentReregistrations, AgentRemovals  int
	RemovedUnhealthy, RemovedUnregistered, RemovedRegistered int
	RecoveryRemovals                                         int
	UnreachableScheduled, UnreachableCompleted               int
	UnreachableCanceled                                      int
	FrameworksAdded                                          int

	OffersSent, OffersAccepted, OffersDeclined, OffersRescinded int

	Ended   map[mesos.TaskState]int // terminal states reached, refusals of the master included
	Reasons map[string]int          // "task_<state>/source_<source>/reason_<reason>", v0 names
	// Operations counts states reached, by type and state; PENDING counts starts.
	Operations map[OperationCount]int
	Calls      map[string]int // scheduler calls by the name their metric has
	Principals map[string]int // messages and calls of each principal's frameworks

	Messages struct {
		RegisterAgent, ReregisterAgent, UnregisterAgent, UpdateAgent int
		StatusUpdate, ExitedExecutor, ExecutorToFramework            int
		OperationUpdate                                              int
	}
	ValidUpdates, InvalidUpdates                     int
	ValidAcks, InvalidAcks                           int
	ValidOperationUpdates, InvalidOperationUpdates   int
	ValidOperationAcks, InvalidOperationAcks         int
	ValidFrameworkMessages, InvalidFrameworkMessages int
	ValidExecutorMessages, InvalidExecutorMessages   int
	Dropped                                          int // messages that had no taker
}

func (c *Counters) clone() Counters {
	out := *c
	out.Operations, out.Principals = maps.Clone(c.Operations), maps.Clone(c.Principals)
	out.Ended, out.Reasons, out.Calls = maps.Clone(c.Ended), maps.Clone(c.Reasons), maps.Clone(c.Calls)
	return out
}

// OperationCount names a counter of operations.
type OperationCount struct {
	Type  mesos.Offer_Operation_Type
	State mesos.OperationState
}

func (l *Ledger) countOperation(t mesos.Offer_Operation_Type, s mesos.OperationState) {
	if l.count.Operations == nil {
		l.count.Operations = map[OperationCount]int{}
	}
	l.count.Operations[OperationCount{t, s}]++
}

// reason counts an update with a reason under its v0 names.
func (c *Counters) reason(s *mesos.TaskStatus) {
	if c.Reasons == nil {
		c.Reasons = map[string]int{}
	}
	name := strings.ToLower(s.GetState().String() + "/" + s.GetSource().String() + "/" + s.GetReason().String())
	c.Reasons[strings.ReplaceAll(name, "agent", "slave")]++
}

// callMetrics names the counters of scheduler calls, which are older than the calls.
var callMetrics = map[scheduler.Call_Type]string{
	scheduler.Call_TEARDOWN:                     "unregister_framework",
	scheduler.Call_ACCEPT:                       "launch_tasks",
	scheduler.Call_DECLINE:                      "decline_offers",
	scheduler.Call_REVIVE:                       "revive_offers",
	scheduler.Call_SUPPRESS:                     "suppress_offers",
	scheduler.Call_KILL:                         "kill_task",
	scheduler.Call_ACKNOWLEDGE:                  "status_update_acknowledgement",
	scheduler.Call_ACKNOWLEDGE_OPERATION_STATUS: "operation_status_update_acknowledgement",
	scheduler.Call_RECONCILE:                    "reconcile_tasks",
	scheduler.Call_RECONCILE_OPERATIONS:         "reconcile_operations",
	scheduler.Call_MESSAGE:                      "framework_to_executor",
	scheduler.Call_REQUEST:                      "resource_request",
}

func (c *Counters) call(e Call) {
	if c.Calls == nil {
		c.Calls = map[string]int{}
	}
	name := callMetrics[e.Call.GetType()]
	switch {
	case e.Call.GetType() == scheduler.Call_SUBSCRIBE && e.Call.GetSubscribe().GetFrameworkInfo().GetId().GetValue() == "":
		name = "register_framework"
	case e.Call.GetType() == scheduler.Call_SUBSCRIBE:
		name = "reregister_framework"
	case e.Deactivate:
		name = "deactivate_framework"
	}
	if name != "" {
		c.Calls[name]++
	}
}
