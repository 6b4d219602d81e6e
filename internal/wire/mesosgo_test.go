package wire_test

import (
	"bytes"
	"encoding/json"
	"testing"

	gomesos "github.com/mesos/mesos-go/api/v1/lib"
	goagent "github.com/mesos/mesos-go/api/v1/lib/agent"
	goexecutor "github.com/mesos/mesos-go/api/v1/lib/executor"
	gomaster "github.com/mesos/mesos-go/api/v1/lib/master"
	goscheduler "github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/agentapi"
	"github.com/stoa-project/stoa/internal/wire/executor"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
)

// goMessage is what every message of mesos-go can do.
type goMessage interface {
	Marshal() ([]byte, error)
	Unmarshal([]byte) error
}

// counterpart is the same message in mesos-go's types.
func counterpart(m proto.Message) goMessage {
	switch m.(type) {
	case *masterapi.Response:
		return new(gomaster.Response)
	case *masterapi.Event:
		return new(gomaster.Event)
	case *agentapi.Response:
		return new(goagent.Response)
	case *executor.Event:
		return new(goexecutor.Event)
	case *scheduler.Call:
		return new(goscheduler.Call)
	}
	return new(goscheduler.Event)
}

// exchange sends a message of ours through mesos-go in every mixture of codecs and
// gives what comes back, always as our JSON. Nothing but the fields that mesos-go does
// not know may be lost, and the same ones on each way.
func exchange(t *testing.T, m proto.Message) []byte {
	t.Helper()
	pb, err := wire.Protobuf.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	text, err := wire.JSON.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var first []byte
	for _, in := range []string{"pb", "json"} {
		theirs := counterpart(m)
		if in == "pb" {
			err = theirs.Unmarshal(pb)
		} else {
			err = json.Unmarshal(text, theirs)
		}
		if err != nil {
			t.Fatalf("mesos-go reads our %s: %v", in, err)
		}
		for _, out := range []string{"pb", "json"} {
			back := m.ProtoReflect().New().Interface()
			if out == "pb" {
				var b []byte
				if b, err = theirs.Marshal(); err == nil {
					err = wire.Protobuf.Unmarshal(b, back)
				}
			} else {
				var b []byte
				if b, err = json.Marshal(theirs); err == nil {
					err = wire.JSON.Unmarshal(b, back)
				}
			}
			if err != nil {
				t.Fatalf("we read the %s of mesos-go: %v", out, err)
			}
			got, err := wire.JSON.Marshal(back)
			if err != nil {
				t.Fatal(err)
			}
			if first == nil {
				first = got
			}
			if !sameJSON(t, got, first) {
				t.Fatalf("%s to mesos-go and %s back:\n got …%s\nwant …%s", in, out, around(got, first), around(first, got))
			}
		}
	}
	return first
}

