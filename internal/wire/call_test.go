package wire_test

import (
	"strings"
	"testing"

	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
)

func TestDecodeCall(t *testing.T) {
	const parse, convert = "Failed to parse body into JSON: ", "Failed to convert JSON into Call protobuf: "
	for _, c := range []struct {
		name  string
		codec wire.Codec
		body  string
		want  string // prefix; "" is success
	}{
		{"fine", wire.JSON, `{"type":"REVIVE"}`, ""},
		{"fine protobuf", wire.Protobuf, "", ""},
		{"empty", wire.JSON, "", parse},
		{"torn", wire.JSON, `{"type":`, parse},
		{"no object", wire.JSON, ` []`, convert + "Expecting a JSON object"},
		{"wrong type", wire.JSON, `{"framework_id":"x"}`, convert + "Not expecting a JSON string for field 'framework_id'"},
		{"lacks a field", wire.JSON, `{"framework_id":{}}`, convert + "Missing required fields: framework_id.value"},
		{"lacks a field, protobuf", wire.Protobuf, "\x0a\x00", "Failed to parse body into Call protobuf: Missing required fields: framework_id.value"},
		{"no protobuf", wire.Protobuf, "\xff\xff", "Failed to parse body into Call protobuf"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := wire.DecodeCall(c.codec, []byte(c.body), &scheduler.Call{})
			if (got == "") != (c.want == "") || !strings.HasPrefix(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}
