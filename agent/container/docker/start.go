package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	dc "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/moby/moby/client/pkg/versions"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/internal/crash"
	"github.com/stoa-project/stoa/internal/fault"
)

// limits is what statistics show of a container's limits.
type limits struct {
	cpus, cpuLimit float64 // cpuLimit 0: none
	soft, hard     uint64  // bytes; 0: none
}

// Start implements container.Runtime: pull, create, run. A *container.NotRun is what an
// executor would have told.
func (r *Runtime) Start(ctx context.Context, spec container.Spec) (container.Process, error) {
	const op = "docker.Start"
	switch {
	case spec.Docker == nil:
		return container.Process{}, fault.New(op, fault.Unsupported, string(spec.ID), errors.New("it is no container of the Docker engine"))
	case spec.Root != "":
		return container.Process{}, fault.New(op, fault.Unsupported, string(spec.ID), errors.New("Nested containers are not supported"))
	case !container.ValidID(spec.ID):
		return container.Process{}, fault.New(op, fault.Invalid, "id", fmt.Errorf("%q cannot be a name", spec.ID))
	}
	p, err := newPlan(settings{sandbox: r.cfg.SandboxDirectory, cfs: r.cfg.CFS, dns: r.cfg.DNS, totalMemory: r.memory}, spec)
	if err != nil {
		return container.Process{}, &container.NotRun{Err: fmt.Errorf("Failed to create docker run options: %w", err)}
	}
	for _, what := range p.ignored {
		r.log.Warn("not given to the container", "container", string(spec.ID), "what", what)
	}
	b := &box{id: spec.ID, sandbox: spec.Dir, note: spec.Note, logs: spec.Logs, remove: p.remove, tty: p.config.Tty, hosted: p.hosted(), limits: limitsOf(p.host)}
	r.mark(p, b)
	if err := r.reserve(b); err != nil {
		return container.Process{}, err
	}
	proc, err := r.start(ctx, b, p, spec)
	if err != nil {
		r.discard(b)
		return container.Process{}, err
	}
	return proc, nil
}

// mark makes the container known as ours.
func (r *Runtime) mark(p *plan, b *box) {
	p.label(labelOwner, r.cfg.Owner)
	p.label(labelID, string(b.id))
	p.label(labelSandbox, b.sandbox)
	p.label(labelNote, b.note)
	if text := logsText(b.logs); text != "" {
		p.label(labelLogs, text)
	}
	if b.remove {
		p.label(labelRemove, "1")
	}
}

func (r *Runtime) reserve(b *box) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case !r.recovered || r.closed:
		return fault.New("docker.Start", fault.Unavailable, "engine", errors.New("Recover has not been called"))
	case r.boxes[b.id] != nil:
		return fault.New("docker.Start", fault.Conflict, string(b.id), errors.New("the id is in use"))
	}
	r.boxes[b.id] = b
	return nil
}

func (r *Runtime) start(ctx context.Context, b *box, p *plan, spec container.Spec) (container.Process, error) {
	if err := r.pull(ctx, p.config.Image, spec.Dir, spec.Docker.Box.GetDocker().GetForcePullImage()); err != nil {
		return container.Process{}, err
	}
	if p.needs != "" && versions.LessThan(r.api.ClientVersion(), p.needs) {
		return container.Process{}, notRun("options", fmt.Errorf("Parameter 'mac-address' needs an engine with API %s or later, this one has %s", p.needs, r.api.ClientVersion()))
	}
	if err := newNotes(r.file(b.id), b.sandbox); err != nil {
		return container.Process{}, err
	}
	for attempt := 1; ; attempt++ {
		if err := r.make(ctx, b, p); err != nil {
			return container.Process{}, err
		}
		unsure, err := r.run(ctx, b)
		if err == nil {
			break
		}
		var refused *container.NotRun
		if !unsure || attempt == remakes || !errors.As(err, &refused) {
			return container.Process{}, err
		}
		// The engine went away while it started the program, and cannot finish that now: its
		// containerd has half of it.
		r.log.Warn("a container is made again, its start was cut short", "container", string(b.id), "error", err)
		if err := r.remake(ctx, b); err != nil {
			return container.Process{}, err
		}
	}
	seen, err := r.inspect(ctx, b.cid)
	if err != nil {
		return container.Process{}, err
	}
	crash.Here("agent.engine-inspected")
	return r.begun(b, seen), nil
}

