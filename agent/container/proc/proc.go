// Package proc runs containers as plain processes of the keeper, in cgroups where the
// agent may use them (version 1 and 2), and without limits where it may not.
package proc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/container/cgroup"
	"github.com/stoa-project/stoa/agent/keeper"
	"github.com/stoa-project/stoa/internal/crash"
	"github.com/stoa-project/stoa/internal/fault"
)

// Config is how the agent holds its processes.
type Config struct {
	// RuntimeDir holds the keeper's socket, log and records; absolute, best lost at a
	// reboot (--runtime_dir). Two agents of one host need different ones.
	RuntimeDir string
	// Cgroups turns limits on: --isolation has cgroups/cpu or cgroups/mem. Without
	// them, and where cgroups cannot be used, processes run without limits.
	Cgroups bool
	// CgroupsHierarchy is where cgroups are mounted (--cgroups_hierarchy, default /sys/fs/cgroup).
	CgroupsHierarchy string
	// CgroupsRoot is the agent's folder below each controller (--cgroups_root, default
	// "mesos"). Two agents of one host need different ones.
	CgroupsRoot string
	// CFS makes the CPU request a hard limit (--cgroups_enable_cfs).
	CFS bool
	// LimitSwap makes the memory limit one of memory and swap together (--cgroups_limit_swap).
	LimitSwap bool
	// RevocableFull gives revocable CPUs the weight of others (--no-revocable_cpu_low_priority).
	RevocableFull bool
	// Pids is the default limit of processes and threads (0: 4096; negative: none).
	Pids int64
	// Controllers are those of cgroup.Extras that containers have too, and Devices what they
	// may use beside the usual device files.
	Controllers []string
	Devices     []cgroup.Device
	// DestroyTimeout is how long a cgroup may take to empty (--cgroups_destroy_timeout, 0: 1 min).
	DestroyTimeout time.Duration
	// KeeperCommand starts a keeper: "keeper" and "--runtime_dir=DIR" are appended.
	// Empty means this program itself.
	KeeperCommand []string
	// KeeperScope is keeper.ClientConfig.Scope.
	KeeperScope []string
}

// Runtime implements container.Runtime. The cgroups are made and removed here; the
// keeper only puts processes into them and kills by them.
type Runtime struct {
	cfg Config
	log *slog.Logger

	keeper   *keeper.Client
	groups   *cgroup.Driver // nil: no limits
	memory   *memoryWatch
	pressure *cgroup.Pressures // nil: the kernel does not tell

	mu     sync.Mutex // guards limits and procs
	limits map[container.ID]container.Limits
	procs  map[container.ID]keeper.Task // running ones
}

var _ container.Runtime = (*Runtime)(nil)

// New prepares a runtime and starts nothing; Recover does.
func New(cfg Config, log *slog.Logger) *Runtime {
	if cfg.CgroupsHierarchy == "" {
		cfg.CgroupsHierarchy = "/sys/fs/cgroup"
	}
	if cfg.CgroupsRoot == "" {
		cfg.CgroupsRoot = "mesos"
	}
	if cfg.Pids == 0 {
		cfg.Pids = 4096
	}
	if cfg.DestroyTimeout == 0 {
		cfg.DestroyTimeout = time.Minute
	}
	return &Runtime{
		cfg: cfg, log: log,
		limits: map[container.ID]container.Limits{}, procs: map[container.ID]keeper.Task{},
	}
}

// Recover implements container.Runtime.
func (r *Runtime) Recover(ctx context.Context) ([]container.State, error) {
	if r.cfg.Cgroups && r.groups == nil {
		r.groups = r.openGroups()
	}
	c, err := keeper.Dial(ctx, keeper.ClientConfig{Dir: r.cfg.RuntimeDir, Command: r.cfg.KeeperCommand, Scope: r.cfg.KeeperScope, Log: r.log})
	if err != nil {
		return nil, err
	}
	r.keeper = c
	if r.memory == nil {
		r.memory = r.watchMemory()
	}
	if r.pressure == nil && r.groups != nil {
		r.pressure = r.groups.Pressures(func(id string, err error) {
			r.log.Warn("memory pressure of a container is not counted", "container", id, "error", err)
		})
	}
	tasks, err := c.List(ctx)
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	var out []container.State
	for _, t := range tasks {
		known[t.ID] = true
		s := container.State{Process: process(t)}
		if t.Exit != nil {
			e := r.exit(t)
			s.Exit = &e
		} else {
			r.mu.Lock()
			r.procs[s.ID] = t
			r.mu.Unlock()
			r.memory.recovered(t)
			if !t.Shared {
				r.pressure.Watch(t.ID)
			}
		}
		out = append(out, s)
	}
	return out, r.sweep(known)
}

