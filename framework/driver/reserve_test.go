package driver

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
	"github.com/stoa-project/stoa/framework/match"
)

// jsonOf gives a message as decoded JSON without what is empty, for comparing.
func jsonOf(t *testing.T, v any) any {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return prune(out)
}

func prune(v any) any {
	switch x := v.(type) {
	case map[string]any:
		for k, e := range x {
			if e = prune(e); e == nil {
				delete(x, k)
			} else {
				x[k] = e
			}
		}
	case []any:
		if len(x) == 0 {
			return nil
		}
		for i := range x {
			x[i] = prune(x[i])
		}
	}
	return v
}

// TestReserveOnTheWire: RESERVE with our labels and principal, CREATE of the volumes on what
// it reserved, and the reverse to free it (marathon.md 6.4).
func TestReserveOnTheWire(t *testing.T) {
	s := &session{d: New(Config{Principal: "p"}, nil, nil, nil), frameworkID: "F"}
	i := &app.Instance{ID: "a.instance-u", Role: "dev", AgentID: "S"}
	calls := s.callsFor(core.Accept{Offer: "O", Refuse: 0, Reserve: []core.Reserve{{Instance: i,
		Resources: []match.Resource{{Name: "cpus", Role: "*", Milli: 500}, {Name: "ports", Role: "*", Ranges: []match.Range{{Begin: 31000, End: 31000}}}},
		Volumes: []match.Resource{
			{Name: "disk", Role: "*", Milli: 10_000, Disk: &match.Disk{Path: "data", Volume: "a#data#u"}},
			{Name: "disk", Role: "*", Milli: 50_000, Disk: &match.Disk{Source: match.MountDisk, Root: "/m", Path: "big", Volume: "a#big#u"}},
		}}}})
	if len(calls) != 1 || calls[0].Type != scheduler.Call_ACCEPT || len(calls[0].Accept.Operations) != 2 {
		t.Fatalf("calls %+v", calls)
	}
	own := map[string]any{"principal": "p", "labels": map[string]any{"labels": []any{
		map[string]any{"key": "marathon_framework_id", "value": "F"}, map[string]any{"key": "marathon_task_id", "value": "a.instance-u"}}}}
	block := func(name string, more map[string]any) map[string]any {
		out := map[string]any{"name": name, "role": "dev", "reservation": own, "allocation_info": map[string]any{"role": "dev"}}
		if _, ranges := more["ranges"]; ranges {
			out["type"] = "RANGES"
		} else {
			out["type"] = "SCALAR"
		}
		for k, v := range more {
			out[k] = v
		}
		return out
	}
	scalar := func(v float64) map[string]any { return map[string]any{"value": v} }
	mount := map[string]any{"type": "MOUNT", "mount": map[string]any{"root": "/m"}}
	ops := calls[0].Accept.Operations
	reserve := []any{
		block("cpus", map[string]any{"scalar": scalar(0.5)}),
		block("ports", map[string]any{"ranges": map[string]any{"range": []any{map[string]any{"begin": 31000.0, "end": 31000.0}}}}),
		block("disk", map[string]any{"scalar": scalar(10)}),
		block("disk", map[string]any{"scalar": scalar(50), "disk": map[string]any{"source": mount}}),
	}
	if got := jsonOf(t, ops[0].Reserve.Resources); ops[0].Type != mesos.Offer_Operation_RESERVE || !reflect.DeepEqual(got, any(reserve)) {
		t.Errorf("RESERVE %v\nwant %v", got, reserve)
	}
	volume := func(id, path string) map[string]any {
		return map[string]any{"persistence": map[string]any{"id": id, "principal": "p"}, "volume": map[string]any{"container_path": path, "mode": "RW"}}
	}
	big := volume("a#big#u", "big")
	big["source"] = mount
	create := []any{
		block("disk", map[string]any{"scalar": scalar(10), "disk": volume("a#data#u", "data")}),
		block("disk", map[string]any{"scalar": scalar(50), "disk": big}),
	}
	if got := jsonOf(t, ops[1].Create.Volumes); ops[1].Type != mesos.Offer_Operation_CREATE || !reflect.DeepEqual(got, any(create)) {
		t.Errorf("CREATE %v\nwant %v", got, create)
	}

	// The same comes back in an offer, is read, and freed.
	offered := &mesos.Offer{AllocationInfo: &mesos.Resource_AllocationInfo{Role: ptr("dev")}}
	offered.Resources = append(offered.Resources, ops[0].Reserve.Resources[:2]...)
	offered.Resources = append(offered.Resources, ops[1].Create.Volumes...)
	o := leanOffer(offered, "*")
	for _, r := range o.Resources {
		if r.Owner("F") != "a.instance-u" {
			t.Errorf("owner of %+v", r)
		}
	}
	calls = s.callsFor(core.Accept{Offer: "O", Free: o.Resources})
	ops = calls[0].Accept.Operations
	if len(ops) != 2 || ops[0].Type != mesos.Offer_Operation_DESTROY || ops[1].Type != mesos.Offer_Operation_UNRESERVE {
		t.Fatalf("operations %+v", ops)
	}
	if got := jsonOf(t, ops[0].Destroy.Volumes); !reflect.DeepEqual(got, any(create)) {
		t.Errorf("DESTROY %v\nwant %v", got, create)
	}
	if got := jsonOf(t, ops[1].Unreserve.Resources); !reflect.DeepEqual(got, any(reserve)) {
		t.Errorf("UNRESERVE %v\nwant %v", got, reserve)
	}
}

