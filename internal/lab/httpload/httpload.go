// Package httpload is a client of tests that keeps asking an HTTP server and counts every
// request that fails. Test only.
package httpload

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Load asks one virtual host on and on, from connections that are kept and from ones that
// are closed, and counts every request that got no 200. It never tries twice.
type Load struct {
	requests, failed atomic.Int64
	late             atomic.Int64 // sent on a kept connection when it had rested too long already
	mu               sync.Mutex   // guards errors
	errors           []string
	stop             func()
}

// idle is how long a kept connection may rest before its end by HAProxy is no failure:
// the keep-alive timeout is one second.
const idle = 500 * time.Millisecond

// Start begins to ask; the test's end stops it.
func Start(t testing.TB, addr, host string) *Load {
	l := &Load{}
	done := make(chan struct{})
	var clients sync.WaitGroup
	for i := range 12 {
		clients.Go(func() { l.client(addr, host, i%3 != 0, done) })
	}
	l.stop = sync.OnceFunc(func() { close(done); clients.Wait() })
	t.Cleanup(l.stop)
	return l
}

func (l *Load) client(addr, host string, keep bool, done <-chan struct{}) {
	var conn net.Conn
	var in *bufio.Reader
	var last time.Time
	used := false // the connection has had an answer
	drop := func() {
		if conn != nil {
			conn.Close()
			conn = nil
		}
	}
	defer drop()
	for {
		select {
		case <-done:
			return
		default:
		}
		err := func() (err error) {
			if conn == nil {
				if conn, err = net.Dial("tcp", addr); err != nil {
					return err
				}
				in, last, used = bufio.NewReader(conn), time.Now(), false
			}
			if time.Since(last) > idle {
				drop()
				return nil
			}
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
			how := "keep-alive"
			if !keep {
				how = "close"
			}
			l.requests.Add(1)
			var sent time.Time
			before := last
			defer func() {
				// The machine may have stopped us between looking at the clock and sending: HAProxy
				// closed the connection for its rest, not for a change.
				if rest := sent.Sub(before); err != nil && used && rest > idle {
					l.late.Add(1)
					drop()
					err = nil
				} else if err != nil {
					err = fmt.Errorf("%w (kept %v, rested %v, waited %v, at %s)", err, keep && used, rest, time.Since(sent), sent.Format("15:04:05.000"))
				}
			}()
			_, err = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: %s\r\n\r\n", host, how)
			if sent = time.Now(); err != nil {
				return err
			}
			res, err := http.ReadResponse(in, nil)
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, res.Body)
			if err == nil && res.StatusCode != http.StatusOK {
				err = fmt.Errorf("%s", res.Status)
			}
			// Its rest began with the answer, which may have waited here for us to read it: all
			// that is known is that it came after the request.
			if last, used = sent, true; err == nil && (res.Close || !keep) {
				drop()
			}
			return err
		}()
		if err != nil {
			drop()
			l.failed.Add(1)
			l.mu.Lock()
			if len(l.errors) < 10 {
				l.errors = append(l.errors, err.Error())
			}
			l.mu.Unlock()
		}
	}
}

// Stop ends the asking and waits for the last answers.
func (l *Load) Stop() { l.stop() }

// Requests tells how many were sent.
func (l *Load) Requests() int64 { return l.requests.Load() }

// Check fails the test when a request has failed; log gives what to print then.
func (l *Load) Check(t testing.TB, what string, log func() string) {
	t.Helper()
	if n := l.failed.Load(); n > 0 {
		l.mu.Lock()
		defer l.mu.Unlock()
		t.Fatalf("%s: %d of %d requests failed: %q\n%s", what, n, l.requests.Load(), l.errors, log())
	}
	t.Logf("%s: %d requests, none failed, %d too late", what, l.requests.Load(), l.late.Load())
	if l.late.Load()*1000 > l.requests.Load() {
		t.Errorf("%d of %d requests were sent too late to tell", l.late.Load(), l.requests.Load())
	}
}
