package carry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/stoa-project/stoa/internal/fault"
)

// Kind is what a message says; the package comment has the order.
type Kind string

// The kinds.
const (
	Progress Kind = "progress"
	Ask      Kind = "ask"
	Size     Kind = "size"
	Filled   Kind = "filled"
	Used     Kind = "used"
	Done     Kind = "done"

	Have  Kind = "have"
	Skip  Kind = "skip"
	Fill  Kind = "fill"
	Write Kind = "write"
)

// Message is one packet.
type Message struct {
	Kind  Kind     `json:"kind"`
	URI   int      `json:"uri,omitempty"`   // which of Request.URIs
	Done  int64    `json:"done,omitempty"`  // Progress: bytes that are here
	Total int64    `json:"total,omitempty"` // Progress and Size: bytes that there are; -1 when unknown
	Error *Failure `json:"error,omitempty"` // Done: nil when all went well
}

// Failure is an error on its way from one process to the other.
type Failure struct {
	Op      string     `json:"op,omitempty"`
	Kind    fault.Kind `json:"kind,omitempty"`
	Subject string     `json:"subject,omitempty"`
	Text    string     `json:"text,omitempty"`
}

// Bounds of texts in a message, in bytes: a URI may have any length.
const (
	maxText    = 16 << 10
	maxSubject = 2 << 10
	maxPacket  = 160 << 10
)

// failureOf takes an error apart; nil stays nil.
func failureOf(err error) *Failure {
	if err == nil {
		return nil
	}
	f := &Failure{Kind: fault.KindOf(err)}
	if e, ok := err.(*fault.Error); ok {
		f.Op, f.Subject = e.Op, e.Subject
		if e.Err != nil {
			f.Text = e.Err.Error()
		}
	} else {
		f.Text = err.Error()
	}
	f.Op, f.Subject, f.Text = clip(f.Op, maxSubject), clip(f.Subject, maxSubject), clip(f.Text, maxText)
	return f
}

// Err puts it together again: kind and text are the same.
func (f *Failure) Err() error {
	if f == nil {
		return nil
	}
	if f.Text == "" {
		return fault.New(f.Op, f.Kind, f.Subject, nil)
	}
	return fault.New(f.Op, f.Kind, f.Subject, errors.New(f.Text))
}

func clip(text string, most int) string {
	if len(text) > most {
		return text[:most-3] + "..."
	}
	return text
}

// Conn is one end of the socket between agent and process. Send may be called by
// many goroutines, Receive by one.
type Conn struct {
	c           *net.UnixConn
	raw, rights []byte // of Receive
}

// Pair makes a socket: the agent's end, and the file that the process gets.
func Pair() (*Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "socket")
	ours, err := Open(os.NewFile(uintptr(fds[0]), "socket"))
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}

// Open takes an end over.
func Open(f *os.File) (*Conn, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("%T is no Unix socket", c)
	}
	return &Conn{c: u, raw: make([]byte, maxPacket), rights: make([]byte, unix.CmsgSpace(4*4))}, nil
}

// Send sends a message, and an open file with it when file is not nil.
func (c *Conn) Send(m Message, file *os.File) error {
	raw, err := json.Marshal(m)
	if err != nil {
		return err
	}
	var rights []byte
	if file != nil {
		rights = unix.UnixRights(int(file.Fd()))
	}
	_, _, err = c.c.WriteMsgUnix(raw, rights, nil)
	return err
}

// Receive waits for a message. file is nil when none came with it; else the caller closes it.
// io.EOF says that the other side has gone.
func (c *Conn) Receive() (m Message, file *os.File, err error) {
	n, rn, flags, _, err := c.c.ReadMsgUnix(c.raw, c.rights)
	if errors.Is(err, syscall.ECONNRESET) {
		err = io.EOF
	}
	if err != nil {
		return m, nil, err
	}
	for _, fd := range descriptors(c.rights[:rn]) {
		if file != nil {
			unix.Close(fd) // one is all that is ever meant
			continue
		}
		unix.CloseOnExec(fd)
		file = os.NewFile(uintptr(fd), "received")
	}
	switch {
	case n == 0:
		err = io.EOF
	case flags&unix.MSG_TRUNC != 0:
		err = errors.New("a message is too long")
	default:
		err = json.Unmarshal(c.raw[:n], &m)
	}
	if err != nil && file != nil {
		file.Close()
		file = nil
	}
	return m, file, err
}

func descriptors(rights []byte) (out []int) {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil
	}
	for _, m := range messages {
		if fds, err := unix.ParseUnixRights(&m); err == nil {
			out = append(out, fds...)
		}
	}
	return out
}

// Close ends the connection.
func (c *Conn) Close() error { return c.c.Close() }
