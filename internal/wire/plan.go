package wire

import (
	"strconv"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// messagePlan is what the dialect needs to know of one message type, worked out once.
// It is immutable after planFor has returned it.
type messagePlan struct {
	name     string
	fields   []fieldPlan // in declaration order, which is the order of output
	byNumber []int16     // field number -> index in fields plus one, for small numbers
	byBig    map[protowire.Number]int16
	byName   map[string]int16 // index in fields
}

// fieldPlan is one field. Declared defaults are kept as the finished JSON text.
type fieldPlan struct {
	name       string
	key        string // `"name":`
	byDefault  string // `"name":value`, "" when nothing is printed for an unset field
	number     protowire.Number
	kind       protoreflect.Kind
	repeated   bool // list or map
	isMap      bool
	required   bool
	rivals     []int16          // other members of the same oneof
	enumText   map[int32]string // number -> quoted name
	enumNumber map[string]int32 // name -> number
	message    *lazyPlan        // of messages and of map entries
	wire       protowire.Type   // of one unpacked element
}

// lazyPlan delays a child's plan to its first use, which ends recursion in types.
type lazyPlan struct {
	md   protoreflect.MessageDescriptor
	once sync.Once
	plan *messagePlan
}

func (l *lazyPlan) get() *messagePlan {
	l.once.Do(func() { l.plan = planFor(l.md) })
	return l.plan
}

// plans caches by descriptor, not by name: two registries may share names. Generated
// descriptors are few; descriptors made at run time are expected to be reused.
var plans sync.Map // protoreflect.MessageDescriptor -> *messagePlan

// planFor gives the plan of a message type.
func planFor(md protoreflect.MessageDescriptor) *messagePlan {
	if p, ok := plans.Load(md); ok {
		return p.(*messagePlan)
	}
	p, _ := plans.LoadOrStore(md, newPlan(md))
	return p.(*messagePlan)
}

func newPlan(md protoreflect.MessageDescriptor) *messagePlan {
	fds := md.Fields()
	p := &messagePlan{
		name:   string(md.FullName()),
		fields: make([]fieldPlan, fds.Len()),
		byName: make(map[string]int16, fds.Len()),
	}
	for i := range fds.Len() {
		fd := fds.Get(i)
		p.fields[i] = newField(fd)
		p.byName[string(fd.Name())] = int16(i)
		if n := int(fd.Number()); n < 256 {
			for len(p.byNumber) <= n {
				p.byNumber = append(p.byNumber, 0)
			}
			p.byNumber[n] = int16(i + 1)
			continue
		}
		if p.byBig == nil {
			p.byBig = make(map[protowire.Number]int16)
		}
		p.byBig[fd.Number()] = int16(i + 1)
	}
	return p
}

func newField(fd protoreflect.FieldDescriptor) fieldPlan {
	f := fieldPlan{
		name:     string(fd.Name()),
		number:   fd.Number(),
		kind:     fd.Kind(),
		repeated: fd.Cardinality() == protoreflect.Repeated,
		isMap:    fd.IsMap(),
		required: fd.Cardinality() == protoreflect.Required,
		wire:     wireType(fd.Kind()),
	}
	f.key = strconv.Quote(f.name) + ":"
	if md := fd.Message(); md != nil {
		f.message = &lazyPlan{md: md}
	}
	if ed := fd.Enum(); ed != nil {
		values := ed.Values()
		f.enumText = make(map[int32]string, values.Len())
		f.enumNumber = make(map[string]int32, values.Len())
		for i := range values.Len() {
			v := values.Get(i)
			if _, taken := f.enumText[int32(v.Number())]; !taken {
				f.enumText[int32(v.Number())] = strconv.Quote(string(v.Name()))
			}
			f.enumNumber[string(v.Name())] = int32(v.Number())
		}
	}
	if od := fd.ContainingOneof(); od != nil && !od.IsSynthetic() {
		for i := range od.Fields().Len() {
			if rival := od.Fields().Get(i); rival.Number() != fd.Number() {
				f.rivals = append(f.rivals, int16(rival.Index()))
			}
		}
	}
	if fd.HasDefault() && !f.repeated && !deprecated(fd) {
		f.byDefault = f.key + string(appendDefault(nil, fd))
	}
	return f
}

func deprecated(fd protoreflect.FieldDescriptor) bool {
	o, ok := fd.Options().(*descriptorpb.FieldOptions)
	return ok && o.GetDeprecated()
}

func appendDefault(dst []byte, fd protoreflect.FieldDescriptor) []byte {
	v := fd.Default()
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return strconv.AppendBool(dst, v.Bool())
	case protoreflect.EnumKind:
		return AppendString(dst, string(fd.DefaultEnumValue().Name()))
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return AppendDouble(dst, v.Float())
	case protoreflect.StringKind:
		return AppendString(dst, v.String())
	case protoreflect.BytesKind:
		return appendBase64(dst, v.Bytes())
	case protoreflect.Uint32Kind, protoreflect.Uint64Kind, protoreflect.Fixed32Kind, protoreflect.Fixed64Kind:
		return strconv.AppendUint(dst, v.Uint(), 10)
	default:
		return strconv.AppendInt(dst, v.Int(), 10)
	}
}

// find gives the index of a field number, or -1.
func (p *messagePlan) find(n protowire.Number) int {
	if int(n) < len(p.byNumber) {
		return int(p.byNumber[n]) - 1
	}
	return int(p.byBig[n]) - 1
}

func wireType(k protoreflect.Kind) protowire.Type {
	switch k {
	case protoreflect.DoubleKind, protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind:
		return protowire.Fixed64Type
	case protoreflect.FloatKind, protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind:
		return protowire.Fixed32Type
	case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.MessageKind:
		return protowire.BytesType
	case protoreflect.GroupKind:
		return protowire.StartGroupType
	default:
		return protowire.VarintType
	}
}
