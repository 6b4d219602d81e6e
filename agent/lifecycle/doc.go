// Package lifecycle is the agent's core: which frameworks, executors and tasks this
// host holds, in which state each is, and which status updates the master has not
// acknowledged yet. It is a plain value: Step takes the present time and one event
// and answers with records to make durable and effects to carry out afterwards.
//
// # Order
//
// An Output's effects may be carried out only when its records are durable, and the
// outputs of successive steps in the order they were made. That gives "durable
// before visible": a task is recorded before its process is started, a status before
// it is sent, an acknowledgement before the next status goes out.
//
// # Ownership
//
// The package decides the state of a task, the order and the ids of its updates, and
// when an update is sent again. It does not decide how a process ended: that comes in
// an Exited event, from the keeper's durable record.
//
// One goroutine owns an Agent; readers get a View, which shares only messages that
// are never changed once they are inside.
//
// # Executors
//
// A task with a command gets an executor of its own that exists only in the books
// (the process is the task itself); a task with an executor of type CUSTOM goes to
// the process of that executor over the executor API; the tasks of a group with one of type
// DEFAULT become nested containers of a root that this agent holds in the executor's
// place. Every task has one stream of
// updates: the head is sent again, 10 s to 10 min apart, until it is acknowledged.
package lifecycle
