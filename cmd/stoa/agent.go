package main

import "errors"

type agentCmd struct{}

// Run is replaced when the room's door exists.
func (agentCmd) Run(p *process) error { return errors.New("agent: no door yet") }
