package app

import (
	"encoding/json"
	"strings"
	"testing"
)

var testRules = Rules{MesosRole: "*", BridgeName: "mesos-bridge", Features: map[string]bool{}}

// settled decodes a body, puts it into an empty tree and gives the stored app.
func settled(t *testing.T, body string) *App {
	t.Helper()
	u, err := ReadUpdate([]byte(body))
	if err != nil {
		t.Fatalf("read %s: %v", body, err)
	}
	id := ParsePath(*u.ID, Root)
	a, err := u.Create(id, testRules, testRules.RolesAt(EmptyRoot(), id))
	if err != nil {
		t.Fatalf("create %s: %v", body, err)
	}
	const version = 1609459200000
	root, err := Settle(EmptyRoot(), EmptyRoot().PutApp(a, version), version, PortPool{10000, 20000})
	if err != nil {
		t.Fatalf("settle %s: %v", body, err)
	}
	return root.App(id)
}

// sameJSON compares two documents without regard to the order of keys.
func sameJSON(t *testing.T, got any, want string) {
	t.Helper()
	g, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	var gv, wv any
	if err := json.Unmarshal(g, &gv); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(want), &wv); err != nil {
		t.Fatalf("want: %v", err)
	}
	gb, _ := json.MarshalIndent(gv, "", " ")
	wb, _ := json.MarshalIndent(wv, "", " ")
	if string(gb) != string(wb) {
		t.Errorf("got\n%s\nwant\n%s", gb, wb)
	}
}

// TestConformance_2_13_CanonicalOutput is the example of marathon.md 2.13.
func TestConformance_2_13_CanonicalOutput(t *testing.T) {
	sameJSON(t, settled(t, `{"id":"/w","cmd":"sleep 9"}`), `{"id":"/w","backoffFactor":1.15,"backoffSeconds":1,"cmd":"sleep 9","cpus":1,
		"disk":0,"executor":"","instances":1,"labels":{},"maxLaunchDelaySeconds":300,"mem":128,"gpus":0,"networks":[{"mode":"host"}],
		"portDefinitions":[{"name":"default","port":10000,"protocol":"tcp"}],"requirePorts":false,"role":"*",
		"upgradeStrategy":{"maximumOverCapacity":1,"minimumHealthCapacity":1},"killSelection":"YOUNGEST_FIRST",
		"unreachableStrategy":{"inactiveAfterSeconds":0,"expungeAfterSeconds":0},
		"version":"2021-01-01T00:00:00.000Z",
		"versionInfo":{"lastConfigChangeAt":"2021-01-01T00:00:00.000Z","lastScalingAt":"2021-01-01T00:00:00.000Z"}}`)
}

// TestTimestampForms: the quick reading of the form that is written agrees with that of
// every other form.
func TestTimestampForms(t *testing.T) {
	for at := Timestamp(-62135596800000); at < 253402300800000; at += 86_399_987_654 {
		text, err := at.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		if want := at.Time().Format(timestampLayout); string(text) != want {
			t.Fatalf("%d is written %s, want %s", at, text, want)
		}
		var back Timestamp
		if err := back.UnmarshalText(text); err != nil || back != at {
			t.Fatalf("%s is read as %s, %v", text, back, err)
		}
	}
	for _, bad := range []string{"2021-13-01T00:00:00.000Z", "2021-02-30T00:00:00.000Z", "2021-01-01T24:00:00.000Z", "2021-01-01T00:00:0x.000Z", "2021-01-01 00:00:00.000Z", ""} {
		var v Timestamp
		if err := v.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q is read as %s", bad, v)
		}
	}
}

// TestSmall: what is called small has a record of that size at most.
func TestSmall(t *testing.T) {
	long := strings.Repeat("\x01", 3000) // six bytes each
	for body, small := range map[string]bool{
		`{"id":"/a","cmd":"sleep 1"}`: true, `{"id":"/a","cmd":"` + strings.Repeat("x", 20_000) + `"}`: false,
		`{"id":"/a","cmd":"sleep 1","labels":{"a":"` + strings.ReplaceAll(long, "\x01", `\u0001`) + `"}}`: true,
		`{"id":"/a","container":{"docker":{"image":"i"}}}`:                                                true, `{"id":"/a","cmd":"sleep 1","container":{"type":"MESOS","volumes":[{"containerPath":"x","hostPath":"/y","mode":"RO"}]}}`: false,
	} {
		a := settled(t, body)
		b, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		if a.Small() != small || small && len(b) > SmallRecord {
			t.Errorf("%.60s: small %t, %d bytes", body, a.Small(), len(b))
		}
	}
}
