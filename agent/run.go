package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stoa-project/stoa/agent/check"
	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/container/proc"
	"github.com/stoa-project/stoa/agent/executors"
	"github.com/stoa-project/stoa/agent/fetch"
	"github.com/stoa-project/stoa/agent/inventory"
	"github.com/stoa-project/stoa/agent/journal"
	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/agent/operators"
	"github.com/stoa-project/stoa/agent/sandbox"
	"github.com/stoa-project/stoa/agent/uplink"
	"github.com/stoa-project/stoa/agent/volume"
	"github.com/stoa-project/stoa/internal/election"
	"github.com/stoa-project/stoa/internal/libprocess"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/zk"
)

// capabilities is what this agent can do (libprocess.md 5.1), no more.
func capabilities() []*mesos.AgentInfo_Capability {
	var out []*mesos.AgentInfo_Capability
	for _, c := range []mesos.AgentInfo_Capability_Type{
		mesos.AgentInfo_Capability_MULTI_ROLE, mesos.AgentInfo_Capability_HIERARCHICAL_ROLE, mesos.AgentInfo_Capability_RESERVATION_REFINEMENT,
		mesos.AgentInfo_Capability_RESOURCE_PROVIDER, mesos.AgentInfo_Capability_RESIZE_VOLUME,
		mesos.AgentInfo_Capability_AGENT_OPERATION_FEEDBACK, mesos.AgentInfo_Capability_AGENT_DRAINING,
		mesos.AgentInfo_Capability_TASK_RESOURCE_LIMITS,
	} {
		out = append(out, &mesos.AgentInfo_Capability{Type: c.Enum()})
	}
	return out
}

