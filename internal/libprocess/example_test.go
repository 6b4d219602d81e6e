package libprocess_test

import (
	"context"
	"fmt"
	"net/netip"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/libprocess"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

// simAgent shares one table of handlers with all others and has links of its own.
type simAgent struct {
	*libprocess.Mux
	pid libprocess.UPID
}

func (a *simAgent) Exited(peer libprocess.UPID, _ error) {
	fmt.Println(a.pid.ID, "lost", peer.ID)
}

// Two agents behind one port answer the pings of a master on another.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	run := func() (*libprocess.Transport, chan error) {
		t, err := libprocess.New(libprocess.Config{Listen: netip.MustParseAddrPort("127.0.0.1:0")})
		if err != nil {
			panic(err)
		}
		done := make(chan error, 1)
		go func() { done <- t.Run(ctx) }()
		return t, done
	}
	agents, agentsDone := run()
	masters, mastersDone := run()

	handlers := libprocess.NewMux(nil)
	libprocess.HandleMessage(handlers, "mesos.internal.PingSlaveMessage",
		func(env libprocess.Message, ping *messages.PingSlaveMessage) {
			fmt.Println(env.To.ID, "pinged by", env.From.ID, ping.GetConnected())
			_ = agents.Send(env.To, env.From, &messages.PongSlaveMessage{})
		})
	pongs := make(chan string)
	master := libprocess.NewMux(nil)
	libprocess.Handle(master, "mesos.internal.PongSlaveMessage",
		func(from libprocess.UPID, _ *messages.PongSlaveMessage) { pongs <- from.ID })
	pid, _ := masters.Spawn("master", master)

	for range 2 {
		id := agents.NextID("slave")
		agent, _ := agents.Spawn(id, &simAgent{Mux: handlers, pid: agents.PID(id)})
		masters.Link(pid, agent, false)
		_ = masters.Send(pid, agent, &messages.PingSlaveMessage{Connected: proto.Bool(true)})
		fmt.Println("pong of", <-pongs)
	}
	stop()
	fmt.Println(<-agentsDone, <-mastersDone)
	// Output:
	// slave(1) pinged by master true
	// pong of slave(1)
	// slave(2) pinged by master true
	// pong of slave(2)
	// <nil> <nil>
}
