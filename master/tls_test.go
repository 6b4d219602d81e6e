package master_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/stoa-project/stoa/internal/lab/certs"
	"github.com/stoa-project/stoa/internal/libprocess"
	"github.com/stoa-project/stoa/internal/tlsport"
	"github.com/stoa-project/stoa/internal/wire/messages"
	"github.com/stoa-project/stoa/master"
)

func tlsOf(t *testing.T, ca *certs.Authority, downgrade bool) *tlsport.Port {
	t.Helper()
	cert, key := ca.Sign("127.0.0.1", "localhost")
	p, err := tlsport.Open(tlsport.Settings{Enabled: true, CertFile: cert, KeyFile: key, CAFile: ca.File, Downgrade: downgrade,
		VerifyServer: true, VerifyIP: true, VerifyDepth: 4, Scheme: "legacy"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestTLS: HTTP, a stream and agents' messages on one TLS port; plain connections only
// with the downgrade switch (mesos-master.md 8.4).
func TestTLS(t *testing.T) {
	ca := certs.New(t)
	for _, downgrade := range []bool{false, true} {
		t.Run(fmt.Sprintf("downgrade %v", downgrade), func(t *testing.T) {
			m := startMaster(t, master.Config{Security: master.Security{TLS: tlsOf(t, ca, downgrade)}})
			client := &http.Client{Transport: tlsOf(t, ca, false).Transport(nil)}
			defer client.CloseIdleConnections()
			resp, err := client.Get("https://" + m.addr + "/master/state")
			if err != nil || resp.StatusCode != 200 {
				t.Fatal(resp, err)
			}
			readAll(t, resp)

			// A framework's stream over TLS.
			req, err := http.NewRequest("POST", "https://"+m.addr+"/api/v1/scheduler", strings.NewReader(fmt.Sprintf(subscribeJSON, "", "")))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			stream, err := client.Do(req)
			if err != nil || stream.StatusCode != 200 {
				t.Fatal(stream, err)
			}
			defer stream.Body.Close()
			if line, err := bufio.NewReader(stream.Body).ReadString('\n'); err != nil || line == "" {
				t.Errorf("first record: %q %v", line, err)
			}

			// An agent that speaks TLS in both directions.
			a := secureAgent(t, m.addr, tlsOf(t, ca, false))
			a.register()

			plain, err := http.Get("http://" + m.addr + "/health")
			if err == nil {
				readAll(t, plain)
			}
			if got := err == nil && plain.StatusCode == 200; got != downgrade {
				t.Errorf("plain request: %v %v", plain, err)
			}
			if downgrade {
				old := startAgent(t, m.addr) // plain, and reached plain
				old.register()
			} else {
				c, err := net.Dial("tcp4", m.addr)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if _, err := io.WriteString(c, "POST /master/mesos.internal.PongSlaveMessage HTTP/1.1\r\nLibprocess-From: x@127.0.0.1:1\r\n\r\n"); err != nil {
					t.Fatal(err)
				}
				answer, _ := io.ReadAll(c) // the refusal may come as a reset
				if strings.Contains(string(answer), "202") {
					t.Errorf("a plain message was taken: %q", answer)
				}
			}
		})
	}
}

// secureAgent is a simAgent with TLS.
func secureAgent(t *testing.T, addr string, p *tlsport.Port) *simAgent {
	t.Helper()
	a := startAgent(t, addr) // for its book-keeping; what follows gives it another transport
	tr, err := libprocess.New(libprocess.Config{Listen: netip.MustParseAddrPort("127.0.0.1:0"), TLS: p.Server(), DialTLS: p.Client})
	if err != nil {
		t.Fatal(err)
	}
	mux := libprocess.NewMux(nil)
	libprocess.Handle(mux, "mesos.internal.SlaveRegisteredMessage", func(_ libprocess.UPID, m *messages.SlaveRegisteredMessage) { a.seen("registered") })
	if a.pid, err = tr.Spawn("slave(1)", mux); err != nil {
		t.Fatal(err)
	}
	a.transport = tr
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tr.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	return a
}

// TestRefusedPeerIsNotDialledPlain: the downgrade switch is for peers that do not speak
// TLS, not for those whose certificate is refused.
func TestRefusedPeerIsNotDialledPlain(t *testing.T) {
	ca, stranger := certs.New(t), certs.New(t)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cert, key := stranger.Sign("127.0.0.1")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	plain := make(chan string, 10)
	handshakes := make(chan error, 10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				var first [1]byte
				if _, err := io.ReadFull(c, first[:]); err != nil {
					return
				}
				if first[0] != 0x16 {
					plain <- "plain"
					return
				}
				handshakes <- tls.Server(&prefixed{c, first[:]}, &tls.Config{Certificates: []tls.Certificate{pair}}).Handshake()
			}()
		}
	}()
	port := tlsOf(t, ca, true)
	tr, err := libprocess.New(libprocess.Config{Listen: netip.MustParseAddrPort("127.0.0.1:0"), TLS: port.Server(), DialTLS: port.Client, Downgrade: true})
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan error, 1)
	self, err := tr.Spawn("x", libprocess.NewMux(func(_ libprocess.UPID, cause error) { gone <- cause }))
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	peer := libprocess.UPID{ID: "master", Addr: netip.MustParseAddrPort(l.Addr().String())}
	tr.Link(self, peer, false)
	if err := tr.Send(self, peer, &messages.PongSlaveMessage{}); err != nil {
		t.Fatal(err)
	}
	if cause := <-gone; cause == nil {
		t.Error("the link has no reason for its end")
	}
	<-handshakes
	select {
	case <-plain:
		t.Error("after its certificate was refused the peer was dialled in plain text")
	default:
	}
}

type prefixed struct {
	net.Conn
	first []byte
}

func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.first) > 0 {
		n := copy(b, p.first)
		p.first = p.first[n:]
		return n, nil
	}
	return p.Conn.Read(b)
}
