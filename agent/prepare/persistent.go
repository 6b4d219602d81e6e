package prepare

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/agent/sandbox"
	"github.com/stoa-project/stoa/internal/crash"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// place is a sandbox that volumes are shown in.
type place struct {
	dir, parent, task string // parent and task only of a pod's task
	owner             sandbox.Owner
	mounted           bool      // it has a file system of its own
	groups            *[]uint32 // takes the groups that volumes have; nil: they belong to users
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
func (p *Preparer) showVolumes(all []lifecycle.Volume, in place) ([]container.Mount, error) {
	dir, owner := in.dir, in.owner
	var mounts []container.Mount
	for _, v := range all {
		id := v.Resource.GetDisk().GetPersistence().GetId()
		source, err := p.cfg.Disks.Path(v.Resource)
		if err != nil {
			return nil, err
		}
		if info, err := os.Stat(source); err != nil || !info.IsDir() {
			return nil, fmt.Errorf("the files of persistent volume '%s' are not at %s", id, source)
		}
		if p.cfg.Groups != nil && in.groups != nil && owner.UID != 0 {
			gid, err := p.cfg.Groups.Give(source, source, "")
			if err != nil {
				return nil, err
			}
			*in.groups = append(*in.groups, gid)
		} else if !v.Busy && owner != sandbox.Self() {
			if err := p.cfg.Disks.Own(v.Resource, owner.UID, owner.GID); err != nil {
				return nil, err
			}
		}
		at := v.Resource.GetDisk().GetVolume().GetContainerPath()
		readOnly := v.Resource.GetDisk().GetVolume().GetMode() == mesos.Volume_RO
		if at == "" || !filepath.IsLocal(at) || strings.HasSuffix(at, "..") {
			return nil, fmt.Errorf("the 'container_path' %q of persistent volume '%s' must lie in the sandbox", at, id)
		}
		p.attachVolume(in, at, source)
		if !readOnly && !in.mounted {
			if err := sandbox.Link(dir, at, source, owner); err != nil {
				return nil, err
			}
			continue
		}
		if err := sandbox.MountPoint(dir, at, source, owner); err != nil {
			return nil, err
		}
		crash.Here("agent.volume-shown")
		mounts = append(mounts, container.Mount{Source: source, Target: filepath.Join(dir, at), ReadOnly: readOnly})
	}
	return mounts, nil
}

// Share shows volumes to a custom executor that runs already, and takes back those of
// tasks that ended. The sandbox is the executor's, so only a link that still leads to the
// volume goes.
func (p *Preparer) Share(s lifecycle.Share) error {
	for _, v := range s.Hide {
		at := v.Resource.GetDisk().GetVolume().GetContainerPath()
		source, err := p.cfg.Disks.Path(v.Resource)
		if err != nil || !filepath.IsLocal(at) {
			continue
		}
		p.cfg.Files.Detach(filepath.Join(s.Directory, at))
		if err := sandbox.Unlink(s.Directory, at, source); err != nil {
			p.log.Warn("the link to a volume stays", "directory", s.Directory, "path", at, "err", err)
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
	_, err = p.showVolumes(s.Show, place{dir: s.Directory, owner: owner})
	return err
}
