package operators

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
	"github.com/stoa-project/stoa/master/ledger"
)

// The long answers of the v1 API are messages of lists of messages. A block describes
// one without building it, so that it can be printed page by page in either codec.

// block is one message: lists of messages, and further blocks inside it.
type block struct {
	field  string // its name in the message around it
	lists  []list
	blocks []block
	beat   float64 // heartbeat_interval_seconds; 0 for none
}

// list is a repeated field. It is printed in JSON also when it is empty, unlike others.
type list struct {
	field string
	runs  []run
}

// run are n elements of a list.
type run struct {
	n  int
	at func(i int) proto.Message
}

func runOf[M proto.Message](items []M) run {
	return run{len(items), func(i int) proto.Message { return items[i] }}
}

func tasksBlock(b *ledger.Snapshot) block {
	live, unreachable, ended := list{field: "tasks"}, list{field: "unreachable_tasks"}, list{field: "completed_tasks"}
	for _, all := range [][]*ledger.FrameworkView{b.Frameworks, b.Completed} {
		for _, f := range all {
			live.runs = append(live.runs, runOf(f.Tasks))
			unreachable.runs = append(unreachable.runs, runOf(f.Unreachable))
			ended.runs = append(ended.runs, runOf(f.CompletedT))
		}
	}
	return block{field: "get_tasks", lists: []list{live, unreachable, ended}}
}

func executorsBlock(b *ledger.Snapshot) block {
	all := list{field: "executors"}
	for _, f := range b.Frameworks {
		all.runs = append(all.runs, run{len(f.Executors), func(i int) proto.Message {
			x := f.Executors[i]
			id := string(x.Agent)
			return &masterapi.Response_GetExecutors_Executor{ExecutorInfo: x.Info, AgentId: &mesos.AgentID{Value: &id}}
		}})
	}
	return block{field: "get_executors", lists: []list{all}}
}

func frameworksBlock(b *ledger.Snapshot) block {
	all := func(field string, views []*ledger.FrameworkView) list {
		return list{field, []run{{len(views), func(i int) proto.Message {
			f := views[i].Wire()
			f.AllocatedResources = resource.Endpoint(f.AllocatedResources)
			f.OfferedResources = resource.Endpoint(f.OfferedResources)
			if f.OfferConstraints == nil {
				f.OfferConstraints = &scheduler.OfferConstraints{}
			}
			return f
		}}}}
	}
	return block{field: "get_frameworks", lists: []list{all("frameworks", b.Frameworks), all("completed_frameworks", b.Completed)}}
}

func agentsBlock(b *ledger.Snapshot) block {
	return block{field: "get_agents", lists: []list{
		{"agents", []run{{len(b.Agents), func(i int) proto.Message { return endpointAgent(b.Agents[i].Wire()) }}}},
		{"recovered_agents", []run{runOf(b.Recovered)}},
	}}
}

// endpointAgent converts the sums of an agent, which is the caller's own, to the
// form of operator endpoints. Everything else keeps the present form, as in Mesos.
func endpointAgent(a *masterapi.Response_GetAgents_Agent) *masterapi.Response_GetAgents_Agent {
	a.TotalResources = resource.Endpoint(a.TotalResources)
	a.AllocatedResources = resource.Endpoint(a.AllocatedResources)
	a.OfferedResources = resource.Endpoint(a.OfferedResources)
	for _, p := range a.ResourceProviders {
		p.TotalResources = resource.Endpoint(p.TotalResources)
	}
	return a
}

func stateBlock(b *ledger.Snapshot) block {
	return block{field: "get_state", blocks: []block{tasksBlock(b), executorsBlock(b), frameworksBlock(b), agentsBlock(b)}}
}

// sharedReads are the reads whose answers are long and polled.
var sharedReads = []masterapi.Call_Type{
	masterapi.Call_GET_STATE, masterapi.Call_GET_TASKS, masterapi.Call_GET_AGENTS,
	masterapi.Call_GET_FRAMEWORKS, masterapi.Call_GET_EXECUTORS,
}

