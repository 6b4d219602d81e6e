package crammd5

import (
	"context"
	"errors"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/auth"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/libprocess"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

// ErrRefused says that the master knows the principal not, or under another secret:
// trying again does not help.
var ErrRefused = errors.New("the master refused the credential")

// Authenticate shows the master who pid, a process of t, is. It waits for the answer or
// the end of ctx. Errors: ErrRefused, after which an agent ends; any other is worth another
// try (libprocess.md 2.8 says when).
func Authenticate(ctx context.Context, t *libprocess.Transport, master, pid libprocess.UPID, c auth.Credential) error {
	const op = "authenticate"
	result := make(chan error, 1)
	report := func(err error) {
		select {
		case result <- err:
		default:
		}
	}
	var self libprocess.UPID
	answer := func(to libprocess.UPID, m proto.Message) {
		if err := t.Send(self, to, m); err != nil {
			report(fault.New(op, fault.Unavailable, to.String(), err))
		}
	}
	var session libprocess.UPID // set by the first answer, all on one mailbox
	mux := libprocess.NewMux(func(libprocess.UPID, error) {
		report(fault.New(op, fault.Unavailable, master.String(), errors.New("the link to the master broke")))
	})
	libprocess.Handle(mux, prefix+"AuthenticationMechanismsMessage", func(from libprocess.UPID, m *messages.AuthenticationMechanismsMessage) {
		if session.Valid() || from.Addr != master.Addr {
			return
		}
		session = from
		if !slices.Contains(m.GetMechanisms(), Mechanism) {
			report(fault.New(op, fault.Unsupported, master.String(), errors.New("it does not offer "+Mechanism)))
			return
		}
		answer(session, &messages.AuthenticationStartMessage{Mechanism: proto.String(Mechanism), Data: []byte{}})
	})
	libprocess.Handle(mux, prefix+"AuthenticationStepMessage", func(from libprocess.UPID, m *messages.AuthenticationStepMessage) {
		if from == session {
			answer(session, &messages.AuthenticationStepMessage{Data: response(c.Principal, c.Secret, m.GetData())})
		}
	})
	libprocess.Handle(mux, prefix+"AuthenticationCompletedMessage", func(from libprocess.UPID, _ *messages.AuthenticationCompletedMessage) {
		if from == session {
			report(nil)
		}
	})
	libprocess.Handle(mux, prefix+"AuthenticationFailedMessage", func(from libprocess.UPID, _ *messages.AuthenticationFailedMessage) {
		if from == session {
			report(fault.New(op, fault.Unauthenticated, c.Principal, ErrRefused))
		}
	})
	libprocess.Handle(mux, prefix+"AuthenticationErrorMessage", func(from libprocess.UPID, m *messages.AuthenticationErrorMessage) {
		if from.Addr == master.Addr {
			report(fault.New(op, fault.Unavailable, master.String(), errors.New(m.GetError())))
		}
	})
	id := t.NextID("crammd5-authenticatee")
	self = t.PID(id)
	if _, err := t.Spawn(id, mux); err != nil {
		return fault.New(op, fault.Unavailable, id, err)
	}
	defer t.Terminate(id)
	t.Link(self, master, false)
	answer(master, &messages.AuthenticateMessage{Pid: proto.String(pid.String())})
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return fault.New(op, fault.Timeout, master.String(), ctx.Err())
	}
}
