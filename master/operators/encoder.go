package operators

import (
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire"
)

// encoder appends JSON text. Commas come by themselves: one is put before each key and
// element that is not the first of its object or array. The first error stays.
type encoder struct {
	b   []byte
	pb  []byte // scratch of embedded messages
	err error
}

// comma goes before what follows a value. No value ends in an opening bracket, because
// strings end in their quote.
func (e *encoder) comma() {
	if n := len(e.b); n > 0 {
		switch e.b[n-1] {
		case '{', '[', ':', '(':
		default:
			e.b = append(e.b, ',')
		}
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

const hexDigits = "0123456789ABCDEF"

// quoted appends a text value; bytes that are not UTF-8 become the replacement character.
func (e *encoder) quoted(s string) {
	e.comma()
	e.b = append(e.b, '"')
	e.escaped(s)
	e.b = append(e.b, '"')
}

func (e *encoder) escaped(s string) {
	done := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c < utf8.RuneSelf && c != '"' && c != '\\' {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 {
				e.b = append(append(e.b, s[done:i]...), "\uFFFD"...)
				done = i + 1
			}
			i += n
			continue
		}
		e.b = append(e.b, s[done:i]...)
		switch c {
		case '"', '\\':
			e.b = append(e.b, '\\', c)
		case '\n':
			e.b = append(e.b, '\\', 'n')
		case '\r':
			e.b = append(e.b, '\\', 'r')
		case '\t':
			e.b = append(e.b, '\\', 't')
		default:
			e.b = append(e.b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		done = i
	}
	e.b = append(e.b, s[done:]...)
}

// double appends a number as Mesos prints doubles: shortest digits, always with a
// fraction or exponent. What JSON has no number for becomes 0.
func (e *encoder) double(v float64) {
	e.comma()
	if math.IsNaN(v) || math.IsInf(v, 0) {
		v = 0
	}
	from := len(e.b)
	if a := math.Abs(v); a != 0 && (a < 1e-6 || a >= 1e21) {
		e.b = strconv.AppendFloat(e.b, v, 'e', -1, 64)
		return
	}
	e.b = strconv.AppendFloat(e.b, v, 'f', -1, 64)
	for _, c := range e.b[from:] {
		if c == '.' {
			return
		}
	}
	e.b = append(e.b, '.', '0')
}

func (e *encoder) int(v int64) {
	e.comma()
	e.b = strconv.AppendInt(e.b, v, 10)
}

func (e *encoder) bool(v bool) {
	e.comma()
	e.b = strconv.AppendBool(e.b, v)
}

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
