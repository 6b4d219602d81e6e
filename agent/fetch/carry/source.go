package carry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/stoa-project/stoa/internal/fault"
)

// source is an opened URI; size is -1 when unknown.
type source struct {
	body io.ReadCloser
	size int64
}

// open finds the way to a URI (mesos-agent.md 8.2).
func (r *run) open(ctx context.Context, uri string) (source, error) {
	scheme, rest, ok := strings.Cut(uri, "://")
	if !ok {
		return r.openLocal(uri)
	}
	switch strings.ToLower(scheme) {
	case "http", "https":
		return r.web.open(ctx, uri)
	case "file":
		rest = strings.TrimPrefix(rest, "localhost")
		if !strings.HasPrefix(rest, "/") {
			return source{}, fault.New("fetch", fault.Invalid, "uri", fmt.Errorf("a file URI needs an absolute path on this host: %q", uri))
		}
		return r.openLocal(rest)
	case "ftp", "ftps":
		return r.web.openFTP(ctx, uri)
	}
	return r.openHadoop(ctx, uri)
}

func (r *run) openLocal(path string) (source, error) {
	if !filepath.IsAbs(path) {
		home := r.cfg.FrameworksHome
		if home == "" {
			return source{}, fault.New("fetch", fault.Invalid, "uri",
				fmt.Errorf("%q is relative and the agent has no --frameworks_home", path))
		}
		path = filepath.Join(home, path)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return source{}, fault.New("fetch", fault.OfSystem(err), path, err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		f.Close()
		return source{}, fault.New("fetch", fault.Invalid, path, err)
	}
	return source{body: f, size: info.Size()}, nil
}

// webGetter downloads over HTTP and FTP.
type webGetter struct {
	client  *http.Client
	control func(network, address string, c syscall.RawConn) error // refuses addresses
	stall   time.Duration
}

var errLinkLocal = errors.New("link-local addresses are not fetched from")

func newWeb(cfg Limits) webGetter {
	dialer := &net.Dialer{
		Timeout: 30 * time.Second,
		// The address after resolution, also that of a redirect: the cloud's metadata
		// service must not be reachable through the agent.
		Control: func(_, address string, _ syscall.RawConn) error {
			ap, err := netip.ParseAddrPort(address)
			if err != nil {
				return err
			}
			if a := ap.Addr().Unmap(); a.IsLinkLocalUnicast() || a.IsLinkLocalMulticast() {
				return errLinkLocal
			}
			return nil
		},
	}
	return webGetter{
		stall:   cfg.StallTimeout,
		control: dialer.Control,
		client: &http.Client{
			Transport: &http.Transport{
				Proxy:                  http.ProxyFromEnvironment,
				DialContext:            dialer.DialContext,
				TLSHandshakeTimeout:    30 * time.Second,
				ResponseHeaderTimeout:  cfg.StallTimeout,
				MaxResponseHeaderBytes: 256 << 10,
				DisableCompression:     true, // an archive must arrive as it is
				DisableKeepAlives:      true,
			},
			CheckRedirect: func(req *http.Request, via []*http.Request) error {
				if len(via) > cfg.Redirects {
					return fmt.Errorf("more than %d redirects", cfg.Redirects)
				}
				if s := req.URL.Scheme; s != "http" && s != "https" {
					return fmt.Errorf("redirected to a URI of scheme %q, which is refused", s)
				}
				return nil
			},
		},
	}
}

func (w webGetter) open(ctx context.Context, uri string) (source, error) {
	if _, err := url.Parse(uri); err != nil {
		return source{}, fault.New("fetch", fault.Invalid, "uri", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, uri, nil)
	if err != nil {
		cancel(nil)
		return source{}, fault.New("fetch", fault.Invalid, "uri", err)
	}
	req.Header.Set("User-Agent", "stoa-fetcher")
	resp, err := w.client.Do(req)
	if err != nil {
		cancel(nil)
		kind := fault.Unavailable
		if os.IsTimeout(err) {
			kind = fault.Timeout
		}
		return source{}, fault.New("fetch", kind, Redact(uri), err)
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		cancel(nil)
		kind := fault.Unavailable
		if resp.StatusCode/100 == 4 {
			kind = fault.NotFound
		}
		return source{}, fault.New("fetch", kind, Redact(uri), fmt.Errorf("Unexpected HTTP response code: %d", resp.StatusCode))
	}
	body := &stallReader{body: resp.Body, stall: w.stall, cancel: cancel, uri: Redact(uri), ctx: ctx}
	body.timer = time.AfterFunc(w.stall, body.expire)
	return source{body: body, size: resp.ContentLength}, nil
}

// stallReader ends a download that does not move.
type stallReader struct {
	body   io.ReadCloser
	stall  time.Duration
	cancel context.CancelCauseFunc
	uri    string
	ctx    context.Context
	timer  *time.Timer
}

var errStalled = errors.New("stalled")

func (s *stallReader) expire() { s.cancel(errStalled) }

func (s *stallReader) Read(p []byte) (int, error) {
	n, err := s.body.Read(p)
	if n > 0 {
		s.timer.Reset(s.stall)
	}
	if err != nil && err != io.EOF {
		if errors.Is(context.Cause(s.ctx), errStalled) {
			err = fault.New("fetch", fault.Timeout, s.uri, fmt.Errorf("no byte for %v", s.stall))
		} else {
			err = fault.New("fetch", fault.Unavailable, s.uri, err)
		}
	}
	return n, err
}

func (s *stallReader) Close() error {
	s.timer.Stop()
	s.cancel(nil)
	return s.body.Close()
}
