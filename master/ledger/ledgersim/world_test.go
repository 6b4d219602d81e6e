package ledgersim

import (
	"container/heap"
	"fmt"
	"hash"
	"hash/fnv"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stoa-project/stoa/master/ledger"
)

// world is everything there is, and the only source of chance.
type world struct {
	t     testing.TB
	seed  uint64
	rand  *rand.Rand
	now   time.Time
	due   agenda
	seq   uint64
	calm  bool      // no more faults
	lasts bool      // masters do not die and the registry does not fail
	exact bool      // nothing goes wrong by chance
	count int       // of effects carried out
	crash int       // the effect before which the master dies; 0: none
	loud  bool      // the history goes to the test's log
	trace hash.Hash // of all that happened, to compare runs

	epoch      int // of the newest leader: what the registry's fence lets write
	leader     *master
	masters    []*master // the leader and deposed ones that do not know it yet
	facts      []ledger.Registry
	agents     []*agent
	frameworks []*framework
	uuids      uint64
	deeds      map[string]int
}

// happening is something that happens later.
type happening struct {
	at  time.Time
	seq uint64
	do  func()
}

type agenda []happening

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	if !a[i].at.Equal(a[j].at) {
		return a[i].at.Before(a[j].at)
	}
	return a[i].seq < a[j].seq
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(happening)) }
func (a *agenda) Pop() any {
	old := *a
	last := old[len(old)-1]
	old[len(old)-1] = happening{}
	*a = old[:len(old)-1]
	return last
}

func newWorld(t testing.TB, seed uint64) *world {
	return &world{t: t, seed: seed, rand: rand.New(rand.NewPCG(seed, 1)), now: time.Unix(1_000_000, 0).UTC(), trace: fnv.New64a(), deeds: map[string]int{}, loud: one() != "" && testing.Verbose()}
}

// fail ends the test and says how to see the same again.
func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("seed %d at %s: %s\nreplay: STOA_SEED=%d go test ./master/ledger/ledgersim -run TestSimulation -v", w.seed, w.since(), fmt.Sprintf(format, args...), w.seed)
}

func (w *world) since() time.Duration { return w.now.Sub(time.Unix(1_000_000, 0)) }

// note writes one line of the history: into the trace always, and to the log when one
// seed is looked at.
func (w *world) note(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	fmt.Fprintf(w.trace, "%d %s\n", w.since(), line)
	if w.loud {
		w.t.Logf("%9.3fs %s", w.since().Seconds(), line)
	}
}

// did counts what a history reaches.
func (w *world) did(what string) { w.deeds[what]++ }

func (w *world) after(d time.Duration, do func()) {
	w.seq++
	heap.Push(&w.due, happening{w.now.Add(d), w.seq, do})
}

// chance is true once in n times, and never when the world is calm.
func (w *world) chance(n int) bool { return !w.calm && !w.exact && w.rand.IntN(n) == 0 }

func (w *world) between(least, most time.Duration) time.Duration {
	return least + time.Duration(w.rand.Int64N(int64(most-least)+1))
}

// delay is how long a message takes: mostly milliseconds, now and then seconds.
func (w *world) delay() time.Duration {
	if w.chance(40) {
		return w.between(time.Second, 20*time.Second)
	}
	return w.between(time.Millisecond, 50*time.Millisecond)
}

// run lets d pass.
func (w *world) run(d time.Duration) {
	end := w.now.Add(d)
	for len(w.due) > 0 && !w.due[0].at.After(end) {
		h := heap.Pop(&w.due).(happening)
		w.now = h.at
		h.do()
	}
	w.now = end
}

// link is one direction between two peers: messages keep their order, until it breaks.
// What is on its way then arrives late or never.
type link struct {
	w    *world
	last time.Time
	gen  int
	till func() time.Time // nothing passes before: a partition; nil: there is none
}

// send delivers after a while, unless the link breaks before.
func (l *link) send(do func()) {
	l.deliver(l.gen, l.w.now.Add(l.w.delay()), do)
}

// deliver keeps the order, also of what waits for the end of a partition.
func (l *link) deliver(gen int, at time.Time, do func()) {
	if l.till != nil && at.Before(l.till()) {
		at = l.till().Add(l.w.delay())
	}
	if at.Before(l.last) {
		at = l.last
	}
	l.last = at
	l.w.after(at.Sub(l.w.now), func() {
		switch {
		case l.gen != gen:
		case l.till != nil && l.w.now.Before(l.till()): // cut off meanwhile
			l.deliver(gen, l.till(), do)
		default:
			do()
		}
	})
}

// loose delivers late, sometimes twice or never, for messages that the protocol repeats
// or whose order means nothing. They do not overtake what was sent before: registrations
// come first on their connection.
func (l *link) loose(do func()) {
	if l.w.chance(20) {
		return
	}
	first := l.last.Sub(l.w.now)
	gen := l.gen
	deliver := func() {
		if l.gen == gen && (l.till == nil || !l.w.now.Before(l.till())) {
			do()
		}
	}
	l.w.after(max(l.w.delay(), first), deliver)
	if l.w.chance(10) {
		l.w.after(max(l.w.between(0, 30*time.Second), first), deliver)
	}
}

// breaks ends the link: half of the time what is under way is lost with it.
func (l *link) breaks() {
	if l.w.rand.IntN(2) == 0 {
		l.gen++
	}
}

func (w *world) uuid() []byte {
	w.uuids++
	return fmt.Appendf(nil, "%016d", w.uuids)
}
