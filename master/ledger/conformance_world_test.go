package ledger_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
	"github.com/stoa-project/stoa/master/allocate"
	"github.com/stoa-project/stoa/master/ledger"
)

// world is a ledger with its allocator in virtual time. Agents answer every ping until
// they are silent; the registry is quick. Effects are kept until they are asked for.
type world struct {
	t      *testing.T
	now    time.Time
	book   *ledger.Ledger
	al     *allocate.Allocator
	silent map[ledger.PID]bool
	hold   bool // registry writes wait
	held   []ledger.Ticket

	events  map[ledger.Conn][]*scheduler.Event
	closed  map[ledger.Conn]bool
	toAgent map[ledger.PID][]proto.Message
	told    []*masterapi.Event
	answers []ledger.Answer
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, now: time.Unix(1_000_000, 0).UTC(), al: allocate.New(allocate.Config{FilterGPU: true, Region: "r"}), silent: map[ledger.PID]bool{},
		events: map[ledger.Conn][]*scheduler.Event{}, closed: map[ledger.Conn]bool{}, toAgent: map[ledger.PID][]proto.Message{},
		book: ledger.New(ledger.Config{Master: &mesos.MasterInfo{Id: proto.String("M"), Ip: proto.Uint32(16777343), Port: proto.Uint32(5050)},
			Domain: &mesos.DomainInfo{FaultDomain: &mesos.DomainInfo_FaultDomain{Region: &mesos.DomainInfo_FaultDomain_RegionInfo{Name: proto.String("r")},
				Zone: &mesos.DomainInfo_FaultDomain_ZoneInfo{Name: proto.String("m")}}}})}
	return w
}

// begin opens the term; ids are agents that the registry remembers.
func (w *world) begin(ids ...string) *world {
	e := ledger.Recovered{}
	for _, id := range ids {
		e.Admitted = append(e.Admitted, ledger.Admission{Info: &mesos.AgentInfo{Hostname: proto.String("h"), Id: &mesos.AgentID{Value: &id}}})
	}
	w.step(e)
	return w
}

func (w *world) step(e ledger.Event) {
	var done []ledger.Ticket
	var pongs []ledger.PID
	for _, effect := range w.book.Step(w.now, e) {
		w.al.Apply(w.now, effect)
		switch e := effect.(type) {
		case ledger.Registry:
			done = append(done, e.Ticket)
		case ledger.ToFramework:
			w.events[e.To] = append(w.events[e.To], e.Event)
		case ledger.CloseFramework:
			w.closed[e.To] = true
		case ledger.ToAgent:
			if _, ping := e.Message.(*messages.PingSlaveMessage); ping {
				if !w.silent[e.PID] {
					pongs = append(pongs, e.PID)
				}
				continue
			}
			w.toAgent[e.PID] = append(w.toAgent[e.PID], e.Message)
		case ledger.Operator:
			w.told = append(w.told, e.Event)
		case ledger.Note:
			w.t.Log(e.Text, e.Agent, e.Framework, e.Task)
		case ledger.Answer:
			w.answers = append(w.answers, e)
		}
	}
	for _, from := range pongs {
		w.step(ledger.AgentMessage{From: from, Message: &messages.PongSlaveMessage{}})
	}
	if w.hold {
		w.held = append(w.held, done...)
	} else if len(done) > 0 {
		w.step(ledger.RegistryDone{Tickets: done})
	}
}

// allocate lets the allocator grant what is free now.
func (w *world) allocate() {
	if g := w.al.Run(w.now); len(g) > 0 {
		w.step(ledger.Grants{Grants: g})
	}
}

// wait lets time pass; timers fire, nothing is allocated.
func (w *world) wait(d time.Duration) {
	end := w.now.Add(d)
	for {
		at, any := w.book.Next()
		if !any || at.After(end) {
			break
		}
		w.now = at
		w.step(ledger.Tick{})
	}
	w.now = end
}

// call sends a call as JSON, completed with the framework's id if there is one, and gives
// the answer.
func (w *world) call(conn, framework, body string) ledger.Answer {
	w.t.Helper()
	if framework != "" {
		body = strings.Replace(body, "{", `{"framework_id":{"value":"`+framework+`"},`, 1)
	}
	c := &scheduler.Call{}
	if err := wire.UnmarshalJSON([]byte(body), c); err != nil {
		w.t.Fatalf("%s: %v", body, err)
	}
	w.answers = nil
	w.step(ledger.Call{From: connOf(conn), Call: c, Ticket: 1})
	for _, a := range w.answers {
		if a.Ticket == 1 {
			return a
		}
	}
	return ledger.Answer{}
}

