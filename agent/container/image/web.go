package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/stoa-project/stoa/internal/fault"
)

// policy lets requests go where they may: http only to registries that were named so and
// to this host, and never to addresses that only this network has (cloud metadata).
type policy struct {
	plain source
	base  http.RoundTripper
}

// newWeb makes what connects to registries. The environment's proxies are used.
func newWeb(stall time.Duration) *http.Transport {
	d := &net.Dialer{Timeout: 30 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
		host, _, err := net.SplitHostPort(address)
		if ip := net.ParseIP(host); err == nil && ip != nil && (ip.IsLinkLocalUnicast() || ip.IsUnspecified()) {
			return errLinkLocal
		}
		return err
	}}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: d.DialContext, ForceAttemptHTTP2: true, TLSHandshakeTimeout: 10 * time.Second,
		ResponseHeaderTimeout: stall, IdleConnTimeout: 30 * time.Second, MaxIdleConnsPerHost: 2 * parallelLayers,
	}
}

var errLinkLocal = errors.New("refused: a link-local address is no registry")

var errPlain = errors.New("refused: http is used only with registries of this host and those named with http:// in --docker_registry or --docker_registry_mirrors")

// RoundTrip implements http.RoundTripper.
func (p *policy) RoundTrip(r *http.Request) (*http.Response, error) {
	host := r.URL.Hostname()
	ip := net.ParseIP(host)
	local := host == "localhost" || ip != nil && ip.IsLoopback()
	if r.URL.Scheme != "https" && !local && !(p.plain.plain && r.URL.Host == p.plain.host) {
		return nil, fmt.Errorf("%s://%s: %w", r.URL.Scheme, r.URL.Host, errPlain)
	}
	return p.base.RoundTrip(r)
}

// pullFault gives what a registry or the network says a kind and a cure.
func pullFault(subject string, err error) error {
	if err == nil || fault.KindOf(err) != fault.Other {
		return err
	}
	var terr *transport.Error
	var nerr net.Error
	switch {
	case errors.As(err, &terr):
		switch {
		case terr.StatusCode == http.StatusNotFound:
			return fault.New("image.pull", fault.NotFound, subject, fmt.Errorf("the registry has no such image: %w", err))
		case terr.StatusCode == http.StatusUnauthorized || terr.StatusCode == http.StatusForbidden:
			return fault.New("image.pull", fault.Forbidden, subject,
				fmt.Errorf("the registry refuses: %w; give credentials in the image's config or in --docker_config", err))
		case terr.StatusCode == http.StatusTooManyRequests || terr.StatusCode >= 500:
			return fault.New("image.pull", fault.Unavailable, subject, err)
		}
		return fault.New("image.pull", fault.Invalid, subject, err)
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, errPlain), errors.Is(err, errLinkLocal), strings.Contains(err.Error(), "SSRF protection"):
		return fault.New("image.pull", fault.Forbidden, subject, err)
	case errors.As(err, &nerr) && nerr.Timeout():
		return fault.New("image.pull", fault.Timeout, subject, err)
	case errors.As(err, &nerr), errors.Is(err, io.ErrUnexpectedEOF):
		return fault.New("image.pull", fault.Unavailable, subject, err)
	}
	return fault.New("image.pull", fault.Invalid, subject, err)
}
