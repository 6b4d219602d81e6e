package heap

import "testing"

func TestPercent(t *testing.T) {
	for _, c := range []struct {
		live uint64
		want int
	}{{0, 100}, {10 << 20, 100}, {64 << 20, 400}, {128 << 20, 400}, {256 << 20, 200}, {512 << 20, 100}, {2 << 30, 50}, {1 << 40, 50}} {
		if got := Percent(c.live); got != c.want {
			t.Errorf("%d MiB live: %d percent, want %d", c.live>>20, got, c.want)
		}
	}
}

// TestRoomIsBounded: whatever is live, garbage takes no more than the room, or half as much
// as is live.
func TestRoomIsBounded(t *testing.T) {
	for live := uint64(1 << 20); live < 64<<30; live += live / 7 {
		garbage := live * uint64(Percent(live)) / 100
		if garbage > max(room, live/2) {
			t.Errorf("%d MiB live: %d MiB of garbage", live>>20, garbage>>20)
		}
	}
}

// A burst is followed by one trim; idling, and steady work, by none.
func TestTrimAfterBursts(t *testing.T) {
	var tr trimmer
	for i, c := range []struct {
		made uint64
		trim bool
	}{
		{2 << 20, false}, {2<<20 + 100, false}, // too little to be worth it
		{30 << 20, false}, {60 << 20, false}, // under way
		{60<<20 + 5000, true},                     // over
		{60<<20 + 9000, false}, {61 << 20, false}, // idle
		{70 << 20, false}, {80 << 20, false}, {81 << 20, true}, // the next one
	} {
		if got := tr.look(c.made); got != c.trim {
			t.Errorf("look %d at %d bytes: %v", i, c.made, got)
		}
	}
}
