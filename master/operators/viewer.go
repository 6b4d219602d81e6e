package operators

import (
	"context"
	"net/http"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/acl"
	"github.com/stoa-project/stoa/internal/auth"
	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/master/ledger"
)

// A reader who may not see everything gets a shell of their own, whose book has only what
// they may see: every answer is then made as it always is, and nobody who adds one can
// forget to leave something out. Readers without limits, and all of them without --acls,
// share one shell and its answers.

// maxViewers bounds the shells of limited readers; the one made first gives way.
const maxViewers = 64

// viewers are the shells of limited readers.
type viewers struct {
	mu    sync.Mutex // guards the fields below
	of    map[string]*Shell
	order []string // oldest first
}

// views are the actions that limit what readers see.
var viewActions = []acl.Action{acl.ViewFramework, acl.ViewTask, acl.ViewExecutor, acl.ViewRole,
	acl.ViewFlags, acl.GetQuota, acl.GetMaintenanceStatus, acl.GetMaintenanceSchedule}

// seenBy gives the shell that answers a request.
func (s *Shell) seenBy(r *http.Request) *Shell {
	l := s.cfg.ACL
	if l == nil {
		return s
	}
	who := auth.Name(r.Context())
	limited := false
	for _, a := range viewActions {
		limited = limited || !l.Unlimited(who, a)
	}
	if !limited {
		return s
	}
	s.limited.mu.Lock()
	defer s.limited.mu.Unlock()
	if own := s.limited.of[who]; own != nil {
		return own
	}
	if len(s.limited.order) >= maxViewers {
		delete(s.limited.of, s.limited.order[0])
		s.limited.order = s.limited.order[1:]
	}
	own := s.limitedTo(who)
	if s.limited.of == nil {
		s.limited.of = map[string]*Shell{}
	}
	s.limited.of[who] = own
	s.limited.order = append(s.limited.order, who)
	return own
}

// limitedTo makes the shell of one limited reader. Streams and counts stay with s.
func (s *Shell) limitedTo(who string) *Shell {
	sight := &sight{acl: s.cfg.ACL, who: who}
	own := &Shell{cfg: s.cfg, log: s.log, hub: s.hub, lists: map[string]*shared{}, everything: s.everything, sight: sight,
		verbosity: s.verbosity, scrapes: s.scrapes}
	own.views = &sighted{Views: s.views, sight: sight}
	if !sight.may(acl.ViewFlags, "") {
		own.cfg.Flags = nil
	}
	own.addLists()
	own.handlers = map[string]http.Handler{}
	for _, route := range own.endpoints() {
		own.handlers[route.Path] = route.Handler
	}
	return own
}

// partOf gives what of a book the shell's reader may see.
func (s *Shell) partOf(b *ledger.Snapshot) *ledger.Snapshot {
	if v, limited := s.views.(*sighted); limited {
		return v.part(b)
	}
	return b
}

// Routes lists what the door has to mount (mesos-master.md 5.4).
func (s *Shell) Routes() []Route {
	routes := s.endpoints()
	for i, route := range routes {
		whole := route.Handler
		need, asked := endpointNeeds[strings.TrimSuffix(route.Path, ".json")]
		routes[i].Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if asked && !s.cfg.ACL.Allows(auth.Name(r.Context()), need.Action, need.Object) {
				forbidden(w)
				return
			}
			if own := s.seenBy(r); own != s {
				own.handlers[route.Path].ServeHTTP(w, r)
				return
			}
			whole.ServeHTTP(w, r)
		})
	}
	return routes
}

// forgetViewers drops the shells of limited readers with all they remember.
func (s *Shell) forgetViewers() {
	s.limited.mu.Lock()
	defer s.limited.mu.Unlock()
	for _, own := range s.limited.of {
		for _, l := range own.lists {
			l.forget()
		}
	}
	s.limited.of, s.limited.order = nil, nil
}

// sight is what one reader may see. A nil sight has no limits.
type sight struct {
	acl *acl.List
	who string
}

func (v *sight) may(a acl.Action, object string) bool {
	return v == nil || v.acl.Allows(v.who, a, object)
}

func (v *sight) framework(info *mesos.FrameworkInfo) bool {
	return v.may(acl.ViewFramework, info.GetUser())
}

func (v *sight) task(t *mesos.Task, f *mesos.FrameworkInfo) bool {
	if t.User != nil {
		return v.may(acl.ViewTask, t.GetUser())
	}
	return v.may(acl.ViewTask, f.GetUser())
}

func (v *sight) executor(e *mesos.ExecutorInfo, f *mesos.FrameworkInfo) bool {
	if c := e.GetCommand(); c != nil && c.User != nil {
		return v.may(acl.ViewExecutor, c.GetUser())
	}
	return v.may(acl.ViewExecutor, f.GetUser())
}

func (v *sight) role(name string) bool { return name == "*" || v.may(acl.ViewRole, name) }

// resource asks for the roles that a resource is reserved for and allocated to.
func (v *sight) resource(r *mesos.Resource) bool {
	for _, each := range r.GetReservations() {
		if !v.role(each.GetRole()) {
			return false
		}
	}
	if role := r.GetRole(); role != "" && !v.role(role) {
		return false
	}
	role := r.GetAllocationInfo().GetRole()
	return role == "" || v.role(role)
}

