package confine

import (
	"fmt"
	"math"

	"golang.org/x/sys/unix"

	"github.com/stoa-project/stoa/agent/keeper/box"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// resources are the kernel's numbers of limits; x/sys/unix lacks some names.
var resources = map[mesos.RLimitInfo_RLimit_Type]int{
	mesos.RLimitInfo_RLimit_RLMT_AS:         unix.RLIMIT_AS,
	mesos.RLimitInfo_RLimit_RLMT_CORE:       unix.RLIMIT_CORE,
	mesos.RLimitInfo_RLimit_RLMT_CPU:        unix.RLIMIT_CPU,
	mesos.RLimitInfo_RLimit_RLMT_DATA:       unix.RLIMIT_DATA,
	mesos.RLimitInfo_RLimit_RLMT_FSIZE:      unix.RLIMIT_FSIZE,
	mesos.RLimitInfo_RLimit_RLMT_LOCKS:      unix.RLIMIT_LOCKS,
	mesos.RLimitInfo_RLimit_RLMT_MEMLOCK:    unix.RLIMIT_MEMLOCK,
	mesos.RLimitInfo_RLimit_RLMT_MSGQUEUE:   unix.RLIMIT_MSGQUEUE,
	mesos.RLimitInfo_RLimit_RLMT_NICE:       unix.RLIMIT_NICE,
	mesos.RLimitInfo_RLimit_RLMT_NOFILE:     unix.RLIMIT_NOFILE,
	mesos.RLimitInfo_RLimit_RLMT_NPROC:      unix.RLIMIT_NPROC,
	mesos.RLimitInfo_RLimit_RLMT_RSS:        unix.RLIMIT_RSS,
	mesos.RLimitInfo_RLimit_RLMT_RTPRIO:     unix.RLIMIT_RTPRIO,
	mesos.RLimitInfo_RLimit_RLMT_RTTIME:     unix.RLIMIT_RTTIME,
	mesos.RLimitInfo_RLimit_RLMT_SIGPENDING: unix.RLIMIT_SIGPENDING,
	mesos.RLimitInfo_RLimit_RLMT_STACK:      unix.RLIMIT_STACK,
}

// rlimits takes over what a container asks for: both values, or neither, which is unlimited.
func (r *Rules) rlimits(c Container, out *box.Confine) error {
	if !r.cfg.Rlimits {
		return nil
	}
	seen := map[int]bool{}
	for _, l := range c.Box.GetRlimitInfo().GetRlimits() {
		number, known := resources[l.GetType()]
		limit := box.Rlimit{Resource: number, Soft: math.MaxUint64, Hard: math.MaxUint64}
		switch {
		case !known:
			return fmt.Errorf("Unknown rlimit type: %s", l.GetType())
		case (l.Soft == nil) != (l.Hard == nil):
			return fmt.Errorf("Invalid rlimit values for %s: both soft and hard limit must be set, or neither", l.GetType())
		case seen[number]:
			return fmt.Errorf("Limit type %s found more than once", l.GetType())
		case l.Soft != nil:
			limit.Soft, limit.Hard = l.GetSoft(), l.GetHard()
			if limit.Soft > limit.Hard {
				return fmt.Errorf("Invalid rlimit values for %s: soft limit %d is above the hard limit %d", l.GetType(), limit.Soft, limit.Hard)
			}
		}
		seen[number] = true
		out.Rlimits = append(out.Rlimits, limit)
	}
	return nil
}
