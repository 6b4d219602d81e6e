package prepare

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// forbiddenPath says which path of the host a container wants to see that is not below
// one of --allowed_host_paths; nil when that is empty, which allows all.
func (p *Preparer) forbiddenPath(box *mesos.ContainerInfo) error {
	if len(p.cfg.AllowedHostPaths) == 0 {
		return nil
	}
	var wanted []string
	for _, v := range box.GetVolumes() {
		wanted = append(wanted, v.GetHostPath())
		if s := v.GetSource(); s.GetType() == mesos.Volume_Source_HOST_PATH {
			wanted = append(wanted, s.GetHostPath().GetPath())
		}
	}
	for _, p := range box.GetDocker().GetParameters() {
		switch p.GetKey() {
		case "volume", "v":
			from, _, _ := strings.Cut(p.GetValue(), ":")
			wanted = append(wanted, from)
		case "mount", "volumes-from", "device":
			return fmt.Errorf("the Docker parameter %q is not allowed on this agent, which limits the paths of the host", p.GetKey())
		}
	}
	for _, path := range wanted {
		if !filepath.IsAbs(path) {
			continue // in the sandbox, or a volume's name
		}
		real, err := filepath.EvalSymlinks(path)
		if err != nil {
			real = filepath.Clean(path) // not there yet; what makes it decides
		}
		if p.allowedAbove(real) == "" {
			return fmt.Errorf("the path %s of the host is not below one of --allowed_host_paths: %s", path, strings.Join(p.cfg.AllowedHostPaths, ", "))
		}
	}
	return nil
}

// allowedAbove gives the allowed path that another one lies in; "" when there is none.
func (p *Preparer) allowedAbove(path string) string {
	for _, a := range p.cfg.AllowedHostPaths {
		if a == "/" || path == a || strings.HasPrefix(path, a+"/") {
			return a
		}
	}
	return ""
}

// keepWithin makes mounts of allowed paths refuse links that lead out of them, also those
// that a task puts in the way after they were looked at.
func (p *Preparer) keepWithin(mounts []container.Mount) {
	for i := range mounts {
		m := &mounts[i]
		if above := p.allowedAbove(m.Source); above != "" && above != "/" && m.Within == "" && m.Overlay == nil {
			m.Within = above
		}
	}
}

// ReadHostPaths reads --allowed_host_paths: absolute paths of what is there; links in them are followed.
func ReadHostPaths(all []string) ([]string, error) {
	var out []string
	for _, path := range all {
		if path = strings.TrimSpace(path); path == "" {
			continue
		}
		if !filepath.IsAbs(path) {
			return nil, fmt.Errorf("%q is not an absolute path", path)
		}
		real, err := filepath.EvalSymlinks(path)
		if err != nil {
			return nil, err
		}
		out = append(out, real)
	}
	return out, nil
}
