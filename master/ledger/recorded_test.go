package ledger_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
	"github.com/stoa-project/stoa/master/allocate"
	"github.com/stoa-project/stoa/master/ledger"
)

// moment is a call of the framework or an event, whichever is set.
type moment struct {
	call  string // JSON
	event *scheduler.Event
}

// timeline reads the calls of a recorded framework, and its events where they came.
func timeline(t *testing.T, name string) (out []moment) {
	t.Helper()
	calls, err := os.ReadFile(filepath.Join("testdata/recorded", name+".calls"))
	if err != nil {
		t.Fatal(err)
	}
	stream, err := os.Open(filepath.Join("../../internal/wire/testdata/scheduler", name+".recordio"))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	events := wire.NewReader(stream, 1<<20)
	decode := wire.UnmarshalJSON
	if strings.HasPrefix(name, "pb-") {
		decode = func(data []byte, m proto.Message) error { return proto.Unmarshal(data, m) }
	}
	for line := range strings.Lines(string(calls)) {
		if call, found := strings.CutPrefix(line, "-> "); found {
			out = append(out, moment{call: call})
			continue
		}
		record, err := events.ReadRecord()
		if err != nil {
			t.Fatal(err)
		}
		e := &scheduler.Event{}
		if err := decode(record, e); err != nil {
			t.Fatalf("%s: %v", record, err)
		}
		if want := strings.TrimSpace(strings.TrimPrefix(line, "<- ")); e.GetType().String() != want {
			t.Fatalf("%s where %s was", e.GetType(), want)
		}
		out = append(out, moment{event: e})
	}
	return out
}

var (
	offerIDs     = regexp.MustCompile(`-O[0-9]+"`)
	frameworkIDs = regexp.MustCompile(`(-[0-9a-f]{12})-[0-9]{4}"`)
	times        = regexp.MustCompile(`"timestamp":[0-9.e+]+`)
	unreachable  = regexp.MustCompile(`"unreachable_time":{"nanoseconds":[0-9]+`)
	offersGone   = regexp.MustCompile(`Offer [^ ]*-O[0-9]+ is`)
)

// normal is an event's JSON without what differs between two runs; lists of resources
// have no order.
func normal(t *testing.T, e *scheduler.Event) string {
	t.Helper()
	for _, o := range e.GetOffers().GetOffers() {
		slices.SortFunc(o.Resources, func(a, b *mesos.Resource) int { return strings.Compare(a.GetName(), b.GetName()) })
	}
	text, err := wire.MarshalJSON(e)
	if err != nil {
		t.Fatal(err)
	}
	s := offersGone.ReplaceAllString(string(text), "Offer O is")
	s = unreachable.ReplaceAllString(s, `"unreachable_time":{"nanoseconds":0`)
	s = offerIDs.ReplaceAllString(s, `-O"`)
	s = frameworkIDs.ReplaceAllString(s, `$1-F"`)
	if st := e.GetUpdate().GetStatus(); e.GetType() != scheduler.Event_UPDATE || len(st.GetUuid()) == 0 {
		s = times.ReplaceAllString(s, `"timestamp":0`)
	}
	if head, list, found := strings.Cut(s, "is more than available "); found {
		list, tail, _ := strings.Cut(list, `"`)
		parts := strings.Split(list, "; ")
		slices.Sort(parts)
		s = head + "is more than available " + strings.Join(parts, "; ") + `"` + tail
	}
	return s
}

// TestRecordedStreams plays frameworks recorded on Apache Mesos again: the same calls, the
// same messages from the agents, and every event must be the recorded one, byte for byte
// but for ids and times. Codecs and capabilities differ between the five. Offers are
// compared until the first executor runs: from then on theirs depend on what was free at
// each tick of the allocator, and on the order of a hash map.
func TestRecordedStreams(t *testing.T) {
	for _, name := range []string{"json-full", "json-none", "json-multi-role-only", "pb-full", "pb-none"} {
		t.Run(name, func(t *testing.T) {
			p := &replay{world: newWorld(t), calls: timeline(t, name), offers: map[string]string{}}
			for _, m := range p.calls {
				if m.call != "" {
					p.call(m.call)
				} else {
					p.expect(m.event)
				}
			}
			if p.compared < 40 {
				t.Errorf("only %d events compared", p.compared)
			}
			p.none("s", scheduler.Event_UPDATE)
			p.failover(timeline(t, name+"-failover"))
		})
	}
}

// replay is a recorded framework on its way.
type replay struct {
	*world
	calls     []moment
	framework string
	recorded  string            // the framework's id in the recording
	offers    map[string]string // recorded id -> ours
	executors bool              // the first executor was launched
	compared  int
}

