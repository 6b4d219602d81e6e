package uplink

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/election"
	"github.com/stoa-project/stoa/internal/lab/patience"
	"github.com/stoa-project/stoa/internal/libprocess"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

type sent struct {
	to  libprocess.UPID
	msg proto.Message
}

// transport keeps what is sent and lets a test play the peer.
type transport struct {
	mu   sync.Mutex // guards proc and gen
	proc libprocess.Process
	gen  uint64
	out  chan sent
}

func upid(id string, port uint16) libprocess.UPID {
	return libprocess.UPID{ID: id, Addr: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)}
}

func (t *transport) Spawn(id string, p libprocess.Process) (libprocess.UPID, error) {
	t.proc = p
	return upid(id, 5051), nil
}
func (t *transport) Terminate(string) {}
func (t *transport) Send(_, to libprocess.UPID, m proto.Message) error {
	t.out <- sent{to, m}
	return nil
}
func (t *transport) Link(libprocess.UPID, libprocess.UPID, bool) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.gen++
	return t.gen
}
func (t *transport) Unlink(libprocess.UPID, libprocess.UPID) {}

func (t *transport) receive(test *testing.T, from libprocess.UPID, m proto.Message) {
	test.Helper()
	name, err := libprocess.NameOf(m)
	if err != nil {
		test.Fatal(err)
	}
	b, err := proto.Marshal(m)
	if err != nil {
		test.Fatal(err)
	}
	t.proc.Receive(libprocess.Message{From: from, To: upid("slave(1)", 5051), Name: name, Body: b})
}

// owner keeps what it is told.
type owner struct {
	mu     sync.Mutex // guards id
	id     string
	events chan lifecycle.Event
	lost   chan struct{}
	ended  chan string
}

func (o *owner) Registration(context.Context) (proto.Message, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	info := &messages.SlaveInfo{Hostname: proto.String("h")}
	if o.id == "" {
		return &messages.RegisterSlaveMessage{Slave: info}, nil
	}
	return &messages.ReregisterSlaveMessage{Slave: info}, nil
}

func (o *owner) Registered(_ context.Context, id string, _ []*messages.ReconcileTasksMessage) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if id == "refused" {
		return errors.New("no room on the disk")
	}
	o.id = id
	return nil
}
func (o *owner) Report(context.Context, string) (*messages.UpdateSlaveMessage, error) {
	return &messages.UpdateSlaveMessage{}, nil
}
func (o *owner) Lost(context.Context)                          { o.lost <- struct{}{} }
func (o *owner) Deliver(_ context.Context, ev lifecycle.Event) { o.events <- ev }
func (o *owner) Shutdown(_ context.Context, m string)          { o.ended <- m }

type leaders chan election.Leader

func (l leaders) Watch(context.Context) <-chan election.Leader { return l }

type bench struct {
	*testing.T
	tr  *transport
	own *owner
	ls  leaders
	up  *Uplink
	err chan error
}

func newBench(t *testing.T, patience time.Duration) *bench {
	t.Helper()
	b := &bench{T: t, tr: &transport{out: make(chan sent, 1000)}, ls: make(leaders, 1), err: make(chan error, 1),
		own: &owner{events: make(chan lifecycle.Event, 100), lost: make(chan struct{}, 100), ended: make(chan string, 1)}}
	up, err := New(Config{ID: "slave(1)", Detector: b.ls, Backoff: time.Millisecond, PingTimeout: patience, Version: make([]byte, 16)},
		b.tr, b.own, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	b.up = up
	ctx, cancel := context.WithCancel(context.Background())
	go func() { b.err <- up.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-up.done })
	return b
}

func (b *bench) lead(port uint16) libprocess.UPID {
	m := election.Master{PID: upid("master", port).String(), IP: "127.0.0.1", Port: int(port)}
	b.ls <- election.Leader{Data: m.JSON()}
	return upid("master", port)
}

// expect drops what is sent until a message like want comes, and gives its receiver.
func expect[T proto.Message](b *bench, want T) sent {
	b.Helper()
	for {
		select {
		case s := <-b.tr.out:
			if s.msg.ProtoReflect().Descriptor() == want.ProtoReflect().Descriptor() {
				return s
			}
		case <-time.After(patience.For(10 * time.Second)):
			b.Fatalf("no %T was sent", want)
		}
	}
}

