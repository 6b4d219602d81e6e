package prepare

import (
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/stoa-project/stoa/agent/check"
	"github.com/stoa-project/stoa/agent/confine"
	"github.com/stoa-project/stoa/agent/container/cgroup"
	"github.com/stoa-project/stoa/agent/container/spaces"
	"github.com/stoa-project/stoa/agent/container/tree"
	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/agent/sandbox"
)

// Aim makes the checks of a task run where the task does: in its namespaces, its network
// and its image. What target says already stays, as of containers of the Docker engine.
func (p *Preparer) Aim(target *check.Target, ef lifecycle.StartChecks) {
	if env, err := p.secretVariables(target.Env, ef.Task.GetCommand()); err == nil {
		target.Env = env
	} else { // the task has started with it, so it was there then
		p.log.Warn("the checks of a task miss a secret", "task", string(ef.Key.Task), "err", err)
	}
	p.network(target, ef.Container)
	p.within(target, ef)
	if target.Exec != nil || ef.PID == 0 {
		return
	}
	if err := p.alike(target, ef); err != nil { // better none than one that may do more
		target.Enter = func() error { return err }
	}
}

// alike confines COMMAND checks as the task is confined, and puts them into its groups.
func (p *Preparer) alike(target *check.Target, ef lifecycle.StartChecks) (err error) {
	owner, err := sandbox.OwnerOf(ef.User)
	if target.As != nil {
		owner, err = sandbox.Owner{UID: int(target.As.Uid), GID: int(target.As.Gid)}, nil
	}
	if err != nil {
		return err
	}
	target.Confine, err = p.cfg.Confine.Within(confine.Container{Box: ef.Box, Root: owner.UID == 0})
	if err != nil {
		return err
	}
	if target.Groups, err = cgroup.Of(ef.PID); err != nil {
		return err
	}
	target.OOMScore = oomScoreOf(ef.PID)
	return nil
}

// oomScoreOf reads how soon the host's OOM killer takes a process; "" when it is gone.
func oomScoreOf(pid int) string {
	raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid))
	return strings.TrimSpace(string(raw))
}

// network makes checks of a container ask in its own network.
func (p *Preparer) network(target *check.Target, id lifecycle.ContainerID) {
	if p.cfg.Networks == nil || target.Network != nil {
		return
	}
	if home := p.home(string(id)); home != "" {
		space := p.cfg.Networks.Space(home)
		target.Network = func() (string, error) { return space, nil }
		if target.Enter == nil {
			target.Enter = func() error { return spaces.Network(space, "") }
		}
	}
}

// within makes checks run in the namespaces and the image of their task. Without rights they run beside it.
func (p *Preparer) within(target *check.Target, ef lifecycle.StartChecks) {
	if target.Exec != nil || ef.PID == 0 || os.Geteuid() != 0 {
		return
	}
	stat, _ := tree.Read(ef.PID)
	target.Enter = func() error { return spaces.Enter(ef.PID, stat.Start) }
	if p.cfg.Images == nil {
		return
	}
	fs := p.cfg.Images.Lookup(string(ef.Container))
	if fs == nil || fs.Root == nil {
		return
	}
	target.Env = fs.Runtime.Environment(target.Env, p.cfg.IgnoreRuntime)
	target.Dir = fs.Runtime.Dir(p.cfg.SandboxDirectory, p.cfg.IgnoreRuntime)
	if a := accountOf(fs, ef.User); a != nil {
		target.As = &syscall.Credential{Uid: a.UID, Gid: a.GID, Groups: a.Groups}
	}
}