// expect brings about what made a recorded event and compares ours.
func (p *replay) expect(e *scheduler.Event) {
	p.t.Helper()
	switch e.GetType() {
	case scheduler.Event_SUBSCRIBED:
		p.begins(e)
	case scheduler.Event_OFFERS:
		offers := slices.DeleteFunc(e.GetOffers().GetOffers(), func(o *mesos.Offer) bool { return recordedAgent(o.GetAgentId()) == agent3 })
		if p.executors || len(offers) == 0 {
			return
		}
		p.now = p.now.Add(10e9) // filters end
		p.allocate()
		for _, recorded := range offers {
			if o := p.offerLike(p.t, recorded); o != nil {
				p.offers[recorded.GetId().GetValue()] = o.GetId().GetValue()
				p.compared++
			}
		}
		return
	case scheduler.Event_RESCIND, scheduler.Event_HEARTBEAT:
		return // theirs follow offers that were not compared; heartbeats are the shell's
	case scheduler.Event_UPDATE:
		p.causeOf(e.GetUpdate().GetStatus())
	case scheduler.Event_MESSAGE:
		m := e.GetMessage()
		p.agent(recordedAgent(m.GetAgentId()), "message", fmt.Sprintf(`{"slave_id":{"value":%q},"framework_id":{"value":%q},"executor_id":{"value":%q},"data":%q}`,
			m.GetAgentId().GetValue(), p.framework, m.GetExecutorId().GetValue(), base64.StdEncoding.EncodeToString(m.GetData())))
	case scheduler.Event_FAILURE:
		if f := e.GetFailure(); f.ExecutorId != nil {
			p.agent(recordedAgent(f.GetAgentId()), "exited", fmt.Sprintf(`{"slave_id":{"value":%q},"framework_id":{"value":%q},"executor_id":{"value":%q},"status":%d}`,
				f.GetAgentId().GetValue(), p.framework, f.GetExecutorId().GetValue(), f.GetStatus()))
		}
	case scheduler.Event_INVERSE_OFFERS:
		o := e.GetInverseOffers().GetInverseOffers()[0]
		window, err := wire.MarshalJSON(o.GetUnavailability())
		if err != nil {
			p.t.Fatal(err)
		}
		// The schedule was set between two ticks of the allocator, when all had been offered.
		call := &masterapi.Call{}
		if err := wire.UnmarshalJSON([]byte(`{"type":"UPDATE_MAINTENANCE_SCHEDULE","update_maintenance_schedule":{"schedule":{"windows":[{"machine_ids":[{"hostname":"agent1.example.org","ip":"127.0.0.1"}],"unavailability":`+
			string(window)+`}]}}}`), call); err != nil {
			p.t.Fatal(err)
		}
		p.step(ledger.OperatorCall{Call: call, Ticket: 3})
		p.allocate()
		p.step(ledger.InverseGrants{Grants: p.al.Inverse(p.now)})
	case scheduler.Event_ERROR:
		p.step(ledger.Call{From: connOf("t"), Ticket: 1, Call: p.subscription(true)})
	}
	p.next(e)
}

// begins sets up the master of the recording and its first agent, and subscribes.
func (p *replay) begins(e *scheduler.Event) {
	p.t.Helper()
	p.book = ledger.New(ledger.Config{Master: e.GetSubscribed().GetMasterInfo()})
	p.al = allocate.New(allocate.Config{})
	p.begin()
	p.agent(agent1, "register", agent1Info)
	p.step(ledger.Call{From: connOf("s"), Ticket: 1, Call: p.subscription(false)})
	p.framework = p.events[connOf("s")][0].GetSubscribed().GetFrameworkId().GetValue()
	p.recorded = e.GetSubscribed().GetFrameworkId().GetValue()
}

