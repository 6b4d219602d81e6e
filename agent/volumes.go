package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/agent/sandbox"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// volumes makes the volumes of a container without an image (mesos-agent.md 7.4). What
// is writable and lies in the sandbox becomes a symbolic link, which needs no rights; what
// is read-only, or is to appear at a path of the host, becomes a mount that only this
// container sees.
func (e *engine) volumes(ef lifecycle.Launch, owner sandbox.Owner) ([]container.Mount, error) {
	var mounts []container.Mount
	for _, v := range ef.Box.GetVolumes() {
		source, inside, err := volumeSource(v, ef, owner)
		if err != nil {
			return nil, err
		}
		at := v.GetContainerPath()
		readOnly := v.GetMode() == mesos.Volume_RO
		switch {
		case at == "":
			return nil, errors.New("a volume has no 'container_path'")
		case filepath.IsAbs(at):
			if _, err := os.Stat(at); err != nil {
				return nil, fmt.Errorf("the volume's 'container_path' %s does not exist on this host, and the container has no image", at)
			}
			mounts = append(mounts, container.Mount{Source: source, Target: at, ReadOnly: readOnly})
			continue
		case !filepath.IsLocal(at):
			return nil, fmt.Errorf("the volume's 'container_path' %s leads out of the sandbox", at)
		case readOnly:
			if err := sandbox.MountPoint(ef.Directory, at, source, owner); err != nil {
				return nil, err
			}
			mounts = append(mounts, container.Mount{Source: source, Target: filepath.Join(ef.Directory, at), ReadOnly: true})
			continue
		}
		if inside { // relative, so that it is also followed when looked at from outside
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

// volumeSource gives the path on the host, and whether it lies in a sandbox.
func volumeSource(v *mesos.Volume, ef lifecycle.Launch, owner sandbox.Owner) (path string, inside bool, err error) {
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
	case v.Image != nil:
		return "", false, errors.New("this agent gives no volumes made from images")
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
	if _, err := os.Stat(host); err != nil {
		return "", false, fmt.Errorf("the volume's 'host_path' %s does not exist on this host", host)
	}
	return filepath.Clean(host), false, nil
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
