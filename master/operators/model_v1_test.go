package operators

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// fill sets about share of a message's fields to something; required ones always when
// whole.
func fill(random *rand.Rand, m protoreflect.Message, share float64, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if fd.Cardinality() != protoreflect.Required && (random.Float64() >= share || depth > 5) {
			continue
		}
		value := func() protoreflect.Value {
			switch fd.Kind() {
			case protoreflect.BoolKind:
				return protoreflect.ValueOfBool(random.IntN(2) == 0)
			case protoreflect.EnumKind:
				values := fd.Enum().Values()
				return protoreflect.ValueOfEnum(values.Get(random.IntN(values.Len())).Number())
			case protoreflect.Int32Kind:
				return protoreflect.ValueOfInt32(int32(random.Uint32()))
			case protoreflect.Uint32Kind:
				return protoreflect.ValueOfUint32(random.Uint32())
			case protoreflect.Int64Kind:
				return protoreflect.ValueOfInt64(int64(random.Uint64()))
			case protoreflect.Uint64Kind:
				return protoreflect.ValueOfUint64(random.Uint64())
			case protoreflect.FloatKind:
				return protoreflect.ValueOfFloat32(random.Float32())
			case protoreflect.DoubleKind:
				return protoreflect.ValueOfFloat64(float64(random.IntN(1e6)) / float64(1+random.IntN(1e6)))
			case protoreflect.BytesKind:
				return protoreflect.ValueOfBytes([]byte("bytes\x00\xff")[:random.IntN(7)])
			default:
				return protoreflect.ValueOfString([]string{"", "plain", "a\"b\\\n\u00e9", "x\xff"[:1]}[random.IntN(4)])
			}
		}
		switch {
		case fd.IsMap():
			if fd.MapKey().Kind() == protoreflect.StringKind && fd.MapValue().Kind() == protoreflect.MessageKind {
				v := m.Mutable(fd).Map().NewValue()
				fill(random, v.Message(), share, depth+1)
				m.Mutable(fd).Map().Set(protoreflect.ValueOfString("key").MapKey(), v)
			}
		case fd.IsList():
			list := m.Mutable(fd).List()
			for range random.IntN(3) {
				if fd.Kind() == protoreflect.MessageKind {
					fill(random, list.AppendMutable().Message(), share, depth+1)
				} else {
					list.Append(value())
				}
			}
		case fd.Kind() == protoreflect.MessageKind:
			fill(random, m.Mutable(fd).Message(), share, depth+1)
		default:
			m.Set(fd, value())
		}
	}
}

// TestTasksOfV1 compares the short way with the general one, on recorded tasks and on
// tasks with any fields.
func TestTasksOfV1(t *testing.T) {
	const seed = 3
	random := rand.New(rand.NewPCG(seed, seed))
	var all []*mesos.Task
	for _, call := range []string{"GET_TASKS", "GET_STATE"} {
		raw, err := os.ReadFile(filepath.Join("testdata", "v1", call+".pb"))
		if err != nil {
			t.Fatal(err)
		}
		r := &masterapi.Response{}
		if err := proto.Unmarshal(raw, r); err != nil {
			t.Fatal(err)
		}
		for _, g := range []*masterapi.Response_GetTasks{r.GetGetTasks(), r.GetGetState().GetGetTasks()} {
			all = append(append(append(all, g.GetTasks()...), g.GetUnreachableTasks()...), g.GetCompletedTasks()...)
		}
	}
	recorded := len(all)
	for i := range 3000 {
		task := &mesos.Task{}
		fill(random, task.ProtoReflect(), float64(i%10)/20, 0)
		all = append(all, task)
	}
	short, shortRecorded := 0, 0
	for i, task := range all {
		var a, b encoder
		a.element(task)
		b.message(task)
		if a.err != nil || b.err != nil || string(a.b) != string(b.b) {
			t.Fatalf("seed %d, task %d: %v %v\n%s\nwant\n%s", seed, i, a.err, b.err, a.b, b.b)
		}
		if usualTask(task) {
			short++
			if i < recorded {
				shortRecorded++
			}
		}
	}
	if shortRecorded < recorded/2 || short < 300 {
		t.Errorf("only %d of %d recorded tasks and %d of all go the short way", shortRecorded, recorded, short)
	}
}
