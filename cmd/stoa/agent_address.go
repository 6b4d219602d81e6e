package main

import (
	"fmt"
	"net/netip"

	"github.com/stoa-project/stoa/internal/fault"
)

// agentAddress are the flags of an agent's addresses beside --ip (mesos-agent.md 11, 13).
type agentAddress struct {
	Discovery  string `name:"ip_discovery_command" env:"MESOS_IP_DISCOVERY_COMMAND" help:"Shell command that prints the address to listen on; not together with --ip."`
	IP6        string `name:"ip6" env:"MESOS_IP6,LIBPROCESS_IP6" help:"IPv6 address of this host, told with that of IPv4 as the address of tasks in its network. Nothing listens on it."`
	Discovery6 string `name:"ip6_discovery_command" env:"MESOS_IP6_DISCOVERY_COMMAND" help:"Shell command that prints it; not together with --ip6."`
}

// addresses gives what --ip and --ip6, or their commands, say.
func (c *agentAddress) addresses(ip string) (four, six string, err error) {
	if four, err = discovered("ip", ip, c.Discovery); err != nil {
		return "", "", err
	}
	if six, err = discovered("ip6", c.IP6, c.Discovery6); err != nil || six == "" {
		return four, "", err
	}
	if a, err := netip.ParseAddr(six); err != nil || !a.Is6() || a.Is4In6() {
		return "", "", fault.New("stoa agent", fault.Invalid, "--ip6", fmt.Errorf("%q is no IPv6 address", six))
	}
	return four, six, nil
}
