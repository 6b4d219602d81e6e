package wire

import (
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/stoa-project/stoa/internal/fault"
)

// maxMissing bounds how many missing fields one error lists.
const maxMissing = 32

// MissingFields is the cause inside the error of RequireFields: the paths of the
// required fields that are not set, in the notation of Mesos ("teardown.framework_id",
// "windows[0].unavailability"). At most 32 are listed.
type MissingFields []string

// Error prints the list as Mesos does.
func (f MissingFields) Error() string {
	return "Missing required fields: " + strings.Join(f, ", ")
}

// RequireFields checks that every required field is set in m and all messages below
// it. The error is fault.Invalid about the message's name and wraps MissingFields;
// nil when nothing is missing.
func RequireFields(m proto.Message) error {
	if proto.CheckInitialized(m) == nil {
		return nil
	}
	missing := missingIn(nil, "", m.ProtoReflect())
	return fault.New("check", fault.Invalid, messageName(m), missing)
}

// missingIn appends the own missing fields of m first, then those of its children.
func missingIn(found MissingFields, prefix string, m protoreflect.Message) MissingFields {
	numbers := m.Descriptor().RequiredNumbers()
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if numbers.Has(fd.Number()) && !m.Has(fd) && len(found) < maxMissing {
			found = append(found, prefix+string(fd.Name()))
		}
	}
	for i := range fields.Len() {
		fd := fields.Get(i)
		if len(found) >= maxMissing {
			return found
		}
		if !m.Has(fd) {
			continue
		}
		name := prefix + string(fd.Name())
		switch {
		case fd.IsMap():
			if fd.MapValue().Message() == nil {
				continue
			}
			m.Get(fd).Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
				found = missingIn(found, name+"["+k.String()+"].", v.Message())
				return len(found) < maxMissing
			})
		case fd.Message() == nil:
		case fd.IsList():
			list := m.Get(fd).List()
			for j := 0; j < list.Len() && len(found) < maxMissing; j++ {
				found = missingIn(found, name+"["+strconv.Itoa(j)+"].", list.Get(j).Message())
			}
		default:
			found = missingIn(found, name+".", m.Get(fd).Message())
		}
	}
	return found
}
