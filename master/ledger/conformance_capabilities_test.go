package ledger_test

import (
	"strings"
	"testing"

	"github.com/stoa-project/stoa/internal/wire/scheduler"
)

// TestCapabilityRows: what each capability of a framework changes (mesos-master.md 1.11).
// Every row looks at the same thing without and with the capability. TASK_KILLING_STATE is
// the executor's business: the state passes in either case.
func TestCapabilityRows(t *testing.T) {
	const remote = `,"domain":{"fault_domain":{"region":{"name":"far"},"zone":{"name":"z"}}}`
	resources := func(more string) string {
		return `{"slave":{"hostname":"h","checkpoint":true,"resources":[` + twoScalars(4, 1024) + more + `]},"version":"1.11.0",` + allCapabilities + `}`
	}
	offered := func(w *world) string {
		w.allocate()
		var out []string
		for _, e := range w.events[connOf("s")] {
			for _, r := range e.GetOffers().GetOffers()[0].GetResources() {
				text := r.GetName()
				if r.Revocable != nil {
					text += " revocable"
				}
				if r.Shared != nil {
					text += " shared"
				}
				if r.AllocationInfo != nil {
					text += " allocated"
				}
				if n := len(r.GetReservations()); n > 0 {
					text += " reserved" + strings.Repeat("+", n-1)
				} else if r.Role != nil {
					text += " role " + r.GetRole()
				}
				out = append(out, text)
			}
		}
		return strings.Join(out, ", ")
	}
	const agent = "slave(1)@10.0.0.1:5051"
	for _, c := range []struct {
		capability, role string
		look             func(w *world, f string) string
		without, with    string
	}{
		{"REVOCABLE_RESOURCES", `"role":"a"`, func(w *world, _ string) string {
			w.agent(agent, "register", resources(`,{"name":"cpus","type":"SCALAR","scalar":{"value":1},"revocable":{}}`))
			return offered(w)
		}, "cpus role *, mem role *", "cpus role *, mem role *, cpus revocable role *"},
		{"GPU_RESOURCES", `"role":"a"`, func(w *world, _ string) string {
			w.agent(agent, "register", resources(`,{"name":"gpus","type":"SCALAR","scalar":{"value":1}}`))
			return offered(w)
		}, "", "cpus role *, mem role *, gpus role *"},
		{"SHARED_RESOURCES", `"role":"a"`, func(w *world, _ string) string {
			w.agent(agent, "register", resources(`,{"name":"disk","type":"SCALAR","scalar":{"value":9},"reservations":[{"type":"STATIC","role":"a"}],`+
				`"disk":{"persistence":{"id":"p"},"volume":{"mode":"RW","container_path":"d"}},"shared":{}}`))
			return offered(w)
		}, "cpus role *, mem role *", "cpus role *, mem role *, disk shared role a"},
		{"MULTI_ROLE", `"roles":["a"]`, func(w *world, _ string) string {
			w.agent(agent, "register", resources(""))
			return offered(w)
		}, "refused", "cpus allocated role *, mem allocated role *"},
		{"RESERVATION_REFINEMENT", `"role":"a/b"`, func(w *world, _ string) string {
			w.agent(agent, "register", resources(`,{"name":"disk","type":"SCALAR","scalar":{"value":9},"reservations":[{"type":"STATIC","role":"a"},{"type":"DYNAMIC","role":"a/b"}]},`+
				`{"name":"disk","type":"SCALAR","scalar":{"value":8},"reservations":[{"type":"STATIC","role":"a/b"}]}`))
			return offered(w)
		}, "cpus role *, mem role *, disk role a/b", "cpus, mem, disk reserved+, disk reserved"},
		{"REGION_AWARE", `"role":"a"`, func(w *world, _ string) string {
			w.agent(agent, "register", strings.Replace(resources(""), `"hostname":"h"`, `"hostname":"h"`+remote, 1))
			return offered(w)
		}, "", "cpus role *, mem role *"},
		{"PARTITION_AWARE", `"role":"a"`, func(w *world, f string) string {
			w.agent(agent, "register", resources(""))
			w.reconcile("s", f, taskOn("never", ""))
			return w.status("s").GetState().String()
		}, "TASK_LOST", "TASK_UNKNOWN"},
		{"TASK_KILLING_STATE", `"role":"a"`, func(w *world, f string) string {
			a := w.register(agent, "")
			w.accept("s", f, w.offer("s"), "", "t")
			w.update(agent, a, f, "t", "TASK_KILLING", "k", "")
			return w.status("s").GetState().String()
		}, "TASK_KILLING", "TASK_KILLING"},
	} {
		for _, has := range []bool{false, true} {
			want, list, name := c.without, "", "without "+c.capability
			if has {
				want, list, name = c.with, `{"type":"`+c.capability+`"}`, "with "+c.capability
			}
			t.Run(name, func(t *testing.T) {
				w := newWorld(t).begin()
				w.call("s", "", `{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"root","name":"f","checkpoint":true,`+c.role+`,"capabilities":[`+list+`]}}}`)
				got := "refused"
				if e := w.events[connOf("s")][0]; e.GetType() == scheduler.Event_SUBSCRIBED {
					w.forget()
					got = c.look(w, e.GetSubscribed().GetFrameworkId().GetValue())
				}
				if got != want {
					t.Errorf("%q, want %q", got, want)
				}
			})
		}
	}
}

// An agent without MULTI_ROLE is not offered to a framework with it, and the other way
// round it is (mesos-master.md 1.11, row MULTI_ROLE).
func TestMultiRoleAgents(t *testing.T) {
	for _, c := range []struct {
		framework, agent string
		want             bool
	}{
		{`,"roles":["a"],"capabilities":[{"type":"MULTI_ROLE"}]`, "", false},
		{`,"roles":["a"],"capabilities":[{"type":"MULTI_ROLE"}]`, `{"type":"MULTI_ROLE"}`, true},
		{`,"role":"a"`, "", true},
		{`,"role":"a"`, `{"type":"MULTI_ROLE"}`, true},
	} {
		w := newWorld(t).begin()
		w.agent("slave(1)@10.0.0.1:5051", "register", `{"slave":{"hostname":"h","checkpoint":true,"resources":[`+twoScalars(4, 1024)+`]},"version":"1.11.0","agent_capabilities":[`+c.agent+`]}`)
		w.subscribe("s", "", c.framework)
		if got := w.offered("s"); got != c.want {
			t.Errorf("framework %s, agent %q: offered %v", c.framework, c.agent, got)
		}
	}
}
