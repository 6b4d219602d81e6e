package schedulers

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/libprocess"
	"github.com/stoa-project/stoa/internal/ratelimit"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
	"github.com/stoa-project/stoa/master/ledger"
)

// shelf is a Book that keeps what it is handed.
type shelf struct {
	mu   sync.Mutex // guards the field below
	got  []ledger.Call
	more chan struct{}
}

func (s *shelf) Submit(_ context.Context, e ledger.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := e.(ledger.Call); ok {
		s.got = append(s.got, c)
		s.more <- struct{}{}
	}
	return nil
}
func (s *shelf) Ask(context.Context, ledger.Call) (ledger.Answer, error)        { return ledger.Answer{}, nil }
func (s *shelf) AskAll(context.Context, []ledger.Call) ([]ledger.Answer, error) { return nil, nil }

func limited(t *testing.T, limits string, gate Gate, required bool) (*Shell, *shelf, chan string) {
	t.Helper()
	l, err := ratelimit.Parse([]byte(limits))
	if err != nil {
		t.Fatal(err)
	}
	book, told := &shelf{more: make(chan struct{}, 1000)}, make(chan string, 1000)
	s := New(Config{Book: book, Gate: gate, RequireDrivers: required, Limiter: ratelimit.New(l),
		Send: func(_ libprocess.UPID, m proto.Message) error {
			told <- m.(*messages.FrameworkErrorMessage).GetMessage()
			return nil
		}})
	s.Open()
	t.Cleanup(s.EndAll)
	return s, book, told
}

func driverCall(n int) ledger.Call {
	id := strconv.Itoa(n)
	return ledger.Call{From: ledger.Conn{PID: "scheduler-1@127.0.0.1:9999"}, Call: &scheduler.Call{
		Type: scheduler.Call_KILL.Enum(), Kill: &scheduler.Call_Kill{TaskId: &mesos.TaskID{Value: &id}}}}
}

func driverSubscribe(principal string) ledger.Call {
	return ledger.Call{From: ledger.Conn{PID: "scheduler-1@127.0.0.1:9999"}, Call: &scheduler.Call{
		Type: scheduler.Call_SUBSCRIBE.Enum(), Subscribe: &scheduler.Call_Subscribe{FrameworkInfo: &mesos.FrameworkInfo{Principal: &principal}}}}
}

// TestWaitingMessagesKeepTheirOrder: what waits for its turn is handed on as it came.
func TestWaitingMessagesKeepTheirOrder(t *testing.T) {
	s, book, _ := limited(t, `{"limits":[{"principal":"p","qps":2000}]}`, nil, false)
	s.admit(driverSubscribe("p"))
	const n = 40
	for i := range n {
		s.admit(driverCall(i))
	}
	for range n + 1 {
		<-book.more
	}
	for i, c := range book.got[1:] {
		if c.Call.GetKill().GetTaskId().GetValue() != strconv.Itoa(i) {
			t.Fatalf("%d: %v", i, c.Call)
		}
	}
	seen := false
	s.PrincipalCounts(func(principal string, received, processed uint64) {
		seen = seen || principal == "p" && received == n+1 && processed == n+1
	})
	if !seen {
		t.Error("the principal's messages were not counted")
	}
}

// TestTermEndsWhatWaits: nothing of one term is handed to the next.
func TestTermEndsWhatWaits(t *testing.T) {
	s, book, _ := limited(t, `{"limits":[{"principal":"p","qps":0.001}]}`, nil, false)
	s.admit(driverSubscribe("p"))
	for i := range 10 {
		s.admit(driverCall(i)) // the first goes at once, the others would wait for days
	}
	<-book.more
	<-book.more
	s.EndAll()
	s.callers.mu.Lock()
	left := len(s.callers.lines)
	s.callers.mu.Unlock()
	if left != 0 {
		t.Errorf("%d principals still wait", left)
	}
	if len(book.got) != 2 {
		t.Errorf("%d calls were handed on, want the subscription and one call", len(book.got))
	}
}

// TestGateDecides: a subscription waits for its driver's authentication.
func TestGateDecides(t *testing.T) {
	var wait func(string, bool)
	gate := func(_ libprocess.UPID, fn func(string, bool)) { wait = fn }
	s, book, told := limited(t, `{}`, gate, true)
	s.admit(driverSubscribe("p"))
	if len(book.got) != 0 || wait == nil {
		t.Fatal("the subscription did not wait")
	}
	wait("p", true)
	if len(book.got) != 1 || book.got[0].Principal != "p" {
		t.Errorf("handed on: %+v", book.got)
	}
	s.admit(driverSubscribe("p"))
	wait("", false)
	select {
	case why := <-told:
		if !strings.HasSuffix(why, "is not authenticated") {
			t.Errorf("told %q", why)
		}
	case <-time.After(10 * time.Second):
		t.Error("the driver was told nothing")
	}
	if len(book.got) != 1 {
		t.Error("an unknown driver's subscription was handed on")
	}
}