// readParts plans the answer to a shared read.
func (s *Shell) readParts(t masterapi.Call_Type, codec wire.Codec, b *ledger.Snapshot) []part {
	var content block
	switch t {
	case masterapi.Call_GET_STATE:
		content = stateBlock(b)
	case masterapi.Call_GET_TASKS:
		content = tasksBlock(b)
	case masterapi.Call_GET_AGENTS:
		content = agentsBlock(b)
	case masterapi.Call_GET_FRAMEWORKS:
		content = frameworksBlock(b)
	case masterapi.Call_GET_EXECUTORS:
		content = executorsBlock(b)
	}
	kind := masterapi.Response_Type(masterapi.Response_Type_value[t.String()])
	return envelope(codec, &masterapi.Response{Type: kind.Enum()}, kind.String(), content)
}

// snapshotOf names the shared first event of a subscription.
func snapshotOf(codec wire.Codec) string { return "SUBSCRIBED " + codec.MediaType }

// subscribedParts plans the first event of a subscription.
func (s *Shell) subscribedParts(codec wire.Codec, b *ledger.Snapshot) []part {
	kind := masterapi.Event_SUBSCRIBED
	return envelope(codec, &masterapi.Event{Type: kind.Enum()}, kind.String(),
		block{field: "subscribed", blocks: []block{stateBlock(b)}, beat: s.cfg.Heartbeat.Seconds()})
}

// envelope plans a message of its type and one block.
func envelope(codec wire.Codec, head proto.Message, kind string, content block) []part {
	if codec.MediaType == wire.MediaJSON {
		parts := []part{one(func(e *encoder) {
			e.open('{')
			e.str("type", kind)
		})}
		return append(content.json(parts), one(func(e *encoder) { e.shut('}') }))
	}
	parts := []part{one(func(e *encoder) { e.b, e.err = proto.MarshalOptions{}.MarshalAppend(e.b, head) })}
	parts, _ = content.binary(head.ProtoReflect().Descriptor(), parts)
	return parts
}

// json plans the block as a member of an object.
func (b block) json(parts []part) []part {
	parts = append(parts, one(func(e *encoder) {
		e.key(b.field)
		e.open('{')
	}))
	for _, l := range b.lists {
		parts = append(parts, listOpens(l.field))
		for _, r := range l.runs {
			parts = append(parts, part{r.n, func(e *encoder, i int) { e.element(r.at(i)) }})
		}
		parts = append(parts, listShuts)
	}
	for _, inner := range b.blocks {
		parts = inner.json(parts)
	}
	return append(parts, one(func(e *encoder) {
		if b.beat != 0 {
			e.num("heartbeat_interval_seconds", b.beat)
		}
		e.shut('}')
	}))
}

// binary plans the block as a field of message in, whose size in bytes must come before
// its content: so everything in it is measured first.
func (b block) binary(in protoreflect.MessageDescriptor, parts []part) (_ []part, size int) {
	field := in.Fields().ByName(protoreflect.Name(b.field))
	of := field.Message()
	at := len(parts)
	parts = append(parts, part{}) // the head, when the size is known
	inside := 0
	for _, l := range b.lists {
		number := of.Fields().ByName(protoreflect.Name(l.field)).Number()
		for _, r := range l.runs {
			for i := range r.n {
				inside += protowire.SizeTag(number) + protowire.SizeBytes(proto.Size(r.at(i)))
			}
			parts = append(parts, part{r.n, func(e *encoder, i int) {
				m := r.at(i)
				e.b = protowire.AppendTag(e.b, number, protowire.BytesType)
				e.b = protowire.AppendVarint(e.b, uint64(proto.Size(m)))
				if e.err == nil {
					e.b, e.err = proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(e.b, m)
				}
			}})
		}
	}
	for _, inner := range b.blocks {
		var n int
		parts, n = inner.binary(of, parts)
		inside += n
	}
	if b.beat != 0 {
		number := of.Fields().ByName("heartbeat_interval_seconds").Number()
		inside += protowire.SizeTag(number) + protowire.SizeFixed64()
		parts = append(parts, one(func(e *encoder) {
			e.b = protowire.AppendTag(e.b, number, protowire.Fixed64Type)
			e.b = protowire.AppendFixed64(e.b, math.Float64bits(b.beat))
		}))
	}
	parts[at] = one(func(e *encoder) {
		e.b = protowire.AppendTag(e.b, field.Number(), protowire.BytesType)
		e.b = protowire.AppendVarint(e.b, uint64(inside))
	})
	return parts, protowire.SizeTag(field.Number()) + protowire.SizeBytes(inside)
}
