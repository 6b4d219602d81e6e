package follow

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/stoa-project/stoa/dns/names"
	"github.com/stoa-project/stoa/internal/election"
	"github.com/stoa-project/stoa/internal/fault"
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
		for members := range election.NewZK(session, url.Path, election.MasterPrefix, log).Members(ctx) {
			var m masters
			for _, data := range members {
				one, err := election.ParseMaster(data)
				if err != nil {
					log.Warn("a master's node cannot be read", "error", err)
					continue
				}
				m.all = append(m.all, one)
			}
			if len(m.all) > 0 {
				m.leader = m.all[0]
			}
			send(ctx, out, m)
		}
	}()
	return out
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
