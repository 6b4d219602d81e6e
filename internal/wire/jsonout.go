package wire

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/stoa-project/stoa/internal/fault"
)

// maxOutDepth bounds the nesting of messages on output. It is twice the bound on
// input, so that what was accepted can be printed inside an envelope.
const maxOutDepth = 2 * MaxDepth

// MarshalJSON gives m in the Mesos JSON dialect (AppendJSON). A message that lacks
// required fields is refused, see RequireFields.
func MarshalJSON(m proto.Message) ([]byte, error) {
	s := scratches.Get().(*scratch)
	defer s.release()
	pb, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(s.pb[:0], m)
	if err != nil {
		if missing := RequireFields(m); missing != nil {
			return nil, missing
		}
		return nil, fault.New("encode json", fault.Invalid, messageName(m), err)
	}
	s.pb = pb
	out, err := s.append(s.out[:0], m.ProtoReflect().Descriptor(), pb)
	if err != nil {
		return nil, err
	}
	s.out = out
	return append([]byte(nil), out...), nil
}

// AppendJSON transcodes the protobuf bytes of a message of type md to Mesos JSON
// (mesos-agent.md 0.2, mesos-master.md 1.1) and appends it to dst, without a
// detour through typed values: fields in declaration order under their proto names,
// enums by name, 64-bit integers as numbers, bytes in base64, doubles shortest with a
// fraction or exponent, infinities quoted, maps as objects, empty lists left out,
// declared defaults of unset fields printed unless deprecated. Unknown fields and
// enum numbers are skipped. Missing required fields are not noticed.
//
// One publisher with many subscribers marshals once to protobuf and transcodes once.
// Errors are fault.Malformed (bytes that are no such message, or groups) and
// fault.TooLarge (nested too deeply); dst then holds a torso and is to be dropped.
func AppendJSON(dst []byte, md protoreflect.MessageDescriptor, pb []byte) ([]byte, error) {
	s := scratches.Get().(*scratch)
	defer s.release()
	return s.append(dst, md, pb)
}

// scratch is the reusable memory of one encoding.
type scratch struct {
	heads []mark // stacks of frames, one entry per field of each open message
	spans []span
	pb    []byte
	out   []byte
}

// mark holds the first and last span of a field in a message, as index plus one.
type mark struct{ first, last int32 }

