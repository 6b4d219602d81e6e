package prepare

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/agent/sandbox"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// volumes makes the volumes of a container (mesos-agent.md 7.4). Without an image, what is
// writable and lies in the sandbox becomes a symbolic link, which needs no rights; what
// is read-only, or is to appear at a path of the host, becomes a mount that only this
// container sees. In an image all of them are mounts.
func (p *Preparer) volumes(ctx context.Context, ef lifecycle.Launch, owner sandbox.Owner, rooted bool, groups *[]uint32) ([]container.Mount, error) {
	var mounts []container.Mount
	for _, v := range ef.Box.GetVolumes() {
		m, err := p.volume(ctx, v, ef, owner)
		if err != nil {
			return nil, err
		}
		gid, err := p.sharedGroup(v, ef, owner, m.Source)
		if err != nil {
			return nil, err
		}
		if gid != 0 {
			*groups = append(*groups, gid)
		}
		at := v.GetContainerPath()
		switch {
		case at == "" || filepath.Clean(at) == "/":
			return nil, errors.New("a volume has no 'container_path'")
		case filepath.IsAbs(at):
			if _, err := os.Stat(at); err != nil && !rooted {
				return nil, fmt.Errorf("the volume's 'container_path' %s does not exist on this host, and the container has no image", at)
			}
			m.Target = filepath.Clean(at)
			mounts = append(mounts, m)
			continue
		case !filepath.IsLocal(at):
			return nil, fmt.Errorf("the volume's 'container_path' %s leads out of the sandbox", at)
		case rooted, gid != 0, m.ReadOnly, m.Overlay != nil, m.Shared:
			if m.Overlay != nil {
				err = sandbox.Folder(ef.Directory, at, owner)
			} else {
				err = sandbox.MountPoint(ef.Directory, at, m.Source, owner)
			}
			if err != nil {
				return nil, err
			}
			m.Target = filepath.Join(ef.Directory, at)
			mounts = append(mounts, m)
			continue
		}
		source := m.Source
		if m.Within != "" { // relative, so that it is also followed when looked at from outside
			if source, err = filepath.Rel(filepath.Dir(filepath.Join(ef.Directory, at)), source); err != nil {
				return nil, err
			}
		}
		if err := sandbox.Link(ef.Directory, at, source, owner); err != nil {
			return nil, err
		}
	}
	return mounts, nil
}

// sharedGroup gives the group of a volume of the PARENT's sandbox that is not the task's own
// user's, or of a pod's persistent volume; 0 where there is none (--volume_gid_range).
func (p *Preparer) sharedGroup(v *mesos.Volume, ef lifecycle.Launch, owner sandbox.Owner, source string) (uint32, error) {
	if p.cfg.Groups == nil || owner.UID == 0 || v.HostPath != nil || v.Image != nil || v.GetSource().GetSandboxPath().GetType() != mesos.Volume_Source_SandboxPath_PARENT {
		return 0, nil
	}
	if _, held, err := p.heldVolume(v, ef); held {
		if err != nil {
			return 0, err
		}
		return p.cfg.Groups.Give(source, source, "")
	}
	info, err := os.Stat(source)
	if err != nil || int(info.Sys().(*syscall.Stat_t).Uid) == owner.UID {
		return 0, err
	}
	base, holder := ef.ParentDirectory, parentOf(string(ef.Container))
	for range strings.Count(holder, ".") { // only the root's sandbox has no task above it
		base = filepath.Dir(filepath.Dir(base))
	}
	return p.cfg.Groups.Give(base, source, holder)
}

// volume gives the mount of a volume, but for its target.
func (p *Preparer) volume(ctx context.Context, v *mesos.Volume, ef lifecycle.Launch, owner sandbox.Owner) (container.Mount, error) {
	readOnly := v.GetMode() == mesos.Volume_RO
	if v.Image != nil && v.HostPath == nil && v.Source == nil {
		req, err := p.imageRequest(v.Image)
		if err != nil {
			return container.Mount{}, err
		}
		m, err := p.cfg.Images.Volume(ctx, string(ef.Container), req, readOnly, p.pullProgress(ef.Container, req.Name))
		if err != nil {
			return container.Mount{}, fmt.Errorf("Failed to provision image '%s' of a volume: %w", req.Name, err)
		}
		return *m, nil
	}
	if s := v.GetSource(); s.GetType() == mesos.Volume_Source_SECRET && v.HostPath == nil && v.Image == nil {
		return p.secretVolume(ef.Container, s.GetSecret(), owner)
	}
	if m, found, err := p.heldVolume(v, ef); found {
		return m, err
	}
	if s := v.GetSource(); s.GetType() == mesos.Volume_Source_DOCKER_VOLUME && v.HostPath == nil && v.Image == nil {
		m, err := p.pluginVolume(ctx, ef.Container, s.GetDockerVolume(), owner)
		m.ReadOnly = readOnly
		return m, err
	}
	source, inside, err := p.volumeSource(v, ef, owner)
	m := container.Mount{Source: source, ReadOnly: readOnly}
	if err == nil && inside {
		m.Within = ef.Directory
		if v.GetSource().GetSandboxPath().GetType() == mesos.Volume_Source_SandboxPath_PARENT {
			m.Within = ef.ParentDirectory
		}
	}
	host := v.GetSource().GetHostPath()
	m.Shared = host.GetMountPropagation().GetMode() == mesos.MountPropagation_BIDIRECTIONAL
	return m, err
}

