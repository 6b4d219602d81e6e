package heap

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	trimEvery = 3 * time.Second
	calm      = 1 << 20 // bytes made since the last look, up to which a process counts as idle
	worth     = 4 << 20 // bytes made since the last trim, from which another is worth it
)

// trimmer decides when memory is given back: after a burst, once, when it is over.
type trimmer struct {
	seen    uint64 // bytes ever made, at the last look
	trimmed uint64 // at the last trim
}

// look takes the bytes ever made and tells whether to trim now.
func (t *trimmer) look(made uint64) bool {
	idle := made-t.seen <= calm
	t.seen = made
	if !idle || made-t.trimmed < worth {
		return false
	}
	t.trimmed = made
	return true
}

// Trim gives memory back to the host when a burst of work is over, until ctx ends. It is
// for processes that idle most of their life beside others, such as an agent and its
// keeper: Go by itself keeps the pages of a burst for minutes, and the garbage of a small
// heap until that has doubled.
func Trim(ctx context.Context) {
	made := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	var t trimmer
	tick := time.NewTicker(trimEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		metrics.Read(made)
		if t.look(made[0].Value.Uint64()) {
			debug.FreeOSMemory()
			releaseProgram()
		}
	}
}
