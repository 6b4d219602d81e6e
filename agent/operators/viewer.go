package operators

import (
	"context"

	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/acl"
	"github.com/stoa-project/stoa/internal/auth"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// see gives the part of the agent's state that the caller may see: whole frameworks,
// executors and tasks are left out (mesos-agent.md 6.3 and 11).
func (s *server) see(ctx context.Context) (*lifecycle.View, error) {
	v, err := s.View(ctx)
	who := auth.Name(ctx)
	if err != nil || s.Rules.Unlimited(who, acl.ViewFramework) && s.Rules.Unlimited(who, acl.ViewExecutor) && s.Rules.Unlimited(who, acl.ViewTask) {
		return v, err
	}
	out := *v
	out.Frameworks, out.Completed = s.frameworks(who, v.Frameworks), s.frameworks(who, v.Completed)
	return &out, nil
}

func (s *server) frameworks(who string, all []lifecycle.FrameworkView) []lifecycle.FrameworkView {
	var out []lifecycle.FrameworkView
	for _, f := range all {
		if !s.Rules.Allows(who, acl.ViewFramework, f.Info.GetUser()) {
			continue
		}
		f.Executors, f.Completed = s.executors(who, f, f.Executors), s.executors(who, f, f.Completed)
		out = append(out, f)
	}
	return out
}

func (s *server) executors(who string, f lifecycle.FrameworkView, all []lifecycle.ExecutorView) []lifecycle.ExecutorView {
	var out []lifecycle.ExecutorView
	for _, e := range all {
		if !s.Rules.Allows(who, acl.ViewExecutor, userOf(f, e)) {
			continue
		}
		e.QueuedAs = s.tasks(who, f, e.QueuedAs)
		var queued []*mesos.TaskInfo
		for _, t := range e.Queued {
			if s.Rules.Allows(who, acl.ViewTask, acl.TaskUser(t, f.Info)) {
				queued = append(queued, t)
			}
		}
		e.Queued = queued
		e.Launched, e.Terminated, e.Completed = s.tasks(who, f, e.Launched), s.tasks(who, f, e.Terminated), s.tasks(who, f, e.Completed)
		out = append(out, e)
	}
	return out
}

func (s *server) tasks(who string, f lifecycle.FrameworkView, all []*mesos.Task) []*mesos.Task {
	var out []*mesos.Task
	for _, t := range all {
		user := t.GetUser()
		if t.User == nil {
			user = f.Info.GetUser()
		}
		if s.Rules.Allows(who, acl.ViewTask, user) {
			out = append(out, t)
		}
	}
	return out
}

// mayView tells whether the caller may see a container's figures and what is in it.
func (s *server) mayView(ctx context.Context, f lifecycle.FrameworkView, e lifecycle.ExecutorView) bool {
	return s.Rules.Allows(auth.Name(ctx), acl.ViewContainer, userOf(f, e))
}

// mayViewRole tells whether the caller may see what is reserved for a role.
func (s *server) mayViewRole(ctx context.Context, role string) bool {
	return s.Rules.Allows(auth.Name(ctx), acl.ViewRole, role)
}
