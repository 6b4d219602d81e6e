package master

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/auth/crammd5"
	"github.com/stoa-project/stoa/internal/election"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/libprocess"
	"github.com/stoa-project/stoa/internal/metrics"
	"github.com/stoa-project/stoa/internal/ratelimit"
	"github.com/stoa-project/stoa/internal/store"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/zk"
	"github.com/stoa-project/stoa/master/agents"
	"github.com/stoa-project/stoa/master/schedulers"
)

// Door is one master process, leading or not.
type Door struct {
	cfg           Config
	log           *slog.Logger
	transport     *libprocess.Transport
	pid           libprocess.UPID
	schedulers    *schedulers.Shell
	agents        *agents.Shell
	authenticated *crammd5.Server
	metrics       *metrics.Registry
	operators     operatorShell
	started       time.Time
	registry      registryTimes
	allocations   allocations
	snapshots     metrics.Histogram // seconds that the ledger's owner spent on each snapshot

	term  atomic.Pointer[term]             // present term; nil while not leading or not recovered
	leads atomic.Pointer[mesos.MasterInfo] // own MasterInfo from election to the end of the term
	known atomic.Pointer[election.Master]  // who leads, as the detector says; nil: nobody
}

// registryTimes are what the registry's reads and writes took.
type registryTimes struct {
	fetch  atomic.Int64 // nanoseconds, of the last election
	store  stopwatch
	stores metrics.Histogram
}

// New binds the address and starts nothing else.
func New(cfg Config, log *slog.Logger) (*Door, error) {
	cfg.defaults()
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	d := &Door{cfg: cfg, log: log, metrics: metrics.New(), started: time.Now()}
	secure := cfg.Security
	var limiter *ratelimit.Limiter
	if secure.Limits != nil {
		limiter = ratelimit.New(secure.Limits)
	}
	d.schedulers = schedulers.New(schedulers.Config{Book: d, Send: d.send, Logger: log, Limiter: limiter,
		Gate: d.whenKnown, RequireDrivers: secure.AuthenticateFrameworks})
	d.agents = agents.New(d, d.send, log)
	d.agents.Guard(d.whenKnown, secure.AuthenticateAgents)
	d.operators = newOperators(d)
	d.declareMetrics()
	wires := libprocess.Config{
		Listener: cfg.Listener, Listen: cfg.Listen, Advertise: cfg.Advertise,
		HTTP: d.routes(), Delegate: "master", Logger: log, RequirePeerIP: secure.RequirePeerIP,
		TLS: secure.TLS.Server(), DialTLS: secure.TLS.Client, Downgrade: secure.TLS.Downgrade(),
	}
	if secure.Scheduler == nil && secure.Firewall == nil && limiter == nil {
		wires.NewLane = d.schedulers.NewLane
	}
	t, err := libprocess.New(wires)
	if err != nil {
		return nil, err
	}
	d.transport = t
	d.authenticated = d.v0()
	d.pid = t.PID("master")
	if d.cfg.Hostname == "" {
		d.cfg.Hostname = hostname(t.Addr().Addr(), cfg.HostnameLookup)
	}
	return d, nil
}

// Leading describes this master from its election to the end of its term; nil otherwise.
func (d *Door) Leading() *mesos.MasterInfo { return d.leads.Load() }

// Started is when this process began.
func (d *Door) Started() time.Time { return d.started }

// Addr is the advertised host:port.
func (d *Door) Addr() string { return d.transport.Addr().String() }

func (d *Door) send(to libprocess.UPID, m proto.Message) error { return d.transport.Send(d.pid, to, m) }

// Run serves until ctx ends or something fails that waiting cannot cure. It campaigns
// again after each term: what a term knew is rebuilt from the registry and the agents.
func (d *Door) Run(ctx context.Context) error {
	mux := libprocess.NewMux(func(peer libprocess.UPID, _ error) {
		d.authenticated.Forget(peer)
		d.agents.Exited(peer)
		d.schedulers.Exited(peer)
	})
	d.agents.Handle(mux)
	d.schedulers.Handle(mux)
	d.authenticated.Handle(mux)
	if _, err := d.transport.Spawn("master", mux); err != nil {
		return errors.Join(err, d.transport.Close())
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return d.transport.Run(ctx) })
	group.Go(func() error { return d.lead(ctx) })
	d.log.Info("master listens", "address", d.Addr(), "hostname", d.cfg.Hostname)
	err := group.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// lead opens what election and registry live on and holds one term after the other.
