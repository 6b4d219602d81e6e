package wire

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/stoa-project/stoa/internal/fault"
)

// UnmarshalJSON reads one object of the Mesos JSON dialect into m, which is reset
// first. It is as lenient as Mesos: unknown names and nulls are passed over, numbers
// and booleans may be quoted, 5.0 and 1e3 are integers, a single value may stand for
// a list of one, unknown enum names count as unset unless the field is required,
// base64 may carry white space and lack its padding. Of a name given twice the last
// value counts.
//
// Errors are *fault.Error with the field's path as subject, or the message's name:
// Malformed for text that is no JSON (also data after the object), TooLarge beyond
// MaxDepth, Invalid for a value that does not fit its field and for missing required
// fields (then wrapping MissingFields). errors.Unwrap gives the bare sentence, in the
// words of Mesos where it has any.
func UnmarshalJSON(data []byte, m proto.Message) error {
	md := m.ProtoReflect().Descriptor()
	r := readers.Get().(*reader)
	defer r.release()
	r.data, r.pos = data, 0
	if err := r.document(planFor(md)); err != nil {
		return r.explain(string(md.FullName()), err)
	}
	o := proto.UnmarshalOptions{AllowPartial: true, RecursionLimit: 2 * MaxDepth}
	if err := o.Unmarshal(r.out, m); err != nil {
		return fault.New("decode json", fault.Malformed, string(md.FullName()), err)
	}
	return RequireFields(m)
}

// reader translates JSON into the protobuf bytes of the same message.
type reader struct {
	scanner
	out  []byte
	seen []extent // stack of frames, one entry per field of each open message
	path []step
}

// extent is where the bytes of a field that was read lie in out; end 0: not read.
type extent struct{ start, end int }

// step is one element of the path to the value being read.
type step struct {
	name  string
	index int // of a list element, or -1
}

var readers = sync.Pool{New: func() any { return new(reader) }}

func (r *reader) release() {
	r.data, r.out, r.seen, r.path = nil, r.out[:0], r.seen[:0], r.path[:0]
	if cap(r.out) > keepScratch {
		r.out = nil
	}
	if cap(r.text) > keepScratch {
		r.text = nil
	}
	readers.Put(r)
}

// misfit is a value that is JSON but not what its field takes.
type misfit struct{ error }

func misfitf(format string, args ...any) error { return misfit{fmt.Errorf(format, args...)} }

// explain adds the place to an error; the path still stands where it happened.
func (r *reader) explain(message string, err error) error {
	kind := fault.Malformed
	var m misfit
	switch {
	case errors.As(err, &m):
		kind, err = fault.Invalid, m.error
	case errors.Is(err, errTooDeep), errors.Is(err, errTooLong):
		kind = fault.TooLarge
	}
	var b strings.Builder
	for _, s := range r.path[:min(len(r.path), 32)] {
		switch {
		case s.index >= 0:
			fmt.Fprintf(&b, "[%d]", s.index)
		default:
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(s.name)
		}
	}
	if b.Len() > 0 {
		message = b.String()
	}
	return fault.New("decode json", kind, message, err)
}

var errTooLong = errors.New("message is too long")

func (r *reader) document(p *messagePlan) error {
	switch r.next() {
	case '{':
		if err := r.message(p, 1); err != nil {
			return err
		}
	default:
		if err := r.skip(0); err != nil {
			return err
		}
		return misfitf("Expecting a JSON object")
	}
	if r.next(); r.pos < len(r.data) {
		return r.expected("the end of the text")
	}
	return nil
}

// message reads an object's members as fields of p and appends them to out.
func (r *reader) message(p *messagePlan, depth int) error {
	if depth > MaxDepth {
		return errTooDeep
	}
	base := len(r.seen)
	for range p.fields {
		r.seen = append(r.seen, extent{})
	}
	err := r.members('{', func(name []byte) error {
		i, known := p.byName[string(name)]
		if !known {
			return r.skip(depth)
		}
		f := &p.fields[i]
		at := len(r.path)
		r.path = append(r.path, step{name: f.name, index: -1})
		if old := r.seen[base+int(i)]; old.end > 0 {
			r.forget(old, base)
		}
		start := len(r.out)
		if err := r.value(f, depth); err != nil {
			return err
		}
		r.seen[base+int(i)] = extent{start, len(r.out)}
		r.path = r.path[:at]
		return nil
	})
	r.seen = r.seen[:base]
	return err
}

