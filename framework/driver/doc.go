// Package driver is the framework's Mesos scheduler client, on mesos-go: it finds the
// leading master, keeps one subscription, turns offers and updates into the core's
// inputs and the core's effects into calls, in order.
//
// Known defects of the library are kept away from: it is pointed at the leader's own
// address and never follows redirects (it would follow only for SUBSCRIBE), and it gets
// no other endpoint to try after an error (it would swallow the error).
package driver