// Run is the agent, from start to stop, in the order of the package comment. It returns
// nil when ctx ended, otherwise why the agent cannot go on.
func (a *Agent) Run(ctx context.Context) error {
	started := time.Now()
	e := newEngine(a.cfg, a.log)
	e.started = started
	host, err := inventory.Take(inventory.Config{
		Resources: a.cfg.Resources, Attributes: a.cfg.Attributes, DefaultRole: a.cfg.DefaultRole, Hostname: a.cfg.Hostname,
		IP: a.cfg.IP, NoLookup: a.cfg.NoHostnameLookup, WorkDir: a.cfg.WorkDir,
	})
	if err != nil {
		return err
	}
	e.boot = host.BootID
	tcfg, err := libprocess.AddressConfig(libprocess.AddressFlags{
		IP: a.cfg.IP, Port: a.cfg.Port, AdvertiseIP: a.cfg.AdvertiseIP, AdvertisePort: a.cfg.AdvertisePort,
	}, os.Getenv)
	if err != nil {
		return err
	}
	detector, err := election.DetectorFor(a.cfg.Master, zk.Config{SessionTimeout: a.cfg.ZKSessionTimeout, Logger: a.log},
		election.Over(a.cfg.Security.TLS.Scheme(), a.cfg.Security.TLS.Transport(nil)))
	if err != nil {
		return err
	}
	for _, d := range [][2]string{{"--work_dir", a.cfg.WorkDir}, {"--runtime_dir", a.cfg.RuntimeDir}} {
		flag, dir := d[0], d[1]
		if flag == "--runtime_dir" && dir == a.cfg.WorkDir {
			continue
		}
		lock, err := lockDir(dir, flag)
		if err != nil {
			return err
		}
		defer lock.Close()
	}
	if e.meta, err = journal.OpenMeta(a.cfg.WorkDir); err != nil {
		return err
	}
	door := &handler{}
	secure := &a.cfg.Security
	tcfg.HTTP, tcfg.Delegate, tcfg.Logger = answered(secure.guard(door)), processID, a.log
	tcfg.TLS, tcfg.DialTLS, tcfg.Downgrade = secure.TLS.Server(), secure.TLS.Client, secure.TLS.Downgrade()
	tcfg.RequirePeerIP, tcfg.MaxConns = secure.RequirePeerIP, maxConnections()
	transport, err := libprocess.New(tcfg)
	if err != nil {
		return err
	}
	a.addr, e.transport = transport.Addr(), transport
	e.info = slaveInfo(host, int32(a.addr.Port()), a.domain)
	e.runtime = a.cfg.Runtime
	if e.runtime == nil && a.cfg.has("mesos") {
		e.runtime = proc.New(proc.Config{
			RuntimeDir: a.cfg.RuntimeDir, Cgroups: a.cgroups, CgroupsHierarchy: a.cfg.CgroupsHierarchy,
			CgroupsRoot: a.cfg.CgroupsRoot, CFS: a.cfg.CgroupsEnableCFS, LimitSwap: a.cfg.CgroupsLimitSwap, RevocableFull: a.cfg.RevocableCPUFullPriority, DestroyTimeout: a.cfg.CgroupsDestroyTimeout, Controllers: a.controllers, Devices: a.devices, Pids: a.cfg.PidsLimit, KeeperCommand: a.cfg.KeeperCommand, KeeperScope: a.cfg.keeperScope(a.log),
		}, a.log)
	}
	if err := a.joinDocker(e); err != nil {
		transport.Close()
		return err
	}
	a.cfg.Fetch.Groups = fetch.Groups{Use: a.cgroups, Hierarchy: a.cfg.CgroupsHierarchy, Root: a.cfg.CgroupsRoot}
	if e.fetcher, err = fetch.New(a.cfg.Fetch, a.log); err != nil {
		transport.Close()
		return err
	}
	e.collector = sandbox.NewCollector(sandbox.CollectConfig{
		Delay: a.cfg.GCDelay, Headroom: a.cfg.GCDiskHeadroom, Interval: a.cfg.DiskWatchInterval, Path: a.cfg.WorkDir,
	}, a.log, func(directory string) {
		if strings.HasPrefix(directory, filepath.Join(a.cfg.WorkDir, "slaves")+string(filepath.Separator)) { // a sandbox
			e.prepare.Removed(directory)
		}
	})
	e.files = sandbox.NewFiles()
	if a.cfg.LogFile != "" {
		e.files.Attach("/slave/log", a.cfg.LogFile)
	}
	if e.images, err = a.openImages(e.provided.took); err != nil {
		transport.Close()
		return err
	}
	if e.images != nil {
		defer e.images.Close()
	}
	e.disks = volume.New(a.cfg.WorkDir, a.log)
	if e.prepare, err = a.preparer(e); err != nil {
		transport.Close()
		return err
	}
	e.quota, e.extra = a.watchDisk(e), a.extra
	if e.ports, err = a.watchPorts(e); err != nil {
		transport.Close()
		return err
	}
	e.checks = check.NewRunner(a.log)
	e.executors = executors.New(e, a.log)
	e.old = executors.NewOld(transport, transport.PID(processID), func(ev lifecycle.Event) { e.post(e.ctx, ev) }, a.log)
	version := newUUID()
	e.resourceVersion = version[:]
	e.core = lifecycle.New(lifecycle.Config{
		PID: transport.PID(processID).String(), Endpoint: a.addr.String(), IP: a.addr.Addr().String(), IP6: a.cfg.IP6, WorkDir: a.cfg.WorkDir,
		SwitchUser: !a.cfg.NoSwitchUser, ShutdownGrace: a.cfg.ExecutorShutdownGracePeriod,
		RegisterTimeout: a.cfg.ExecutorRegistrationTimeout, ReregisterTimeout: a.cfg.ExecutorReregistrationTimeout,
		RecoveryTimeout: a.cfg.RecoveryTimeout, ExecutorEnv: a.cfg.ExecutorEnvironmentVariables, LibprocessIP: os.Getenv("LIBPROCESS_IP"),
		MaxExecutors: a.cfg.MaxCompletedExecutorsPerFramework, NewID: newUUID, Info: agentInfo(e.info),
		Containerizers: strings.Split(a.cfg.Containerizers, ","), SandboxDirectory: a.cfg.SandboxDirectory, Images: e.images != nil, NoLimits: !a.cgroups, DefaultContainer: a.cfg.DefaultContainerInfo, DockerStopTimeout: a.cfg.Docker.StopTimeout, ResourceVersion: e.resourceVersion, CollectNested: a.cfg.GCNested,
		Rules: secure.Rules, DefaultUser: a.cfg.DefaultTaskUser,
	})
	oldExecutors := e.old.Handle
	if a.cfg.NoOldExecutors {
		oldExecutors = nil
	}
	e.uplink, err = uplink.New(uplink.Config{
		ID: processID, Handle: oldExecutors, Detector: detector, Backoff: a.cfg.RegistrationBackoffFactor, Version: e.resourceVersion,
		Authentication: uplink.Authentication{Do: secure.authenticate(transport), Min: secure.Patience.Min,
			Factor: secure.Patience.Factor, Max: secure.Patience.Max},
	}, transport, e, a.log)
	if err != nil {
		transport.Close()
		return err
	}
	reg := newMetrics(e, started)
	door.set(operators.New(operators.Config{
		PID: transport.PID(processID).String(), Info: e.info, Capabilities: capabilities(), Version: MesosVersion, Build: a.cfg.Version,
		Started: started, Flags: a.cfg.Flags, LogLevel: a.cfg.LogLevel, LogFile: a.cfg.LogFile, LogDir: a.cfg.LogDir, ExternalLog: a.cfg.ExternalLogFile, Heartbeat: a.cfg.HTTPHeartbeat, Recovered: e.recovery.Load, View: e.View, Files: e.files, Containers: e, PruneImages: e.PruneImages, Metrics: reg, Rules: secure.Rules, Executors: e.executors,
		MasterHostname: func() string {
			if m := e.uplink.Leader(); m != nil {
				return m.Hostname
			}
			return ""
		},
		Usage: e.usage,
	}, a.log))
	return a.serve(ctx, e, transport, started)
}