// subscribe sends SUBSCRIBE and gives the framework's id. more goes into the info.
func (w *world) subscribe(conn, id, more string) string {
	w.t.Helper()
	outer := ""
	if id != "" {
		outer = `,"framework_id":{"value":"` + id + `"}`
		more += `,"id":{"value":"` + id + `"}`
	}
	w.call(conn, "", `{"type":"SUBSCRIBE"`+outer+`,"subscribe":{"framework_info":{"user":"root","name":"f","failover_timeout":60`+more+`}}}`)
	return w.next(conn, scheduler.Event_SUBSCRIBED).GetSubscribed().GetFrameworkId().GetValue()
}

const (
	checkpointing = `,"checkpoint":true`
	aware         = `,"checkpoint":true,"capabilities":[{"type":"PARTITION_AWARE"}]`
)

// next takes the first event of the kind on the connection, leaving the others.
func (w *world) next(conn string, kind scheduler.Event_Type) *scheduler.Event {
	w.t.Helper()
	c := connOf(conn)
	for i, e := range w.events[c] {
		if e.GetType() == kind {
			w.events[c] = append(w.events[c][:i:i], w.events[c][i+1:]...)
			return e
		}
	}
	w.t.Fatalf("%s has no %s among %v", conn, kind, w.kinds(conn))
	return nil
}

// kinds lists the events that wait on the connection.
func (w *world) kinds(conn string) (out []string) {
	for _, e := range w.events[connOf(conn)] {
		out = append(out, event(e))
	}
	return out
}

func (w *world) none(conn string, kind scheduler.Event_Type) {
	w.t.Helper()
	for _, e := range w.events[connOf(conn)] {
		if e.GetType() == kind {
			w.t.Errorf("%s got %s", conn, event(e))
		}
	}
}

// forget drops what waits on all connections and agents.
func (w *world) forget() {
	clear(w.events)
	clear(w.toAgent)
	w.told = nil
}

func (w *world) status(conn string) *mesos.TaskStatus {
	w.t.Helper()
	return w.next(conn, scheduler.Event_UPDATE).GetUpdate().GetStatus()
}

// offer allocates until the connection has an offer.
func (w *world) offer(conn string) *mesos.Offer {
	w.t.Helper()
	w.allocate()
	e := w.next(conn, scheduler.Event_OFFERS)
	if n := len(e.GetOffers().GetOffers()); n != 1 {
		w.t.Fatalf("%d offers in one event", n)
	}
	return e.GetOffers().GetOffers()[0]
}

// offered reports whether an allocation brings the connection an offer.
func (w *world) offered(conn string) bool {
	w.allocate()
	for _, e := range w.events[connOf(conn)] {
		if e.GetType() == scheduler.Event_OFFERS {
			return true
		}
	}
	return false
}

// register brings an agent with 4 cpus and 1024 MB; its id is the answer.
func (w *world) register(pid, more string) string {
	w.t.Helper()
	w.agent(pid, "register", `{"slave":{"hostname":"host-`+hostNumber(pid)+`","checkpoint":true,"resources":[`+twoScalars(4, 1024)+`]`+more+`},"version":"1.11.0",`+allCapabilities+`}`)
	m, ok := w.sent(pid, "SlaveRegisteredMessage").(*messages.SlaveRegisteredMessage)
	if !ok {
		w.t.Fatal("not registered")
	}
	return m.GetSlaveId().GetValue()
}

func hostNumber(pid string) string {
	_, addr, _ := strings.Cut(pid, "@")
	return strings.NewReplacer(".", "-", ":", "-").Replace(addr)
}

const allCapabilities = `"agent_capabilities":[{"type":"MULTI_ROLE"},{"type":"HIERARCHICAL_ROLE"},{"type":"RESERVATION_REFINEMENT"}]`

func twoScalars(cpus, mem float64) string {
	return fmt.Sprintf(`{"name":"cpus","type":"SCALAR","scalar":{"value":%v}},{"name":"mem","type":"SCALAR","scalar":{"value":%v}}`, cpus, mem)
}

// reregister brings a known agent back; tasks are "framework task state".
func (w *world) reregister(pid, id string, frameworks string, tasks ...string) {
	w.t.Helper()
	var infos, list []string
	for f := range strings.FieldsSeq(frameworks) {
		infos = append(infos, `{"user":"root","name":"f","failover_timeout":60,"checkpoint":true,"id":{"value":"`+f+`"},"capabilities":[{"type":"PARTITION_AWARE"}]}`)
	}
	for _, t := range tasks {
		w := strings.Fields(t)
		list = append(list, `{"name":"t","task_id":{"value":"`+w[1]+`"},"framework_id":{"value":"`+w[0]+`"},"agent_id":{"value":"`+id+`"},"state":"`+w[2]+`","resources":[`+twoScalars(1, 32)+`]}`)
	}
	w.agent(pid, "reregister", `{"slave":{"id":{"value":"`+id+`"},"hostname":"host-`+hostNumber(pid)+`","checkpoint":true,"resources":[`+twoScalars(4, 1024)+`]},"version":"1.11.0",`+
		allCapabilities+`,"frameworks":[`+strings.Join(infos, ",")+`],"tasks":[`+strings.Join(list, ",")+`]}`)
}

