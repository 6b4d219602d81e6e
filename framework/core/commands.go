package core

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/deploy"
	"github.com/stoa-project/stoa/internal/fault"
)

// do carries out a command and queues its reply.
func (c *Core) do(d Do) {
	c.converge() // a deployment that is done by now is in nobody's way
	var out Outcome
	var err error
	switch cmd := d.Command.(type) {
	case ChangeRoot:
		out.Plan, err = c.changeRoot(cmd, nil)
	case KillTasks:
		out, err = c.killTasks(cmd)
	case CancelDeployment:
		out.Plan, err = c.cancelDeployment(cmd)
	case ResetDelay:
		l := c.lines[cmd.App]
		if l == nil || l.scheduled == 0 && len(l.delays) == 0 {
			err = fault.New("reset delay", fault.NotFound, string(cmd.App), errors.New("the app is not in the launch queue"))
			break
		}
		c.resetDelay(l)
	default:
		err = fault.New("command", fault.Unsupported, fmt.Sprintf("%T", cmd), nil)
	}
	if err != nil {
		out = Outcome{}
	}
	c.emit(Reply{Token: d.Token, Outcome: out, Err: err})
}

// changeRoot makes the change of the tree a running deployment.
func (c *Core) changeRoot(cmd ChangeRoot, sentenced map[app.PathID][]app.InstanceID) (*deploy.Plan, error) {
	version := c.nextVersion()
	plan, root, err := c.prepare(cmd, sentenced, version)
	if err != nil {
		if !cmd.DryRun {
			c.publish(GroupChanged{At: c.at(), Group: cmd.Group, Version: version, Reason: err.Error()})
		}
		return nil, err
	}
	if cmd.DryRun {
		return plan, nil
	}
	for _, d := range c.conflicts(plan) {
		c.cancel(d, "The upgrade has been cancelled")
	}
	c.version = version
	c.adopt(root, plan)
	c.publish(GroupChanged{At: c.at(), Group: cmd.Group, Version: version})
	c.start(plan)
	return plan, nil
}

// prepare computes the new tree and its plan and refuses what cannot be done; it changes nothing.
func (c *Core) prepare(cmd ChangeRoot, sentenced map[app.PathID][]app.InstanceID, version app.Timestamp) (*deploy.Plan, *app.Group, error) {
	root, err := cmd.Edit(c.root, c, version)
	if err != nil {
		return nil, nil, err
	}
	plan, err := c.plan(root, version, cmd.Restart)
	if err != nil {
		return nil, nil, err
	}
	plan.Sentenced = sentenced
	if cmd.DryRun {
		return plan, root, nil
	}
	for _, ch := range plan.Changes {
		if !cmd.Force && ch.Old != nil && ch.New != nil && ch.Old.App != nil && ch.New.App != nil {
			if err := app.CheckRoleChange(ch.Old.App, ch.New.App); err != nil {
				return nil, nil, err
			}
		}
	}
	if locked := c.conflicts(plan); len(locked) > 0 && !cmd.Force {
		l := &Locked{}
		for _, d := range locked {
			l.Deployments = append(l.Deployments, d.plan.ID)
		}
		return nil, nil, l
	}
	if len(c.running) >= c.cfg.MaxDeployments {
		return nil, nil, fault.New("deploy", fault.Forbidden, "max_running_deployments", fmt.Errorf(
			"%d deployments are running and --max_running_deployments allows %d: wait for one to end, or cancel one", len(c.running), c.cfg.MaxDeployments))
	}
	if err := c.fits(plan); err != nil {
		return nil, nil, err
	}
	return plan, root, nil
}

// maxPath bounds an id in bytes, so that keys made of it fit the store.
const maxPath = 800

// fits refuses early what the store could not hold: a definition must fit one record,
// while trees and plans only name versions and may be as large as the API's bodies.
func (c *Core) fits(plan *deploy.Plan) error {
	check := func(what string, v any) error {
		b, err := json.Marshal(v)
		if err != nil {
			return fault.New("deploy", fault.Invalid, what, err)
		}
		if len(b) > c.cfg.MaxRecord {
			return fault.New("deploy", fault.TooLarge, what, fmt.Errorf(
				"its record would have %d bytes and the limit is %d: split it, or move data out of it", len(b), c.cfg.MaxRecord))
		}
		return nil
	}
	for _, ch := range plan.Changes {
		if len(ch.ID) > maxPath {
			return fault.New("deploy", fault.TooLarge, "id", fmt.Errorf("it has %d bytes and the limit is %d: shorten it", len(ch.ID), maxPath))
		}
		if ch.New != nil && !(ch.New.App != nil && ch.New.App.Small() && c.cfg.MaxRecord >= app.SmallRecord) {
			if err := check(ch.New.Kind()+" "+string(ch.ID), ch.New.Record()); err != nil {
				return err
			}
		}
	}
	return nil
}

// conflicts lists running deployments that work on an app of the plan.
func (c *Core) conflicts(plan *deploy.Plan) []*deployment {
	var out []*deployment
	for _, d := range c.running {
		if slices.ContainsFunc(d.plan.Changes, func(ch deploy.Change) bool {
			_, found := slices.BinarySearchFunc(plan.Changes, ch.ID, byID)
			return found
		}) {
			out = append(out, d)
		}
	}
	return out
}

func byID(ch deploy.Change, id app.PathID) int {
	switch {
	case ch.ID < id:
		return -1
	case ch.ID > id:
		return 1
	}
	return 0
}

