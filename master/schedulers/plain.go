package schedulers

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
)

// readable gives the event as a client of this codec can read it: mesos-go's JSON decoder
// refuses a whole SUBSCRIBED that names the capability QUOTA_V2, which it does not know
// (mesos-master.md T1). In protobuf it is there, as in Mesos.
func readable(codec wire.Codec, e *scheduler.Event) *scheduler.Event {
	if codec.MediaType != wire.MediaJSON || e.GetSubscribed().GetMasterInfo() == nil {
		return e
	}
	e = proto.Clone(e).(*scheduler.Event)
	info := e.Subscribed.MasterInfo
	info.Capabilities = slices.DeleteFunc(info.Capabilities, func(c *mesos.MasterInfo_Capability) bool {
		return c.GetType() == mesos.MasterInfo_Capability_QUOTA_V2
	})
	return e
}
