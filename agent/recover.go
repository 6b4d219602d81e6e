package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/executors"
	"github.com/stoa-project/stoa/agent/journal"
	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/fault"
)

// recover reads the journal, attaches to the keeper and lets the core match the two.
// It runs before the loop, in its place.
func (e *engine) recover(ctx context.Context) error {
	id, err := e.meta.Latest()
	if err != nil {
		return err
	}
	oldBoot := e.meta.BootID()
	rebooted := oldBoot != "" && e.boot != "" && oldBoot != e.boot
	records, err := e.openResources()
	if err != nil {
		return err
	}
	if id != "" {
		own, err := e.readJournal(&id, rebooted)
		if err != nil {
			return err
		}
		records = append(records, own...)
	}
	e.sweepVolumes(e.ctx)
	states, err := e.runtime.Recover(ctx)
	if err != nil {
		return err
	}
	live := make(map[lifecycle.ContainerID]lifecycle.Live, len(states))
	for _, s := range states {
		l := lifecycle.Live{PID: s.PID, Networks: s.Networks, Data: s.Data}
		if s.Exit != nil {
			x := exited(container.Event{ID: s.ID, Exit: *s.Exit})
			l.Ended, l.Exit, l.Limitation = true, x.Exit, x.Limitation
		}
		live[lifecycle.ContainerID(s.ID)] = l
	}
	e.keepOrphans(live, records)
	if err := e.prepare.Recover(e.ctx, live); err != nil {
		return err
	}
	for _, r := range records {
		if r.Executor != nil {
			e.prepare.Show(r.Executor.Directory)
		}
	}
	e.phase.Store(int32(executors.Reconnecting))
	e.uplink.Know(id)
	out := e.core.Restore(time.Now(), id, records, live, rebooted)
	e.commit([]lifecycle.Output{out})
	e.version.Store(e.core.Version())
	if e.boot != "" && e.boot != oldBoot {
		if err := e.meta.SetBootID(e.boot); err != nil {
			return err
		}
	}
	e.adoptOldSandboxes(records)
	e.log.Info("recovered", "agent", id, "records", len(records), "containers", len(live), "rebooted", rebooted)
	return nil
}

// readJournal opens the journal of the last agent id. A record that cannot be read
// costs its task: the process is ended, and the master learns at the next registration
// that the task is gone (reliability D.3, row 24). id becomes "" when this must be a new agent.
func (e *engine) readJournal(id *string, rebooted bool) ([]lifecycle.Record, error) {
	j, losses, err := e.meta.Open(*id, e.log)
	if err != nil {
		return nil, err
	}
	info, records, more := journal.Decode(j.Entries())
	if lost := append(losses[:len(losses):len(losses)], more...); e.cfg.Strict && len(lost) > 0 {
		j.Close()
		return nil, fault.New("agent.recover", fault.Malformed, lost[0].Key, fmt.Errorf(
			"the checkpoint is damaged (%s): start with --no-strict to give up what it describes, or remove %s to start as a new agent",
			lost[0].Reason, filepath.Join(e.cfg.WorkDir, "meta", "slaves", "latest")))
	}
	for _, l := range append(losses, more...) {
		e.damaged.Add(1)
		e.log.Error("checkpoint is damaged, what it describes is given up", "record", l.Key, "reason", l.Reason)
	}
	if info == nil {
		j.Close()
		return nil, fault.New("agent.recover", fault.Malformed, *id, errors.New(
			"the agent's own record is unreadable: remove "+filepath.Join(e.cfg.WorkDir, "meta", "slaves", "latest")+" to start as a new agent"))
	}
	if why := incompatible(info, e.info, e.cfg.ReconfigurationPolicy); why != "" {
		if rebooted { // nothing runs: begin anew
			e.log.Warn("the agent's description changed over a reboot: starting as a new agent", "old", *id, "change", why)
			j.Close()
			*id = ""
			return nil, e.meta.Leave() // the next start knows of no reboot
		}
		j.Close()
		return nil, fault.New("agent.recover", fault.Conflict, "--reconfiguration_policy", fmt.Errorf(
			"%s; start it as before, or allow additions with --reconfiguration_policy=additive, or remove %s to start as a new agent (its tasks end)",
			why, filepath.Join(e.cfg.WorkDir, "meta", "slaves", "latest")))
	}
	e.jour = j
	now := proto.CloneOf(e.info)
	now.Id = info.Id
	if !proto.Equal(now, info) {
		entry, err := journal.AgentEntry(now)
		if err == nil {
			err = j.Append([]journal.Entry{entry})
		}
		if err != nil {
			return nil, err
		}
	}
	return records, nil
}

