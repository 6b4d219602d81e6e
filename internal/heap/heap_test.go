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
