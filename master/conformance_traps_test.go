package master_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	gomesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/encoding"
	"github.com/mesos/mesos-go/api/v1/lib/encoding/codecs"
	"github.com/mesos/mesos-go/api/v1/lib/httpcli"
	"github.com/mesos/mesos-go/api/v1/lib/httpcli/httpsched"
	gosched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler/calls"

	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
	"github.com/stoa-project/stoa/master"
)

// The traps of mesos-master.md section 12 that are about bytes, connections and client
// libraries; those about what the master decides are in package ledger.

// goStream subscribes with mesos-go and gives the caller and a reader of events.
func goStream(t *testing.T, m *running, codec string) (calls.Caller, func() *gosched.Event) {
	t.Helper()
	caller := httpsched.NewCaller(httpcli.New(httpcli.Endpoint("http://"+m.addr+"/api/v1/scheduler"), httpcli.Codec(codecs.ByMediaType[encoding.MediaType(codec)])))
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	timeout := 60.0
	resp, err := caller.Call(ctx, calls.Subscribe(&gomesos.FrameworkInfo{User: "root", Name: "f", FailoverTimeout: &timeout}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Close() })
	return caller, func() *gosched.Event {
		t.Helper()
		e := &gosched.Event{}
		if err := resp.Decode(e); err != nil {
			t.Fatalf("%s: %v", codec, err)
		}
		return e
	}
}

// TestT01NoUnknownCapability: mesos-go decodes SUBSCRIBED in both codecs.
func TestT01NoUnknownCapability(t *testing.T) {
	m := startMaster(t, master.Config{})
	for _, codec := range []string{js, pb} {
		_, next := goStream(t, m, codec)
		if e := next(); e.GetType() != gosched.Event_SUBSCRIBED || e.GetSubscribed().MasterInfo == nil {
			t.Errorf("%s: %v", codec, e)
		}
	}
	f := m.subscribe(fmt.Sprintf(subscribeJSON, "", ""))
	for _, c := range f.next(scheduler.Event_SUBSCRIBED).GetSubscribed().GetMasterInfo().GetCapabilities() {
		if c.GetType() == mesos.MasterInfo_Capability_QUOTA_V2 {
			t.Error("QUOTA_V2 in JSON")
		}
	}
}

// TestT02NoCharset: media types of v1 answers are bare.
func TestT02NoCharset(t *testing.T) {
	m := startMaster(t, master.Config{})
	for _, media := range []string{js, pb} {
		s := m.open("/api/v1/scheduler", http.Header{"Content-Type": {pb}, "Accept": {media}}, protoSubscribe(t)) // refuses any other type
		s.next(scheduler.Event_SUBSCRIBED)
		for _, call := range []string{"GET_HEALTH", "GET_STATE", "GET_AGENTS", "GET_MAINTENANCE_SCHEDULE"} {
			resp, _ := m.do("POST", "/api/v1", http.Header{"Content-Type": {js}, "Accept": {media}}, []byte(`{"type":"`+call+`"}`))
			if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != media {
				t.Errorf("%s in %s: %s, %q", call, media, resp.Status, resp.Header.Get("Content-Type"))
			}
		}
	}
}

// TestT03EmptyAnswers: no media type where nothing is said, except on UPDATE_FRAMEWORK.
func TestT03EmptyAnswers(t *testing.T) {
	m := startMaster(t, master.Config{})
	f := m.subscribe(fmt.Sprintf(subscribeJSON, "", ""))
	f.next(scheduler.Event_SUBSCRIBED)
	own := `"framework_id":{"value":"` + f.id + `"}`
	header := http.Header{"Content-Type": {js}, "Mesos-Stream-Id": {f.stream}}
	resp, _ := m.do("POST", "/api/v1/scheduler", header, []byte(`{"type":"UPDATE_FRAMEWORK",`+own+
		`,"update_framework":{"framework_info":{"user":"root","name":"g","checkpoint":true,"failover_timeout":3600,"id":{"value":"`+f.id+`"}}}}`))
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != js || resp.Header.Get("Content-Length") != "0" {
		t.Errorf("UPDATE_FRAMEWORK: %s %v", resp.Status, resp.Header)
	}
	resp, _ = m.do("POST", "/api/v1/scheduler", header, []byte(`{"type":"REVIVE",`+own+`}`))
	if _, there := resp.Header["Content-Type"]; resp.StatusCode != 202 || there {
		t.Errorf("REVIVE: %s %v", resp.Status, resp.Header)
	}
	resp, body := m.do("POST", "/api/v1", http.Header{"Content-Type": {js}}, []byte(`{"type":"TEARDOWN","teardown":{`+own+`}}`))
	if _, there := resp.Header["Content-Type"]; resp.StatusCode != 200 || there || len(body) != 0 {
		t.Errorf("TEARDOWN: %s %v %s", resp.Status, resp.Header, body)
	}
}

