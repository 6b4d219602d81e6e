// Package load is a scheduler that measures a master: it launches a number of tasks
// through offers of the v1 scheduler API, acknowledges every update, and reports
// throughput and latencies. It knows nothing of one particular master.
//
// # What is measured
//
// A task counts as running when its TASK_RUNNING was received and acknowledged. Launch
// latency is from writing the ACCEPT to receiving TASK_RUNNING. Offer latency is from
// the moment an agent's rest is given back (an ACCEPT with refuse_seconds 0) to the next
// offer of that agent to the same framework. Throughput counts from the moment all
// frameworks are subscribed to the last acknowledgement's answer.
//
// # Goroutines
//
// One per framework owns its state; one more reads its event stream. Calls go over a few
// pipelined connections, each with a writer and a reader of answers.
package load
