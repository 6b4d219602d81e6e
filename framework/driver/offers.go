package driver

import (
	"fmt"
	"slices"
	"strings"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"github.com/stoa-project/stoa/framework/match"
)

// leanOffer keeps what placing needs. role stands in where the master names none.
func leanOffer(o *mesos.Offer, role string) *match.Offer {
	out := &match.Offer{
		ID: o.ID.Value, AgentID: o.AgentID.Value, Hostname: o.Hostname, Role: role,
		Resources:  make([]match.Resource, 0, len(o.Resources)),
		Attributes: make([]match.Attribute, 0, len(o.Attributes)),
	}
	if a := o.AllocationInfo; a != nil && a.Role != nil {
		out.Role = *a.Role
	}
	if d := o.Domain; d != nil && d.FaultDomain != nil {
		out.Region, out.Zone = d.FaultDomain.Region.Name, d.FaultDomain.Zone.Name
	}
	if u := o.Unavailability; u != nil {
		out.Unavailable = time.Unix(0, u.Start.Nanoseconds)
		if u.Duration != nil {
			out.UnavailableFor = time.Duration(u.Duration.Nanoseconds)
		}
	}
	for i := range o.Resources {
		out.Resources = append(out.Resources, leanResource(&o.Resources[i]))
	}
	for i := range o.Attributes {
		out.Attributes = append(out.Attributes, leanAttribute(&o.Attributes[i]))
	}
	return out
}

func leanResource(r *mesos.Resource) match.Resource {
	out := match.Resource{Name: r.Name, Role: "*", Shared: r.Shared != nil, Revocable: r.Revocable != nil, Disk: leanDisk(r)}
	switch {
	case len(r.Reservations) > 0:
		last := &r.Reservations[len(r.Reservations)-1]
		if last.Role != nil {
			out.Role = *last.Role
		}
		if last.Type != nil && *last.Type == mesos.Resource_ReservationInfo_DYNAMIC {
			out.Reservation = leanReservation(last)
		}
	case r.Role != nil && *r.Role != "":
		out.Role = *r.Role
		out.Reservation = leanReservation(r.Reservation)
	}
	if r.Scalar != nil {
		out.Milli = int64(r.Scalar.Value*1000 + 0.5)
	}
	if r.Ranges != nil {
		for _, g := range r.Ranges.Range {
			if g.Begin <= g.End && g.End <= 65535 {
				out.Ranges = append(out.Ranges, match.Range{Begin: uint32(g.Begin), End: uint32(g.End)})
			}
		}
	}
	return out
}

// leanAttribute gives the text that constraints compare (marathon.md 6.2).
func leanAttribute(a *mesos.Attribute) match.Attribute {
	out := match.Attribute{Name: a.Name}
	switch {
	case a.Text != nil:
		out.Value = a.Text.Value
	case a.Scalar != nil:
		out.Kind, out.Value = match.ScalarAttribute, match.FormatScalar(a.Scalar.Value)
	case a.Ranges != nil:
		ranges := slices.Clone(a.Ranges.Range)
		slices.SortFunc(ranges, func(x, y mesos.Value_Range) int { return int(int64(x.Begin) - int64(y.Begin)) })
		parts := make([]string, len(ranges))
		for i, r := range ranges {
			parts[i] = fmt.Sprintf("%d-%d", r.Begin, r.End)
		}
		out.Kind, out.Value = match.RangesAttribute, "["+strings.Join(parts, ",")+"]"
	case a.Set != nil:
		items := slices.Sorted(slices.Values(a.Set.Item))
		out.Kind, out.Value = match.SetAttribute, "{"+strings.Join(items, ",")+"}"
	}
	return out
}