// openGroups gives nil where limits are not possible, and says why, once.
func (r *Runtime) openGroups() *cgroup.Driver {
	layout, err := cgroup.Detect(r.cfg.CgroupsHierarchy, r.cfg.Controllers...)
	layout.Devices = r.cfg.Devices
	var d *cgroup.Driver
	if err == nil {
		d, err = cgroup.New(layout, r.cfg.CgroupsRoot)
	}
	if err != nil {
		r.log.Warn("tasks run without limits: cgroups cannot be used", "error", err, "root", os.Geteuid() == 0)
		return nil
	}
	if r.cfg.LimitSwap && !d.LimitsSwap() {
		r.log.Warn("--cgroups_limit_swap has no effect: this kernel does not account for swap")
		r.cfg.LimitSwap = false
	}
	if m := d.Missing(); len(m) > 0 {
		r.log.Warn("some limits are not enforced: cgroup controllers are missing", "controllers", m, "devices", d.Refused())
	}
	return d
}

// sweep removes cgroups whose container no keeper knows, with what runs in them.
func (r *Runtime) sweep(known map[string]bool) error {
	if r.groups == nil {
		return nil
	}
	ids, err := r.groups.IDs()
	if err != nil {
		return err
	}
	for _, id := range ids {
		if known[id] {
			continue
		}
		r.log.Warn("orphan cgroup swept", "container", id)
		if err := r.groups.Destroy(id, r.cfg.DestroyTimeout); err != nil {
			r.log.Error("orphan cgroup stays", "container", id, "error", err)
		}
	}
	return nil
}

func process(t keeper.Task) container.Process {
	return container.Process{ID: container.ID(t.ID), PID: t.PID, Started: t.Started, Note: t.Note}
}

var errNotRecovered = errors.New("Recover has not been called")

func (r *Runtime) connected(op string) error {
	if r.keeper == nil {
		return fault.New(op, fault.Unavailable, "keeper", errNotRecovered)
	}
	return nil
}

// Start implements container.Runtime.
func (r *Runtime) Start(ctx context.Context, spec container.Spec) (container.Process, error) {
	const op = "container.Start"
	if err := r.connected(op); err != nil {
		return container.Process{}, err
	}
	ks, err := r.toKeeper(spec)
	if err != nil {
		return container.Process{}, err
	}
	id := string(spec.ID)
	r.mu.Lock()
	if _, taken := r.limits[spec.ID]; taken {
		r.mu.Unlock()
		return container.Process{}, fault.New(op, fault.Conflict, id, errors.New("the id is in use"))
	}
	if _, taken := r.procs[spec.ID]; taken {
		r.mu.Unlock()
		return container.Process{}, fault.New(op, fault.Conflict, id, errors.New("the id is in use"))
	}
	r.limits[spec.ID] = spec.Limits
	r.mu.Unlock()
	t, err := r.launch(ctx, ks, spec.Limits)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		delete(r.limits, spec.ID)
		return container.Process{}, err
	}
	// A short process may have ended already: then Watch has taken the reservation back.
	if _, reserved := r.limits[spec.ID]; reserved {
		r.procs[spec.ID] = t
	}
	return process(t), nil
}