// awaitExecutors gives custom executors that lived on their time to subscribe again.
func (e *engine) awaitExecutors(ctx context.Context) error {
	deadline := time.Now().Add(e.cfg.ExecutorReregistrationTimeout)
	for {
		waiting := false
		if err := e.do(ctx, func() { waiting = e.core.AwaitsExecutors() }); err != nil {
			return err
		}
		if !waiting || time.Now().After(deadline) {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	e.post(ctx, lifecycle.RecoveryEnded{})
	e.phase.Store(int32(executors.Ready))
	e.recoveryTook.Store(int64(time.Since(e.started)))
	e.recovery.Store(true)
	return nil
}

// adoptOldSandboxes shows the sandboxes of earlier runs that no record names and hands
// them to the garbage collector.
func (e *engine) adoptOldSandboxes(records []lifecycle.Record) {
	inUse := map[string]bool{}
	for _, r := range records {
		if r.Executor != nil {
			inUse[r.Executor.Directory] = true
		}
	}
	runs, err := filepath.Glob(filepath.Join(globText(e.cfg.WorkDir), "slaves", "*", "frameworks", "*", "executors", "*", "runs", "*"))
	if err != nil {
		return // only a malformed pattern gives an error, and this is none
	}
	e.collectOldAgents()
	for _, dir := range runs {
		fi, err := os.Lstat(dir)
		if err != nil || !fi.IsDir() || inUse[dir] {
			continue
		}
		e.prepare.Show(dir)
		e.collect(dir, fi.ModTime())
	}
	e.tidySandboxes()
}

// tidySandboxes removes the folders above sandboxes that hold nothing any more: an earlier
// run ended between the removal of the last sandbox and that of those (see collected).
func (e *engine) tidySandboxes() {
	frameworks := filepath.Join(globText(e.cfg.WorkDir), "slaves", "*", "frameworks", "*")
	latest, err := filepath.Glob(filepath.Join(frameworks, "executors", "*", "runs", "latest"))
	if err != nil {
		return // only a malformed pattern gives an error, and this is none
	}
	for _, link := range latest {
		if _, err := os.Stat(link); os.IsNotExist(err) {
			_ = os.Remove(link) // what stays is only untidy
		}
	}
	for _, below := range []string{"executors/*/runs", "executors/*", "executors", "."} {
		folders, _ := filepath.Glob(filepath.Join(frameworks, below))
		for _, dir := range folders {
			_ = os.Remove(dir) // only what is empty goes
		}
	}
}

// collectOldAgents hands what earlier ids of this agent have recorded to the garbage
// collector; their sandboxes go one by one (mesos-agent.md 9, 10).
func (e *engine) collectOldAgents() {
	folder := filepath.Join(e.cfg.WorkDir, "meta", "slaves")
	items, err := os.ReadDir(folder)
	if err != nil {
		e.log.Warn("records of earlier agent ids stay", "folder", folder, "err", err)
		return
	}
	for _, i := range items {
		if !i.IsDir() || i.Name() == e.core.ID() { // latest is a link
			continue
		}
		if info, err := i.Info(); err == nil {
			e.collector.Add(filepath.Join(folder, i.Name()), info.ModTime())
		}
	}
}

// globText takes the meaning off the characters that are special in a pattern.
func globText(path string) string {
	var out []rune
	for _, c := range path {
		if c == '*' || c == '?' || c == '[' || c == '\\' {
			out = append(out, '\\')
		}
		out = append(out, c)
	}
	return string(out)
}
