package agent

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/stoa-project/stoa/agent/journal"
	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/crash"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// changesResources tells which events alter reservations and volumes: each is a batch
// of its own, so that it can be taken back when it cannot be made durable.
func changesResources(ev lifecycle.Event) bool {
	switch ev.(type) {
	case lifecycle.ApplyOperation, lifecycle.CheckpointResources:
		return true
	}
	return false
}

// alter makes a change of resources: the folders of new volumes first, then the record,
// and only then what anybody can see. Only the loop may call it.
func (e *engine) alter(ev lifecycle.Event) {
	out := e.step(ev)
	err := e.makeVolumes(out.Effects)
	if err == nil {
		crash.Here("agent.volumes-made")
		err = e.write([]lifecycle.Output{out})
		crash.Here("agent.resources-recorded")
	}
	if err != nil {
		e.failures.Add(1)
		e.log.Error("reservations and volumes stay as they were", "err", err)
		out = e.step(lifecycle.Unsaved{Message: "The agent could not keep the outcome: " + err.Error()})
		if err := e.write([]lifecycle.Output{out}); err != nil {
			e.failures.Add(1)
			e.log.Error("checkpoint failed", "err", err)
		}
	}
	for _, ef := range out.Effects {
		if _, made := ef.(lifecycle.MakeVolumes); !made {
			e.perform(ef)
		}
	}
	crash.Here("agent.operation-told")
}

func (e *engine) makeVolumes(effects []lifecycle.Effect) error {
	for _, ef := range effects {
		m, ok := ef.(lifecycle.MakeVolumes)
		if !ok {
			continue
		}
		for _, v := range m.Volumes {
			if _, err := e.disks.Make(v); err != nil {
				return err
			}
		}
	}
	return nil
}

// findVolumes looks for the volumes of the last run. One that is missing is made again,
// empty, and that is said aloud: its disk may not be mounted.
func (e *engine) findVolumes(volumes []*mesos.Resource) {
	for _, v := range volumes {
		fresh, err := e.disks.Make(v)
		path, _ := e.disks.Path(v)
		switch {
		case err != nil:
			e.log.Error("a persistent volume cannot be used", "volume", v.GetDisk().GetPersistence().GetId(), "path", path, "err", err)
		case fresh:
			e.log.Error("a persistent volume was missing and is empty now", "volume", v.GetDisk().GetPersistence().GetId(), "path", path)
		}
	}
}

// removeVolumes destroys volumes; those that left their place are told in the same turn,
// so that the next operation may make them anew.
func (e *engine) removeVolumes(volumes []*mesos.Resource) {
	var gone []*mesos.Resource
	for _, v := range volumes {
		if e.disks.Remove(e.ctx, v, func() { e.post(e.ctx, lifecycle.VolumesRemoved{Volumes: []*mesos.Resource{v}}) }) {
			gone = append(gone, v)
		}
	}
	if len(gone) > 0 {
		e.commit([]lifecycle.Output{e.step(lifecycle.VolumesRemoved{Volumes: gone})})
	}
}

// openResources reads what outlives the agent's id: reservations and volumes. It must be
// whole, and fit what the agent has now, because data depends on it.
func (e *engine) openResources() ([]lifecycle.Record, error) {
	const op = "agent.recover"
	j, losses, err := e.meta.OpenResources(e.log)
	if err != nil {
		return nil, err
	}
	e.holdings = j
	_, records, more := journal.Decode(j.Entries())
	where := filepath.Join(e.cfg.WorkDir, "meta", "resources")
	for _, l := range append(losses, more...) {
		return nil, fault.New(op, fault.Malformed, where, fmt.Errorf(
			"the record of reservations and volumes is damaged (%s): restore it, or remove the folder to start without them; their files stay", l.Reason))
	}
	for _, r := range records {
		if r.Resources == nil {
			continue
		}
		if missing := lifecycle.Unplaced(e.info.GetResources(), r.Resources.Checkpointed); len(missing) > 0 {
			return nil, fault.New(op, fault.Conflict, "--resources", fmt.Errorf(
				"reservation or volume %s has no place in them: give at least what there was, or remove %s to start without any; the files of volumes stay",
				resource.Text(missing[0]), where))
		}
	}
	return records, nil
}

// sweepVolumes goes on with removals that an earlier run had begun.
func (e *engine) sweepVolumes(ctx context.Context) {
	e.disks.Sweep(ctx, e.info.GetResources())
}
