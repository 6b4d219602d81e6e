package ledger

import (
	"container/heap"
	"time"
)

// timerKind says what to do when a timer fires.
type timerKind uint8

const (
	pingTimer     timerKind = iota + 1 // agent: send the next ping, count the missing pong
	overdueTimer                       // agent: to be looked at, it may be overdue
	recoveryTimer                      // recovered agents: those that never came back after a failover
	permitTimer                        // the next agent may be marked unreachable
	failoverTimer                      // framework: absent longer than its failover_timeout
	offerTimer                         // offer: unanswered longer than --offer_timeout
	inverseTimer                       // inverse offer: the same
	gcTimer                            // absences: forget what is too old
)

// timer is one entry of the heap. Timers are never taken out early: epoch, compared
// with the subject's, tells a stale one.
type timer struct {
	at    time.Time
	seq   uint64 // insertion order breaks ties, so that runs are repeatable
	kind  timerKind
	id    string
	epoch uint64
}

type timerHeap []timer

func (h timerHeap) Len() int { return len(h) }
func (h timerHeap) Less(i, j int) bool {
	if !h[i].at.Equal(h[j].at) {
		return h[i].at.Before(h[j].at)
	}
	return h[i].seq < h[j].seq
}
func (h timerHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *timerHeap) Push(x any)   { *h = append(*h, x.(timer)) }
func (h *timerHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}

func (l *Ledger) after(d time.Duration, kind timerKind, id string, epoch uint64) {
	l.timerSeq++
	heap.Push(&l.timers, timer{at: l.now.Add(d), seq: l.timerSeq, kind: kind, id: id, epoch: epoch})
}

// Next gives the time at which a Tick is due, and false when no timer runs.
func (l *Ledger) Next() (time.Time, bool) {
	if len(l.timers) == 0 {
		return time.Time{}, false
	}
	return l.timers[0].at, true
}

func (l *Ledger) tick() {
	for len(l.timers) > 0 && !l.timers[0].at.After(l.now) {
		t := heap.Pop(&l.timers).(timer)
		switch t.kind {
		case pingTimer:
			l.pingDue(AgentID(t.id), t.epoch)
		case overdueTimer:
			l.overdueDue(AgentID(t.id))
		case recoveryTimer:
			l.recoveryDue()
		case permitTimer:
			l.permitDue()
		case failoverTimer:
			l.failoverDue(FrameworkID(t.id), t.epoch)
		case offerTimer:
			l.offerDue(OfferID(t.id))
		case inverseTimer:
			l.inverseDue(OfferID(t.id))
		case gcTimer:
			l.collect()
		}
	}
}
