package match

import (
	"reflect"
	"testing"
)

func reserved(framework, instance string) *Reservation {
	return &Reservation{Principal: "p", Labels: []Label{{FrameworkLabel, framework}, {InstanceLabel, instance}}}
}

func TestVolumes(t *testing.T) {
	path := func(root string, mib int64) Resource {
		return Resource{Name: "disk", Role: "*", Milli: mib * 1000, Disk: &Disk{Source: PathDisk, Root: root}}
	}
	mount := func(root string, mib int64) Resource {
		return Resource{Name: "disk", Role: "*", Milli: mib * 1000, Disk: &Disk{Source: MountDisk, Root: root}}
	}
	with := func(v Volume) Resource { // what is expected to be taken
		return Resource{Name: "disk", Role: "*", Milli: v.Size, Disk: &Disk{Source: v.Source, Root: v.Constraints[0].Field, Path: v.Path}}
	}
	at := func(root string) []Constraint { return []Constraint{{Field: root}} }
	for _, c := range []struct {
		name    string
		volumes []Volume
		disk    int64 // scratch
		offered []Resource
		want    []Resource // nil: refused
	}{
		{"root, from scratch space", []Volume{{Path: "data", Size: 400_000}}, 600_000, nil,
			[]Resource{with(Volume{Path: "data", Size: 400_000, Constraints: at("")})}},
		{"root and scratch together are too much", []Volume{{Path: "data", Size: 400_000}}, 600_001, nil, nil},
		{"path, the largest", []Volume{{Path: "data", Source: PathDisk, Size: 10_000}}, 0, []Resource{path("/a", 50), path("/b", 90)},
			[]Resource{with(Volume{Path: "data", Source: PathDisk, Size: 10_000, Constraints: at("/b")})}},
		{"two on path disks, evenly", []Volume{{Path: "x", Source: PathDisk, Size: 50_000}, {Path: "y", Source: PathDisk, Size: 10_000}}, 0,
			[]Resource{path("/a", 50), path("/b", 90)}, []Resource{
				with(Volume{Path: "x", Source: PathDisk, Size: 50_000, Constraints: at("/b")}),
				with(Volume{Path: "y", Source: PathDisk, Size: 10_000, Constraints: at("/a")})}},
		{"mount, the smallest, all of it", []Volume{{Path: "data", Source: MountDisk, Size: 10_000}}, 0, []Resource{mount("/a", 5), mount("/b", 90), mount("/c", 50)},
			[]Resource{with(Volume{Path: "data", Source: MountDisk, Size: 50_000, Constraints: at("/c")})}},
		{"mount, each once", []Volume{{Path: "x", Source: MountDisk, Size: 10_000}, {Path: "y", Source: MountDisk, Size: 10_000}}, 0, []Resource{mount("/b", 90)}, nil},
		{"mount, not above maxSize", []Volume{{Path: "data", Source: MountDisk, Size: 10_000, MaxSize: 40_000}}, 0, []Resource{mount("/b", 90), mount("/c", 50)}, nil},
		{"path LIKE", []Volume{{Path: "data", Source: PathDisk, Size: 1000, Constraints: []Constraint{must("path", "LIKE", "/ssd.*")}}}, 0,
			[]Resource{path("/hdd", 90), path("/ssd1", 50)}, []Resource{with(Volume{Path: "data", Source: PathDisk, Size: 1000, Constraints: at("/ssd1")})}},
		{"path UNLIKE", []Volume{{Path: "data", Source: PathDisk, Size: 1000, Constraints: []Constraint{must("path", "UNLIKE", "/ssd.*")}}}, 0,
			[]Resource{path("/ssd1", 50)}, nil},
		{"no disk of a storage plugin", []Volume{{Path: "data", Source: MountDisk, Size: 1000}}, 0,
			[]Resource{{Name: "disk", Role: "*", Milli: 5000, Disk: &Disk{Source: OtherDisk}}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, o := spec(1), offer("a", 4000, 1e6)
			s.Reserve, s.Volumes, s.Disk, s.Ports = true, c.volumes, c.disk, []Port{{}}
			o.Resources = append(o.Resources, c.offered...)
			got := Match(rules(), []*Spec{s}, []*Offer{o})
			if c.want == nil {
				if len(got.Launches) > 0 || got.Seen[0].Refused[InsufficientDisk] != 1 {
					t.Fatalf("got %+v, want a refusal for %s", got, InsufficientDisk)
				}
				return
			}
			if len(got.Launches) != 1 || !reflect.DeepEqual(got.Launches[0].Volumes, c.want) {
				t.Fatalf("got %+v, want volumes %+v", got.Launches, c.want)
			}
		})
	}
}

