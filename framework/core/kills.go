package core

import (
	"time"

	"github.com/stoa-project/stoa/framework/app"
)

// killList holds the tasks to kill until they are seen ended (marathon.md 7.7). At most
// Config.KillsInFlight are under way; each is repeated until a terminal status comes.
type killList struct {
	wait   []app.TaskID // not sent yet, oldest first; may name tasks that are done
	tasks  map[app.TaskID]*pendingKill
	flying int
	again  int // repetitions of the kills in flight
}

type pendingKill struct {
	instance app.InstanceID
	agent    string
	sent     time.Time // zero before the first
	again    int       // repetitions
}

// kill asks for the end of the instance's present tasks; asking again does nothing.
func (c *Core) kill(i *instance) {
	for k := range i.view.TaskCount() {
		id := i.view.TaskIDAt(k)
		if c.kills.tasks[id] != nil || i.view.Tasks != nil && i.view.Tasks[k].Condition.Terminal() {
			continue
		}
		if c.kills.tasks == nil {
			c.kills.tasks = map[app.TaskID]*pendingKill{}
		}
		c.touch(i)
		c.kills.tasks[id] = &pendingKill{instance: i.view.ID, agent: i.view.AgentID}
		c.kills.wait = append(c.kills.wait, id)
	}
	c.kills.send(c)
}

// send starts kills while there is room and a master to ask.
func (k *killList) send(c *Core) {
	for len(k.wait) > 0 && k.flying < c.cfg.KillsInFlight && c.master != "" {
		id := k.wait[0]
		k.wait = k.wait[1:]
		p := k.tasks[id]
		if p == nil || !p.sent.IsZero() {
			continue
		}
		k.flying++
		p.sent = c.now
		c.emit(Kill{Task: id, AgentID: p.agent})
	}
}

// done drops a kill whose task ended or is no longer ours to end.
func (k *killList) done(c *Core, id app.TaskID) {
	p := k.tasks[id]
	if p == nil {
		return
	}
	delete(k.tasks, id)
	if i := c.instances[p.instance]; i != nil {
		c.touch(i)
	}
	if !p.sent.IsZero() {
		k.flying--
	}
	k.again -= p.again
	k.send(c)
}

// retry repeats kills that had no answer for Config.KillRetry.
func (k *killList) retry(c *Core) {
	if c.master == "" {
		return
	}
	for _, id := range sortedKeys(k.tasks) {
		if p := k.tasks[id]; !p.sent.IsZero() && c.now.Sub(p.sent) >= c.cfg.KillRetry {
			p.sent = c.now
			p.again++
			k.again++
			c.emit(Kill{Task: id, AgentID: p.agent})
		}
	}
}

// resend repeats every kill after a new subscription.
func (k *killList) resend(c *Core) {
	k.wait, k.flying = nil, 0
	for _, id := range sortedKeys(k.tasks) {
		k.tasks[id].sent = time.Time{}
		k.wait = append(k.wait, id)
	}
	k.send(c)
}
