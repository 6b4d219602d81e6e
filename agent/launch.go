package agent

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/container/cni"
	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/agent/sandbox"
	"github.com/stoa-project/stoa/internal/crash"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// launch is a container on its way.
type launch struct {
	cancel context.CancelFunc
	exit   *lifecycle.Exited // heard before the start was
}

// launch makes a sandbox, fetches into it and starts the process, in a goroutine that
// answers with Started or LaunchFailed.
func (e *engine) launch(ef lifecycle.Launch) {
	ctx, cancel := context.WithCancel(e.ctx)
	e.launches[ef.Container] = &launch{cancel: cancel}
	if !ef.Nested {
		e.attach(ef.Directory)
	}
	e.wg.Go(func() {
		defer cancel()
		fail := func(err error) {
			if ctx.Err() != nil {
				err = errors.New("the launch was given up")
			}
			e.forgetImages(ef.Container)
			e.releasePlugins(ef.Container)
			var late *container.NotRun
			e.post(e.ctx, lifecycle.LaunchFailed{Container: ef.Container, Message: err.Error(), Executor: errors.As(err, &late)})
		}
		root, err := e.provision(ctx, ef) // not in a slot: it may take long
		if err != nil {
			fail(err)
			return
		}
		select {
		case e.slots <- struct{}{}:
			defer func() { <-e.slots }()
		case <-ctx.Done():
			fail(ctx.Err())
			return
		}
		p, err := e.prepare(ctx, ef, root)
		if err != nil {
			fail(err)
			return
		}
		e.post(e.ctx, lifecycle.Started{Container: ef.Container, PID: p.PID, Networks: p.Networks, Data: p.Data})
	})
}

// prepare does what comes after the image; root is nil for a container without one.
func (e *engine) prepare(ctx context.Context, ef lifecycle.Launch, root *rooted) (p container.Process, err error) {
	if err := e.unsupportedBox(ef); err != nil && !ef.Docker {
		return p, err
	}
	if err := e.forbiddenPath(ef.Box); err != nil {
		return p, err
	}
	if ef.Session {
		spec := e.spec(ef, nil)
		e.intoImage(&spec, ef)
		if _, _, err := e.join(ctx, ef, &spec); err != nil {
			return p, err
		}
		spec, err := e.confined(ef, spec)
		if err != nil {
			return p, err
		}
		return e.runtime.Start(ctx, spec)
	}
	if err := secretVariables(ef.Command); err != nil {
		return p, err
	}
	owner, err := root.owner(ef.User)
	if err != nil {
		return p, err
	}
	if ef.Nested {
		err = sandbox.CreateNested(ef.Directory, ef.ParentDirectory, string(ef.Task), owner)
	} else {
		err = sandbox.Create(ef.Directory, owner)
	}
	if err != nil {
		return p, err
	}
	var mounts []container.Mount
	if !ef.Docker {
		defer e.dropSecrets(ef.Container)
		if mounts, err = e.volumes(ctx, ef, owner, root != nil); err != nil {
			return p, err
		}
	}
	shown, err := e.showVolumes(unclaimed(ef), placeOf(ef, owner, ef.Docker || root != nil))
	if err != nil {
		return container.Process{}, err
	}
	mounts = append(mounts, shown...)
	if uris := ef.Command.GetUris(); len(uris) > 0 {
		log, err := os.OpenFile(filepath.Join(ef.Directory, "stderr"), os.O_WRONLY|os.O_APPEND|syscall.O_NOFOLLOW, 0)
		if err != nil {
			return p, err
		}
		defer log.Close()
		if err := e.fetcher.Fetch(ctx, ef.Directory, owner, uris, log, e.fetching(ef.Container)); err != nil {
			fmt.Fprintf(log, "Failed to fetch: %v\n", err)
			return p, fmt.Errorf("Failed to fetch all URIs for container '%s': %w", ef.Container, err)
		}
	}
	spec := e.spec(ef, mounts)
	if root != nil {
		if err := root.fit(&spec, ef, e.cfg); err != nil {
			return p, err
		}
	}
	joined, undo, err := e.join(ctx, ef, &spec)
	if err != nil {
		return p, err
	}
	defer func() {
		if err != nil {
			undo()
		}
	}()
	spec, err = e.confined(ef, spec)
	if err != nil {
		return p, err
	}
	if ef.Docker {
		spec.Docker = e.dockerSpec(ef, mounts)
	}
	crash.Here("agent.sandbox-made")
	p, err = e.runtime.Start(ctx, spec)
	crash.Here("agent.started")
	if joined != nil {
		p.Networks = joined.Networks
	}
	return p, err
}

// progressEvery is how often the framework is told how far a launch has come.
const progressEvery = 5 * time.Second

// fetching tells the framework now and then how much of a URI is here. What is here soon
// is not told of.
func (e *engine) fetching(id lifecycle.ContainerID) sandbox.Progress {
	var mu sync.Mutex // guards told
	told := time.Now()
	return func(uri string, done, total int64) {
		mu.Lock()
		defer mu.Unlock()
		now := time.Now()
		if now.Sub(told) < progressEvery {
			return
		}
		told = now
		text := fmt.Sprintf("Fetching '%s': %d MB", uri, done>>20)
		if total > 0 {
			text += fmt.Sprintf(" of %d MB", total>>20)
		}
		e.post(e.ctx, lifecycle.Progress{Container: id, Message: text})
	}
}

