// Package traffic counts what the network of a container has carried (mesos-agent.md 12.2,
// net_…): it asks the kernel for the interfaces of a network namespace, as getifaddrs does.
package traffic

import (
	"encoding/binary"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent/container/spaces"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Counters add up some interfaces since each of them was made.
type Counters struct {
	Interfaces         int // how many were counted
	RxBytes, TxBytes   uint64
	RxPackets          uint64
	TxPackets          uint64
	RxErrors, TxErrors uint64
	RxDropped          uint64
	TxDropped          uint64
}

// Read counts in the network namespace that a file names. counts tells which interfaces, by
// name. It starts no process: a thread enters the namespace, asks, and ends.
func Read(namespace string, counts func(name string) bool) (c Counters, err error) {
	f, err := os.Open(namespace)
	if err != nil {
		return c, err
	}
	defer f.Close()
	spaces.OnThread(func() {
		if err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
			err = fmt.Errorf("setns %s: %w", namespace, err)
			return
		}
		var raw []byte
		if raw, err = readLinks(); err == nil {
			c, err = parse(raw, counts)
		}
	})
	return c, err
}

// readLinks asks about the interfaces of the calling thread's namespace.
func readLinks() ([]byte, error) {
	raw, err := syscall.NetlinkRIB(syscall.RTM_GETLINK, syscall.AF_UNSPEC)
	return raw, os.NewSyscallError("netlink", err)
}

// In struct rtnl_link_stats64 of linux/if_link.h, all fields are 64 bits.
const (
	rxPackets = iota
	txPackets
	rxBytes
	txBytes
	rxErrors
	txErrors
	rxDropped
	txDropped
	used // fields of it
)

// parse adds up the answer to RTM_GETLINK.
func parse(raw []byte, counts func(string) bool) (c Counters, err error) {
	all, err := syscall.ParseNetlinkMessage(raw)
	if err != nil {
		return c, os.NewSyscallError("netlink", err)
	}
	for _, m := range all {
		if m.Header.Type != syscall.RTM_NEWLINK {
			continue
		}
		attrs, err := syscall.ParseNetlinkRouteAttr(&m)
		if err != nil {
			return c, os.NewSyscallError("netlink", err)
		}
		name, stats := "", []byte(nil)
		for _, a := range attrs {
			switch a.Attr.Type {
			case unix.IFLA_IFNAME:
				name = unix.ByteSliceToString(a.Value)
			case unix.IFLA_STATS64:
				stats = a.Value
			}
		}
		if len(stats) < 8*used || !counts(name) {
			continue
		}
		at := func(field int) uint64 { return binary.NativeEndian.Uint64(stats[8*field:]) }
		c.Interfaces++
		c.RxPackets, c.TxPackets = c.RxPackets+at(rxPackets), c.TxPackets+at(txPackets)
		c.RxBytes, c.TxBytes = c.RxBytes+at(rxBytes), c.TxBytes+at(txBytes)
		c.RxErrors, c.TxErrors = c.RxErrors+at(rxErrors), c.TxErrors+at(txErrors)
		c.RxDropped, c.TxDropped = c.RxDropped+at(rxDropped), c.TxDropped+at(txDropped)
	}
	return c, nil
}

// Fill puts the figures where operators look for them; none when no interface was counted.
func (c Counters) Fill(s *mesos.ResourceStatistics) {
	if c.Interfaces == 0 {
		return
	}
	s.NetRxBytes, s.NetTxBytes = proto.Uint64(c.RxBytes), proto.Uint64(c.TxBytes)
	s.NetRxPackets, s.NetTxPackets = proto.Uint64(c.RxPackets), proto.Uint64(c.TxPackets)
	s.NetRxErrors, s.NetTxErrors = proto.Uint64(c.RxErrors), proto.Uint64(c.TxErrors)
	s.NetRxDropped, s.NetTxDropped = proto.Uint64(c.RxDropped), proto.Uint64(c.TxDropped)
}
