package operators

import (
	"math"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire"
)

// encoder appends JSON text. Commas come by themselves: one is put before each key and
// element that is not the first of its object or array. The first error stays.
type encoder struct {
	b    []byte
	last byte   // what is before b, when b continues a text; 0 for nothing
	pb   []byte // scratch of embedded messages
	seen int    // of reading ahead
	err  error
}

// comma goes before what follows a value. No value ends in an opening bracket, because
// strings end in their quote.
func (e *encoder) comma() {
	last := e.last
	if n := len(e.b); n > 0 {
		last = e.b[n-1]
	}
	switch last {
	case '{', '[', ':', 0:
	default:
		e.b = append(e.b, ',')
	}
}

// key begins a member of the present object; name needs no escapes.
func (e *encoder) key(name string) {
	e.comma()
	e.b = append(e.b, '"')
	e.b = append(e.b, name...)
	e.b = append(e.b, '"', ':')
}

// open begins an object or array as a value or element; shut ends it.
func (e *encoder) open(bracket byte) {
	e.comma()
	e.b = append(e.b, bracket)
}

func (e *encoder) shut(bracket byte) { e.b = append(e.b, bracket) }

// raw appends a value that is JSON already.
func (e *encoder) raw(text string) {
	e.comma()
	e.b = append(e.b, text...)
}

// quoted appends a text value.
func (e *encoder) quoted(s string) {
	e.comma()
	e.b = wire.AppendString(e.b, s)
}

// double appends a number in the form of the Mesos JSON dialect. What JSON has no number
// for becomes 0, because readers of these endpoints expect numbers only.
func (e *encoder) double(v float64) {
	e.comma()
	e.amount(v)
}

// exact appends a number as the Mesos JSON dialect has it, quoted words included.
func (e *encoder) exact(v float64) { e.b = wire.AppendDouble(e.b, v) }

// amount is double behind a name that has its colon already.
func (e *encoder) amount(v float64) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		v = 0
	}
	e.b = wire.AppendDouble(e.b, v)
}

func (e *encoder) int(v int64) {
	e.comma()
	e.b = strconv.AppendInt(e.b, v, 10)
}

func (e *encoder) bool(v bool) {
	e.comma()
	e.b = strconv.AppendBool(e.b, v)
}

// member appends a member that is not the first of its object: name has its comma,
// quotes and colon.
func (e *encoder) member(name, v string) {
	e.b = append(e.b, name...)
	e.b = wire.AppendString(e.b, v)
}

// lit appends punctuation and names, as they are.
func (e *encoder) lit(text string) { e.b = append(e.b, text...) }

// The usual members.

func (e *encoder) str(name, v string)            { e.key(name); e.quoted(v) }
func (e *encoder) num(name string, v float64)    { e.key(name); e.double(v) }
func (e *encoder) flag(name string, v bool)      { e.key(name); e.bool(v) }
func (e *encoder) time(name string, t time.Time) { e.num(name, seconds(t)) }

// named begins a member whose name comes from outside.
func (e *encoder) named(name string) {
	e.quoted(name)
	e.b = append(e.b, ':')
}

// strings is a member with an array of texts.
func (e *encoder) strings(name string, list []string) {
	e.key(name)
	e.open('[')
	for _, s := range list {
		e.quoted(s)
	}
	e.shut(']')
}

// message appends a message in the Mesos JSON dialect.
func (e *encoder) message(m proto.Message) {
	if e.err != nil {
		return
	}
	e.comma()
	pb, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(e.pb[:0], m)
	if err != nil {
		e.err = err
		return
	}
	e.pb = pb
	e.b, e.err = wire.AppendJSON(e.b, m.ProtoReflect().Descriptor(), pb)
}

// seconds is a time as the JSON endpoints print it; 0 for none.
func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixNano()) / 1e9
}
