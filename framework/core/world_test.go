package core_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
	"github.com/stoa-project/stoa/framework/repo"
	"github.com/stoa-project/stoa/internal/store"
	"github.com/stoa-project/stoa/internal/zk"
)

// world is a core with a real store behind it and a small cluster in memory in front
// of it, in virtual time. It checks after every effect what must always hold.
type world struct {
	t    *testing.T
	rand *rand.Rand
	now  time.Time

	repo    *repo.Repo
	memory  *store.Memory
	core    *core.Core
	cfg     core.Config
	pending *core.Persist // being written
	shown   *core.Snapshot
	replies map[uint64]core.Reply
	token   uint64
	events  []core.Event
	log     []string // of the script tests

	agents     []*simAgent
	tasks      map[app.TaskID]*simTask
	updates    []core.Update             // sent by the master until acknowledged, in order of their tasks
	roles      []string                  // in which the framework is subscribed
	wants      map[string]bool           // roles in which offers are asked for
	held       map[string]*simAgent      // offers that were not answered yet
	lastIn     map[app.InstanceID]string // agent of each instance that reserved
	probing    map[app.InstanceID]core.StartProbes
	known      map[app.TaskID]*knowledge
	loose      bool // force is used, capacity checks are off
	partitions bool // agents come and go
	crashes    int
	uuids      uint64
	seen       map[string]bool // task ids ever launched

	read *core.Stored // what is durable, nil when not read since the last batch

	fuse int  // effects until the leader dies, 0: it does not
	dead bool // it died in the middle of a step
}

// knowledge is what the core was told of a task.
type knowledge struct {
	app      app.PathID
	instance app.InstanceID
	version  app.Timestamp
	state    string
	healthy  *bool
	checked  bool // its definition has health checks
	killed   bool // the core asked for its end
}

type simAgent struct {
	id, host  string
	cpus, mem int64 // free, thousandths
	ports     map[uint32]bool
	disk      int64
	down      bool
	offered   bool // an offer of it is out
	owned     map[app.InstanceID]*simReservation
}

type simTask struct {
	launch core.Launch
	agent  *simAgent
	state  string
	queue  []string // states to go through
	sick   bool
	lost   bool // its agent was out of reach once

	index   int        // of the task in its launch
	mates   []*simTask // all tasks of the launch
	healthy *bool      // what the check beside it says; nil: nothing yet, or it has none
}

func (s *simTask) live() bool {
	switch s.state {
	case "TASK_STAGING", "TASK_STARTING", "TASK_RUNNING", "TASK_KILLING", "TASK_UNREACHABLE":
		return true
	}
	return false
}

const portsPerAgent = 40

func newWorld(t *testing.T, seed uint64, agents int) *world {
	w := &world{t: t, rand: rand.New(rand.NewPCG(seed, 7)), now: time.UnixMilli(1_600_000_000_000),
		memory: store.NewMemory(), replies: map[uint64]core.Reply{}, tasks: map[app.TaskID]*simTask{},
		probing: map[app.InstanceID]core.StartProbes{}, known: map[app.TaskID]*knowledge{}, seen: map[string]bool{},
		held: map[string]*simAgent{}, lastIn: map[app.InstanceID]string{}}
	w.repo = repo.New(w.memory)
	for i := range agents {
		a := &simAgent{id: fmt.Sprintf("S%d", i), host: fmt.Sprintf("host%d", i), cpus: 10_000, mem: 10_000_000, disk: 1_000_000, ports: map[uint32]bool{}, owned: map[app.InstanceID]*simReservation{}}
		for p := range portsPerAgent {
			a.ports[31000+uint32(p)] = true
		}
		w.agents = append(w.agents, a)
	}
	w.cfg = core.Config{
		Ports: app.PortPool{Min: 10000, Max: 20000}, Rand: w.rand.Uint64,
		UUID: func() string {
			w.uuids++
			return fmt.Sprintf("00000000-0000-4000-8000-%012x", w.uuids)
		},
	}
	w.start()
	return w
}

