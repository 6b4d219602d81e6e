package libprocess

import (
	"errors"
	"net"
	"time"

	"github.com/stoa-project/stoa/internal/fault"
)

// sweepEvery is how often idle outbound connections are looked for.
const sweepEvery = time.Minute

// Serve accepts connections until Close; it returns nil then, or why accepting failed.
func (t *Transport) Serve() error {
	stop := make(chan struct{})
	defer close(stop)
	if !t.goRun(t.http.serve) || !t.goRun(func() { t.janitor(stop) }) {
		return nil
	}
	pause := time.Duration(0)
	for {
		nc, err := t.ln.Accept()
		switch {
		case err == nil:
			pause = 0
			t.welcome(nc)
		case t.isClosed():
			return nil
		case errors.Is(err, net.ErrClosed):
			return fault.New("libprocess.Serve", fault.Unavailable, t.addr.String(), err)
		default: // out of descriptors, or a connection that was gone again
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			if t.mayLog("accept") {
				t.log.Warn("cannot accept", "err", err, "pause", pause)
			}
			time.Sleep(pause)
		}
	}
}

func (t *Transport) isClosed() bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.closed
}

// janitor closes unused outbound connections until stop or Close.
func (t *Transport) janitor(stop <-chan struct{}) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			t.sweep(now.Add(-t.cfg.IdleClose))
		case <-stop:
			return
		}
	}
}

// welcome starts reading an accepted connection, if there is room for it.
func (t *Transport) welcome(nc net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		nc.Close()
		return
	}
	if limit := t.cfg.MaxConns; limit > 0 && t.stats.open.Load() >= int64(limit) {
		nc.Close()
		t.stats.turnedAway.Add(1)
		if t.mayLog("full") {
			t.log.Warn("a connection is turned away: too many are open", "peer", nc.RemoteAddr(), "limit", limit)
		}
		return
	}
	t.conns[nc] = struct{}{}
	t.stats.connections.Add(1)
	t.stats.open.Add(1)
	t.wg.Go(func() { t.receive(nc) })
}

// receive reads one accepted connection until it ends or moves to the http.Server.
func (t *Transport) receive(nc net.Conn) {
	handed := false
	defer func() {
		t.mu.Lock()
		delete(t.conns, nc)
		t.mu.Unlock()
		t.stats.connections.Add(-1)
		if !handed {
			nc.Close()
			t.stats.open.Add(-1)
		}
	}()
	plain, state, err := t.serverTLS(nc)
	if err != nil {
		if t.mayLog("tls") {
			t.log.Info("TLS handshake failed", "peer", nc.RemoteAddr(), "err", err)
		}
		return
	}
	c := &inbound{t: t, nc: plain, tls: state, src: source{nc: plain, timeout: t.cfg.RequestTimeout}}
	if t.cfg.NewLane != nil {
		c.lane = t.cfg.NewLane()
	}
	if tcp, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		c.peer = tcp.AddrPort()
	}
	handed = c.serve()
}
