package docker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	dc "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/internal/fault"
)

// How long Recover waits for an engine that does not answer: longer when there are notes
// about containers, whose fate only the engine knows.
const (
	recoverPatience = time.Minute
	firstPatience   = 5 * time.Second
)

// inspectors bounds the containers that are inspected at a time during recovery.
const inspectors = 8

// Recover implements container.Runtime. Containers that were made and never started are
// removed; those whose end an earlier run has recorded are not told any more. An engine
// that does not answer is fault.Unavailable.
func (r *Runtime) Recover(ctx context.Context) ([]container.State, error) {
	const op = "docker.Recover"
	if err := os.MkdirAll(r.cfg.Dir, 0o700); err != nil {
		return nil, fault.New(op, fault.Forbidden, r.cfg.Dir, err)
	}
	notes, err := os.ReadDir(r.cfg.Dir)
	if err != nil {
		return nil, fault.New(op, fault.Forbidden, r.cfg.Dir, err)
	}
	wait := firstPatience
	if len(notes) > 0 {
		wait = recoverPatience
	}
	var all []dc.Summary
	err = r.try(ctx, longCall, wait, func(ctx context.Context) error {
		if _, err := r.api.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true, ForceNegotiate: true}); err != nil {
			return err
		}
		all, err = r.list(ctx)
		return err
	})
	if err != nil {
		return nil, fault.New(op, fault.Unavailable, r.cfg.Socket,
			fmt.Errorf("no Docker engine answers: start it, name another one with --docker_socket, or leave docker out of --containerizers: %w", err))
	}
	r.log.Info("Docker engine found", "socket", r.cfg.Socket, "api", r.api.ClientVersion(), "containers", len(all))
	noted := map[container.ID]bool{}
	for _, n := range notes {
		noted[container.ID(n.Name())] = true
	}
	states, err := r.adopt(ctx, all, noted)
	if err != nil {
		return nil, err
	}
	for id := range noted { // notes about nothing
		r.mu.Lock()
		_, used := r.boxes[id]
		r.mu.Unlock()
		if !used && container.ValidID(id) {
			_ = os.Remove(r.file(id)) // what stays is tried again at the next start
		}
	}
	r.mu.Lock()
	r.recovered = true
	r.mu.Unlock()
	r.spawn(func() { r.follow(r.ctx) })
	r.spawn(func() { r.removes(r.ctx) })
	return states, nil
}

// adopt opens the books of what the engine has of ours.
func (r *Runtime) adopt(ctx context.Context, all []dc.Summary, noted map[container.ID]bool) ([]container.State, error) {
	var (
		mu     sync.Mutex // guards states and fails
		states []container.State
		fails  []error
		wg     sync.WaitGroup
	)
	slots := make(chan struct{}, inspectors)
	for _, s := range all {
		id, ours := r.oursListed(s)
		if !ours {
			continue
		}
		if !alive(s.State) && !noted[id] {
			d := doom{name: string(id)}
			if s.State == dc.StateCreated {
				d.due = time.Now()
			}
			r.doom(s.ID, d)
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			st, err := r.adoptOne(ctx, id, s.ID)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				fails = append(fails, err)
			}
			if st != nil {
				states = append(states, *st)
			}
		})
	}
	wg.Wait()
	return states, errors.Join(fails...)
}

func (r *Runtime) adoptOne(ctx context.Context, id container.ID, cid string) (*container.State, error) {
	seen, err := r.inspect(ctx, cid)
	switch {
	case cerrdefs.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, err
	case !began(seen.State):
		r.doom(cid, doom{due: time.Now(), name: string(id)})
		return nil, nil
	}
	labels := seen.Config.Labels
	b := &box{
		id: id, cid: cid, sandbox: labels[labelSandbox], note: labels[labelNote], logs: logsOf(labels[labelLogs]), remove: labels[labelRemove] != "",
		tty: seen.Config.Tty, hosted: seen.HostConfig.NetworkMode.IsHost() || seen.HostConfig.NetworkMode.IsContainer(), limits: limitsOf(seen.HostConfig),
	}
	r.mu.Lock()
	r.boxes[id] = b
	r.mu.Unlock()
	st := &container.State{}
	if seen.State.Running || seen.State.Paused || seen.State.Restarting {
		st.Process = r.begun(b, seen)
		return st, nil
	}
	// It ended while no agent was there: the rest of its output first.
	out := r.newOutput(b)
	out.finishNow(ctx, drain)
	st.Process = process(b, seen)
	exit := exitOf(seen.InspectResponse)
	st.Exit = &exit
	r.mu.Lock()
	b.phase, b.exit, b.finished = ended, exit, moment(seen.State.FinishedAt)
	r.mu.Unlock()
	return st, nil
}

func signalText(n int) string {
	switch syscall.Signal(n) {
	case syscall.SIGKILL:
		return "SIGKILL"
	case syscall.SIGTERM:
		return "SIGTERM"
	}
	return strings.TrimSpace(fmt.Sprint(n))
}
