package ledger

import (
	"fmt"
	"time"

	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

// startPinging sends the first ping at once, as Mesos' observer does.
func (l *Ledger) startPinging(a *agent) {
	a.epoch++
	a.missed = 0
	l.ping(a)
	l.after(l.cfg.PingInterval, pingTimer, string(a.id), a.epoch)
}

func (l *Ledger) ping(a *agent) {
	connected := a.connected
	l.emit(ToAgent{Agent: a.id, PID: a.pid, Message: &messages.PingSlaveMessage{Connected: &connected}})
}

func (l *Ledger) pingDue(id AgentID, epoch uint64) {
	a := l.agents[id]
	if a == nil || a.epoch != epoch {
		return
	}
	a.missed++
	if why := l.overdue(id); why != "" {
		l.scheduleUnreachable(id, why)
	}
	l.ping(a)
	l.after(l.cfg.PingInterval, pingTimer, string(id), epoch)
}

// overdue gives the reason why an agent has been waited for long enough, or nothing.
func (l *Ledger) overdue(id AgentID) string {
	if a := l.agents[id]; a != nil {
		switch {
		case a.missed >= l.cfg.MaxMissedPings:
			return "health check timed out"
		case !a.connected && !l.now.Before(a.deadline):
			return fmt.Sprintf("agent did not reregister within %s after disconnecting", spelled(l.cfg.ReregisterTimeout))
		}
		return ""
	}
	if l.recovered[id] != nil && !l.now.Before(l.started.Add(l.cfg.ReregisterTimeout)) {
		return fmt.Sprintf("did not reregister within %s after master failover", spelled(l.cfg.ReregisterTimeout))
	}
	return ""
}

// agentExited is a broken link: no new work for the agent until it re-registers
// (mesos-master.md 2.3). Pings go on and tell it connected=false.
func (l *Ledger) agentExited(pid PID) {
	a := l.agents[l.byPID[pid]]
	if a == nil || !a.connected {
		return
	}
	l.emit(Note{Text: "agent disconnected", Agent: a.id})
	l.disconnectAgent(a)
	// Without checkpointing the agent kills these tasks itself when the link breaks.
	for _, t := range a.sortedTasks() {
		if f := l.frameworks[t.framework]; f != nil && !f.info.GetCheckpoint() {
			if !t.released {
				l.endTask(t, mesos.TaskState_TASK_LOST, mesos.TaskStatus_REASON_AGENT_DISCONNECTED,
					fmt.Sprintf("Agent %s disconnected", a.info.GetHostname()), time.Time{})
			}
			l.dropTask(t)
		}
	}
	for _, f := range l.hosted(a) {
		if !f.info.GetCheckpoint() {
			for _, key := range f.executorsOn(a) {
				l.closeExecutor(f, a, key)
			}
		}
	}
}

// disconnectAgent stops offers without forgetting anything.
func (l *Ledger) disconnectAgent(a *agent) {
	a.connected = false
	a.epoch++ // ping timers of the old connection are void
	a.generation++
	a.deadline = l.now.Add(l.cfg.ReregisterTimeout)
	l.touchAgent(a)
	l.emit(AgentClosed{Agent: a.id})
	l.rescindAgent(a)
	l.rescindInverse(a)
	l.after(l.cfg.PingInterval, pingTimer, string(a.id), a.epoch)
	l.after(l.cfg.ReregisterTimeout, overdueTimer, string(a.id), 0)
}

// overdueDue looks whether an agent has to go now.
func (l *Ledger) overdueDue(id AgentID) {
	if why := l.overdue(id); why != "" {
		l.scheduleUnreachable(id, why)
	}
}

// recoveryDue is the end of the wait for the agents that the registry remembers. When
// too many stay away, something is wrong with this master rather than with them.
func (l *Ledger) recoveryDue() {
	if len(l.recovered) == 0 {
		return
	}
	if missing := float64(len(l.recovered)) / float64(l.awaited); missing > l.cfg.RemovalLimit {
		l.emit(Abandon{Reason: fmt.Sprintf("post-recovery agent removal limit exceeded: %d of %d agents (%.4g%%) did not reregister within %s "+
			"after the failover, and recovery_agent_removal_limit is %.4g%%; find out why they stay away, or raise the limit",
			len(l.recovered), l.awaited, 100*missing, spelled(l.cfg.ReregisterTimeout), 100*max(0, l.cfg.RemovalLimit))})
		return
	}
	for _, info := range l.recoveredList() {
		l.overdueDue(AgentID(info.GetId().GetValue()))
	}
}

// spelled prints a duration as flags have it: in the largest unit that it is a multiple of.
func spelled(d time.Duration) string {
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{7 * 24 * time.Hour, "weeks"}, {24 * time.Hour, "days"}, {time.Hour, "hrs"}, {time.Minute, "mins"}, {time.Second, "secs"}, {time.Millisecond, "ms"}} {
		if d >= u.unit && d%u.unit == 0 {
			return fmt.Sprintf("%d%s", d/u.unit, u.name)
		}
	}
	return d.String()
}
