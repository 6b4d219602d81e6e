package operators

import (
	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/master/ledger"
)

// read makes the answer to a read of the book; nil when t is no such read.
func (s *Shell) read(t masterapi.Call_Type, b *ledger.Snapshot) *masterapi.Response {
	r := &masterapi.Response{Type: masterapi.Response_Type(masterapi.Response_Type_value[t.String()]).Enum()}
	switch t {
	case masterapi.Call_GET_OPERATIONS:
		r.GetOperations = getOperations(b)
	case masterapi.Call_GET_ROLES:
		r.GetRoles = s.getRoles(b)
	case masterapi.Call_GET_MASTER:
		r.GetMaster = &masterapi.Response_GetMaster{MasterInfo: b.Master, StartTime: proto.Float64(seconds(s.views.Started())),
			ElectedTime: proto.Float64(seconds(b.Elected))}
	default:
		return readPolicy(t, b)
	}
	return r
}

// readAside makes the answer to a read that needs no book; nil when t is no such read.
func (s *Shell) readAside(t masterapi.Call_Type) *masterapi.Response {
	r := &masterapi.Response{Type: masterapi.Response_Type(masterapi.Response_Type_value[t.String()]).Enum()}
	switch t {
	case masterapi.Call_GET_HEALTH:
		r.GetHealth = &masterapi.Response_GetHealth{Healthy: proto.Bool(true)}
	case masterapi.Call_GET_FLAGS:
		r.GetFlags = &masterapi.Response_GetFlags{Flags: s.flagList()}
	case masterapi.Call_GET_VERSION:
		r.GetVersion = &masterapi.Response_GetVersion{VersionInfo: s.cfg.Version}
	case masterapi.Call_GET_LOGGING_LEVEL:
		r.GetLoggingLevel = &masterapi.Response_GetLoggingLevel{Level: proto.Uint32(s.verbosity.Level())}
	default:
		return nil
	}
	return r
}
