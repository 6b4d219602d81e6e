package check

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"syscall"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// status gives a result as a check status.
func (s Spec) status(r Result) *mesos.CheckStatusInfo {
	out := &mesos.CheckStatusInfo{}
	switch s.Kind {
	case Command:
		out.Type, out.Command = mesos.CheckInfo_COMMAND.Enum(), &mesos.CheckStatusInfo_Command{}
		if r.Seen {
			out.Command.ExitCode = proto.Int32(int32(r.ExitCode))
		}
	case HTTP:
		out.Type, out.Http = mesos.CheckInfo_HTTP.Enum(), &mesos.CheckStatusInfo_Http{}
		if r.Seen {
			out.Http.StatusCode = proto.Uint32(uint32(r.Status))
		}
	case TCP:
		out.Type, out.Tcp = mesos.CheckInfo_TCP.Enum(), &mesos.CheckStatusInfo_Tcp{}
		if r.Seen {
			out.Tcp.Succeeded = proto.Bool(r.Connected)
		}
	}
	return out
}

// probe runs one probe to its end or its timeout.
func (r *runner) probe(ctx context.Context, s Spec, target Target) Result {
	parent := ctx
	if s.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.Timeout)
		defer cancel()
	}
	began := time.Now()
	var out Result
	switch s.Kind {
	case Command:
		if target.Exec != nil {
			out = r.exec(ctx, s, target)
		} else {
			out = r.command(ctx, s, target)
		}
	case HTTP:
		out = r.http(ctx, s, target)
	case TCP:
		out = r.tcp(ctx, s, target)
	default:
		out = Result{Err: "unknown kind of check"}
	}
	out.Took = time.Since(began)
	if !out.Seen && ctx.Err() != nil && parent.Err() == nil {
		out.TimedOut = true
		out.Err = fmt.Sprintf("timed out after %v", s.Timeout)
	}
	return out
}

func (s Spec) address() string {
	host := "127.0.0.1"
	if s.IPv6 {
		host = "::1"
	}
	return net.JoinHostPort(host, strconv.Itoa(s.Port))
}

func (r *runner) tcp(ctx context.Context, s Spec, target Target) Result {
	dial, err := target.dial()
	if err != nil {
		return Result{Err: err.Error()}
	}
	c, err := dial(ctx, "tcp", s.address())
	if err == nil {
		c.Close()
		return Result{OK: true, Seen: true, Connected: true}
	}
	out := Result{Err: err.Error()}
	// An answer that says no is a result; silence is none.
	out.Seen = ctx.Err() == nil && !errors.Is(err, os.ErrDeadlineExceeded)
	return out
}

// http asks as curl would: redirects are followed, certificates are not looked at.
func (r *runner) http(ctx context.Context, s Spec, target Target) Result {
	web, err := r.client(target)
	if err != nil {
		return Result{Err: err.Error()}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Scheme+"://"+s.address()+s.Path, nil)
	if err != nil {
		return Result{Err: err.Error()}
	}
	req.Header.Set("User-Agent", "stoa-check")
	resp, err := web.Do(req)
	if err != nil {
		return Result{Err: err.Error()}
	}
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	resp.Body.Close()
	out := Result{Seen: true, Status: resp.StatusCode, OK: resp.StatusCode >= 200 && resp.StatusCode < 400}
	if !out.OK {
		out.Err = "unexpected status " + resp.Status
	}
	return out
}

// newWeb makes a client that opens a connection for each probe: a kept one would say
// nothing about whether the task still accepts.
func newWeb() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DisableKeepAlives:      true,
			TLSClientConfig:        &tls.Config{InsecureSkipVerify: true}, // the task's own name is not known (mesos-agent.md 5.2)
			MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(_ *http.Request, via []*http.Request) error {
			if len(via) >= 10 {
				return errors.New("more than 10 redirects")
			}
			return nil
		},
	}
}

// exitCode gives a shell's view of a wait status.
func exitCode(w syscall.WaitStatus) int {
	if w.Signaled() {
		return 128 + int(w.Signal())
	}
	return w.ExitStatus()
}