func (r *Runtime) launch(ctx context.Context, ks keeper.Spec, l container.Limits) (keeper.Task, error) {
	if r.groups != nil {
		if ks.Shared {
			ks.Cgroups = r.groups.Join(rootOf(ks.ID))
		} else {
			if err := r.groups.Create(ks.ID, r.toGroup(l)); err != nil {
				return keeper.Task{}, err
			}
			r.memory.add(ks.ID)
			r.pressure.Watch(ks.ID)
			crash.Here("agent.cgroup-made")
			ks.Cgroups = r.groups.Join(ks.ID)
		}
	}
	t, err := r.keeper.Start(ctx, ks)
	if err != nil && fault.KindOf(err) != fault.Conflict {
		// A start whose answer did not come may have happened.
		if kind := fault.KindOf(err); kind == fault.Timeout || kind == fault.Unavailable {
			r.abandon(context.WithoutCancel(ctx), ks.ID)
		}
		if r.groups != nil && !ks.Shared {
			r.memory.remove(ks.ID)
			r.pressure.Forget(ks.ID)
			if err := r.groups.Destroy(ks.ID, 5*time.Second); err != nil {
				r.log.Warn("cgroup stays until the next start", "container", ks.ID, "error", err)
			}
		}
	}
	return t, err
}

