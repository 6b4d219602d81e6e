package docker

import (
	"context"
	"strconv"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	dc "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/internal/fault"
)

// recheck is how often all containers are looked at though no event came.
const recheck = time.Minute

// follow hears the engine's events until ctx ends, and looks at everything whenever it may
// have missed some.
func (r *Runtime) follow(ctx context.Context) {
	pause := 100 * time.Millisecond
	for ctx.Err() == nil {
		began := time.Now()
		err := r.listen(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > 10*time.Second {
			pause = 100 * time.Millisecond
		}
		r.log.Warn("the Docker engine's events are interrupted", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
			pause = min(2*pause, 2*time.Second)
		}
	}
}

// mine selects our containers.
func (r *Runtime) mine() client.Filters {
	return client.Filters{}.Add("label", labelOwner+"="+r.cfg.Owner)
}

// listen follows one connection. It subscribes first and looks then, so that nothing falls
// between.
func (r *Runtime) listen(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events := r.api.Events(ctx, client.EventsListOptions{
		Filters: r.mine().Add("type", "container").Add("event", "die", "destroy", "start"),
	})
	if err := r.sync(ctx); err != nil {
		return err
	}
	tick := time.NewTicker(recheck)
	defer tick.Stop()
	for {
		select {
		case err := <-events.Err:
			return err
		case m := <-events.Messages:
			var code *int
			if n, err := strconv.Atoi(m.Actor.Attributes["exitCode"]); err == nil && m.Action == "die" {
				code = &n
			}
			r.happened(container.ID(m.Actor.Attributes[labelID]), m.Actor.ID, code)
		case <-tick.C:
			if err := r.sync(ctx); err != nil {
				return err
			}
		}
	}
}

// happened looks at a container that something happened to.
func (r *Runtime) happened(id container.ID, cid string, code *int) {
	r.mu.Lock()
	b := r.boxes[id]
	if b == nil || b.cid != cid {
		r.mu.Unlock()
		return
	}
	if code != nil {
		b.hint = code
	}
	r.mu.Unlock()
	r.look(b)
}

// sync compares the engine's list with ours. What we have and the engine does not show as
// running is looked at; what it has and we do not know is removed.
func (r *Runtime) sync(ctx context.Context) error {
	all, err := r.list(ctx)
	if err != nil {
		return err
	}
	shown := map[string]dc.Summary{}
	for _, s := range all {
		shown[s.ID] = s
	}
	r.mu.Lock()
	var suspects []*box
	known := map[string]bool{}
	for _, b := range r.boxes {
		known[b.cid] = true
		known[string(b.id)] = true
		if b.phase == running {
			if s, ok := shown[b.cid]; !ok || !alive(s.State) {
				suspects = append(suspects, b)
			}
		}
	}
	for cid := range r.doomed {
		known[cid] = true
	}
	r.mu.Unlock()
	for _, b := range suspects {
		r.look(b)
	}
	for _, s := range all {
		id, ours := r.oursListed(s)
		if !ours || known[s.ID] || known[string(id)] || r.cfg.KeepOrphans && alive(s.State) {
			continue
		}
		r.log.Warn("container without a record is removed", "container", string(id))
		r.doom(s.ID, doom{due: time.Now(), name: string(id)})
	}
	return nil
}

func (r *Runtime) list(ctx context.Context) ([]dc.Summary, error) {
	ctx, cancel := context.WithTimeout(ctx, longCall)
	defer cancel()
	res, err := r.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: r.mine()})
	return res.Items, err
}

func alive(s dc.ContainerState) bool {
	return s == dc.StateRunning || s == dc.StatePaused || s == dc.StateRestarting
}

// ours gives the id of a container that is ours: by its labels and its name, since an image
// made from one of our containers carries the labels on.
func (r *Runtime) ours(c *dc.InspectResponse) container.ID {
	if c.Config == nil || c.Config.Labels[labelOwner] != r.cfg.Owner {
		return ""
	}
	id := container.ID(c.Config.Labels[labelID])
	if !container.ValidID(id) || c.Name != "/"+namePrefix+string(id) {
		return ""
	}
	return id
}

func (r *Runtime) oursListed(s dc.Summary) (container.ID, bool) {
	id := container.ID(s.Labels[labelID])
	if s.Labels[labelOwner] != r.cfg.Owner || !container.ValidID(id) {
		return "", false
	}
	for _, name := range s.Names {
		if name == "/"+namePrefix+string(id) {
			return id, true
		}
	}
	return "", false
}