func (d *Door) lead(ctx context.Context) error {
	ground, err := d.ground(ctx)
	if err != nil {
		return err
	}
	defer ground.close()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return d.watchLeader(ctx, ground.detector)
	})
	group.Go(func() error {
		for {
			info := d.masterInfo(uuid.NewString())
			data, err := wire.MarshalJSON(info)
			if err != nil {
				return err
			}
			lease, err := ground.contender.Campaign(ctx, data)
			if err != nil {
				return err
			}
			err = d.runTerm(ctx, lease, ground.store, info)
			lease.Resign()
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if k := fault.KindOf(err); k == fault.Malformed || k == fault.Forbidden {
				return err // neither a registry that cannot be read nor agents that stay away get better by themselves
			}
			d.log.Warn("term ended", "master_id", info.GetId(), "reason", err)
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(restart): // a store that refuses must not be asked in a tight loop
			}
		}
	})
	return group.Wait()
}

// restart is the pause between two terms of one process.
const restart = 500 * time.Millisecond

// ground is what leadership stands on.
type ground struct {
	contender election.Contender
	detector  election.Detector
	store     store.Store
	close     func()
}

func (d *Door) ground(ctx context.Context) (*ground, error) {
	if d.cfg.ZK != nil {
		session, err := zk.Dial(ctx, *d.cfg.ZK, zk.Config{SessionTimeout: d.cfg.SessionTimeout, Logger: d.log})
		if err != nil {
			return nil, err
		}
		elect := election.NewZK(session, session.Path(), election.MasterPrefix, d.log)
		return &ground{contender: elect, detector: elect, store: store.NewZK(session, session.Path()+"/stoa"), close: session.Close}, nil
	}
	own := election.NewStatic([]byte(nil))
	var s store.Store = store.NewMemory()
	if d.cfg.WorkDir != "" {
		file, err := store.OpenFile(filepath.Join(d.cfg.WorkDir, "master", "registry.db"))
		if err != nil {
			return nil, err
		}
		s = file
	}
	return &ground{contender: own, detector: own, store: s, close: func() {
		if err := s.Close(); err != nil {
			d.log.Warn("registry file not closed", "error", err)
		}
	}}, nil
}

// watchLeader keeps what redirects point to. The error says that this master must not
// stand by for that leader.
func (d *Door) watchLeader(ctx context.Context, detector election.Detector) error {
	for l := range detector.Watch(ctx) {
		if l.Data == nil {
			d.known.Store(nil)
			continue
		}
		m, err := election.ParseMaster(l.Data)
		if err != nil {
			d.log.Warn("the leader's node cannot be read", "error", err)
			d.known.Store(nil)
			continue
		}
		d.known.Store(&m)
		if err := d.sameRegion(l.Data); err != nil {
			return err
		}
	}
	d.known.Store(nil)
	return nil
}

// sameRegion refuses to stand by for a leader in another region: agents and frameworks
// would be remote after the next change (mesos-master.md 7.2 and 11.4). A master without
// domain does not say where it is.
func (d *Door) sameRegion(leader []byte) error {
	info := &mesos.MasterInfo{}
	own := d.cfg.Domain.GetFaultDomain().GetRegion().GetName()
	if err := wire.UnmarshalJSON(leader, info); err != nil || own == "" || info.Domain == nil {
		return nil // what cannot be read was said already
	}
	if theirs := info.GetDomain().GetFaultDomain().GetRegion().GetName(); theirs != own {
		return fault.New("master", fault.Forbidden, "--domain", fmt.Errorf(
			"this master is in region %q and the leader at %s in region %q: all masters have to be in one region", own, info.GetPid(), theirs))
	}
	return nil
}

// masterInfo describes this process for one term (mesos-master.md 7.1); agents that change
// at a restart need AGENT_UPDATE.
func (d *Door) masterInfo(id string) *mesos.MasterInfo {
	addr := d.transport.Addr()
	ip := addr.Addr().String()
	port := int32(addr.Port())
	return &mesos.MasterInfo{
		Id: &id, Ip: proto.Uint32(libprocess.IPToUint32(addr.Addr())), Port: proto.Uint32(uint32(addr.Port())),
		Pid: proto.String(d.pid.String()), Hostname: proto.String(d.cfg.Hostname), Version: proto.String(MesosVersion),
		Address: &mesos.Address{Hostname: proto.String(d.cfg.Hostname), Ip: &ip, Port: &port},
		Capabilities: []*mesos.MasterInfo_Capability{
			{Type: mesos.MasterInfo_Capability_AGENT_UPDATE.Enum()},
			{Type: mesos.MasterInfo_Capability_AGENT_DRAINING.Enum()},
			{Type: mesos.MasterInfo_Capability_QUOTA_V2.Enum()},
		},
		Domain: d.cfg.Domain,
	}
}

// errNotLeading answers events that come while this master does not lead.
var errNotLeading = fault.New("master", fault.Unavailable, "leadership", fmt.Errorf("this master does not lead"))
