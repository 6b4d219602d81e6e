package agents

import (
	"sync"
	"time"

	"github.com/stoa-project/stoa/internal/libprocess"
)

// waiting remembers whose registration is on its way to the ledger. After a failover all
// agents register at once, each with all its tasks, and repeat themselves until they are
// answered: repetitions are dropped before they are decoded, or a master that is busy
// would be kept busy by them.
type waiting struct {
	mu    sync.Mutex // guards since
	since map[libprocess.UPID]time.Time
}

const (
	// repeatAfter is when a repetition counts again: the first one may have been refused
	// without an answer.
	repeatAfter = 5 * time.Second
	// maxWaiting bounds the memory; senders choose their own addresses.
	maxWaiting = 200_000
)

// begin says whether a registration from this address is new.
func (w *waiting) begin(from libprocess.UPID, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if at, waits := w.since[from]; waits && now.Sub(at) < repeatAfter {
		return false
	}
	if w.since == nil || len(w.since) >= maxWaiting {
		w.since = map[libprocess.UPID]time.Time{}
	}
	w.since[from] = now
	return true
}

// end says that an address was answered.
func (w *waiting) end(to libprocess.UPID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.since, to)
}
