package libprocess

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire/messages"
)

func TestSendWritesTheBytesOfMesos(t *testing.T) {
	tr, peer := start(t, Config{}), newRawPeer(t)
	from, to := tr.PID("slave(1)"), peer.pid("master")
	if err := tr.SendRaw(from, to, "mesos.internal.RegisterSlaveMessage", []byte("body")); err != nil {
		t.Fatal(err)
	}
	if err := tr.Send(from, to, &messages.PongSlaveMessage{}); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("POST /master/mesos.internal.RegisterSlaveMessage HTTP/1.1\r\n"+
		"User-Agent: libprocess/slave(1)@%[1]s\r\nLibprocess-From: slave(1)@%[1]s\r\nConnection: Keep-Alive\r\nHost: %[2]s\r\n"+
		"Content-Length: 4\r\n\r\nbody"+
		"POST /master/mesos.internal.PongSlaveMessage HTTP/1.1\r\n"+
		"User-Agent: libprocess/slave(1)@%[1]s\r\nLibprocess-From: slave(1)@%[1]s\r\nConnection: Keep-Alive\r\nHost: %[2]s\r\n\r\n",
		tr.Addr(), peer.addr)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(next(t, peer.conns), got); err != nil || string(got) != want {
		t.Errorf("got %q, %v\nwant %q", got, err, want)
	}
}

func TestSendRefusesWhatCannotTravel(t *testing.T) {
	tr := start(t, Config{})
	me, there := tr.PID("me"), UPID{"x", netip.MustParseAddrPort("127.0.0.1:1")}
	for _, c := range []struct {
		from, to UPID
		name     string
	}{
		{me, UPID{}, "n"},
		{me, UPID{"", there.Addr}, "n"},
		{me, UPID{"a\r\nb", there.Addr}, "n"},
		{me, UPID{"x", netip.MustParseAddrPort("0.0.0.0:1")}, "n"},
		{UPID{}, there, "n"},
		{me, there, "a b"},
		{me, there, ""},
	} {
		if err := tr.SendRaw(c.from, c.to, c.name, nil); !errors.Is(err, ErrNoAddress) {
			t.Errorf("%v to %v %q: %v", c.from, c.to, c.name, err)
		}
	}
	if err := tr.Send(me, there, &messages.PingSlaveMessage{}); err == nil {
		t.Error("a message without its required field was sent")
	}
	if tr.Stats().Peers != 0 {
		t.Error("something was dialled")
	}
}

func TestEverythingArrivesOverOneConnection(t *testing.T) {
	a, b := start(t, Config{}), start(t, Config{})
	master := spawn(t, b, "master")
	const count = 2000
	big := bytes.Repeat([]byte("x"), 300<<10)
	for i := range count {
		body := fmt.Appendf(nil, "%d ", i)
		if i%100 == 0 {
			body = append(body, big...)
		}
		if err := a.SendRaw(a.PID("s"), b.PID("master"), "n", body); err != nil {
			t.Fatal(err)
		}
	}
	var peer netip.AddrPort
	for i := range count {
		m := next(t, master.got)
		if !bytes.HasPrefix(m.Body, fmt.Appendf(nil, "%d ", i)) || (i%100 == 0 && !bytes.HasSuffix(m.Body, big)) {
			t.Fatalf("message %d differs", i)
		}
		if i > 0 && m.Peer != peer {
			t.Fatal("a second connection was used")
		}
		peer = m.Peer
	}
	if s := a.Stats(); s.Peers != 1 || s.Out["n"] != count {
		t.Errorf("got %+v", s)
	}
	if s := b.Stats(); s.In["n"] != count {
		t.Errorf("got %+v", s)
	}
	eventually(t, "the queue is empty", func() bool { return a.Stats().QueueBytes == 0 })
}

