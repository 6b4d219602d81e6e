package agent

import (
	"strings"

	"github.com/stoa-project/stoa/agent/confine"
	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/agent/sandbox"
)

// confined adds to a container what the operator and the framework want it confined by.
// The Docker engine has ways of its own.
func (e *engine) confined(ef lifecycle.Launch, spec container.Spec) (container.Spec, error) {
	if ef.Docker || e.confine == nil {
		return spec, nil
	}
	if ef.Session {
		spec.Inside = container.ID(ef.Inside)
	}
	owner, err := sandbox.OwnerOf(ef.User)
	if err != nil {
		return spec, err
	}
	c := confine.Container{Box: ef.Box, Root: owner.UID == 0, Session: ef.Session, Image: ef.Box.GetMesos().GetImage() != nil}
	if ef.Nested {
		c.Parent = parentOf(string(ef.Container))
	}
	spec.Confine, err = e.confine.For(c)
	return spec, err
}

// parentOf gives the id of the container that another one is nested in: all but the last part.
func parentOf(id string) string {
	at := strings.LastIndexByte(id, '.')
	if at < 0 {
		return ""
	}
	return id[:at]
}