// TestT04LengthTellsStreams: single answers have a Content-Length, streams have none.
func TestT04LengthTellsStreams(t *testing.T) {
	m := startMaster(t, master.Config{})
	f := m.subscribe(fmt.Sprintf(subscribeJSON, "", "")) // refuses a stream with a length
	f.next(scheduler.Event_SUBSCRIBED)
	for _, c := range []struct{ path, body string }{
		{"/api/v1/scheduler", `{"type":"REVIVE","framework_id":{"value":"` + f.id + `"}}`},
		{"/api/v1/scheduler", `{"type":"REVIVE","framework_id":{"value":"nobody"}}`},
		{"/api/v1", `{"type":"GET_HEALTH"}`}, {"/api/v1", `{"type":"GET_STATE"}`}, {"/api/v1", `{"type":"DANCE"}`},
	} {
		resp, body := m.do("POST", c.path, http.Header{"Content-Type": {js}, "Mesos-Stream-Id": {f.stream}}, []byte(c.body))
		if resp.Header.Get("Content-Length") != fmt.Sprint(len(body)) {
			t.Errorf("%s: %v with %d bytes", c.body, resp.Header, len(body))
		}
	}
}

// TestT05NumbersAndNames: no number is a string, no key is in camel case.
func TestT05NumbersAndNames(t *testing.T) {
	m := startMaster(t, master.Config{})
	a := startAgent(t, m.addr)
	a.register()
	f := m.subscribe(fmt.Sprintf(subscribeJSON, "", ""))
	f.next(scheduler.Event_SUBSCRIBED)
	f.launch("one", "sleep")
	f.update("one", mesos.TaskState_TASK_RUNNING)
	quoted, camel := regexp.MustCompile(`"(begin|end|nanoseconds|port|status)":"`), regexp.MustCompile(`"[a-z]+[A-Z][A-Za-z]*":`)
	for _, call := range []string{"GET_STATE", "GET_AGENTS", "GET_TASKS", "GET_MASTER", "GET_FRAMEWORKS"} {
		_, body := m.do("POST", "/api/v1", http.Header{"Content-Type": {js}}, []byte(`{"type":"`+call+`"}`))
		if quoted.Match(body) || camel.Match(body) {
			t.Errorf("%s: %s", call, body)
		}
		if (call == "GET_STATE" || call == "GET_AGENTS") && !bytes.Contains(body, []byte(`"begin":31000`)) {
			t.Errorf("%s: %s", call, body)
		}
	}
	resp, body := m.do("POST", "/api/v1/scheduler", http.Header{"Content-Type": {js}}, []byte(`{"type":"SUBSCRIBE","subscribe":{"frameworkInfo":{"user":"u","name":"f"}}}`))
	if resp.StatusCode != 400 || !strings.HasSuffix(string(body), "Missing required fields: subscribe.framework_info") {
		t.Errorf("camel case: %s %s", resp.Status, body)
	}
}