// adopt makes a tree the present root and records what is new in it.
func (c *Core) adopt(root *app.Group, plan *deploy.Plan) {
	c.root = root
	rv := rootVersion{group: root}
	for _, ch := range plan.Changes {
		rv.changed = append(rv.changed, ch.ID)
		l := c.line(ch.ID)
		l.spec = ch.New
		c.retireChecks(l)
		c.dirty.mark(ch.ID)
		if ch.New != nil {
			c.inRole(ch.New.Role)
			c.versions[ch.ID] = append(c.versions[ch.ID], ch.New)
			c.out.change(Change{Key: specKey(ch.New), Value: ch.New.Record()})
		}
	}
	if n := len(c.roots); n > 0 && c.roots[n-1].group.Version == root.Version {
		return // an edit that changed nothing
	}
	c.roots = append(c.roots, rv)
	c.out.change(Change{Key: rootKey(root.Version), Value: RootRecord{Root: groupRecord(root), Changed: rv.changed}})
	c.dirty.any = true
	c.prune(rv.changed, plan)
}

// killTasks is the command of that name.
func (c *Core) killTasks(cmd KillTasks) (Outcome, error) {
	var out Outcome
	var victims []*instance
	perApp := map[app.PathID][]app.InstanceID{}
	for _, id := range cmd.Instances {
		i := c.instances[id]
		if i == nil || slices.Contains(perApp[i.line.id], id) {
			continue
		}
		victims = append(victims, i)
		out.Killed = append(out.Killed, i.view)
		perApp[i.line.id] = append(perApp[i.line.id], id)
	}
	if cmd.Scale {
		var err error
		out.Plan, err = c.changeRoot(ChangeRoot{Group: app.Root, Force: cmd.Force, Edit: lower(perApp)}, perApp)
		return out, err
	}
	for _, i := range victims {
		switch {
		case cmd.Wipe || i.view.Reservation == nil && i.view.Condition.Lost():
			c.decommission(i)
		case !i.idle() && !i.view.Lost():
			c.kill(i)
		}
	}
	return out, nil
}

// lower is the edit that takes killed instances off their apps' counts.
func lower(killed map[app.PathID][]app.InstanceID) Edit {
	return func(old *app.Group, _ History, version app.Timestamp) (*app.Group, error) {
		root := old
		for _, id := range sortedKeys(killed) {
			if p := root.Pod(id); p != nil {
				cp := *p
				cp.Scaling.Instances = max(0, p.Scaling.Instances-len(killed[id]))
				cp.Version, cp.VersionInfo.LastScalingAt = version, version
				root = root.PutPod(&cp, version)
				continue
			}
			a := root.App(id)
			if a == nil {
				continue
			}
			cp := *a
			cp.Instances = max(0, a.Instances-len(killed[id]))
			cp.Version, cp.VersionInfo.LastScalingAt = version, version
			root = root.PutApp(&cp, version)
		}
		if root == old {
			cp := *old
			cp.Version = version
			root = &cp
		}
		return root, nil
	}
}

// cancelDeployment is the command of that name.
func (c *Core) cancelDeployment(cmd CancelDeployment) (*deploy.Plan, error) {
	at := slices.IndexFunc(c.running, func(d *deployment) bool { return d.plan.ID == cmd.ID })
	if at < 0 {
		return nil, fault.New("cancel deployment", fault.NotFound, cmd.ID, fmt.Errorf("DeploymentPlan %s does not exist", cmd.ID))
	}
	d := c.running[at]
	if cmd.Force {
		c.cancel(d, "The upgrade has been cancelled")
		return nil, nil
	}
	return c.changeRoot(ChangeRoot{Group: app.Root, Force: true, Edit: func(old *app.Group, _ History, version app.Timestamp) (*app.Group, error) {
		return c.revert(d.plan, old, version)
	}}, nil)
}

// prune drops old versions of the changed apps and of the root that nothing needs.
func (c *Core) prune(changed []app.PathID, coming *deploy.Plan) {
	for len(c.roots) > c.cfg.MaxVersions {
		c.out.change(Change{Key: rootKey(c.roots[0].group.Version)})
		changed = append(slices.Clone(changed), c.roots[1].changed...)
		c.roots = slices.Delete(c.roots, 0, 1)
	}
	for _, id := range changed {
		c.pruneApp(id, coming)
	}
}

// planOf is the plan that works on an app, nil when there is none.
func (c *Core) planOf(id app.PathID) *deploy.Plan {
	if d := c.locks[id]; d != nil {
		return d.plan
	}
	return nil
}

// pruneApp drops versions of an app that no kept root, instance or plan needs, and that
// are not among the newest; coming is a plan about to start, or nil.
func (c *Core) pruneApp(id app.PathID, coming *deploy.Plan) {
	vs := c.versions[id]
	l := c.lines[id]
	gone := l == nil || l.spec == nil
	if !gone && len(vs) <= c.cfg.MaxVersions {
		return
	}
	needed := map[app.Timestamp]bool{}
	for _, r := range c.roots {
		if a := r.group.App(id); a != nil {
			needed[a.Version] = true
		}
		if p := r.group.Pod(id); p != nil {
			needed[p.Version] = true
		}
	}
	if l != nil {
		for _, i := range l.instances {
			needed[i.view.AppVersion] = true
		}
	}
	for _, p := range []*deploy.Plan{coming, c.planOf(id)} {
		if p == nil {
			continue
		}
		if ch := p.Change(id); ch != nil {
			for _, a := range []*app.RunSpec{ch.Old, ch.New} {
				if a != nil {
					needed[a.Version] = true
				}
			}
		}
	}
	keep := vs[:0:0]
	for k, a := range vs {
		if needed[a.Version] || !gone && k >= len(vs)-c.cfg.MaxVersions {
			keep = append(keep, a)
			continue
		}
		c.out.change(Change{Key: specKey(a)})
	}
	if len(keep) == 0 {
		delete(c.versions, id)
		return
	}
	c.versions[id] = keep
}
