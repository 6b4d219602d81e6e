// Package confine decides what the processes of a container are confined by: resource
// limits, capabilities, a system call filter, no_new_privs, PID and IPC namespaces
// (mesos-agent.md 7.2 and 7.9). It reads the isolators that are on, the operator's flags
// and what the container asks for; package box carries it out.
package confine

import (
	"errors"
	"fmt"

	"github.com/stoa-project/stoa/agent/container/seccomp"
	"github.com/stoa-project/stoa/agent/keeper/box"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Config is what the operator wants; names as the flags' and the isolators'.
type Config struct {
	Rlimits      bool // posix/rlimits
	Capabilities bool // linux/capabilities
	Seccomp      bool // linux/seccomp
	NoNewPrivs   bool // linux/nnp
	PID          bool // namespaces/pid
	IPC          bool // namespaces/ipc

	EffectiveCapabilities *mesos.CapabilityInfo // of containers that ask for none; nil: as the user has them
	BoundingCapabilities  *mesos.CapabilityInfo // the most that one may ask for; nil: EffectiveCapabilities, or all
	SeccompConfigDir      string                // empty: there is the built-in profile only
	SeccompProfileName    string                // of containers that name none; empty: the built-in one
	DefaultShmSize        uint64                // bytes; 0: the kernel's default
	DisallowPID           bool                  // a root container may not share the agent's PID namespace
	DisallowIPC           bool                  // nor its IPC namespace
}

// Rules answers for each container. It may be used by several goroutines.
type Rules struct {
	cfg      Config
	profiles *seccomp.Profiles
}

// New checks the flags; an error is fault.Invalid and names the flag.
func New(cfg Config) (*Rules, error) {
	bad := func(flag string, err error) (*Rules, error) { return nil, fault.New("agent", fault.Invalid, flag, err) }
	if e, b := cfg.EffectiveCapabilities, cfg.BoundingCapabilities; e != nil && b != nil {
		if extra := mask(e) &^ mask(b); extra != 0 {
			return bad("--effective_capabilities", fmt.Errorf("%s are not among --bounding_capabilities", names(extra)))
		}
	}
	r := &Rules{cfg: cfg, profiles: seccomp.New(cfg.SeccompConfigDir)}
	if cfg.SeccompProfileName == "" {
		r.cfg.SeccompProfileName = seccomp.Default
	}
	if cfg.Seccomp {
		if _, err := r.profiles.Program(r.cfg.SeccompProfileName, nil); err != nil {
			return bad("--seccomp_profile_name", err)
		}
	}
	return r, nil
}

// Container is what decides about one container.
type Container struct {
	Box     *mesos.ContainerInfo // may be nil
	Root    bool                 // its processes are root's
	Parent  string               // id of the container that it is nested in; empty for a root container
	Session bool                 // it runs in its parent's namespaces
	Image   bool                 // it has a root file system of its own
}

// For gives what a container is confined by; nil for nothing. Errors are sentences for
// the framework.
func (r *Rules) For(c Container) (*box.Confine, error) {
	out := &box.Confine{NoNewPrivs: r.cfg.NoNewPrivs}
	for _, part := range []func(Container, *box.Confine) error{r.rlimits, r.capabilities, r.seccomp, r.processes, r.memory} {
		if err := part(c, out); err != nil {
			return nil, err
		}
	}
	if out.JoinPID || out.JoinIPC || out.JoinShm {
		out.Join = c.Parent
	}
	if !out.PID && !out.IPC && out.Join == "" && free(out) {
		return nil, nil
	}
	return out, nil
}

// Within gives what a process is confined by that joins a running container and is to be
// like those in it, as checks are: all but the namespaces, which it enters. nil for nothing.
func (r *Rules) Within(c Container) (*box.Confine, error) {
	out := &box.Confine{NoNewPrivs: r.cfg.NoNewPrivs}
	for _, part := range []func(Container, *box.Confine) error{r.rlimits, r.capabilities, r.seccomp} {
		if err := part(c, out); err != nil {
			return nil, err
		}
	}
	if free(out) {
		return nil, nil
	}
	return out, nil
}

// free tells whether nothing is confined but namespaces.
func free(c *box.Confine) bool {
	return !c.NoNewPrivs && len(c.Rlimits) == 0 && c.Capabilities == nil && len(c.Seccomp) == 0
}

// seccomp chooses a filter: the container's, none for an unconfined one, the operator's.
func (r *Rules) seccomp(c Container, out *box.Confine) error {
	if !r.cfg.Seccomp {
		return nil
	}
	name := r.cfg.SeccompProfileName
	if s := c.Box.GetLinuxInfo().GetSeccomp(); s != nil {
		switch {
		case s.GetUnconfined() && s.ProfileName != nil:
			return errors.New("Invalid Seccomp configuration: 'profile_name' given even though 'unconfined' Seccomp setting is enabled")
		case s.GetUnconfined():
			return nil
		case s.ProfileName == nil:
			return errors.New("Missing Seccomp profile name")
		}
		name = s.GetProfileName()
	}
	// What capabilities a process can come to decides about some system calls.
	held := uint64(0)
	switch {
	case out.Capabilities != nil:
		held = out.Capabilities.Bounding
	case c.Root:
		held = allCapabilities
	}
	program, err := r.profiles.Program(name, kernelNames(held))
	out.Seccomp = program
	return err
}

// processes decides about the PID namespace.
func (r *Rules) processes(c Container, out *box.Confine) error {
	shared := c.Box.GetLinuxInfo().GetSharePidNamespace()
	switch {
	case !r.cfg.PID || c.Session:
	case !shared:
		out.PID = true
	case c.Parent != "":
		out.JoinPID = true
	case r.cfg.DisallowPID:
		return errors.New("Sharing agent pid namespace with top-level container is not allowed")
	}
	return nil
}

// memory decides about the IPC namespace and /dev/shm.
func (r *Rules) memory(c Container, out *box.Confine) error {
	if !r.cfg.IPC {
		return nil
	}
	info := c.Box.GetLinuxInfo()
	mode := info.GetIpcMode()
	private := mode == mesos.LinuxInfo_PRIVATE
	size := r.cfg.DefaultShmSize
	if info != nil && info.ShmSize != nil {
		if !private {
			return errors.New("Only support specifying the size of /dev/shm when the IPC mode is `PRIVATE`")
		}
		size = uint64(info.GetShmSize()) << 20
	}
	switch {
	case c.Session && private:
		return errors.New("Private IPC mode is not supported for DEBUG containers")
	case c.Session:
	case private:
		out.IPC, out.Shm, out.ShmSize = true, true, size
	case c.Parent != "":
		out.JoinIPC = true
		out.JoinShm = mode == mesos.LinuxInfo_SHARE_PARENT
	case mode == mesos.LinuxInfo_SHARE_PARENT && r.cfg.DisallowIPC:
		return errors.New("Sharing agent IPC namespace with top-level container is not allowed")
	case mode == mesos.LinuxInfo_SHARE_PARENT:
	default: // the agent's /dev/shm stays, but where a root of its own brings one
		out.IPC = true
		out.Shm, out.ShmSize = c.Image && size > 0, size
	}
	return nil
}