// look inspects a container in a goroutine of its own, one at a time.
func (r *Runtime) look(b *box) {
	r.mu.Lock()
	busy := b.checking || b.phase != running
	if busy {
		b.again = b.phase != ended
	} else {
		b.checking = true
	}
	r.mu.Unlock()
	if busy {
		return
	}
	r.spawn(func() {
		for more := true; more && r.ctx.Err() == nil; {
			more = !r.lookOnce(b)
			r.mu.Lock()
			more = more || b.again && b.phase == running
			b.again = false
			b.checking = more
			r.mu.Unlock()
		}
	})
}

// lookOnce tells whether anything was learnt.
func (r *Runtime) lookOnce(b *box) bool {
	seen, err := r.inspect(r.ctx, b.cid)
	switch {
	case cerrdefs.IsNotFound(err):
		r.finish(b, r.vanished(b), time.Now())
	case err != nil:
		if r.ctx.Err() == nil {
			r.log.Warn("a container cannot be inspected", "container", string(b.id), "error", err)
		}
		select {
		case <-r.ctx.Done():
		case <-time.After(time.Second):
		}
		return false
	case seen.State.Running, seen.State.Paused, seen.State.Restarting:
		if seen.State.Pid != 0 { // another one when its restart policy started it again
			r.take(b, seen.State.Pid, moment(seen.State.StartedAt))
		}
	default:
		r.finish(b, exitOf(seen.InspectResponse), moment(seen.State.FinishedAt))
	}
	return true
}

// exitOf reads how a container ended.
func exitOf(c *dc.InspectResponse) container.Exit {
	e := container.Exit{Known: true, Code: c.State.ExitCode, At: moment(c.State.FinishedAt)}
	if c.State.OOMKilled && e.Code != 0 && c.HostConfig.Memory > 0 {
		e.OOM = &container.OOM{Limit: uint64(c.HostConfig.Memory), MaxUsed: uint64(c.HostConfig.Memory)}
	}
	return e
}

// vanished is the end of a container that somebody has removed.
func (r *Runtime) vanished(b *box) container.Exit {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := container.Exit{At: time.Now(), Message: "the container was removed from the engine"}
	if b.hint != nil {
		e = container.Exit{Known: true, Code: *b.hint, At: time.Now()}
	}
	return e
}

// finish tells an end, after the rest of the output was copied.
func (r *Runtime) finish(b *box, exit container.Exit, at time.Time) {
	if b.output != nil {
		b.output.finish(r.ctx, drain)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if b.phase == ended || r.ctx.Err() != nil {
		return
	}
	b.phase, b.exit, b.finished = ended, exit, at
	if b.killing != nil {
		b.killing.over()
	}
	close(r.changed)
	r.changed = make(chan struct{})
}

// Watch implements container.Runtime.
func (r *Runtime) Watch(ctx context.Context, f func(container.Event)) error {
	told := map[*box]bool{}
	for {
		r.mu.Lock()
		var news []container.Event
		for _, b := range r.boxes {
			if b.phase == ended && !told[b] {
				told[b] = true
				news = append(news, container.Event{ID: b.id, Exit: b.exit})
			}
		}
		for b := range told {
			if r.boxes[b.id] != b {
				delete(told, b)
			}
		}
		changed := r.changed
		r.mu.Unlock()
		for _, ev := range news {
			f(ev)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.ctx.Done():
			return fault.New("docker.Watch", fault.Unavailable, "engine", context.Canceled)
		case <-changed:
		}
	}
}

// Forget implements container.Runtime: the container is removed from the engine when
// --docker_remove_delay has passed since its end.
func (r *Runtime) Forget(_ context.Context, id container.ID) error {
	r.mu.Lock()
	b := r.boxes[id]
	if b == nil {
		r.mu.Unlock()
		return nil
	}
	if b.phase != ended {
		r.mu.Unlock()
		return fault.New("docker.Forget", fault.Conflict, string(id), errNotEnded)
	}
	due := b.finished.Add(r.cfg.RemoveDelay)
	if b.remove || b.finished.IsZero() || r.cfg.RemoveDelay < 0 {
		due = time.Now()
	}
	r.swap(b, b.cid, due)
	r.mu.Unlock()
	r.unnote(id)
	return nil
}
