// Package core is the one state of the framework: what the user wants, the running
// deployments, every instance and the launch queue. It is a plain value without clock,
// net, disk, goroutine or log: Step takes an input (a command, an offer, a status
// update, a probe result, a tick, word that a batch is durable) and returns effects
// for the shells around it.
//
// Durable before visible. Whatever a step changes goes into the batch that grows; at
// most one batch is being written. The effects of a step are held back, in order,
// until every change of that step and of the steps before it is durable. So an
// instance record is written before its ACCEPT, a status before its ACKNOWLEDGE, a
// version before its reply, and a reader's Snapshot never shows what a crash could undo.
package core
