package fleet

import (
	"slices"
	"testing"
)

func TestWheelFiresInOrderAndOnce(t *testing.T) {
	var w wheel
	var fired []uint32
	add := func(due int64, seq uint32) { w.add(timer{due: due, seq: seq}) }
	run := func(now int64) { w.advance(now, func(t timer) { fired = append(fired, t.seq) }) }
	expect := func(want ...uint32) {
		t.Helper()
		if !slices.Equal(fired, want) {
			t.Errorf("at %d fired %v, want %v", w.now, fired, want)
		}
		fired = nil
	}
	add(0, 1) // due already: the next tick
	add(5, 2)
	add(3, 3)
	add(5+wheelSlots, 4) // the same slot, a turn later
	run(1)
	expect(1)
	run(5)
	expect(3, 2)
	run(5 + wheelSlots - 1)
	expect()
	run(5 + wheelSlots)
	expect(4)
	// A timer that is added while firing is not lost, not even in its own slot.
	w.add(timer{due: w.now + 1})
	w.advance(w.now+1, func(timer) { add(w.now+wheelSlots, 9) })
	run(w.now + wheelSlots)
	expect(9)
	// After a long stop everything overdue comes at once.
	add(w.now+10, 10)
	add(w.now+5*wheelSlots, 11)
	add(w.now+90*wheelSlots, 12)
	run(w.now + 50*wheelSlots)
	slices.Sort(fired)
	expect(10, 11)
	if w.count != 1 {
		t.Errorf("%d timers left, want 1", w.count)
	}
}
