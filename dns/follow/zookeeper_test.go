package follow

import (
	"context"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/stoa-project/stoa/dns/mastertest"
	"github.com/stoa-project/stoa/internal/election"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/lab/zookeeper"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/zk"
	"google.golang.org/protobuf/proto"
)

func TestLeaderThroughZooKeeper(t *testing.T) {
	ens := zookeeper.Start(t, 1)
	u, err := zk.Parse(ens.URL("mesos"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	join := func(m *mastertest.Master) *zk.Session {
		s, err := zk.Dial(ctx, u, zk.Config{})
		if err != nil {
			t.Fatal(err)
		}
		info, err := election.MasterAt(m.Addr())
		if err != nil {
			t.Fatal(err)
		}
		if err := s.EnsurePath(ctx, "/mesos", zk.Public); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Create(ctx, nil, "/mesos/"+election.MasterPrefix, info.JSON(), zk.EphemeralSequential, zk.Public); err != nil {
			t.Fatal(err)
		}
		return s
	}
	one, two := mastertest.Start(t), mastertest.Start(t)
	one.SetState(simple("10.0.0.1"))
	two.SetState(simple("10.0.0.2"))
	first := join(one)
	cfg := config()
	cfg.ZK = ens.URL("mesos")
	zones := run(t, cfg)
	until(t, zones, "slave.mesos.", "10.0.0.1")
	second := join(two)
	for {
		p := <-zones
		if n := p.Zone.Lookup("_master._tcp.mesos."); n != nil && len(n.SRV()) == 2 {
			break
		}
	}
	first.Close()
	until(t, zones, "slave.mesos.", "10.0.0.2")
	second.Close() // no leader: the records stay, and a master that comes back is found
	third := join(one)
	defer third.Close()
	until(t, zones, "slave.mesos.", "10.0.0.1")
}

// Masters of old register in protobuf; those that do so in JSON have precedence.
func TestOldMastersInZooKeeper(t *testing.T) {
	ens := zookeeper.Start(t, 1)
	u, err := zk.Parse(ens.URL("mesos"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	s, err := zk.Dial(ctx, u, zk.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.EnsurePath(ctx, "/mesos", zk.Public); err != nil {
		t.Fatal(err)
	}
	old, newer := mastertest.Start(t), mastertest.Start(t)
	old.SetState(simple("10.0.0.1"))
	newer.SetState(simple("10.0.0.2"))
	at := netip.MustParseAddrPort(old.Addr())
	ip := at.Addr().As4()
	info, err := proto.Marshal(&mesos.MasterInfo{
		Id: proto.String("m"), Ip: proto.Uint32(binary.LittleEndian.Uint32(ip[:])), Port: proto.Uint32(uint32(at.Port())),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(ctx, nil, "/mesos/"+oldMasterPrefix, info, zk.EphemeralSequential, zk.Public); err != nil {
		t.Fatal(err)
	}
	cfg := config()
	cfg.ZK = ens.URL("mesos")
	zones := run(t, cfg)
	until(t, zones, "slave.mesos.", "10.0.0.1")
	m, err := election.MasterAt(newer.Addr())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(ctx, nil, "/mesos/"+election.MasterPrefix, m.JSON(), zk.EphemeralSequential, zk.Public); err != nil {
		t.Fatal(err)
	}
	until(t, zones, "slave.mesos.", "10.0.0.2")
}

func TestDetectionTimeout(t *testing.T) {
	cfg := config()
	cfg.Masters = []string{"127.0.0.1:1", "127.0.0.1:2"}
	cfg.DetectionTimeout = 10 * time.Millisecond
	f, err := New(cfg, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Run(context.Background(), func(Published) {}); fault.KindOf(err) != fault.Timeout {
		t.Errorf("got %v, want timeout", err)
	}
}
