package schedulers

import (
	"bytes"
	"net/http/httptest"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
)

func message(size int) *scheduler.Event {
	return &scheduler.Event{Type: scheduler.Event_MESSAGE.Enum(), Message: &scheduler.Event_Message{
		AgentId: &mesos.AgentID{Value: proto.String("a")}, ExecutorId: &mesos.ExecutorID{Value: proto.String("e")}, Data: make([]byte, size)}}
}

// TestSlowReaderIsCut: a framework that does not read costs at most the limit, and then
// its stream ends with nothing half-written behind it.
func TestSlowReaderIsCut(t *testing.T) {
	s := newStream("s", wire.Protobuf, 10_000)
	pushed := 0
	for {
		if err := s.push(message(1000)); err != nil {
			if err != errSlow {
				t.Fatal(err)
			}
			break
		}
		if pushed++; pushed > 20 {
			t.Fatal("the queue has no end")
		}
	}
	if events, over := s.take(); len(events) != 0 || !over {
		t.Errorf("%d events left, over %v", len(events), over)
	}
	if err := s.push(message(1)); err != nil {
		t.Errorf("push after the end: %v", err)
	}
}

// TestEventsBeforeTheEndAreWritten: what was pushed before end reaches the framework, in
// order and in whole records.
func TestEventsBeforeTheEndAreWritten(t *testing.T) {
	s := newStream("s", wire.JSON, 1<<20)
	for _, e := range []*scheduler.Event{{Type: scheduler.Event_SUBSCRIBED.Enum(), Subscribed: &scheduler.Event_Subscribed{
		FrameworkId: &mesos.FrameworkID{Value: proto.String("f")}}}, message(3), {Type: scheduler.Event_ERROR.Enum(),
		Error: &scheduler.Event_Error{Message: proto.String("over")}}} {
		if err := s.push(e); err != nil {
			t.Fatal(err)
		}
	}
	s.end()
	w := deadlineRecorder{httptest.NewRecorder()}
	if why := s.serve(w, nil, time.Hour); why != "the subscription ended" {
		t.Errorf("ended because %s", why)
	}
	want := ""
	for _, record := range []string{
		`{"type":"SUBSCRIBED","subscribed":{"framework_id":{"value":"f"}}}`,
		`{"type":"HEARTBEAT"}`,
		`{"type":"MESSAGE","message":{"agent_id":{"value":"a"},"executor_id":{"value":"e"},"data":"AAAA"}}`,
		`{"type":"ERROR","error":{"message":"over"}}`,
	} {
		want += string(wire.AppendRecord(nil, []byte(record)))
	}
	if got := w.Body.Bytes(); !bytes.Equal(got, []byte(want)) {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

// deadlineRecorder is a recorder that takes write deadlines, as connections do.
type deadlineRecorder struct{ *httptest.ResponseRecorder }

func (deadlineRecorder) SetWriteDeadline(time.Time) error { return nil }