// sighted gives books with only what a reader may see.
type sighted struct {
	Views
	sight *sight

	mu         sync.Mutex // guards the fields below, which remember the last book
	whole      *ledger.Snapshot
	seen       *ledger.Snapshot
	frameworks map[*ledger.FrameworkView]*ledger.FrameworkView // nil: not to be seen
	agents     map[*ledger.AgentView]*ledger.AgentView
}

// View is the seen part of the present book; the same pointer while nothing changes.
func (v *sighted) View(ctx context.Context) (*ledger.Snapshot, error) {
	b, err := v.Views.View(ctx)
	if err != nil {
		return nil, err
	}
	return v.part(b), nil
}

// part gives what of a book may be seen. What did not change since the last one is not
// looked at again.
func (v *sighted) part(b *ledger.Snapshot) *ledger.Snapshot {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.whole == b {
		return v.seen
	}
	out := *b
	frameworks := make(map[*ledger.FrameworkView]*ledger.FrameworkView, len(b.Frameworks)+len(b.Completed))
	list := func(all []*ledger.FrameworkView) (some []*ledger.FrameworkView) {
		for _, f := range all {
			own, done := v.frameworks[f]
			if !done {
				own = v.sight.frameworkView(f)
			}
			frameworks[f] = own
			if own != nil {
				some = append(some, own)
			}
		}
		return some
	}
	out.Frameworks, out.Completed = list(b.Frameworks), list(b.Completed)
	agents := make(map[*ledger.AgentView]*ledger.AgentView, len(b.Agents))
	out.Agents = make([]*ledger.AgentView, len(b.Agents))
	for i, a := range b.Agents {
		own := v.agents[a]
		if own == nil {
			own = v.sight.agentView(a)
		}
		agents[a], out.Agents[i] = own, own
	}
	out.Recovered = make([]*mesos.AgentInfo, len(b.Recovered))
	for i, info := range b.Recovered {
		out.Recovered[i] = v.sight.agentInfo(info)
	}
	if b.Policies != nil {
		out.Policies = v.sight.policies(b.Policies)
	}
	v.whole, v.seen, v.frameworks, v.agents = b, &out, frameworks, agents
	return &out
}

// policies leaves out roles that may not be seen, and maintenance as a whole.
func (v *sight) policies(p *ledger.Policies) *ledger.Policies {
	out := *p
	out.Quotas = permittedOf(p.Quotas, func(q ledger.QuotaSet) bool { return v.role(q.Role) && v.may(acl.GetQuota, q.Role) })
	out.Weights = permittedOf(p.Weights, func(w ledger.WeightSet) bool { return v.role(w.Role) })
	if !v.may(acl.GetMaintenanceSchedule, "") {
		out.Schedule = nil
	}
	if !v.may(acl.GetMaintenanceStatus, "") {
		out.Machines = nil
	}
	return &out
}

// frameworkView is a framework with the tasks and executors that may be seen; nil when it
// may not be seen itself.
func (v *sight) frameworkView(f *ledger.FrameworkView) *ledger.FrameworkView {
	if !v.framework(f.Info) {
		return nil
	}
	tasks := func(all []*mesos.Task) []*mesos.Task {
		return permittedOf(all, func(t *mesos.Task) bool { return v.task(t, f.Info) })
	}
	out := *f
	out.Tasks, out.Unreachable, out.CompletedT = tasks(f.Tasks), tasks(f.Unreachable), tasks(f.CompletedT)
	out.Executors = permittedOf(f.Executors, func(e ledger.ExecutorView) bool { return v.executor(e.Info, f.Info) })
	return &out
}

func (v *sight) agentView(a *ledger.AgentView) *ledger.AgentView {
	out := *a
	out.Info = v.agentInfo(a.Info)
	out.Total, out.Used, out.Offered = v.resources(a.Total), v.resources(a.Used), v.resources(a.Offered)
	out.Operations = permittedOf(a.Operations, v.operation)
	return &out
}

// agentInfo leaves out static reservations for roles that may not be seen.
func (v *sight) agentInfo(info *mesos.AgentInfo) *mesos.AgentInfo {
	some := permittedOf(info.GetResources(), v.resource)
	if len(some) == len(info.GetResources()) {
		return info
	}
	own := proto.Clone(info).(*mesos.AgentInfo)
	own.Resources = some
	return own
}

func (v *sight) resources(all resource.Resources) resource.Resources {
	return permittedOf(all, v.resource)
}

func (v *sight) operation(op *mesos.Operation) bool {
	for _, r := range resource.Mentioned(op.GetInfo()) {
		if !v.resource(r) {
			return false
		}
	}
	return true
}

// permittedOf gives the elements that may be seen; the list itself when that is all of them.
func permittedOf[T any](all []T, may func(T) bool) []T {
	for i, each := range all {
		if may(each) {
			continue
		}
		some := append([]T(nil), all[:i]...)
		for _, rest := range all[i+1:] {
			if may(rest) {
				some = append(some, rest)
			}
		}
		return some
	}
	return all
}
