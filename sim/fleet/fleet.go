package fleet

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/stoa-project/stoa/internal/auth"
	"github.com/stoa-project/stoa/internal/election"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/libprocess"
	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/tlsport"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"google.golang.org/protobuf/proto"
)

const (
	tick = 20 * time.Millisecond
	// queueBytes is what may wait for the master: thousands of agents register again in
	// the same second, each with all its tasks.
	queueBytes = 1 << 30
	// MaxCount bounds the number of agents of one process.
	MaxCount = 1_000_000

	progressEvery = 2 * time.Second
)

// Config says which agents there are.
type Config struct {
	Detector election.Detector
	// Follows says that the detector tells of every change of leader: a broken link alone
	// then means nothing, as for real agents (libprocess.md 2.7).
	Follows    bool
	Listen     netip.AddrPort // one address for all; port 0 is any
	Advertise  netip.AddrPort // in the process ids, when it differs
	Count      int
	Hostname   string            // the n-th agent is called Hostname + n
	Resources  []*mesos.Resource // of each agent
	Attributes []*mesos.Attribute
	TaskTime   time.Duration // after which a task finishes; 0: it runs until it is killed
	Backoff    time.Duration // span in which first registrations are spread
	Version    string        // the Mesos version claimed
	// Capabilities that the agents claim; nil: Implemented.
	Capabilities []mesos.AgentInfo_Capability_Type
	Ready        func(n int) // called once, when every agent was registered

	TLS        *tlsport.Port    // nil: plain connections
	Credential *auth.Credential // shown to the master for each agent; nil: none is
}

// Implemented are the capabilities that simulated agents have.
var Implemented = []mesos.AgentInfo_Capability_Type{
	mesos.AgentInfo_Capability_MULTI_ROLE, mesos.AgentInfo_Capability_HIERARCHICAL_ROLE, mesos.AgentInfo_Capability_RESERVATION_REFINEMENT,
	mesos.AgentInfo_Capability_RESOURCE_PROVIDER, mesos.AgentInfo_Capability_RESIZE_VOLUME, mesos.AgentInfo_Capability_AGENT_OPERATION_FEEDBACK,
	mesos.AgentInfo_Capability_AGENT_DRAINING,
}

// Fleet is the running agents.
type Fleet struct {
	cfg  Config
	log  *slog.Logger
	tr   *libprocess.Transport
	self libprocess.UPID // holds the link to the master for all

	version      *mesos.UUID // resource version
	capabilities []*mesos.AgentInfo_Capability
	own          resource.Resources // of each agent, without reservations and volumes made later
	began        time.Time
	ended        chan error // why Run cannot go on; at most one

	ctx   context.Context // of Run, for the attempts to authenticate
	work  sync.WaitGroup  // those attempts
	slots chan struct{}   // one token for each

	mu         sync.Mutex // guards the fields below
	wheel      wheel
	agents     []*agent
	byID       map[string]*agent // by process id
	frameworks map[string]*framework
	leader     libprocess.UPID // zero when there is none
	linked     bool
	link       uint64 // generation of the newest link
	ready      bool
	counts     Counts
}

// Counts is how far the fleet is.
type Counts struct {
	Agents, Registered, Gone          int
	Tasks, Running, Finished, Updates int // Updates were sent, resends included
}

