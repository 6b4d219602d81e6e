package uplink

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/election"
	"github.com/stoa-project/stoa/internal/libprocess"
	"github.com/stoa-project/stoa/internal/wire/messages"
	"google.golang.org/protobuf/proto"
)

const (
	// DefaultPingTimeout is 5 pings of 15 s (libprocess.md 3.3).
	DefaultPingTimeout = 75 * time.Second
	maxBackoff         = time.Minute
	inboxSize          = 1024
)

// Transport is what this package needs of libprocess.
type Transport interface {
	Spawn(id string, p libprocess.Process) (libprocess.UPID, error)
	Terminate(id string)
	Send(from, to libprocess.UPID, m proto.Message) error
	Link(from, to libprocess.UPID, reconnect bool) uint64
	Unlink(from, to libprocess.UPID)
}

// Agent is the owner of the core. Its methods are called one at a time, from Run's
// goroutine.
type Agent interface {
	// Registration gives what to tell a master: a ReregisterSlaveMessage when there is
	// an agent id, a RegisterSlaveMessage otherwise.
	Registration(ctx context.Context) (proto.Message, error)
	// Registered says that a master has taken the agent under this id, recorded
	// durably when it returns nil. An error ends Run: the id is not ours.
	Registered(ctx context.Context, id string, reconcile []*messages.ReconcileTasksMessage) error
	// Report gives what follows a registration under this id.
	Report(ctx context.Context, id string) (*messages.UpdateSlaveMessage, error)
	// Lost says that there is no master at present.
	Lost(ctx context.Context)
	// Deliver passes a message of the registered master on.
	Deliver(ctx context.Context, ev lifecycle.Event)
	// Shutdown says that the master wants this agent gone.
	Shutdown(ctx context.Context, message string)
}

// Config is how to find a master and how patient to be.
type Config struct {
	ID          string // process id: "slave(1)"
	Detector    election.Detector
	Backoff     time.Duration // --registration_backoff_factor, 0 means 1 s
	PingTimeout time.Duration // until a master says otherwise; 0 means DefaultPingTimeout
	Version     []byte        // resource_version_uuid, 16 bytes

	// Handle, when set, adds messages of others than masters to the agent's process.
	Handle func(*libprocess.Mux)

	Authentication Authentication // before each registration with a new link
}

// Uplink is the connection to the masters.
type Uplink struct {
	cfg   Config
	tr    Transport
	agent Agent
	log   *slog.Logger
	me    libprocess.UPID
	inbox chan func(context.Context)
	done  chan struct{}

	master     atomic.Pointer[libprocess.UPID] // the one that has taken us; nil when none
	leader     atomic.Pointer[libprocess.UPID] // the detected one; nil when none
	leaderInfo atomic.Pointer[election.Master]
	agentID    atomic.Pointer[string]

	// The fields below belong to Run's goroutine.
	loop loop
}

// New makes the process known to the transport, which then answers pings; nothing is
// sent before Run.
func New(cfg Config, tr Transport, agent Agent, log *slog.Logger) (*Uplink, error) {
	if cfg.Backoff <= 0 {
		cfg.Backoff = time.Second
	}
	cfg.Authentication.defaults()
	if cfg.PingTimeout <= 0 {
		cfg.PingTimeout = DefaultPingTimeout
	}
	u := &Uplink{
		cfg: cfg, tr: tr, agent: agent, log: log,
		inbox: make(chan func(context.Context), inboxSize), done: make(chan struct{}),
	}
	me, err := tr.Spawn(cfg.ID, u.process())
	if err != nil {
		return nil, err
	}
	u.me = me
	return u, nil
}

// Registered tells whether a master has this agent at present.
func (u *Uplink) Registered() bool { return u.master.Load() != nil }

// Leader is the detected master; nil when there is none.
func (u *Uplink) Leader() *election.Master { return u.leaderInfo.Load() }

// loop is what Run's goroutine keeps.
type loop struct {
	tries    int         // since the last leader or success
	attempt  *time.Timer // next registration; stopped while registered or leaderless
	silence  *time.Timer // ping timeout; stopped unless registered
	patience time.Duration
	link     uint64 // generation of the newest link
	linked   bool

	known   bool   // the master knows who we are
	asking  bool   // an attempt to show it is under way
	round   uint64 // of attempts: voids the results of earlier ones
	refused int    // attempts that failed in a row
}

