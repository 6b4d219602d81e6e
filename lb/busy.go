package lb

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/stoa-project/stoa/lb/labels"
)

// busyRetry is how often ports that were in use are tried again.
const busyRetry = 2 * time.Second

// withoutBusy leaves out services whose port another process listens on: HAProxy would
// find the file valid and then fail to reload it, for all services. A port that our
// HAProxy holds already is free for it.
func (b *LB) withoutBusy(services []labels.Service) ([]labels.Service, []labels.Problem) {
	held := b.proxy.Binds()
	var problems []labels.Problem
	var at []byte
	for i := range services {
		s := &services[i]
		at = strconv.AppendInt(append(append(at[:0], s.BindAddr...), ':'), int64(s.Port), 10)
		if held[string(at)] || !busy(s.BindAddr, s.Port) {
			continue
		}
		problems = append(problems, labels.Problem{AppID: s.AppID, Index: s.Index, Reason: fmt.Sprintf("service port %d is in use by another process on this host", s.Port)})
	}
	if len(problems) == 0 {
		return services, nil
	}
	return slices.DeleteFunc(slices.Clone(services), func(s labels.Service) bool {
		return slices.ContainsFunc(problems, func(p labels.Problem) bool { return p.AppID == s.AppID && p.Index == s.Index })
	}), problems
}

// busy tells whether the address is taken. Other reasons why it cannot be bound are
// HAProxy's to tell.
func busy(addr string, port int) bool {
	if addr == "*" {
		addr = ""
	}
	l, err := net.Listen("tcp", net.JoinHostPort(addr, strconv.Itoa(port)))
	if err != nil {
		return errors.Is(err, syscall.EADDRINUSE)
	}
	l.Close()
	return false
}
