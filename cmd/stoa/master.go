package main

import "errors"

type masterCmd struct{}

// Run is replaced when the room's door exists.
func (masterCmd) Run(p *process) error { return errors.New("master: no door yet") }
