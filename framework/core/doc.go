// Package core is the one state of the framework: what the user wants, the running
// deployments, every instance and the launch queue. It is a plain value without clock,
// net, disk, goroutine or log: Step takes an input (a command, an offer, a status
// update, a probe result, a tick, word that a batch is durable) and returns effects
// for the shells around it.
//
// Durable before visible. Changes and effects of steps gather in a round. When no batch
// is being written the round closes: its changes become one batch, and its effects are
// given out, in order, once that batch is durable. So an instance record is written
// before its ACCEPT, a status before its ACKNOWLEDGE, a version before its reply, and a
// reader's Snapshot never shows what a crash could undo.
package core
