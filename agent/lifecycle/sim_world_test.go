package lifecycle_test

import (
	"container/heap"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/stoa-project/stoa/agent/journal"
	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// sim is everything there is, and the only source of chance: one agent, what it has on
// disk, the containers on its host, a master, frameworks, executors and an operator.
type sim struct {
	t     testing.TB
	seed  uint64
	rand  *rand.Rand
	now   time.Time
	due   agenda
	seq   uint64
	calm  bool // nothing goes wrong by chance any more
	exact bool // nothing ever does
	fuse  int  // effects until the agent crashes; 0: it does not
	count int  // of effects carried out
	loud  bool // the history goes to the test's log
	trace hash.Hash64
	deeds map[string]int

	shell    *shell // nil while the agent is away
	gen      int    // counts agent processes
	batch    int    // counts turns of all of them
	first    int    // of this agent process
	disk     map[string]journal.Entry
	agentID  string // durable; empty: it registers as a new one
	agents   int    // ids given
	rebooted bool   // since the agent was last there
	ids      uint64

	boxes     map[lifecycle.ContainerID]*box // what the keeper holds, ended ones included
	order     []lifecycle.ContainerID        // of boxes
	launched  map[lifecycle.ContainerID]*launched
	executors []*executor // that run
	excuses   map[lifecycle.ContainerID]string

	up         bool // the master has this agent
	link       int  // counts connections between master and agent
	lastTo     time.Time
	lastFrom   time.Time
	known      map[lifecycle.ExecutorKey]bool // executors that the master believes to run
	frameworks []*framework
	tasks      map[lifecycle.TaskKey]*task
	history    []*task // all tasks, by launch
	calls      map[uint64]lifecycle.ContainerCall
	call       uint64
	doomed     map[lifecycle.ContainerID]int // that an operator has killed -> agent process that said so
	operations map[string]*operation
	pods       int
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

func newSim(t testing.TB, seed uint64) *sim {
	s := &sim{
		t: t, seed: seed, rand: rand.New(rand.NewPCG(seed, 3)), now: time.Unix(1_000_000, 0).UTC(), trace: fnv.New64a(),
		deeds: map[string]int{}, loud: os.Getenv("STOA_SEED") != "" && testing.Verbose(),
		disk: map[string]journal.Entry{}, boxes: map[lifecycle.ContainerID]*box{}, launched: map[lifecycle.ContainerID]*launched{},
		excuses: map[lifecycle.ContainerID]string{}, known: map[lifecycle.ExecutorKey]bool{}, tasks: map[lifecycle.TaskKey]*task{},
		calls: map[uint64]lifecycle.ContainerCall{}, operations: map[string]*operation{}, doomed: map[lifecycle.ContainerID]int{},
	}
	for i := range 4 {
		s.addFramework(i)
	}
	return s
}

// fail ends the test and says how to see the same again.
func (s *sim) fail(format string, args ...any) {
	s.t.Helper()
	s.t.Fatalf("seed %d at %s: %s\nreplay: STOA_SEED=%d go test ./agent/lifecycle -run TestSimulation -v", s.seed, s.since(), fmt.Sprintf(format, args...), s.seed)
}

func (s *sim) since() time.Duration { return s.now.Sub(time.Unix(1_000_000, 0)) }

// note writes one line of the history: into the trace always, and to the log when one
// seed is looked at.
func (s *sim) note(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	fmt.Fprintf(s.trace, "%d %s\n", s.since(), line)
	if s.loud {
		s.t.Logf("%9.3fs %s", s.since().Seconds(), line)
	}
}

// did counts what a history reaches.
func (s *sim) did(what string) { s.deeds[what]++ }

func (s *sim) after(d time.Duration, do func()) {
	s.seq++
	heap.Push(&s.due, happening{s.now.Add(d), s.seq, do})
}

// chance is true once in n times, and never when the world is calm.
func (s *sim) chance(n int) bool { return !s.calm && !s.exact && s.rand.IntN(n) == 0 }

// odds is true once in n times, whatever the weather.
func (s *sim) odds(n int) bool { return s.rand.IntN(n) == 0 }

func (s *sim) between(least, most time.Duration) time.Duration {
	return least + time.Duration(s.rand.Int64N(int64(most-least)+1))
}

// delay is how long something takes: mostly milliseconds, now and then seconds.
func (s *sim) delay() time.Duration {
	if s.chance(15) {
		return s.between(100*time.Millisecond, 8*time.Second)
	}
	return s.between(0, 30*time.Millisecond)
}

// run lets d pass, with all that happens meanwhile.
func (s *sim) run(d time.Duration) {
	end := s.now.Add(d)
	for {
		var tick time.Time
		if s.shell != nil {
			tick = s.shell.core.Next()
		}
		switch {
		case len(s.due) > 0 && !s.due[0].at.After(end) && (tick.IsZero() || !s.due[0].at.After(tick)):
			h := heap.Pop(&s.due).(happening)
			s.now = h.at
			h.do()
		case !tick.IsZero() && !tick.After(end):
			if tick.After(s.now) {
				s.now = tick
			}
			s.shell.inbox = append(s.shell.inbox, lifecycle.Tick{})
			s.shell.turn()
		default:
			s.now = end
			return
		}
	}
}

func (s *sim) uuid() [16]byte {
	s.ids++
	var id [16]byte
	binary.BigEndian.PutUint64(id[8:], s.ids)
	return id
}

func (s *sim) config() lifecycle.Config {
	return lifecycle.Config{
		PID: "slave(1)@10.0.0.1:5051", Endpoint: "10.0.0.1:5051", IP: "10.0.0.1", WorkDir: "/w", SwitchUser: true,
		ShutdownGrace: 5 * time.Second, RegisterTimeout: time.Minute, ReregisterTimeout: reregister, RecoveryTimeout: 15 * time.Minute,
		Info:           &mesos.AgentInfo{Hostname: ptr("h"), Resources: []*mesos.Resource{scalar("cpus", 100), scalar("mem", 10000)}},
		Containerizers: []string{"mesos", "docker"}, Images: true, NewID: s.uuid,
	}
}

const reregister = 2 * time.Second

func ptr[T any](v T) *T { return &v }

func scalar(name string, v float64) *mesos.Resource {
	return &mesos.Resource{Name: ptr(name), Type: mesos.Value_SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: ptr(v)},
		AllocationInfo: &mesos.Resource_AllocationInfo{Role: ptr("dev")}}
}

// sum is the same for the same history.
func (s *sim) sum() string { return fmt.Sprintf("%x", s.trace.Sum64()) }