// start loads a new leader and subscribes it.
func (w *world) start() {
	ctx := context.Background()
	if err := w.repo.Open(ctx, zk.Fence{}); err != nil {
		w.t.Fatal(err)
	}
	st, err := w.repo.Load(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	for id, s := range w.probing {
		_ = s
		delete(w.probing, id)
	}
	w.known = map[app.TaskID]*knowledge{}
	for _, v := range st.Instances {
		if v.Launch > 0 && v.Condition != app.Scheduled {
			for k := range v.TaskCount() {
				task := w.tasks[v.TaskIDAt(k)] // none when the ACCEPT never went out
				w.known[v.TaskIDAt(k)] = &knowledge{app: v.App, instance: v.ID, version: v.AppVersion, state: v.TaskCondition(k).TaskState(),
					killed:  v.Goal != app.GoalRunning,
					checked: task != nil && task.checked()}
			}
		}
	}
	w.pending, w.dead = nil, false
	w.void()
	c, effects, err := core.New(w.cfg, w.now, st)
	if err != nil {
		w.t.Fatal(err)
	}
	w.core = c
	w.wants, w.roles = nil, []string{"*"}
	w.carryOut(effects)
	w.ask(w.roles...)
	w.step(core.Subscribed{FrameworkID: "F", Master: "m:5050"})
}

// crash loses the leader; a batch being written may or may not have happened.
func (w *world) crash() {
	w.crashes++
	if w.pending != nil && w.rand.IntN(2) == 0 {
		w.persist(*w.pending)
	}
	w.start()
}

func (w *world) persist(p core.Persist) {
	w.read = nil
	if err := w.repo.Apply(context.Background(), zk.Fence{}, p.Changes); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) step(in core.Input) {
	if w.dead {
		return
	}
	if u, ok := in.(core.Update); ok {
		k := w.known[u.Task]
		order := []string{"TASK_STAGING", "TASK_STARTING", "TASK_RUNNING", "TASK_KILLING"}
		replayed := k != nil && slices.Contains(order, u.State) && slices.Index(order, u.State) < slices.Index(order, k.state)
		if k != nil && !terminal(k.state) && !replayed {
			k.state = u.State
			if u.Healthy != nil {
				k.healthy = u.Healthy
			}
		}
	}
	if p, ok := in.(core.Probed); ok {
		if s, found := w.probing[p.Instance]; found {
			if k := w.known[s.Instance.TaskID()]; k != nil {
				k.healthy = &p.OK
			}
		}
	}
	w.carryOut(w.core.Step(w.now, in))
	if err := w.core.CheckCounts(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) carryOut(effects []core.Effect) {
	for _, e := range effects {
		if w.fuse > 0 {
			if w.fuse--; w.fuse == 0 {
				w.dead = true
				return
			}
		}
		if w.log != nil {
			w.record(e)
		}
		w.effect(e)
	}
}

func (w *world) effect(e core.Effect) {
	switch e := e.(type) {
	case core.Persist:
		if w.pending != nil {
			w.t.Fatal("two batches at once")
		}
		w.pending = &e
	case core.Show:
		w.shown = e.Snapshot
		w.checkServicePorts()
	case core.Reply:
		w.checkReply(e)
		w.replies[e.Token] = e
	case core.Publish:
		w.events = append(w.events, e.Event)
	case core.Accept:
		w.accept(e)
	case core.Kill:
		w.kill(e)
	case core.Acknowledge:
		w.checkAck(e)
		w.updates = slices.DeleteFunc(w.updates, func(u core.Update) bool { return string(u.UUID) == string(e.UUID) })
	case core.Decline:
		for _, id := range e.Offers {
			w.answered(id)
		}
	case core.Roles:
		w.roles = e.Roles
		for _, role := range e.Roles {
			if !slices.Contains(e.Suppressed, role) {
				w.ask(role)
			}
		}
	case core.Revive:
		w.ask(e.Roles...)
	case core.Suppress:
		for _, role := range e.Roles {
			delete(w.wants, role)
		}
	case core.Reconcile:
		w.reconcile(e)
	case core.StartProbes:
		w.probing[e.Instance.ID] = e
	case core.StopProbes:
		delete(w.probing, e.Instance)
	}
}

// settled finishes writes until none is asked for.
func (w *world) settled() {
	for w.pending != nil && !w.dead {
		p := *w.pending
		w.pending = nil
		w.persist(p)
		w.step(core.Persisted{Batch: p.Batch})
	}
}

// durable reads the store, once for every batch.
func (w *world) durable() *core.Stored {
	if w.read == nil {
		st, err := w.repo.Load(context.Background())
		if err != nil {
			w.t.Fatal(err)
		}
		w.read = &st
	}
	return w.read
}

// stored gives an instance's durable record, nil when there is none.
func (w *world) stored(id app.InstanceID) *app.Instance {
	for _, v := range w.durable().Instances {
		if v.ID == id {
			return v
		}
	}
	return nil
}

// probe runs the checks of one instance.
func (w *world) probe(id app.InstanceID) {
	s := w.probing[id]
	task := w.tasks[s.Instance.TaskID()]
	for i := range s.Spec.HealthChecks {
		ok := task != nil && task.state == "TASK_RUNNING" && !task.sick
		w.step(core.Probed{Instance: id, Launch: s.Instance.Launch, Check: i, OK: ok, Cause: "refused"})
	}
}

// do submits a command and gives its reply once writes are done.
func (w *world) do(cmd core.Command) core.Reply {
	w.token++
	token := w.token
	w.step(core.Do{Token: token, Command: cmd})
	w.settled()
	r, ok := w.replies[token]
	if !ok {
		w.t.Fatalf("no reply to %T", cmd)
	}
	return r
}

// rounds lets the whole cluster move on fairly for a while, half a second at a time.
func (w *world) rounds(n int) { w.strides(n, 500*time.Millisecond) }

func (w *world) strides(n int, each time.Duration) {
	for range n {
		w.now = w.now.Add(each)
		w.step(core.Tick{})
		w.settled()
		for _, role := range []string{"*", "dev"} {
			for _, a := range w.agents {
				w.offerIn(a, role)
				w.settled()
			}
		}
		for _, id := range slices.Sorted(maps.Keys(w.tasks)) {
			w.advance(id)
		}
		for k := len(w.updates); k > 0 && len(w.updates) > 0; k-- {
			w.deliver(0)
			w.settled()
		}
		for _, id := range slices.Sorted(maps.Keys(w.probing)) {
			if _, still := w.probing[id]; still {
				w.probe(id)
			}
		}
		w.settled()
	}
}
