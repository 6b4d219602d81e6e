package libprocess

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// handover is the http.Server that gets connections which do not begin with a message,
// and the listener it gets them from.
type handover struct {
	t    *Transport
	srv  *http.Server
	ch   chan net.Conn
	done chan struct{}
	once sync.Once // closes done
}

// tlsKey finds the TLS state of a handed connection in its context.
type tlsKey struct{}

func newHandover(t *Transport) *handover {
	h := &handover{t: t, ch: make(chan net.Conn), done: make(chan struct{})}
	h.srv = &http.Server{
		Handler:           http.HandlerFunc(h.serveHTTP),
		MaxHeaderBytes:    maxHead,
		ReadHeaderTimeout: t.cfg.RequestTimeout, // of started requests; being idle has no limit
		ErrorLog:          slog.NewLogLogger(t.log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if hc, ok := c.(*handedConn); ok && hc.tls != nil {
				return context.WithValue(ctx, tlsKey{}, hc.tls)
			}
			return ctx
		},
	}
	return h
}

func (h *handover) serve() { _ = h.srv.Serve(h) }

// hand passes a connection on, or closes it when the transport closes.
func (h *handover) hand(c net.Conn) {
	select {
	case h.ch <- c:
	case <-h.done:
		c.Close()
	}
}

// close ends the server: requests under way get the given time, then their
// connections are cut.
func (h *handover) close(patience time.Duration) {
	h.once.Do(func() { close(h.done) })
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if h.srv.Shutdown(ctx) != nil {
		h.srv.Close()
	}
}

// Accept, Close and Addr make handover the server's net.Listener.
func (h *handover) Accept() (net.Conn, error) {
	select {
	case c := <-h.ch:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept.
func (h *handover) Close() error { h.once.Do(func() { close(h.done) }); return nil }

// Addr is the shared port's.
func (h *handover) Addr() net.Addr { return h.t.ln.Addr() }

// serveHTTP serves ordinary requests, and messages that follow one on a connection.
func (h *handover) serveHTTP(w http.ResponseWriter, r *http.Request) {
	if state, ok := r.Context().Value(tlsKey{}).(*tls.ConnectionState); ok && r.TLS == nil {
		r.TLS = state
	}
	_, named := r.Header["Libprocess-From"]
	if r.Method == http.MethodPost && (named || strings.HasPrefix(r.UserAgent(), agentPrefix)) {
		h.serveMessage(w, r)
		return
	}
	h.t.cfg.HTTP.ServeHTTP(w, r)
}

// serveMessage answers a message that came over the http.Server and has the
// connection closed, because net/http may lose what is pipelined behind it; the
// sender's next connection begins with a message and is read to its end.
func (h *handover) serveMessage(w http.ResponseWriter, r *http.Request) {
	t := h.t
	w.Header().Set("Connection", "close")
	in := head{message: true, target: r.URL.EscapedPath(), from: r.Header.Get("Libprocess-From"), encoding: r.Header.Get("Content-Encoding")}
	if _, named := r.Header["Libprocess-From"]; !named {
		in.from = strings.TrimPrefix(r.UserAgent(), agentPrefix)
	}
	peer, _ := netip.ParseAddrPort(r.RemoteAddr)
	v := t.judge(in, peer, Parse)
	if v.box != nil {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(t.cfg.RequestTimeout))
		body, held, err := readLimited(r.Body, r.ContentLength, t.cfg.MaxBody, &t.budget)
		switch {
		case errors.Is(err, errBodyTooLarge):
			v = refuse(http.StatusRequestEntityTooLarge, err.Error(), DropTooLarge)
		case errors.Is(err, errOverload):
			v = refuse(http.StatusServiceUnavailable, err.Error(), DropOverload)
		case err != nil:
			v = refuse(http.StatusBadRequest, errChunk.Error(), DropUndecodable)
		default:
			v.msg.Body, v.msg.Peer, v.msg.TLS = body, peer, r.TLS
			t.take(v)
			t.budget.used.Add(-held)
		}
	}
	if v.box == nil {
		t.drop(v.cause, 1, "target", clip(in.target), "from", clip(in.from))
	}
	if v.reason != "" {
		w.Header().Set("Content-Type", "text/plain")
	}
	w.WriteHeader(v.status)
	_, _ = io.WriteString(w, v.reason)
}

// readLimited reads a body that net/http has unframed; length is -1 when unknown.
func readLimited(r io.Reader, length int64, limit int, budget *budget) ([]byte, int64, error) {
	if length > int64(limit) {
		return nil, 0, errBodyTooLarge
	}
	k := keeper{keep: true, budget: budget}
	for {
		room := k.room(int64(limit-len(k.body)) + firstRead)
		if room == nil {
			return nil, 0, errOverload
		}
		n, err := r.Read(room)
		k.body = k.body[:len(k.body)+n]
		if len(k.body) > limit {
			err = errBodyTooLarge
		}
		if err == io.EOF {
			return k.body, k.held, nil
		}
		if err != nil {
			k.release()
			return nil, 0, err
		}
	}
}

// handedConn is a connection some of whose bytes were read already.
type handedConn struct {
	net.Conn
	early []byte // read by one reader at a time
	tls   *tls.ConnectionState

	once   sync.Once // calls closed
	closed func()    // nil, or to be called at Close
}

// Close tells that the connection is not open any more.
func (c *handedConn) Close() error {
	if c.closed != nil {
		c.once.Do(c.closed)
	}
	return c.Conn.Close()
}

// Read gives the early bytes first.
func (c *handedConn) Read(b []byte) (int, error) {
	if len(c.early) > 0 {
		n := copy(b, c.early)
		if c.early = c.early[n:]; len(c.early) == 0 {
			c.early = nil
		}
		return n, nil
	}
	return c.Conn.Read(b)
}

// CloseWrite half-closes where the connection below can.
func (c *handedConn) CloseWrite() error {
	if h, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return errors.ErrUnsupported
}

// ReadFrom lets files go out without passing through user space, on plain TCP.
func (c *handedConn) ReadFrom(r io.Reader) (int64, error) {
	if rf, ok := c.Conn.(io.ReaderFrom); ok {
		return rf.ReadFrom(r)
	}
	return io.Copy(struct{ io.Writer }{c.Conn}, r)
}
