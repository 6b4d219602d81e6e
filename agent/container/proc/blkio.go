package proc

import (
	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent/container/cgroup"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// operations are the kernel's names of what is counted, in the order they are told.
var operations = []struct {
	name string
	op   mesos.CgroupInfo_Blkio_Operation
}{
	{"Read", mesos.CgroupInfo_Blkio_READ}, {"Write", mesos.CgroupInfo_Blkio_WRITE}, {"Sync", mesos.CgroupInfo_Blkio_SYNC},
	{"Async", mesos.CgroupInfo_Blkio_ASYNC}, {"Discard", mesos.CgroupInfo_Blkio_DISCARD}, {"Total", mesos.CgroupInfo_Blkio_TOTAL},
}

// blkio tells what a container has read and written; nil without the controller.
func blkio(all []cgroup.IO) *mesos.CgroupInfo_Blkio_Statistics {
	if all == nil {
		return nil
	}
	values := func(counts map[string]uint64) []*mesos.CgroupInfo_Blkio_Value {
		var out []*mesos.CgroupInfo_Blkio_Value
		for _, o := range operations {
			if n, ok := counts[o.name]; ok {
				out = append(out, &mesos.CgroupInfo_Blkio_Value{Op: o.op.Enum(), Value: proto.Uint64(n)})
			}
		}
		return out
	}
	s := &mesos.CgroupInfo_Blkio_Statistics{}
	for _, io := range all {
		s.Throttling = append(s.Throttling, &mesos.CgroupInfo_Blkio_Throttling_Statistics{
			Device:     &mesos.Device_Number{MajorNumber: proto.Uint64(io.Major), MinorNumber: proto.Uint64(io.Minor)},
			IoServiced: values(io.Count), IoServiceBytes: values(io.Bytes),
		})
	}
	return s
}
