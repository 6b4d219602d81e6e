package main

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/stoa-project/stoa/agent/keeper"
	"github.com/stoa-project/stoa/internal/heap"
)

type keeperCmd struct {
	RuntimeDir string `name:"runtime_dir" required:"" env:"STOA_KEEPER_DIR" help:"Folder of socket, log and records; one keeper each."`
}

// Run keeps tasks until it is asked to end. A keeper that finds another one running ends
// with code 3, by which the agent that started it knows.
func (c keeperCmd) Run(p *process) error {
	dir, err := filepath.Abs(c.RuntimeDir)
	if err != nil {
		return err
	}
	go heap.Trim(p.ctx)
	err = keeper.New(keeper.Config{Dir: dir}, p.log).Run(p.ctx)
	if errors.Is(err, keeper.ErrRunning) {
		p.log.Info("not needed", "reason", err)
		os.Exit(keeper.ExitRunning)
	}
	return err
}
