package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/journal"
	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/agent/sandbox"
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

// place is a sandbox that volumes are shown in.
type place struct {
	dir, parent, task string // parent and task only of a pod's task
	owner             sandbox.Owner
	mounted           bool // it has a file system of its own
}

func placeOf(ef lifecycle.Launch, owner sandbox.Owner, mounted bool) place {
	p := place{dir: ef.Directory, owner: owner, mounted: mounted}
	if ef.Nested {
		p.parent, p.task = ef.ParentDirectory, string(ef.Task)
	}
	return p
}

// showVolumes shows persistent volumes in a sandbox: as a symbolic link, or as a mount
// that only this container sees where it is to be read-only or has a root of its own.
func (e *engine) showVolumes(all []lifecycle.Volume, p place) ([]container.Mount, error) {
	dir, owner := p.dir, p.owner
	var mounts []container.Mount
	for _, v := range all {
		id := v.Resource.GetDisk().GetPersistence().GetId()
		source, err := e.disks.Path(v.Resource)
		if err != nil {
			return nil, err
		}
		if info, err := os.Stat(source); err != nil || !info.IsDir() {
			return nil, fmt.Errorf("the files of persistent volume '%s' are not at %s", id, source)
		}
		if !v.Busy && owner != sandbox.Self() {
			if err := e.disks.Own(v.Resource, owner.UID, owner.GID); err != nil {
				return nil, err
			}
		}
		at := v.Resource.GetDisk().GetVolume().GetContainerPath()
		readOnly := v.Resource.GetDisk().GetVolume().GetMode() == mesos.Volume_RO
		if at == "" || !filepath.IsLocal(at) || strings.HasSuffix(at, "..") {
			return nil, fmt.Errorf("the 'container_path' %q of persistent volume '%s' must lie in the sandbox", at, id)
		}
		e.attachVolume(p, at, source)
		if !readOnly && !p.mounted {
			if err := sandbox.Link(dir, at, source, owner); err != nil {
				return nil, err
			}
			continue
		}
		if err := sandbox.MountPoint(dir, at, source, owner); err != nil {
			return nil, err
		}
		mounts = append(mounts, container.Mount{Source: source, Target: filepath.Join(dir, at), ReadOnly: readOnly})
	}
	return mounts, nil
}

// volumeRoots remembers under which virtual paths volumes are shown to operators, by
// sandbox and, for its latest link, by the folder of runs.
type volumeRoots struct {
	mu    sync.Mutex // guards paths
	paths map[string][]string
}

// attachVolume lets operators look into a volume through the sandbox that shows it: by
// the three names of a root's (mesos-agent.md 6.5), and through the link of a pod's task.
func (e *engine) attachVolume(p place, at, source string) {
	e.roots.mu.Lock()
	defer e.roots.mu.Unlock()
	if e.roots.paths == nil {
		e.roots.paths = map[string][]string{}
	}
	show := func(owner, virtual string) {
		if virtual != "" {
			virtual = filepath.Join(virtual, at)
			e.roots.paths[owner] = append(e.roots.paths[owner], virtual)
			e.files.Attach(virtual, source)
		}
	}
	if p.parent != "" {
		show(p.parent, p.dir)
		show(p.parent, filepath.Join(p.parent, "tasks", p.task))
		return
	}
	runs := filepath.Dir(p.dir)
	show(p.dir, p.dir)
	show(runs, filepath.Join(runs, "latest"))
	show(runs, shortLatest(p.dir))
}

// forgetVolumes takes away what is shown of a sandbox, or of the latest one of a folder
// of runs.
func (e *engine) forgetVolumes(dir string) {
	e.roots.mu.Lock()
	defer e.roots.mu.Unlock()
	for _, virtual := range e.roots.paths[dir] {
		e.files.Detach(virtual)
	}
	delete(e.roots.paths, dir)
}

// share shows volumes to a custom executor that runs already, and takes back those of
// tasks that ended. The sandbox is the executor's, so only a link that still leads to the
// volume goes.
func (e *engine) share(s lifecycle.Share) error {
	for _, v := range s.Hide {
		at := v.Resource.GetDisk().GetVolume().GetContainerPath()
		source, err := e.disks.Path(v.Resource)
		if err != nil || !filepath.IsLocal(at) {
			continue
		}
		e.files.Detach(filepath.Join(s.Directory, at))
		if err := sandbox.Unlink(s.Directory, at, source); err != nil {
			e.log.Warn("the link to a volume stays", "directory", s.Directory, "path", at, "err", err)
		}
	}
	if len(s.Show) == 0 {
		return nil
	}
	for _, v := range s.Show {
		if v.Resource.GetDisk().GetVolume().GetMode() == mesos.Volume_RO && !s.Again {
			return fmt.Errorf("persistent volume '%s' is read-only, which an executor that runs already cannot be given", v.Resource.GetDisk().GetPersistence().GetId())
		}
	}
	owner, err := sandbox.OwnerOf(s.User)
	if err != nil {
		return err
	}
	_, err = e.showVolumes(s.Show, place{dir: s.Directory, owner: owner})
	return err
}

// sweepVolumes goes on with removals that an earlier run had begun.
func (e *engine) sweepVolumes(ctx context.Context) {
	e.disks.Sweep(ctx, e.info.GetResources())
}
