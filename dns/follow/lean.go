package follow

import (
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/dns/names"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Numbers of the fields on the way to the tasks of a SUBSCRIBED event.
const (
	fieldSubscribed = 2 // Event
	fieldState      = 1 // Event.Subscribed
	fieldGetTasks   = 1 // Response.GetState
	fieldTasks      = 2 // Response.GetTasks
	fieldOrphans    = 4
)

// largeEvent is the size from which an event is read in parts, in octets.
const largeEvent = 1 << 20

// readLarge reads a large event in protobuf task by task, so that a whole cluster is never
// unfolded at once. The tasks that names depend on come out apart; the event keeps
// everything else, without any tasks.
func readLarge(record []byte) (*masterapi.Event, []names.Task, error) {
	var tasks []names.Task
	rest, err := without(nil, record, []protowire.Number{fieldSubscribed, fieldState, fieldGetTasks}, func(n protowire.Number, task []byte) error {
		if n != fieldTasks && n != fieldOrphans {
			return nil
		}
		var t mesos.Task
		if err := proto.Unmarshal(task, &t); err != nil {
			return err
		}
		tasks = append(tasks, taskOf(&t))
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	var e masterapi.Event
	if err := proto.Unmarshal(rest, &e); err != nil {
		return nil, nil, err
	}
	return &e, tasks, nil
}

// without copies a message to out but for the fields of the message at the end of path;
// these are handed to take.
func without(out, message []byte, path []protowire.Number, take func(protowire.Number, []byte) error) ([]byte, error) {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		size := protowire.ConsumeFieldValue(number, kind, message[n:])
		if size < 0 {
			return nil, protowire.ParseError(size)
		}
		field, value := message[:n+size], message[n:n+size]
		message = message[n+size:]
		switch {
		case kind == protowire.BytesType && len(path) == 0:
			inner, _ := protowire.ConsumeBytes(value)
			if err := take(number, inner); err != nil {
				return nil, err
			}
		case kind == protowire.BytesType && number == path[0]:
			inner, _ := protowire.ConsumeBytes(value)
			kept, err := without(nil, inner, path[1:], take)
			if err != nil {
				return nil, err
			}
			out = protowire.AppendTag(out, number, protowire.BytesType)
			out = protowire.AppendBytes(out, kept)
		case len(path) > 0:
			out = append(out, field...)
		}
	}
	return out, nil
}
