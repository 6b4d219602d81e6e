package confine

import (
	"errors"
	"fmt"
	"strings"

	"github.com/stoa-project/stoa/agent/keeper/box"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// firstCapability is the number of capability 0 in messages.
const firstCapability = int32(mesos.CapabilityInfo_CHOWN)

// allCapabilities are those that messages know.
var allCapabilities = func() uint64 {
	var m uint64
	for n := range mesos.CapabilityInfo_Capability_name {
		if n >= firstCapability {
			m |= 1 << (n - firstCapability)
		}
	}
	return m
}()

// mask gives a set as bits; bit n is capability n.
func mask(info *mesos.CapabilityInfo) uint64 {
	var m uint64
	for _, c := range info.GetCapabilities() {
		if n := int32(c) - firstCapability; n >= 0 && n < 64 {
			m |= 1 << n
		}
	}
	return m
}

// list gives the names of a set, as messages have them.
func list(m uint64) []string {
	var out []string
	for n := range int32(64) {
		if m&(1<<n) != 0 {
			out = append(out, mesos.CapabilityInfo_Capability(n+firstCapability).String())
		}
	}
	return out
}

// kernelNames gives them as the kernel and profiles have them.
func kernelNames(m uint64) []string {
	out := list(m)
	for i, name := range out {
		out[i] = "CAP_" + name
	}
	return out
}

func names(m uint64) string { return "{ " + strings.Join(list(m), ", ") + " }" }

// capabilities decides about capabilities. What the container asks for must be allowed
// by the operator; what it does not say is the operator's default.
func (r *Rules) capabilities(c Container, out *box.Confine) error {
	if !r.cfg.Capabilities {
		return nil
	}
	info := c.Box.GetLinuxInfo()
	effective, bounding := info.GetEffectiveCapabilities(), info.GetBoundingCapabilities()
	if old := info.GetCapabilityInfo(); old != nil {
		if effective != nil {
			return errors.New("Only one of 'capability_info' or 'effective_capabilities' is allowed")
		}
		effective = old
	}
	most := r.cfg.BoundingCapabilities
	if most == nil {
		most = r.cfg.EffectiveCapabilities
	}
	if bounding != nil && most != nil && mask(bounding)&^mask(most) != 0 {
		return fmt.Errorf("Bounding capabilities '%s', but only '%s' are allowed", names(mask(bounding)), names(mask(most)))
	}
	asked := effective != nil
	if !asked {
		effective = r.cfg.EffectiveCapabilities
	}
	if bounding == nil {
		bounding = most
	}
	if bounding == nil {
		bounding = effective
	}
	if bounding == nil {
		return nil
	}
	set := &box.Capabilities{Bounding: mask(bounding)}
	switch {
	case effective == nil && c.Root: // as root has them, within bounds
		set.Effective = set.Bounding
	case effective != nil:
		set.Effective = mask(effective)
	}
	if set.Effective&^set.Bounding != 0 {
		if !asked { // a container that narrows its bounds keeps the rest of the default
			set.Effective &= set.Bounding
		} else {
			return fmt.Errorf("Requested capabilities '%s', but only '%s' are allowed", names(set.Effective), names(set.Bounding))
		}
	}
	out.Capabilities = set
	return nil
}
