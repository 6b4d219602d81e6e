// Package agents speaks with agents over libprocess (libprocess.md 3.1 to 3.11): it
// hands their messages to the ledger's owner and sends the ledger's answers. It keeps
// no state of its own but which registrations wait for an answer or have just had one.
package agents

import (
	"context"
	"log/slog"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/libprocess"
	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/messages"
	"github.com/stoa-project/stoa/master/ledger"
)

// Book is the way to the ledger's owner; the error says that this master does not lead.
type Book interface {
	Submit(context.Context, ledger.Event) error
	// Ready says whether Submit would take an event now: this master leads and has read the
	// registry.
	Ready() bool
}

// Shell of the agents' side.
type Shell struct {
	book Book
	send func(to libprocess.UPID, m proto.Message) error
	log  *slog.Logger

	gate     Gate // nil: no agent authenticates
	required bool // agents have to

	waiting waiting // registrations that the ledger has not answered yet
}

// New makes the shell; send sends as the process "master".
func New(book Book, send func(to libprocess.UPID, m proto.Message) error, log *slog.Logger) *Shell {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Shell{book: book, send: send, log: log}
}

// Handle registers the agents' messages with the process "master". Resources are
// brought to the internal form on the way in.
func (s *Shell) Handle(mux *libprocess.Mux) {
	const in = "mesos.internal."
	for _, name := range []string{in + "RegisterSlaveMessage", in + "ReregisterSlaveMessage"} {
		mux.Screen(name, func(env libprocess.Message) bool {
			return s.book.Ready() && s.waiting.begin(env.From, time.Now())
		})
	}
	pass[*messages.RegisterSlaveMessage](s, mux, in+"RegisterSlaveMessage")
	pass[*messages.ReregisterSlaveMessage](s, mux, in+"ReregisterSlaveMessage")
	pass[*messages.UnregisterSlaveMessage](s, mux, in+"UnregisterSlaveMessage")
	pass[*messages.PongSlaveMessage](s, mux, in+"PongSlaveMessage")
	pass[*messages.UpdateSlaveMessage](s, mux, in+"UpdateSlaveMessage")
	pass[*messages.UpdateOperationStatusMessage](s, mux, in+"UpdateOperationStatusMessage")
	pass[*messages.StatusUpdateMessage](s, mux, in+"StatusUpdateMessage")
	pass[*messages.ExitedExecutorMessage](s, mux, in+"ExitedExecutorMessage")
	pass[*messages.ExecutorToFrameworkMessage](s, mux, in+"ExecutorToFrameworkMessage")
}

// pass hands a message on.
func pass[T proto.Message](s *Shell, mux *libprocess.Mux, name string) {
	libprocess.Handle(mux, name, func(from libprocess.UPID, m T) {
		resource.UpgradeMessage(m)
		s.hand(from, m)
	})
}

// Exited tells the ledger that the link to an agent's address broke.
func (s *Shell) Exited(peer libprocess.UPID) {
	s.waiting.forget(peer)
	_ = s.book.Submit(context.Background(), ledger.AgentExited{PID: ledger.PID(peer.String())})
}

// Deliver carries out one ToAgent effect; what is lost on the way the protocol repeats.
func (s *Shell) Deliver(e ledger.ToAgent) {
	to, err := libprocess.Parse(string(e.PID))
	if err != nil {
		s.log.Warn("message to agent dropped", "agent", e.Agent, "error", err)
		return
	}
	switch e.Message.(type) {
	case *messages.SlaveRegisteredMessage, *messages.SlaveReregisteredMessage:
		s.waiting.answer(to, time.Now())
	case *messages.ShutdownMessage:
		s.waiting.forget(to)
	}
	if err := s.send(to, e.Message); err != nil {
		s.log.Debug("message to agent lost", "agent", e.Agent, "to", to, "error", err)
	}
}
