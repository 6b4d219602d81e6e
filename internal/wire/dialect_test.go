package wire_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/executor"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
)

func empty[T any, P interface {
	*T
	proto.Message
}]() proto.Message {
	return P(new(T))
}

// TestReads has one row per input rule of the dialect: text in, text out as we print
// what was understood.
func TestReads(t *testing.T) {
	framework := empty[mesos.FrameworkInfo]
	const rest = `,"failover_timeout":0.0,"checkpoint":false}`
	for _, c := range []struct {
		name string
		into func() proto.Message
		in   string
		want string
	}{
		{"snake_case names", framework, `{"user":"u","name":"n","webui_url":"x"}`, `{"user":"u","name":"n"` + `,"failover_timeout":0.0,"checkpoint":false,"webui_url":"x"}`},
		{"other case is another name", empty[mesos.TaskID], `{"Value":"a","value":"b"}`, `{"value":"b"}`},
		{"camelCase is another name", framework, `{"user":"u","name":"n","webuiUrl":"x"}`, `{"user":"u","name":"n"` + rest},
		{"unknown names", empty[mesos.TaskID], `{"x":[{"y":[null,true,1e3,"\u00e4"]}],"value":"b"}`, `{"value":"b"}`},
		{"enum by name", empty[scheduler.Call], `{"type":"REVIVE"}`, `{"type":"REVIVE"}`},
		{"unknown enum name, optional", empty[scheduler.Call], `{"type":"NEVER"}`, `{}`},
		{"unknown enum name, in a list", empty[mesos.KillPolicy], `{"grace_period":null}`, `{}`},
		{"bytes", empty[executor.Event_Message], `{"data":"AP8="}`, `{"data":"AP8="}`},
		{"bytes, white space and no padding", empty[executor.Event_Message], `{"data":" A P\n8"}`, `{"data":"AP8="}`},
		{"64-bit number", empty[mesos.TimeInfo], `{"nanoseconds":9007199254740993}`, `{"nanoseconds":9007199254740993}`},
		{"64-bit number, quoted", empty[mesos.TimeInfo], `{"nanoseconds":"-9223372036854775808"}`, `{"nanoseconds":-9223372036854775808}`},
		{"64-bit number with fraction", empty[mesos.TimeInfo], `{"nanoseconds":5.0}`, `{"nanoseconds":5}`},
		{"64-bit number with exponent", empty[mesos.TimeInfo], `{"nanoseconds":1e3}`, `{"nanoseconds":1000}`},
		{"64-bit number, fraction cut", empty[mesos.TimeInfo], `{"nanoseconds":-5.7}`, `{"nanoseconds":-5}`},
		{"unsigned", empty[mesos.Value_Range], `{"begin":"0","end":18446744073709551615}`, `{"begin":0,"end":18446744073709551615}`},
		{"double, whole", empty[mesos.Value_Scalar], `{"value":5}`, `{"value":5.0}`},
		{"double, quoted", empty[mesos.Value_Scalar], `{"value":"0.1"}`, `{"value":0.1}`},
		{"infinity", empty[mesos.Value_Scalar], `{"value":"Infinity"}`, `{"value":"Infinity"}`},
		{"minus infinity", empty[mesos.Value_Scalar], `{"value":"-Infinity"}`, `{"value":"-Infinity"}`},
		{"bool", empty[mesos.FrameworkInfo], `{"user":"u","name":"n","checkpoint":true}`, `{"user":"u","name":"n","failover_timeout":0.0,"checkpoint":true}`},
		{"bool, quoted", empty[mesos.FrameworkInfo], `{"user":"u","name":"n","checkpoint":"true"}`, `{"user":"u","name":"n","failover_timeout":0.0,"checkpoint":true}`},
		{"null, optional", framework, `{"user":"u","name":"n","webui_url":null}`, `{"user":"u","name":"n"` + rest},
		{"null for lists, as mesos-go writes", framework, `{"user":"u","name":"n","capabilities":null,"offer_filters":null}`, `{"user":"u","name":"n"` + rest},
		{"null in a list", framework, `{"user":"u","name":"n","roles":["a",null,"b"]}`, `{"user":"u","name":"n","failover_timeout":0.0,"checkpoint":false,"roles":["a","b"]}`},
		{"one for a list", framework, `{"user":"u","name":"n","roles":"a"}`, `{"user":"u","name":"n","failover_timeout":0.0,"checkpoint":false,"roles":["a"]}`},
		{"one object for a list", framework, `{"user":"u","name":"n","capabilities":{"type":"MULTI_ROLE"}}`, `{"user":"u","name":"n","failover_timeout":0.0,"checkpoint":false,"capabilities":[{"type":"MULTI_ROLE"}]}`},
		{"map", framework, `{"user":"u","name":"n","offer_filters":{"r":{}}}`, `{"user":"u","name":"n","failover_timeout":0.0,"checkpoint":false,"offer_filters":{"r":{}}}`},
		{"empty list", framework, `{"user":"u","name":"n","roles":[]}`, `{"user":"u","name":"n"` + rest},
		{"name twice, last counts", framework, `{"roles":["a","b"],"user":"u","name":"m","id":{"value":"1"},"roles":["c"],"name":"n","id":{"value":"2"}}`, `{"user":"u","name":"n","id":{"value":"2"},"failover_timeout":0.0,"checkpoint":false,"roles":["c"]}`},
		{"name twice, null last", framework, `{"user":"u","name":"n","roles":["a"],"roles":null}`, `{"user":"u","name":"n"` + rest},
		{"escapes", empty[mesos.TaskID], `{"value":"\u00e4\ud83d\ude00\n\/\u0001<&>"}`, `{"value":"ä😀\n/\u0001<&>"}`},
		{"not UTF-8", empty[mesos.TaskID], "{\"value\":\"a\xffb\"}", `{"value":"a` + "\uFFFD" + `b"}`},
		{"white space around", empty[mesos.TaskID], " \t\r\n{ \"value\" : \"b\" } \n", `{"value":"b"}`},
		{"declared default of bool", empty[mesos.CommandInfo_URI], `{"value":"u"}`, `{"value":"u","extract":true}`},
		{"declared default of enum", empty[mesos.ContainerInfo_DockerInfo], `{"image":"i"}`, `{"image":"i","network":"HOST","privileged":false}`},
		{"deprecated default is not printed", empty[mesos.Resource], `{"name":"cpus","type":"SCALAR"}`, `{"name":"cpus","type":"SCALAR"}`},
		{"set deprecated field is printed", empty[mesos.Resource], `{"name":"cpus","type":"SCALAR","role":"*"}`, `{"name":"cpus","type":"SCALAR","role":"*"}`},
		{"set to its default is printed once", empty[mesos.Filters], `{"refuse_seconds":5}`, `{"refuse_seconds":5.0}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := c.into()
			if err := wire.UnmarshalJSON([]byte(c.in), m); err != nil {
				t.Fatal(err)
			}
			got, err := wire.MarshalJSON(m)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// TestRefuses has one row per refusal: kind, place and sentence.
func TestRefuses(t *testing.T) {
	deep := func(open, end string, n int) string { return strings.Repeat(open, n) + strings.Repeat(end, n) }
	for _, c := range []struct {
		name    string
		into    func() proto.Message
		in      string
		kind    fault.Kind
		subject string
		says    string
	}{
		{"unknown enum name, required", empty[mesos.Value], `{"type":"NEVER"}`, fault.Invalid, "type", "Failed to find enum for 'NEVER'"},
		{"enum by number", empty[masterapi.Call], `{"type":1}`, fault.Invalid, "type", "Not expecting a JSON number for field 'type'"},
		{"URL alphabet", empty[executor.Event_Message], `{"data":"-_8="}`, fault.Invalid, "data", "base64"},
		{"array for one", empty[mesos.Offer], `{"id":["a"]}`, fault.Invalid, "id", "Not expecting a JSON array for field 'id'"},
		{"object for a string", empty[mesos.TaskID], `{"value":{}}`, fault.Invalid, "value", "Not expecting a JSON object for field 'value'"},
		{"string for a message", empty[mesos.Offer], `{"id":"a"}`, fault.Invalid, "id", "Not expecting a JSON string for field 'id'"},
		{"number for a string", empty[mesos.TaskID], `{"value":1}`, fault.Invalid, "value", "Not expecting a JSON number for field 'value'"},
		{"boolean for a number", empty[mesos.TimeInfo], `{"nanoseconds":true}`, fault.Invalid, "nanoseconds", "Not expecting a JSON boolean for field 'nanoseconds'"},
		{"no number in quotes", empty[mesos.TimeInfo], `{"nanoseconds":"1x"}`, fault.Invalid, "nanoseconds", "Failed to parse '1x' as a JSON number"},
		{"no boolean in quotes", empty[mesos.FrameworkInfo], `{"checkpoint":"yes"}`, fault.Invalid, "checkpoint", "Failed to parse 'yes' as a JSON boolean"},
		{"too large", empty[mesos.TimeInfo], `{"nanoseconds":9223372036854775808}`, fault.Invalid, "nanoseconds", "out of range"},
		{"too large with exponent", empty[mesos.TimeInfo], `{"nanoseconds":1e300}`, fault.Invalid, "nanoseconds", "out of range"},
		{"negative unsigned", empty[mesos.Value_Range], `{"begin":-1,"end":1}`, fault.Invalid, "begin", "out of range"},
		{"double too large", empty[mesos.Value_Scalar], `{"value":1e999}`, fault.Invalid, "value", "out of range"},
		{"place inside lists and maps", empty[mesos.FrameworkInfo], `{"offer_filters":{"r":{"min_allocatable_resources":{"quantities":[{},{"quantities":{"cpus":{"value":[]}}}]}}}}`, fault.Invalid, "offer_filters.r.min_allocatable_resources.quantities[1].quantities.cpus.value", "array"},
		{"missing required", empty[mesos.Offer], `{"id":{"value":"1"},"agent_id":{}}`, fault.Invalid, "mesos.v1.Offer", "Missing required fields: framework_id, hostname, agent_id.value"},
		{"null for required", empty[mesos.TaskID], `{"value":null}`, fault.Invalid, "mesos.v1.TaskID", "Missing required fields: value"},
		{"not an object", empty[mesos.TaskID], `[1]`, fault.Invalid, "mesos.v1.TaskID", "Expecting a JSON object"},
		{"nothing", empty[mesos.TaskID], ``, fault.Malformed, "mesos.v1.TaskID", "ends"},
		{"trailing data", empty[mesos.TaskID], `{"value":"a"} x`, fault.Malformed, "mesos.v1.TaskID", "end of the text"},
		{"cut off", empty[mesos.TaskID], `{"value":"a`, fault.Malformed, "value", "quote"},
		{"single quotes", empty[mesos.TaskID], `{'value':"a"}`, fault.Malformed, "mesos.v1.TaskID", "a string"},
		{"trailing comma", empty[mesos.TaskID], `{"value":"a",}`, fault.Malformed, "mesos.v1.TaskID", "a string"},
		{"leading zero", empty[mesos.TimeInfo], `{"nanoseconds":01}`, fault.Malformed, "mesos.v1.TimeInfo", "comma"},
		{"raw control character", empty[mesos.TaskID], "{\"value\":\"\n\"}", fault.Malformed, "value", "control"},
		{"half a surrogate", empty[mesos.TaskID], `{"value":"\ud800"}`, fault.Malformed, "value", "surrogate"},
		{"too deep in the unknown", empty[mesos.TaskID], `{"x":` + deep("[", "]", 600) + `}`, fault.TooLarge, "mesos.v1.TaskID", "deep"},
		{"too deep in the known", empty[mesos.ContainerID], `{"value":"a","parent":` + strings.Repeat(`{"value":"a","parent":`, 600) + `{}` + strings.Repeat("}", 601), fault.TooLarge, "", "deep"},
		{"too deep in lists", empty[mesos.FrameworkInfo], `{"roles":` + deep("[", "]", 600) + `}`, fault.TooLarge, "", "deep"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := wire.UnmarshalJSON([]byte(c.in), c.into())
			var f *fault.Error
			if !errors.As(err, &f) {
				t.Fatalf("got %v", err)
			}
			if f.Kind != c.kind || (c.subject != "" && f.Subject != c.subject) || !strings.Contains(f.Err.Error(), c.says) {
				t.Errorf("got %v about %q: %v", f.Kind, f.Subject, f.Err)
			}
		})
	}
}

func TestPrintsDoubles(t *testing.T) {
	for _, c := range []struct {
		v    float64
		want string
	}{
		{0, "0.0"}, {math.Copysign(0, -1), "-0.0"}, {1, "1.0"}, {-2.5, "-2.5"}, {0.1, "0.1"},
		{1e-6, "0.000001"}, {1e-7, "1e-7"}, {-1.5e-10, "-1.5e-10"},
		{1e20, "100000000000000000000.0"}, {1e21, "1e21"}, {1.25e300, "1.25e300"},
		{1795224082.7517078, "1795224082.7517078"},
		{math.Inf(1), `"Infinity"`}, {math.Inf(-1), `"-Infinity"`}, {math.NaN(), `"NaN"`},
	} {
		got, err := wire.MarshalJSON(&mesos.Value_Scalar{Value: &c.v})
		if err != nil || string(got) != `{"value":`+c.want+`}` {
			t.Errorf("%v: got %s, %v; want %s", c.v, got, err, c.want)
		}
	}
}

// TestTranscodes looks at protobuf bytes that no marshaller of ours writes.
func TestTranscodes(t *testing.T) {
	str := func(n protowire.Number, s string) []byte {
		return protowire.AppendString(protowire.AppendTag(nil, n, protowire.BytesType), s)
	}
	num := func(n protowire.Number, v uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(nil, n, protowire.VarintType), v)
	}
	cat := func(parts ...[]byte) (all []byte) {
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	entry := func(k string, v []byte) []byte { return str(1, string(cat(str(1, k), str(2, string(v))))) }
	one := protowire.AppendFixed64(protowire.AppendTag(nil, 1, protowire.Fixed64Type), math.Float64bits(1))
	two := protowire.AppendFixed64(protowire.AppendTag(nil, 1, protowire.Fixed64Type), math.Float64bits(2))
	quantities := empty[mesos.OfferFilters_ResourceQuantities]
	for _, c := range []struct {
		name string
		of   func() proto.Message
		pb   []byte
		want string // a leading "!" asks for an error with this text
	}{
		{"last value wins", empty[mesos.TaskID], cat(str(1, "a"), str(1, "b")), `{"value":"b"}`},
		{"parts of a message merge", empty[mesos.ContainerID], cat(str(1, "a"), str(2, string(str(1, "p"))), str(2, string(str(2, string(str(1, "q")))))), `{"value":"a","parent":{"value":"p","parent":{"value":"q"}}}`},
		{"unknown number", empty[mesos.TaskID], cat(num(99, 1), str(500, "x"), str(1, "a")), `{"value":"a"}`},
		{"known number, other type", empty[mesos.TaskID], cat(num(1, 1), str(1, "a")), `{"value":"a"}`},
		{"unknown enum number", empty[scheduler.Call], num(2, 999), `{}`},
		{"unknown enum number after a known", empty[mesos.Value], cat(num(1, 2), num(1, 999)), `{"type":"SET"}`},
		{"map, same key twice", quantities, cat(entry("cpus", one), entry("mem", one), entry("cpus", two)), `{"quantities":{"mem":{"value":1.0},"cpus":{"value":2.0}}}`},
		{"map entry without key or value", quantities, str(1, ""), `{"quantities":{"":{}}}`},
		{"packed list", empty[structpbList], nil, `{}`},
		{"oneof, last member wins", empty[structpb.Value], cat(str(3, "s"), num(4, 1)), `{"bool_value":true}`},
		{"group", empty[mesos.TaskID], cat(protowire.AppendTag(nil, 9, protowire.StartGroupType), protowire.AppendTag(nil, 9, protowire.EndGroupType)), "!groups"},
		{"cut off", empty[mesos.TaskID], []byte{10, 5, 'a'}, "!unexpected EOF"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := wire.AppendJSON([]byte("x"), c.of().ProtoReflect().Descriptor(), c.pb)
			if says, bad := strings.CutPrefix(c.want, "!"); bad {
				if err == nil || !strings.Contains(err.Error(), says) || fault.KindOf(err) != fault.Malformed {
					t.Errorf("got %s, %v", got, err)
				}
				return
			}
			if err != nil || string(got) != "x"+c.want {
				t.Errorf("got %s, %v; want %s", got, err, c.want)
			}
		})
	}
}