// heldVolume gives the mount of a volume that means a persistent volume of its pod: a PARENT
// path that is the volume's own. The pod's sandbox shows it as a link there, which belongs
// to the tasks and is not followed.
func (p *Preparer) heldVolume(v *mesos.Volume, ef lifecycle.Launch) (m container.Mount, found bool, err error) {
	src := v.GetSource().GetSandboxPath()
	if !ef.Nested || v.HostPath != nil || v.Image != nil || src.GetType() != mesos.Volume_Source_SandboxPath_PARENT {
		return m, false, nil
	}
	for _, held := range ef.Volumes {
		at := held.Resource.GetDisk().GetVolume()
		if src.GetPath() == "" || filepath.Clean(at.GetContainerPath()) != filepath.Clean(src.GetPath()) {
			continue
		}
		m.Source, err = p.cfg.Disks.Path(held.Resource)
		m.ReadOnly = v.GetMode() == mesos.Volume_RO || at.GetMode() == mesos.Volume_RO
		return m, true, err
	}
	return m, false, nil
}

// unclaimed leaves out those persistent volumes at whose place in the sandbox the
// container's own description puts something, be it the same volume.
func unclaimed(ef lifecycle.Launch) []lifecycle.Volume {
	return slices.DeleteFunc(slices.Clone(ef.Volumes), func(held lifecycle.Volume) bool {
		at := filepath.Clean(held.Resource.GetDisk().GetVolume().GetContainerPath())
		return slices.ContainsFunc(ef.Box.GetVolumes(), func(v *mesos.Volume) bool { return filepath.Clean(v.GetContainerPath()) == at })
	})
}

// volumeSource gives the path on the host, and whether it lies in a sandbox.
func (p *Preparer) volumeSource(v *mesos.Volume, ef lifecycle.Launch, owner sandbox.Owner) (path string, inside bool, err error) {
	given := 0
	for _, set := range []bool{v.HostPath != nil, v.Image != nil, v.Source != nil} {
		if set {
			given++
		}
	}
	if given != 1 {
		return "", false, errors.New("a volume must have exactly one of 'host_path', 'image' and 'source'")
	}
	host := v.GetHostPath()
	switch src := v.GetSource(); {
	case v.Source != nil && src.GetType() == mesos.Volume_Source_HOST_PATH:
		host = src.GetHostPath().GetPath()
	case v.Source != nil && src.GetType() == mesos.Volume_Source_SANDBOX_PATH:
		return sandboxVolume(v, ef, owner)
	case v.Source != nil:
		return "", false, fmt.Errorf("this agent gives no volumes of type %s", src.GetType())
	}
	if !filepath.IsAbs(host) { // the old way to name a folder of the sandbox
		if !filepath.IsAbs(v.GetContainerPath()) {
			return "", false, errors.New("'container_path' is relative for SANDBOX_PATH volume SELF type")
		}
		return ownFolder(ef.Directory, host, owner)
	}
	if err := p.forceCreation(host); err != nil {
		return "", false, err
	}
	if _, err := os.Stat(host); err != nil {
		return "", false, fmt.Errorf("the volume's 'host_path' %s does not exist on this host", host)
	}
	return filepath.Clean(host), false, nil
}

// forceCreation makes the source of a volume where the operator allows that.
func (p *Preparer) forceCreation(host string) error {
	for base := range strings.SplitSeq(p.cfg.ForceCreation, ":") {
		if at, err := filepath.Rel(base, host); base != "" && err == nil && at != "." && filepath.IsLocal(at) {
			// Tasks may have made what is there: no link leads out.
			return sandbox.Folder(base, at, sandbox.Self())
		}
	}
	return nil
}

func sandboxVolume(v *mesos.Volume, ef lifecycle.Launch, owner sandbox.Owner) (string, bool, error) {
	src := v.GetSource().GetSandboxPath()
	switch src.GetType() {
	case mesos.Volume_Source_SandboxPath_SELF:
		if !filepath.IsAbs(v.GetContainerPath()) {
			return "", false, errors.New("'container_path' is relative for SANDBOX_PATH volume SELF type")
		}
		return ownFolder(ef.Directory, src.GetPath(), owner)
	case mesos.Volume_Source_SandboxPath_PARENT:
		if !ef.Nested {
			return "", false, errors.New("SANDBOX_PATH volume PARENT type only works for nested container")
		}
		return ownFolder(ef.ParentDirectory, src.GetPath(), owner)
	}
	return "", false, errors.New("a SANDBOX_PATH volume needs the type SELF or PARENT")
}

// ownFolder makes a folder below a sandbox.
func ownFolder(base, path string, owner sandbox.Owner) (string, bool, error) {
	if path == "" || !filepath.IsLocal(path) || strings.HasPrefix(path, "/") {
		return "", false, fmt.Errorf("the volume's path %q must be relative and must not lead out of the sandbox", path)
	}
	return filepath.Join(base, path), true, sandbox.Folder(base, path, owner)
}
