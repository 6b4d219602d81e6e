package libprocess

import (
	"strconv"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/fault"
)

// Send queues m for to and returns at once; nil means queued, not delivered. Local
// destinations are delivered to their mailbox without a socket. Errors: ErrNoAddress,
// ErrNoProcess, ErrQueueFull (the link was closed too), ErrMailboxFull, ErrClosed, or a
// message that does not encode. All but the last may be ignored as lost on the way.
func (t *Transport) Send(from, to UPID, m proto.Message) error {
	name, err := NameOf(m)
	if err != nil {
		return err
	}
	body, err := proto.Marshal(m)
	if err != nil {
		return fault.New("libprocess.Send", fault.Invalid, name, err)
	}
	return t.SendRaw(from, to, name, body)
}

// SendRaw is Send for encoded bytes, which the caller must not change afterwards.
func (t *Transport) SendRaw(from, to UPID, name string, body []byte) error {
	const op = "libprocess.Send"
	if !to.Valid() || !from.Valid() || !validID(name) {
		t.drop(DropNoAddress, 1, "to", to, "name", name)
		return fault.New(op, fault.Invalid, name+" to "+to.String(), ErrNoAddress)
	}
	if to.Addr == t.addr {
		return t.sendLocal(op, from, to, name, body)
	}
	var room [512]byte
	head := appendRequest(room[:0], from, to, name, len(body))
	for {
		p := t.peer(to.Addr)
		if p == nil {
			return fault.New(op, fault.Unavailable, to.String(), ErrClosed)
		}
		ok, full := p.enqueue(head, body)
		if full {
			p.overflow()
			t.drop(DropQueueFull, 1, "to", to, "name", name)
			return fault.New(op, fault.TooLarge, to.String(), ErrQueueFull)
		}
		if ok {
			t.stats.out.add(name, 1)
			return nil
		}
	}
}

func (t *Transport) sendLocal(op string, from, to UPID, name string, body []byte) error {
	b := t.process(to.ID)
	if b == nil {
		t.drop(DropNoProcess, 1, "to", to, "name", name)
		return fault.New(op, fault.NotFound, to.String(), ErrNoProcess)
	}
	t.stats.out.add(name, 1)
	if b.dec != nil && !b.dec.Accepts(name) {
		t.drop(DropUnknownName, 1, "to", to, "name", name)
		return nil
	}
	err := b.deliver(Message{From: from, To: to, Name: name, Body: append([]byte(nil), body...)})
	if err != nil {
		t.drop(dropCause(err), 1, "to", to, "name", name, "err", err)
		return fault.New(op, fault.Unavailable, to.String(), err)
	}
	return nil
}

// appendRequest writes the head of one message: the lines, order and case of Mesos,
// with Content-Length for a body and no length line for an empty one. (2.1)
func appendRequest(b []byte, from, to UPID, name string, length int) []byte {
	var pid [maxID + 32]byte
	sender := append(append(pid[:0], from.ID...), '@')
	sender = from.Addr.AppendTo(sender)
	b = append(b, "POST /"...)
	b = append(b, to.ID...)
	b = append(b, '/')
	b = append(b, name...)
	b = append(b, " HTTP/1.1\r\nUser-Agent: libprocess/"...)
	b = append(b, sender...)
	b = append(b, "\r\nLibprocess-From: "...)
	b = append(b, sender...)
	b = append(b, "\r\nConnection: Keep-Alive\r\nHost: "...)
	b = to.Addr.AppendTo(b)
	if length > 0 {
		b = append(b, "\r\nContent-Length: "...)
		b = strconv.AppendInt(b, int64(length), 10)
	}
	return append(b, "\r\n\r\n"...)
}
