package tlsport

import (
	"crypto/tls"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// hello is the first byte of every TLS connection and of no HTTP request.
const hello = 0x16

// Listen puts TLS on a listener: what is accepted is TLS, or, with the downgrade switch,
// whatever its first byte says. A nil Port gives l back.
func (p *Port) Listen(l net.Listener) net.Listener {
	if p == nil {
		return l
	}
	if !p.settings.Downgrade {
		return tls.NewListener(l, p.Server())
	}
	return &sniffing{Listener: l, config: p.Server()}
}

type sniffing struct {
	net.Listener
	config *tls.Config
}

// Accept never waits for a client: the first byte is looked at by whoever reads first.
func (l *sniffing) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &undecided{Conn: c, config: l.config}, nil
}

// undecided becomes plain or TLS with its first byte.
type undecided struct {
	net.Conn // the accepted connection
	config   *tls.Config

	deciding sync.Mutex               // held while the first byte is waited for
	use      atomic.Pointer[net.Conn] // what the connection turned out to be; nil: not known yet
}

// decide waits for the first byte.
func (c *undecided) decide() (net.Conn, error) {
	if use := c.use.Load(); use != nil {
		return *use, nil
	}
	c.deciding.Lock()
	defer c.deciding.Unlock()
	if use := c.use.Load(); use != nil {
		return *use, nil
	}
	var first [1]byte
	if _, err := io.ReadFull(c.Conn, first[:]); err != nil {
		return nil, err
	}
	var use net.Conn = &begun{Conn: c.Conn, first: first[:]}
	if first[0] == hello {
		use = tls.Server(use, c.config)
	}
	c.use.Store(&use)
	return use, nil
}

// Read reads what the client sent, without TLS.
func (c *undecided) Read(b []byte) (int, error) {
	use, err := c.decide()
	if err != nil {
		return 0, err
	}
	return use.Read(b)
}

// Write sends to the client, in the form of its first byte.
func (c *undecided) Write(b []byte) (int, error) {
	use, err := c.decide()
	if err != nil {
		return 0, err
	}
	return use.Write(b)
}

// Close ends TLS politely where there is any, and never waits for the client.
func (c *undecided) Close() error {
	if use := c.use.Load(); use != nil {
		return (*use).Close()
	}
	return c.Conn.Close()
}

// begun gives the byte that was looked at back.
type begun struct {
	net.Conn
	first []byte
}

// Read gives the first byte, then the rest.
func (c *begun) Read(b []byte) (int, error) {
	if len(c.first) > 0 && len(b) > 0 {
		n := copy(b, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}
