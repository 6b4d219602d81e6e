package main

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"time"

	"github.com/stoa-project/stoa/internal/fault"
)

// discoveryWait bounds the command of --ip_discovery_command.
const discoveryWait = 30 * time.Second

// discovered gives the value of an address flag: its own, or what the command of its
// _discovery_command prints.
func discovered(flag, value, command string) (string, error) {
	if command == "" {
		return value, nil
	}
	bad := func(why error) (string, error) {
		return "", fault.New("stoa", fault.Invalid, "--"+flag+"_discovery_command="+command, why)
	}
	if value != "" {
		return bad(errors.New("give it or --" + flag + ", not both"))
	}
	ctx, cancel := context.WithTimeout(context.Background(), discoveryWait)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		return bad(err)
	}
	if value = strings.TrimSpace(string(out)); value == "" {
		return bad(errors.New("it printed nothing"))
	}
	return value, nil
}
