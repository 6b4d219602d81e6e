package carry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"time"

	"github.com/jlaffaye/ftp"

	"github.com/stoa-project/stoa/internal/fault"
)

// openFTP downloads over FTP, passive, as the URI's user or anonymous; ftps is FTP inside of
// TLS (mesos-agent.md 8.2).
func (w webGetter) openFTP(ctx context.Context, uri string) (source, error) {
	u, err := url.Parse(uri)
	if err != nil || u.Hostname() == "" {
		return source{}, fault.New("fetch", fault.Invalid, "uri", fmt.Errorf("not a URI of an FTP server: %s", Redact(uri)))
	}
	wires := &ftpWires{ctx: ctx, stall: w.stall, dialer: net.Dialer{Timeout: 30 * time.Second, Control: w.control}}
	options := []ftp.DialOption{ftp.DialWithDialFunc(wires.dial)}
	port := "21"
	if u.Scheme == "ftps" {
		port = "990"
		wires.tls = &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
		options = append(options, ftp.DialWithTLS(wires.tls))
	}
	if u.Port() != "" {
		port = u.Port()
	}
	conn, err := ftp.Dial(net.JoinHostPort(u.Hostname(), port), options...)
	if err != nil {
		return source{}, ftpFault(uri, err)
	}
	user, password := "anonymous", "anonymous"
	if u.User != nil {
		user = u.User.Username()
		password, _ = u.User.Password()
	}
	if err := conn.Login(user, password); err != nil {
		_ = conn.Quit()
		return source{}, ftpFault(uri, err)
	}
	size, err := conn.FileSize(u.Path)
	if err != nil {
		size = -1 // not every server knows SIZE
	}
	data, err := conn.Retr(u.Path)
	if err != nil {
		_ = conn.Quit()
		return source{}, ftpFault(uri, err)
	}
	return source{body: &ftpBody{data: data, conn: conn, uri: uri}, size: size}, nil
}

func ftpFault(uri string, err error) error {
	kind := fault.Unavailable
	if errors.Is(err, os.ErrDeadlineExceeded) {
		kind, err = fault.Timeout, errStalled
	}
	return fault.New("fetch", kind, Redact(uri), err)
}

// ftpWires makes the connections of one session. A transfer's connection goes to the host
// of the session, whatever address the server names.
type ftpWires struct {
	ctx    context.Context
	dialer net.Dialer
	stall  time.Duration
	tls    *tls.Config // nil: plain
	host   string      // of the session's first connection
}

func (w *ftpWires) dial(network, address string) (net.Conn, error) {
	if w.host != "" {
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		address = net.JoinHostPort(w.host, port)
	}
	conn, err := w.dialer.DialContext(w.ctx, network, address)
	if err != nil {
		return nil, err
	}
	if w.host == "" {
		if w.host, _, err = net.SplitHostPort(conn.RemoteAddr().String()); err != nil {
			conn.Close()
			return nil, err
		}
	}
	timed := &timedConn{Conn: conn, stall: w.stall}
	timed.stop = context.AfterFunc(w.ctx, func() { _ = conn.Close() })
	if w.tls != nil {
		return tls.Client(timed, w.tls), nil
	}
	return timed, nil
}

// timedConn is a connection on which every read and write must move, and that ends with
// its fetch.
type timedConn struct {
	net.Conn
	stall time.Duration
	stop  func() bool
}

func (c *timedConn) Read(p []byte) (int, error) {
	_ = c.SetReadDeadline(time.Now().Add(c.stall))
	return c.Conn.Read(p)
}

func (c *timedConn) Write(p []byte) (int, error) {
	_ = c.SetWriteDeadline(time.Now().Add(c.stall))
	return c.Conn.Write(p)
}

func (c *timedConn) Close() error {
	c.stop()
	return c.Conn.Close()
}

// ftpBody is a transfer and the session it belongs to. What ends without code 226 was cut
// off.
type ftpBody struct {
	data *ftp.Response
	conn *ftp.ServerConn
	uri  string
	over bool
}

func (b *ftpBody) Read(p []byte) (int, error) {
	if b.over {
		return 0, io.EOF
	}
	n, err := b.data.Read(p)
	switch {
	case err == io.EOF:
		b.over = true
		if err := b.data.Close(); err != nil {
			return n, ftpFault(b.uri, err)
		}
	case err != nil:
		return n, ftpFault(b.uri, err)
	}
	return n, err
}

func (b *ftpBody) Close() error {
	if !b.over {
		// Given up: the server's word on it is not waited for.
		_ = b.data.SetDeadline(time.Unix(1, 0))
	}
	return b.conn.Quit()
}
