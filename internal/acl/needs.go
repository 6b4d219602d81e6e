package acl

import (
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Need is one thing that has to be allowed; an empty Object is an unnamed one.
type Need struct {
	Action Action
	Object string
}

// Missing gives the first need that principal may not have; ok says that there is none.
func (l *List) Missing(principal string, needs []Need) (n Need, ok bool) {
	for _, n := range needs {
		if !l.Allows(principal, n.Action, n.Object) {
			return n, false
		}
	}
	return Need{}, true
}

// Operation is what an operation on reservations, volumes or disks needs: of frameworks
// in an ACCEPT and of operators alike (mesos-master.md 8.3). Resources may be in either
// format. An operation that names nothing needs its action on an unnamed object.
func Operation(op *mesos.Offer_Operation) []Need {
	switch op.GetType() {
	case mesos.Offer_Operation_RESERVE:
		return reserve(op.GetReserve())
	case mesos.Offer_Operation_UNRESERVE:
		return each(Unreserve, op.GetUnreserve().GetResources(), reserver)
	case mesos.Offer_Operation_CREATE:
		return each(CreateVolume, op.GetCreate().GetVolumes(), role)
	case mesos.Offer_Operation_DESTROY:
		return each(DestroyVolume, op.GetDestroy().GetVolumes(), func(r *mesos.Resource) string {
			return r.GetDisk().GetPersistence().GetPrincipal()
		})
	case mesos.Offer_Operation_GROW_VOLUME:
		return one(ResizeVolume, op.GetGrowVolume().GetVolume())
	case mesos.Offer_Operation_SHRINK_VOLUME:
		return one(ResizeVolume, op.GetShrinkVolume().GetVolume())
	case mesos.Offer_Operation_CREATE_DISK:
		if op.GetCreateDisk().GetTargetType() == mesos.Resource_DiskInfo_Source_BLOCK {
			return one(CreateBlockDisk, op.GetCreateDisk().GetSource())
		}
		return one(CreateMountDisk, op.GetCreateDisk().GetSource())
	case mesos.Offer_Operation_DESTROY_DISK:
		source := op.GetDestroyDisk().GetSource()
		switch source.GetDisk().GetSource().GetType() {
		case mesos.Resource_DiskInfo_Source_BLOCK:
			return one(DestroyBlockDisk, source)
		case mesos.Resource_DiskInfo_Source_RAW:
			return one(DestroyRawDisk, source)
		}
		return one(DestroyMountDisk, source)
	}
	return nil
}

// Launch is what running a task needs: its user, or else its executor's, or else the
// framework's.
func Launch(task *mesos.TaskInfo, f *mesos.FrameworkInfo) Need {
	return Need{RunTask, TaskUser(task, f)}
}

// TaskUser is the user that a task will run as.
func TaskUser(task *mesos.TaskInfo, f *mesos.FrameworkInfo) string {
	for _, c := range []*mesos.CommandInfo{task.GetCommand(), task.GetExecutor().GetCommand()} {
		if c != nil && c.User != nil {
			return c.GetUser()
		}
	}
	return f.GetUser()
}

// Join is what registering an agent needs: to be one, and the roles that its resources
// are reserved for. Dynamic reservations were allowed when they were made.
func Join(resources []*mesos.Resource) []Need {
	needs := []Need{{RegisterAgent, ""}}
	for _, r := range resources {
		if len(stack(r)) > 0 {
			needs = add(needs, Need{Reserve, role(r)})
		}
	}
	return needs
}

// reserve needs every role that is reserved for; with a source, first the principals
// whose reservations go.
func reserve(m *mesos.Offer_Operation_Reserve) []Need {
	if len(m.GetSource()) == 0 || len(m.GetResources()) == 0 {
		return each(Reserve, m.GetResources(), role)
	}
	target := stack(m.GetResources()[0])
	var needs []Need
	common := len(target)
	for _, r := range m.GetSource() {
		common = min(common, shared(stack(r), target))
	}
	for _, r := range m.GetSource() {
		from := stack(r)
		for i := len(from) - 1; i >= common; i-- {
			needs = add(needs, Need{Unreserve, from[i].principal})
		}
	}
	for _, level := range target[common:] {
		needs = add(needs, Need{Reserve, level.role})
	}
	return needs
}

// each gives one need for each object that the resources name.
func each(a Action, list []*mesos.Resource, object func(*mesos.Resource) string) []Need {
	var needs []Need
	for _, r := range list {
		needs = add(needs, Need{a, object(r)})
	}
	if len(needs) == 0 {
		return []Need{{a, ""}}
	}
	return needs
}

func one(a Action, r *mesos.Resource) []Need { return []Need{{a, role(r)}} }

func add(needs []Need, n Need) []Need {
	for _, has := range needs {
		if has == n {
			return needs
		}
	}
	return append(needs, n)
}

// level is one reservation of a stack.
type level struct{ role, principal string }

// stack gives a resource's reservations, the outermost last, from either format.
func stack(r *mesos.Resource) []level {
	var out []level
	for _, each := range r.GetReservations() {
		out = append(out, level{each.GetRole(), each.GetPrincipal()})
	}
	if len(out) == 0 && r.GetRole() != "" && r.GetRole() != "*" {
		out = append(out, level{r.GetRole(), r.GetReservation().GetPrincipal()})
	}
	return out
}

func shared(a, b []level) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// role is whom a resource is reserved for; "*" stands for nobody.
func role(r *mesos.Resource) string {
	if s := stack(r); len(s) > 0 {
		return s[len(s)-1].role
	}
	return "*"
}

func reserver(r *mesos.Resource) string {
	if s := stack(r); len(s) > 0 {
		return s[len(s)-1].principal
	}
	return ""
}
