package ledger_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
	"github.com/stoa-project/stoa/master/allocate"
	"github.com/stoa-project/stoa/master/ledger"
)

// moment is one line of a recorded time line: a call of the framework or an event.
type moment struct {
	call  string // JSON, empty for events
	event *scheduler.Event
}

func timeline(t *testing.T, name string) (out []moment) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata/recorded", name+".timeline"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		if line[0] == '#' {
			continue
		}
		if _, call, found := strings.Cut(string(line), "-> "); found && !strings.Contains(string(line), "<- ") {
			body, _, _ := strings.Cut(call[strings.Index(call, "{"):], "   => ")
			out = append(out, moment{call: body})
		} else if _, body, found := strings.Cut(string(line), "<- "); found {
			e := &scheduler.Event{}
			if err := wire.UnmarshalJSON([]byte(body), e); err != nil {
				t.Fatalf("%s: %v", body, err)
			}
			out = append(out, moment{event: e})
		}
	}
	return out
}

var (
	offerIDs     = regexp.MustCompile(`-O[0-9]+"`)
	frameworkIDs = regexp.MustCompile(`(-[0-9a-f]{12})-[0-9]{4}"`)
	times        = regexp.MustCompile(`"timestamp":[0-9.e+]+`)
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
// same updates from the agent, and every event must be the recorded one, byte for byte but
// for ids and times. Capabilities differ between the three.
func TestRecordedStreams(t *testing.T) {
	for _, name := range []string{"json-full", "json-none", "json-multi-role-only"} {
		t.Run(name, func(t *testing.T) { playRecorded(t, timeline(t, name)) })
	}
}

func playRecorded(t *testing.T, moments []moment) {
	w := newWorld(t)
	compared := 0
	agent, framework := "", ""
	recordedOffers := map[string]string{} // recorded id -> ours
	// The order of answers to an implicit reconciliation is a hash map's there.
	next := func(recorded *scheduler.Event) {
		t.Helper()
		compared++
		want, c := normal(t, recorded), connOf("s")
		for i, e := range w.events[c] {
			if e.GetType() == recorded.GetType() && normal(t, e) == want {
				w.events[c] = slices.Delete(slices.Clone(w.events[c]), i, i+1)
				return
			}
		}
		t.Errorf("Mesos said\n%s\nwe have", want)
		for _, e := range w.events[c] {
			t.Error(normal(t, e))
		}
	}
	for _, m := range moments {
		switch e := m.event; {
		case m.call != "":
			w.replayCall(m.call, framework, recordedOffers)
		case e.GetType() == scheduler.Event_SUBSCRIBED:
			// The master of the recording, and its first agent.
			w.book = ledger.New(ledger.Config{Master: e.GetSubscribed().GetMasterInfo()})
			w.al = allocate.New(allocate.Config{})
			w.begin()
			w.agent(recordedAgent, "register", recordedAgentInfo)
			agent = w.agentView(e.GetSubscribed().GetMasterInfo().GetId() + "-S0").Info.GetId().GetValue()
			w.call("s", "", firstCall(moments))
			framework = w.events[connOf("s")][0].GetSubscribed().GetFrameworkId().GetValue()
			next(e)
		case e.GetType() == scheduler.Event_OFFERS:
			w.now = w.now.Add(10e9) // filters end
			w.allocate()
			for _, recorded := range e.GetOffers().GetOffers() {
				if recorded.GetAgentId().GetValue() != agent {
					continue // other agents were there by then
				}
				if o := w.offerLike(t, recorded); o != nil {
					recordedOffers[recorded.GetId().GetValue()] = o.GetId().GetValue()
					compared++
				}
			}
		case e.GetType() == scheduler.Event_UPDATE:
			if st := e.GetUpdate().GetStatus(); len(st.GetUuid()) > 0 {
				w.replayUpdate(framework, agent, st)
			}
			next(e)
		case e.GetType() == scheduler.Event_RESCIND, e.GetType() == scheduler.Event_HEARTBEAT, e.GetType() == scheduler.Event_UPDATE_OPERATION_STATUS:
			// heartbeats are the shell's
		default:
			next(e)
		}
	}
	if compared < 15 {
		t.Errorf("only %d events compared", compared)
	}
	w.none("s", scheduler.Event_UPDATE)
}

const recordedAgent = "slave(1)@127.0.0.1:16051"

const recordedAgentInfo = `{"slave":{"hostname":"agent1.example.org","checkpoint":true,"attributes":[{"name":"rack","type":"TEXT","text":{"value":"r1"}},{"name":"level","type":"SCALAR","scalar":{"value":10}}],"resources":[` +
	`{"name":"cpus","type":"SCALAR","scalar":{"value":4}},{"name":"mem","type":"SCALAR","scalar":{"value":4096}},{"name":"disk","type":"SCALAR","scalar":{"value":10000}},` +
	`{"name":"ports","type":"RANGES","ranges":{"range":[{"begin":31000,"end":31999}]}},` +
	`{"name":"cpus","type":"SCALAR","scalar":{"value":2},"reservations":[{"type":"STATIC","role":"prod"}]},` +
	`{"name":"mem","type":"SCALAR","scalar":{"value":1024},"reservations":[{"type":"STATIC","role":"prod"}]},` +
	`{"name":"disk","type":"SCALAR","scalar":{"value":2000},"reservations":[{"type":"STATIC","role":"prod"}]}]},"version":"1.11.0",` + allCapabilities + `}`

// firstCall is the recorded SUBSCRIBE without the id, which was noted after the answer.
func firstCall(moments []moment) string {
	var call struct {
		Type      string         `json:"type"`
		Subscribe map[string]any `json:"subscribe"`
	}
	for _, m := range moments {
		if strings.Contains(m.call, `"SUBSCRIBE"`) {
			_ = json.Unmarshal([]byte(m.call), &call)
			delete(call.Subscribe["framework_info"].(map[string]any), "id")
			text, _ := json.Marshal(call)
			return string(text)
		}
	}
	return "{}"
}

// replayCall sends a recorded call with our ids.
func (w *world) replayCall(text, framework string, offers map[string]string) {
	w.t.Helper()
	c := &scheduler.Call{}
	if err := wire.UnmarshalJSON([]byte(text), c); err != nil {
		w.t.Fatalf("%s: %v", text, err)
	}
	if c.GetType() == scheduler.Call_SUBSCRIBE {
		return // sent when the master is there
	}
	c.FrameworkId = &mesos.FrameworkID{Value: &framework}
	for _, list := range [][]*mesos.OfferID{c.GetAccept().GetOfferIds(), c.GetDecline().GetOfferIds()} {
		for _, id := range list {
			if ours, known := offers[id.GetValue()]; known {
				id.Value = &ours
			}
		}
	}
	w.step(ledger.Call{From: connOf("s"), Call: c, Ticket: 1})
}

// replayUpdate has the agent send a recorded status.
func (w *world) replayUpdate(framework, agent string, st *mesos.TaskStatus) {
	w.t.Helper()
	text, err := wire.MarshalJSON(st)
	if err != nil {
		w.t.Fatal(err)
	}
	executor := ""
	if st.ExecutorId != nil {
		executor = `"executor_id":{"value":"` + st.GetExecutorId().GetValue() + `"},`
	}
	uuid, _ := json.Marshal(st.GetUuid())
	w.agent(recordedAgent, "update", fmt.Sprintf(`{"pid":%q,"update":{"framework_id":{"value":%q},"slave_id":{"value":%q},%s"status":%s,"timestamp":%v,"uuid":%s}}`,
		recordedAgent, framework, agent, executor, text, st.GetTimestamp(), uuid))
}

// offerLike takes our offer that is the recorded one but for its id.
func (w *world) offerLike(t *testing.T, recorded *mesos.Offer) *mesos.Offer {
	t.Helper()
	as := func(o *mesos.Offer) string {
		return normal(t, &scheduler.Event{Type: scheduler.Event_OFFERS.Enum(), Offers: &scheduler.Event_Offers{Offers: []*mesos.Offer{o}}})
	}
	want, have := as(recorded), []string(nil)
	for _, e := range w.events[connOf("s")] {
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
