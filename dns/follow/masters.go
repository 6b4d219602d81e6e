package follow

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/dns/names"
	"github.com/stoa-project/stoa/internal/election"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/zk"
)

// askEvery is how often masters without ZooKeeper are asked who leads.
const askEvery = time.Second

// masters is what is known about the masters at a time.
type masters struct {
	leader election.Master // zero: none
	all    []election.Master
}

// finder makes the function that follows the masters until its context ends.
func finder(cfg Config, log *slog.Logger) (func(context.Context) <-chan masters, error) {
	if cfg.ZK != "" {
		url, err := zk.Parse(cfg.ZK)
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context) <-chan masters { return findByZK(ctx, url, log) }, nil
	}
	var all []election.Master
	for _, address := range cfg.Masters {
		m, err := election.MasterAt(address)
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	if len(all) == 0 {
		return nil, fault.New("dns", fault.Invalid, "masters", errors.New("neither zk nor masters is set"))
	}
	var detector election.Detector = election.NewStatic(all[0].JSON())
	if len(all) > 1 {
		detector = election.NewRedirect(all, askEvery, log)
	}
	return func(ctx context.Context) <-chan masters { return findByDetector(ctx, detector, all, log) }, nil
}

// findByZK takes all members of the group, leader first.
func findByZK(ctx context.Context, url zk.URL, log *slog.Logger) <-chan masters {
	out := make(chan masters, 1)
	go func() {
		defer close(out)
		session, err := zk.Dial(ctx, url, zk.Config{Logger: log})
		if err != nil {
			log.Error("ZooKeeper cannot be used", "error", err)
			return
		}
		defer session.Close()
		// Masters before Mesos 0.24 register in protobuf only; the ones after in JSON.
		now := election.NewZK(session, url.Path, election.MasterPrefix, log).Members(ctx)
		old := election.NewZK(session, url.Path, oldMasterPrefix, log).Members(ctx)
		var inJSON, inProtobuf [][]byte
		heard := [2]bool{}
		for now != nil || old != nil {
			var ok bool
			select {
			case inJSON, ok = <-now:
				if heard[0] = true; !ok {
					now = nil
				}
			case inProtobuf, ok = <-old:
				if heard[1] = true; !ok {
					old = nil
				}
			}
			if ok && heard[0] && heard[1] {
				send(ctx, out, membersOf(inJSON, inProtobuf, log))
			}
		}
	}()
	return out
}

// oldMasterPrefix is of nodes that hold a MasterInfo in protobuf.
const oldMasterPrefix = "info_"

// membersOf reads the nodes of masters, the leader's first: those in JSON, else those in
// protobuf.
func membersOf(inJSON, inProtobuf [][]byte, log *slog.Logger) masters {
	var m masters
	read := func(nodes [][]byte, parse func([]byte) (election.Master, error)) {
		for _, data := range nodes {
			one, err := parse(data)
			if err != nil {
				log.Warn("a master's node cannot be read", "error", err)
				continue
			}
			m.all = append(m.all, one)
		}
	}
	if read(inJSON, election.ParseMaster); len(m.all) == 0 {
		read(inProtobuf, oldMaster)
	}
	if len(m.all) > 0 {
		m.leader = m.all[0]
	}
	return m
}

// oldMaster reads a MasterInfo in protobuf. Its numeric ip has the octets of the address in
// the order of a little-endian number; address wins where it is present.
func oldMaster(data []byte) (election.Master, error) {
	var info mesos.MasterInfo
	if err := proto.Unmarshal(data, &info); err != nil {
		return election.Master{}, err
	}
	text, err := wire.JSON.Marshal(&info)
	if err != nil {
		return election.Master{}, err
	}
	return election.ParseMaster(text)
}

func findByDetector(ctx context.Context, d election.Detector, all []election.Master, log *slog.Logger) <-chan masters {
	out := make(chan masters, 1)
	go func() {
		defer close(out)
		for l := range d.Watch(ctx) {
			m := masters{all: all}
			if l.Data != nil {
				leader, err := election.ParseMaster(l.Data)
				if err != nil {
					log.Warn("the leader cannot be read", "error", err)
				}
				m.leader = leader
			}
			send(ctx, out, m)
		}
	}()
	return out
}

func send(ctx context.Context, out chan<- masters, m masters) {
	select {
	case out <- m:
	case <-ctx.Done():
	}
}

func endpoint(m election.Master) names.Endpoint {
	host := m.IP
	if host == "" {
		host = m.Hostname
	}
	return names.Endpoint{Host: host, Port: uint16(m.Port)} //nolint:gosec // ParseMaster checked the range
}

func endpoints(ms []election.Master) []names.Endpoint {
	out := make([]names.Endpoint, 0, len(ms))
	for _, m := range ms {
		out = append(out, endpoint(m))
	}
	return out
}
