package lifecycle

import (
	"fmt"
	"slices"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

// ResourcesImage is what must survive about resources, also a change of the agent's id:
// the data in volumes outlives the agent that made them (mesos-agent.md 6.6, 10).
type ResourcesImage struct {
	Checkpointed []*mesos.Resource  // dynamic reservations and persistent volumes, internal form
	Operations   []*mesos.Operation // applied or refused and not acknowledged, by arrival
	Doomed       []*mesos.Resource  // destroyed volumes whose files may be left
}

// resourcesKey is the record of the only ResourcesImage.
const resourcesKey = "r"

// holdings are the agent's resources.
type holdings struct {
	own          resource.Resources // what the agent was started with
	checkpointed resource.Resources // changes to it that masters made
	total        resource.Resources // both
	doomed       []*mesos.Resource
	before       *holdings // of the newest change, until it is known to be durable
}

func newHoldings(own []*mesos.Resource) holdings {
	h := holdings{own: resource.Of(own...).Unallocate()}
	h.total = h.own
	return h
}

// Unplaced gives the checkpointed resources that an agent with these resources does not
// have: it must not start, since data would be lost (mesos-agent.md 9).
func Unplaced(own, checkpointed []*mesos.Resource) []*mesos.Resource {
	total := resource.Of(own...).Unallocate()
	var missing []*mesos.Resource
	for _, r := range resource.Of(checkpointed...) {
		next := total.WithCheckpointed(resource.Resources{r})
		if next.Equal(total) {
			missing = append(missing, r)
		}
		total = next
	}
	return missing
}

// set changes what is checkpointed. The caller records it.
func (h *holdings) set(checkpointed resource.Resources) {
	old := *h
	old.before = nil
	h.before = &old
	h.checkpointed = checkpointed
	h.total = h.own.WithCheckpointed(checkpointed)
}

// volumes are the persistent ones among resources, in the internal form, without
// allocation. Each shared one comes once.
func volumes(rs []*mesos.Resource) resource.Resources {
	var out resource.Resources
	for _, r := range resource.Of(rs...).Unallocate() {
		if resource.IsVolume(r) && !(r.Shared != nil && out.Contains(resource.Resources{r})) {
			out = append(out, r)
		}
	}
	return out
}

// sameVolume compares what names a volume: its role, its id and where it is.
func sameVolume(a, b *mesos.Resource) bool {
	x, y := a.GetDisk(), b.GetDisk()
	return resource.RoleOf(a) == resource.RoleOf(b) && x.GetPersistence().GetId() == y.GetPersistence().GetId() &&
		x.GetSource().GetType() == y.GetSource().GetType() && x.GetSource().GetPath().GetRoot() == y.GetSource().GetPath().GetRoot() &&
		x.GetSource().GetMount().GetRoot() == y.GetSource().GetMount().GetRoot()
}

// lacking gives the volumes of a that b does not have, whatever their sizes.
func lacking(a, b resource.Resources) []*mesos.Resource {
	var out []*mesos.Resource
	for _, v := range volumes(a) {
		found := false
		for _, w := range volumes(b) {
			found = found || sameVolume(v, w)
		}
		if !found {
			out = append(out, v)
		}
	}
	return out
}

// userOf names a task that uses the volume; "" when there is none.
func (a *Agent) userOf(v *mesos.Resource) string {
	for _, f := range a.sortedFrameworks() {
		for _, e := range f.order {
			if e.phase == terminated {
				continue
			}
			for _, w := range volumes(e.info.GetResources()) {
				if sameVolume(v, w) {
					return fmt.Sprintf("executor '%s' of framework %s", e.id(), f.id)
				}
			}
			for _, t := range e.tasks {
				for _, w := range volumes(t.info.GetResources()) {
					if !terminal(t.state) && sameVolume(v, w) {
						return fmt.Sprintf("task '%s' of framework %s", t.id(), f.id)
					}
				}
			}
		}
	}
	return ""
}

// Volume is a persistent volume that a container is to see.
type Volume struct {
	Resource *mesos.Resource // internal form, without allocation
	Busy     bool            // another container has it too: its owner stays
}

// mounts lists the volumes among resources for a container of e.
func (a *Agent) mounts(e *execution, rs []*mesos.Resource) []Volume {
	var out []Volume
	for _, v := range volumes(rs) {
		out = append(out, Volume{Resource: v, Busy: v.Shared != nil && a.elsewhere(e, v)})
	}
	return out
}

// elsewhere tells whether a container of another executor uses the volume.
func (a *Agent) elsewhere(e *execution, v *mesos.Resource) bool {
	for _, other := range a.containers {
		if other == e || !other.started {
			continue
		}
		for _, w := range volumes(other.resources()) {
			if sameVolume(v, w) {
				return true
			}
		}
	}
	return false
}

// unfit says why a launch cannot be taken on this agent as it is: it drains, the master
// had an older picture of its resources, or it does not have the reservations and
// volumes that the launch wants (mesos-agent.md 11, run checks). The text is empty when
// nothing is wrong.
func (a *Agent) unfit(versions []*messages.ResourceVersionUUID, tasks []*mesos.TaskInfo, ex *mesos.ExecutorInfo) (mesos.TaskStatus_Reason, string) {
	if a.draining != nil {
		return mesos.TaskStatus_REASON_AGENT_DRAINING, "Task was received while agent was already draining"
	}
	for _, v := range versions {
		if v.GetResourceProviderId() == nil && len(a.cfg.ResourceVersion) > 0 && string(v.GetUuid().GetValue()) != string(a.cfg.ResourceVersion) {
			return mesos.TaskStatus_REASON_INVALID_OFFERS, "Task assumes outdated resource state"
		}
	}
	for _, t := range tasks {
		if why := a.unlimited(t); why != "" {
			return mesos.TaskStatus_REASON_GC_ERROR, why // the reason that Mesos gives
		}
		if r := a.unknownIn(t.GetResources()); r != nil {
			return mesos.TaskStatus_REASON_RESOURCES_UNKNOWN,
				"The checkpointed resources being used by the task or task group are unknown to the agent: " + resource.Text(r)
		}
	}
	if r := a.unknownIn(ex.GetResources()); r != nil {
		return mesos.TaskStatus_REASON_RESOURCES_UNKNOWN,
			"The checkpointed resources being used by the executor are unknown to the agent: " + resource.Text(r)
	}
	return 0, ""
}

// unknownIn gives a reservation or volume among resources that the agent does not have.
func (a *Agent) unknownIn(rs []*mesos.Resource) *mesos.Resource {
	for _, r := range resource.Of(rs...).Unallocate().Checkpointed() {
		if !a.has.checkpointed.Contains(resource.Resources{r}) {
			return r
		}
	}
	return nil
}

// Share is what changes about the volumes that a container sees which runs already.
type Share struct {
	Directory string // of the sandbox
	User      string
	Show      []Volume // more than before
	Hide      []Volume // not any more
	Again     bool     // Show may be there already: the agent restarted since
}

// share compares the volumes of an executor with those it was given last.
func (a *Agent) share(e *execution) Share {
	s := Share{Directory: e.directory, User: a.user(e)}
	if e.generated || e.native() {
		return Share{} // their volumes are those of their launch
	}
	now := a.mounts(e, e.resources())
	s.Show, s.Hide = without(now, e.shown), without(e.shown, now)
	s.Again = e.recovered && e.shown == nil
	e.shown = append([]Volume{}, now...)
	return s
}

func without(all, others []Volume) []Volume {
	return slices.DeleteFunc(slices.Clone(all), func(v Volume) bool {
		return slices.ContainsFunc(others, func(o Volume) bool { return sameVolume(v.Resource, o.Resource) })
	})
}
