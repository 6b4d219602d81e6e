package lifecycle_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent/lifecycle"
	executorapi "github.com/stoa-project/stoa/internal/wire/executor"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// executor is a custom executor's process, of the v1 API or, with an upid, of the v0 one.
// It keeps tasks and updates until they are acknowledged and tells them again whenever it
// subscribes.
type executor struct {
	s        *sim
	key      lifecycle.ExecutorKey
	box      *box
	old      bool
	upid     string // of the v0 API, once it has registered
	durable  bool
	mute     bool // it never subscribes
	dead     bool
	ending   bool
	stream   *shell // where it is subscribed
	streams  int    // counts them: what is on its way on an older one is lost
	last     time.Time
	pauses   time.Duration
	tasks    map[string]*held
	names    []string // of tasks, by arrival
	unheard  []*mesos.TaskStatus
	told     map[string]int // uuid of an update -> the stream that it was told on
	attempts int
	welcome  bool // it was told that it is subscribed
}

// held is a task of a custom executor.
type held struct {
	info  *mesos.TaskInfo
	told  bool // an update of it was acknowledged
	state mesos.TaskState
}

func (s *sim) addExecutor(b *box) {
	f := s.frameworkOf(b.launch.Key.Framework)
	x := &executor{s: s, key: b.launch.Key, box: b, durable: f != nil && f.durable, tasks: map[string]*held{}, told: map[string]int{}, pauses: time.Second}
	x.old = strings.HasPrefix(string(x.key.Executor), "old")
	x.mute = s.chance(20)
	b.exec = x
	s.executors = append(s.executors, x)
	s.after(s.between(0, 500*time.Millisecond), x.call)
}

func (x *executor) die() {
	x.dead = true
	x.stream = nil
	x.s.executors = slices.DeleteFunc(x.s.executors, func(y *executor) bool { return x == y })
}

// exit ends the process.
func (x *executor) exit(code int) {
	if !x.dead {
		x.s.end(x.box, lifecycle.Exit{Known: true, Code: code}, nil)
	}
}

// call tries to subscribe, again and again.
func (x *executor) call() {
	s := x.s
	if x.dead || x.mute || x.stream != nil || x.ending {
		return
	}
	if x.attempts++; x.attempts > 40 {
		x.exit(1)
		return
	}
	again := func() {
		x.pauses = min(2*x.pauses, 30*time.Second)
		s.after(x.pauses, x.call)
	}
	sh := s.shell
	if sh == nil || !sh.watching {
		again()
		return
	}
	if x.old {
		if x.upid == "" {
			x.upid = fmt.Sprintf("executor(1)@10.0.0.1:%d", x.box.pid)
			x.subscribe(sh, false)
		}
		return // once registered it waits to be asked
	}
	if fw, ex, _ := sh.core.Standing(x.key); !fw || !ex {
		again()
		return
	}
	x.pauses = time.Second
	x.subscribe(sh, false)
}

// subscribe opens a stream, or registers, and tells what was not acknowledged.
func (x *executor) subscribe(sh *shell, again bool) {
	if x.dead || x.ending || sh.dead || x.mute {
		return
	}
	ev := lifecycle.ExecutorSubscribed{Key: x.key, UPID: x.upid, Again: again}
	for _, n := range x.names {
		if h := x.tasks[n]; !h.told {
			ev.Tasks = append(ev.Tasks, proto.CloneOf(h.info))
		}
	}
	for _, u := range x.unheard {
		x.told[string(u.GetUuid())] = x.streams + 1
		ev.Updates = append(ev.Updates, proto.CloneOf(u))
	}
	x.stream = sh
	x.streams++
	x.s.did("executor subscribed")
	sh.post(ev)
}

// lostStream is the end of its connection to the agent.
func (x *executor) lostStream() {
	x.stream = nil
	if x.dead || x.ending {
		return
	}
	x.attempts = 0
	x.pauses = time.Second
	x.s.after(x.s.between(10*time.Millisecond, time.Second), x.call)
}

// agentGone is the end of the agent's process.
func (x *executor) agentGone() {
	x.stream = nil
	if !x.durable {
		x.s.after(x.s.between(0, time.Second), func() { x.exit(0) })
		return
	}
	switch {
	case !x.old:
		x.lostStream()
	case !x.welcome: // its driver gives up when it was not registered yet
		x.s.after(x.s.between(0, time.Second), func() { x.exit(1) })
	}
}

// toExecutor carries an event over the stream, in order; without one it is lost.
func (s *sim) toExecutor(sh *shell, ef lifecycle.ToExecutor) {
	for _, x := range s.executors {
		if x.key != ef.Key || x.upid != ef.UPID || x.stream != sh {
			continue
		}
		at := s.now.Add(s.delay())
		if at.Before(x.last) {
			at = x.last
		}
		x.last = at
		ev, stream := ef.Event, x.streams
		s.after(at.Sub(s.now), func() {
			if !x.dead && x.stream == sh && x.streams == stream {
				x.hear(ev)
			}
		})
	}
}

