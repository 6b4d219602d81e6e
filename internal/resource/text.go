package resource

import (
	"strings"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Text prints one resource as Mesos does, in either format:
// "cpus(allocated: dev)(reservations: [(DYNAMIC,dev,alice)]):1.5".
func Text(r *mesos.Resource) string {
	var b strings.Builder
	b.WriteString(r.GetName())
	if a := r.GetAllocationInfo(); a != nil {
		b.WriteString("(allocated: " + a.GetRole() + ")")
	}
	switch n := len(r.GetReservations()); {
	case n > 0:
		b.WriteString("(reservations: [")
		for i, info := range r.GetReservations() {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString("(" + info.GetType().String() + "," + info.GetRole())
			if info.Principal != nil {
				b.WriteString("," + info.GetPrincipal())
			}
			if info.Labels != nil {
				b.WriteString("," + labelText(info.Labels))
			}
			b.WriteString(")")
		}
		b.WriteString("])")
	case r.GetRole() != AnyRole: // only where the older form was not converted
		b.WriteString("(" + r.GetRole() + ")")
	}
	if d := r.GetDisk(); d != nil {
		b.WriteString("[" + diskText(d) + "]")
	}
	if r.GetRevocable() != nil {
		b.WriteString("{REV}")
	}
	if r.GetShared() != nil {
		b.WriteString("<SHARED>")
	}
	b.WriteString(":")
	switch r.GetType() {
	case mesos.Value_SCALAR:
		b.WriteString(FromFloat(r.GetScalar().GetValue()).String())
	case mesos.Value_RANGES:
		b.WriteString(RangesOf(r.GetRanges()).String())
	case mesos.Value_SET:
		b.WriteString("{" + strings.Join(r.GetSet().GetItem(), ", ") + "}")
	}
	return b.String()
}

func labelText(l *mesos.Labels) string {
	parts := make([]string, len(l.GetLabels()))
	for i, label := range l.GetLabels() {
		parts[i] = label.GetKey()
		if label.Value != nil {
			parts[i] += ": " + label.GetValue()
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

func diskText(d *mesos.Resource_DiskInfo) string {
	var b strings.Builder
	if s := d.GetSource(); s != nil {
		b.WriteString(s.GetType().String())
		root := s.GetMount().GetRoot()
		if s.GetType() == mesos.Resource_DiskInfo_Source_PATH {
			root = s.GetPath().GetRoot()
		}
		switch {
		case s.Id != nil || s.Profile != nil:
			b.WriteString("(" + s.GetVendor() + "," + s.GetId() + "," + s.GetProfile() + ")")
		case root != "":
			b.WriteString(":" + root)
		}
	}
	if p := d.GetPersistence(); p != nil {
		if d.GetSource() != nil {
			b.WriteString(",")
		}
		b.WriteString(p.GetId())
	}
	if v := d.GetVolume(); v != nil {
		b.WriteString(":")
		if v.HostPath != nil {
			b.WriteString(v.GetHostPath() + ":")
		}
		b.WriteString(v.GetContainerPath())
		if v.HostPath != nil && v.Mode != nil {
			b.WriteString(":" + strings.ToLower(v.GetMode().String()))
		}
	}
	return b.String()
}
