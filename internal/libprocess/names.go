package libprocess

import (
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/stoa-project/stoa/internal/fault"
)

// wireNames lists the types whose name on the wire is not their own: v0 types that are
// built from the v1 twin with the same field numbers.
var wireNames = map[protoreflect.FullName]string{
	"mesos.v1.scheduler.Event": "mesos.scheduler.Event",
}

// NameOf gives the name a message travels under: the full protobuf name for types of
// the packages mesos.internal and mesos.scheduler, the v0 name for their v1 twins.
// Other types do not travel: an error of kind fault.Unsupported. (2.1)
func NameOf(m proto.Message) (string, error) {
	full := m.ProtoReflect().Descriptor().FullName()
	if name, ok := wireNames[full]; ok {
		return name, nil
	}
	name := string(full)
	if strings.HasPrefix(name, "mesos.internal.") || strings.HasPrefix(name, "mesos.scheduler.") {
		return name, nil
	}
	return "", fault.New("libprocess.NameOf", fault.Unsupported, name, nil)
}
