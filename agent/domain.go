package agent

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// maxDomain bounds what file:// of --domain may hold.
const maxDomain = 1 << 16

// parseDomain reads --domain, JSON or file://PATH: the region and zone of this host. Empty
// gives nil. Errors are fault.Invalid.
func parseDomain(text string) (*mesos.DomainInfo, error) {
	if text == "" {
		return nil, nil
	}
	bad := func(err error) (*mesos.DomainInfo, error) {
		return nil, fault.New("agent", fault.Invalid, "--domain", fmt.Errorf(
			`%w; it must look like {"fault_domain":{"region":{"name":"eu"},"zone":{"name":"eu-1"}}}`, err))
	}
	if path, ok := strings.CutPrefix(text, "file://"); ok {
		b, err := os.ReadFile(path)
		if err == nil && len(b) > maxDomain {
			err = fmt.Errorf("%s has more than %d bytes", path, maxDomain)
		}
		if err != nil {
			return bad(err)
		}
		text = string(b)
	}
	d := &mesos.DomainInfo{}
	if err := wire.UnmarshalJSON([]byte(text), d); err != nil {
		return bad(err)
	}
	if f := d.GetFaultDomain(); f.GetRegion().GetName() == "" || f.GetZone().GetName() == "" {
		return bad(errors.New("region or zone has no name"))
	}
	return d, nil
}