// TestDisksOfStoragePlugins are told from those that apps may use.
func TestDisksOfStoragePlugins(t *testing.T) {
	disk := func(s mesos.Resource_DiskInfo_Source) mesos.Resource {
		return mesos.Resource{Name: "disk", Disk: &mesos.Resource_DiskInfo{Source: &s}}
	}
	provided := disk(mesos.Resource_DiskInfo_Source{Type: mesos.Resource_DiskInfo_Source_MOUNT})
	provided.ProviderID = &mesos.ResourceProviderID{Value: "csi"}
	for _, r := range []mesos.Resource{
		disk(mesos.Resource_DiskInfo_Source{Type: mesos.Resource_DiskInfo_Source_RAW}),
		disk(mesos.Resource_DiskInfo_Source{Type: mesos.Resource_DiskInfo_Source_BLOCK}),
		disk(mesos.Resource_DiskInfo_Source{Type: mesos.Resource_DiskInfo_Source_MOUNT, Profile: ptr("fast")}), provided,
	} {
		if got := leanDisk(&r); got == nil || got.Source != match.OtherDisk {
			t.Errorf("%+v is read as %+v", r, got)
		}
	}
}

// TestConstraintsOnAttributes: every operator on every type of attribute (marathon.md 6.2).
func TestConstraintsOnAttributes(t *testing.T) {
	type ranges = []mesos.Value_Range
	attrs := map[string]mesos.Attribute{
		"text":   {Name: "f", Text: &mesos.Value_Text{Value: "r1"}},
		"scalar": {Name: "f", Scalar: &mesos.Value_Scalar{Value: 8.0}},
		"third":  {Name: "f", Scalar: &mesos.Value_Scalar{Value: 1.0 / 3}},
		"ranges": {Name: "f", Ranges: &mesos.Value_Ranges{Range: ranges{{Begin: 30, End: 40}, {Begin: 1, End: 2}}}},
		"set":    {Name: "f", Set: &mesos.Value_Set{Item: []string{"b", "a"}}},
	}
	values := map[string]string{"text": "r1", "scalar": "8", "third": "0.333", "ranges": "[1-2,30-40]", "set": "{a,b}"}
	for kind, attr := range attrs {
		o := leanOffer(&mesos.Offer{Attributes: []mesos.Attribute{attr}, Resources: []mesos.Resource{{Name: "cpus", Scalar: &mesos.Value_Scalar{Value: 9}}}}, "*")
		if got := o.Attributes[0].Value; got != values[kind] {
			t.Errorf("%s is %q, want %q", kind, got, values[kind])
		}
		v := values[kind]
		quoted := map[string]string{"ranges": `\[1-2,.*\]`, "set": `\{a,.\}`}[kind]
		if quoted == "" {
			quoted = v
		}
		here, elsewhere := match.Place{Attributes: o.Attributes}, match.Place{Attributes: []match.Attribute{{Name: "f", Value: "other"}}}
		for _, c := range []struct {
			op, value string
			placed    []match.Place
			want      bool
		}{
			{"UNIQUE", "", nil, true}, {"UNIQUE", "", []match.Place{here}, false}, {"UNIQUE", "", []match.Place{elsewhere}, true},
			{"CLUSTER", v, nil, true}, {"CLUSTER", "other", nil, false}, {"CLUSTER", "", []match.Place{here}, true}, {"CLUSTER", "", []match.Place{elsewhere}, false},
			{"GROUP_BY", "", []match.Place{elsewhere}, true}, {"GROUP_BY", "2", []match.Place{here}, false}, {"GROUP_BY", "", []match.Place{here}, true},
			{"LIKE", quoted, nil, true}, {"LIKE", "no.*", nil, false}, {"UNLIKE", quoted, nil, false}, {"UNLIKE", "no.*", nil, true},
			{"MAX_PER", "1", nil, true}, {"MAX_PER", "1", []match.Place{here}, false}, {"MAX_PER", "2", []match.Place{here}, true},
			{"IS", v, nil, true}, {"IS", "other", nil, false}, {"IS", v + ".0", nil, kind == "scalar"},
		} {
			k, err := match.ParseConstraint("f", c.op, c.value)
			if err != nil {
				t.Fatal(err)
			}
			s := &match.Spec{Role: "*", Accept: []string{"*"}, Cpus: 1000, Want: 1, Constraints: []match.Constraint{k}}
			for _, p := range c.placed {
				s.Placed(p)
			}
			got := match.Match(match.Rules{}, []*match.Spec{s}, []*match.Offer{o})
			if (len(got.Launches) == 1) != c.want {
				t.Errorf("%s: %s %q beside %d: placed %t, want %t", kind, c.op, c.value, len(c.placed), len(got.Launches) == 1, c.want)
			}
		}
	}
}