// causeOf has the agent send what brought the recorded status.
func (p *replay) causeOf(st *mesos.TaskStatus) {
	p.t.Helper()
	switch agent := recordedAgent(st.GetAgentId()); {
	case len(st.GetUuid()) > 0:
		p.replayUpdate(p.framework, agent, st)
	case st.GetMessage() == "health check timed out":
		p.silent[ledger.PID(agent)] = true
		p.wait(2 * time.Minute)
	case st.GetReason() == mesos.TaskStatus_REASON_AGENT_REREGISTERED:
		delete(p.silent, ledger.PID(agent))
		status, err := wire.MarshalJSON(st)
		if err != nil {
			p.t.Fatal(err)
		}
		id := st.GetAgentId().GetValue()
		info := strings.TrimSuffix(strings.Replace(agent3Info, `{"slave":{`, `{"slave":{"id":{"value":"`+id+`"},`, 1), "}")
		p.agent(agent, "reregister", info+`,"frameworks":[`+p.info()+`],"tasks":[{"name":"on3","task_id":{"value":"on3"},"framework_id":{"value":"`+p.framework+
			`"},"agent_id":{"value":"`+id+`"},"state":"TASK_RUNNING","resources":[`+twoScalars(0.1, 32)+`],"statuses":[`+string(status)+`]}]}`)
	case strings.HasSuffix(st.GetMessage(), "unregistered"):
		p.agent(agent, "unregister", `{"slave_id":{"value":"`+st.GetAgentId().GetValue()+`"}}`)
	}
}

// next compares with our event that is like the recorded one. The order of answers to an
// implicit reconciliation is a hash map's there.
func (p *replay) next(recorded *scheduler.Event) {
	p.t.Helper()
	p.compared++
	c := connOf("s")
	if recorded.GetType() == scheduler.Event_SUBSCRIBED && p.closed[c] {
		c = connOf("t")
	}
	want := normal(p.t, recorded)
	for i, e := range p.events[c] {
		if e.GetType() == recorded.GetType() && normal(p.t, e) == want {
			p.events[c] = slices.Delete(slices.Clone(p.events[c]), i, i+1)
			return
		}
	}
	p.t.Errorf("Mesos said\n%s\nwe have", want)
	for _, e := range p.events[c] {
		if e.GetType() == recorded.GetType() {
			p.t.Error(normal(p.t, e))
		}
	}
}

// failover compares what the successor was told.
func (p *replay) failover(moments []moment) {
	p.t.Helper()
	for _, m := range moments {
		switch {
		case m.event.GetType() == scheduler.Event_SUBSCRIBED:
			p.next(m.event)
		case strings.Contains(m.call, "TEARDOWN"):
			p.step(ledger.Call{From: connOf("t"), Ticket: 1, Call: &scheduler.Call{Type: scheduler.Call_TEARDOWN.Enum(), FrameworkId: &mesos.FrameworkID{Value: &p.framework}}})
		}
	}
	if !p.closed[connOf("t")] {
		p.t.Error("the stream is open after TEARDOWN")
	}
}

// agent1 and agent3 are the agents of the recordings.
const (
	agent1     = "slave(1)@127.0.0.1:16051"
	agent1Info = `{"slave":{"hostname":"agent1.example.org","checkpoint":true,"attributes":[{"name":"rack","type":"TEXT","text":{"value":"r1"}},{"name":"level","type":"SCALAR","scalar":{"value":10}}],"resources":[` +
		`{"name":"cpus","type":"SCALAR","scalar":{"value":4}},{"name":"mem","type":"SCALAR","scalar":{"value":4096}},{"name":"disk","type":"SCALAR","scalar":{"value":10000}},` +
		`{"name":"ports","type":"RANGES","ranges":{"range":[{"begin":31000,"end":31999}]}},` +
		`{"name":"cpus","type":"SCALAR","scalar":{"value":2},"reservations":[{"type":"STATIC","role":"prod"}]},` +
		`{"name":"mem","type":"SCALAR","scalar":{"value":1024},"reservations":[{"type":"STATIC","role":"prod"}]},` +
		`{"name":"disk","type":"SCALAR","scalar":{"value":2000},"reservations":[{"type":"STATIC","role":"prod"}]}]},"version":"1.11.0",` + allCapabilities + `}`
	agent3     = "slave(1)@127.0.0.1:16053"
	agent3Info = `{"slave":{"hostname":"agent3.example.org","checkpoint":true,"resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":1}},{"name":"mem","type":"SCALAR","scalar":{"value":512}},` +
		`{"name":"disk","type":"SCALAR","scalar":{"value":1000}},{"name":"ports","type":"RANGES","ranges":{"range":[{"begin":33000,"end":33009}]}}]},"version":"1.11.0",` + allCapabilities + `}`
)

func recordedAgent(id *mesos.AgentID) string {
	if strings.HasSuffix(id.GetValue(), "-S1") {
		return agent3
	}
	return agent1
}

// subscription is the recorded SUBSCRIBE, without the id that was noted after the answer
// or with ours.
func (p *replay) subscription(again bool) *scheduler.Call {
	c := &scheduler.Call{}
	if err := wire.UnmarshalJSON([]byte(p.calls[0].call), c); err != nil || c.GetType() != scheduler.Call_SUBSCRIBE {
		p.t.Fatal(c, err)
	}
	c.Subscribe.FrameworkInfo.Id = nil
	if again {
		c.FrameworkId = &mesos.FrameworkID{Value: &p.framework}
		c.Subscribe.FrameworkInfo.Id = c.FrameworkId
	}
	return c
}