type structpbList = structpb.ListValue

func TestRefusesToPrintTooDeep(t *testing.T) {
	id := &mesos.ContainerID{Value: proto.String("a")}
	for range 1100 {
		id = &mesos.ContainerID{Value: proto.String("a"), Parent: id}
	}
	if _, err := wire.MarshalJSON(id); fault.KindOf(err) != fault.TooLarge {
		t.Errorf("got %v", err)
	}
}

func TestBothCodecsNameWhatIsMissing(t *testing.T) {
	m := &mesos.Offer{Id: &mesos.OfferID{}, Resources: []*mesos.Resource{{}}}
	pb, err := proto.MarshalOptions{AllowPartial: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	const want = "Missing required fields: framework_id, agent_id, hostname, id.value, resources[0].name, resources[0].type"
	for name, err := range map[string]error{
		"protobuf out": second(wire.Protobuf.Marshal(m)),
		"json out":     second(wire.JSON.Marshal(m)),
		"protobuf in":  wire.Protobuf.Unmarshal(pb, new(mesos.Offer)),
		"json in":      wire.JSON.Unmarshal([]byte(`{"id":{},"resources":[{}]}`), new(mesos.Offer)),
		"check":        wire.RequireFields(m),
	} {
		var missing wire.MissingFields
		if !errors.As(err, &missing) || missing.Error() != want {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if err := wire.UnmarshalPartial(pb, new(mesos.Offer)); err != nil {
		t.Error(err)
	}
	if err := wire.Protobuf.Unmarshal([]byte{1}, new(mesos.Offer)); fault.KindOf(err) != fault.Malformed {
		t.Errorf("got %v", err)
	}
}

func second(_ []byte, err error) error { return err }