func (w *world) agent(pid, kind, body string) {
	w.t.Helper()
	m := agentMessages[kind].ProtoReflect().New().Interface()
	if err := wire.UnmarshalJSON([]byte(body), m); err != nil {
		w.t.Fatalf("%s: %v", body, err)
	}
	w.step(ledger.AgentMessage{From: ledger.PID(pid), Message: m})
}

// sent takes the first message of the name that went to the agent; nil when there is none.
func (w *world) sent(pid, name string) proto.Message {
	for i, m := range w.toAgent[ledger.PID(pid)] {
		if string(m.ProtoReflect().Descriptor().Name()) == name {
			w.toAgent[ledger.PID(pid)] = append(w.toAgent[ledger.PID(pid)][:i:i], w.toAgent[ledger.PID(pid)][i+1:]...)
			return m
		}
	}
	return nil
}

// accept launches tasks of 1 cpu and 32 MB each.
func (w *world) accept(conn, framework string, o *mesos.Offer, filters string, tasks ...string) {
	w.t.Helper()
	var list []string
	for _, t := range tasks {
		list = append(list, `{"name":"t","task_id":{"value":"`+t+`"},"agent_id":{"value":"`+o.GetAgentId().GetValue()+`"},"command":{"value":"sleep 1"},"resources":[`+twoScalars(1, 32)+`]}`)
	}
	if got := w.call(conn, framework, `{"type":"ACCEPT","accept":{"offer_ids":[{"value":"`+o.GetId().GetValue()+`"}]`+filters+`,"operations":[{"type":"LAUNCH","launch":{"task_infos":[`+
		strings.Join(list, ",")+`]}}]}}`); got.Code != 202 {
		w.t.Fatalf("ACCEPT: %d %s", got.Code, got.Body)
	}
}

// update is a status update of an agent. uuid is one letter; latest may be empty.
func (w *world) update(pid, agent, framework, task, state, uuid, latest string) {
	w.t.Helper()
	if latest == "" {
		latest = state
	}
	w.agent(pid, "update", `{"pid":"`+pid+`","update":{"framework_id":{"value":"`+framework+`"},"slave_id":{"value":"`+agent+`"},"executor_id":{"value":"`+task+`"},`+
		`"status":{"task_id":{"value":"`+task+`"},"state":"`+state+`","source":"SOURCE_EXECUTOR"},"timestamp":7,"uuid":"`+uuid16(uuid)+`","latest_state":"`+latest+`"}}`)
}

// uuid16 is base64 of sixteen times the letter.
func uuid16(letter string) string {
	return base64.StdEncoding.EncodeToString([]byte(strings.Repeat(letter, 16)))
}

func (w *world) acknowledge(conn, framework, agent, task, uuid string) {
	w.t.Helper()
	if got := w.call(conn, framework, `{"type":"ACKNOWLEDGE","acknowledge":{"agent_id":{"value":"`+agent+`"},"task_id":{"value":"`+task+`"},"uuid":"`+uuid16(uuid)+`"}}`); got.Code != 202 {
		w.t.Fatalf("ACKNOWLEDGE: %d %s", got.Code, got.Body)
	}
}

// run launches a task and brings it to RUNNING, acknowledged.
func (w *world) run(conn, framework, pid, agent, task string) {
	w.t.Helper()
	o := w.offer(conn)
	w.accept(conn, framework, o, `,"filters":{"refuse_seconds":0}`, task)
	w.update(pid, agent, framework, task, "TASK_RUNNING", "r", "")
	if st := w.status(conn); st.GetState() != mesos.TaskState_TASK_RUNNING || st.GetTaskId().GetValue() != task {
		w.t.Fatalf("status %v", st)
	}
	w.acknowledge(conn, framework, agent, task, "r")
}

func (w *world) reconcile(conn, framework, tasks string) {
	w.t.Helper()
	if got := w.call(conn, framework, `{"type":"RECONCILE","reconcile":{"tasks":[`+tasks+`]}}`); got.Code != 202 {
		w.t.Fatalf("RECONCILE: %d %s", got.Code, got.Body)
	}
}

func taskOn(task, agent string) string {
	if agent == "" {
		return `{"task_id":{"value":"` + task + `"}}`
	}
	return `{"task_id":{"value":"` + task + `"},"agent_id":{"value":"` + agent + `"}}`
}

// view is the framework as readers see it, completed ones too.
func (w *world) view(id string) *ledger.FrameworkView {
	s := w.book.Snapshot()
	for _, f := range append(s.Frameworks, s.Completed...) {
		if string(f.ID) == id {
			return f
		}
	}
	w.t.Fatalf("no framework %s", id)
	return nil
}

func (w *world) agentView(id string) *ledger.AgentView {
	for _, a := range w.book.Snapshot().Agents {
		if string(a.ID) == id {
			return a
		}
	}
	return nil
}