// spec says to the runtime what the core wants.
func (e *engine) spec(ef lifecycle.Launch, mounts []container.Mount) container.Spec {
	s := container.Spec{
		ID: container.ID(ef.Container),
		Command: container.Command{
			Shell: ef.Command.GetShell(), Value: ef.Command.GetValue(), Args: ef.Command.GetArguments(),
		},
		Env: ef.Env, Dir: ef.Directory, User: ef.User,
		Limits: limitsOf(ef.Resources, ef.Limits),
		Root:   container.ID(ef.Root), Share: ef.Share, Mounts: mounts, Session: ef.Session,
		Note: string(ef.Key.Framework) + " " + string(ef.Key.Executor),
	}
	if tty := ef.Box.GetTtyInfo(); tty != nil {
		s.Terminal = &container.Terminal{Rows: size(tty.GetWindowSize().GetRows()), Columns: size(tty.GetWindowSize().GetColumns())}
	}
	return s
}

func size(n uint32) uint16 { return uint16(min(n, 65535)) }

// unsupportedBox refuses networks where there are none, and those of nested containers,
// which live in their root's; in words for the framework.
func (e *engine) unsupportedBox(ef lifecycle.Launch) error {
	if wanted := cni.Wanted(ef.Box); len(wanted) > 0 && (e.nets == nil || ef.Nested) {
		return fmt.Errorf("Unknown CNI network '%s'", wanted[0].GetName())
	}
	return nil
}

// limitsOf adds up what a container may use. Limits go before requests (mesos-agent.md
// 7.3); the overhead of a command task is in both.
func limitsOf(rs []*mesos.Resource, limits map[string]*mesos.Value_Scalar) container.Limits {
	var l container.Limits
	var mem float64
	for _, r := range rs {
		switch r.GetName() {
		case "cpus":
			l.CPUs += r.GetScalar().GetValue()
		case "mem":
			mem += r.GetScalar().GetValue()
		}
	}
	l.Memory = megabytes(mem)
	if v := limits["cpus"]; v != nil {
		l.CPULimit = v.GetValue()
	}
	if v := limits["mem"]; v != nil {
		if math.IsInf(v.GetValue(), 1) {
			l.MemoryLimit = container.Unlimited
		} else {
			l.MemoryLimit = megabytes(v.GetValue())
		}
	}
	return l
}

func megabytes(mb float64) uint64 {
	if !(mb > 0) {
		return 0
	}
	return uint64(math.Min(mb, 1<<40) * (1 << 20))
}

// exited turns what the runtime says about an end into what the core understands.
func exited(ev container.Event) lifecycle.Exited {
	x := lifecycle.Exited{Container: lifecycle.ContainerID(ev.ID), Exit: lifecycle.Exit{
		Known: ev.Exit.Known, Code: ev.Exit.Code, Signal: ev.Exit.Signal, CoreDumped: ev.Exit.CoreDumped,
	}}
	if !ev.Exit.Known {
		x.Exit.Why = ev.Exit.Message
	}
	if ev.Exit.Switch {
		x.Limitation = &lifecycle.Limitation{
			Reason:  mesos.TaskStatus_REASON_IO_SWITCHBOARD_EXITED,
			Message: "'IOSwitchboard' exited with status 1: the terminal was lost with the keeper that held it",
		}
	}
	if oom := ev.Exit.OOM; oom != nil {
		mb := float64(oom.Limit) / (1 << 20)
		name, kind := "mem", mesos.Value_SCALAR
		x.Limitation = &lifecycle.Limitation{
			Reason:    mesos.TaskStatus_REASON_CONTAINER_LIMITATION_MEMORY,
			Message:   memoryText(oom),
			Resources: []*mesos.Resource{{Name: &name, Type: &kind, Scalar: &mesos.Value_Scalar{Value: &mb}}},
		}
	}
	return x
}

func memoryText(oom *container.OOM) string {
	text := fmt.Sprintf("Memory limit exceeded: Requested: %s Maximum Used: %s", bytesText(oom.Limit), bytesText(oom.MaxUsed))
	if oom.Statistics == "" {
		return text
	}
	return text + "\n\nMEMORY STATISTICS: \n" + strings.TrimRight(oom.Statistics, "\n") + "\n\n"
}

// bytesText prints bytes as Mesos does: the largest unit that divides them exactly.
func bytesText(n uint64) string {
	for _, u := range []struct {
		size uint64
		name string
	}{{1 << 40, "TB"}, {1 << 30, "GB"}, {1 << 20, "MB"}, {1 << 10, "KB"}} {
		if n >= u.size && n%u.size == 0 {
			return fmt.Sprintf("%d%s", n/u.size, u.name)
		}
	}
	return fmt.Sprintf("%dB", n)
}

func shortLatest(directory string) string {
	parts := strings.Split(directory, string(filepath.Separator))
	// …/frameworks/<framework>/executors/<executor>/runs/<container>
	if n := len(parts); n >= 6 && parts[n-6] == "frameworks" && parts[n-4] == "executors" {
		return sandbox.ShortLatest(parts[n-5], parts[n-3])
	}
	return ""
}
