package prepare

import (
	"slices"
	"strings"

	"github.com/stoa-project/stoa/agent/confine"
	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/executors"
	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/agent/sandbox"
)

// confined adds to a container what the operator and the framework want it confined by,
// where the Docker engine has ways of its own, and to an executor its token.
func (p *Preparer) confined(ef lifecycle.Launch, spec *container.Spec) error {
	if key := p.cfg.ExecutorKey; len(key) > 0 && ef.Task == "" && !ef.Nested {
		token, err := executors.Token(key, ef.Key, ef.Container)
		if err != nil {
			return err
		}
		spec.Env = append(slices.Clip(spec.Env), "MESOS_EXECUTOR_AUTHENTICATION_TOKEN="+token)
	}
	spec.Logs = p.cfg.Logs.For(ef.Command.GetEnvironment())
	if ef.Docker {
		return nil
	}
	owner, err := sandbox.OwnerOf(ef.User)
	if a := spec.Account; a != nil {
		owner, err = sandbox.Owner{UID: int(a.UID), GID: int(a.GID)}, nil
	}
	if err != nil {
		return err
	}
	p.keepWithin(spec.Mounts)
	c := confine.Container{Box: ef.Box, Root: owner.UID == 0, Session: ef.Session, Image: ef.Box.GetMesos().GetImage() != nil}
	if ef.Nested {
		c.Parent = parentOf(string(ef.Container))
	}
	spec.Confine, err = p.cfg.Confine.For(c)
	return err
}

// parentOf gives the id of the container that another one is nested in: all but the last part.
func parentOf(id string) string {
	at := strings.LastIndexByte(id, '.')
	if at < 0 {
		return ""
	}
	return id[:at]
}