func (x *executor) hear(ev *executorapi.Event) {
	s := x.s
	s.note("executor %s hears %s %s%s", x.key.Executor, ev.GetType(), ev.GetLaunch().GetTask().GetTaskId().GetValue(), ev.GetKill().GetTaskId().GetValue())
	switch ev.GetType() {
	case executorapi.Event_SUBSCRIBED:
		x.welcome = true
	case executorapi.Event_LAUNCH:
		x.run(ev.GetLaunch().GetTask())
	case executorapi.Event_LAUNCH_GROUP:
		for _, t := range ev.GetLaunchGroup().GetTaskGroup().GetTasks() {
			x.run(t)
		}
	case executorapi.Event_KILL:
		name := ev.GetKill().GetTaskId().GetValue()
		s.after(s.delay(), func() { x.update(name, mesos.TaskState_TASK_KILLED) })
	case executorapi.Event_ACKNOWLEDGED:
		a := ev.GetAcknowledged()
		x.unheard = slices.DeleteFunc(x.unheard, func(u *mesos.TaskStatus) bool { return string(u.GetUuid()) == string(a.GetUuid()) })
		if h := x.tasks[a.GetTaskId().GetValue()]; h != nil {
			h.told = true
			if lifecycle.Final(h.state) && !slices.ContainsFunc(x.unheard, func(u *mesos.TaskStatus) bool { return u.GetTaskId().GetValue() == a.GetTaskId().GetValue() }) {
				x.names = slices.DeleteFunc(x.names, func(n string) bool { return n == a.GetTaskId().GetValue() })
			}
		}
	case executorapi.Event_SHUTDOWN:
		x.ending = true
		if s.odds(4) {
			return // it does not listen
		}
		for _, n := range slices.Clone(x.names) {
			x.update(n, mesos.TaskState_TASK_KILLED)
		}
		s.after(s.between(0, 2*time.Second), func() { x.exit(0) })
	}
}

func (x *executor) run(info *mesos.TaskInfo) {
	s := x.s
	name := info.GetTaskId().GetValue()
	if x.tasks[name] != nil {
		s.fail("executor %s is given task %s twice", x.key.Executor, name)
	}
	x.tasks[name] = &held{info: info, state: mesos.TaskState_TASK_STAGING}
	x.names = append(x.names, name)
	s.did("task handed to an executor")
	if s.odds(2) {
		s.after(s.delay(), func() { x.update(name, mesos.TaskState_TASK_STARTING) })
	}
	run := s.delay()
	s.after(run, func() { x.update(name, mesos.TaskState_TASK_RUNNING) })
	if s.chance(2) {
		end := []mesos.TaskState{mesos.TaskState_TASK_FINISHED, mesos.TaskState_TASK_FAILED}[s.rand.IntN(2)]
		s.after(run+s.between(0, time.Minute), func() { x.update(name, end) })
	}
}

// update makes a status; an executor's own states only go forward.
func (x *executor) update(name string, state mesos.TaskState) {
	s := x.s
	h := x.tasks[name]
	if x.dead || h == nil || lifecycle.Final(h.state) || rankOf(state) <= rankOf(h.state) {
		return
	}
	h.state = state
	id := s.uuid()
	st := &mesos.TaskStatus{TaskId: &mesos.TaskID{Value: ptr(name)}, State: state.Enum(), Uuid: id[:],
		Timestamp: ptr(float64(s.now.UnixNano()) / 1e9), ExecutorId: &mesos.ExecutorID{Value: ptr(string(x.key.Executor))}}
	x.unheard = append(x.unheard, st)
	x.tell()
}

// tell sends updates that are not acknowledged, in order; while the agent recovers they
// are refused, and tried again.
func (x *executor) tell() {
	sh, stream := x.stream, x.streams
	if x.dead || sh == nil || sh.dead {
		return
	}
	if _, _, subscribed := sh.core.Standing(x.key); !x.old && (!sh.ready || !subscribed) {
		x.s.after(300*time.Millisecond, func() {
			if x.streams == stream {
				x.tell()
			}
		})
		return
	}
	for _, st := range x.unheard {
		if uuid := string(st.GetUuid()); x.told[uuid] != stream {
			x.told[uuid] = stream
			sh.post(lifecycle.ExecutorUpdate{Key: x.key, UPID: x.upid, Status: proto.CloneOf(st)})
		}
	}
}

// rankOf orders the states of a task.
func rankOf(st mesos.TaskState) int {
	switch st {
	case mesos.TaskState_TASK_STAGING:
		return 0
	case mesos.TaskState_TASK_STARTING:
		return 1
	case mesos.TaskState_TASK_RUNNING:
		return 2
	case mesos.TaskState_TASK_KILLING:
		return 3
	}
	return 4
}
