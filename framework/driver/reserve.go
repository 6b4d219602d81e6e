package driver

import (
	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler/calls"

	"github.com/stoa-project/stoa/framework/core"
	"github.com/stoa-project/stoa/framework/match"
)

// reserving builds RESERVE and CREATE for each instance. The labels say for whom, the
// principal is the one that the master knows us by (marathon.md 6.4).
func (s *session) reserving(list []core.Reserve) calls.OfferOperations {
	var ops calls.OfferOperations
	for _, r := range list {
		role := r.Instance.Role
		own := &match.Reservation{Principal: s.d.cfg.Principal, Labels: []match.Label{
			{Key: match.FrameworkLabel, Value: s.frameworkID}, {Key: match.InstanceLabel, Value: string(r.Instance.ID)}}}
		var reserved, volumes []match.Resource
		for _, b := range r.Resources {
			b.Role, b.Reservation = role, own
			reserved = append(reserved, b)
		}
		for _, b := range r.Volumes {
			b.Role, b.Reservation = role, own
			volume := b
			disk := *b.Disk
			disk.Principal = s.d.cfg.Principal
			volume.Disk = &disk
			volumes = append(volumes, volume)
			reserved = append(reserved, bare(b))
		}
		ops = append(ops, calls.OpReserve(wireResources(reserved, role)...))
		if len(volumes) > 0 {
			ops = append(ops, calls.OpCreate(wireResources(volumes, role)...))
		}
	}
	return ops
}

// freeing builds DESTROY for the volumes among the blocks and UNRESERVE for all of them.
func freeing(blocks []match.Resource) calls.OfferOperations {
	if len(blocks) == 0 {
		return nil
	}
	var volumes, reserved []mesos.Resource
	for _, b := range blocks {
		if b.Disk != nil && b.Disk.Volume != "" {
			volumes = append(volumes, wireResource(b, b.Role))
		}
		reserved = append(reserved, wireResource(bare(b), b.Role))
	}
	var ops calls.OfferOperations
	if len(volumes) > 0 {
		ops = append(ops, calls.OpDestroy(volumes...))
	}
	return append(ops, calls.OpUnreserve(reserved...))
}

// bare is a block of disk without the volume on it.
func bare(b match.Resource) match.Resource {
	if b.Disk != nil {
		d := match.Disk{Source: b.Disk.Source, Root: b.Disk.Root}
		b.Disk = &d
		if d.Source == match.RootDisk {
			b.Disk = nil
		}
	}
	return b
}