func TestRelaunch(t *testing.T) {
	mine, others := reserved("F", "i1"), reserved("F", "i2")
	vol := func(r *Reservation, id string) Resource {
		return Resource{Name: "disk", Role: "dev", Milli: 10_000, Reservation: r, Disk: &Disk{Volume: id, Path: "data"}}
	}
	res := func(r *Reservation) []Resource {
		return []Resource{{Name: "cpus", Role: "dev", Milli: 1000, Reservation: r}, {Name: "mem", Role: "dev", Milli: 128_000, Reservation: r},
			{Name: "ports", Role: "dev", Ranges: []Range{{31007, 31007}}, Reservation: r}}
	}
	free := []Resource{{Name: "cpus", Role: "*", Milli: 9000}, {Name: "mem", Role: "*", Milli: 1e6}, {Name: "cpus", Role: "dev", Milli: 9000}}
	for _, c := range []struct {
		name    string
		offered [][]Resource
		why     Reason
		ok      bool
	}{
		{"all there", [][]Resource{free, res(mine), {vol(mine, "v1")}}, 0, true},
		{"beside another's", [][]Resource{res(others), {vol(others, "v2")}, res(mine), {vol(mine, "v1")}}, 0, true},
		{"the volume is missing", [][]Resource{free, res(mine)}, NoCorrespondingReservationFound, false},
		{"the volume is another's", [][]Resource{res(mine), {vol(others, "v1")}}, NoCorrespondingReservationFound, false},
		{"an older volume of the same owner", [][]Resource{res(mine), {vol(mine, "v0")}}, NoCorrespondingReservationFound, false},
		{"cpus are not taken from elsewhere", [][]Resource{free, {vol(mine, "v1")}}, InsufficientCpus, false},
		{"another framework's", [][]Resource{res(reserved("G", "i1")), {vol(reserved("G", "i1"), "v1")}}, NoCorrespondingReservationFound, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := &Offer{ID: "o", AgentID: "S", Hostname: "h", Role: "dev"}
			for _, r := range c.offered {
				o.Resources = append(o.Resources, r...)
			}
			s := spec(1)
			s.Role, s.Accept, s.Ports = "dev", []string{"*"}, []Port{{}}
			s.Reserve, s.Volumes = true, []Volume{{Path: "data", Size: 10_000}}
			l, why, ok := Relaunch(ptr(rules()), "F", Held{Spec: s, Owner: "i1", Volumes: []string{"v1"}}, o)
			if ok != c.ok || why != c.why {
				t.Fatalf("got %t %s, want %t %s", ok, why, c.ok, c.why)
			}
			if !ok {
				return
			}
			if want := append(res(mine), vol(mine, "v1")); !reflect.DeepEqual(l.Resources, want) || l.HostPorts[0] != 31007 {
				t.Errorf("took %+v, ports %v; want %+v", l.Resources, l.HostPorts, want)
			}
		})
	}
}