// older takes the one recorded enum name out that mesos-go does not know; in JSON it
// refuses the whole message for it.
func older(t *testing.T, m proto.Message) proto.Message {
	t.Helper()
	text, err := wire.MarshalJSON(m)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.ReplaceAll(text, []byte(`,{"type":"QUOTA_V2"}`), nil)
	out := m.ProtoReflect().New().Interface()
	if err := wire.UnmarshalJSON(text, out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestExchangesWithMesosGo lets both implementations read each other, on everything
// that real masters and agents sent.
func TestExchangesWithMesosGo(t *testing.T) {
	for _, codec := range []string{"json", "pb"} {
		each(t, codec, func(t *testing.T, m proto.Message, body []byte) {
			c := wire.JSON
			if codec == "pb" {
				c = wire.Protobuf
			}
			if err := c.Unmarshal(body, m); err != nil {
				t.Fatal(err)
			}
			m = older(t, m)
			got := exchange(t, m)
			if _, event := m.(*scheduler.Event); event {
				want, err := wire.JSON.Marshal(m)
				if err != nil {
					t.Fatal(err)
				}
				if !sameJSON(t, got, want) { // mesos-go knows every field of these
					t.Errorf("lost:\n got …%s\nwant …%s", around(got, want), around(want, got))
				}
			}
		})
	}
}

// TestExchangesCalls does the same for what frameworks send.
func TestExchangesCalls(t *testing.T) {
	for _, text := range []string{
		`{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"u","name":"n","failover_timeout":60.5,"checkpoint":true,"roles":["a","b"],"capabilities":[{"type":"MULTI_ROLE"}],"labels":{"labels":[{"key":"k"}]}},"suppressed_roles":["b"]}}`,
		`{"framework_id":{"value":"f"},"type":"ACCEPT","accept":{"offer_ids":[{"value":"o"}],"operations":[{"type":"LAUNCH","launch":{"task_infos":[{"name":"t","task_id":{"value":"t"},"agent_id":{"value":"a"},"resources":[{"name":"ports","type":"RANGES","ranges":{"range":[{"begin":1,"end":18446744073709551615}]}}],"command":{"value":"a < b && c > d"},"data":"AP8="}]}}],"filters":{"refuse_seconds":5.0}}}`,
		`{"framework_id":{"value":"f"},"type":"ACKNOWLEDGE","acknowledge":{"agent_id":{"value":"a"},"task_id":{"value":"t"},"uuid":"7cRAT6vbTiyM6mQRa+W+nw=="}}`,
	} {
		m := new(scheduler.Call)
		if err := wire.UnmarshalJSON([]byte(text), m); err != nil {
			t.Fatal(err)
		}
		want, err := wire.MarshalJSON(m)
		if err != nil {
			t.Fatal(err)
		}
		if got := exchange(t, m); !sameJSON(t, got, want) {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// The nulls that only mesos-go writes for empty lists are read as nothing.
func TestReadsNullLists(t *testing.T) {
	text, err := json.Marshal(new(gomesos.FrameworkInfo))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(text, []byte(`"capabilities":null`)) {
		t.Fatalf("no null in %s", text)
	}
	if err := wire.UnmarshalJSON(text, new(mesos.FrameworkInfo)); err != nil {
		t.Error(err)
	}
}

// Where mesos-go is stricter or looser than Mesos, our output must suit it or the
// difference be known: these are the rows of the dialect that forbid its codec.
func TestKnowsMesosGoLimits(t *testing.T) {
	for text, reads := range map[string]bool{
		`{"type":"HEARTBEAT"}`: true,
		`{"subscribed":{"framework_id":{"value":"f"},"heartbeat_interval_seconds":15.0}}`:                                                    true,
		`{"subscribed":{"framework_id":{"value":"f"},"heartbeat_interval_seconds":"15"}}`:                                                    false,
		`{"subscribed":{"framework_id":{"value":"f"},"master_info":{"id":"m","ip":"1","port":5050}}}`:                                        false,
		`{"subscribed":{"framework_id":{"value":"f"},"master_info":{"id":"m","ip":1,"port":5050}}}`:                                          true,
		`{"subscribed":{"framework_id":{"value":"f"},"master_info":{"id":"m","ip":1,"port":5050,"capabilities":[{"type":"QUOTA_V2"}]}}}`:     false,
		`{"subscribed":{"framework_id":{"value":"f"},"master_info":{"id":"m","ip":1,"port":5050,"capabilities":[{"type":"AGENT_UPDATE"}]}}}`: true,
		`{"update":{"status":{"task_id":{"value":"t"},"state":"TASK_RUNNING","uuid":"AP8"}}}`:                                                false,
		`{"update":{"status":{"task_id":{"value":"t"},"state":"TASK_RUNNING","uuid":"AP8="}}}`:                                               true,
		`{"update":{"status":{"task_id":{"value":"t"},"state":"TASK_RUNNING","timestamp":"Infinity"}}}`:                                      false,
	} {
		if err := json.Unmarshal([]byte(text), new(goscheduler.Event)); (err == nil) != reads {
			t.Errorf("%s: %v", text, err)
		}
		if err := wire.UnmarshalJSON([]byte(text), new(scheduler.Event)); err != nil {
			t.Errorf("ours: %v", err)
		}
	}
}
