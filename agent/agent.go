// Package agent is the door of the room that runs tasks on a host: it wires the core
// (lifecycle) to its journal, to the containers and sandboxes, to the masters (uplink),
// to executors and to operators.
//
// # Start
//
//  1. take the host's inventory; read the journal of meta/slaves/latest; refuse to go on
//     when the agent would be another one than its journal says (--reconfiguration_policy)
//  2. bind the address; until recovery ends every route but /health answers 503, and
//     pings of a master are answered already
//  3. attach to the keeper: which containers live, which ended, and how
//  4. let the core match its records with them: what lives goes on, with its checks;
//     what ended is told with its true end; what never started is told as lost; what
//     nobody knows is destroyed
//  5. give custom executors of the last run --executor_reregistration_timeout to come back
//  6. find the leading master and register again under the same id
//
// # Stop
//
// When the context ends, tasks run on, as with Mesos; only frameworks that do not
// checkpoint lose theirs. With Config.KillTasksOnStop every task is ended, its end is
// recorded for the next start, and the keeper goes too: no process is left.
//
// # One goroutine, one core
//
// The engine's loop owns the core and the journal. It takes all waiting events at once,
// steps the core through them, makes the records of the whole batch durable with one
// fsync and then carries out the effects (group commit).
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/stoa-project/stoa/agent/confine"
	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/container/cgroup"
	"github.com/stoa-project/stoa/agent/fetch"
	"github.com/stoa-project/stoa/agent/prepare"
	"github.com/stoa-project/stoa/agent/tasklog"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Fetch bounds and equips the fetching of URIs.
type Fetch = fetch.Config

// Config is the agent's configuration; the names are those of the flags (mesos-agent.md 13).
type Config struct {
	Master string // zk://…, host:port or file://…

	IP, Port                   string // listen address; empty: 0.0.0.0 and 5051; port "0" takes a free one
	AdvertiseIP, AdvertisePort string
	IP6                        string // told as an address of tasks in the host's network; may be empty
	Hostname                   string
	NoHostnameLookup           bool

	WorkDir    string // required
	RuntimeDir string // empty: /var/run/mesos

	Resources   string
	Attributes  string
	DefaultRole string
	Domain      string // JSON or file://PATH; empty: none

	Isolation        string         // "cgroups/cpu,cgroups/mem" turns limits on
	Logs             tasklog.Config // bounds of stdout and stderr
	Confine          confine.Config // the isolators in it are those of Isolation
	Disk             Disk
	Ports            Ports
	Oversubscription Oversubscription
	Containerizers   string // "mesos", "docker" or both with a comma between; empty: mesos
	Docker           Docker
	CNI              CNI
	SandboxDirectory string // the sandbox inside containers with a file system of their own; empty: /mnt/mesos/sandbox
	CgroupsHierarchy string
	CgroupsRoot      string
	CgroupsEnableCFS bool
	CgroupsLimitSwap bool   // the memory limit is one of memory and swap together
	Launcher         string // "linux" or "posix", which refuses isolators that need namespaces; empty: linux
	// RevocableCPUFullPriority gives revocable CPUs the weight of others (--no-revocable_cpu_low_priority).
	RevocableCPUFullPriority bool
	CgroupsDestroyTimeout    time.Duration          // 0: 1 min
	AllowedDevices           *mesos.DeviceWhitelist // that tasks may use beside the usual ones; needs cgroups/devices
	PidsLimit                int64                  // processes and threads of one container; 0: 4096; negative: no limit
	NoSwitchUser             bool
	DefaultTaskUser          string   // of tasks that name none, instead of their framework's; empty: the framework's
	SecretsDir               string   // --secrets_dir: files that references to secrets mean; empty: such references fail
	AllowedHostPaths         []string // that volumes of tasks may show; empty: all

	ExecutorEnvironmentVariables      map[string]string
	ExecutorRegistrationTimeout       time.Duration // 0: 1 min
	ExecutorReregistrationTimeout     time.Duration // 0: 2 s, at most 15 s
	ExecutorShutdownGracePeriod       time.Duration // 0: 5 s
	RecoveryTimeout                   time.Duration // 0: 15 min
	NoOldExecutors                    bool          // nobody is heard as an executor of the v0 API
	MaxCompletedExecutorsPerFramework int

	ReconfigurationPolicy     string        // "equal" or "additive"; empty: equal
	RegistrationBackoffFactor time.Duration // 0: 1 s
	ZKSessionTimeout          time.Duration // 0: 10 s

	Fetch             Fetch
	GCDelay           time.Duration
	GCDiskHeadroom    float64
	DiskWatchInterval time.Duration
	GCNested          bool // remove sandboxes of nested containers before the executor\'s

	Strict          bool     // a damaged checkpoint keeps the agent from starting
	Recover         string   // "reconnect" or "cleanup": end what lived on and stop; empty: reconnect
	KillTasksOnStop bool     // end every task and the keeper when stopping
	KeeperCommand   []string // how to start a keeper; empty: this program
	SystemdDir      string   // there when systemd runs this host: the keeper gets a scope of its own then (--systemd_runtime_directory); empty: it does not

	Images               Images
	DefaultContainerInfo *mesos.ContainerInfo // --default_container_info; may be nil

	HostPathVolumeForceCreation string // folders, with colons between them, below which volumes' host paths are made

	Version string            // of this program
	Flags   map[string]string // what /flags shows

	LogFile         string         // shown as /slave/log by /files; empty: none
	LogDir          string         // told in /state
	ExternalLogFile string         // told in /state
	HTTPHeartbeat   time.Duration  // between signs of life on output streams; 0: 30 s
	LogLevel        *slog.LevelVar `json:"-"` // of the logger, lowered by /logging/toggle; nil: it stays as it is

	Security Security // who may speak to this agent, and who it is for the master

	// Runtime holds the containers; nil makes the keeper's. Tests give their own.
	Runtime container.Runtime
}

