package ledger

import (
	"fmt"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Rules for operations that change a volume's size and for disks of resource providers
// (mesos-master.md 1.6).

func checkGrow(a *agent, m *mesos.Offer_Operation_GrowVolume) string {
	v, more := m.GetVolume(), m.GetAddition()
	switch {
	case resource.FromFloat(more.GetScalar().GetValue()) <= 0:
		return "The size of 'GrowVolume.addition' field must be greater than zero"
	case v.ProviderId != nil:
		return "Growing a volume from a resource provider is not supported"
	}
	if why := checkPersistent(v); why != "" {
		return why
	}
	switch {
	case v.Shared != nil:
		return "Growing a shared persistent volume is not supported"
	case len(resource.Of(resource.Plain(v), more)) != 1: // also a MOUNT disk, which is held whole
		return "Incompatible resources in the 'GrowVolume.volume' and 'GrowVolume.addition' fields"
	}
	return resizable(a, v)
}

func checkShrink(a *agent, m *mesos.Offer_Operation_ShrinkVolume) string {
	v, less := m.GetVolume(), resource.FromFloat(m.GetSubtract().GetValue())
	switch {
	case less <= 0:
		return "Value of 'ShrinkVolume.subtract' must be greater than zero"
	case less >= resource.FromFloat(v.GetScalar().GetValue()):
		return "Value of 'ShrinkVolume.subtract' must be smaller than the size of 'ShrinkVolume.volume'"
	case v.ProviderId != nil:
		return "Shrinking a volume from a resource provider is not supported"
	case v.GetDisk().GetSource().GetType() == mesos.Resource_DiskInfo_Source_MOUNT:
		return "Shrinking a volume on a MOUNT disk is not supported"
	}
	if why := checkPersistent(v); why != "" {
		return why
	}
	if v.Shared != nil {
		return "Shrinking a shared persistent volume is not supported"
	}
	return resizable(a, v)
}

func resizable(a *agent, v *mesos.Resource) string {
	if !a.caps.ResizeVolume {
		return fmt.Sprintf("Volume %s is on an agent without the RESIZE_VOLUME capability", resource.Text(v))
	}
	return ""
}

func checkCreateDisk(m *mesos.Offer_Operation_CreateDisk) string {
	source := m.GetSource()
	disk := source.GetDisk().GetSource()
	switch {
	case source.ProviderId == nil:
		return "'source' is not managed by a resource provider"
	case disk == nil || disk.GetType() != mesos.Resource_DiskInfo_Source_RAW:
		return "'source' is not a RAW disk resource"
	case m.GetTargetType() != mesos.Resource_DiskInfo_Source_MOUNT && m.GetTargetType() != mesos.Resource_DiskInfo_Source_BLOCK:
		return "'target_type' is neither MOUNT or BLOCK"
	case disk.Profile != nil && m.TargetProfile != nil:
		return "'target_profile' must not be set when 'source' has a profile"
	case disk.Profile == nil && m.TargetProfile == nil:
		return "'target_profile' must be set when 'source' has no profile"
	}
	return ""
}

func checkDestroyDisk(source *mesos.Resource) string {
	disk := source.GetDisk().GetSource()
	switch {
	case source.ProviderId == nil:
		return "'source' is not managed by a resource provider"
	case disk == nil || disk.GetType() != mesos.Resource_DiskInfo_Source_MOUNT &&
		disk.GetType() != mesos.Resource_DiskInfo_Source_BLOCK && disk.GetType() != mesos.Resource_DiskInfo_Source_RAW:
		return "'source' is neither a MOUNT, BLOCK or RAW disk resource"
	case disk.Id == nil:
		return "'source' is not backed by a CSI volume"
	case resource.IsVolume(source):
		return fmt.Sprintf("The disk of the persistent volume %s cannot be destroyed: destroy the volume first", resource.Text(source))
	}
	return ""
}
