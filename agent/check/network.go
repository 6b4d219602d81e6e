package check

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// dialer connects from the network namespace that a file names, from this process's own
// when there is none.
func dialer(namespace string) func(ctx context.Context, network, address string) (net.Conn, error) {
	plain := &net.Dialer{}
	if namespace == "" {
		return plain.DialContext
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		if net.ParseIP(host) == nil { // a redirect: names are looked up here, before
			ips, err := net.DefaultResolver.LookupHost(ctx, host)
			if err != nil {
				return nil, err
			}
			address = net.JoinHostPort(ips[0], port)
		}
		return within(namespace, func() (net.Conn, error) { return plain.DialContext(ctx, network, address) })
	}
}

// within calls f on a thread that is in a network namespace. A socket belongs for good to
// the namespace that it was made in.
func within(namespace string, f func() (net.Conn, error)) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() { // ends with f
		runtime.LockOSThread()
		own, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			runtime.UnlockOSThread()
			done <- result{nil, err}
			return
		}
		defer own.Close()
		if err := enter(namespace); err != nil {
			runtime.UnlockOSThread()
			done <- result{nil, fmt.Errorf("network namespace of the container: %w", err)}
			return
		}
		conn, err := f()
		// A thread that cannot go back stays locked, and ends with this goroutine.
		if unix.Setns(int(own.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		done <- result{conn, err}
	}()
	r := <-done
	return r.conn, r.err
}

func enter(namespace string) error {
	f, err := os.Open(namespace)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
}

// dial gives the dialer for a target; an error says that its network is not there now.
func (t Target) dial() (func(ctx context.Context, network, address string) (net.Conn, error), error) {
	if t.Network == nil {
		return dialer(""), nil
	}
	namespace, err := t.Network()
	if err != nil {
		return nil, err
	}
	return dialer(namespace), nil
}

// client is the web client for a target.
func (r *runner) client(t Target) (*http.Client, error) {
	if t.Network == nil {
		return r.web, nil
	}
	dial, err := t.dial()
	if err != nil {
		return nil, err
	}
	web := newWeb()
	web.Transport.(*http.Transport).DialContext = dial
	return web, nil
}

// exec runs a command inside a container.
func (r *runner) exec(ctx context.Context, s Spec, target Target) Result {
	argv := append([]string{s.Value}, s.Args...)
	if s.Shell {
		argv = []string{"/bin/sh", "-c", s.Value}
	} else if len(s.Args) > 0 {
		argv = append([]string{s.Value}, s.Args[1:]...) // the first argument is argv[0]
	}
	code, err := target.Exec(ctx, argv, s.Env, s.User)
	switch {
	case err != nil && ctx.Err() != nil:
		return Result{Err: "killed"}
	case err != nil:
		return Result{Err: err.Error()}
	}
	out := Result{Seen: true, ExitCode: code, OK: code == 0}
	if !out.OK {
		out.Err = fmt.Sprintf("command exited with status %d", code)
	}
	return out
}
