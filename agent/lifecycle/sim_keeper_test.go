package lifecycle_test

import (
	"slices"
	"strings"
	"time"

	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// launched is what the core has asked for once.
type launched struct {
	lifecycle.Launch
	at  time.Time
	gen int // of the agent process
}

// box is one container that the keeper holds until it is told to forget it.
type box struct {
	id     lifecycle.ContainerID
	launch lifecycle.Launch
	pid    int
	ended  bool
	exit   lifecycle.Exit
	limit  *lifecycle.Limitation

	killed time.Time // of the first kill
	due    time.Time // SIGKILL then
	blind  bool      // its exit status will not be known: its keeper was lost
	exec   *executor // of a custom executor
}

func rootOf(id lifecycle.ContainerID) lifecycle.ContainerID {
	root, _, _ := strings.Cut(string(id), ".")
	return lifecycle.ContainerID(root)
}

// launch prepares a container and starts it, unless it is cancelled or fails before.
func (sh *shell) launch(ef lifecycle.Launch) {
	s := sh.s
	if s.boxes[ef.Container] != nil || sh.launches[ef.Container] != nil {
		s.fail("container %s is launched twice", ef.Container)
	}
	l := &launch{}
	sh.launches[ef.Container] = l
	prepare := s.between(0, 40*time.Millisecond)
	if s.chance(6) {
		prepare = s.between(0, 30*time.Second)
		for at := 5 * time.Second; at < prepare; at += 5 * time.Second {
			s.after(at, func() { sh.post(lifecycle.Progress{Container: ef.Container, Message: "Pulling image: " + at.String()}) })
		}
	}
	if s.chance(300) {
		prepare = s.between(time.Minute, 5*time.Minute) // beyond all patience
	}
	s.after(prepare, func() {
		root := s.boxes[ef.Root]
		failed := ""
		switch {
		case sh.dead:
			return
		case l.cancelled:
			failed = "the launch was given up"
		case s.chance(15):
			failed = "no space"
		case ef.Nested && (root == nil || root.ended):
			failed = "its root is gone"
		}
		if failed != "" {
			s.after(s.delay(), func() {
				sh.post(lifecycle.LaunchFailed{Container: ef.Container, Message: failed, Executor: ef.Docker && s.odds(2)})
			})
			return
		}
		b := s.begin(ef)
		told := s.delay()
		if s.chance(6) {
			told = s.between(0, 8*time.Second)
		}
		s.after(told, func() { sh.post(lifecycle.Started{Container: ef.Container, PID: b.pid}) })
	})
}

// begin starts a process.
func (s *sim) begin(ef lifecycle.Launch) *box {
	s.ids++
	b := &box{id: ef.Container, launch: ef, pid: int(s.ids)}
	s.boxes[b.id] = b
	s.order = append(s.order, b.id)
	s.note("container %s runs as %d", b.id, b.pid)
	if t := s.tasks[lifecycle.TaskKey{Framework: ef.Key.Framework, Task: ef.Task}]; t != nil {
		t.began = s.now
	}
	if s.chance(25) && s.shell != nil && s.shell.ready { // an operator is quick
		s.did("killed by an operator")
		s.ask(lifecycle.ContainerCall{Op: lifecycle.CallKill, ID: b.id, Signal: 9})
	}
	custom := ef.Task == "" && !ef.Nested && !strings.HasPrefix(ef.Command.GetValue(), "exec sleep")
	pod := ef.Task == "" && !ef.Nested && !custom
	switch {
	case custom:
		s.addExecutor(b)
		if s.chance(10) {
			s.after(s.between(0, 2*time.Minute), func() { s.end(b, lifecycle.Exit{Known: true, Code: 1}, nil) })
		}
	case pod && !s.chance(10):
	case s.chance(2):
		s.after(s.between(0, time.Minute), func() { s.endsItself(b) })
	case s.chance(8):
		s.endsItself(b)
	}
	return b
}

// endsItself ends a process by its own doing, or a limit's.
func (s *sim) endsItself(b *box) {
	exit := lifecycle.Exit{Known: true}
	var limit *lifecycle.Limitation
	switch s.rand.IntN(8) {
	case 0, 1:
		exit.Code = 1
	case 2:
		exit.Signal = 11
	case 3:
		exit.Signal = 9
		limit = &lifecycle.Limitation{Reason: mesos.TaskStatus_REASON_CONTAINER_LIMITATION_MEMORY, Message: "Memory limit exceeded",
			Resources: []*mesos.Resource{scalar("mem", 1)}}
		s.did("out of memory")
	}
	s.end(b, exit, limit)
}

// end ends a container; whatever shares its control group ends with it.
func (s *sim) end(b *box, exit lifecycle.Exit, limit *lifecycle.Limitation) {
	if b.ended || s.boxes[b.id] != b {
		return
	}
	if b.blind {
		exit, limit = lifecycle.Exit{Why: "its keeper was lost"}, nil
	}
	b.ended, b.exit, b.limit = true, exit, limit
	if limit != nil {
		s.excuses[rootOf(b.id)] = "limit"
	}
	s.note("container %s ends: %+v", b.id, exit)
	s.excuses[b.id] = "it has ended"
	if b.exec != nil {
		b.exec.die()
	}
	if !b.launch.Nested {
		for _, id := range slices.Clone(s.order) {
			if n := s.boxes[id]; id != b.id && rootOf(id) == b.id && n.launch.Share {
				s.end(n, lifecycle.Exit{Known: true, Signal: 9}, nil)
			}
		}
	}
	s.tellEnd(b)
}

// tellEnd is the keeper's watch: every end is told to each agent process until it is forgotten.
func (s *sim) tellEnd(b *box) {
	sh := s.shell
	if sh == nil || !sh.watching {
		return
	}
	s.after(s.delay(), func() {
		if s.boxes[b.id] == b {
			sh.post(lifecycle.Exited{Container: b.id, Exit: b.exit, Limitation: b.limit})
			if s.chance(10) { // the watch was interrupted
				s.tellEnd(b)
			}
		}
	})
}

func (s *sim) destroy(id lifecycle.ContainerID) {
	b := s.boxes[id]
	if b == nil || b.ended {
		return
	}
	s.after(s.between(0, 20*time.Millisecond), func() { s.end(b, lifecycle.Exit{Known: true, Signal: 9}, nil) })
}

// kill sends SIGTERM, which not everybody obeys, and SIGKILL after grace. The engine's
// containers have nobody but the agent who counts the time.
func (s *sim) kill(sh *shell, id lifecycle.ContainerID, grace time.Duration) {
	b := s.boxes[id]
	if b == nil || b.ended {
		return
	}
	if b.killed.IsZero() {
		b.killed = s.now
		if s.odds(2) {
			exit := lifecycle.Exit{Known: true, Signal: 15}
			if s.odds(3) {
				exit = lifecycle.Exit{Known: true}
			}
			s.after(s.between(0, grace), func() { s.end(b, exit, nil) })
		}
	}
	due := b.killed.Add(grace)
	if !b.due.IsZero() && !due.Before(b.due) {
		if b.launch.Docker { // asked again by the next agent process
			due = b.due
		} else {
			return
		}
	}
	b.due = due
	s.after(max(0, due.Sub(s.now)), func() {
		if b.launch.Docker && sh.dead {
			return
		}
		s.end(b, lifecycle.Exit{Known: true, Signal: 9}, nil)
	})
}

func (s *sim) signal(id lifecycle.ContainerID, signal int) {
	b := s.boxes[id]
	if b == nil || b.ended {
		return
	}
	if signal == 9 || s.odds(2) {
		s.end(b, lifecycle.Exit{Known: true, Signal: signal}, nil)
	}
}

func (s *sim) forget(id lifecycle.ContainerID) {
	b := s.boxes[id]
	if b == nil {
		return
	}
	if !b.ended {
		s.fail("container %s is to be forgotten while it runs", id)
	}
	s.drop(id)
}

func (s *sim) drop(id lifecycle.ContainerID) {
	delete(s.boxes, id)
	s.order = slices.DeleteFunc(s.order, func(x lifecycle.ContainerID) bool { return x == id })
}

// losesAll takes every container away with all that is known of it: a reboot of the host,
// or the keeper's books lost.
func (s *sim) losesAll() {
	for _, id := range slices.Clone(s.order) {
		b := s.boxes[id]
		b.ended = true
		if b.exec != nil {
			b.exec.die()
		}
		s.excuses[id] = "the keeper lost it"
		s.drop(id)
	}
}

// blinds is the loss of the keeper's process: what runs goes on, but how it ends will not
// be known.
func (s *sim) blinds() {
	for _, id := range s.order {
		if b := s.boxes[id]; !b.ended {
			b.blind = true
		}
	}
}

// running lists containers that run.
func (s *sim) running() []*box {
	var out []*box
	for _, id := range s.order {
		if b := s.boxes[id]; !b.ended {
			out = append(out, b)
		}
	}
	return out
}
