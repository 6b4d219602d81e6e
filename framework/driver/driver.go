package driver

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"github.com/stoa-project/stoa/framework/core"
	"github.com/stoa-project/stoa/internal/auth"
	"github.com/stoa-project/stoa/internal/election"
	"github.com/stoa-project/stoa/internal/tlsport"
)

// Config says how the framework introduces itself (marathon.md 10.2, 11).
type Config struct {
	Name            string // FrameworkInfo.name
	User            string // default user of tasks; "" is the agent's
	Role            string
	Principal       string
	Hostname        string
	WebUI           string
	FailoverTimeout time.Duration // how long the master keeps tasks without us
	Checkpoint      bool
	EnvPrefix       string // before HOST and PORT* variables
	BridgeName      string // CNI network of bridge mode
	GPUs            bool   // takes offers of agents with GPUs (--enable_features gpu_resources)

	// MissedHeartbeats is after how many intervals without an event the connection is given up: 5.
	MissedHeartbeats int
	// Heartbeat is the interval of a master that does not say its own: 15 s.
	Heartbeat time.Duration
	// CallTimeout bounds each call: 15 s.
	CallTimeout time.Duration

	// TLS is how the master is spoken to; nil: in plain text.
	TLS *tlsport.Port
	// Credential shows the master who this framework is, by HTTP basic; empty: nothing does.
	Credential auth.Credential
}

// ErrRemoved tells that the master does not know the framework any more and never
// will: it was torn down, or was away for longer than its failover timeout.
var ErrRemoved = errors.New("the master has removed the framework: its tasks are gone")

// ErrReplaced tells that another scheduler subscribed with the same framework id.
var ErrReplaced = errors.New("another scheduler took over the framework")

// Bounds of the pause between two subscriptions.
const (
	minPause = 100 * time.Millisecond
	maxPause = 10 * time.Second
)

// maxQueue is how many calls may wait before the connection is given up.
const maxQueue = 100_000

// Driver keeps the subscription. Run may be called once; Send at any time.
type Driver struct {
	cfg     Config
	detect  election.Detector
	deliver func(core.Input)
	log     *slog.Logger

	mu    sync.Mutex // guards the fields below
	live  *session   // the present subscription, nil while there is none
	roles core.Roles // the last that came; its Suppressed is for a subscription that lives
}

// New makes a driver; nothing is contacted before Run. deliver takes the inputs, one at a
// time and in order; it may block.
func New(cfg Config, detect election.Detector, deliver func(core.Input), log *slog.Logger) *Driver {
	if cfg.MissedHeartbeats <= 0 {
		cfg.MissedHeartbeats = 5
	}
	if cfg.CallTimeout <= 0 {
		cfg.CallTimeout = 15 * time.Second
	}
	if cfg.Role == "" {
		cfg.Role = "*"
	}
	return &Driver{cfg: cfg, detect: detect, deliver: deliver, log: log, roles: core.Roles{Roles: []string{cfg.Role}}}
}

// Send queues the calls of an effect for the present subscription; without one it is
// dropped, for a new subscription starts from reconciliation, and with the last Roles.
// It never blocks.
func (d *Driver) Send(e core.Effect) {
	d.mu.Lock()
	if r, ok := e.(core.Roles); ok {
		d.roles = r
	}
	s := d.live
	d.mu.Unlock()
	if s != nil {
		s.queue(e)
	}
}

// Run keeps a subscription with whichever master leads until ctx ends. frameworkID is
// the recorded one, empty the first time. It returns ctx's error, ErrRemoved or ErrReplaced.
func (d *Driver) Run(ctx context.Context, frameworkID string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	leaders := d.detect.Watch(ctx)
	var addr string
	pause := minPause
	for {
		for addr == "" {
			select {
			case l, ok := <-leaders:
				if !ok {
					return context.Cause(ctx)
				}
				addr = d.address(l)
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		began := time.Now()
		s := newSession(d, addr, frameworkID)
		ended := make(chan error, 1)
		sessionCtx, stop := context.WithCancel(ctx)
		go func() { ended <- s.run(sessionCtx) }()
		var err error
		gone := false
		for !gone {
			select {
			case err = <-ended:
				gone = true
			case l, ok := <-leaders:
				if next := d.address(l); ok && next != addr {
					d.log.Info("leading master changed", "from", addr, "to", next)
					addr = next
					stop()
				}
				if !ok {
					leaders = nil
				}
			}
		}
		stop()
		if s.frameworkID != "" {
			frameworkID = s.frameworkID
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, ErrRemoved) || errors.Is(err, ErrReplaced) {
			return err
		}
		d.log.Warn("no subscription", "master", addr, "error", err)
		if time.Since(began) > maxPause {
			pause = minPause
		}
		wait := pause/2 + rand.N(pause)
		pause = min(pause*2, maxPause)
		select {
		case <-time.After(wait):
		case l, ok := <-leaders:
			if ok {
				addr = d.address(l)
			}
			pause = minPause
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// address reads a leader's host:port, empty when there is none.
func (d *Driver) address(l election.Leader) string {
	if len(l.Data) == 0 {
		return ""
	}
	m, err := election.ParseMaster(l.Data)
	if err != nil {
		d.log.Error("cannot read who leads the masters", "error", err)
		return ""
	}
	return m.Addr()
}

// framework is how we introduce ourselves.
func (d *Driver) framework(id string, roles []string) *mesos.FrameworkInfo {
	c := d.cfg
	info := &mesos.FrameworkInfo{
		User: c.User, Name: c.Name, Roles: roles,
		FailoverTimeout: ptr(c.FailoverTimeout.Seconds()), Checkpoint: ptr(c.Checkpoint),
		Capabilities: []mesos.FrameworkInfo_Capability{
			{Type: mesos.FrameworkInfo_Capability_PARTITION_AWARE},
			{Type: mesos.FrameworkInfo_Capability_TASK_KILLING_STATE},
			{Type: mesos.FrameworkInfo_Capability_MULTI_ROLE},
			{Type: mesos.FrameworkInfo_Capability_REGION_AWARE},
		},
	}
	if c.GPUs {
		info.Capabilities = append(info.Capabilities, mesos.FrameworkInfo_Capability{Type: mesos.FrameworkInfo_Capability_GPU_RESOURCES})
	}
	if id != "" {
		info.ID = &mesos.FrameworkID{Value: id}
	}
	if c.Hostname != "" {
		info.Hostname = ptr(c.Hostname)
	}
	if c.WebUI != "" {
		info.WebUiURL = ptr(c.WebUI)
	}
	if c.Principal != "" {
		info.Principal = ptr(c.Principal)
	}
	return info
}
