package framework

import (
	"net"
	"net/http"
	"strconv"

	"github.com/stoa-project/stoa/framework/rest"
	"github.com/stoa-project/stoa/internal/tlsport"
)

// api builds the REST API on this process' state.
func (f *Framework) api() http.Handler {
	c := f.cfg
	host, portText, _ := net.SplitHostPort(f.self)
	port, _ := strconv.Atoi(portText)
	return rest.New(rest.Config{
		Core: f, Leadership: f, Events: f.feed, Drains: f, Metrics: f.metrics, NoPrometheus: c.NoPrometheus, Traffic: f.traffic, Log: f.log,
		Self: f.self, Rules: c.rules(), Ports: c.Ports, Origins: c.Origins,
		Auth: c.authenticator(), MaxRequests: c.MaxRequests, NoCompression: c.NoCompression, Assets: c.Assets,
		ConnectTimeout: c.ProxyConnect, ReadTimeout: c.ProxyRead, LeaderConns: c.ProxyConns, PeerTLS: f.peerTLS(),
		Info: rest.Info{
			Name: c.Name, Version: "1.10.26", BuildRef: c.Version,
			Marathon: func() map[string]any { return f.marathonConfig(host) }, ZooKeeper: f.zookeeperConfig(),
			HTTP: f.ports(port),
		},
	})
}

// peerTLS is how other frameworks are spoken to; nil: in plain text.
func (f *Framework) peerTLS() *tlsport.Port {
	if f.cfg.NoHTTP {
		return f.cfg.TLS
	}
	return nil
}

// ports is what /v2/info tells of the addresses; null stands for one that is off.
func (f *Framework) ports(known int) map[string]any {
	switch {
	case f.cfg.TLS == nil:
		return map[string]any{"http_port": known, "https_port": nil}
	case f.cfg.NoHTTP:
		return map[string]any{"http_port": nil, "https_port": known}
	}
	return map[string]any{"http_port": known, "https_port": f.cfg.HTTPSPort}
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}
