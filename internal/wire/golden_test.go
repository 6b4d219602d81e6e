package wire_test

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/agentapi"
	"github.com/stoa-project/stoa/internal/wire/executor"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
)

// recordings lists where which message was recorded.
var recordings = []struct {
	glob string
	make func() proto.Message
}{
	{"testdata/master/*", func() proto.Message { return new(masterapi.Response) }},
	{"testdata/master/policy/*", func() proto.Message { return new(masterapi.Response) }},
	{"testdata/agent/agent*/*", func() proto.Message { return new(agentapi.Response) }},
	{"testdata/master/*.recordio", func() proto.Message { return new(masterapi.Event) }},
	{"testdata/scheduler/*.recordio", func() proto.Message { return new(scheduler.Event) }},
	{"testdata/executor/*.recordio", func() proto.Message { return new(executor.Event) }},
}

// each runs f on every recorded message whose file name ends or starts as wanted.
func each(t *testing.T, codec string, f func(t *testing.T, m proto.Message, body []byte)) {
	t.Helper()
	files := 0
	for _, r := range recordings {
		stream := strings.HasSuffix(r.glob, ".recordio")
		names, err := filepath.Glob(r.glob)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			base := filepath.Base(name)
			isJSON := strings.HasSuffix(base, ".json.http")
			isPB := strings.HasSuffix(base, ".pb")
			if stream {
				isJSON = strings.Contains(base, "json")
				isPB = !isJSON
			}
			if (codec == "json" && !isJSON) || (codec == "pb" && !isPB) {
				continue
			}
			files++
			t.Run(name, func(t *testing.T) {
				data, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				for _, body := range bodies(t, data, stream, isJSON) {
					f(t, r.make(), body)
				}
			})
		}
	}
	if files < 10 {
		t.Fatalf("only %d recordings found", files)
	}
}

func bodies(t *testing.T, data []byte, stream, isJSON bool) [][]byte {
	t.Helper()
	if stream {
		var all [][]byte
		r := wire.NewReader(bytes.NewReader(data), 0)
		for {
			rec, err := r.ReadRecord()
			if err == io.EOF {
				return all
			}
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, bytes.Clone(rec))
		}
	}
	if isJSON {
		data = httpBody(t, data)
	}
	return [][]byte{data}
}

func httpBody(t *testing.T, data []byte) []byte {
	t.Helper()
	head, body, found := bytes.Cut(data, []byte("\r\n\r\n"))
	if !found {
		head, body, found = bytes.Cut(data, []byte("\n\n"))
	}
	if !found || !bytes.Contains(head, []byte(" 200 ")) {
		t.Fatalf("no 200 answer: %.80q", data)
	}
	return bytes.TrimRight(body, "\r\n")
}

// What Mesos wrote as JSON, read and written by us, is the same text.
func TestRecordedJSONSurvives(t *testing.T) {
	each(t, "json", func(t *testing.T, m proto.Message, body []byte) {
		if err := wire.UnmarshalJSON(body, m); err != nil {
			t.Fatal(err)
		}
		if u := unknown(m); u != "" {
			t.Errorf("unknown fields in %s", u)
		}
		got, err := wire.MarshalJSON(m)
		if err != nil {
			t.Fatal(err)
		}
		if !sameText(t, got, body) {
			t.Errorf("differs at byte %d:\n got …%s\nwant …%s", differ(got, body), around(got, body), around(body, got))
		}
	})
}

// What Mesos wrote as protobuf keeps every field, through both codecs.
func TestRecordedProtobufSurvives(t *testing.T) {
	each(t, "pb", func(t *testing.T, m proto.Message, body []byte) {
		if err := wire.Protobuf.Unmarshal(body, m); err != nil {
			t.Fatal(err)
		}
		if u := unknown(m); u != "" {
			t.Errorf("unknown fields in %s", u)
		}
		again, err := wire.Protobuf.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if len(again) != len(body) {
			t.Errorf("%d bytes became %d", len(body), len(again))
		}
		text, err := wire.AppendJSON(nil, m.ProtoReflect().Descriptor(), body)
		if err != nil {
			t.Fatal(err)
		}
		if direct, err := wire.MarshalJSON(m); err != nil || !sameJSON(t, direct, text) {
			t.Errorf("MarshalJSON and AppendJSON differ: %v", err)
		}
		back := m.ProtoReflect().New().Interface()
		if err := wire.UnmarshalJSON(text, back); err != nil {
			t.Fatal(err)
		}
		// Printed defaults are set fields after the way back: compare what is printed.
		once, err := wire.MarshalJSON(back)
		if err != nil || !sameJSON(t, once, text) {
			t.Errorf("JSON changed on the way through protobuf: %v", err)
		}
		pb, err := proto.Marshal(back)
		if err != nil || len(pb) < len(body) {
			t.Errorf("the way through JSON lost something: %d bytes became %d, %v", len(body), len(pb), err)
		}
	})
}

