package driver

import (
	"context"
	"errors"
	"fmt"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/httpcli"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler/calls"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
)

// reconcileBatch is how many tasks one RECONCILE names.
const reconcileBatch = 5_000

// send makes the queued calls one after another: order matters between an
// ACCEPT and a KILL or RECONCILE that follows it.
func (s *session) send(ctx context.Context) error {
	for {
		select {
		case <-s.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
		for {
			s.mu.Lock()
			batch := s.waiting
			s.waiting = nil
			s.mu.Unlock()
			if len(batch) == 0 {
				break
			}
			if len(batch) > maxQueue {
				return fmt.Errorf("%d calls wait for the master", len(batch))
			}
			for _, e := range batch {
				for _, c := range s.callsFor(e) {
					if err := s.call(ctx, c); err != nil {
						return err
					}
				}
			}
		}
	}
}

func (s *session) call(ctx context.Context, c *scheduler.Call) error {
	ctx, cancel := context.WithTimeout(ctx, s.d.cfg.CallTimeout)
	defer cancel()
	c.FrameworkID = &mesos.FrameworkID{Value: s.frameworkID}
	resp, err := s.caller.Call(ctx, c)
	if resp != nil {
		resp.Close()
	}
	var odd httpcli.ProtocolError
	if c.Type == scheduler.Call_UPDATE_FRAMEWORK && errors.As(err, &odd) {
		return nil // Mesos' 200 has no Content-Type, which mesos-go does not expect (mesos-master.md 1.2)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", c.Type, err)
	}
	return nil
}

// callsFor translates an effect.
func (s *session) callsFor(e core.Effect) []*scheduler.Call {
	d := s.d
	switch e := e.(type) {
	case core.Accept:
		ops := append(freeing(e.Free), s.reserving(e.Reserve)...)
		ops = append(ops, d.operations(e.Tasks, s.frameworkID)...)
		c := calls.Accept(ops.WithOffers(mesos.OfferID{Value: e.Offer}))
		return one(c.With(calls.RefuseSeconds(e.Refuse)))
	case core.Decline:
		ids := make([]mesos.OfferID, 0, len(e.Offers))
		for _, id := range e.Offers {
			ids = append(ids, mesos.OfferID{Value: id})
		}
		return one(calls.Decline(ids...).With(calls.RefuseSeconds(e.Refuse)))
	case core.Acknowledge:
		return one(calls.Acknowledge(e.AgentID, string(e.Task), e.UUID))
	case core.Kill:
		return one(calls.Kill(string(e.Task), e.AgentID))
	case core.Roles:
		info := *d.framework(s.frameworkID, e.Roles)
		return one(calls.UpdateFramework(info, func(u *scheduler.Call_UpdateFramework) { u.SuppressedRoles = e.Suppressed }))
	case core.Revive:
		return one(calls.ReviveWith(e.Roles))
	case core.Suppress:
		return one(calls.SuppressWith(e.Roles))
	case core.Reconcile:
		return reconcile(e.Tasks)
	}
	return nil
}

// operations launches the tasks of all apps together and each instance of a pod as a group.
func (d *Driver) operations(launches []core.Launch, frameworkID string) calls.OfferOperations {
	var tasks []mesos.TaskInfo
	var out calls.OfferOperations
	for i := range launches {
		if l := &launches[i]; l.Spec.Pod != nil {
			executor, group := d.taskGroup(l, frameworkID)
			out = append(out, calls.OpLaunchGroup(executor, group...))
		} else {
			tasks = append(tasks, d.taskInfo(l))
		}
	}
	if len(tasks) > 0 {
		out = append(out, calls.OpLaunch(tasks...))
	}
	return out
}

func one(c *scheduler.Call) []*scheduler.Call { return []*scheduler.Call{c} }

func reconcile(refs []core.TaskRef) []*scheduler.Call {
	if len(refs) == 0 {
		return one(calls.Reconcile())
	}
	var out []*scheduler.Call
	for len(refs) > 0 {
		n := min(len(refs), reconcileBatch)
		tasks := make(map[string]string, n)
		for _, r := range refs[:n] {
			tasks[string(r.Task)] = r.AgentID
		}
		out = append(out, calls.Reconcile(calls.ReconcileTasks(tasks)))
		refs = refs[n:]
	}
	return out
}

func taskID(s string) app.TaskID { return app.TaskID(s) }

func addresses(c *mesos.ContainerStatus) []app.IPAddress {
	var out []app.IPAddress
	for _, n := range c.NetworkInfos {
		for _, a := range n.IPAddresses {
			if a.IPAddress == nil || *a.IPAddress == "" {
				continue
			}
			family := "IPv4"
			if a.Protocol != nil {
				family = a.Protocol.String()
			}
			out = append(out, app.IPAddress{IPAddress: *a.IPAddress, Protocol: family})
		}
	}
	return out
}