func (b *bench) registered(master libprocess.UPID, id string) {
	b.Helper()
	b.tr.receive(b.T, master, &messages.SlaveRegisteredMessage{SlaveId: &mesos.AgentID{Value: proto.String(id)}})
	expect(b, &messages.UpdateSlaveMessage{})
	select {
	case ev := <-b.own.events:
		if ev, ok := ev.(lifecycle.Registered); !ok || ev.Agent != id {
			b.Fatalf("delivered %v", ev)
		}
	case <-time.After(patience.For(10 * time.Second)):
		b.Fatal("no registration was delivered")
	}
}

func TestRegistersUntilAnswered(t *testing.T) {
	b := newBench(t, time.Hour)
	m := b.lead(1)
	for range 3 {
		if s := expect(b, &messages.RegisterSlaveMessage{}); s.to != m {
			t.Fatalf("sent to %v", s.to)
		}
	}
	stranger := upid("master", 2)
	b.tr.receive(t, stranger, &messages.SlaveRegisteredMessage{SlaveId: &mesos.AgentID{Value: proto.String("evil")}})
	b.registered(m, "S0")
	if !b.up.Registered() {
		t.Error("not registered")
	}
	// Only the master that took the agent may give orders.
	b.tr.receive(t, stranger, &messages.ShutdownFrameworkMessage{FrameworkId: &mesos.FrameworkID{Value: proto.String("F1")}})
	b.tr.receive(t, m, &messages.ShutdownFrameworkMessage{FrameworkId: &mesos.FrameworkID{Value: proto.String("F2")}})
	if ev := <-b.own.events; ev != (lifecycle.ShutdownFramework{ID: "F2"}) {
		t.Errorf("delivered %v", ev)
	}
}

func TestRegistersAgain(t *testing.T) {
	for name, cause := range map[string]func(b *bench, m libprocess.UPID) libprocess.UPID{
		"without pings": func(_ *bench, m libprocess.UPID) libprocess.UPID { return m },
		"pinged as disconnected": func(b *bench, m libprocess.UPID) libprocess.UPID {
			b.tr.receive(b.T, m, &messages.PingSlaveMessage{Connected: proto.Bool(false)})
			return m
		},
		"pinged as disconnected by an observer": func(b *bench, m libprocess.UPID) libprocess.UPID {
			stranger := upid("slave-observer(3)", 9)
			b.tr.receive(b.T, stranger, &messages.PingSlaveMessage{Connected: proto.Bool(false)})
			b.tr.receive(b.T, m, &messages.ShutdownFrameworkMessage{FrameworkId: &mesos.FrameworkID{Value: proto.String("F")}})
			<-b.own.events // behind the ping in the queue
			if len(b.own.lost) > 0 {
				b.Error("the ping of a stranger ended the registration")
			}
			b.tr.receive(b.T, upid("slave-observer(3)", m.Addr.Port()), &messages.PingSlaveMessage{Connected: proto.Bool(false)})
			return m
		},
		"in the time that the master names": func(b *bench, m libprocess.UPID) libprocess.UPID {
			b.tr.receive(b.T, m, &messages.PingSlaveMessage{Connected: proto.Bool(false)})
			<-b.own.lost
			expect(b, &messages.ReregisterSlaveMessage{})
			b.tr.receive(b.T, m, &messages.SlaveReregisteredMessage{SlaveId: &mesos.AgentID{Value: proto.String("S0")},
				Connection: &messages.MasterSlaveConnection{TotalPingTimeoutSeconds: proto.Float64(1)}})
			expect(b, &messages.UpdateSlaveMessage{})
			return m
		},
		"when the link breaks": func(b *bench, m libprocess.UPID) libprocess.UPID {
			b.tr.proc.Exited(m, &libprocess.ExitError{Generation: b.tr.gen, Err: libprocess.ErrPeerClosed})
			return m
		},
		"with a new leader": func(b *bench, _ libprocess.UPID) libprocess.UPID { return b.lead(7) },
	} {
		t.Run(name, func(t *testing.T) {
			patience := time.Hour
			if name == "without pings" {
				patience = 20 * time.Millisecond
			}
			b := newBench(t, patience)
			m := b.lead(1)
			expect(b, &messages.RegisterSlaveMessage{})
			b.registered(m, "S0")
			to := cause(b, m)
			<-b.own.lost
			if s := expect(b, &messages.ReregisterSlaveMessage{}); s.to != to {
				t.Errorf("sent to %v, want %v", s.to, to)
			}
		})
	}
}

