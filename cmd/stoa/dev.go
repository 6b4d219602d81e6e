package main

import "errors"

type devCmd struct{}

// Run is replaced when the room's door exists.
func (devCmd) Run(p *process) error { return errors.New("dev: no door yet") }