// info is the framework as agents know it.
func (p *replay) info() string {
	text, err := wire.MarshalJSON(p.subscription(true).GetSubscribe().GetFrameworkInfo())
	if err != nil {
		p.t.Fatal(err)
	}
	return string(text)
}

// call sends a recorded call with our ids.
func (p *replay) call(text string) {
	p.t.Helper()
	if strings.Contains(text, `"SUBSCRIBE"`) {
		return // sent when the master is there
	}
	c := &scheduler.Call{}
	if err := wire.UnmarshalJSON([]byte(strings.ReplaceAll(text, p.recorded, p.framework)), c); err != nil {
		p.t.Fatalf("%s: %v", text, err)
	}
	if strings.Contains(text, `"CUSTOM"`) && !p.executors {
		p.executors = true
		p.agent(agent3, "register", agent3Info)
	}
	switch {
	case c.GetAccept() != nil && p.executors:
		p.offerAll(c.GetAccept())
	default:
		for _, id := range append(c.GetAccept().GetOfferIds(), c.GetDecline().GetOfferIds()...) {
			if ours, known := p.offers[id.GetValue()]; known {
				id.Value = &ours
			}
		}
	}
	p.step(ledger.Call{From: connOf("s"), Call: c, Ticket: 1})
}

// offerAll has an ACCEPT take what is offered of its agent to the role that has most.
func (p *replay) offerAll(m *scheduler.Call_Accept) {
	p.t.Helper()
	op := m.GetOperations()[0]
	tasks := op.GetLaunch().GetTaskInfos()
	if tasks == nil {
		tasks = op.GetLaunchGroup().GetTaskGroup().GetTasks()
	}
	p.now = p.now.Add(10e9)
	p.allocate()
	ids, cpus := map[string][]*mesos.OfferID{}, map[string]float64{} // by role
	role := ""
	for _, o := range p.view(p.framework).Offers {
		if o.GetAgentId().GetValue() != tasks[0].GetAgentId().GetValue() {
			continue
		}
		r := o.GetAllocationInfo().GetRole()
		ids[r] = append(ids[r], o.GetId())
		for _, each := range o.GetResources() {
			if each.GetName() == "cpus" && len(each.GetReservations()) == 0 {
				cpus[r] += each.GetScalar().GetValue()
			}
		}
		if cpus[r] > cpus[role] {
			role = r
		}
	}
	m.OfferIds = ids[role]
	if len(m.OfferIds) == 0 {
		p.t.Fatalf("nothing of %s is offered", tasks[0].GetAgentId().GetValue())
	}
}

// replayUpdate has the agent send a recorded status.
func (p *replay) replayUpdate(framework, agent string, st *mesos.TaskStatus) {
	p.t.Helper()
	text, err := wire.MarshalJSON(st)
	if err != nil {
		p.t.Fatal(err)
	}
	executor := ""
	if st.ExecutorId != nil {
		executor = `"executor_id":{"value":"` + st.GetExecutorId().GetValue() + `"},`
	}
	uuid, _ := json.Marshal(st.GetUuid())
	p.agent(agent, "update", fmt.Sprintf(`{"pid":%q,"update":{"framework_id":{"value":%q},"slave_id":{"value":%q},%s"status":%s,"timestamp":%v,"uuid":%s}}`,
		agent, framework, st.GetAgentId().GetValue(), executor, text, st.GetTimestamp(), uuid))
}

// offerLike takes our offer that is the recorded one but for its id.
func (p *replay) offerLike(t *testing.T, recorded *mesos.Offer) *mesos.Offer {
	t.Helper()
	as := func(o *mesos.Offer) string {
		return normal(t, &scheduler.Event{Type: scheduler.Event_OFFERS.Enum(), Offers: &scheduler.Event_Offers{Offers: []*mesos.Offer{o}}})
	}
	want, have := as(recorded), []string(nil)
	for _, e := range p.events[connOf("s")] {
		for i, o := range e.GetOffers().GetOffers() {
			if got := as(o); got == want {
				e.Offers.Offers = slices.Delete(slices.Clone(e.Offers.Offers), i, i+1)
				return o
			} else {
				have = append(have, got)
			}
		}
	}
	t.Errorf("no offer like\n%s\namong\n%s", want, strings.Join(have, "\n"))
	return nil
}
