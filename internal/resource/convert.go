package resource

import (
	"errors"
	"fmt"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Conversion is what an operation does to a sum: From goes, To comes. Both carry the
// same allocation and, but for resized volumes, the same quantities.
type Conversion struct{ From, To Resources }

// Unallocate is the same conversion on an agent's total.
func (c Conversion) Unallocate() Conversion {
	return Conversion{c.From.Unallocate(), c.To.Unallocate()}
}

// Reverse is the conversion back.
func (c Conversion) Reverse() Conversion { return Conversion{c.To, c.From} }

// Convert applies the conversion. It is all or nothing: the error (fault.Conflict) says
// what is missing, or that a shared volume to be destroyed has more copies here.
func (rs Resources) Convert(c Conversion) (Resources, error) {
	if !rs.Contains(c.From) {
		return nil, fault.New("convert resources", fault.Conflict, "", fmt.Errorf("%s does not contain %s", rs, c.From))
	}
	left := rs.Subtract(c.From)
	for _, r := range c.From {
		if r.Shared != nil && left.Contains(Resources{r}) {
			return nil, fault.New("convert resources", fault.Conflict, "",
				fmt.Errorf("the persistent volume %s has further shared copies", Text(r)))
		}
	}
	return left.Add(c.To), nil
}

// Conversions gives what an operation does to resources, in order, for the operations
// whose outcome is known beforehand (mesos-master.md 1.6: RESERVE, UNRESERVE, CREATE,
// DESTROY, GROW_VOLUME, SHRINK_VOLUME). Its resources are in the internal form and
// valid. The error is fault.Invalid: the operation is another one.
func Conversions(op *mesos.Offer_Operation) ([]Conversion, error) {
	var out []Conversion
	add := func(from, to Resources) {
		out = append(out, Conversion{Resources(nil).Add(from), Resources(nil).Add(to)})
	}
	switch op.GetType() {
	case mesos.Offer_Operation_RESERVE:
		target := Resources(op.GetReserve().GetResources())
		source := Resources(op.GetReserve().GetSource())
		if len(source) == 0 {
			source = each(target, Unreserve)
		}
		add(source, target)
	case mesos.Offer_Operation_UNRESERVE:
		for _, r := range op.GetUnreserve().GetResources() {
			add(Resources{r}, Resources{Unreserve(r)})
		}
	case mesos.Offer_Operation_CREATE:
		for _, v := range op.GetCreate().GetVolumes() {
			add(Resources{Plain(v)}, Resources{v})
		}
	case mesos.Offer_Operation_DESTROY:
		for _, v := range op.GetDestroy().GetVolumes() {
			add(Resources{v}, Resources{Plain(v)})
		}
	case mesos.Offer_Operation_GROW_VOLUME:
		v, more := op.GetGrowVolume().GetVolume(), op.GetGrowVolume().GetAddition()
		add(Resources{v, more}, Resources{resized(v, amount(v).plus(amount(more)))})
	case mesos.Offer_Operation_SHRINK_VOLUME:
		v, less := op.GetShrinkVolume().GetVolume(), FromFloat(op.GetShrinkVolume().GetSubtract().GetValue())
		add(Resources{v}, Resources{resized(v, amount(v)-less), Plain(resized(v, less))})
	default:
		return nil, fault.New("convert resources", fault.Invalid, op.GetType().String(),
			errors.New("what becomes of the resources is known when the operation has ended"))
	}
	return out, nil
}

func each(rs Resources, f func(*mesos.Resource) *mesos.Resource) Resources {
	out := make(Resources, len(rs))
	for i, r := range rs {
		out[i] = f(r)
	}
	return out
}

// Consumed is all that an operation takes.
func Consumed(op *mesos.Offer_Operation) Resources {
	switch op.GetType() {
	case mesos.Offer_Operation_CREATE_DISK:
		return Resources{op.GetCreateDisk().GetSource()}
	case mesos.Offer_Operation_DESTROY_DISK:
		return Resources{op.GetDestroyDisk().GetSource()}
	}
	conversions, err := Conversions(op)
	if err != nil {
		return nil
	}
	var all Resources
	for _, c := range conversions {
		all = all.Add(c.From)
	}
	return all
}

// Mentioned lists every resource that an operation on resources names.
func Mentioned(op *mesos.Offer_Operation) []*mesos.Resource {
	switch op.GetType() {
	case mesos.Offer_Operation_RESERVE:
		list := append([]*mesos.Resource(nil), op.GetReserve().GetSource()...)
		return append(list, op.GetReserve().GetResources()...)
	case mesos.Offer_Operation_UNRESERVE:
		return op.GetUnreserve().GetResources()
	case mesos.Offer_Operation_CREATE:
		return op.GetCreate().GetVolumes()
	case mesos.Offer_Operation_DESTROY:
		return op.GetDestroy().GetVolumes()
	case mesos.Offer_Operation_GROW_VOLUME:
		return []*mesos.Resource{op.GetGrowVolume().GetVolume(), op.GetGrowVolume().GetAddition()}
	case mesos.Offer_Operation_SHRINK_VOLUME:
		return []*mesos.Resource{op.GetShrinkVolume().GetVolume()}
	case mesos.Offer_Operation_CREATE_DISK:
		return []*mesos.Resource{op.GetCreateDisk().GetSource()}
	case mesos.Offer_Operation_DESTROY_DISK:
		return []*mesos.Resource{op.GetDestroyDisk().GetSource()}
	}
	return nil
}

// Unreserve takes the innermost reservation off.
func Unreserve(r *mesos.Resource) *mesos.Resource {
	out := shallow(r)
	if n := len(r.Reservations); n > 0 {
		out.Reservations = r.Reservations[: n-1 : n-1]
	}
	return out
}

// Plain is the disk that a persistent volume is made of: without persistence, mount and
// sharing; the source stays.
func Plain(v *mesos.Resource) *mesos.Resource {
	out := shallow(v)
	out.Shared, out.Disk = nil, nil
	if s := v.GetDisk().GetSource(); s != nil {
		out.Disk = &mesos.Resource_DiskInfo{Source: s}
	}
	return out
}

func amount(r *mesos.Resource) Fixed { return FromFloat(r.GetScalar().GetValue()) }

func resized(r *mesos.Resource, to Fixed) *mesos.Resource {
	out := shallow(r)
	out.Scalar = to.Scalar()
	return out
}

// Checkpointed is what an agent keeps across its restarts on top of what it was started
// with: dynamic reservations and volumes, without those of resource providers.
func (rs Resources) Checkpointed() Resources {
	return rs.Filter(func(r *mesos.Resource) bool {
		return r.ProviderId == nil && (IsDynamic(r) || IsVolume(r))
	})
}

// Shared is what several tasks may use at once.
func (rs Resources) Shared() Resources {
	return rs.Filter(func(r *mesos.Resource) bool { return r.Shared != nil })
}

// Exclusive is the rest. Without anything shared it is rs itself.
func (rs Resources) Exclusive() Resources {
	for _, r := range rs {
		if r.Shared != nil {
			return rs.Filter(func(r *mesos.Resource) bool { return r.Shared == nil })
		}
	}
	return rs
}

// WithCheckpointed puts dynamic reservations and volumes in the place of the resources
// that they were made from. What has no such place (any more) is left out.
func (rs Resources) WithCheckpointed(checkpointed Resources) Resources {
	total := rs
	for _, r := range checkpointed {
		plain := Resources{origin(r)}
		if total.Contains(plain) {
			total = total.Subtract(plain).Add(Resources{r})
		}
	}
	return total
}

// origin is the resource as it was before dynamic reservations and persistence.
func origin(r *mesos.Resource) *mesos.Resource {
	out := Plain(r)
	out.Reservations = nil
	for _, each := range r.GetReservations() {
		if each.GetType() == mesos.Resource_ReservationInfo_STATIC {
			out.Reservations = append(out.Reservations, each)
		}
	}
	return out
}
