package crammd5

import (
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/libprocess"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

const prefix = "mesos.internal."

// Config of a Server. Zero limits stand for the defaults.
type Config struct {
	Transport *libprocess.Transport
	Process   string        // the process that AuthenticateMessages are for: "master"
	Secrets   Secrets       // nil: whoever tries is told that there is no authenticator
	Timeout   time.Duration // of one attempt, 15 s (--authentication_v0_timeout)
	Sessions  int           // attempts under way, 4096; more are told to try again
	Waiting   int           // functions that wait for one attempt, 64; later ones are dropped
	Logger    *slog.Logger
}

// Server knows which process ids have shown who they are. What it knows is bound to the
// pid, not to a connection, and ends with Forget or a new attempt.
type Server struct {
	cfg      Config
	hostname string

	attempts atomic.Int64

	mu      sync.Mutex // guards the fields below
	known   map[libprocess.UPID]string
	pending map[libprocess.UPID]*session
}

// NewServer makes a server; it starts nothing.
func NewServer(cfg Config) *Server {
	if cfg.Timeout <= 0 {
		cfg.Timeout = 15 * time.Second
	}
	if cfg.Sessions <= 0 {
		cfg.Sessions = 4096
	}
	if cfg.Waiting <= 0 {
		cfg.Waiting = 64
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	name, err := os.Hostname()
	if err != nil {
		name = "localhost" // it only makes the challenge look usual
	}
	return &Server{cfg: cfg, hostname: name, known: map[libprocess.UPID]string{}, pending: map[libprocess.UPID]*session{}}
}

// Handle registers the message that begins an attempt.
func (s *Server) Handle(mux *libprocess.Mux) {
	libprocess.Handle(mux, prefix+"AuthenticateMessage", func(from libprocess.UPID, m *messages.AuthenticateMessage) {
		s.attempts.Add(1)
		pid, err := libprocess.Parse(m.GetPid())
		if err != nil || !pid.Valid() {
			s.cfg.Logger.Warn("authentication ignored: its pid cannot be read", "from", from)
			return
		}
		s.begin(from, pid)
	})
}

// Attempts is the number of attempts begun so far, unreadable ones included.
func (s *Server) Attempts() int64 { return s.attempts.Load() }

// begin starts an attempt of from to authenticate pid; an older one of the same pid ends.
func (s *Server) begin(from, pid libprocess.UPID) {
	t := s.cfg.Transport
	self := t.PID(s.cfg.Process)
	if s.cfg.Secrets == nil {
		s.cfg.Logger.Warn("a process wants to authenticate but there are no credentials", "pid", pid)
		s.send(self, from, &messages.AuthenticationErrorMessage{Error: proto.String("No authenticator loaded")})
		return
	}
	x := &session{server: s, pid: pid, peer: from, challenge: challenge(s.hostname)}
	s.mu.Lock()
	old := s.pending[pid]
	if old != nil && old.peer == from {
		s.mu.Unlock()
		s.cfg.Logger.Info("authentication ignored: an attempt is under way", "pid", pid)
		return
	}
	if old == nil && len(s.pending) >= s.cfg.Sessions {
		s.mu.Unlock()
		s.send(self, from, &messages.AuthenticationErrorMessage{Error: proto.String("Too many authentications at once, try again")})
		return
	}
	delete(s.known, pid)
	if old != nil {
		x.waiting, old.waiting = old.waiting, nil // they wait for the new attempt
	}
	s.pending[pid] = x
	s.mu.Unlock()
	if old != nil {
		old.end("a new attempt began")
	}
	x.start()
}

func (s *Server) send(from, to libprocess.UPID, m proto.Message) {
	if err := s.cfg.Transport.Send(from, to, m); err != nil {
		s.cfg.Logger.Debug("authentication message lost", "to", to, "error", err)
	}
}

// When runs fn with what is known of pid: at once, or when the attempt that is under way
// is over, on that attempt's goroutine. fn must not block for long.
func (s *Server) When(pid libprocess.UPID, fn func(principal string, known bool)) {
	s.mu.Lock()
	if x := s.pending[pid]; x != nil {
		if len(x.waiting) < s.cfg.Waiting {
			x.waiting = append(x.waiting, fn)
		}
		s.mu.Unlock()
		return
	}
	principal, known := s.known[pid]
	s.mu.Unlock()
	fn(principal, known)
}

// Forget drops what is known of every process at pid's address: the link to it broke.
func (s *Server) Forget(pid libprocess.UPID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, pid)
}

// done ends an attempt; principal counts when ok. Who waited goes on.
func (s *Server) done(x *session, principal string, ok bool) {
	s.mu.Lock()
	if s.pending[x.pid] != x {
		s.mu.Unlock()
		return
	}
	delete(s.pending, x.pid)
	if ok {
		s.known[x.pid] = principal
	}
	waiting := x.waiting
	x.waiting = nil
	s.mu.Unlock()
	for _, fn := range waiting {
		fn(principal, ok)
	}
}

// session is one attempt: a process of its own, to which the peer answers.
type session struct {
	server    *Server
	pid, peer libprocess.UPID
	id        string
	self      libprocess.UPID
	challenge []byte
	waiting   []func(string, bool) // guarded by the server's mutex

	mu    sync.Mutex // guards the fields below
	timer *time.Timer
	over  bool
	step  int // messages of the peer taken
}

func (x *session) start() {
	s, t := x.server, x.server.cfg.Transport
	mux := libprocess.NewMux(func(libprocess.UPID, error) { x.end("the peer is gone") })
	libprocess.Handle(mux, prefix+"AuthenticationStartMessage", func(from libprocess.UPID, m *messages.AuthenticationStartMessage) {
		if !x.next(from, 0) {
			return
		}
		if m.GetMechanism() != Mechanism {
			x.fail(fmt.Sprintf("Mechanism %q is not %s", m.GetMechanism(), Mechanism))
			return
		}
		s.send(x.self, x.peer, &messages.AuthenticationStepMessage{Data: x.challenge})
	})
	libprocess.Handle(mux, prefix+"AuthenticationStepMessage", func(from libprocess.UPID, m *messages.AuthenticationStepMessage) {
		if x.next(from, 1) {
			x.judge(m.GetData())
		}
	})
	x.id = t.NextID("crammd5-authenticator-session")
	self, err := t.Spawn(x.id, mux)
	if err != nil {
		x.end(err.Error())
		return
	}
	x.self = self
	x.mu.Lock()
	x.timer = time.AfterFunc(s.cfg.Timeout, func() { x.end("it took too long") })
	x.mu.Unlock()
	t.Link(self, x.peer, false)
	s.send(self, x.peer, &messages.AuthenticationMechanismsMessage{Mechanisms: []string{Mechanism}})
}

// next says whether a message is the peer's and comes at its turn.
func (x *session) next(from libprocess.UPID, step int) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.over || from != x.peer || x.step != step {
		return false
	}
	x.step++
	return true
}

