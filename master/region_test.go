package master_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/lab/zookeeper"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/zk"
	"github.com/stoa-project/stoa/master"
)

func domain(region string) *mesos.DomainInfo {
	return &mesos.DomainInfo{FaultDomain: &mesos.DomainInfo_FaultDomain{
		Region: &mesos.DomainInfo_FaultDomain_RegionInfo{Name: proto.String(region)},
		Zone:   &mesos.DomainInfo_FaultDomain_ZoneInfo{Name: proto.String("z")}}}
}

// TestMastersOfOneRegion: a master of another region does not stand by.
func TestMastersOfOneRegion(t *testing.T) {
	ens := zookeeper.Start(t, 1)
	url, err := zk.Parse(ens.URL("mesos"))
	if err != nil {
		t.Fatal(err)
	}
	startMaster(t, master.Config{ZK: &url, Hostname: "localhost", Domain: domain("eu")})
	startStandby(t, master.Config{ZK: &url, Hostname: "localhost", Domain: domain("eu")})
	startStandby(t, master.Config{ZK: &url, Hostname: "localhost"})
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	door, err := master.New(master.Config{Listener: l, ZK: &url, Hostname: "localhost", Domain: domain("us")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- door.Run(context.Background()) }()
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), `this master is in region "us"`) || !strings.Contains(err.Error(), `in region "eu"`) {
			t.Errorf("%v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the master of another region stands by")
	}
}
