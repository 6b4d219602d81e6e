package resource_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
)

func contains(s, part string) bool { return strings.Contains(s, part) }

const head = `{"name":"cpus","type":"SCALAR","scalar":{"value":1.0}`

// One row per form; "" means that the form cannot be written.
var forms = []struct{ name, pre, post, endpoint string }{
	{"unreserved", head + `,"role":"*"}`, head + `}`, head + `,"role":"*"}`},
	{"static", head + `,"role":"r"}`, head + `,"reservations":[{"type":"STATIC","role":"r"}]}`,
		head + `,"role":"r","reservations":[{"type":"STATIC","role":"r"}]}`},
	{"dynamic", head + `,"role":"r","reservation":{"principal":"p"}}`,
		head + `,"reservations":[{"type":"DYNAMIC","role":"r","principal":"p"}]}`,
		head + `,"role":"r","reservation":{"principal":"p"},"reservations":[{"type":"DYNAMIC","role":"r","principal":"p"}]}`},
	{"refined", "", head + `,"reservations":[{"type":"STATIC","role":"r"},{"type":"DYNAMIC","role":"r/s"}]}`,
		head + `,"reservations":[{"type":"STATIC","role":"r"},{"type":"DYNAMIC","role":"r/s"}]}`},
}

func text(t *testing.T, r *mesos.Resource) string {
	t.Helper()
	b, err := wire.MarshalJSON(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestForms(t *testing.T) {
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			for _, in := range []string{f.pre, f.post, f.endpoint} {
				if in == "" {
					continue
				}
				r := one(t, in)
				if err := resource.Validate([]*mesos.Resource{r}); err != nil {
					t.Fatal(err)
				}
				post := resource.Upgrade([]*mesos.Resource{r})[0]
				if got := text(t, post); got != f.post {
					t.Errorf("post: %s", got)
				}
				if got := text(t, resource.Endpoint([]*mesos.Resource{post})[0]); got != f.endpoint {
					t.Errorf("endpoint: %s", got)
				}
				pre, err := resource.Downgrade([]*mesos.Resource{post})
				want := f.pre
				if want == "" {
					want = f.post
				}
				if (fault.KindOf(err) == fault.Unsupported) != (f.pre == "") || text(t, pre[0]) != want {
					t.Errorf("pre: %s, %v", text(t, pre[0]), err)
				}
				if text(t, r) != in {
					t.Error("the input changed")
				}
			}
		})
	}
}

