package ledger

import (
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
)

// FrameworkCounters count what one framework asked for and was told, since it came in
// this term (mesos-master.md section 9, "per framework"). Heartbeats are the shell's.
type FrameworkCounters struct {
	Calls      Tally // by scheduler.Call_Type
	Events     Tally // by scheduler.Event_Type
	Operations Tally // of ACCEPT, by mesos.Offer_Operation_Type
	Ended      Tally // tasks, by mesos.TaskState

	OffersSent, OffersAccepted, OffersDeclined, OffersRescinded int
}

// Tally counts by the numbers of an enum.
type Tally [32]int32

// Of gives one count.
func (t *Tally) Of(number int32) int {
	if number < 0 || int(number) >= len(t) {
		return 0
	}
	return int(t[number])
}

// Total gives the sum.
func (t *Tally) Total() (n int) {
	for _, each := range t {
		n += int(each)
	}
	return n
}

func (t *Tally) add(number int32) {
	if number >= 0 && int(number) < len(t) {
		t[number]++
	}
}

// countCall counts a call of a framework that is known. Its principal's count is that of
// all its frameworks.
func (l *Ledger) countCall(f *framework, c Call) {
	f.count.Calls.add(int32(c.Call.GetType()))
	l.touchFramework(f)
}

// countMessage counts for the principal behind a call or a driver's message.
func (l *Ledger) countMessage(f *framework) {
	principal := f.info.GetPrincipal()
	if principal == "" {
		return
	}
	if l.count.Principals == nil {
		l.count.Principals = map[string]int{}
	}
	l.count.Principals[principal]++
}

// countEvent counts what is sent to a framework.
func (l *Ledger) countEvent(e ToFramework) {
	f := l.frameworks[e.Framework]
	if f == nil {
		return
	}
	f.count.Events.add(int32(e.Event.GetType()))
	switch e.Event.GetType() {
	case scheduler.Event_OFFERS:
		f.count.OffersSent += len(e.Event.GetOffers().GetOffers())
	case scheduler.Event_RESCIND:
		f.count.OffersRescinded++
	}
	l.touchFramework(f)
}

// countEnd counts a task that ended, one that never began included.
func (l *Ledger) countEnd(f *framework, s mesos.TaskState) {
	if l.count.Ended == nil {
		l.count.Ended = map[mesos.TaskState]int{}
	}
	l.count.Ended[s]++
	if f != nil {
		f.count.Ended.add(int32(s))
		l.touchFramework(f)
	}
}