// New checks the configuration, binds the address and makes the agents; nothing is sent
// before Run. Errors are fault.Invalid or fault.Unavailable.
func New(cfg Config, log *slog.Logger) (*Fleet, error) {
	if cfg.Count < 1 || cfg.Count > MaxCount {
		return nil, fault.New("simulated agents", fault.Invalid, "--count", fmt.Errorf("%d agents: it must be from 1 to %d", cfg.Count, MaxCount))
	}
	tr, err := libprocess.New(libprocess.Config{Listen: cfg.Listen, Advertise: cfg.Advertise, QueueBytes: queueBytes, Logger: log,
		TLS: cfg.TLS.Server(), DialTLS: cfg.TLS.Client, Downgrade: cfg.TLS.Downgrade()})
	if err != nil {
		return nil, err
	}
	f := &Fleet{
		cfg: cfg, log: log, tr: tr, began: time.Now(), ended: make(chan error, 1),
		version: &mesos.UUID{Value: make([]byte, 16)}, own: resource.Of(cfg.Resources...).Unallocate(),
		byID: make(map[string]*agent, cfg.Count), frameworks: map[string]*framework{},
		slots: make(chan struct{}, attempts),
	}
	_, _ = rand.Read(f.version.Value) // never fails
	if cfg.Capabilities == nil {
		cfg.Capabilities = Implemented
	}
	for _, c := range cfg.Capabilities {
		f.capabilities = append(f.capabilities, &mesos.AgentInfo_Capability{Type: c.Enum()})
	}
	if f.self, err = tr.Spawn("fleet", libprocess.NewMux(f.exited)); err != nil {
		return nil, errors.Join(err, tr.Close())
	}
	handlers := f.handlers()
	for n := range cfg.Count {
		a := &agent{hostname: fmt.Sprintf("%s%d", cfg.Hostname, n+1), patience: ticks(75 * time.Second)}
		if a.pid, err = tr.Spawn(tr.NextID("slave"), handlers); err != nil {
			return nil, errors.Join(err, tr.Close())
		}
		f.agents = append(f.agents, a)
		f.byID[a.pid.ID] = a
	}
	f.counts.Agents = cfg.Count
	return f, nil
}

// Addr is the address all agents share.
func (f *Fleet) Addr() netip.AddrPort { return f.tr.Addr() }

// Run is the agents' life until ctx ends (nil), or until a master has told the last one
// to shut down. It says how it is going every other second while something changes.
func (f *Fleet) Run(ctx context.Context) error {
	defer f.work.Wait() // after cancel
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f.ctx = ctx
	served := make(chan error, 1)
	go func() { served <- f.tr.Run(ctx) }()
	leaders := f.cfg.Detector.Watch(ctx)
	beat := time.NewTicker(tick)
	defer beat.Stop()
	progress := time.NewTicker(progressEvery)
	defer progress.Stop()
	var last Counts
	for {
		select {
		case err := <-served: // ctx ended, or accepting failed
			return err
		case err := <-f.ended:
			cancel()
			<-served
			return err
		case l, ok := <-leaders:
			if !ok {
				leaders = nil
				continue
			}
			f.follow(ctx, l)
		case now := <-beat.C:
			f.advance(now)
		case <-progress.C:
			if c := f.Counts(); c != last {
				last = c
				f.log.Info("progress", "agents", c.Agents, "registered", c.Registered, "tasks", c.Tasks, "running", c.Running,
					"finished", c.Finished, "updates", c.Updates)
			}
		}
	}
}

// Counts tells how far the fleet is.
func (f *Fleet) Counts() Counts {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts
}

// advance fires what is due.
func (f *Fleet) advance(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wheel.advance(f.tickAt(now), f.fire)
}

func (f *Fleet) tickAt(t time.Time) int64 { return int64(t.Sub(f.began) / tick) }

// after is a timer's due tick.
func (f *Fleet) after(d time.Duration) int64 { return f.wheel.now + ticks(d) }

func ticks(d time.Duration) int64 { return max(int64(d/tick), 1) }

func (f *Fleet) fire(t timer) {
	switch t.kind {
	case tryRegister:
		f.register(t.agent, t.seq)
	case silence:
		f.listen(t.agent, t.seq)
	case resend:
		f.sendAgain(t.agent, t.task, t.seq)
	case resendOperation:
		if t.agent.operations[t.op.uuid] == t.op && t.op.sent == t.seq {
			f.sendOperation(t.agent, t.op, min(2*t.op.waits, lastResend))
		}
	case finish:
		if !terminal(t.task.state) && t.agent.tasks[t.task.key] == t.task {
			f.update(t.agent, t.task, mesos.TaskState_TASK_FINISHED, 0, "the simulated time has passed")
		}
	}
}

// send gives a message to the leading master; without one it is lost, which the
// protocol allows for.
func (f *Fleet) send(a *agent, m proto.Message) {
	if !f.leader.Valid() || a.gone {
		return
	}
	if err := f.tr.Send(a.pid, f.leader, m); err != nil {
		f.log.Warn("message to the master not sent", "agent", a.pid.ID, "err", err)
	}
}