// serve runs the parts, each in one goroutine of the group; the first that fails ends all.
func (a *Agent) serve(ctx context.Context, e *engine, transport *libprocess.Transport, started time.Time) error {
	// The parts outlive ctx by the time that an orderly stop takes.
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	e.ctx = inner
	g, gctx := errgroup.WithContext(inner)
	g.Go(func() error {
		if err := transport.Serve(); err != nil && !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	close(a.listening)
	endKeeper := false
	stop := func(err error) error {
		cancel()
		e.checks.Close()
		e.wg.Wait()
		e.prepare.Wait()
		transport.Close()
		gerr := g.Wait()
		if endKeeper {
			a.endKeeper(e)
		}
		e.runtime.Close()
		e.fetcher.Close()
		e.disks.Wait()
		for _, j := range []*journal.Journal{e.jour, e.holdings} {
			if j != nil {
				j.Close()
			}
		}
		if err == nil && gerr != nil && !errors.Is(gerr, context.Canceled) {
			err = gerr
		}
		return err
	}
	a.log.Info("agent listens", "address", a.addr.String(), "work_dir", a.cfg.WorkDir)
	if err := e.recover(ctx); err != nil {
		return stop(err)
	}
	a.engine.Store(e)
	g.Go(func() error { return e.loop(inner) })
	g.Go(func() error {
		err := e.runtime.Watch(inner, func(ev container.Event) { e.post(inner, exited(ev)) })
		if inner.Err() != nil {
			return nil
		}
		return fmt.Errorf("agent: exits can no longer be heard: %w", err)
	})
	g.Go(func() error { return ignoreCancel(e.collector.Run(inner)) })
	if e.quota != nil {
		g.Go(func() error { return ignoreCancel(e.quota.Run(inner)) })
	}
	if e.ports != nil {
		g.Go(func() error { return ignoreCancel(e.ports.Run(inner)) })
	}
	if e.images != nil {
		g.Go(func() error { return ignoreCancel(e.images.Run(inner)) })
	}
	if a.cfg.Recover == "cleanup" {
		endKeeper = true
		return stop(a.cleanup(ctx, e))
	}
	if err := e.awaitExecutors(ctx); err != nil {
		return stop(ignoreCancel(err))
	}
	a.log.Info("recovery ended", "agent", e.core.ID(), "took", time.Since(started))
	g.Go(func() error {
		if err := e.uplink.Run(inner); err != nil {
			return err
		}
		return nil
	})
	select {
	case <-ctx.Done():
		endKeeper = a.stopping(e)
		return stop(nil)
	case <-a.leave:
		a.log.Info("leaving: the master is told, all tasks end")
		e.uplink.Unregister()
		_ = e.endAll(inner, true)
		e.settle(inner)
		endKeeper = true
		return stop(nil)
	case why := <-e.shutdown:
		_ = e.endAll(inner, true)
		return stop(fmt.Errorf("agent: the master shut this agent down: %s", why))
	case <-gctx.Done():
		return stop(nil)
	}
}

func ignoreCancel(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