// Run follows the leader and registers until ctx ends (nil) or the agent may not go on
// (why).
func (u *Uplink) Run(ctx context.Context) error {
	defer close(u.done)
	defer u.tr.Terminate(u.cfg.ID)
	u.loop = loop{attempt: stopped(), silence: stopped(), patience: u.cfg.PingTimeout}
	defer u.loop.attempt.Stop()
	defer u.loop.silence.Stop()
	leaders := u.cfg.Detector.Watch(ctx)
	failed := make(chan error, 1)
	fail := func(err error) {
		select {
		case failed <- err:
		default:
		}
	}
	ctx = context.WithValue(ctx, failKey{}, fail)
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case l, ok := <-leaders:
			if !ok {
				leaders = nil
				continue
			}
			u.follow(ctx, l)
		case f := <-u.inbox:
			f(ctx)
		case <-u.loop.attempt.C:
			u.register(ctx)
		case <-u.loop.silence.C:
			u.log.Warn("no ping from the master", "timeout", u.loop.patience)
			u.again(ctx, "no ping")
		}
	}
}

type failKey struct{}

func stopped() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// follow takes a change of leader.
func (u *Uplink) follow(ctx context.Context, l election.Leader) {
	info, pid, err := u.leaderOf(ctx, l)
	if err != nil {
		u.log.Error("the leader's data is unusable", "err", err)
	}
	old := u.leader.Load()
	if old != nil && pid != nil && *old == *pid && u.Registered() {
		u.leaderInfo.Store(info)
		return // the same master said so again
	}
	if old != nil {
		u.tr.Unlink(u.me, *old)
	}
	u.leader.Store(pid)
	u.leaderInfo.Store(info)
	u.lose(ctx)
	u.loop.attempt.Stop()
	if pid == nil {
		u.log.Warn("no leading master")
		return
	}
	u.log.Info("leading master detected", "master", pid.String())
	u.loop.tries, u.loop.linked = 0, false
	u.unknown()
	u.schedule()
}

func (u *Uplink) leaderOf(ctx context.Context, l election.Leader) (*election.Master, *libprocess.UPID, error) {
	if l.Data == nil {
		return nil, nil, nil
	}
	m, err := election.ParseMaster(l.Data)
	if err != nil {
		return nil, nil, err
	}
	text := "master@" + m.Addr()
	if m.PID != "" && m.IP != "" {
		text = m.PID
	}
	pid, err := libprocess.ParseResolve(ctx, text)
	if err != nil {
		return nil, nil, err
	}
	return &m, &pid, nil
}

// lose forgets the master that had taken us.
func (u *Uplink) lose(ctx context.Context) {
	u.loop.silence.Stop()
	if u.master.Swap(nil) != nil {
		u.agent.Lost(ctx)
	}
}

// again starts a new registration with the present leader.
func (u *Uplink) again(ctx context.Context, why string) {
	if u.leader.Load() == nil {
		return
	}
	u.log.Info("registering again", "reason", why)
	u.lose(ctx)
	u.unknown() // a master that has lost us has forgotten who we are
	u.loop.tries = 0
	u.schedule()
}

// schedule arranges the next try: within b·2ⁿ, at most a minute.
func (u *Uplink) schedule() {
	span := u.cfg.Backoff << min(u.loop.tries, 6)
	u.loop.attempt.Reset(rand.N(min(span, maxBackoff) + 1))
}

// register sends one registration and arranges the next.
func (u *Uplink) register(ctx context.Context) {
	leader := u.leader.Load()
	if leader == nil || u.Registered() {
		return
	}
	if !u.loop.linked { // link first: order holds only within one connection
		u.loop.link = u.tr.Link(u.me, *leader, false)
		u.loop.linked = true
	}
	if !u.authenticated(ctx, *leader) {
		return
	}
	msg, err := u.agent.Registration(ctx)
	if err != nil {
		u.log.Error("no registration could be made", "err", err)
		u.schedule()
		return
	}
	if err := u.tr.Send(u.me, *leader, msg); err != nil {
		u.log.Warn("registration not sent", "master", leader.String(), "err", err)
	}
	u.loop.tries++
	u.schedule()
}

// exited says that the link to a peer broke.
func (u *Uplink) exited(ctx context.Context, peer libprocess.UPID, cause error) {
	leader := u.leader.Load()
	if leader == nil || peer != *leader {
		return
	}
	if g := libprocess.GenerationOf(cause); g != 0 && g < u.loop.link {
		return // that link was renewed since
	}
	u.loop.linked = false
	u.unknown()
	if u.Registered() {
		u.log.Warn("link to the master broke", "master", peer.String(), "err", cause)
		u.again(ctx, "link broke")
		return
	}
	u.loop.tries = 0
	u.loop.attempt.Reset(u.cfg.Backoff/2 + rand.N(u.cfg.Backoff/2+1))
}
