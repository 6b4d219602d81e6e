package fleet

// wheelSlots times the tick is one turn of the wheel; what lies further ahead waits for
// its turn in the same slot.
const wheelSlots = 1024

// kind says what a timer is for.
type kind uint8

const (
	tryRegister     kind = iota // seq: the registration it belongs to
	silence                     // is the master still pinging?
	resend                      // task's first update was not acknowledged; seq: the send
	finish                      // the task has run long enough
	resendOperation             // an operation's status was not acknowledged; seq: the send
)

// timer is one thing to do later. Timers are not cancelled: whoever gets one looks
// whether it still counts.
type timer struct {
	due   int64 // tick
	kind  kind
	agent *agent
	task  *task
	op    *operation
	seq   uint32
}

// wheel holds timers by the tick they are due at. The zero value starts at tick 0.
type wheel struct {
	now   int64
	slots [wheelSlots][]timer
	count int
}

// add keeps t until its tick; one that is due already comes with the next tick.
func (w *wheel) add(t timer) {
	t.due = max(t.due, w.now+1)
	s := &w.slots[t.due%wheelSlots]
	*s = append(*s, t)
	w.count++
}

// advance gives every timer that is due up to the tick now, in order of ticks. fire may
// add timers.
func (w *wheel) advance(now int64, fire func(timer)) {
	if now-w.now > wheelSlots { // stopped for long: nothing in between matters
		w.now = now - wheelSlots
	}
	for w.now < now {
		w.now++
		s := &w.slots[w.now%wheelSlots]
		due := *s
		*s = nil
		for _, t := range due {
			if t.due > w.now {
				*s = append(*s, t)
				continue
			}
			w.count--
			fire(t)
		}
	}
}
