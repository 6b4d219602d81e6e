package ledger_test

import (
	"strings"
	"testing"
)

// A shared volume is offered again while it is in use, serves more tasks than it was
// offered copies for, and is destroyed only when none of them runs; other offers that
// hold it are rescinded then.
func TestSharedVolume(t *testing.T) {
	b := newBench(t, allAgent, "1.11.0")
	disk := `{"name":"disk","type":"SCALAR","scalar":{"value":10},"reservations":[{"type":"DYNAMIC","role":"eng","principal":"p"}]}`
	shared := strings.TrimSuffix(volume("v"), "}") + `,"shared":{}}`
	use := `,"resources":[` + shared + `,` + scalar("cpus", 0.5) + `]` + command
	destroy := `{"type":"DESTROY","destroy":{"volumes":[` + shared + `]}}`
	got := b.accept(`{"type":"RESERVE","reserve":{"resources":[` + disk + `]}},{"type":"CREATE","create":{"volumes":[` + shared + `]}},` +
		launch(task("a", use), task("b", use)) + "," + destroy)
	if strings.Count(got, "RunTaskMessage") != 2 || !strings.Contains(got, "taken M-S0 eng disk(reservations: [(DYNAMIC,eng,p)])[v:v]<SHARED>:10") ||
		!strings.Contains(got, "DESTROY refused: Persistent volumes in use") {
		t.Fatal(got)
	}
	// It is offered again while both run.
	id := b.offer()
	b.do("show")
	if text := b.said(); !strings.Contains(text, "offered cpus(allocated: eng):3;") || strings.Count(text, "<SHARED>") < 2 {
		t.Fatal(text)
	}
	// A second framework has the same role and gets an offer with it, too.
	b.do(`call s2 {"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"u","name":"g","principal":"p","roles":["eng"],"capabilities":[` + allFramework + `]}}}`)
	b.do("allocate")
	for _, id := range []string{"a", "b"} {
		b.do(`agent slave(1)@10.0.0.1:5051 update {"update":{"framework_id":{"value":"M-0000"},"slave_id":{"value":"M-S0"},"status":{"task_id":{"value":"` + id +
			`"},"state":"TASK_FINISHED"},"timestamp":2,"uuid":"AQAAAAAAAAAAAAAAAAAAAA==","latest_state":"TASK_FINISHED"},"pid":"x"}`)
	}
	b.do("wait 1s")
	b.do("allocate")
	if text := b.said(); !strings.Contains(text, "framework s2 OFFERS") || !strings.Contains(text, "<SHARED>") {
		t.Errorf("the second framework is offered no copy while the first holds an offer of it: %s", text)
	}
	b.do(`call s1 {"type":"ACCEPT","framework_id":{"value":"M-0000"},"accept":{"offer_ids":[{"value":"` + id + `"}],"operations":[` + destroy + `]}}`)
	got = b.said()
	if !strings.Contains(got, "converted M-S0 M-0000 {disk(reservations: [(DYNAMIC,eng,p)])[v:v]<SHARED>:10} -> {disk(reservations: [(DYNAMIC,eng,p)]):10}") {
		t.Fatal(got)
	}
	b.do("show")
	if text := b.said(); strings.Contains(text, "<SHARED>") {
		t.Errorf("still there: %s", text)
	}
}

// Only frameworks that know shared resources make some.
func TestSharedNeedsCapability(t *testing.T) {
	b := newBench(t, allAgent, "1.11.0")
	b.do(`call s1 {"type":"UPDATE_FRAMEWORK","framework_id":{"value":"M-0000"},"update_framework":{"framework_info":{"id":{"value":"M-0000"},"user":"u","name":"f","principal":"p","roles":["eng"],"checkpoint":true,"failover_timeout":600,"capabilities":[{"type":"MULTI_ROLE"}]}}}`)
	shared := strings.TrimSuffix(volume("v"), "}") + `,"shared":{}}`
	got := b.accept(`{"type":"CREATE","create":{"volumes":[` + shared + `]}}`)
	if !strings.Contains(got, "with no SHARED_RESOURCES capability") {
		t.Error(got)
	}
}
