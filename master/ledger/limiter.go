package ledger

import "time"

// Rate is "N for each Per"; the zero Rate is no limit.
type Rate struct {
	N   float64
	Per time.Duration
}

// limiter spaces permits evenly, as Mesos' does: one each Per/N, the first at once.
type limiter struct {
	every time.Duration
	next  time.Time        // when the next permit may be given
	queue []AgentID        // who waits, first come first served; some may have been spared meanwhile
	here  map[AgentID]bool // in queue
}

func newLimiter(r Rate) *limiter {
	if !(r.N > 0) || r.Per <= 0 {
		return nil
	}
	return &limiter{every: time.Duration(float64(r.Per) / r.N), here: map[AgentID]bool{}}
}

// Agents that are to be marked unreachable wait here for a permit when there is a rate
// limit (mesos-master.md 2.3): a partition of the master itself must not take the whole
// cluster down at once. An agent that is heard of in time leaves the queue.

// scheduleUnreachable begins the way to unreachable: at once, or when a permit comes.
func (l *Ledger) scheduleUnreachable(id AgentID, why string) {
	if _, waiting := l.doomed[id]; waiting {
		return
	}
	if state, busy := l.busy[id]; busy && state != Admitted {
		return // on its way out already
	}
	l.count.UnreachableScheduled++
	if l.limit == nil {
		l.count.UnreachableCompleted++
		l.markUnreachable(id, why)
		return
	}
	l.doomed[id] = why
	if l.limit.here[id] {
		return // spared before, and overdue again: its place was kept
	}
	l.limit.here[id] = true
	l.limit.queue = append(l.limit.queue, id)
	if len(l.limit.queue) == 1 {
		l.after(max(0, l.limit.next.Sub(l.now)), permitTimer, "", 0)
	}
}

// spare takes an agent that was heard of out of the queue.
func (l *Ledger) spare(id AgentID, why string) {
	if _, waiting := l.doomed[id]; waiting {
		delete(l.doomed, id)
		l.count.UnreachableCanceled++
		l.emit(Note{Text: "agent does not become unreachable: " + why, Agent: id})
	}
}

// permitDue gives the permit to the first in the queue that still needs one.
func (l *Ledger) permitDue() {
	q := l.limit
	for len(q.queue) > 0 {
		id := q.queue[0]
		q.queue = q.queue[1:]
		delete(q.here, id)
		why, waiting := l.doomed[id]
		if !waiting {
			continue // spared: its permit goes to the next
		}
		if l.overdue(id) == "" {
			l.spare(id, "it is back")
			continue
		}
		delete(l.doomed, id)
		l.count.UnreachableCompleted++
		l.markUnreachable(id, why)
		q.next = l.now.Add(q.every)
		break
	}
	if len(q.queue) > 0 {
		l.after(q.every, permitTimer, "", 0)
	}
}
