package resource

import (
	"fmt"
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Upgrade gives the post-refinement form of each resource, in order, without summing
// (libprocess.md 5.3). Resources already in it are passed on as they are.
func Upgrade(rs []*mesos.Resource) Resources {
	out := make(Resources, len(rs))
	for i, r := range rs {
		out[i] = r
		if r.GetRole() == AnyRole && r.Role == nil && r.Reservation == nil {
			continue
		}
		out[i] = shallow(r)
		upgrade(out[i])
	}
	return out
}

func upgrade(r *mesos.Resource) {
	role, dynamic := r.GetRole(), r.Reservation
	r.Role, r.Reservation = nil, nil
	if len(r.Reservations) > 0 || role == AnyRole {
		return
	}
	info := &mesos.Resource_ReservationInfo{Type: mesos.Resource_ReservationInfo_STATIC.Enum(), Role: &role}
	if dynamic != nil {
		info.Type = mesos.Resource_ReservationInfo_DYNAMIC.Enum()
		info.Principal, info.Labels = dynamic.Principal, dynamic.Labels
	}
	r.Reservations = []*mesos.Resource_ReservationInfo{info}
}

// Downgrade gives the pre-refinement form for peers that know no other: role always
// set, reservation only for dynamic ones. A refined resource cannot be written so; it
// stays as it is and the error (fault.Unsupported) names the first of them, with the
// rest converted: agents send such mixed lists on purpose.
func Downgrade(rs []*mesos.Resource) ([]*mesos.Resource, error) {
	var refined error
	out := make([]*mesos.Resource, len(rs))
	for i, r := range rs {
		out[i] = shallow(r)
		if err := downgrade(out[i]); err != nil && refined == nil {
			refined = err
		}
	}
	return out, refined
}

func downgrade(r *mesos.Resource) error {
	switch len(r.Reservations) {
	case 0:
		if r.Role == nil {
			r.Role = proto.String(AnyRole)
		}
		return nil
	case 1:
		oldForm(r)
		r.Reservations = nil
		return nil
	}
	return fault.New("downgrade", fault.Unsupported, Text(r),
		fmt.Errorf("a stack of %d reservations has no form for peers without reservation refinement", len(r.Reservations)))
}

// oldForm sets role and reservation from a single entry.
func oldForm(r *mesos.Resource) {
	info := r.Reservations[0]
	r.Role, r.Reservation = proto.String(info.GetRole()), nil
	if info.GetType() == mesos.Resource_ReservationInfo_DYNAMIC {
		r.Reservation = &mesos.Resource_ReservationInfo{Principal: info.Principal, Labels: info.Labels}
	}
}

// Endpoint gives the form of operator endpoints, which carry both formats where both
// can say it (mesos-master.md section 4).
func Endpoint(rs []*mesos.Resource) []*mesos.Resource {
	out := make([]*mesos.Resource, len(rs))
	for i, r := range rs {
		out[i] = shallow(r)
		switch len(r.Reservations) {
		case 0:
			if r.Role == nil {
				out[i].Role = proto.String(AnyRole)
			}
		case 1:
			oldForm(out[i])
		}
	}
	return out
}

// UpgradeMessage upgrades every resource anywhere in m, in place.
func UpgradeMessage(m proto.Message) {
	eachResource(m.ProtoReflect(), upgrade)
}

// DowngradeMessage downgrades every resource anywhere in m, in place. The error is
// Downgrade's; everything that could be converted is converted then, too.
func DowngradeMessage(m proto.Message) error {
	var refined error
	eachResource(m.ProtoReflect(), func(r *mesos.Resource) {
		if err := downgrade(r); err != nil && refined == nil {
			refined = err
		}
	})
	return refined
}

// EndpointMessage gives every resource anywhere in m the form of Endpoint, in place.
func EndpointMessage(m proto.Message) {
	eachResource(m.ProtoReflect(), func(r *mesos.Resource) {
		switch len(r.Reservations) {
		case 0:
			if r.Role == nil {
				r.Role = proto.String(AnyRole)
			}
		case 1:
			oldForm(r)
		}
	})
}

// eachResource visits all resources in a message, skipping fields whose type cannot
// hold one. A resource holds no further ones.
func eachResource(m protoreflect.Message, visit func(*mesos.Resource)) {
	if r, ok := m.Interface().(*mesos.Resource); ok {
		visit(r)
		return
	}
	for _, fd := range resourceFields(m.Descriptor()) {
		if !m.Has(fd) {
			continue
		}
		v := m.Get(fd)
		switch {
		case fd.IsMap():
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				eachResource(v.Message(), visit)
				return true
			})
		case fd.IsList():
			for i := range v.List().Len() {
				eachResource(v.List().Get(i).Message(), visit)
			}
		default:
			eachResource(v.Message(), visit)
		}
	}
}

// holders remembers, per message type, the fields below which resources may be.
var holders sync.Map // protoreflect.FullName -> []protoreflect.FieldDescriptor

func resourceFields(md protoreflect.MessageDescriptor) []protoreflect.FieldDescriptor {
	if fds, ok := holders.Load(md.FullName()); ok {
		return fds.([]protoreflect.FieldDescriptor)
	}
	var out []protoreflect.FieldDescriptor
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		if reachesResource(fieldMessage(fd), map[protoreflect.FullName]bool{}) {
			out = append(out, fd)
		}
	}
	holders.Store(md.FullName(), out)
	return out
}

var resourceName = (*mesos.Resource)(nil).ProtoReflect().Descriptor().FullName()

// reachesResource searches the type graph; seen ends its cycles.
func reachesResource(md protoreflect.MessageDescriptor, seen map[protoreflect.FullName]bool) bool {
	if md == nil || seen[md.FullName()] {
		return false
	}
	if md.FullName() == resourceName {
		return true
	}
	seen[md.FullName()] = true
	for i := range md.Fields().Len() {
		if reachesResource(fieldMessage(md.Fields().Get(i)), seen) {
			return true
		}
	}
	return false
}

// fieldMessage is the message type of a field's values, or nil.
func fieldMessage(fd protoreflect.FieldDescriptor) protoreflect.MessageDescriptor {
	if fd.IsMap() {
		return fd.MapValue().Message()
	}
	return fd.Message()
}
