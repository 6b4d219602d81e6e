package driver

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"github.com/stoa-project/stoa/framework/app"
)

// dvdi is the one provider of external volumes: Docker volume drivers (marathon.md 2.8).
const dvdi = "dvdi/"

// volume builds a mount of the container, false for persistent volumes: those come with
// the task's resources.
func volume(a *app.App, v *app.Volume) (mesos.Volume, bool) {
	out := mesos.Volume{ContainerPath: v.ContainerPath}
	mode := mesos.RW
	if v.Mode == "RO" {
		mode = mesos.RO
	}
	switch {
	case v.HostPath != "":
		out.HostPath = ptr(v.HostPath)
	case v.External != nil:
		out.Source = &mesos.Volume_Source{Type: mesos.Volume_Source_DOCKER_VOLUME, DockerVolume: dockerVolume(v.External)}
	case v.Secret != "":
		mode = mesos.RO
		out.Source = &mesos.Volume_Source{Type: mesos.Volume_Source_SECRET, Secret: secret(a.Secrets, v.Secret)}
	default:
		return out, false
	}
	out.Mode = &mode
	return out, true
}

func dockerVolume(e *app.ExternalVolume) *mesos.Volume_Source_DockerVolume {
	out := &mesos.Volume_Source_DockerVolume{Name: e.Name}
	options := maps.Clone(e.Options)
	if e.Size != nil {
		if options == nil {
			options = app.Dict{}
		}
		options[dvdi+"size"] = strconv.Itoa(*e.Size)
	}
	params := &mesos.Parameters{}
	for _, k := range slices.Sorted(maps.Keys(options)) {
		name, ours := strings.CutPrefix(k, dvdi)
		switch {
		case !ours:
		case name == "driver":
			out.Driver = ptr(options[k])
		default:
			params.Parameter = append(params.Parameter, mesos.Parameter{Key: name, Value: strings.TrimSpace(options[k])})
		}
	}
	if len(params.Parameter) > 0 {
		out.DriverOptions = params
	}
	return out
}

// secret is a reference to one of the secrets of an app or pod: the agent's resolver finds it by its
// source. Values never pass through here.
func secret(secrets map[string]app.SecretDef, name string) *mesos.Secret {
	return &mesos.Secret{Type: mesos.Secret_REFERENCE, Reference: &mesos.Secret_Reference{Name: secrets[name].Source}}
}

// linuxInfo builds what a container of the Mesos engine sets of Linux.
func linuxInfo(l *app.LinuxInfo) *mesos.LinuxInfo {
	if l == nil || l.Seccomp == nil && l.IPCInfo == nil {
		return nil
	}
	out := &mesos.LinuxInfo{}
	if s := l.Seccomp; s != nil {
		out.Seccomp = &mesos.SeccompInfo{ProfileName: optional(s.ProfileName), Unconfined: ptr(s.Unconfined)}
	}
	if i := l.IPCInfo; i != nil {
		mode := mesos.LinuxInfo_PRIVATE
		if i.Mode == "SHARE_PARENT" {
			mode = mesos.LinuxInfo_SHARE_PARENT
		}
		out.IPCMode = &mode
		if i.ShmSize != nil {
			out.SHMSize = ptr(uint32(*i.ShmSize))
		}
	}
	return out
}
