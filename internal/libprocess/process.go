package libprocess

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
)

// Message is one delivered message.
type Message struct {
	From UPID                 // as the sender claims; see Config.RequirePeerIP
	To   UPID                 // the local process
	Name string               // "mesos.internal.PingSlaveMessage"
	Body []byte               // protobuf bytes, owned by the receiver; nil after a Decoder
	Peer netip.AddrPort       // the TCP peer; the zero value for local delivery
	TLS  *tls.ConnectionState // nil on plain connections and local delivery
}

// Process is a local process. Its methods are called one at a time, in order of
// arrival, from its mailbox; they must not block for long and must not call
// Transport.Close. They may Send, Link, Spawn and Terminate.
type Process interface {
	// Receive takes a message addressed to this process.
	Receive(Message)
	// Exited says that a link made with Transport.Link is gone, once per link and
	// never after a newer Link to the same peer. cause is an *ExitError.
	Exited(peer UPID, cause error)
}

// Decoder is a Process that turns bytes into values before the mailbox, in the
// goroutine of the connection, so that large messages decode in parallel. [Mux] is one.
type Decoder interface {
	Process
	// Accepts says whether name has a handler; the body of others is not even buffered.
	Accepts(name string) bool
	// Decode gives the call to make from the mailbox, or why the message is dropped.
	// It runs concurrently and must not touch what the process owns.
	Decode(Message) (deliver func(), err error)
}

// ExitError is the cause given to Process.Exited.
type ExitError struct {
	// Generation is the number that the newest Link had returned when the link was
	// lost. Who queues exits behind other work compares it with the generation it
	// last got from Link and ignores a smaller one: that link was renewed since.
	Generation uint64
	Err        error
}

// Error gives the reason the connection ended.
func (e *ExitError) Error() string { return fmt.Sprintf("link %d lost: %v", e.Generation, e.Err) }

// Unwrap gives the reason the connection ended.
func (e *ExitError) Unwrap() error { return e.Err }

// GenerationOf gives the generation in an Exited cause, 0 when there is none.
func GenerationOf(cause error) uint64 {
	var e *ExitError
	if errors.As(cause, &e) {
		return e.Generation
	}
	return 0
}

// Reasons for failed sends and lost links, to be tested with errors.Is.
var (
	ErrClosed      = errors.New("the transport is closed")
	ErrQueueFull   = errors.New("the peer's queue is full")
	ErrMailboxFull = errors.New("the process's mailbox is full")
	ErrUnwanted    = errors.New("the process does not want this message now")
	ErrNoProcess   = errors.New("no such local process")
	ErrNoAddress   = errors.New("no usable UPID to send to")
	ErrPeerClosed  = errors.New("the peer closed the connection")
	ErrTerminated  = errors.New("the linked local process terminated")
)
