package libprocess

import (
	"strconv"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// missingField gives the path of the first required field that is absent in m, in
// field order ("update.status.task_id", "tasks[2].slave_id"), or "" when none is.
func missingField(m protoreflect.Message) string {
	fields := m.Descriptor().Fields()
	for i := 0; i < fields.Len(); i++ {
		fd := fields.Get(i)
		name := string(fd.Name())
		if !m.Has(fd) {
			if fd.Cardinality() == protoreflect.Required {
				return name
			}
			continue
		}
		if path := missingBelow(m.Get(fd), fd, name); path != "" {
			return path
		}
	}
	return ""
}

// missingBelow looks into the set field fd. The protocol has no maps.
func missingBelow(v protoreflect.Value, fd protoreflect.FieldDescriptor, name string) string {
	if fd.Message() == nil || fd.IsMap() {
		return ""
	}
	if !fd.IsList() {
		return join(name, missingField(v.Message()))
	}
	list := v.List()
	for i := 0; i < list.Len(); i++ {
		if path := missingField(list.Get(i).Message()); path != "" {
			return join(name+"["+strconv.Itoa(i)+"]", path)
		}
	}
	return ""
}

func join(name, below string) string {
	if below == "" {
		return ""
	}
	return name + "." + below
}