// processID is the agent's libprocess id; each agent has a port of its own.
const processID = "slave(1)"

// MesosVersion is what this agent claims to masters and clients, whose behaviour depends
// on it.
const MesosVersion = "1.11.0"

// Agent is one agent.
type Agent struct {
	cfg         Config
	isolation   isolation
	domain      *mesos.DomainInfo
	extra       resource.Resources // offered beyond what there is
	cgroups     bool               // tasks have limits
	confine     *confine.Rules
	controllers []string // controllers beside the usual ones
	devices     []cgroup.Device
	nodes       []container.Device // of linux/devices
	dns         container.DefaultDNS
	log         *slog.Logger
	listening   chan struct{}
	leave       chan struct{}  // the operator wants it gone for good
	addr        netip.AddrPort // valid once listening is closed
	engine      atomic.Pointer[engine]
}

// New checks the configuration and starts nothing. Errors are fault.Invalid and name
// the flag.
func New(cfg Config, log *slog.Logger) (*Agent, error) {
	const op = "agent"
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if cfg.Master == "" {
		return nil, fault.New(op, fault.Invalid, "--master", errors.New("give host:port or zk://host:port/path of the masters"))
	}
	if cfg.WorkDir == "" {
		return nil, fault.New(op, fault.Invalid, "--work_dir", errors.New("give a folder for sandboxes and checkpoints"))
	}
	var err error
	if cfg.WorkDir, err = filepath.Abs(cfg.WorkDir); err != nil {
		return nil, fault.New(op, fault.Invalid, "--work_dir", err)
	}
	if cfg.RuntimeDir == "" {
		cfg.RuntimeDir = "/var/run/mesos"
	}
	if cfg.RuntimeDir, err = filepath.Abs(cfg.RuntimeDir); err != nil {
		return nil, fault.New(op, fault.Invalid, "--runtime_dir", err)
	}
	if cfg.Port == "" {
		cfg.Port = "5051"
	}
	if n, err := strconv.Atoi(cfg.Port); err != nil || n < 0 || n > 65535 {
		return nil, fault.New(op, fault.Invalid, "--port", fmt.Errorf("%q is no number from 0 to 65535", cfg.Port))
	}
	switch cfg.ReconfigurationPolicy {
	case "":
		cfg.ReconfigurationPolicy = "equal"
	case "equal", "additive":
	default:
		return nil, fault.New(op, fault.Invalid, "--reconfiguration_policy", fmt.Errorf("%q is neither equal nor additive", cfg.ReconfigurationPolicy))
	}
	switch cfg.Recover {
	case "":
		cfg.Recover = "reconnect"
	case "reconnect", "cleanup":
	default:
		return nil, fault.New(op, fault.Invalid, "--recover", fmt.Errorf("%q is neither reconnect nor cleanup", cfg.Recover))
	}
	if cfg.SandboxDirectory == "" {
		cfg.SandboxDirectory = "/mnt/mesos/sandbox"
	}
	if !filepath.IsAbs(cfg.SandboxDirectory) || filepath.Clean(cfg.SandboxDirectory) == "/" {
		return nil, fault.New(op, fault.Invalid, "--sandbox_directory", fmt.Errorf("%q is not an absolute path below /", cfg.SandboxDirectory))
	}
	if err := cfg.containerizers(); err != nil {
		return nil, err
	}
	if err := cfg.imageProviders(); err != nil {
		return nil, err
	}
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&cfg.ExecutorRegistrationTimeout, time.Minute)
	def(&cfg.ExecutorReregistrationTimeout, 2*time.Second)
	def(&cfg.ExecutorShutdownGracePeriod, 5*time.Second)
	def(&cfg.RecoveryTimeout, 15*time.Minute)
	def(&cfg.RegistrationBackoffFactor, time.Second)
	def(&cfg.ZKSessionTimeout, 10*time.Second)
	if cfg.ExecutorReregistrationTimeout > 15*time.Second {
		return nil, fault.New(op, fault.Invalid, "--executor_reregistration_timeout", errors.New("at most 15secs"))
	}
	iso, err := parseIsolation(cfg.Isolation)
	if err != nil {
		return nil, err
	}
	if !iso.cgroups && cfg.has("mesos") {
		log.Warn("limits of CPU and memory are not enforced: --isolation names no cgroups/…")
	}
	if err := iso.launcher(cfg.Launcher, cfg.Images.Providers != ""); err != nil {
		return nil, err
	}
	if len(iso.without) > 0 {
		log.Warn("isolators have no effect", "isolators", iso.without)
	}
	domain, err := parseDomain(cfg.Domain)
	if err != nil {
		return nil, err
	}
	extra, err := cfg.Oversubscription.estimate()
	if err != nil {
		return nil, err
	}
	iso.confine(&cfg.Confine)
	cfg.unprivileged(log)
	if cfg.AllowedHostPaths, err = prepare.ReadHostPaths(cfg.AllowedHostPaths); err != nil {
		return nil, fault.New(op, fault.Invalid, "--allowed_host_paths", err)
	}
	dns, err := container.ParseDNS(cfg.Docker.DNS)
	if err != nil {
		return nil, err
	}
	devices, err := allowedDevices(cfg.AllowedDevices)
	if err != nil {
		return nil, err
	}
	rules, err := confine.New(cfg.Confine)
	if err != nil {
		return nil, err
	}
	var nodes []container.Device
	if iso.names["linux/devices"] {
		nodes = deviceNodes(cfg.AllowedDevices, devices)
	}
	return &Agent{cfg: cfg, nodes: nodes, isolation: iso, domain: domain, extra: extra, cgroups: iso.cgroups, controllers: iso.controllers(), devices: devices, dns: dns, confine: rules, log: log, listening: make(chan struct{}), leave: make(chan struct{}, 1)}, nil
}

// Leave has the agent tell its master that it goes for good, end all its tasks, and stop:
// Run returns nil then (mesos-agent.md 9, SIGUSR1).
func (a *Agent) Leave() {
	select {
	case a.leave <- struct{}{}:
	default: // it is leaving already
	}
}

// Listening is closed when the address is bound; Addr is valid from then on.
func (a *Agent) Listening() <-chan struct{} { return a.listening }

// Addr is the advertised address.
func (a *Agent) Addr() netip.AddrPort { return a.addr }

// Registered tells whether a master has this agent at present.
func (a *Agent) Registered() bool {
	e := a.engine.Load()
	return e != nil && e.uplink.Registered()
}

// ID is the agent id, empty before the first registration.
func (a *Agent) ID() string {
	e := a.engine.Load()
	if e == nil {
		return ""
	}
	if v, err := e.View(context.Background()); err == nil {
		return v.Agent
	}
	return ""
}