// notRun makes the two sentences of Mesos' executor.
func notRun(what string, err error) error {
	if what == "options" {
		return &container.NotRun{Err: fmt.Errorf("Failed to create docker run options: %w", err)}
	}
	return &container.NotRun{Err: fmt.Errorf("Failed to run docker container: %w", err)}
}

// make creates the container. An attempt whose answer was lost may have made it already.
func (r *Runtime) make(ctx context.Context, b *box, p *plan) error {
	var cid string
	err := r.try(ctx, longCall, patience, func(ctx context.Context) error {
		made, err := r.api.ContainerCreate(ctx, p.create)
		if err == nil {
			cid = made.ID
			for _, w := range made.Warnings {
				r.log.Warn("the engine warns", "container", string(b.id), "warning", w)
			}
		}
		if cerrdefs.IsConflict(err) {
			seen, ierr := r.api.ContainerInspect(ctx, p.create.Name, client.ContainerInspectOptions{})
			if ierr == nil && r.ours(&seen.Container) == b.id && seen.Container.State.Status == dc.StateCreated {
				cid, err = seen.Container.ID, nil
			}
		}
		return err
	})
	if err != nil {
		if ctx.Err() != nil || fault.KindOf(err) == fault.Unavailable {
			return err
		}
		return notRun("run", err)
	}
	crash.Here("agent.engine-created")
	r.mu.Lock()
	b.cid = cid
	r.mu.Unlock()
	return nil
}

// remakes bounds how often a container whose start was cut short is made.
const remakes = 5

