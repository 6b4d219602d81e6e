package master_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
	"github.com/stoa-project/stoa/master"
)

const inRoles = `{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"root","name":"f","checkpoint":true,"failover_timeout":3600,
	"capabilities":[{"type":"MULTI_ROLE"}],"roles":[%s]}%s}}`

// TestAllocatorMetrics: the allocator has every name that a real master published, and the
// numbers of what happened.
func TestAllocatorMetrics(t *testing.T) {
	m := startMaster(t, master.Config{WorkDir: t.TempDir()})
	a := startAgent(t, m.addr)
	a.register()
	f := m.subscribe(fmt.Sprintf(inRoles, `"web/front","dev"`, ""))
	f.next(scheduler.Event_SUBSCRIBED)
	f.launch("one", "sleep")
	f.update("one", mesos.TaskState_TASK_RUNNING)
	o := f.next(scheduler.Event_OFFERS).GetOffers().GetOffers()[0]
	role := o.GetAllocationInfo().GetRole()
	f.call(fmt.Sprintf(`{"type":"DECLINE","decline":{"offer_ids":[{"value":%q}],"filters":{"refuse_seconds":600}}}`, o.GetId().GetValue()))
	f.call(`{"type":"SUPPRESS"}`)
	m.order(`{"type":"UPDATE_QUOTA","update_quota":{"force":true,"quota_configs":[{"role":"web","guarantees":{"cpus":{"value":1}},"limits":{"cpus":{"value":3}}}]}}`)
	var got map[string]float64
	filtered := "allocator/mesos/offer_filters/roles/" + role + "/active"
	eventually(t, "the decline is counted", func() bool {
		got = m.metrics("/metrics/snapshot")
		return got[filtered] == 1
	})
	names := map[string]bool{}
	for name := range got {
		names[general(name)] = true
	}
	for name := range recordedMetrics(t, "snapshot.http") {
		if strings.HasPrefix(name, "allocator/") && !names[name] {
			t.Errorf("no %s", name)
		}
	}
	for name, want := range map[string]float64{
		"allocator/mesos/quota/roles/web/resources/cpus/guarantee": 1, "allocator/mesos/quota/roles/web/resources/cpus/limit": 3,
		"allocator/mesos/resources/cpus/total": got["master/cpus_total"],
	} {
		if value, there := got[name]; !there || value != want {
			t.Errorf("%s is %v (%v), want %v", name, value, there, want)
		}
	}
	used := got["master/cpus_used"]
	if used <= 0 || got["allocator/mesos/quota/roles//resources/cpus/consumed"] != used || got["allocator/mesos/resources/cpus/offered_or_allocated"] < used ||
		got["allocator/mesos/allocation_runs"] < 1 || got["allocator/mesos/allocation_run_ms/count"] < 1 {
		t.Errorf("used %v, consumed %v, booked %v, %v runs", used, got["allocator/mesos/quota/roles//resources/cpus/consumed"],
			got["allocator/mesos/resources/cpus/offered_or_allocated"], got["allocator/mesos/allocation_runs"])
	}
	sum := got["allocator/mesos/roles/web/front/shares/dominant"] + got["allocator/mesos/roles/dev/shares/dominant"]
	if sum <= 0 || sum > 1 {
		t.Errorf("dominant shares sum up to %v", sum)
	}
	if page := m.text("/metrics"); !strings.Contains(page, "\nstoa_master_allocation_runs_total ") {
		t.Error("/metrics lacks the allocator")
	}
}

// TestConstraintsDebug is /allocator/offer_constraints_debug (1.12).
func TestConstraintsDebug(t *testing.T) {
	m := startMaster(t, master.Config{WorkDir: t.TempDir()})
	a := startAgent(t, m.addr)
	a.register()
	f := m.subscribe(fmt.Sprintf(inRoles, `"x","y"`, `,"suppressed_roles":["y"],"offer_constraints":{"role_constraints":{"x":{"groups":[{"attribute_constraints":[
		{"selector":{"pseudoattribute_type":"HOSTNAME"},"predicate":{"text_not_matches":{"regex":"sim\\..*"}}}]}]}}}`))
	f.next(scheduler.Event_SUBSCRIBED)
	g := m.subscribe(fmt.Sprintf(inRoles, `"z"`, ""))
	g.next(scheduler.Event_SUBSCRIBED)
	agent := g.next(scheduler.Event_OFFERS).GetOffers().GetOffers()[0].GetAgentId().GetValue()
	for _, path := range []string{"/allocator/offer_constraints_debug", "/master/allocator/offer_constraints_debug"} {
		var got any
		if err := json.Unmarshal([]byte(m.text(path)), &got); err != nil {
			t.Fatal(err)
		}
		want := map[string]any{"frameworks": map[string]any{
			f.id: map[string]any{"suppressed_roles": []any{"y"}, "excluded_by_attribute_constraints": map[string]any{"x": []any{agent}, "y": []any{}}},
			g.id: map[string]any{"suppressed_roles": []any{}, "excluded_by_attribute_constraints": map[string]any{"z": []any{}}},
		}}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v", path, got)
		}
	}
}

// TestWhitelistFile: only listed hosts are offered, and the file is read again.
func TestWhitelistFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "whitelist")
	if err := os.WriteFile(file, []byte("other.example.org\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	m := startMaster(t, master.Config{WorkDir: t.TempDir(), Whitelist: file, WhitelistInterval: shortly})
	a := startAgent(t, m.addr)
	a.register()
	f := m.subscribe(fmt.Sprintf(inRoles, `"x"`, ""))
	f.next(scheduler.Event_SUBSCRIBED)
	b := startAgent(t, m.addr)
	b.hostname = "other.example.org"
	b.register()
	if o := f.next(scheduler.Event_OFFERS).GetOffers().GetOffers(); len(o) != 1 || o[0].GetHostname() != "other.example.org" {
		t.Fatalf("offered: %v", o)
	}
	if err := os.WriteFile(file, []byte("  sim.example.org \n\nother.example.org\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if o := f.next(scheduler.Event_OFFERS).GetOffers().GetOffers(); len(o) != 1 || o[0].GetHostname() != "sim.example.org" {
		t.Fatalf("offered after the change: %v", o)
	}
}

// shortly is a pause for tests that wait for a file to be looked at.
const shortly = 5e6

// TestConstraintLimits: the flags' limits hold for SUBSCRIBE.
func TestConstraintLimits(t *testing.T) {
	subscribe := fmt.Sprintf(inRoles, `"x"`, `,"offer_constraints":{"role_constraints":{"x":{"groups":[{"attribute_constraints":[
		{"selector":{"attribute_name":"a"},"predicate":{"text_matches":{"regex":"(a+){50}"}}}]}]}}}`)
	m := startMaster(t, master.Config{WorkDir: t.TempDir()})
	if e := m.subscribe(subscribe).next(scheduler.Event_ERROR); !strings.Contains(e.GetError().GetMessage(), "is too complex") {
		t.Errorf("refused with %v", e)
	}
	m = startMaster(t, master.Config{WorkDir: t.TempDir(), ConstraintProgram: 1000})
	m.subscribe(subscribe).next(scheduler.Event_SUBSCRIBED)
}