// forget takes an earlier value of a field out again.
func (r *reader) forget(old extent, base int) {
	r.out = append(r.out[:old.start], r.out[old.end:]...)
	n := old.end - old.start
	for i := range r.seen[base:] {
		if e := &r.seen[base+i]; e.end > 0 && e.start >= old.end {
			e.start, e.end = e.start-n, e.end-n
		}
	}
}

// value reads any JSON value as (an element of) field f.
func (r *reader) value(f *fieldPlan, depth int) error {
	switch c := r.next(); c {
	case 'n':
		return r.literal("null")
	case '[':
		return r.elements(f, depth)
	case '{':
		return r.object(f, depth)
	case '"':
		s, err := r.str()
		if err != nil {
			return err
		}
		return r.fromString(f, s)
	case 't', 'f':
		word, v := "false", uint64(0)
		if c == 't' {
			word, v = "true", 1
		}
		if err := r.literal(word); err != nil {
			return err
		}
		if f.kind != protoreflect.BoolKind {
			return misfitf("Not expecting a JSON boolean for field '%s'", f.name)
		}
		r.varint(f, v)
		return nil
	default:
		if c != '-' && (c < '0' || c > '9') {
			return r.expected("a value")
		}
		text, whole, err := r.number()
		if err != nil {
			return err
		}
		return r.fromNumber(f, text, whole)
	}
}

func (r *reader) elements(f *fieldPlan, depth int) error {
	if !f.repeated {
		if err := r.skip(depth); err != nil {
			return err
		}
		return misfitf("Not expecting a JSON array for field '%s'", f.name)
	}
	if depth >= MaxDepth {
		return errTooDeep
	}
	at, i := len(r.path), 0
	err := r.members('[', func([]byte) error {
		r.path = append(r.path, step{index: i})
		i++
		if err := r.value(f, depth+1); err != nil {
			return err
		}
		r.path = r.path[:at]
		return nil
	})
	return err
}

func (r *reader) object(f *fieldPlan, depth int) error {
	switch {
	case f.isMap:
		return r.entries(f, depth)
	case f.kind != protoreflect.MessageKind:
		if err := r.skip(depth); err != nil {
			return err
		}
		return misfitf("Not expecting a JSON object for field '%s'", f.name)
	}
	start := r.begin(f)
	if err := r.message(f.message.get(), depth+1); err != nil {
		return err
	}
	return r.end(start)
}

func (r *reader) entries(f *fieldPlan, depth int) error {
	if depth >= MaxDepth {
		return errTooDeep
	}
	p := f.message.get()
	at := len(r.path)
	return r.members('{', func(name []byte) error {
		r.path = append(r.path, step{name: string(name), index: -1})
		start := r.begin(f)
		if err := r.fromString(&p.fields[0], name); err != nil {
			return err
		}
		if err := r.value(&p.fields[1], depth+1); err != nil {
			return err
		}
		r.path = r.path[:at]
		return r.end(start)
	})
}

// lengthBytes is the fixed room for the length of an embedded message. Lengths may be
// padded varints, so nothing moves when a message turns out long.
const lengthBytes = 4

func (r *reader) begin(f *fieldPlan) int {
	r.out = protowire.AppendTag(r.out, f.number, protowire.BytesType)
	r.out = append(r.out, 0x80, 0x80, 0x80, 0)
	return len(r.out)
}

func (r *reader) end(start int) error {
	n := len(r.out) - start
	if n >= 1<<(7*lengthBytes) {
		return errTooLong
	}
	b := r.out[start-lengthBytes : start]
	b[0] |= byte(n & 0x7f)
	b[1] |= byte(n >> 7 & 0x7f)
	b[2] |= byte(n >> 14 & 0x7f)
	b[3] = byte(n >> 21)
	return nil
}

func (r *reader) varint(f *fieldPlan, v uint64) {
	r.out = protowire.AppendVarint(protowire.AppendTag(r.out, f.number, protowire.VarintType), v)
}

func (r *reader) bytes(f *fieldPlan, b []byte) {
	r.out = protowire.AppendBytes(protowire.AppendTag(r.out, f.number, protowire.BytesType), b)
}