// TestT06RequiredFields: mesos-go decodes every kind of event in binary, where a missing
// required field is fatal.
func TestT06RequiredFields(t *testing.T) {
	m := startMaster(t, master.Config{})
	a := startAgent(t, m.addr)
	a.register()
	caller, next := goStream(t, m, pb)
	id := ""
	send := func(c *gosched.Call) {
		t.Helper()
		if err := calls.CallNoData(t.Context(), caller, with(id, c)); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[gosched.Event_Type]bool{}
	for !seen[gosched.Event_FAILURE] || !seen[gosched.Event_RESCIND] || !seen[gosched.Event_MESSAGE] || !seen[gosched.Event_UPDATE] {
		e := next()
		switch e.GetType() {
		case gosched.Event_SUBSCRIBED:
			id = e.GetSubscribed().FrameworkID.Value
			if i := e.GetSubscribed().MasterInfo; i.IP == 0 || i.GetPort() == 0 || i.ID == "" {
				t.Errorf("MasterInfo %v", i)
			}
		case gosched.Event_OFFERS:
			o := e.GetOffers().Offers[0]
			if o.Hostname == "" || o.AgentID.Value == "" || o.FrameworkID.Value == "" || o.URL == nil || o.URL.Address.Port == 0 {
				t.Errorf("offer %v", o)
			}
			if seen[gosched.Event_OFFERS] {
				break
			}
			task := gomesos.TaskInfo{Name: "t", TaskID: gomesos.TaskID{Value: "t"}, AgentID: o.AgentID, Command: &gomesos.CommandInfo{Value: ptr("sleep")}}
			for _, r := range o.Resources {
				if r.Name == "mem" {
					task.Resources = append(task.Resources, r)
				}
			}
			accept := calls.Accept(calls.OfferOperations{calls.OpLaunch(task)}.WithOffers(o.ID))
			send(accept.With(calls.RefuseSeconds(0)))
		case gosched.Event_UPDATE:
			st := e.GetUpdate().Status
			if !seen[gosched.Event_UPDATE] {
				send(calls.Acknowledge(st.AgentID.Value, st.TaskID.Value, st.UUID))
				send(calls.Message(st.AgentID.Value, "x", []byte("hi")))
			}
		case gosched.Event_MESSAGE:
			eventually(t, "the rest is offered again", func() bool {
				s, err := m.door.View(t.Context())
				return err == nil && s.Offers > 0
			})
			a.leave()
		}
		seen[e.GetType()] = true
	}
}

// leave unregisters, as an agent does on SIGUSR1.
func (a *simAgent) leave() { a.send(unregister(a)) }

// TestT07FramesStaySmall: one OFFERS event never passes 1 MiB, however much agents say
// about themselves.
func TestT07FramesStaySmall(t *testing.T) {
	m := startMaster(t, master.Config{})
	f := m.subscribe(fmt.Sprintf(subscribeJSON, "", ""))
	f.next(scheduler.Event_SUBSCRIBED)
	if code, _ := f.call(`{"type":"SUPPRESS"}`); code != 202 {
		t.Fatal(code)
	}
	const agents = 20
	for i := range agents {
		a := startAgent(t, m.addr)
		a.hostname = fmt.Sprintf("host%d.example.org", i)
		a.attribute = strings.Repeat("x", 200<<10)
		a.register()
	}
	f.call(`{"type":"REVIVE"}`)
	for n := 0; n < agents; {
		e := f.next(scheduler.Event_OFFERS)
		text, err := f.codec.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > 1<<20 {
			t.Errorf("an event of %d bytes with %d offers", len(text), len(e.GetOffers().GetOffers()))
		}
		n += len(e.GetOffers().GetOffers())
	}
}

// TestT08WhatMesosGoLacks is served nevertheless: offer constraints and limits.
func TestT08WhatMesosGoLacks(t *testing.T) {
	m := startMaster(t, master.Config{})
	a := startAgent(t, m.addr)
	a.limits = true
	a.register()
	constraints := `"role_constraints":{"*":{"groups":[{"attribute_constraints":[{"selector":{"pseudoattribute_type":"HOSTNAME"},"predicate":{"text_equals":{"value":"` + a.hostname + `"}}}]}]}}`
	f := m.subscribe(`{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"root","name":"f","failover_timeout":60},"offer_constraints":{` + constraints + `}}}`)
	f.next(scheduler.Event_SUBSCRIBED)
	o := f.next(scheduler.Event_OFFERS).GetOffers().GetOffers()[0]
	code, text := f.call(strings.Replace(launchJSON(o.GetId().GetValue(), o.GetAgentId().GetValue(), "one", "sleep"), `"command"`, `"limits":{"mem":{"value":"Infinity"},"cpus":{"value":2}},"command"`, 1))
	if code != 202 {
		t.Fatal(code, text)
	}
	f.update("one", mesos.TaskState_TASK_RUNNING)
	_, body := m.do("POST", "/api/v1", http.Header{"Content-Type": {js}}, []byte(`{"type":"GET_FRAMEWORKS"}`))
	if !bytes.Contains(body, []byte(constraints)) {
		t.Errorf("GET_FRAMEWORKS: %s", body)
	}
	_, body = m.do("POST", "/api/v1", http.Header{"Content-Type": {js}}, []byte(`{"type":"GET_TASKS"}`))
	if !bytes.Contains(body, []byte(`"limits":{`)) || !bytes.Contains(body, []byte(`"cpus":{"value":2.0}`)) {
		t.Errorf("GET_TASKS: %s", body)
	}
}

// TestT09StreamsEndWithLeadership: the broken stream is the only sign that mesos-go
// understands, and it comes at once.
func TestT09StreamsEndWithLeadership(t *testing.T) {
	m := startMaster(t, master.Config{})
	f := m.subscribe(fmt.Sprintf(subscribeJSON, "", ""))
	f.next(scheduler.Event_SUBSCRIBED)
	m.stop()
	f.ended()
}

// TestT22SubscribedIsFirst, then HEARTBEAT; only OFFERS may come between them.
func TestT22SubscribedIsFirst(t *testing.T) {
	m := startMaster(t, master.Config{})
	a := startAgent(t, m.addr)
	a.register()
	for range 20 {
		f := m.subscribe(`{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"u","name":"f"}}}`)
		if e := <-f.events; e.GetType() != scheduler.Event_SUBSCRIBED || e.GetSubscribed().GetHeartbeatIntervalSeconds() != 15 {
			t.Fatalf("first %v", e)
		}
		e := <-f.events
		if e.GetType() == scheduler.Event_OFFERS {
			e = <-f.events
		}
		if e.GetType() != scheduler.Event_HEARTBEAT {
			t.Fatalf("second %v", e)
		}
		f.close()
	}
}

// TestT23ErrorMayBeFirst: a semantic error is a 200 stream with one ERROR event
// (TestRecordedRefusals has all of them); mesos-go sees it as such.
func TestT23ErrorMayBeFirst(t *testing.T) {
	m := startMaster(t, master.Config{})
	for _, codec := range []string{js, pb} {
		caller := httpsched.NewCaller(httpcli.New(httpcli.Endpoint("http://"+m.addr+"/api/v1/scheduler"), httpcli.Codec(codecs.ByMediaType[encoding.MediaType(codec)])))
		resp, err := caller.Call(t.Context(), calls.Subscribe(&gomesos.FrameworkInfo{User: "u", Name: "f", Roles: []string{"a"}}))
		if err != nil {
			t.Fatal(err)
		}
		var e gosched.Event
		if err := resp.Decode(&e); err != nil || e.GetType() != gosched.Event_ERROR || e.GetError().Message == "" {
			t.Errorf("%s: %v %v", codec, e, err)
		}
		if err := resp.Decode(&e); err == nil {
			t.Errorf("%s: the stream goes on with %v", codec, e)
		}
		resp.Close()
	}
}

// TestT35ReserveMayConflict: what a task uses cannot be reserved: 409, and a retry works
// once it is free.
func TestT35ReserveMayConflict(t *testing.T) {
	m := startMaster(t, master.Config{})
	a := startAgent(t, m.addr)
	a.register()
	f := m.subscribe(fmt.Sprintf(subscribeJSON, "", ""))
	f.next(scheduler.Event_SUBSCRIBED)
	f.launch("one", "sleep")
	f.update("one", mesos.TaskState_TASK_RUNNING)
	reserve := func() (int, string) {
		resp, body := m.do("POST", "/reserve", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, []byte("slaveId="+a.id.GetValue()+
			`&resources=[{"name":"cpus","type":"SCALAR","scalar":{"value":4},"reservations":[{"type":"DYNAMIC","role":"eng/web"}]}]`))
		return resp.StatusCode, string(body)
	}
	if code, text := reserve(); code != 409 {
		t.Errorf("in use: %d %s", code, text)
	}
	f.call(`{"type":"KILL","kill":{"task_id":{"value":"one"}}}`)
	f.update("one", mesos.TaskState_TASK_KILLED)
	eventually(t, "the reservation is taken", func() bool { code, _ := reserve(); return code == 202 })
	f.next(scheduler.Event_OFFERS)
}

// TestT36RolesArePaths: hierarchical roles are keys of JSON objects, with their slashes.
func TestT36RolesArePaths(t *testing.T) {
	m := startMaster(t, master.Config{Weights: map[string]float64{"eng/web": 2}})
	a := startAgent(t, m.addr)
	a.register()
	resp, body := m.do("POST", "/reserve", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, []byte("slaveId="+a.id.GetValue()+
		`&resources=[{"name":"cpus","type":"SCALAR","scalar":{"value":1},"reservations":[{"type":"DYNAMIC","role":"eng/web"}]}]`))
	if resp.StatusCode != 202 {
		t.Fatalf("%s %s", resp.Status, body)
	}
	eventually(t, "the reservation is shown", func() bool {
		var state struct {
			Slaves []struct {
				Reserved map[string]map[string]any `json:"reserved_resources"`
			}
		}
		_, body := m.do("GET", "/slaves", nil, nil)
		if err := json.Unmarshal(body, &state); err != nil {
			t.Fatal(err)
		}
		return state.Slaves[0].Reserved["eng/web"]["cpus"] == 1.0
	})
	_, body = m.do("GET", "/weights", nil, nil)
	if !bytes.Contains(body, []byte(`"role":"eng/web"`)) {
		t.Errorf("weights %s", body)
	}
}

// TestT37Units: seconds as doubles in /state, nanoseconds in v1, seconds in statuses of both.
func TestT37Units(t *testing.T) {
	m := startMaster(t, master.Config{})
	a := startAgent(t, m.addr)
	a.register()
	f := m.subscribe(fmt.Sprintf(subscribeJSON, "", ""))
	f.next(scheduler.Event_SUBSCRIBED)
	f.launch("one", "sleep")
	f.update("one", mesos.TaskState_TASK_RUNNING)
	now := float64(time.Now().Unix())
	near := func(what string, seconds float64) {
		t.Helper()
		if seconds < now-600 || seconds > now+600 {
			t.Errorf("%s: %v, now is %v", what, seconds, now)
		}
	}
	var state struct {
		Start      float64 `json:"start_time"`
		Frameworks []struct {
			Registered float64 `json:"registered_time"`
			Tasks      []struct {
				Statuses []struct{ Timestamp float64 }
			}
		}
		Slaves []struct {
			Registered float64 `json:"registered_time"`
		}
	}
	_, body := m.do("GET", "/state", nil, nil)
	if err := json.Unmarshal(body, &state); err != nil {
		t.Fatal(err)
	}
	near("start_time", state.Start)
	near("framework", state.Frameworks[0].Registered)
	near("agent", state.Slaves[0].Registered)
	if got := state.Frameworks[0].Tasks[0].Statuses[0].Timestamp; got != 1 { // as the agent sent it
		t.Errorf("status in /state: %v", got)
	}
	var v1 struct {
		State struct {
			Agents struct {
				Agents []struct {
					Registered struct{ Nanoseconds float64 } `json:"registered_time"`
				}
			} `json:"get_agents"`
			Tasks struct {
				Tasks []struct {
					Statuses []struct{ Timestamp float64 }
				}
			} `json:"get_tasks"`
		} `json:"get_state"`
	}
	_, body = m.do("POST", "/api/v1", http.Header{"Content-Type": {js}}, []byte(`{"type":"GET_STATE"}`))
	if err := json.Unmarshal(body, &v1); err != nil {
		t.Fatal(err)
	}
	near("agent in v1", v1.State.Agents.Agents[0].Registered.Nanoseconds/1e9)
	if got := v1.State.Tasks.Tasks[0].Statuses[0].Timestamp; got != 1 {
		t.Errorf("status in v1: %v", got)
	}
}
