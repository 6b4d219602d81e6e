package driver

import (
	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"github.com/stoa-project/stoa/framework/match"
)

// leanReservation reads a dynamic reservation, nil for none.
func leanReservation(r *mesos.Resource_ReservationInfo) *match.Reservation {
	if r == nil {
		return nil
	}
	out := &match.Reservation{}
	if r.Principal != nil {
		out.Principal = *r.Principal
	}
	if r.Labels != nil {
		for _, l := range r.Labels.Labels {
			label := match.Label{Key: l.Key}
			if l.Value != nil {
				label.Value = *l.Value
			}
			out.Labels = append(out.Labels, label)
		}
	}
	return out
}

// leanDisk reads what makes a disk more than scratch space, nil for plain disk.
func leanDisk(r *mesos.Resource) *match.Disk {
	d := r.Disk
	if d == nil || d.Source == nil && d.Persistence == nil {
		return nil
	}
	out := &match.Disk{}
	if s := d.Source; s != nil {
		out.Source = match.OtherDisk
		plain := r.ProviderID == nil && s.Profile == nil && s.ID == nil
		switch {
		case plain && s.Type == mesos.Resource_DiskInfo_Source_PATH:
			out.Source = match.PathDisk
			if s.Path != nil && s.Path.Root != nil {
				out.Root = *s.Path.Root
			}
		case plain && s.Type == mesos.Resource_DiskInfo_Source_MOUNT:
			out.Source = match.MountDisk
			if s.Mount != nil && s.Mount.Root != nil {
				out.Root = *s.Mount.Root
			}
		}
	}
	if p := d.Persistence; p != nil {
		out.Volume = p.ID
		if p.Principal != nil {
			out.Principal = *p.Principal
		}
	}
	if v := d.Volume; v != nil {
		out.Path = v.ContainerPath
		out.ReadOnly = v.Mode != nil && *v.Mode == mesos.RO
	}
	return out
}

// wireResource is a block taken from an offer in the form the master expects back: the one
// in which it offers to frameworks without the capability RESERVATION_REFINEMENT.
func wireResource(r match.Resource, allocated string) mesos.Resource {
	role := r.Role
	out := mesos.Resource{Name: r.Name, Role: &role, AllocationInfo: &mesos.Resource_AllocationInfo{Role: &allocated},
		Reservation: wireReservation(r.Reservation), Disk: wireDisk(r.Disk)}
	if r.Ranges != nil {
		kind := mesos.RANGES
		out.Type, out.Ranges = &kind, &mesos.Value_Ranges{}
		for _, g := range r.Ranges {
			out.Ranges.Range = append(out.Ranges.Range, mesos.Value_Range{Begin: uint64(g.Begin), End: uint64(g.End)})
		}
		return out
	}
	kind := mesos.SCALAR
	out.Type, out.Scalar = &kind, &mesos.Value_Scalar{Value: float64(r.Milli) / 1000}
	return out
}

func wireResources(blocks []match.Resource, allocated string) []mesos.Resource {
	out := make([]mesos.Resource, 0, len(blocks))
	for _, b := range blocks {
		out = append(out, wireResource(b, allocated))
	}
	return out
}

func wireReservation(r *match.Reservation) *mesos.Resource_ReservationInfo {
	if r == nil {
		return nil
	}
	out := &mesos.Resource_ReservationInfo{}
	if r.Principal != "" {
		out.Principal = ptr(r.Principal)
	}
	if len(r.Labels) > 0 {
		out.Labels = &mesos.Labels{}
		for _, l := range r.Labels {
			out.Labels.Labels = append(out.Labels.Labels, mesos.Label{Key: l.Key, Value: ptr(l.Value)})
		}
	}
	return out
}

func wireDisk(d *match.Disk) *mesos.Resource_DiskInfo {
	if d == nil {
		return nil
	}
	out := &mesos.Resource_DiskInfo{}
	switch d.Source {
	case match.PathDisk:
		out.Source = &mesos.Resource_DiskInfo_Source{Type: mesos.Resource_DiskInfo_Source_PATH, Path: &mesos.Resource_DiskInfo_Source_Path{Root: optional(d.Root)}}
	case match.MountDisk:
		out.Source = &mesos.Resource_DiskInfo_Source{Type: mesos.Resource_DiskInfo_Source_MOUNT, Mount: &mesos.Resource_DiskInfo_Source_Mount{Root: optional(d.Root)}}
	}
	if d.Volume == "" {
		if out.Source == nil {
			return nil
		}
		return out
	}
	mode := mesos.RW
	if d.ReadOnly {
		mode = mesos.RO
	}
	out.Persistence = &mesos.Resource_DiskInfo_Persistence{ID: d.Volume, Principal: optional(d.Principal)}
	out.Volume = &mesos.Volume{ContainerPath: d.Path, Mode: &mode}
	return out
}

// optional is nil for the empty string.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
