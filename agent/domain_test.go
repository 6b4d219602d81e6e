package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

func TestParseDomain(t *testing.T) {
	const good = `{"fault_domain":{"region":{"name":"eu"},"zone":{"name":"eu-1"}}}`
	file := filepath.Join(t.TempDir(), "domain")
	if err := os.WriteFile(file, []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{good, "file://" + file} {
		if d, err := parseDomain(text); err != nil || d.GetFaultDomain().GetZone().GetName() != "eu-1" {
			t.Errorf("%s: %v %v", text, d, err)
		}
	}
	if d, err := parseDomain(""); d != nil || err != nil {
		t.Errorf("%v %v", d, err)
	}
	for _, text := range []string{"{}", "x", "file:///none", `{"fault_domain":{"region":{"name":"eu"},"zone":{"name":""}}}`} {
		if _, err := parseDomain(text); fault.KindOf(err) != fault.Invalid || !strings.Contains(fmt.Sprint(err), "--domain") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestReconfiguration: what may change between two runs of one agent id (mesos-agent.md 9).
func TestReconfiguration(t *testing.T) {
	agent := func(attributes string, domain *mesos.DomainInfo) *messages.SlaveInfo {
		as, err := resource.ParseAttributes(attributes)
		if err != nil {
			t.Fatal(err)
		}
		return &messages.SlaveInfo{Hostname: proto.String("h"), Port: proto.Int32(1), Attributes: as, Domain: domain}
	}
	eu, err := parseDomain(`{"fault_domain":{"region":{"name":"eu"},"zone":{"name":"eu-1"}}}`)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		before, now     *messages.SlaveInfo
		equal, additive bool
	}{
		{agent("rack:r1;n:[1-5]", nil), agent("n:[1-5];rack:r1", nil), true, true},
		{agent("rack:r1", nil), agent("zone:r1", nil), false, false},
		{agent("rack:r1", nil), agent("rack:r2", nil), false, false},
		{agent("rack:r1", nil), agent("rack:r1;zone:a", nil), false, true},
		{agent("n:[1-5]", nil), agent("n:[1-9]", nil), false, true},
		{agent("n:[1-5]", nil), agent("n:[1-4]", nil), false, false},
		{agent("n:5", nil), agent("n:[1-9]", nil), false, false},
		{agent("", nil), agent("", eu), false, true},
		{agent("", eu), agent("", nil), false, false},
	} {
		for policy, may := range map[string]bool{"equal": c.equal, "additive": c.additive} {
			if why := incompatible(c.before, c.now, policy); (why == "") != may {
				t.Errorf("%v -> %v, %s: %q", c.before, c.now, policy, why)
			}
		}
	}
}
