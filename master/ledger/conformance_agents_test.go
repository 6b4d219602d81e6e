package ledger_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
)

// releases is libprocess.md 5.1: what agents of each release of Mesos say of themselves.
var releases = []struct{ version, capabilities string }{
	{"1.0.4", ""},
	{"1.1.3", ""},
	{"1.2.3", ""},
	{"1.3.2", "MULTI_ROLE"},
	{"1.4.3", "MULTI_ROLE HIERARCHICAL_ROLE RESERVATION_REFINEMENT"},
	{"1.5.3", "MULTI_ROLE HIERARCHICAL_ROLE RESERVATION_REFINEMENT"},
	{"1.7.3", "MULTI_ROLE HIERARCHICAL_ROLE RESERVATION_REFINEMENT RESOURCE_PROVIDER RESIZE_VOLUME"},
	{"1.8.1", "MULTI_ROLE HIERARCHICAL_ROLE RESERVATION_REFINEMENT RESOURCE_PROVIDER RESIZE_VOLUME AGENT_OPERATION_FEEDBACK"},
	{"1.9.0", "MULTI_ROLE HIERARCHICAL_ROLE RESERVATION_REFINEMENT RESOURCE_PROVIDER RESIZE_VOLUME AGENT_OPERATION_FEEDBACK AGENT_DRAINING"},
	{"1.11.0", "MULTI_ROLE HIERARCHICAL_ROLE RESERVATION_REFINEMENT RESOURCE_PROVIDER RESIZE_VOLUME AGENT_OPERATION_FEEDBACK AGENT_DRAINING TASK_RESOURCE_LIMITS"},
}

func capabilityList(names string) string {
	var list []string
	for n := range strings.FieldsSeq(names) {
		list = append(list, `{"type":"`+n+`"}`)
	}
	return strings.Join(list, ",")
}

// join registers an agent of a release; fields that it does not know yet are left out.
func (w *world) join(pid, version, capabilities string) string {
	w.t.Helper()
	body := `{"slave":{"hostname":"h","resources":[` + twoScalars(4, 1024) + `,{"name":"disk","type":"SCALAR","scalar":{"value":100}}]},"version":"` + version + `"`
	if capabilities != "" {
		body += `,"agent_capabilities":[` + capabilityList(capabilities) + `]`
	}
	if strings.Contains(capabilities, "RESOURCE_PROVIDER") {
		body += `,"resource_version_uuid":{"value":"` + uuid16("v") + `"}`
	}
	w.agent(pid, "register", body+`}`)
	m, ok := w.sent(pid, "SlaveRegisteredMessage").(*messages.SlaveRegisteredMessage)
	if !ok {
		w.t.Fatalf("%s was not taken", version)
	}
	return m.GetSlaveId().GetValue()
}

