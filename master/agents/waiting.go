package agents

import (
	"sync"
	"time"

	"github.com/stoa-project/stoa/internal/libprocess"
)

// waiting remembers whose registration is on its way to the ledger or was answered just
// now. After a failover all agents register at once, each with all its tasks, and repeat
// themselves until they are answered: repetitions are dropped before they are decoded, or
// a master that is busy would be kept busy by them.
type waiting struct {
	mu    sync.Mutex // guards since
	since map[libprocess.UPID]registration
}

// registration is what is known of an agent's last one.
type registration struct {
	at       time.Time // it came, or was answered
	answered bool
}

const (
	// repeatAfter is when a repetition counts again: the first one may have been refused
	// without an answer.
	repeatAfter = 5 * time.Second
	// repeatAnswered is the same after an answer, which crosses repetitions that were sent
	// before it arrived. An answer that is lost breaks the link, and forget comes first.
	repeatAnswered = time.Second
	// maxWaiting bounds the memory; senders choose their own addresses.
	maxWaiting = 200_000
)

// begin says whether a registration from this address is new.
func (w *waiting) begin(from libprocess.UPID, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if last, known := w.since[from]; known {
		wait := repeatAfter
		if last.answered {
			wait = repeatAnswered
		}
		if now.Sub(last.at) < wait {
			return false
		}
	}
	w.note(from, registration{at: now})
	return true
}

// answer says that an address was answered.
func (w *waiting) answer(to libprocess.UPID, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note(to, registration{at: now, answered: true})
}

// forget says that the next registration from an address is new: it was refused, or it
// comes from another process.
func (w *waiting) forget(peer libprocess.UPID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.since, peer)
}

// note is called with mu held.
func (w *waiting) note(peer libprocess.UPID, r registration) {
	if w.since == nil || len(w.since) >= maxWaiting {
		w.since = map[libprocess.UPID]registration{}
	}
	w.since[peer] = r
}
