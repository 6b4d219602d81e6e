package journal

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
	"google.golang.org/protobuf/proto"
)

// agentKey is where the agent's own description stands.
const agentKey = "agent"

// Images are JSON objects whose messages are protobuf bytes: a field may be added at
// any time, and an older agent ignores what it does not know.
type image struct {
	Framework string     `json:"framework,omitempty"`
	Executor  string     `json:"executor,omitempty"`
	Info      []byte     `json:"info,omitempty"`
	PID       string     `json:"pid,omitempty"`
	Generated bool       `json:"generated,omitempty"`
	Unheard   bool       `json:"unheard,omitempty"`
	Ending    bool       `json:"ending,omitempty"`
	Container string     `json:"container,omitempty"`
	Directory string     `json:"directory,omitempty"`
	Started   bool       `json:"started,omitempty"`
	Process   int        `json:"process,omitempty"`
	Networks  [][]byte   `json:"networks,omitempty"`
	State     int32      `json:"state,omitempty"`
	Delivered bool       `json:"delivered,omitempty"`
	Statuses  [][]byte   `json:"statuses,omitempty"`
	Pending   [][]byte   `json:"pending,omitempty"`
	Seen      [][]byte   `json:"seen,omitempty"`
	Acked     []byte     `json:"acked,omitempty"`
	Kill      *killImage `json:"kill,omitempty"`
	Group     string     `json:"group,omitempty"`

	// of nested containers
	Parent    string            `json:"parent,omitempty"`
	Task      string            `json:"task,omitempty"`
	Box       []byte            `json:"box,omitempty"`
	Resources [][]byte          `json:"resources,omitempty"`
	Limits    map[string][]byte `json:"limits,omitempty"`
	End       *endImage         `json:"end,omitempty"`

	// of the resources, with Resources
	Operations [][]byte `json:"operations,omitempty"`
	Doomed     [][]byte `json:"doomed,omitempty"`

	Since *time.Time `json:"since,omitempty"` // of a draining; of a task: Began
}

type killImage struct {
	Since     time.Time `json:"since"`
	Deadline  time.Time `json:"deadline"`
	Unhealthy bool      `json:"unhealthy,omitempty"`
	Overdue   bool      `json:"overdue,omitempty"`
}

// endImage is how a nested container ended.
type endImage struct {
	Known     bool     `json:"known,omitempty"`
	Code      int      `json:"code,omitempty"`
	Signal    int      `json:"signal,omitempty"`
	Core      bool     `json:"core,omitempty"`
	Limited   bool     `json:"limited,omitempty"`
	Reason    int32    `json:"reason,omitempty"`
	Message   string   `json:"message,omitempty"`
	Resources [][]byte `json:"resources,omitempty"`
}

// AgentEntry records the agent as it was registered, with its id.
func AgentEntry(info *messages.SlaveInfo) (Entry, error) {
	b, err := proto.Marshal(info)
	if err != nil {
		return Entry{}, fault.New("journal.AgentEntry", fault.Invalid, agentKey, err)
	}
	return Entry{Key: agentKey, Value: b}, nil
}

// Encode turns the core's records into entries.
func Encode(records []lifecycle.Record) ([]Entry, error) {
	out := make([]Entry, 0, len(records))
	for _, r := range records {
		if r.Removal() {
			out = append(out, Entry{Key: r.Key})
			continue
		}
		img, err := encode(r)
		if err != nil {
			return nil, fault.New("journal.Encode", fault.Invalid, r.Key, err)
		}
		b, err := json.Marshal(img)
		if err != nil {
			return nil, fault.New("journal.Encode", fault.Invalid, r.Key, err)
		}
		out = append(out, Entry{Key: r.Key, Value: b})
	}
	return out, nil
}

