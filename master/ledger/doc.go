// Package ledger is the master's one book: which agents are admitted, which
// frameworks are subscribed, which tasks run, who holds which offer. It is a core: a
// plain value whose Step takes the time and one event and answers with effects; it
// knows no clock, socket, disk or goroutine, and the same events give the same
// effects.
//
// Sole writer of: agents, frameworks, tasks, executors and offers. What must be
// durable before it is visible waits inside for the RegistryDone event that answers
// a Registry effect. Who gets which resources is decided by the allocator (another
// core); its grants come in as an event and are checked again here, so that no agent
// is ever promised twice.
package ledger
