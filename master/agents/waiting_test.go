package agents

import (
	"fmt"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/libprocess"
)

func TestRepetitionsWait(t *testing.T) {
	var w waiting
	now := time.Unix(100, 0)
	a, err := libprocess.Parse("slave(1)@10.0.0.1:5051")
	if err != nil {
		t.Fatal(err)
	}
	b, err := libprocess.Parse("slave(2)@10.0.0.1:5051")
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		from libprocess.UPID
		at   time.Duration
		want bool
	}{{a, 0, true}, {a, time.Second, false}, {b, time.Second, true}, {a, repeatAfter, true}, {a, repeatAfter + 1, false}} {
		if got := w.begin(c.from, now.Add(c.at)); got != c.want {
			t.Errorf("%d: %v", i, got)
		}
	}
	answered := now.Add(repeatAfter + 2)
	w.answer(a, answered)
	if w.begin(a, answered.Add(repeatAnswered-1)) {
		t.Error("what crossed the answer counts")
	}
	if !w.begin(a, answered.Add(repeatAnswered)) {
		t.Error("an answered agent may register again")
	}
	w.answer(a, answered)
	w.forget(a) // its link broke: the answer may be lost, or it is another process
	if !w.begin(a, answered.Add(1)) {
		t.Error("a new process may register at once")
	}
	for i := range maxWaiting + 10 {
		from, err := libprocess.Parse(fmt.Sprintf("slave(%d)@10.0.0.2:5051", i))
		if err != nil {
			t.Fatal(err)
		}
		w.begin(from, now)
	}
	if n := len(w.since); n > maxWaiting {
		t.Errorf("%d addresses are remembered", n)
	}
}