func TestPeerThatNeverAnswers(t *testing.T) {
	tr, peer := start(t, Config{}), newRawPeer(t)
	for i := range 500 {
		if err := tr.SendRaw(tr.PID("s"), peer.pid("m"), "n", fmt.Appendf(nil, "%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	br := bufio.NewReader(next(t, peer.conns))
	for i := range 500 {
		if _, body := readRequest(t, br); string(body) != fmt.Sprint(i) {
			t.Fatalf("message %d is %q", i, body)
		}
	}
}

func TestCloseSendsWhatIsQueued(t *testing.T) {
	tr, err := New(Config{Listen: netip.MustParseAddrPort("127.0.0.1:0")})
	if err != nil {
		t.Fatal(err)
	}
	peer := newRawPeer(t)
	const count = 2000
	for i := range count {
		if err := tr.SendRaw(tr.PID("s"), peer.pid("m"), "n", fmt.Appendf(nil, "%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	closed := make(chan error, 1)
	go func() { closed <- tr.Close() }()
	c := next(t, peer.conns)
	br := bufio.NewReader(c)
	for i := range count {
		readRequest(t, br)
		if i < 100 { // answers that nobody reads must not destroy what follows
			if _, err := io.WriteString(c, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
		}
	}
	wantEOF(t, br) // a half-close, not a reset
	c.Close()
	if err := next(t, closed); err != nil {
		t.Error(err)
	}
	if err := tr.SendRaw(tr.PID("s"), peer.pid("m"), "n", nil); !errors.Is(err, ErrClosed) {
		t.Errorf("afterwards: %v", err)
	}
}

func TestLinkRefused(t *testing.T) {
	tr, peer := start(t, Config{}), newRawPeer(t)
	me := spawn(t, tr, "me")
	peer.ln.Close()
	gen := tr.Link(tr.PID("me"), peer.pid("m"), false)
	wantExit(t, me, peer.pid("m"), gen, nil)
	if s := tr.Stats(); s.Links != 0 || s.Peers != 0 || s.Exits != 1 {
		t.Errorf("got %+v", s)
	}
	if gen := tr.Link(tr.PID("me"), UPID{}, false); gen == 0 {
		t.Error("no generation")
	} else {
		wantExit(t, me, UPID{}, gen, ErrNoAddress)
	}
}

func TestLinkEndsForEveryPidOfTheAddress(t *testing.T) {
	tr, peer := start(t, Config{}), newRawPeer(t)
	me, you := spawn(t, tr, "me"), spawn(t, tr, "you")
	tr.Link(tr.PID("me"), peer.pid("a"), false)
	c := next(t, peer.conns)
	g1 := tr.Link(tr.PID("me"), peer.pid("a"), false) // a second link replaces the first
	g2 := tr.Link(tr.PID("you"), peer.pid("b"), false)
	tr.Link(tr.PID("you"), peer.pid("c"), false)
	tr.Unlink(tr.PID("you"), peer.pid("c"))
	if s := tr.Stats(); s.Links != 2 || s.Peers != 1 {
		t.Errorf("got %+v", s)
	}
	io.WriteString(c, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
	eventually(t, "the refusal is counted", func() bool { return tr.Stats().Refused == 1 })
	c.Close()
	wantExit(t, me, peer.pid("a"), g1, ErrPeerClosed)
	wantExit(t, you, peer.pid("b"), g2, ErrPeerClosed)
	// nothing is linked any more; the next send makes a new connection
	if err := tr.SendRaw(tr.PID("me"), peer.pid("a"), "n", nil); err != nil {
		t.Fatal(err)
	}
	next(t, peer.conns).Close()
	eventually(t, "the connection is forgotten", func() bool { return tr.Stats().Peers == 0 })
	if len(me.exits)+len(you.exits) != 0 {
		t.Error("exited twice")
	}
}

func TestReconnectIsNoExit(t *testing.T) {
	tr, peer := start(t, Config{}), newRawPeer(t)
	me := spawn(t, tr, "me")
	tr.Link(tr.PID("me"), peer.pid("a"), false)
	old := next(t, peer.conns)
	if err := tr.SendRaw(tr.PID("me"), peer.pid("a"), "one", nil); err != nil {
		t.Fatal(err)
	}
	br := bufio.NewReader(old)
	readRequest(t, br)
	gen := tr.Link(tr.PID("me"), peer.pid("a"), true)
	fresh := next(t, peer.conns)
	wantEOF(t, br) // the old one is half-closed
	old.Close()
	if err := tr.SendRaw(tr.PID("me"), peer.pid("a"), "two", nil); err != nil {
		t.Fatal(err)
	}
	if r, _ := readRequest(t, bufio.NewReader(fresh)); r.URL.Path != "/a/two" {
		t.Errorf("got %s", r.URL.Path)
	}
	if len(me.exits) != 0 {
		t.Error("exited")
	}
	fresh.Close()
	wantExit(t, me, peer.pid("a"), gen, ErrPeerClosed)
}

// An exit that waits behind other work is dropped when the link was renewed meanwhile.
func TestStaleExitIsDropped(t *testing.T) {
	tr, peer := start(t, Config{}), newRawPeer(t)
	me := spawn(t, tr, "me")
	hold, entered := make(chan struct{}), make(chan struct{})
	if _, err := tr.Spawn("busy", &linker{rec: me, hold: hold, entered: entered}); err != nil {
		t.Fatal(err)
	}
	busy := tr.PID("busy")
	tr.Link(busy, peer.pid("a"), false)
	tr.Link(tr.PID("me"), peer.pid("a"), false)
	first := next(t, peer.conns)
	if err := tr.SendRaw(tr.PID("me"), busy, "n", nil); err != nil {
		t.Fatal(err)
	}
	next(t, entered)
	first.Close()
	if e := next(t, me.exits); e.peer != peer.pid("a") {
		t.Fatalf("got %v", e)
	}
	// busy still handles its message; its exit is queued behind it, with the old number
	tr.mu.RLock()
	box := tr.procs["busy"]
	tr.mu.RUnlock()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		box.mu.Lock()
		queued := slices.ContainsFunc(box.queue, func(i item) bool { return i.exit })
		box.mu.Unlock()
		if queued {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no exit was queued")
		}
	}
	gen := tr.Link(busy, peer.pid("a"), false)
	second := next(t, peer.conns)
	close(hold)
	// The turn of a message sent now comes after that of the stale exit.
	if err := tr.SendRaw(tr.PID("me"), busy, "n", nil); err != nil {
		t.Fatal(err)
	}
	next(t, entered)
	second.Close()
	wantExit(t, me, peer.pid("a"), gen, ErrPeerClosed)
}

type linker struct {
	rec           *recorder
	hold, entered chan struct{}
}

func (l *linker) Receive(Message)          { l.entered <- struct{}{}; <-l.hold }
func (l *linker) Exited(p UPID, err error) { l.rec.Exited(p, err) }

func TestQueueOverflowClosesTheLink(t *testing.T) {
	tr, peer := start(t, Config{QueueBytes: 1 << 20}), newRawPeer(t)
	me := spawn(t, tr, "me")
	gen := tr.Link(tr.PID("me"), peer.pid("a"), false)
	next(t, peer.conns) // never read from
	body := make([]byte, 100<<10)
	var err error
	for range 1000 { // far more than the kernel's buffers and ours
		if err = tr.SendRaw(tr.PID("me"), peer.pid("a"), "n", body); err != nil {
			break
		}
		if q := tr.Stats().QueueBytes; q > 1<<20 {
			t.Fatalf("%d bytes queued", q)
		}
	}
	if !errors.Is(err, ErrQueueFull) {
		t.Fatalf("got %v", err)
	}
	wantExit(t, me, peer.pid("a"), gen, ErrQueueFull)
	if s := tr.Stats(); s.QueueBytes != 0 || s.Dropped[DropQueueFull] != 1 || s.Dropped[DropLinkLost] == 0 {
		t.Errorf("got %+v", s)
	}
}

func TestIdleUnlinkedConnectionIsClosed(t *testing.T) {
	tr, peer := start(t, Config{}), newRawPeer(t)
	me := spawn(t, tr, "me")
	if err := tr.SendRaw(tr.PID("me"), peer.pid("a"), "n", nil); err != nil {
		t.Fatal(err)
	}
	c := next(t, peer.conns)
	readRequest(t, bufio.NewReader(c))
	tr.Link(tr.PID("me"), peer.pid("a"), false)
	eventually(t, "the queue is empty", func() bool { return tr.Stats().QueueBytes == 0 })
	tr.sweep(time.Now().Add(time.Hour))
	if tr.Stats().Peers != 1 {
		t.Fatal("a linked connection was closed")
	}
	tr.Unlink(tr.PID("me"), peer.pid("a"))
	tr.sweep(time.Now().Add(time.Hour))
	if tr.Stats().Peers != 0 {
		t.Fatal("still there")
	}
	wantEOF(t, c)
	c.Close()
	if len(me.exits) != 0 {
		t.Error("exited without a link")
	}
}

func TestLocalDelivery(t *testing.T) {
	tr := start(t, Config{})
	a, b := spawn(t, tr, "a"), spawn(t, tr, "b")
	if err := tr.Send(tr.PID("a"), tr.PID("b"), &messages.PingSlaveMessage{Connected: proto.Bool(true)}); err != nil {
		t.Fatal(err)
	}
	m := next(t, b.got)
	if m.From != tr.PID("a") || m.Name != "mesos.internal.PingSlaveMessage" || m.Peer.IsValid() {
		t.Errorf("got %+v", m)
	}
	gen := tr.Link(tr.PID("a"), tr.PID("b"), false)
	if s := tr.Stats(); s.Peers != 0 || s.Links != 1 {
		t.Errorf("got %+v", s)
	}
	tr.Terminate("b")
	wantExit(t, a, tr.PID("b"), gen, ErrTerminated)
	if err := tr.SendRaw(tr.PID("a"), tr.PID("b"), "n", nil); !errors.Is(err, ErrNoProcess) {
		t.Errorf("got %v", err)
	}
	gen = tr.Link(tr.PID("a"), tr.PID("b"), false)
	wantExit(t, a, tr.PID("b"), gen, ErrNoProcess)
	if _, err := tr.Spawn("a", b); err == nil {
		t.Error("an id was given twice")
	}
	if _, err := tr.Spawn("a b", b); err == nil {
		t.Error("an unusable id was taken")
	}
}

func TestMuxDecodesAndChecks(t *testing.T) {
	tr := start(t, Config{})
	mux := NewMux(nil)
	pings := make(chan UPID, 1)
	updates := make(chan Message, 1)
	Handle(mux, "mesos.internal.PingSlaveMessage", func(from UPID, m *messages.PingSlaveMessage) {
		if m.GetConnected() {
			pings <- from
		}
	})
	HandleMessage(mux, "mesos.internal.StatusUpdateMessage", func(env Message, m *messages.StatusUpdateMessage) { updates <- env })
	if _, err := tr.Spawn("slave(1)", mux); err != nil {
		t.Fatal(err)
	}
	c := start(t, Config{})
	me, to := c.PID("me"), tr.PID("slave(1)")
	if err := c.Send(me, to, &messages.PingSlaveMessage{Connected: proto.Bool(true)}); err != nil {
		t.Fatal(err)
	}
	if from := next(t, pings); from != me {
		t.Errorf("from %v", from)
	}
	// an update without its required parts is dropped, and so is what is no protobuf
	partial, _ := proto.MarshalOptions{AllowPartial: true}.Marshal(&messages.StatusUpdateMessage{Update: &messages.StatusUpdate{}})
	c.SendRaw(me, to, "mesos.internal.StatusUpdateMessage", partial)
	c.SendRaw(me, to, "mesos.internal.StatusUpdateMessage", []byte{0xff})
	eventually(t, "both are dropped", func() bool { return tr.Stats().Dropped[DropUndecodable] == 2 })
	if len(updates) != 0 {
		t.Error("an undecodable message was delivered")
	}
	if err := unmarshal(partial, new(messages.StatusUpdateMessage)); err == nil ||
		err.Error() != "decode: mesos.internal.StatusUpdateMessage: required field update.framework_id is not set" {
		t.Errorf("got %v", err)
	}
}

func TestThousandsOfProcessesOnOnePort(t *testing.T) {
	tr, sim := start(t, Config{}), start(t, Config{})
	master := spawn(t, tr, "master")
	const count = 3000
	mux := NewMux(nil)
	HandleMessage(mux, "mesos.internal.PingSlaveMessage", func(env Message, _ *messages.PingSlaveMessage) {
		_ = sim.Send(env.To, env.From, &messages.PongSlaveMessage{})
	})
	for range count {
		if _, err := sim.Spawn(sim.NextID("slave"), mux); err != nil {
			t.Fatal(err)
		}
	}
	for i := range count {
		to := sim.PID(fmt.Sprintf("slave(%d)", i+1))
		tr.Link(tr.PID("master"), to, false)
		if err := tr.Send(tr.PID("master"), to, &messages.PingSlaveMessage{Connected: proto.Bool(true)}); err != nil {
			t.Fatal(err)
		}
	}
	seen := make(map[UPID]bool)
	for range count {
		seen[next(t, master.got).From] = true
	}
	if s := tr.Stats(); len(seen) != count || s.Peers != 1 || s.Links != count {
		t.Errorf("%d pongs, %+v", len(seen), s)
	}
}

func TestRunReportsABrokenListener(t *testing.T) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tr, err := New(Config{Listener: ln})
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if err := tr.Run(context.Background()); err == nil {
		t.Error("no error")
	}
}