// TestRelaunchIsBound checks what still holds for an instance that may go nowhere else.
func TestRelaunchIsBound(t *testing.T) {
	r := reserved("F", "i1")
	o := &Offer{Role: "dev", Hostname: "h", Resources: []Resource{{Name: "cpus", Role: "dev", Milli: 1000, Reservation: r},
		{Name: "mem", Role: "dev", Milli: 128_000, Reservation: r}, {Name: "gpus", Role: "*", Milli: 1000}}}
	s := spec(1)
	s.Role = "dev"
	h := Held{Spec: s, Owner: "i1"}
	rl := rules()
	rl.KeepGPUs = true
	if _, why, ok := Relaunch(&rl, "F", h, o); !ok {
		t.Errorf("refused for %s on an agent with GPUs", why)
	}
	o.Unavailable = rl.Now
	if _, why, ok := Relaunch(&rl, "F", h, o); ok || why != AgentMaintenance {
		t.Errorf("got %t %s in maintenance", ok, why)
	}
	o.Unavailable = rl.Now.Add(1)
	s.Constraints = []Constraint{must("hostname", "UNLIKE", "h")}
	if _, why, ok := Relaunch(&rl, "F", h, o); ok || why != UnfulfilledConstraint {
		t.Errorf("got %t %s against a constraint", ok, why)
	}
}

func ptr[T any](v T) *T { return &v }

func TestOwner(t *testing.T) {
	for _, c := range []struct {
		r    *Reservation
		want string
	}{
		{nil, ""}, {&Reservation{}, ""}, {reserved("F", "i"), "i"}, {reserved("G", "i"), ""},
		{&Reservation{Labels: []Label{{"team", "x"}, {InstanceLabel, "i"}, {FrameworkLabel, "F"}}}, "i"},
	} {
		b := Resource{Reservation: c.r}
		if got := b.Owner("F"); got != c.want {
			t.Errorf("%+v: owner %q, want %q", c.r, got, c.want)
		}
	}
	b := Resource{Reservation: reserved("", "i")}
	if b.Owner("") != "" {
		t.Error("an unknown framework owns something")
	}
}

// TestPlainTasksTakeReservations: dynamic reservations without an owner serve any app of
// the role, and go back as they came.
func TestPlainTasksTakeReservations(t *testing.T) {
	op := &Reservation{Principal: "op", Labels: []Label{{"team", "x"}}}
	o := &Offer{Role: "dev", Resources: []Resource{
		{Name: "cpus", Role: "dev", Milli: 1000, Reservation: op}, {Name: "mem", Role: "*", Milli: 128_000},
		{Name: "ports", Role: "dev", Ranges: []Range{{31000, 31000}}, Reservation: op}}}
	s := spec(1)
	s.Role, s.Accept, s.Ports = "dev", []string{"*", "dev"}, []Port{{}}
	got := Match(rules(), []*Spec{s}, []*Offer{o})
	if len(got.Launches) != 1 || !reflect.DeepEqual(got.Launches[0].Resources, o.Resources) {
		t.Errorf("took %+v, want %+v", got.Launches, o.Resources)
	}
}

func TestExecutorResources(t *testing.T) {
	s, o := spec(2), offer("a", 2250, 1e6)
	s.Executor = Executor{Cpus: 100, Mem: 32_000, Disk: 10_000}
	got := Match(rules(), []*Spec{s}, []*Offer{o})
	want := []Resource{{Name: "cpus", Role: "*", Milli: 100}, {Name: "mem", Role: "*", Milli: 32_000}, {Name: "disk", Role: "*", Milli: 10_000}}
	if len(got.Launches) != 2 || !reflect.DeepEqual(got.Launches[0].Executor, want) {
		t.Errorf("got %+v, want two launches with %+v each", got.Launches, want)
	}
	s = spec(3)
	s.Executor.Cpus = 200
	if got := Match(rules(), []*Spec{s}, []*Offer{offer("a", 2250, 1e6)}); len(got.Launches) != 1 {
		t.Errorf("%d launches, want 1: the executors need cpus too", len(got.Launches))
	}
}
