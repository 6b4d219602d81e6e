package wire_test

import (
	"testing"

	"github.com/stoa-project/stoa/internal/wire"
)

func TestCodecFor(t *testing.T) {
	for in, want := range map[string]string{
		"application/json":                wire.MediaJSON,
		"application/json; charset=utf-8": wire.MediaJSON,
		"Application/JSON":                wire.MediaJSON,
		"application/x-protobuf":          wire.MediaProtobuf,
		"application/recordio":            "",
		"text/plain":                      "",
		"":                                "",
	} {
		if c, ok := wire.CodecFor(in); c.MediaType != want || ok != (want != "") {
			t.Errorf("%q: got %q, %v", in, c.MediaType, ok)
		}
	}
	if !wire.IsRecordIO("application/recordio; x=y") || wire.IsRecordIO("application/json") {
		t.Error("IsRecordIO")
	}
}

func TestNegotiate(t *testing.T) {
	for _, c := range []struct {
		accept []string
		want   string
	}{
		{nil, wire.MediaJSON},
		{[]string{"*/*"}, wire.MediaJSON},
		{[]string{"application/*"}, wire.MediaJSON},
		{[]string{"application/x-protobuf, application/json"}, wire.MediaJSON},
		{[]string{"application/x-protobuf", "application/x-protobuf"}, wire.MediaProtobuf},
		{[]string{"application/json;q=0, */*"}, wire.MediaProtobuf},
		{[]string{"application/json;q=0"}, ""},
		{[]string{"text/html"}, ""},
		{[]string{""}, ""},
		{[]string{"application/recordio"}, ""},
	} {
		got, ok := wire.Negotiate(c.accept)
		if got.MediaType != c.want || ok != (c.want != "") {
			t.Errorf("%q: got %q, %v; want %q", c.accept, got.MediaType, ok, c.want)
		}
	}
}
