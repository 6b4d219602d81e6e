package resource_test

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

func parse(t testing.TB, text string) resource.Resources {
	t.Helper()
	rs, err := resource.Parse(text, "*")
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

// one reads a resource from JSON, for what the flag grammar cannot say.
func one(t testing.TB, text string) *mesos.Resource {
	t.Helper()
	r := new(mesos.Resource)
	if err := wire.UnmarshalJSON([]byte(text), r); err != nil {
		t.Fatal(err)
	}
	return r
}

const (
	volume = `{"name":"disk","type":"SCALAR","scalar":{"value":10},"reservations":[{"type":"DYNAMIC","role":"db"}],"disk":{"persistence":{"id":"v1"},"volume":{"container_path":"data","mode":"RW"}}}`
	shared = `{"name":"disk","type":"SCALAR","scalar":{"value":10},"reservations":[{"type":"DYNAMIC","role":"db"}],"disk":{"persistence":{"id":"v1"},"volume":{"container_path":"data","mode":"RW"}},"shared":{}}`
	mount  = `{"name":"disk","type":"SCALAR","scalar":{"value":10},"disk":{"source":{"type":"MOUNT","mount":{"root":"/mnt/a"}}}}`
	path   = `{"name":"disk","type":"SCALAR","scalar":{"value":10},"disk":{"source":{"type":"PATH","path":{"root":"/mnt/a"}}}}`
)

func TestParseAndPrint(t *testing.T) {
	for _, c := range []struct{ in, role, want string }{
		{"cpus:4;mem:1024;disk:100;ports:[31000-32000];gpus:1", "*", "cpus:4; mem:1024; disk:100; ports:[31000-32000]; gpus:1"},
		{" cpus : 4 ; mem(prod) : 1024.5 ;", "*", "cpus:4; mem(reservations: [(STATIC,prod)]):1024.5"},
		{"cpus:1;cpus:0.5;cpus(a):1", "b", "cpus(reservations: [(STATIC,b)]):1.5; cpus(reservations: [(STATIC,a)]):1"},
		{"cpus:1;cpus(*):2", "", "cpus:3"},
		{"ports:[5-9,1-3,4-4,20-20]", "*", "ports:[1-9, 20-20]"},
		{"zones:{b,a}", "*", "zones:{b, a}"},
		{"cpus:0.0004;mem:0", "*", "!below the precision"},
		{"mem:0", "*", "{}"},
		{"", "*", "{}"},
		{`[{"name":"cpus","type":"SCALAR","scalar":{"value":2}},{"name":"disk","type":"SCALAR","scalar":{"value":5},"role":"r","disk":{"source":{"type":"PATH","path":{"root":"/p"}}}}]`, "x", "cpus(reservations: [(STATIC,x)]):2; disk(reservations: [(STATIC,r)])[PATH:/p]:5"},
		{`[{"name":"cpus"}]`, "*", "!Missing required fields: type"},
		{`[{]`, "*", "!JSON array"},
		{"[" + volume + "]", "*", "!persistent volumes"},
		{`[{"name":"cpus","type":"SCALAR","scalar":{"value":2},"reservations":[{"type":"DYNAMIC","role":"db"}]}]`, "*", "!dynamic reservations"},
		{"cpus", "*", "!missing or extra ':'"},
		{"cpus:1:2", "*", "!missing or extra ':'"},
		{"cpus(a:1", "*", "!mismatched parentheses"},
		{"cpus:-1", "*", "!is no number"},
		{"cpus:NaN", "*", "!is no number"},
		{"cpus:inf", "*", "!is no number"},
		{"cpus:abc", "*", "!is no number"},
		{"cpus:1e-320", "*", "!too small"},
		{"cpus:", "*", "!empty"},
		{":1", "*", "!Empty resource name"},
		{"ports:[1-2", "*", "!mismatched brackets"},
		{"ports:[2-1]", "*", "!begins after its end"},
		{"ports:[1]", "*", "!no list of ranges"},
		{"ports:[a-b]", "*", "!no whole number"},
		{"zones:{a,a}", "*", "!duplicated"},
		{"gpus:1.5", "*", "!unsigned integer"},
		{"cpus:1;cpus:[1-2]", "*", "!different types"},
		{"cpus(a//b):1", "*", "!adjacent slashes"},
	} {
		t.Run(c.in, func(t *testing.T) {
			got, err := resource.Parse(c.in, c.role)
			if c.want[0] == '!' {
				wantFault(t, err, c.want[1:])
				return
			}
			if err != nil || got.String() != c.want {
				t.Errorf("got %s, %v; want %s", got, err, c.want)
			}
		})
	}
	if list, err := resource.ParseList("mem:0;cpus:1", ""); err != nil || len(list) != 2 {
		t.Errorf("zeros are kept in the list: %v, %v", list, err)
	}
}

func TestPrintsEverything(t *testing.T) {
	for in, want := range map[string]string{
		volume: "disk(reservations: [(DYNAMIC,db)])[v1:data]:10",
		shared: "disk(reservations: [(DYNAMIC,db)])[v1:data]<SHARED>:10",
		mount:  "disk[MOUNT:/mnt/a]:10",
		`{"name":"cpus","type":"SCALAR","scalar":{"value":1},"allocation_info":{"role":"dev"},"revocable":{},"reservations":[{"type":"STATIC","role":"a"},{"type":"DYNAMIC","role":"a/b","principal":"p","labels":{"labels":[{"key":"k","value":"v"},{"key":"l"}]}}]}`: "cpus(allocated: dev)(reservations: [(STATIC,a), (DYNAMIC,a/b,p,{k: v, l})]){REV}:1",
		`{"name":"disk","type":"SCALAR","scalar":{"value":1},"disk":{"source":{"type":"RAW","id":"i","profile":"p","vendor":"v"}}}`:                                                                                                                                    "disk[RAW(v,i,p)]:1",
	} {
		if got := resource.Text(one(t, in)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestAlgebra(t *testing.T) {
	for _, c := range []struct {
		name, a, b      string
		sum, difference string
		contains        bool
	}{
		{"scalars", "cpus:4;mem:1", "cpus:1.5", "cpus:5.5; mem:1", "cpus:2.5; mem:1", true},
		{"thousandths", "cpus:0.3", "cpus:0.1", "cpus:0.4", "cpus:0.2", true},
		{"to nothing", "cpus:0.3", "cpus:0.3", "cpus:0.6", "{}", true},
		{"never negative", "cpus:1", "cpus:2", "cpus:3", "{}", false},
		{"ranges", "ports:[1-10]", "ports:[3-4,6-6]", "ports:[1-10]", "ports:[1-2, 5-5, 7-10]", true},
		{"ranges apart", "ports:[1-2]", "ports:[3-4]", "ports:[1-4]", "ports:[1-2]", false},
		{"ends of numbers", "ports:[0-18446744073709551615]", "ports:[0-0,18446744073709551615-18446744073709551615]", "ports:[0-18446744073709551615]", "ports:[1-18446744073709551614]", true},
		{"sets", "z:{a,b}", "z:{b}", "z:{a, b}", "z:{a}", true},
		{"roles apart", "cpus(a):1", "cpus(b):1", "cpus(reservations: [(STATIC,a)]):1; cpus(reservations: [(STATIC,b)]):1", "cpus(reservations: [(STATIC,a)]):1", false},
		{"nothing", "{}", "{}", "{}", "{}", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			read := func(s string) resource.Resources {
				if s == "{}" {
					return nil
				}
				return parse(t, s)
			}
			a, b := read(c.a), read(c.b)
			if got := a.Add(b).String(); got != c.sum {
				t.Errorf("sum %s", got)
			}
			if got := a.Subtract(b).String(); got != c.difference {
				t.Errorf("difference %s", got)
			}
			if got := a.Contains(b); got != c.contains {
				t.Errorf("contains %v", got)
			}
			if !a.Equal(read(c.a)) || !b.Equal(read(c.b)) {
				t.Error("an operand changed")
			}
		})
	}
}

func TestExclusiveDisks(t *testing.T) {
	half := proto.CloneOf(one(t, mount))
	half.Scalar.Value = proto.Float64(5)
	for _, c := range []struct {
		name    string
		r, part *mesos.Resource
		entries int // of r added twice
		whole   bool
	}{
		{"path", one(t, path), nil, 1, false},
		{"mount", one(t, mount), half, 2, true},
		{"volume", one(t, volume), nil, 2, true},
		{"shared", one(t, shared), nil, 2, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := resource.Of(c.r)
			twice := r.Add(r)
			if len(twice) != c.entries {
				t.Errorf("%d entries: %s", len(twice), twice)
			}
			if !twice.Contains(twice) || !twice.Subtract(r).Equal(r) {
				t.Errorf("%s less %s is %s", twice, r, twice.Subtract(r))
			}
			if r.Contains(twice) {
				t.Error("one contains two")
			}
			if c.part != nil && r.Contains(resource.Of(c.part)) == c.whole {
				t.Error("a part was taken for the whole")
			}
		})
	}
}

func TestViews(t *testing.T) {
	rs := parse(t, "cpus:1;cpus(eng):2;cpus(eng/web):3;cpus(ops):4").Add(resource.Of(one(t,
		`{"name":"cpus","type":"SCALAR","scalar":{"value":5},"revocable":{}}`)))
	for name, c := range map[string]struct {
		got  resource.Resources
		want int64
	}{
		"unreserved":          {rs.Unreserved(), 6},
		"reserved":            {rs.Reserved(), 9},
		"reserved to":         {rs.ReservedTo("eng"), 2},
		"reserved to any":     {rs.ReservedTo("*"), 0},
		"allocatable":         {rs.Allocatable("eng/web"), 11},
		"allocatable, parent": {rs.Allocatable("eng"), 8},
		"allocatable, other":  {rs.Allocatable("engine"), 6},
		"revocable":           {rs.Revocable(), 5},
		"non-revocable":       {rs.NonRevocable(), 10},
		"allocated":           {rs.Allocate("x").AllocatedTo("x"), 15},
		"allocated, other":    {rs.Allocate("x").AllocatedTo("y"), 0},
	} {
		if c.got.Get("cpus") != resource.Whole(c.want) {
			t.Errorf("%s: %s", name, c.got)
		}
	}
	if got := rs.Roles(); len(got) != 3 || got[0] != "eng" {
		t.Errorf("roles %q", got)
	}
	if !rs.Allocate("x").Unallocate().Equal(rs) || rs.Allocate("x").Equal(rs) {
		t.Error("allocation marks")
	}
	mixed := resource.Of(rs[0]).Allocate("a").Add(resource.Of(rs[0]).Allocate("b"))
	if got := mixed.Unallocate().String(); got != "cpus:2" {
		t.Errorf("unallocated: %s", got)
	}
}

// The copy that the algebra makes has every field that a Resource has.
func TestCopiesEveryField(t *testing.T) {
	r := one(t, `{"provider_id":{"value":"p"},"name":"disk","type":"SCALAR","scalar":{"value":1},"ranges":{},"set":{},
		"role":"r","allocation_info":{"role":"r"},"reservation":{"principal":"p"},
		"reservations":[{"type":"DYNAMIC","role":"r","principal":"p"}],
		"disk":{"source":{"type":"PATH"}},"revocable":{},"shared":{}}`)
	fields := r.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		if !r.ProtoReflect().Has(fields.Get(i)) {
			t.Fatalf("the test misses %s", fields.Get(i).Name())
		}
	}
	out := resource.Endpoint([]*mesos.Resource{r})[0] // role and reservation are consistent
	if !proto.Equal(r, out) {
		t.Errorf("got %v", out)
	}
	r.ProtoReflect().SetUnknown(protoreflect.RawFields{0x98, 0x06, 0x01})
	if out := resource.Endpoint([]*mesos.Resource{r})[0]; len(out.ProtoReflect().GetUnknown()) == 0 {
		t.Error("unknown fields were dropped")
	}
}

func wantFault(t *testing.T, err error, says string) {
	t.Helper()
	if fault.KindOf(err) != fault.Invalid || !contains(err.Error(), says) {
		t.Errorf("got %v, want one that says %q", err, says)
	}
}