// libprocess.md 3.3: pings of the master's observer keep the registration, however long.
func TestPingsOfAnObserver(t *testing.T) {
	b := newBench(t, 300*time.Millisecond)
	m := b.lead(1)
	expect(b, &messages.RegisterSlaveMessage{})
	b.registered(m, "S0")
	observer := upid("slave-observer(7)", m.Addr.Port())
	for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		b.tr.receive(t, observer, &messages.PingSlaveMessage{Connected: proto.Bool(true)})
	}
	b.tr.receive(t, m, &messages.ShutdownFrameworkMessage{FrameworkId: &mesos.FrameworkID{Value: proto.String("F")}})
	select {
	case <-b.own.events: // behind the pings in the queue
	case <-b.own.lost:
		t.Error("an agent that is pinged gave its master up")
	}
}

func TestOldLinkIsNoReason(t *testing.T) {
	b := newBench(t, time.Hour)
	m := b.lead(1)
	expect(b, &messages.RegisterSlaveMessage{})
	b.registered(m, "S0")
	b.tr.mu.Lock()
	old := b.tr.gen - 1
	b.tr.mu.Unlock()
	if old == 0 { // make a renewed link: lose the first one
		b.tr.proc.Exited(m, &libprocess.ExitError{Generation: 1, Err: libprocess.ErrPeerClosed})
		<-b.own.lost
		expect(b, &messages.ReregisterSlaveMessage{})
		b.registered(m, "S0")
		old = 1
	}
	b.tr.proc.Exited(m, &libprocess.ExitError{Generation: old, Err: libprocess.ErrPeerClosed})
	b.tr.receive(t, m, &messages.ShutdownFrameworkMessage{FrameworkId: &mesos.FrameworkID{Value: proto.String("F")}})
	<-b.own.events // behind the exit in the queue
	if len(b.own.lost) > 0 || !b.up.Registered() {
		t.Error("the exit of a renewed link ended the registration")
	}
}

func TestPingsAreAnsweredAlways(t *testing.T) {
	b := newBench(t, time.Hour)
	anyone := upid("slave-observer(3)", 9)
	b.tr.receive(t, anyone, &messages.PingSlaveMessage{Connected: proto.Bool(true)})
	if s := expect(b, &messages.PongSlaveMessage{}); s.to != anyone {
		t.Errorf("pong to %v", s.to)
	}
}

func TestWrongIdEndsTheAgent(t *testing.T) {
	for name, ids := range map[string][2]string{"another id": {"S0", "S1"}, "not recorded": {"refused", ""}} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, time.Hour)
			m := b.lead(1)
			expect(b, &messages.RegisterSlaveMessage{})
			if ids[1] != "" {
				b.registered(m, ids[0])
				b.tr.receive(t, m, &messages.SlaveReregisteredMessage{SlaveId: &mesos.AgentID{Value: &ids[1]}})
			} else {
				b.tr.receive(t, m, &messages.SlaveRegisteredMessage{SlaveId: &mesos.AgentID{Value: &ids[0]}})
			}
			if err := <-b.err; err == nil {
				t.Error("it went on")
			}
		})
	}
}

func TestUpdatesCarryThePID(t *testing.T) {
	b := newBench(t, time.Hour)
	b.up.Update(&messages.StatusUpdate{}) // no master: lost
	m := b.lead(1)
	expect(b, &messages.RegisterSlaveMessage{})
	b.registered(m, "S0")
	b.up.Update(&messages.StatusUpdate{Uuid: []byte("u")})
	s := expect(b, &messages.StatusUpdateMessage{})
	if got := s.msg.(*messages.StatusUpdateMessage); got.GetPid() != "slave(1)@127.0.0.1:5051" || string(got.GetUpdate().GetUuid()) != "u" {
		t.Errorf("sent %v", got)
	}
	b.up.Message(lifecycle.ExecutorKey{Framework: "F", Executor: "x"}, "scheduler(1)@127.0.0.1:77", []byte("d"))
	if s := expect(b, &messages.ExecutorToFrameworkMessage{}); s.to != upid("scheduler(1)", 77) {
		t.Errorf("message to %v", s.to)
	}
	b.up.Message(lifecycle.ExecutorKey{Framework: "F", Executor: "x"}, "", []byte("d"))
	if s := expect(b, &messages.ExecutorToFrameworkMessage{}); s.to != m {
		t.Errorf("message to %v", s.to)
	}
}
