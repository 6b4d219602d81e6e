package proc

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"

	"github.com/stoa-project/stoa/agent/keeper"
	"github.com/stoa-project/stoa/internal/fault"
)

// lookup finds a user with all its groups; nil for the agent's own.
func lookup(name string) (*keeper.User, error) {
	if name == "" {
		return nil, nil
	}
	bad := func(err error) (*keeper.User, error) {
		return nil, fault.New("container.Start", fault.Invalid, "user", err)
	}
	u, err := user.Lookup(name)
	if err != nil {
		if _, numeric := strconv.ParseUint(name, 10, 32); numeric == nil {
			u, err = user.LookupId(name)
		}
	}
	if err != nil {
		return bad(fmt.Errorf("no user %q on this host: create it or change the task's user", name))
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return bad(err)
	}
	if int(uid) == os.Geteuid() {
		return nil, nil
	}
	if os.Geteuid() != 0 {
		return bad(fmt.Errorf("%q is not the agent's user, and only root can change users: run the agent as root or with --no-switch_user", name))
	}
	out := &keeper.User{UID: uint32(uid), GID: uint32(gid)}
	ids, err := u.GroupIds()
	if err != nil {
		return bad(err)
	}
	for _, s := range ids {
		g, err := strconv.ParseUint(s, 10, 32)
		if err != nil {
			return bad(err)
		}
		out.Groups = append(out.Groups, uint32(g))
	}
	return out, nil
}
