// Package fleet is N simulated agents behind one address: process ids slave(1) to
// slave(N) of one libprocess transport, which register, answer pings, run tasks without
// a process, and send status updates until they are acknowledged (libprocess.md 3.1 to
// 3.11 and 6.3). A master cannot tell them from agents of one host.
//
// # What an agent keeps
//
// Its id, its tasks as encoded records, and the updates that wait. Descriptions of
// frameworks are shared by all agents. No agent has a goroutine: messages are handled
// on the transport's mailbox goroutines, time comes from one wheel.
//
// # What is simulated
//
// A task is TASK_STARTING, then TASK_RUNNING, and TASK_FINISHED after the configured
// time, if any. Kills and shutdowns end it. A task with an executor of its own makes
// that executor run for as long as it has tasks. Reservations and volumes are kept as
// the master tells them; operations on them are applied at once, and
// their outcome is repeated until it is acknowledged. A drained agent kills its tasks
// and takes no new ones until it is empty.
//
// # Goroutines
//
// Run starts the transport, the wheel's ticker and the watcher of the leading master.
// All state is guarded by one mutex; sending only queues, so it is never held for long.
package fleet