// span is one occurrence of a field: its value's bytes (without length prefix), or
// for varints and fixed numbers the bits.
type span struct {
	data []byte
	bits uint64
	next int32 // index plus one of the field's next occurrence
	typ  protowire.Type
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// keepScratch is the largest buffer that goes back to the pool.
const keepScratch = 1 << 20

func (s *scratch) release() {
	s.heads, s.spans = s.heads[:0], s.spans[:cap(s.spans)]
	clear(s.spans) // drops references to the caller's bytes
	s.spans = s.spans[:0]
	if cap(s.pb) > keepScratch {
		s.pb = nil
	}
	if cap(s.out) > keepScratch {
		s.out = nil
	}
	if cap(s.spans) > keepScratch/64 {
		s.spans = nil
	}
	scratches.Put(s)
}

func (s *scratch) append(dst []byte, md protoreflect.MessageDescriptor, pb []byte) ([]byte, error) {
	p := planFor(md)
	dst, err := s.message(dst, p, pb, 0)
	switch {
	case err == nil:
		return dst, nil
	case errors.Is(err, errTooDeep):
		return dst, fault.New("encode json", fault.TooLarge, p.name, err)
	default:
		return dst, fault.New("encode json", fault.Malformed, p.name, err)
	}
}

var (
	errTooDeep = errors.New("nested too deeply")
	errGroup   = errors.New("groups are not part of these protocols")
)

// message prints one message: first its bytes are sorted into spans by field, then
// the fields are printed in order of declaration.
func (s *scratch) message(dst []byte, p *messagePlan, pb []byte, depth int) ([]byte, error) {
	if depth >= maxOutDepth {
		return dst, errTooDeep
	}
	base, spanBase := len(s.heads), len(s.spans)
	for range p.fields {
		s.heads = append(s.heads, mark{})
	}
	err := s.collect(p, pb, base)
	if err != nil {
		return dst, err
	}
	dst = append(dst, '{')
	open := len(dst)
	for i := range p.fields {
		f, m := &p.fields[i], s.heads[base+i]
		if m.first == 0 {
			if f.byDefault != "" {
				if len(dst) > open {
					dst = append(dst, ',')
				}
				dst = append(dst, f.byDefault...)
			}
			continue
		}
		if len(dst) > open {
			dst = append(dst, ',')
		}
		mark := len(dst)
		dst = append(dst, f.key...)
		var empty bool
		if dst, empty, err = s.field(dst, f, m, depth); err != nil {
			return dst, err
		}
		if empty { // a list whose packed or unknown elements came to nothing
			if dst = dst[:mark]; mark > open {
				dst = dst[:mark-1]
			}
		}
	}
	s.heads, s.spans = s.heads[:base], s.spans[:spanBase]
	return append(dst, '}'), nil
}

// collect scans pb and chains the occurrences of each known field.
func (s *scratch) collect(p *messagePlan, pb []byte, base int) error {
	for len(pb) > 0 {
		number, typ, n := protowire.ConsumeTag(pb)
		if n < 0 {
			return protowire.ParseError(n)
		}
		pb = pb[n:]
		sp := span{typ: typ}
		switch typ {
		case protowire.VarintType:
			sp.bits, n = protowire.ConsumeVarint(pb)
		case protowire.Fixed64Type:
			sp.bits, n = protowire.ConsumeFixed64(pb)
		case protowire.Fixed32Type:
			var v uint32
			v, n = protowire.ConsumeFixed32(pb)
			sp.bits = uint64(v)
		case protowire.BytesType:
			sp.data, n = protowire.ConsumeBytes(pb)
		default:
			return fmt.Errorf("field %d: %w", number, errGroup)
		}
		if n < 0 {
			return fmt.Errorf("field %d: %w", number, protowire.ParseError(n))
		}
		pb = pb[n:]
		i := p.find(number)
		if i < 0 {
			continue
		}
		f := &p.fields[i]
		packed := f.repeated && typ == protowire.BytesType && f.wire != protowire.BytesType
		if typ != f.wire && !packed {
			continue // as protobuf does: a known number with a foreign type is unknown
		}
		if f.kind == protoreflect.EnumKind && !packed && f.enumText[int32(sp.bits)] == "" {
			continue
		}
		for _, r := range f.rivals {
			s.heads[base+int(r)] = mark{}
		}
		s.spans = append(s.spans, sp)
		at := int32(len(s.spans))
		m := &s.heads[base+i]
		switch {
		case m.first == 0:
			m.first = at
		case f.repeated || f.message != nil:
			s.spans[m.last-1].next = at
		default:
			m.first = at // the last value of a singular field wins
		}
		m.last = at
	}
	return nil
}

// field prints a field's value; empty tells that a list has no element to print.
func (s *scratch) field(dst []byte, f *fieldPlan, m mark, depth int) (_ []byte, empty bool, err error) {
	switch {
	case f.isMap:
		dst, err = s.mapping(dst, f, m, depth)
	case f.repeated:
		return s.list(dst, f, m, depth)
	case f.message != nil:
		pb := s.spans[m.first-1].data
		if m.first != m.last { // occurrences of one message merge
			pb = append([]byte(nil), pb...)
			for at := s.spans[m.first-1].next; at != 0; at = s.spans[at-1].next {
				pb = append(pb, s.spans[at-1].data...)
			}
		}
		dst, err = s.child(dst, f, pb, depth)
	default:
		sp := &s.spans[m.first-1]
		dst = f.appendValue(dst, sp.bits, sp.data)
	}
	return dst, false, err
}

func (s *scratch) child(dst []byte, f *fieldPlan, pb []byte, depth int) ([]byte, error) {
	dst, err := s.message(dst, f.message.get(), pb, depth+1)
	if err != nil && !errors.Is(err, errTooDeep) {
		err = fmt.Errorf("%s: %w", f.name, err)
	}
	return dst, err
}

func (s *scratch) list(dst []byte, f *fieldPlan, m mark, depth int) (_ []byte, empty bool, err error) {
	dst = append(dst, '[')
	open := len(dst)
	for at := m.first; at != 0; at = s.spans[at-1].next {
		sp := s.spans[at-1]
		switch {
		case f.message != nil:
			if len(dst) > open {
				dst = append(dst, ',')
			}
			if dst, err = s.child(dst, f, sp.data, depth); err != nil {
				return dst, false, err
			}
		case sp.typ == protowire.BytesType && f.wire != protowire.BytesType:
			if dst, err = f.appendPacked(dst, sp.data, open); err != nil {
				return dst, false, err
			}
		default:
			if len(dst) > open {
				dst = append(dst, ',')
			}
			dst = f.appendValue(dst, sp.bits, sp.data)
		}
	}
	return append(dst, ']'), len(dst) == open, nil
}

// mapping prints a map; of entries with the same key the last wins.
func (s *scratch) mapping(dst []byte, f *fieldPlan, m mark, depth int) ([]byte, error) {
	if depth+1 >= maxOutDepth {
		return dst, errTooDeep
	}
	p := f.message.get()
	var last map[string]int32 // key text -> its last entry, where there are several entries
	if m.first != m.last {
		last = make(map[string]int32)
		for at := m.first; at != 0; at = s.spans[at-1].next {
			base, spanBase := len(s.heads), len(s.spans)
			if err := s.entry(p, f, at, base); err != nil {
				return dst, err
			}
			from := len(dst)
			dst = s.mapKey(dst, &p.fields[0], s.heads[base])
			last[string(dst[from:])] = at
			dst = dst[:from]
			s.heads, s.spans = s.heads[:base], s.spans[:spanBase]
		}
	}
	dst = append(dst, '{')
	open := len(dst)
	for at := m.first; at != 0; at = s.spans[at-1].next {
		base, spanBase := len(s.heads), len(s.spans)
		err := s.entry(p, f, at, base)
		if err != nil {
			return dst, err
		}
		from := len(dst)
		if from > open {
			dst = append(dst, ',')
		}
		key := len(dst)
		dst = s.mapKey(dst, &p.fields[0], s.heads[base])
		if last != nil && last[string(dst[key:])] != at {
			dst = dst[:from]
		} else if dst, err = s.mapValue(append(dst, ':'), &p.fields[1], s.heads[base+1], depth+1); err != nil {
			return dst, fmt.Errorf("%s: %w", f.name, err)
		}
		s.heads, s.spans = s.heads[:base], s.spans[:spanBase]
	}
	return append(dst, '}'), nil
}

// entry collects one map entry; its key's mark is heads[base], its value's the next.
func (s *scratch) entry(p *messagePlan, f *fieldPlan, at int32, base int) error {
	s.heads = append(s.heads, mark{}, mark{})
	if err := s.collect(p, s.spans[at-1].data, base); err != nil {
		return fmt.Errorf("%s: %w", f.name, err)
	}
	return nil
}

func (s *scratch) mapKey(dst []byte, f *fieldPlan, m mark) []byte {
	var sp span
	if m.first != 0 {
		sp = s.spans[m.first-1]
	}
	if f.kind == protoreflect.StringKind {
		return AppendString(dst, sp.data)
	}
	return append(f.appendValue(append(dst, '"'), sp.bits, nil), '"')
}

// mapValue prints an entry's value; an absent one has the type's zero value.
func (s *scratch) mapValue(dst []byte, f *fieldPlan, m mark, depth int) ([]byte, error) {
	if m.first == 0 {
		if f.message != nil {
			return s.child(dst, f, nil, depth)
		}
		if f.kind == protoreflect.EnumKind {
			return append(dst, "null"...), nil
		}
		return f.appendValue(dst, 0, nil), nil
	}
	dst, _, err := s.field(dst, f, m, depth)
	return dst, err
}

// appendPacked prints the elements of a packed list, with commas where needed.
func (f *fieldPlan) appendPacked(dst, data []byte, open int) ([]byte, error) {
	for len(data) > 0 {
		var bits uint64
		var n int
		switch f.wire {
		case protowire.Fixed64Type:
			bits, n = protowire.ConsumeFixed64(data)
		case protowire.Fixed32Type:
			var v uint32
			v, n = protowire.ConsumeFixed32(data)
			bits = uint64(v)
		default:
			bits, n = protowire.ConsumeVarint(data)
		}
		if n < 0 {
			return dst, fmt.Errorf("%s: %w", f.name, protowire.ParseError(n))
		}
		data = data[n:]
		if f.kind == protoreflect.EnumKind && f.enumText[int32(bits)] == "" {
			continue
		}
		if len(dst) > open {
			dst = append(dst, ',')
		}
		dst = f.appendValue(dst, bits, nil)
	}
	return dst, nil
}

// appendValue prints one scalar, string or bytes value.
func (f *fieldPlan) appendValue(dst []byte, bits uint64, data []byte) []byte {
	switch f.kind {
	case protoreflect.StringKind:
		return AppendString(dst, data)
	case protoreflect.BytesKind:
		return appendBase64(dst, data)
	case protoreflect.EnumKind:
		return append(dst, f.enumText[int32(bits)]...)
	case protoreflect.BoolKind:
		return strconv.AppendBool(dst, bits != 0)
	case protoreflect.DoubleKind:
		return AppendDouble(dst, math.Float64frombits(bits))
	case protoreflect.FloatKind:
		return AppendDouble(dst, float64(math.Float32frombits(uint32(bits))))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return strconv.AppendUint(dst, bits, 10)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return strconv.AppendUint(dst, uint64(uint32(bits)), 10)
	case protoreflect.Sint64Kind, protoreflect.Sint32Kind:
		return strconv.AppendInt(dst, protowire.DecodeZigZag(bits), 10)
	case protoreflect.Int32Kind, protoreflect.Sfixed32Kind:
		return strconv.AppendInt(dst, int64(int32(bits)), 10)
	default:
		return strconv.AppendInt(dst, int64(bits), 10)
	}
}