// The two recordings of one call agree as JSON values where nothing moved between them.
func TestRecordedCodecsAgree(t *testing.T) {
	still := []string{
		"master/GET_VERSION", "master/GET_FLAGS", "master/GET_HEALTH", "master/GET_LOGGING_LEVEL",
		"master/LIST_FILES", "master/GET_AGENTS", "master/GET_ROLES", "master/GET_WEIGHTS",
		"master/GET_QUOTA", "master/GET_MASTER", "master/GET_EXECUTORS", "master/GET_OPERATIONS",
		"master/GET_FRAMEWORKS",
		"master/GET_MAINTENANCE_SCHEDULE", "master/GET_MAINTENANCE_STATUS",
		"master/policy/GET_QUOTA", "master/policy/GET_WEIGHTS",
		"master/policy/GET_MAINTENANCE_SCHEDULE", "master/policy/GET_MAINTENANCE_STATUS",
		"agent/agent1/GET_FLAGS", "agent/agent1/GET_FRAMEWORKS", "agent/agent1/GET_EXECUTORS",
		"agent/agent2/GET_FRAMEWORKS",
	}
	for _, name := range still {
		t.Run(name, func(t *testing.T) {
			answer, err := os.ReadFile("testdata/" + name + ".json.http")
			if err != nil {
				t.Fatal(err)
			}
			pb, err := os.ReadFile("testdata/" + name + ".pb")
			if err != nil {
				t.Fatal(err)
			}
			var m proto.Message = new(masterapi.Response)
			if strings.HasPrefix(name, "agent/") {
				m = new(agentapi.Response)
			}
			got, err := wire.AppendJSON(nil, m.ProtoReflect().Descriptor(), pb)
			if err != nil {
				t.Fatal(err)
			}
			got = []byte(renamed.Replace(string(got)))
			if want := httpBody(t, answer); !sameText(t, got, want) && !sameJSON(t, got, want) { // maps have no order
				t.Errorf("at byte %d:\n got …%s\nwant …%s", differ(got, want), around(got, want), around(want, got))
			}
		})
	}
}

// renamed holds the replacements that were made in the recorded texts only.
var renamed = strings.NewReplacer(
	"/var/lib/stoa-cap/libexec", "/usr/libexec/mesos",
	"/usr/local/libexec/mesos-1", "/usr/libexec/mesos",
	"/var/lib/stoa-cap", "/var/lib/mesos",
	"/run/stoa-cap", "/run/mesos",
	`"hostname":"vm"`, `"hostname":"host1.example.org"`,
)

// sameText compares token by token: order, names, and the form of every number count.
// Two things may differ: the last digit of a double (Mesos does not always print the
// shortest form, so its value counts), and empty lists, which Mesos prints in those few
// answers that it does not write by descriptor.
func sameText(t *testing.T, a, b []byte) bool {
	t.Helper()
	x, y := tokens(t, a), tokens(t, b)
	if len(x) != len(y) {
		return false
	}
	for i := range x {
		m, isNumber := x[i].(json.Number)
		n, both := y[i].(json.Number)
		switch {
		case isNumber && both && m != n:
			p, _ := m.Float64()
			q, _ := n.Float64()
			if p != q || !strings.ContainsAny(string(m), ".e") || !strings.ContainsAny(string(n), ".e") {
				return false
			}
		case x[i] != y[i]:
			return false
		}
	}
	return true
}

func tokens(t *testing.T, data []byte) []any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var all []any
	for {
		token, err := d.Token()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if n := len(all); token == json.Delim(']') && n > 1 && all[n-1] == json.Delim('[') {
			all = all[:n-2] // an empty list, and its name
			continue
		}
		all = append(all, token)
	}
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y any
	if err := json.Unmarshal(a, &x); err != nil {
		t.Fatalf("%v in %.200s", err, a)
	}
	if err := json.Unmarshal(b, &y); err != nil {
		t.Fatalf("%v in %.200s", err, b)
	}
	return reflect.DeepEqual(x, y)
}

// unknown names the first message below m that holds fields our types lack.
func unknown(m proto.Message) string {
	b, _ := proto.Marshal(m)
	clean := m.ProtoReflect().New().Interface()
	_ = proto.UnmarshalOptions{DiscardUnknown: true, AllowPartial: true}.Unmarshal(b, clean)
	if proto.Size(clean) != proto.Size(m) {
		return string(m.ProtoReflect().Descriptor().FullName())
	}
	return ""
}

func differ(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

func around(a, b []byte) string {
	at := differ(a, b)
	return string(a[max(0, at-60):min(len(a), at+80)])
}