// TestAgentsOfAllReleases: libprocess.md 5.2 and 5.3, gate by gate, for agents of 1.0 to 1.11.
func TestAgentsOfAllReleases(t *testing.T) {
	for _, r := range releases {
		t.Run(r.version, func(t *testing.T) {
			has := func(c string) bool { return strings.Contains(r.capabilities, c) }
			frameworks := []struct {
				info string
				want bool
			}{
				{checkpointing, true},
				{`,"checkpoint":true,"roles":["dev"],"capabilities":[{"type":"MULTI_ROLE"}]`, has("MULTI_ROLE")},
				{`,"checkpoint":true,"role":"eng/web"`, has("HIERARCHICAL_ROLE")},
			}
			for _, f := range frameworks {
				w := newWorld(t).begin()
				a := w.join(one, r.version, r.capabilities)
				id := w.subscribe("s", "", f.info)
				if got := w.offered("s"); got != f.want {
					t.Errorf("%s: offered %v", f.info, got)
				}
				if !f.want {
					continue
				}
				w.accept("s", id, w.next("s", scheduler.Event_OFFERS).GetOffers().GetOffers()[0], "", "t")
				run, ok := w.sent(one, "RunTaskMessage").(*messages.RunTaskMessage)
				if !ok {
					t.Errorf("%s: not launched: %v", f.info, w.kinds("s"))
					continue
				}
				for _, res := range run.GetTask().GetResources() {
					// Old agents read role and reservation, new ones the stack of reservations.
					if (res.Role != nil) == has("RESERVATION_REFINEMENT") || len(res.GetReservations()) > 0 || res.GetAllocationInfo().GetRole() == "" {
						t.Errorf("%s: resource %v", f.info, res)
					}
				}
				if run.GetFramework().GetId().GetValue() != id || !run.GetLaunchExecutor() || run.GetPid() != "@0.0.0.0:0" {
					t.Errorf("%s: message %v", f.info, run)
				}
				if got := len(run.GetResourceVersionUuids()) > 0; got != has("RESOURCE_PROVIDER") {
					t.Errorf("%s: resource versions %v", f.info, run.GetResourceVersionUuids())
				}
				w.update(one, a, id, "t", "TASK_RUNNING", "r", "")
				if st := w.status("s"); st.GetState() != mesos.TaskState_TASK_RUNNING {
					t.Errorf("%s: status %v", f.info, st)
				}
			}
			t.Run("limits", func(t *testing.T) {
				w := newWorld(t).begin()
				a := w.join(one, r.version, r.capabilities)
				id := w.subscribe("s", "", checkpointing)
				o := w.offer("s")
				w.call("s", id, `{"type":"ACCEPT","accept":{"offer_ids":[{"value":"`+o.GetId().GetValue()+`"}],"operations":[{"type":"LAUNCH","launch":{"task_infos":[`+
					`{"name":"t","task_id":{"value":"t"},"agent_id":{"value":"`+a+`"},"command":{"value":"x"},"limits":{"mem":{"value":64}},"resources":[`+twoScalars(1, 32)+`]}]}}]}}`)
				if launched := w.sent(one, "RunTaskMessage") != nil; launched != has("TASK_RESOURCE_LIMITS") {
					t.Errorf("launched %v: %v", launched, w.kinds("s"))
				}
			})
			t.Run("groups", func(t *testing.T) {
				w := newWorld(t).begin()
				a := w.join(one, r.version, r.capabilities)
				id := w.subscribe("s", "", checkpointing)
				o := w.offer("s")
				w.call("s", id, `{"type":"ACCEPT","accept":{"offer_ids":[{"value":"`+o.GetId().GetValue()+`"}],"operations":[{"type":"LAUNCH_GROUP","launch_group":{`+
					`"executor":{"type":"DEFAULT","executor_id":{"value":"x"},"framework_id":{"value":"`+id+`"},"resources":[`+twoScalars(0.1, 32)+`,{"name":"disk","type":"SCALAR","scalar":{"value":1}}]},`+
					`"task_group":{"tasks":[{"name":"t","task_id":{"value":"t"},"agent_id":{"value":"`+a+`"},"command":{"value":"x"},"resources":[`+twoScalars(1, 32)+`]}]}}}]}}`)
				m, launched := w.sent(one, "RunTaskGroupMessage").(*messages.RunTaskGroupMessage)
				if known := !strings.HasPrefix(r.version, "1.0."); launched != known {
					t.Errorf("launched %v on an agent that knows groups: %v; %v", launched, known, w.kinds("s"))
				}
				for _, res := range m.GetExecutor().GetResources() {
					if (res.Role != nil) == has("RESERVATION_REFINEMENT") {
						t.Errorf("executor's resource %v", res)
					}
				}
			})
			t.Run("back with a task", func(t *testing.T) {
				// Old agents know no allocation_info: it is the framework's single role.
				w := newWorld(t).begin("Z-S0")
				w.agent(one, "reregister", fmt.Sprintf(`{"slave":{"id":{"value":"Z-S0"},"hostname":"h","checkpoint":true,"resources":[%s]},"version":%q,"agent_capabilities":[%s],`+
					`"frameworks":[{"user":"root","name":"f","role":"web","checkpoint":true,"id":{"value":"F"}}],"tasks":[{"name":"t","task_id":{"value":"t"},"framework_id":{"value":"F"},`+
					`"agent_id":{"value":"Z-S0"},"state":"TASK_RUNNING","resources":[%s]}]}`, twoScalars(4, 1024), r.version, capabilityList(r.capabilities), twoScalars(1, 32)))
				if w.sent(one, "SlaveReregisteredMessage") == nil {
					t.Fatal("not taken back")
				}
				if used := w.agentView("Z-S0").Used.String(); used != "cpus(allocated: web):1; mem(allocated: web):32" {
					t.Errorf("used %s", used)
				}
				w.wait(time.Second)
				w.call("s", "", `{"type":"SUBSCRIBE","framework_id":{"value":"F"},"subscribe":{"framework_info":{"user":"root","name":"f","role":"web","checkpoint":true,"id":{"value":"F"}}}}`)
				w.next("s", scheduler.Event_SUBSCRIBED)
				w.reconcile("s", "F", "")
				if st := w.status("s"); st.GetState() != mesos.TaskState_TASK_RUNNING {
					t.Errorf("status %v", st)
				}
			})
		})
	}
}

// TestAgentsTooOld: versions below 1.0.0, or none at all, are ignored.
func TestAgentsTooOld(t *testing.T) {
	for _, version := range []string{"0.28.3", "", "new", "1.x"} {
		w := newWorld(t).begin()
		w.agent(one, "register", `{"slave":{"hostname":"h","resources":[`+twoScalars(4, 1024)+`]},"version":"`+version+`"}`)
		if len(w.toAgent) != 0 || len(w.book.Snapshot().Agents) != 0 {
			t.Errorf("%q was taken", version)
		}
	}
	for _, version := range []string{"1.0.0", "1.11.0-rc2", "1.12.0", "2.0.0"} {
		w := newWorld(t).begin()
		w.join(one, version, "")
	}
}