// abandon ends a process that nobody is going to hear of, and its record.
func (r *Runtime) abandon(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		_ = r.keeper.Kill(ctx, id, 0)
		err := r.keeper.Forget(ctx, id)
		if fault.KindOf(err) != fault.Conflict {
			return
		}
		select {
		case <-ctx.Done():
			r.log.Warn("an abandoned start is not ended yet", "container", id)
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// toGroup translates limits (mesos-agent.md 7.3).
func (r *Runtime) toGroup(l container.Limits) cgroup.Limits {
	g := cgroup.Limits{CPUs: l.CPUs, Quota: l.CPULimit, MemSoft: l.Memory, MemHard: l.MemoryLimit, Pids: l.Pids, Low: l.LowPriority && !r.cfg.RevocableFull, NoSwap: r.cfg.LimitSwap}
	if g.Quota == 0 && r.cfg.CFS {
		g.Quota = l.CPUs
	}
	if g.MemHard == 0 {
		g.MemHard = l.Memory
	}
	if g.Pids == 0 {
		g.Pids = r.cfg.Pids
	}
	return g
}

// Update implements container.Runtime.
func (r *Runtime) Update(_ context.Context, id container.ID, l container.Limits) error {
	r.mu.Lock()
	_, ok := r.procs[id]
	if ok {
		r.limits[id] = l
	}
	r.mu.Unlock()
	if !ok {
		return fault.New("container.Update", fault.NotFound, string(id), nil)
	}
	if r.groups == nil {
		return nil
	}
	return r.groups.Update(string(id), r.toGroup(l))
}

// Terminate implements container.Runtime.
func (r *Runtime) Terminate(ctx context.Context, id container.ID) error {
	return r.signal(ctx, id, syscall.SIGTERM)
}

// Destroy implements container.Runtime.
func (r *Runtime) Destroy(ctx context.Context, id container.ID) error {
	return r.signal(ctx, id, syscall.SIGKILL)
}

func (r *Runtime) signal(ctx context.Context, id container.ID, sig syscall.Signal) error {
	if err := r.connected("container.signal"); err != nil {
		return err
	}
	return r.keeper.Signal(ctx, string(id), int(sig))
}

// Kill implements container.Runtime.
func (r *Runtime) Kill(ctx context.Context, id container.ID, grace time.Duration) error {
	if err := r.connected("container.Kill"); err != nil {
		return err
	}
	return r.keeper.Kill(ctx, string(id), grace)
}

// Watch implements container.Runtime.
func (r *Runtime) Watch(ctx context.Context, f func(container.Event)) error {
	if err := r.connected("container.Watch"); err != nil {
		return err
	}
	return r.keeper.Watch(ctx, func(e keeper.Event) {
		id := container.ID(e.Task.ID)
		exit := r.exit(e.Task)
		r.mu.Lock()
		delete(r.procs, id)
		delete(r.limits, id)
		r.mu.Unlock()
		f(container.Event{ID: id, Exit: exit})
	})
}

// exit translates what the keeper says and looks whether the memory limit was the cause.
func (r *Runtime) exit(t keeper.Task) container.Exit {
	e := container.Exit{Known: !t.Exit.Lost, At: t.Exit.At, Message: t.Exit.Reason, Switch: t.Exit.Switch}
	status := syscall.WaitStatus(t.Exit.Status)
	switch {
	case t.Exit.Lost:
	case status.Signaled():
		e.Signal, e.CoreDumped = int(status.Signal()), status.CoreDump()
	default:
		e.Code = status.ExitStatus()
	}
	if r.groups != nil && (!e.Known || e.Signal != 0 || e.Code != 0) {
		group := t.ID
		if t.Shared {
			group = rootOf(group)
		}
		if o := r.groups.OOM(group); o.Kills > 0 {
			e.OOM = &container.OOM{Limit: o.Limit, MaxUsed: o.MaxUsed, Statistics: o.Stat}
		}
	}
	return e
}

// Forget implements container.Runtime.
func (r *Runtime) Forget(ctx context.Context, id container.ID) error {
	if err := r.connected("container.Forget"); err != nil {
		return err
	}
	if r.groups != nil {
		r.mu.Lock()
		_, running := r.procs[id]
		r.mu.Unlock()
		if running {
			return fault.New("container.Forget", fault.Conflict, string(id), errors.New("the container has not ended"))
		}
		r.memory.remove(string(id))
		r.pressure.Forget(string(id))
		// The cgroup first: without a record nobody would know it but the next sweep.
		if err := r.groups.Destroy(string(id), r.cfg.DestroyTimeout); err != nil {
			return fault.New("container.Forget", fault.Timeout, string(id), err)
		}
	}
	crash.Here("agent.cgroup-removed")
	return r.keeper.Forget(ctx, string(id))
}

// Shutdown ends every container, with SIGKILL after grace, and the keeper, and removes
// all control groups. Their exits are kept on disk and told to the next agent.
func (r *Runtime) Shutdown(ctx context.Context, grace time.Duration) error {
	if err := r.connected("container.Shutdown"); err != nil {
		return err
	}
	if err := r.keeper.Shutdown(ctx, grace); err != nil || r.groups == nil {
		return err
	}
	ids, err := r.groups.IDs()
	for _, id := range ids {
		err = errors.Join(err, r.groups.Destroy(id, r.cfg.DestroyTimeout))
	}
	return errors.Join(err, r.groups.RemoveRoot())
}

// Close implements container.Runtime. The agent's folder of control groups goes when
// nothing is in it.
func (r *Runtime) Close() error {
	r.memory.close()
	r.pressure.Close()
	if r.groups != nil {
		if ids, err := r.groups.IDs(); err == nil && len(ids) == 0 {
			if err := r.groups.RemoveRoot(); err != nil {
				r.log.Warn("the agent's folder of control groups stays", "error", err)
			}
		}
	}
	if r.keeper == nil {
		return nil
	}
	return r.keeper.Close()
}

// toKeeper checks a spec and makes it concrete.
func (r *Runtime) toKeeper(s container.Spec) (keeper.Spec, error) {
	bad := func(field, format string, args ...any) (keeper.Spec, error) {
		return keeper.Spec{}, fault.New("container.Start", fault.Invalid, field, fmt.Errorf(format, args...))
	}
	if !container.ValidID(s.ID) {
		return bad("id", "%q cannot be a folder name", s.ID)
	}
	for field, v := range map[string]float64{"cpus": s.Limits.CPUs, "cpu limit": s.Limits.CPULimit} {
		if math.IsNaN(v) || v < 0 {
			return bad(field, "%v is no number of CPUs", v)
		}
	}
	k := keeper.Spec{
		ID: string(s.ID), Env: s.Env, Dir: s.Dir, Stdout: s.Stdout, Stderr: s.Stderr, Note: s.Note,
		Path: s.Command.Value, Args: s.Command.Args,
	}
	if s.Command.Value == "" {
		return bad("command.value", "is empty: it is the text for the shell or the program to run")
	}
	if s.Command.Shell {
		k.Path, k.Args = "/bin/sh", []string{"sh", "-c", s.Command.Value}
	}
	if k.Stdout == "" {
		k.Stdout = s.Dir + "/stdout"
	}
	if k.Stderr == "" {
		k.Stderr = s.Dir + "/stderr"
	}
	if a := s.Account; a != nil {
		k.User = &keeper.User{UID: a.UID, GID: a.GID, Groups: a.Groups}
	} else {
		user, err := lookup(s.User)
		if err != nil {
			return keeper.Spec{}, err
		}
		k.User = user
	}
	if k.User != nil { // root needs none
		k.User.Groups = append(slices.Clip(k.User.Groups), s.Groups...)
	}
	toNested(s, &k)
	r.toConfined(s, &k)
	return k, nil
}
