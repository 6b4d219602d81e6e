package wire

import (
	"encoding/base64"
	"math"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// fromString reads a string as field f: also quoted numbers, booleans and infinities.
func (r *reader) fromString(f *fieldPlan, s []byte) error {
	switch f.kind {
	case protoreflect.StringKind:
		r.bytes(f, s)
		return nil
	case protoreflect.BytesKind:
		b, err := decodeBase64(s)
		if err != nil {
			return misfitf("Failed to base64 decode bytes field '%s': %w", f.name, err)
		}
		r.bytes(f, b)
		return nil
	case protoreflect.EnumKind:
		n, known := f.enumNumber[string(s)]
		switch {
		case known:
			r.varint(f, uint64(int64(n)))
		case f.required:
			return misfitf("Failed to find enum for '%s'", clip(s))
		}
		return nil
	case protoreflect.MessageKind:
		if !f.isMap && f.message.md.FullName() == durationName {
			return r.fromDuration(f, s)
		}
		return misfitf("Not expecting a JSON string for field '%s'", f.name)
	case protoreflect.BoolKind:
		switch string(s) {
		case "true":
			r.varint(f, 1)
			return nil
		case "false":
			r.varint(f, 0)
			return nil
		}
		return misfitf("Failed to parse '%s' as a JSON boolean for field '%s'", clip(s), f.name)
	case protoreflect.DoubleKind, protoreflect.FloatKind:
		switch string(s) {
		case "Infinity":
			return r.double(f, math.Inf(1))
		case "-Infinity":
			return r.double(f, math.Inf(-1))
		}
	}
	inner := scanner{data: s}
	inner.next()
	text, whole, err := inner.number()
	if inner.next(); err != nil || inner.pos < len(s) {
		return misfitf("Failed to parse '%s' as a JSON number for field '%s'", clip(s), f.name)
	}
	return r.fromNumber(f, text, whole)
}

// fromNumber reads a number's text; whole as in scanner.number.
func (r *reader) fromNumber(f *fieldPlan, text []byte, whole bool) error {
	switch f.kind {
	case protoreflect.DoubleKind, protoreflect.FloatKind:
		v, err := strconv.ParseFloat(string(text), 64)
		if err != nil {
			return misfitf("Number %s is out of range for field '%s'", clip(text), f.name)
		}
		return r.double(f, v)
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return r.signed(f, text, whole, 32)
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return r.signed(f, text, whole, 64)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return r.unsigned(f, text, whole, 32)
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return r.unsigned(f, text, whole, 64)
	}
	return misfitf("Not expecting a JSON number for field '%s'", f.name)
}

func (r *reader) signed(f *fieldPlan, text []byte, whole bool, size int) error {
	v, err := strconv.ParseInt(string(text), 10, size)
	if !whole { // the fraction is cut off
		var d float64
		if d, err = strconv.ParseFloat(string(text), 64); err == nil {
			limit := math.Ldexp(1, size-1)
			if d = math.Trunc(d); d < -limit || d >= limit {
				err = strconv.ErrRange
			}
			v = int64(d)
		}
	}
	if err != nil {
		return misfitf("Number %s is out of range for field '%s'", clip(text), f.name)
	}
	switch f.kind {
	case protoreflect.Sint32Kind, protoreflect.Sint64Kind:
		r.varint(f, protowire.EncodeZigZag(v))
	case protoreflect.Sfixed32Kind, protoreflect.Sfixed64Kind:
		r.fixed(f, uint64(v))
	default:
		r.varint(f, uint64(v))
	}
	return nil
}

func (r *reader) unsigned(f *fieldPlan, text []byte, whole bool, size int) error {
	v, err := strconv.ParseUint(string(text), 10, size)
	if !whole || string(text) == "-0" {
		var d float64
		if d, err = strconv.ParseFloat(string(text), 64); err == nil {
			if d = math.Trunc(d); d < 0 || d >= math.Ldexp(1, size) {
				err = strconv.ErrRange
			}
			v = uint64(d)
		}
	}
	if err != nil {
		return misfitf("Number %s is out of range for field '%s'", clip(text), f.name)
	}
	if f.wire == protowire.VarintType {
		r.varint(f, v)
		return nil
	}
	r.fixed(f, v)
	return nil
}

func (r *reader) double(f *fieldPlan, v float64) error {
	if f.kind == protoreflect.FloatKind {
		r.fixed(f, uint64(math.Float32bits(float32(v))))
		return nil
	}
	r.fixed(f, math.Float64bits(v))
	return nil
}

func (r *reader) fixed(f *fieldPlan, bits uint64) {
	r.out = protowire.AppendTag(r.out, f.number, f.wire)
	if f.wire == protowire.Fixed32Type {
		r.out = protowire.AppendFixed32(r.out, uint32(bits))
		return
	}
	r.out = protowire.AppendFixed64(r.out, bits)
}

// decodeBase64 takes the standard alphabet, white space anywhere, padding or none.
func decodeBase64(s []byte) ([]byte, error) {
	packed := make([]byte, 0, len(s))
	for _, c := range s {
		switch c {
		case ' ', '\t', '\n', '\v', '\f', '\r':
		default:
			packed = append(packed, c)
		}
	}
	for i := 0; i < 2 && len(packed) > 0 && packed[len(packed)-1] == '='; i++ {
		packed = packed[:len(packed)-1]
	}
	n, err := base64.RawStdEncoding.Decode(packed, packed)
	return packed[:n], err
}

// clip keeps quoted input in errors short.
func clip(s []byte) string {
	if len(s) > 64 {
		return string(s[:64]) + "…"
	}
	return string(s)
}
