package sandbox

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
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stoa-project/stoa/internal/fault"
)

// source is an opened URI; size is -1 when unknown.
type source struct {
	body io.ReadCloser
	size int64
}

// open finds the way to a URI (mesos-agent.md 8.2).
func (r *fetchRun) open(ctx context.Context, uri string) (source, error) {
	scheme, rest, ok := strings.Cut(uri, "://")
	if !ok {
		return r.openLocal(uri)
	}
	switch strings.ToLower(scheme) {
	case "http", "https":
		return r.f.web.open(ctx, uri)
	case "file":
		rest = strings.TrimPrefix(rest, "localhost")
		if !strings.HasPrefix(rest, "/") {
			return source{}, fault.New("fetch", fault.Invalid, "uri", fmt.Errorf("a file URI needs an absolute path on this host: %q", uri))
		}
		return r.openLocal(rest)
	case "ftp", "ftps":
		return r.f.web.openFTP(ctx, uri)
	}
	return r.openHadoop(ctx, uri)
}

func (r *fetchRun) openLocal(path string) (source, error) {
	if !filepath.IsAbs(path) {
		home := r.f.cfg.FrameworksHome
		if home == "" {
			return source{}, fault.New("fetch", fault.Invalid, "uri",
				fmt.Errorf("%q is relative and the agent has no --frameworks_home", path))
		}
		path = filepath.Join(home, path)
	}
	f, err := openAs(path, r.owner)
	if err != nil {
		return source{}, fault.New("fetch", kindOf(err), path, err)
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

// openAs opens a file with the rights of a user, so that a task cannot have the agent
// read for it what it may not read itself. It is done on a thread that takes that
// user's identity for files and ends afterwards.
func openAs(path string, owner Owner) (*os.File, error) {
	const flags = os.O_RDONLY | syscall.O_NONBLOCK
	if os.Geteuid() != 0 || owner.UID == 0 {
		return os.OpenFile(path, flags, 0)
	}
	type opened struct {
		f   *os.File
		err error
	}
	done := make(chan opened, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		f, err := func() (*os.File, error) {
			// The raw call changes this thread only: no supplementary groups.
			if _, _, e := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); e != 0 {
				return nil, os.NewSyscallError("setgroups", e)
			}
			if err := unix.Setfsgid(owner.GID); err != nil {
				return nil, os.NewSyscallError("setfsgid", err)
			}
			if err := unix.Setfsuid(owner.UID); err != nil {
				return nil, os.NewSyscallError("setfsuid", err)
			}
			if now, err := unix.SetfsuidRetUid(-1); err != nil || now != owner.UID {
				return nil, fmt.Errorf("identity of user %d was not taken", owner.UID)
			}
			return os.OpenFile(path, flags, 0)
		}()
		done <- opened{f, err}
	}()
	got := <-done
	return got.f, got.err
}

// webGetter downloads over HTTP and FTP.
type webGetter struct {
	client  *http.Client
	control func(network, address string, c syscall.RawConn) error // refuses addresses
	stall   time.Duration
}

var errLinkLocal = errors.New("link-local addresses are not fetched from")

func newWeb(cfg FetchConfig) webGetter {
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
		return source{}, fault.New("fetch", kind, redact(uri), err)
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		cancel(nil)
		kind := fault.Unavailable
		if resp.StatusCode/100 == 4 {
			kind = fault.NotFound
		}
		return source{}, fault.New("fetch", kind, redact(uri), fmt.Errorf("Unexpected HTTP response code: %d", resp.StatusCode))
	}
	body := &stallReader{body: resp.Body, stall: w.stall, cancel: cancel, uri: redact(uri), ctx: ctx}
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
