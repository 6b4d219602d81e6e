package master_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stoa-project/stoa/internal/acl"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
	"github.com/stoa-project/stoa/master"
)

// withACL gives the realms and rules; secrets are the principals' names.
func withACL(t *testing.T, rules string, s master.Security) master.Security {
	t.Helper()
	list, warnings, err := acl.Parse([]byte(rules))
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	s.ACL = list
	return s
}

// TestRegisterFrameworkRule: a subscription that is not allowed is an ERROR event in
// Mesos' words, an update 403 (mesos-master.md 8.3).
func TestRegisterFrameworkRule(t *testing.T) {
	m := startMaster(t, master.Config{Security: withACL(t, `{"permissive":false,
		"register_frameworks":[{"principals":{"values":["alice"]},"roles":{"values":["a"]}}]}`, secured("", "", "alice bob"))})
	for _, c := range []struct{ who, role, want string }{
		{"alice", "b", "Not authorized to register framework  with roles { b }"},
		{"bob", "a", "Not authorized to register framework  with roles { a }"},
	} {
		f := m.by(c.who).subscribe(fmt.Sprintf(subscribeJSON, `,"role":"`+c.role+`"`, ""))
		if got := f.next(scheduler.Event_ERROR).GetError().GetMessage(); got != c.want {
			t.Errorf("%s with role %s: %q, want %q", c.who, c.role, got, c.want)
		}
		f.ended()
	}
	f := m.by("alice").subscribe(fmt.Sprintf(subscribeJSON, `,"role":"a"`, ""))
	f.next(scheduler.Event_SUBSCRIBED)
	update := `{"type":"UPDATE_FRAMEWORK","update_framework":{"framework_info":{"user":"root","name":"f","checkpoint":true,"failover_timeout":3600,"principal":"alice","role":"%s","id":{"value":"` + f.id + `"}}}}`
	if code, text := f.call(fmt.Sprintf(update, "b")); code != 403 || text != "Not authorized to register framework "+f.id+" with roles { b }" {
		t.Errorf("an update to another role: %d %q", code, text)
	}
	if code, text := f.call(fmt.Sprintf(update, "a")); code != 200 {
		t.Errorf("an update in its role: %d %q", code, text)
	}
}

// TestRunTaskRule: a task of a user that its framework may not use is TASK_ERROR with
// REASON_TASK_UNAUTHORIZED; the offer's rest comes back.
func TestRunTaskRule(t *testing.T) {
	m := startMaster(t, master.Config{Security: withACL(t, `{"permissive":false,
		"register_frameworks":[{"principals":{"type":"ANY"},"roles":{"type":"ANY"}}],
		"register_agents":[{"principals":{"type":"ANY"},"agents":{"type":"ANY"}}],
		"run_tasks":[{"principals":{"values":["alice"]},"users":{"values":["alice"]}}]}`, secured("", "", "alice"))})
	a := startAgent(t, m.addr)
	a.register()
	f := m.by("alice").subscribe(fmt.Sprintf(subscribeJSON, "", "")) // its user is root
	f.next(scheduler.Event_SUBSCRIBED)
	f.launch("denied", "sleep")
	st := f.next(scheduler.Event_UPDATE).GetUpdate().GetStatus()
	want := "Principal 'alice' no authorized to launch task denied of framework " + f.id + " under user 'root'"
	if st.GetState() != mesos.TaskState_TASK_ERROR || st.GetReason() != mesos.TaskStatus_REASON_TASK_UNAUTHORIZED ||
		st.GetSource() != mesos.TaskStatus_SOURCE_MASTER || st.GetMessage() != want || len(st.GetUuid()) > 0 {
		t.Errorf("status %v", st)
	}
	o := f.next(scheduler.Event_OFFERS).GetOffers().GetOffers()[0]
	launch := strings.Replace(launchJSON(o.GetId().GetValue(), o.GetAgentId().GetValue(), "allowed", "sleep"), `"value":"sleep"`, `"value":"sleep","user":"alice"`, 1)
	if code, text := f.call(launch); code != 202 {
		t.Fatalf("ACCEPT: %d %s", code, text)
	}
	f.update("allowed", mesos.TaskState_TASK_RUNNING)
}

// TestReserveRule: a reservation for a role that the framework may not reserve for does
// not happen; one for its own does.
func TestReserveRule(t *testing.T) {
	m := startMaster(t, master.Config{Security: withACL(t, `{
		"reserve_resources":[{"principals":{"values":["alice"]},"roles":{"values":["a"]}},{"principals":{"type":"ANY"},"roles":{"type":"NONE"}}]}`,
		secured("", "", "alice bob"))})
	a := startAgent(t, m.addr)
	a.register()
	reserved := func() bool {
		b, err := m.door.View(t.Context())
		return err == nil && strings.Contains(fmt.Sprint(b.Agents[0].Total), "DYNAMIC,a,")
	}
	for _, who := range []string{"bob", "alice"} {
		f := m.by(who).subscribe(fmt.Sprintf(subscribeJSON, `,"role":"a"`, ""))
		f.next(scheduler.Event_SUBSCRIBED)
		o := f.next(scheduler.Event_OFFERS).GetOffers().GetOffers()[0]
		code, text := f.call(fmt.Sprintf(`{"type":"ACCEPT","accept":{"offer_ids":[{"value":%q}],"filters":{"refuse_seconds":0},"operations":[{"type":"RESERVE","reserve":{"resources":[`+
			`{"name":"cpus","type":"SCALAR","scalar":{"value":1},"role":"a","reservation":{"principal":%q}}]}}]}}`, o.GetId().GetValue(), who))
		if code != 202 {
			t.Fatalf("ACCEPT: %d %s", code, text)
		}
		f.next(scheduler.Event_OFFERS) // what was not reserved, or all of it, comes again
		if got := reserved(); got != (who == "alice") {
			b, err := m.door.View(t.Context())
			t.Errorf("after %s reserved: %v (%v %v)", who, got, b.Agents[0].Total, err)
		}
		f.call(`{"type":"TEARDOWN"}`)
		f.ended()
	}
}

// TestRegisterAgentRule: an agent that may not join gets no answer.
func TestRegisterAgentRule(t *testing.T) {
	m := startMaster(t, master.Config{Security: withACL(t, `{
		"register_agents":[{"principals":{"values":["agents"]},"agents":{"type":"ANY"}},{"principals":{"type":"ANY"},"agents":{"type":"NONE"}}]}`, master.Security{})})
	a := startAgent(t, m.addr)
	a.send(a.registration())
	// A later message that is answered shows that the registration was looked at.
	eventually(t, "the registration came in", func() bool {
		b, err := m.door.View(t.Context())
		return err == nil && b.Counters.Messages.RegisterAgent == 1
	})
	b, err := m.door.View(t.Context())
	if err != nil || len(b.Agents) != 0 {
		t.Errorf("agents %v, %v", b.Agents, err)
	}
}