// remake removes a container, so that it can be made again under another engine id.
func (r *Runtime) remake(ctx context.Context, b *box) error {
	r.mu.Lock()
	cid := b.cid
	b.cid = ""
	r.doomed[cid] = doom{due: time.Now(), name: string(b.id), stray: time.Now().Add(strayTime)}
	r.remind()
	r.mu.Unlock()
	for end := time.Now().Add(patience); ; {
		err := r.once(ctx, "docker.Start", longCall, func(ctx context.Context) error {
			_, err := r.api.ContainerRemove(ctx, cid, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
			return err
		})
		if err == nil || fault.KindOf(err) == fault.NotFound {
			return nil
		}
		if time.Now().After(end) {
			return err
		}
		select { // the engine is away, or removes it already
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// run starts the container's program, once: after a lost answer it looks whether it began.
// unsure says that an answer was lost.
func (r *Runtime) run(ctx context.Context, b *box) (unsure bool, err error) {
	err = r.try(ctx, longCall, patience, func(ctx context.Context) error {
		if unsure {
			seen, err := r.api.ContainerInspect(ctx, b.cid, client.ContainerInspectOptions{})
			if err != nil || began(seen.Container.State) {
				return err
			}
		}
		_, err := r.api.ContainerStart(ctx, b.cid, client.ContainerStartOptions{})
		unsure = unsure || away(err)
		return err
	})
	crash.Here("agent.engine-started")
	r.mu.Lock()
	b.unsure = unsure
	r.mu.Unlock()
	if err != nil && ctx.Err() == nil && fault.KindOf(err) != fault.Unavailable {
		err = notRun("run", err)
	}
	return unsure, err
}

// began tells whether a container's program was ever started.
func began(s *dc.State) bool { return s != nil && (s.Running || !moment(s.StartedAt).IsZero()) }

// inspected is what the engine says of a container, also as the text it said.
type inspected struct {
	*dc.InspectResponse
	raw []byte
}

func (r *Runtime) inspect(ctx context.Context, cid string) (inspected, error) {
	var out inspected
	err := r.insist(ctx, func(ctx context.Context) error {
		res, err := r.api.ContainerInspect(ctx, cid, client.ContainerInspectOptions{})
		if err == nil && (res.Container.State == nil || res.Container.Config == nil || res.Container.HostConfig == nil) {
			err = errors.New("the engine's answer lacks State, Config or HostConfig")
		}
		out = inspected{&res.Container, res.Raw}
		return err
	})
	return out, err
}

// begun opens the books of a container that has been started, by this call or before a
// restart of the agent. It may have ended already.
func (r *Runtime) begun(b *box, seen inspected) container.Process {
	r.take(b, seen.State.Pid, moment(seen.State.StartedAt))
	out := r.newOutput(b)
	r.mu.Lock()
	b.output = out
	b.phase = running
	again := b.again || !seen.State.Running
	b.again = false
	r.mu.Unlock()
	r.spawn(func() { out.run(r.ctx) })
	if again {
		r.look(b)
	}
	return process(b, seen)
}

// process describes a container's program to the agent. Its data is what `docker inspect`
// prints: an array.
func process(b *box, seen inspected) container.Process {
	p := container.Process{ID: b.id, PID: seen.State.Pid, Started: moment(seen.State.StartedAt), Note: b.note, Networks: networksOf(seen.InspectResponse)}
	if json.Valid(seen.raw) {
		p.Data = append(append([]byte("["), seen.raw...), ']')
	}
	return p
}

// discard removes what a failed start has left, also when the engine is away just now.
func (r *Runtime) discard(b *box) {
	r.mu.Lock()
	cid := b.cid
	if cid == "" {
		cid = namePrefix + string(b.id) // perhaps made by an attempt whose answer was lost
	}
	r.swap(b, cid, time.Now())
	r.mu.Unlock()
	r.unnote(b.id)
}

func limitsOf(h *dc.HostConfig) limits {
	l := limits{cpus: float64(h.CPUShares) / sharesPerCPU, soft: uint64(max(h.MemoryReservation, 0)), hard: uint64(max(h.Memory, 0))}
	if l.soft == 0 {
		l.soft = l.hard
	}
	switch {
	case h.NanoCPUs > 0:
		l.cpuLimit = float64(h.NanoCPUs) / 1e9
	case h.CPUQuota > 0:
		period := h.CPUPeriod
		if period == 0 {
			period = periodMicros
		}
		l.cpuLimit = float64(h.CPUQuota) / float64(period)
	}
	return l
}

// Update implements container.Runtime. Memory is only ever raised.
func (r *Runtime) Update(ctx context.Context, id container.ID, l container.Limits) error {
	const op = "docker.Update"
	b, err := r.live(op, id)
	if err != nil {
		return err
	}
	r.mu.Lock()
	have := b.limits
	r.mu.Unlock()
	change := &dc.Resources{CPUShares: max(int64(sharesPerCPU*l.CPUs), minShares)}
	hard := l.MemoryLimit
	if hard == 0 {
		hard = l.Memory
	}
	if hard != container.Unlimited && have.hard > 0 && hard > have.hard && hard < math.MaxInt64/2 {
		// The engine gave twice the memory with swap, and refuses less than the memory.
		change.Memory, change.MemorySwap = int64(hard), int64(2*hard)
		have.hard = hard
	}
	err = r.once(ctx, op, longCall, func(ctx context.Context) error {
		_, err := r.api.ContainerUpdate(ctx, b.cid, client.ContainerUpdateOptions{Resources: change})
		return err
	})
	if err == nil {
		have.cpus = l.CPUs
		r.mu.Lock()
		b.limits = have
		r.mu.Unlock()
	}
	return err
}

// moment reads the engine's times; its zero time is ours.
func moment(text string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || t.Year() <= 1 {
		return time.Time{}
	}
	return t
}