func (x *session) judge(response []byte) {
	s := x.server
	principal, ok := check(s.cfg.Secrets, x.challenge, response)
	if !ok {
		s.cfg.Logger.Warn("authentication refused", "pid", x.pid, "principal", principal)
		s.send(x.self, x.peer, &messages.AuthenticationFailedMessage{})
		x.close("", false)
		return
	}
	s.cfg.Logger.Info("authenticated", "pid", x.pid, "principal", principal)
	// First the answer, so that it is not behind what the waiting ones cause.
	s.send(x.self, x.peer, &messages.AuthenticationCompletedMessage{})
	x.close(principal, true)
}

func (x *session) fail(why string) {
	x.server.send(x.self, x.peer, &messages.AuthenticationErrorMessage{Error: proto.String(why)})
	x.end(why)
}

func (x *session) end(why string) {
	if x.close("", false) {
		x.server.cfg.Logger.Info("authentication ended", "pid", x.pid, "reason", why)
	}
}

// close ends the process; false when it was over already.
func (x *session) close(principal string, ok bool) bool {
	x.mu.Lock()
	if x.over {
		x.mu.Unlock()
		return false
	}
	x.over = true
	if x.timer != nil {
		x.timer.Stop()
	}
	x.mu.Unlock()
	x.server.cfg.Transport.Terminate(x.id)
	x.server.done(x, principal, ok)
	return true
}
