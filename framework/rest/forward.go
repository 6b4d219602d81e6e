package rest

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
)

const viaHeader = "X-Marathon-Via"

// forwarder sends requests on to the leader (marathon.md 1.1).
type forwarder struct {
	leadership Leadership
	self       string
	wait       time.Duration
	transport  http.RoundTripper
	scheme     string // of URLs that lead to the leader
	log        *slog.Logger
}

func newForwarder(cfg Config) *forwarder {
	orDefault := func(d, def time.Duration) time.Duration {
		if d == 0 {
			return def
		}
		return d
	}
	return &forwarder{
		leadership: cfg.Leadership, self: cfg.Self, log: cfg.Log,
		wait:   orDefault(cfg.LeaderWait, 2500*time.Millisecond),
		scheme: cfg.PeerTLS.Scheme(),
		transport: cfg.PeerTLS.Transport(&http.Transport{
			DialContext:           (&net.Dialer{Timeout: orDefault(cfg.ConnectTimeout, 5*time.Second)}).DialContext,
			ResponseHeaderTimeout: orDefault(cfg.ReadTimeout, 10*time.Second),
			MaxConnsPerHost:       cmp.Or(cfg.LeaderConns, 64),
			MaxIdleConnsPerHost:   16,
			IdleConnTimeout:       30 * time.Second,
			DisableCompression:    true,
		}),
	}
}

// leaderOnly lets the leader answer: here when this process leads, else by forwarding.
func (f *forwarder) leaderOnly(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		leader, self := f.find(c.Request().Context())
		if self {
			h := c.Response().Header()
			h.Set("X-Marathon-Leader", f.scheme+"://"+leader)
			h.Set("X-Frame-Options", "DENY")
			h.Set("X-XSS-Protection", "1; mode=block")
			return next(c)
		}
		if leader == "" {
			return echo.NewHTTPError(http.StatusBadGateway, "Could not determine the current leader")
		}
		r := c.Request()
		if strings.HasPrefix(r.URL.Path, "/v2/events") {
			to := url.URL{Scheme: f.scheme, Host: leader, Path: r.URL.Path, RawQuery: r.URL.RawQuery}
			return c.Redirect(http.StatusFound, to.String())
		}
		return f.forward(c, leader)
	}
}

// find looks for a leader, for a while when there is none.
func (f *forwarder) find(ctx context.Context) (leader string, self bool) {
	deadline := time.NewTimer(f.wait)
	defer deadline.Stop()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		leader, self = f.leadership.Leader()
		// This process may be elected and not yet ready; then it is not asked over the net.
		if self || leader != "" && leader != f.self {
			return leader, self
		}
		select {
		case <-ctx.Done():
			return "", false
		case <-deadline.C:
			return "", false
		case <-again.C:
		}
	}
}

func (f *forwarder) forward(c echo.Context, leader string) error {
	r := c.Request()
	if slices.ContainsFunc(r.Header.Values(viaHeader), f.passedHere) {
		return echo.NewHTTPError(http.StatusBadGateway, "Prevented proxying (and thus looping) the request to "+leader+
			": it came through this process before")
	}
	var failed error
	proxy := &httputil.ReverseProxy{
		Transport: f.transport,
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host, p.Out.Host = f.scheme, leader, leader
			p.Out.Header["X-Forwarded-For"] = p.In.Header["X-Forwarded-For"]
			p.SetXForwarded()
			p.Out.Header.Add(viaHeader, "1.1 "+f.self)
		},
		ModifyResponse: func(resp *http.Response) error {
			resp.Header.Add(viaHeader, "1.1 "+f.self)
			// The leader set these already.
			for k := range c.Response().Header() {
				if resp.Header.Get(k) != "" {
					c.Response().Header().Del(k)
				}
			}
			return nil
		},
		ErrorHandler:  func(_ http.ResponseWriter, _ *http.Request, err error) { failed = err },
		FlushInterval: -1,
		ErrorLog:      slog.NewLogLogger(f.log.Handler(), slog.LevelDebug),
	}
	proxy.ServeHTTP(c.Response(), r)
	if failed == nil || c.Response().Committed {
		return nil
	}
	f.log.Warn("request not forwarded", "leader", leader, "err", failed)
	var netErr *net.OpError
	var timeout net.Error
	if errors.As(failed, &netErr) && netErr.Op == "dial" || errors.As(failed, &timeout) && timeout.Timeout() {
		return echo.NewHTTPError(http.StatusBadGateway, "the leader "+leader+" cannot be reached: "+failed.Error())
	}
	return echo.NewHTTPError(http.StatusInternalServerError, "the leader "+leader+" did not answer: "+failed.Error())
}

func (f *forwarder) passedHere(via string) bool {
	return slices.ContainsFunc(strings.Split(via, ","), func(hop string) bool {
		return strings.TrimSpace(hop) == "1.1 "+f.self
	})
}
