package check

import "time"

// Health is what is known of one task's health. It is a plain value: time is always an
// argument (mesos-agent.md 5.1, 5.3).
type Health struct {
	spec     Spec
	since    time.Time // start of checking
	ever     bool      // there was a success
	failures int       // counted ones in a row
}

// Verdict is what one probe means.
type Verdict struct {
	Tell    bool // send TASK_RUNNING with Healthy
	Healthy bool
	Kill    bool // the task has failed too often in a row
	Count   int  // counted failures in a row
}

// NewHealth begins checking at start, the time of TASK_RUNNING.
func NewHealth(spec Spec, start time.Time) Health { return Health{spec: spec, since: start} }

// Observe takes the result of one probe that ended at now. Failures before the grace
// period is over do not count while there was no success. The first success, each
// counted failure and the first success after one are told.
func (h *Health) Observe(now time.Time, healthy bool) Verdict {
	if healthy {
		tell := !h.ever || h.failures > 0
		h.ever, h.failures = true, 0
		return Verdict{Tell: tell, Healthy: true}
	}
	if !h.ever && now.Sub(h.since) < h.spec.Grace {
		return Verdict{}
	}
	h.failures++
	return Verdict{Tell: true, Kill: h.failures >= max(1, h.spec.Failures), Count: h.failures}
}

// First gives the time of the first probe.
func (s Spec) First(start time.Time) time.Time { return start.Add(s.Delay) }

// Next gives the time of the probe that follows one that ended at now.
func (s Spec) Next(now time.Time) time.Time { return now.Add(s.Interval) }