func TestFormsInsideMessages(t *testing.T) {
	call := func(forms ...string) *scheduler.Call {
		m := new(scheduler.Call)
		body := `{"accept":{"operations":[{"launch":{"task_infos":[{"name":"t","task_id":{"value":"t"},"agent_id":{"value":"a"},
			"resources":[` + strings.Join(forms, ",") + `],
			"executor":{"executor_id":{"value":"e"},"resources":[` + forms[0] + `]}}]}},{"reserve":{"resources":[` + forms[0] + `]}}]}}`
		if err := wire.UnmarshalJSON([]byte(body), m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	pre, post := call(forms[2].pre, forms[0].pre), call(forms[2].post, forms[0].post)
	m := proto.CloneOf(pre)
	resource.UpgradeMessage(m)
	if !proto.Equal(m, post) {
		t.Errorf("upgraded: %v", m)
	}
	if err := resource.DowngradeMessage(m); err != nil || !proto.Equal(m, pre) {
		t.Errorf("downgraded: %v, %v", m, err)
	}
	m = proto.CloneOf(post)
	if resource.EndpointMessage(m); !proto.Equal(m, call(forms[2].endpoint, forms[0].endpoint)) {
		t.Errorf("endpoint: %v", m)
	}
	mixed := call(forms[3].post, forms[1].post)
	if err := resource.DowngradeMessage(mixed); fault.KindOf(err) != fault.Unsupported {
		t.Errorf("refined: %v", err)
	}
	if !proto.Equal(mixed, call(forms[3].post, forms[1].pre)) {
		t.Errorf("the rest was not converted: %v", mixed)
	}
}

func TestValidateRefuses(t *testing.T) {
	for in, says := range map[string]string{
		`{"name":"","type":"SCALAR","scalar":{"value":1}}`:                                          "Empty resource name",
		`{"name":"a","type":"SCALAR"}`:                                                              "Invalid scalar resource",
		`{"name":"a","type":"TEXT"}`:                                                                "Unsupported resource type",
		`{"name":"a","type":"SCALAR","scalar":{"value":-1}}`:                                        "value < 0",
		`{"name":"a","type":"SCALAR","scalar":{"value":"Infinity"}}`:                                "not a finite number",
		`{"name":"a","type":"SCALAR","scalar":{"value":1e18}}`:                                      "too large",
		`{"name":"a","type":"SCALAR","scalar":{"value":0.0001}}`:                                    "precision",
		`{"name":"gpus","type":"SCALAR","scalar":{"value":0.5}}`:                                    "unsigned integer",
		`{"name":"a","type":"RANGES","scalar":{"value":1}}`:                                         "Invalid ranges resource",
		`{"name":"a","type":"RANGES","ranges":{"range":[{"begin":2,"end":1}]}}`:                     "begin > end",
		`{"name":"a","type":"RANGES","ranges":{"range":[{"begin":1,"end":5},{"begin":5,"end":6}]}}`: "overlapping",
		`{"name":"a","type":"SET","set":{"item":["x","x"]}}`:                                        "duplicated",
		head + `,"disk":{}}`:   "DiskInfo should not be set for cpus",
		head + `,"shared":{}}`: "Only persistent volumes",
		`{"name":"disk","type":"SCALAR","scalar":{"value":1},"disk":{"source":{"type":"UNKNOWN"}}}`:                 "Unsupported 'DiskInfo.Source.Type'",
		`{"name":"disk","type":"SCALAR","scalar":{"value":1},"disk":{"source":{"type":"RAW","mount":{}}}}`:          "Mount should not be set for RAW",
		`{"name":"disk","type":"SCALAR","scalar":{"value":1},"disk":{"volume":{"container_path":"p","mode":"RW"}}}`: "Non-persistent volume",
		head + `,"role":""}`:                                                                                 "empty string",
		head + `,"role":"-a"}`:                                                                               "starts with a dash",
		head + `,"role":"a/../b"}`:                                                                           "'..' as a component",
		head + `,"role":"a b"}`:                                                                              "whitespace",
		head + `,"reservation":{}}`:                                                                          "cannot be dynamically reserved",
		head + `,"role":"r","reservation":{"role":"r"}}`:                                                     "ReservationInfo.role' must not be set",
		head + `,"role":"r","reservation":{"type":"STATIC"}}`:                                                "ReservationInfo.type' must not be set",
		head + `,"reservations":[{"role":"r"}]}`:                                                             "type' field must be set",
		head + `,"reservations":[{"type":"STATIC"}]}`:                                                        "role' field must be set",
		head + `,"reservations":[{"type":"STATIC","role":"*"}]}`:                                             "cannot be reserved",
		head + `,"reservations":[{"type":"UNKNOWN","role":"r"}]}`:                                            "Unsupported 'Resource.ReservationInfo.Type'",
		head + `,"reservations":[{"type":"STATIC","role":"r"},{"type":"STATIC","role":"r/s"}]}`:              "cannot be STATIC",
		head + `,"reservations":[{"type":"STATIC","role":"r"},{"type":"DYNAMIC","role":"s"}]}`:               "not a refinement",
		head + `,"role":"r","reservations":[{"type":"STATIC","role":"r"},{"type":"DYNAMIC","role":"r/s"}]}`:  "more than one reservation",
		head + `,"role":"s","reservations":[{"type":"STATIC","role":"r"}]}`:                                  "does not match the role",
		head + `,"role":"r","reservation":{},"reservations":[{"type":"STATIC","role":"r"}]}`:                 "is STATIC",
		head + `,"role":"r","reservations":[{"type":"DYNAMIC","role":"r"}]}`:                                 "both set or both not set",
		head + `,"role":"r","reservation":{"principal":"p"},"reservations":[{"type":"DYNAMIC","role":"r"}]}`: "does not match the principal",
	} {
		wantFault(t, resource.Validate([]*mesos.Resource{one(t, in)}), says)
	}
}

func TestAttributes(t *testing.T) {
	got, err := resource.ParseAttributes("rack:r1;zone:a:b\nlevel: 10 ;slots:[1000-1005];rack:r2;neg:-1")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"rack=r1 TEXT", "zone=a:b TEXT", "level=10 SCALAR", "slots=[1000-1005] RANGES", "rack=r2 TEXT", "neg=-1 TEXT"}
	for i, a := range got {
		if s := a.GetName() + "=" + resource.AttributeText(a) + " " + a.GetType().String(); s != want[i] {
			t.Errorf("got %s, want %s", s, want[i])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d attributes", len(got))
	}
	for in, says := range map[string]string{"rack": "name:value", ":a": "name:value", "a:": "name:value", "a:{x}": "sets", "a:[1": "brackets"} {
		_, err := resource.ParseAttributes(in)
		wantFault(t, err, says)
	}
}
