package master

import (
	"fmt"
	"strings"

	"github.com/stoa-project/stoa/internal/metrics"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
	"github.com/stoa-project/stoa/master/ledger"
)

// The metrics of each framework are there as long as the framework is listed, among the
// completed ones too (--publish_per_framework_metrics).

// enum is one value of an enum and its name in metrics.
type enum struct {
	number int32
	name   string
}

func enums(names map[int32]string, leave ...string) (list []enum) {
	for number, name := range names {
		skip := false
		for _, each := range leave {
			skip = skip || each == name
		}
		if !skip {
			list = append(list, enum{number, strings.ToLower(name)})
		}
	}
	return list
}

var (
	callTypes      = enums(scheduler.Call_Type_name, "UNKNOWN")
	eventTypes     = enums(scheduler.Event_Type_name, "UNKNOWN")
	operationKinds = enums(mesos.Offer_Operation_Type_name, "UNKNOWN")
)

var frameworkLabels = []string{"name", "framework"}

// framework emits the metrics of one framework; beats is how many heartbeats it got.
func (p printer) framework(f *ledger.FrameworkView, beats int) {
	c := &f.Count
	prefix := "master/frameworks/" + encoded(f.Info.GetName()) + "/" + string(f.ID) + "/"
	who := []string{f.Info.GetName(), string(f.ID)}
	one := func(name, flat, help string, kind metrics.Kind, n int) {
		p.by("framework_"+name, prefix+flat, help, kind, frameworkLabels, who, float64(n))
	}
	of := func(name, flat, help string, kind metrics.Kind, label, value string, n int) {
		p.by("framework_"+name, prefix+flat+value, help, kind, append(frameworkLabels[:2:2], label), append(who[:2:2], value), float64(n))
	}
	one("subscribed", "subscribed", "1 while the framework has a connection.", metrics.IsGauge, truth(f.Connected))
	p.emit(metrics.Sample{Flat: prefix + "calls", Value: float64(c.Calls.Total())})
	for _, t := range callTypes {
		of("calls_total", "calls/", "Calls of the framework, by type.", metrics.IsCounter, "call", t.name, c.Calls.Of(t.number))
	}
	p.emit(metrics.Sample{Flat: prefix + "events", Value: float64(c.Events.Total() + beats)})
	for _, t := range eventTypes {
		n := c.Events.Of(t.number)
		if t.number == int32(scheduler.Event_HEARTBEAT) {
			n += beats
		}
		of("events_total", "events/", "Events sent to the framework, by type.", metrics.IsCounter, "event", t.name, n)
	}
	of("offers_total", "offers/", "Offers to the framework, by what became of them.", metrics.IsCounter, "offers", "sent", c.OffersSent)
	of("offers_total", "offers/", "Offers to the framework, by what became of them.", metrics.IsCounter, "offers", "accepted", c.OffersAccepted)
	of("offers_total", "offers/", "Offers to the framework, by what became of them.", metrics.IsCounter, "offers", "declined", c.OffersDeclined)
	of("offers_total", "offers/", "Offers to the framework, by what became of them.", metrics.IsCounter, "offers", "rescinded", c.OffersRescinded)
	p.emit(metrics.Sample{Flat: prefix + "operations", Value: float64(c.Operations.Total())})
	for _, t := range operationKinds {
		of("operations_total", "operations/", "Operations in the framework's ACCEPT calls, by type.", metrics.IsCounter, "operation", t.name, c.Operations.Of(t.number))
	}
	live := map[mesos.TaskState]int{mesos.TaskState_TASK_UNREACHABLE: len(f.Unreachable)}
	for _, t := range f.Tasks {
		live[t.GetState()]++
	}
	for _, state := range append(liveStates[:4:4], mesos.TaskState_TASK_UNREACHABLE, mesos.TaskState_TASK_UNKNOWN) {
		of("tasks", "tasks/active/", "Tasks of the framework that have not ended, by state.", metrics.IsGauge, "state", strings.ToLower(state.String()), live[state])
	}
	for _, state := range endStates {
		of("tasks_ended_total", "tasks/terminal/", "Tasks of the framework that ended, by state.", metrics.IsCounter, "state", strings.ToLower(state.String()), c.Ended.Of(int32(state)))
	}
	for _, role := range f.Roles {
		suppressed := false
		for _, each := range f.Suppressed {
			suppressed = suppressed || each == role
		}
		p.by("framework_role_suppressed", prefix+"roles/"+role+"/suppressed", "1 while the framework wants no offers in the role.", metrics.IsGauge,
			append(frameworkLabels[:2:2], "role"), append(who[:2:2], role), float64(truth(suppressed)))
	}
}

// principals emits the messages of each principal that a framework has (mesos-master.md
// 8.5): calls over HTTP count like messages, and each that is received is processed.
func (p printer) principals(s *ledger.Snapshot) {
	seen := map[string]bool{}
	for _, f := range s.Frameworks {
		name := f.Info.GetPrincipal()
		if name == "" || seen[name] {
			continue
		}
		seen[name] = true
		n := s.Counters.Principals[name]
		p.by("principal_messages_total", "frameworks/"+name+"/messages_received", "Messages and calls of a principal's frameworks. In this term.",
			metrics.IsCounter, []string{"principal"}, []string{name}, float64(n))
		p.emit(metrics.Sample{Flat: "frameworks/" + name + "/messages_processed", Value: float64(n)})
	}
}

func truth(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// encoded is a framework's name as it stands in metric names: what has a meaning in URLs,
// and what is no printable ASCII, as %XX.
func encoded(name string) string {
	var b strings.Builder
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("$&+,/:;=?@\"<>#%{}|\\^~[]`", c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
