package libprocess

import (
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire/messages"
)

// What a screen refuses is never decoded, and is counted apart.
func TestScreen(t *testing.T) {
	tr := start(t, Config{})
	got := make(chan string, 10)
	m := NewMux(nil)
	Handle(m, "mesos.internal.ShutdownMessage", func(_ UPID, msg *messages.ShutdownMessage) { got <- msg.GetMessage() })
	m.Screen("mesos.internal.ShutdownMessage", func(env Message) bool { return len(env.Body) > 0 })
	to, err := tr.Spawn("screened", m)
	if err != nil {
		t.Fatal(err)
	}
	from, err := tr.Spawn("sender", NewMux(nil))
	if err != nil {
		t.Fatal(err)
	}
	for _, msg := range []*messages.ShutdownMessage{{}, {Message: proto.String("heard")}} {
		if err := tr.Send(from, to, msg); err != nil && !errors.Is(err, ErrUnwanted) {
			t.Fatal(err)
		}
	}
	if text := <-got; text != "heard" {
		t.Errorf("got %q", text)
	}
	eventually(t, "the other one is counted", func() bool { return tr.Stats().Dropped[DropUnwanted] == 1 })
}
