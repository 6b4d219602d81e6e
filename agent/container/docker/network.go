package docker

import (
	"net/netip"

	dc "github.com/moby/moby/api/types/container"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// networksOf gives the networks that a running container has for itself, nil when it has
// none: DNS makes its records from this (mesos-agent.md 7.5, 14.1 item 3).
func networksOf(c *dc.InspectResponse) []*mesos.NetworkInfo {
	if c.NetworkSettings == nil || c.HostConfig == nil || c.HostConfig.NetworkMode.IsHost() {
		return nil
	}
	mode := string(c.HostConfig.NetworkMode)
	if mode == "" || mode == "default" {
		mode = "bridge"
	}
	end := c.NetworkSettings.Networks[mode]
	if end == nil { // named by its id
		for _, e := range c.NetworkSettings.Networks {
			if e != nil && (e.NetworkID == mode || len(c.NetworkSettings.Networks) == 1) {
				end = e
			}
		}
	}
	if end == nil {
		return nil
	}
	out := &mesos.NetworkInfo{}
	put := func(ip netip.Addr, kind mesos.NetworkInfo_Protocol) {
		if ip.IsValid() && !ip.IsUnspecified() {
			out.IpAddresses = append(out.IpAddresses, &mesos.NetworkInfo_IPAddress{Protocol: kind.Enum(), IpAddress: proto.String(ip.String())})
		}
	}
	put(end.IPAddress, mesos.NetworkInfo_IPv4)
	put(end.GlobalIPv6Address, mesos.NetworkInfo_IPv6)
	if len(out.IpAddresses) == 0 {
		return nil
	}
	return []*mesos.NetworkInfo{out}
}