// TestIntroduction: GPU_RESOURCES with its feature only, and where the master says it is.
func TestIntroduction(t *testing.T) {
	for _, gpus := range []bool{false, true} {
		info := New(Config{GPUs: gpus}, nil, nil, nil).framework("", []string{"*"})
		has := slices.ContainsFunc(info.Capabilities, func(c mesos.FrameworkInfo_Capability) bool {
			return c.Type == mesos.FrameworkInfo_Capability_GPU_RESOURCES
		})
		if has != gpus {
			t.Errorf("gpus %t: capabilities %v", gpus, info.Capabilities)
		}
	}
	m := newMaster(t)
	b := run(t, m, Config{}, "")
	m.call(t, scheduler.Call_SUBSCRIBE)
	region := mesos.DomainInfo_FaultDomain_RegionInfo{Name: "north"}
	m.send(&scheduler.Event{Type: scheduler.Event_SUBSCRIBED, Subscribed: &scheduler.Event_Subscribed{FrameworkID: &mesos.FrameworkID{Value: "F"},
		MasterInfo: &mesos.MasterInfo{ID: "m", Port: ptr(uint32(5050)), Domain: &mesos.DomainInfo{FaultDomain: &mesos.DomainInfo_FaultDomain{Region: region, Zone: mesos.DomainInfo_FaultDomain_ZoneInfo{Name: "z"}}}}}})
	select {
	case in := <-b.inputs:
		if s, ok := in.(core.Subscribed); !ok || s.HomeRegion != "north" {
			t.Errorf("got %+v", in)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("not subscribed")
	}
}