func encode(r lifecycle.Record) (img image, err error) {
	put := func(m proto.Message) []byte {
		b, e := proto.MarshalOptions{AllowPartial: true}.Marshal(m)
		if e != nil && err == nil {
			err = e
		}
		return b
	}
	switch {
	case r.Framework != nil:
		img = image{Info: put(r.Framework.Info), PID: r.Framework.PID}
	case r.Executor != nil:
		x := r.Executor
		img = image{Framework: string(x.Framework), Info: put(x.Info), Generated: x.Generated, Unheard: x.Unheard, Ending: x.Ending, Container: string(x.Container),
			Directory: x.Directory, Started: x.Started, Process: x.PID, PID: x.UPID}
		for _, n := range x.Networks {
			img.Networks = append(img.Networks, put(n))
		}
		img.End = encodeLimit(x.Limit, put)
	case r.Task != nil:
		x := r.Task
		img = image{Framework: string(x.Framework), Executor: string(x.Executor), Info: put(x.Info),
			State: int32(x.State), Delivered: x.Delivered, Seen: x.Seen, Group: x.Group}
		for _, st := range x.Statuses {
			img.Statuses = append(img.Statuses, put(st))
		}
		for _, u := range x.Pending {
			img.Pending = append(img.Pending, put(u))
		}
		if x.Acked != nil {
			img.Acked = put(x.Acked)
		}
		if !x.Began.IsZero() {
			img.Since = &x.Began
		}
		if k := x.Killing; k != nil {
			img.Kill = &killImage{k.Since, k.Deadline, k.Unhealthy, k.Overdue}
		}
	case r.Nested != nil:
		img = encodeNested(r.Nested, put)
	case r.Resources != nil:
		img = encodeResources(r.Resources, put)
	case r.Drain != nil:
		img = image{Info: put(r.Drain.Config), Since: &r.Drain.Since}
	}
	return img, err
}

// Decode gives the agent's description (nil when there is none) and the core's records.
// An entry that cannot be understood is left out and listed.
func Decode(entries []Entry) (*messages.SlaveInfo, []lifecycle.Record, []Loss) {
	var agent *messages.SlaveInfo
	var out []lifecycle.Record
	var losses []Loss
	for _, e := range entries {
		if e.Key == agentKey {
			agent = &messages.SlaveInfo{}
			if err := proto.Unmarshal(e.Value, agent); err != nil {
				agent = nil
				losses = append(losses, Loss{e.Key, err.Error()})
			}
			continue
		}
		r, err := decode(e)
		if err != nil {
			losses = append(losses, Loss{e.Key, err.Error()})
			continue
		}
		out = append(out, r)
	}
	return agent, out, losses
}

func decode(e Entry) (r lifecycle.Record, err error) {
	var img image
	if err := json.Unmarshal(e.Value, &img); err != nil {
		return r, err
	}
	get := func(b []byte, m proto.Message) {
		if e := (proto.UnmarshalOptions{AllowPartial: true}).Unmarshal(b, m); e != nil && err == nil {
			err = e
		}
	}
	r.Key = e.Key
	kind, _, _ := strings.Cut(e.Key, "/")
	switch kind {
	case "f":
		info := &mesos.FrameworkInfo{}
		get(img.Info, info)
		r.Framework = &lifecycle.FrameworkImage{Info: info, PID: img.PID}
	case "e":
		info := &mesos.ExecutorInfo{}
		get(img.Info, info)
		r.Executor = &lifecycle.ExecutorImage{Framework: lifecycle.FrameworkID(img.Framework), Info: info, Generated: img.Generated, Unheard: img.Unheard, Ending: img.Ending,
			Container: lifecycle.ContainerID(img.Container), Directory: img.Directory, Started: img.Started, PID: img.Process, UPID: img.PID}
		for _, b := range img.Networks {
			n := &mesos.NetworkInfo{}
			get(b, n)
			r.Executor.Networks = append(r.Executor.Networks, n)
		}
		r.Executor.Limit = decodeLimit(img.End, get)
	case "t":
		info := &mesos.TaskInfo{}
		get(img.Info, info)
		t := &lifecycle.TaskImage{Framework: lifecycle.FrameworkID(img.Framework), Executor: lifecycle.ExecutorID(img.Executor), Info: info,
			State: mesos.TaskState(img.State), Delivered: img.Delivered, Seen: img.Seen, Group: img.Group}
		for _, b := range img.Statuses {
			st := &mesos.TaskStatus{}
			get(b, st)
			t.Statuses = append(t.Statuses, st)
		}
		for _, b := range img.Pending {
			u := &messages.StatusUpdate{}
			get(b, u)
			t.Pending = append(t.Pending, u)
		}
		if img.Acked != nil {
			t.Acked = &mesos.TaskStatus{}
			get(img.Acked, t.Acked)
		}
		if img.Since != nil {
			t.Began = *img.Since
		}
		if k := img.Kill; k != nil {
			t.Killing = &lifecycle.KillImage{Since: k.Since, Deadline: k.Deadline, Unhealthy: k.Unhealthy, Overdue: k.Overdue}
		}
		r.Task = t
	case "n":
		r.Nested = decodeNested(img, get)
	case "r":
		r.Resources = decodeResources(img, get)
	case "d":
		r.Drain = &lifecycle.DrainImage{Config: &mesos.DrainConfig{}}
		get(img.Info, r.Drain.Config)
		if img.Since != nil {
			r.Drain.Since = *img.Since
		}
	default:
		return r, fmt.Errorf("record of unknown kind %q", kind)
	}
	return r, err
}
