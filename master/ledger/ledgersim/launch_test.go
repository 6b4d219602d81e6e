package ledgersim

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// What frameworks do with offers.

// some takes cpus, memory and perhaps a port of what is left; nil when there is not
// enough.
func (f *framework) some(left *resource.Resources) resource.Resources {
	r := f.w.rand
	want := resource.Of(resource.Scalar("cpus", resource.Fixed(500+500*r.Int64N(2))), resource.Scalar("mem", resource.Whole(32+r.Int64N(64))))
	if ports := left.Unreserved().Ports(); len(ports) > 0 && r.IntN(3) == 0 {
		want = want.Add(resource.Of(resource.Ports(resource.Ranges{{Begin: ports[0].Begin, End: ports[0].Begin}})))
	}
	if r.IntN(4) == 0 {
		// A volume or a reservation, when one is offered.
		for _, each := range *left {
			if len(each.Reservations) > 0 {
				want = want.Add(resource.Resources{each})
				break
			}
		}
	}
	if !left.Contains(want) && !f.w.chance(40) { // now and then too much is asked
		return nil
	}
	*left = left.Subtract(want)
	return want
}

func (f *framework) newTask(o *mesos.Offer, r resource.Resources) *mesos.TaskInfo {
	f.launched++
	id := fmt.Sprintf("f%d.%d", f.n, f.launched)
	f.tasks[id] = &heard{id: id, agent: o.GetAgentId().GetValue(), heard: f.w.now}
	f.order = append(f.order, id)
	return &mesos.TaskInfo{Name: proto.String(id), TaskId: &mesos.TaskID{Value: &id}, AgentId: o.AgentId, Resources: r}
}

// operation makes something of an offer.
func (f *framework) operation(o *mesos.Offer, left *resource.Resources) *mesos.Offer_Operation {
	r := f.w.rand
	switch n := r.IntN(10); {
	case n < 5:
		launch := &mesos.Offer_Operation_Launch{}
		for range 1 + r.IntN(3) {
			if want := f.some(left); want != nil {
				info := f.newTask(o, want)
				if r.IntN(3) == 0 {
					info.Executor = f.customExecutor(left)
				}
				if info.Executor == nil {
					info.Command = &mesos.CommandInfo{Value: proto.String("true")}
				}
				launch.TaskInfos = append(launch.TaskInfos, info)
			}
		}
		return &mesos.Offer_Operation{Type: mesos.Offer_Operation_LAUNCH.Enum(), Launch: launch}
	case n < 7:
		e := f.podExecutor(left)
		if e == nil {
			return nil
		}
		group := &mesos.TaskGroupInfo{}
		for range 1 + r.IntN(2) {
			if want := f.some(left); want != nil {
				info := f.newTask(o, want)
				info.Command = &mesos.CommandInfo{Value: proto.String("true")}
				group.Tasks = append(group.Tasks, info)
			}
		}
		return &mesos.Offer_Operation{Type: mesos.Offer_Operation_LAUNCH_GROUP.Enum(), LaunchGroup: &mesos.Offer_Operation_LaunchGroup{Executor: e, TaskGroup: group}}
	default:
		return f.convert(left)
	}
}

// customExecutor is one of a few, new or running already.
func (f *framework) customExecutor(left *resource.Resources) *mesos.ExecutorInfo {
	r := resource.Of(resource.Scalar("cpus", 100))
	if !left.Contains(r) {
		return nil
	}
	*left = left.Subtract(r)
	return &mesos.ExecutorInfo{ExecutorId: &mesos.ExecutorID{Value: proto.String(fmt.Sprint("e", f.w.rand.IntN(3)))}, FrameworkId: f.info.Id,
		Command: &mesos.CommandInfo{Value: proto.String("e")}, Resources: r}
}

func (f *framework) podExecutor(left *resource.Resources) *mesos.ExecutorInfo {
	r := resource.Of(resource.Scalar("cpus", 100), resource.Scalar("mem", resource.Whole(32)), resource.Scalar("disk", resource.Whole(1)))
	if !left.Contains(r) {
		return nil
	}
	*left = left.Subtract(r)
	f.executor++
	return &mesos.ExecutorInfo{Type: mesos.ExecutorInfo_DEFAULT.Enum(), ExecutorId: &mesos.ExecutorID{Value: proto.String(fmt.Sprint("pod", f.executor))},
		FrameworkId: f.info.Id, Resources: r}
}

// convert reserves, unreserves, creates or destroys something of what is left. Drivers
// without refinement do so, too; feedback is for streams.
func (f *framework) convert(left *resource.Resources) *mesos.Offer_Operation {
	op := &mesos.Offer_Operation{}
	if !f.driver && f.w.rand.IntN(3) == 0 {
		op.Id = &mesos.OperationID{Value: proto.String(string(f.w.uuid()))}
	}
	for _, r := range *left {
		switch {
		case resource.IsVolume(r) && f.w.rand.IntN(2) == 0:
			op.Type, op.Destroy = mesos.Offer_Operation_DESTROY.Enum(), &mesos.Offer_Operation_Destroy{Volumes: resource.Resources{r}}
		case !resource.IsVolume(r) && resource.IsDynamic(r) && r.GetName() == "disk" && f.w.rand.IntN(2) == 0:
			f.volumes++
			v := proto.Clone(r).(*mesos.Resource)
			v.Disk = &mesos.Resource_DiskInfo{Persistence: &mesos.Resource_DiskInfo_Persistence{Id: proto.String(fmt.Sprintf("v%d-%d", f.n, f.volumes)), Principal: proto.String("p")},
				Volume: &mesos.Volume{ContainerPath: proto.String("v"), Mode: mesos.Volume_RW.Enum()}}
			op.Type, op.Create = mesos.Offer_Operation_CREATE.Enum(), &mesos.Offer_Operation_Create{Volumes: resource.Resources{v}}
		case !resource.IsVolume(r) && resource.IsDynamic(r) && f.w.rand.IntN(2) == 0:
			op.Type, op.Unreserve = mesos.Offer_Operation_UNRESERVE.Enum(), &mesos.Offer_Operation_Unreserve{Resources: resource.Resources{r}}
		default:
			continue
		}
		break
	}
	if op.Type == nil {
		want := resource.Of(resource.Scalar("cpus", 500), resource.Scalar("disk", resource.Whole(10+f.w.rand.Int64N(20))))
		if !left.Contains(want) {
			return nil
		}
		var kept resource.Resources
		for _, r := range want {
			r = proto.Clone(r).(*mesos.Resource)
			r.Reservations = []*mesos.Resource_ReservationInfo{{Type: mesos.Resource_ReservationInfo_DYNAMIC.Enum(), Role: proto.String(f.role()), Principal: proto.String("p")}}
			kept = append(kept, r)
		}
		op.Type, op.Reserve = mesos.Offer_Operation_RESERVE.Enum(), &mesos.Offer_Operation_Reserve{Resources: kept}
	}
	conversions, err := resource.Conversions(op)
	for _, c := range conversions {
		if err == nil {
			*left, err = left.Convert(c)
		}
	}
	if err != nil {
		f.w.fail("%v", err)
	}
	return op
}
