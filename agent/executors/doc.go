// Package executors speaks with custom executors. It serves the v1 executor API, POST /api/v1/executor (mesos-agent.md 1):
// custom executors subscribe here, get their tasks and report their states.
//
// It checks calls, in Mesos' order and with its words, and turns them into events for
// the core; what the core wants an executor to hear goes onto that executor's stream.
// Each open stream is one goroutine, the one of its HTTP request. Its queue is bounded:
// an executor that stops reading loses its stream and has to subscribe again.
//
// Executors of the v0 API exchange libprocess messages with the agent's process instead
// (Old); the core decides the same for both.
package executors
