package libprocess

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait; it decides nothing but when a broken test gives up.
const patience = 20 * time.Second

// recorder is a process that shows what it got.
type recorder struct {
	got   chan Message
	exits chan exited
}

type exited struct {
	peer  UPID
	cause error
}

func newRecorder() *recorder {
	return &recorder{got: make(chan Message, 100000), exits: make(chan exited, 100000)}
}

func (r *recorder) Receive(m Message)        { r.got <- m }
func (r *recorder) Exited(p UPID, err error) { r.exits <- exited{p, err} }

func next[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// eventually polls a condition that other goroutines bring about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// start runs a transport on a free loopback port until the test ends.
func start(t testing.TB, cfg Config) *Transport {
	t.Helper()
	if !cfg.Listen.IsValid() && cfg.Listener == nil {
		cfg.Listen = netip.MustParseAddrPort("127.0.0.1:0")
	}
	tr, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tr.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return tr
}

func spawn(t testing.TB, tr *Transport, id string) *recorder {
	t.Helper()
	r := newRecorder()
	if _, err := tr.Spawn(id, r); err != nil {
		t.Fatal(err)
	}
	return r
}

// rawDial opens a plain connection that the test drives byte by byte.
func rawDial(t testing.TB, addr netip.AddrPort) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp4", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c.(*net.TCPConn)
}

// rawPeer is a listener whose accepted connections the test drives itself.
type rawPeer struct {
	ln    net.Listener
	addr  netip.AddrPort
	conns chan net.Conn
	all   []net.Conn // every accepted one, to close in the end
}

func newRawPeer(t *testing.T) *rawPeer {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &rawPeer{ln: ln, addr: ln.Addr().(*net.TCPAddr).AddrPort(), conns: make(chan net.Conn, 100)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(patience))
			p.all = append(p.all, c)
			p.conns <- c
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-done
		for _, c := range p.all {
			c.Close()
		}
	})
	return p
}

func (p *rawPeer) pid(id string) UPID { return UPID{ID: id, Addr: p.addr} }

// readRequest reads one of our own requests with net/http, an independent parser.
func readRequest(t *testing.T, br *bufio.Reader) (*http.Request, []byte) {
	t.Helper()
	r, err := http.ReadRequest(br)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r, body
}

// readAnswer reads one answer.
func readAnswer(t *testing.T, br *bufio.Reader) (*http.Response, string) {
	t.Helper()
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func wantEOF(t *testing.T, r io.Reader) {
	t.Helper()
	if b, err := io.ReadAll(r); err != nil || len(b) != 0 {
		t.Fatalf("want a clean end, got %q, %v", b, err)
	}
}

func wantExit(t *testing.T, r *recorder, peer UPID, gen uint64, cause error) {
	t.Helper()
	e := next(t, r.exits)
	if e.peer != peer || GenerationOf(e.cause) != gen || (cause != nil && !errors.Is(e.cause, cause)) {
		t.Fatalf("exited(%v, %v) generation %d, want %v, generation %d, %v", e.peer, e.cause, GenerationOf(e.cause), peer, gen, cause)
	}
}
