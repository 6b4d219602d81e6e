package master

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// lookupWait bounds the question for the own name: a resolver that does not answer must
// not keep a master from starting.
const lookupWait = 3 * time.Second

// hostname gives the name of an address when the resolver knows one that leads back to
// it, else the address: redirects to a name that nobody can resolve help nobody.
func hostname(ip netip.Addr, ask bool) string {
	if !ask {
		return ip.String()
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookupWait)
	defer cancel()
	names, err := net.DefaultResolver.LookupAddr(ctx, ip.String())
	if err != nil {
		return ip.String()
	}
	for _, name := range names {
		name = strings.TrimSuffix(name, ".")
		back, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", name)
		if err == nil && slices.ContainsFunc(back, func(a netip.Addr) bool { return a.Unmap() == ip }) {
			return name
		}
	}
	return ip.String()
}
