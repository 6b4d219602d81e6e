package libprocess

import (
	"runtime"
	"sync/atomic"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire/messages"
)

// counter is a process that counts and says when it has seen enough.
type counter struct {
	left atomic.Int64
	done chan struct{}
}

func (c *counter) Receive(Message) {
	if c.left.Add(-1) == 0 {
		close(c.done)
	}
}
func (c *counter) Exited(UPID, error) {}

// BenchmarkLink measures messages through one connection on loopback, both ends here,
// from Send to Receive.
func BenchmarkLink(b *testing.B) {
	for _, size := range []struct {
		name string
		n    int
	}{{"ping", 2}, {"update-500B", 500}, {"register-100KiB", 100 << 10}} {
		b.Run(size.name, func(b *testing.B) {
			from, to := start(b, Config{QueueBytes: 1 << 30}), start(b, Config{MailboxBytes: 1 << 30})
			c := &counter{done: make(chan struct{})}
			c.left.Store(int64(b.N))
			if _, err := to.Spawn("master", c); err != nil {
				b.Fatal(err)
			}
			me, master, body := from.PID("s"), to.PID("master"), make([]byte, size.n)
			b.SetBytes(int64(size.n))
			b.ReportAllocs()
			for range b.N {
				for from.stats.queueBytes.Load() > 64<<20 {
					runtime.Gosched()
				}
				if err := from.SendRaw(me, master, "mesos.internal.X", body); err != nil {
					b.Fatal(err)
				}
			}
			<-c.done
		})
	}
}

// BenchmarkPingPong measures the round trip that masters make to every agent.
func BenchmarkPingPong(b *testing.B) {
	from, to := start(b, Config{}), start(b, Config{})
	agent, master, pongs := NewMux(nil), NewMux(nil), make(chan struct{}, 1)
	Handle(agent, "mesos.internal.PingSlaveMessage", func(peer UPID, _ *messages.PingSlaveMessage) {
		_ = to.Send(to.PID("slave(1)"), peer, &messages.PongSlaveMessage{})
	})
	Handle(master, "mesos.internal.PongSlaveMessage", func(UPID, *messages.PongSlaveMessage) { pongs <- struct{}{} })
	if _, err := to.Spawn("slave(1)", agent); err != nil {
		b.Fatal(err)
	}
	if _, err := from.Spawn("master", master); err != nil {
		b.Fatal(err)
	}
	ping := &messages.PingSlaveMessage{Connected: proto.Bool(true)}
	b.ReportAllocs()
	for b.Loop() {
		if err := from.Send(from.PID("master"), to.PID("slave(1)"), ping); err != nil {
			b.Fatal(err)
		}
		<-pongs
	}
}
