package agents

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/libprocess"
	"github.com/stoa-project/stoa/internal/wire/messages"
	"github.com/stoa-project/stoa/master/ledger"
)

// Gate knows which agents have shown who they are; crammd5.Server.When is one. It calls fn
// at once, or when the agent's authentication that is under way has ended.
type Gate func(agent libprocess.UPID, fn func(principal string, known bool))

// Guard has registrations wait for the agent's authentication (libprocess.md 3.13); with
// required those of agents that did not authenticate are ignored, and the agent repeats
// them (--authenticate_agents). It is called before Handle, if at all.
func (s *Shell) Guard(gate Gate, required bool) { s.gate, s.required = gate, required }

// hand gives a message to the ledger; while this master does not lead it is dropped, and
// the agent repeats it.
func (s *Shell) hand(from libprocess.UPID, m proto.Message) {
	e := ledger.AgentMessage{From: ledger.PID(from.String()), Message: m}
	switch m.(type) {
	case *messages.RegisterSlaveMessage, *messages.ReregisterSlaveMessage:
		if s.gate != nil {
			s.gate(from, func(principal string, known bool) {
				if !known && s.required {
					s.waiting.forget(from)
					s.log.Warn("registration ignored: the agent is not authenticated", "from", from)
					return
				}
				e.Principal = principal
				_ = s.book.Submit(context.Background(), e)
			})
			return
		}
	}
	_ = s.book.Submit(context.Background(), e)
}
