package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/stoa-project/stoa/agent"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/heap"
)

// agentCmd are the flags of mesos-agent (mesos-agent.md section 13).
type agentCmd struct {
	Master        string `name:"master" required:"" env:"MESOS_MASTER" help:"Masters: host:port, zk://[user:password@]host:port,.../path, or file:///path holding either."`
	IP            string `name:"ip" env:"MESOS_IP,LIBPROCESS_IP" help:"Address to listen on; all when empty."`
	Port          uint16 `name:"port" env:"MESOS_PORT,LIBPROCESS_PORT" default:"5051" help:"Port to listen on."`
	AdvertiseIP   string `name:"advertise_ip" env:"MESOS_ADVERTISE_IP,LIBPROCESS_ADVERTISE_IP" help:"Address that masters and executors reach this agent at."`
	AdvertisePort string `name:"advertise_port" env:"MESOS_ADVERTISE_PORT,LIBPROCESS_ADVERTISE_PORT" help:"Port that masters and executors reach this agent at."`
	Hostname      string `name:"hostname" env:"MESOS_HOSTNAME" help:"Name told to frameworks; asked of the system when empty."`
	Lookup        bool   `name:"hostname_lookup" env:"MESOS_HOSTNAME_LOOKUP" default:"true" negatable:"" help:"Ask the system for the name; otherwise it is the IP."`

	WorkDir     string `name:"work_dir" required:"" env:"MESOS_WORK_DIR" help:"Folder of sandboxes and checkpoints; one agent each."`
	RuntimeDir  string `name:"runtime_dir" env:"MESOS_RUNTIME_DIR" help:"Folder of the keeper's socket and records, lost at a reboot; one agent each. Default /var/run/mesos, with -PORT behind it for ports other than 5051."`
	Resources   string `name:"resources" env:"MESOS_RESOURCES" help:"cpus:2;mem:1024;ports:[31000-32000], a JSON array, or file:///path; what is not named is detected."`
	Attributes  string `name:"attributes" env:"MESOS_ATTRIBUTES" help:"rack:abc;zone:west;level:10"`
	DefaultRole string `name:"default_role" env:"MESOS_DEFAULT_ROLE" default:"*" help:"Role of resources that name none."`

	Containerizers string `name:"containerizers" env:"MESOS_CONTAINERIZERS" default:"mesos" help:"Who runs containers: mesos (processes of this host), docker (the Docker engine), or docker,mesos."`
	Isolation      string `name:"isolation" env:"MESOS_ISOLATION" default:"cgroups/cpu,cgroups/mem" help:"Limits by cgroups where they can be used; posix/cpu,posix/mem turns limits off."`
	Launcher       string `name:"launcher" env:"MESOS_LAUNCHER" help:"linux or posix; posix refuses isolators that need namespaces. Default: whatever this host can do."`
	SwitchUser     bool   `name:"switch_user" env:"MESOS_SWITCH_USER" default:"true" negatable:"" help:"Run tasks as their user instead of the agent's."`

	ExecutorEnv     string   `name:"executor_environment_variables" env:"MESOS_EXECUTOR_ENVIRONMENT_VARIABLES" help:"JSON object of variables for every executor and command task."`
	Registration    duration `name:"executor_registration_timeout" env:"MESOS_EXECUTOR_REGISTRATION_TIMEOUT" default:"1mins" help:"Time for a started executor to subscribe."`
	Reregistration  duration `name:"executor_reregistration_timeout" env:"MESOS_EXECUTOR_REREGISTRATION_TIMEOUT" default:"2secs" help:"Time for executors to come back after a restart of the agent."`
	ShutdownGrace   duration `name:"executor_shutdown_grace_period" env:"MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD" default:"5secs" help:"Time for an executor to end when told to."`
	RecoveryTimeout duration `name:"recovery_timeout" env:"MESOS_RECOVERY_TIMEOUT" default:"15mins" help:"How long executors wait for a lost agent."`
	MaxCompleted    int      `name:"max_completed_executors_per_framework" env:"MESOS_MAX_COMPLETED_EXECUTORS_PER_FRAMEWORK" default:"150" help:"Ended executors remembered."`
	Recover         string   `name:"recover" env:"MESOS_RECOVER" default:"reconnect" enum:"reconnect,cleanup" help:"What happens to tasks of the last run: reconnect, or cleanup: end them and stop."`
	Strict          bool     `name:"strict" env:"MESOS_STRICT" negatable:"" help:"Refuse to start when a checkpoint is damaged; otherwise that costs just the task that it describes."`
	V0Executors     bool     `name:"v0_executors" env:"STOA_V0_EXECUTORS" default:"true" negatable:"" help:"Take executors of the v0 API (libprocess). Its messages prove nothing about their sender: without such executors switch it off."`
	Reconfiguration string   `name:"reconfiguration_policy" env:"MESOS_RECONFIGURATION_POLICY" default:"equal" enum:"equal,additive" help:"Which changes of hostname, resources and attributes keep the agent's id."`
	Backoff         duration `name:"registration_backoff_factor" env:"MESOS_REGISTRATION_BACKOFF_FACTOR" default:"1secs" help:"Registrations are tried within this time, then its doubles up to 1mins."`
	ZKTimeout       duration `name:"zk_session_timeout" env:"MESOS_ZK_SESSION_TIMEOUT" default:"10secs" help:"ZooKeeper session timeout."`
	GCDelay         duration `name:"gc_delay" env:"MESOS_GC_DELAY" default:"1weeks" help:"How long sandboxes of ended tasks are kept."`
	GCHeadroom      float64  `name:"gc_disk_headroom" env:"MESOS_GC_DISK_HEADROOM" default:"0.1" help:"Share of the disk to keep free by removing sandboxes sooner."`
	DiskWatch       duration `name:"disk_watch_interval" env:"MESOS_DISK_WATCH_INTERVAL" default:"1mins" help:"How often the disk is looked at."`
	Heartbeat       duration `name:"http_heartbeat_interval" env:"MESOS_HTTP_HEARTBEAT_INTERVAL" default:"30secs" help:"Interval of signs of life on the streams of ATTACH_CONTAINER_OUTPUT and sessions."`
	Systemd         bool     `name:"systemd_enable_support" env:"MESOS_SYSTEMD_ENABLE_SUPPORT" default:"true" negatable:"" help:"Where systemd runs this host, start the keeper in a scope of its own in mesos_executors.slice, which a stop of the agent's unit leaves alone."`
	SystemdDir      string   `name:"systemd_runtime_directory" env:"MESOS_SYSTEMD_RUNTIME_DIRECTORY" default:"/run/systemd/system" help:"Folder that is there when systemd runs this host."`
	KillTasksOnStop bool     `name:"kill_tasks_on_stop" env:"STOA_KILL_TASKS_ON_STOP" help:"End all tasks when the agent is stopped, instead of leaving them running."`

	agentAddress
	agentCgroups
	agentModules
	agentSecurity
	agentDocker
	agentNetworks
	agentDisk
	agentPorts
	agentImages
	agentConfine
	agentFetch
	agentLogs
	mesosLogging
	agentAccepted  `embed:""`
	agentElsewhere `embed:""`
	Version        bool `name:"version" help:"Print the Mesos version that this agent is compatible with."`
}

// agentAccepted are flags of mesos-agent that are taken so that its command lines and
// environments work, but change nothing here; using one is logged.
type agentAccepted struct {
	LauncherDir      string `name:"launcher_dir" env:"MESOS_LAUNCHER_DIR" hidden:""`
	Docker           string `name:"docker" env:"MESOS_DOCKER" hidden:""`
	DockerMesosImage string `name:"docker_mesos_image" env:"MESOS_DOCKER_MESOS_IMAGE" hidden:""`
	HTTPCommand      *bool  `name:"http_command_executor" env:"MESOS_HTTP_COMMAND_EXECUTOR" negatable:"" hidden:""`
}

// Run runs tasks until the process is told to stop.
func (c *agentCmd) Run(p *process) error {
	log, level, file, err := c.open(p, "agent")
	if err != nil {
		return err
	}
	defer file.close()
	p.log = log
	modules, err := c.agentModules.read(log)
	if err != nil {
		return err
	}
	cfg, err := c.config(modules)
	if err != nil {
		return err
	}
	cfg.LogLevel, cfg.LogFile, cfg.LogDir, cfg.ExternalLogFile = level, file.name, c.LogDir, c.ExternalLog
	for _, name := range append(used(c.agentAccepted), used(c.agentElsewhere)...) {
		p.log.Warn("flag has no effect", "flag", "--"+name)
	}
	if cfg.Security, err = c.agentSecurity.config(p.log); err != nil {
		return err
	}
	if err := c.agentConfine.apply(&cfg); err != nil {
		return err
	}
	if cfg.Logs, err = c.agentLogs.config(modules, p.log); err != nil {
		return err
	}
	if cfg.Confine, err = c.agentConfine.confineConfig(); err != nil {
		return err
	}
	door, err := agent.New(cfg, p.log)
	if err != nil {
		return err
	}
	go heap.Trim(p.ctx)
	leave := make(chan os.Signal, 1)
	signal.Notify(leave, syscall.SIGUSR1)
	go func() { // as mesos-agent; ends with the process
		for range leave {
			door.Leave()
		}
	}()
	return door.Run(p.ctx)
}

// config checks the flags and fills the room's Config; modules is what --modules says.
func (c *agentCmd) config(modules string) (agent.Config, error) {
	env := map[string]string{}
	if text := c.ExecutorEnv; text != "" {
		if path, ok := strings.CutPrefix(text, "file://"); ok {
			b, err := os.ReadFile(path)
			if err != nil {
				return agent.Config{}, fault.New("stoa agent", fault.Invalid, "--executor_environment_variables", err)
			}
			text = string(b)
		}
		if err := json.Unmarshal([]byte(text), &env); err != nil {
			return agent.Config{}, fault.New("stoa agent", fault.Invalid, "--executor_environment_variables",
				fmt.Errorf("it must be a JSON object of strings: %w", err))
		}
	}
	if c.GCHeadroom < 0 || c.GCHeadroom > 1 {
		return agent.Config{}, fault.New("stoa agent", fault.Invalid, "--gc_disk_headroom", errors.New("it must be from 0 to 1"))
	}
	headroom := c.GCHeadroom
	if headroom == 0 {
		headroom = -1 // none; 0 would mean the default
	}
	suffix := ""
	if c.Port != 5051 {
		suffix = "-" + strconv.Itoa(int(c.Port))
	}
	if c.RuntimeDir == "" {
		c.RuntimeDir = "/var/run/mesos" + suffix
	}
	if c.Heartbeat <= 0 {
		return agent.Config{}, fault.New("stoa agent", fault.Invalid, "--http_heartbeat_interval", errors.New("it must be positive"))
	}
	ip, ip6, err := c.addresses(c.IP)
	if err != nil {
		return agent.Config{}, err
	}
	images, box, err := c.agentImages.config(c.WorkDir, suffix)
	if err != nil {
		return agent.Config{}, err
	}
	cfg := agent.Config{
		Master: c.Master, IP: ip, IP6: ip6, Port: strconv.Itoa(int(c.Port)), AdvertiseIP: c.AdvertiseIP, AdvertisePort: c.AdvertisePort,
		Hostname: c.Hostname, NoHostnameLookup: !c.Lookup, WorkDir: c.WorkDir, RuntimeDir: c.RuntimeDir,
		Resources: c.Resources, Attributes: c.Attributes, DefaultRole: c.DefaultRole,
		Isolation: c.Isolation, Containerizers: c.Containerizers, Docker: c.agentDocker.config(), CNI: c.agentNetworks.config(), Images: images, DefaultContainerInfo: box, HostPathVolumeForceCreation: c.ForceCreation, Domain: c.Domain, GCNested: c.GCNested, Disk: c.agentDisk.disk(), Ports: c.agentPorts.ports(), Oversubscription: c.agentDisk.oversubscription(modules), SandboxDirectory: c.SandboxInside, Launcher: c.Launcher,
		NoSwitchUser: !c.SwitchUser, NoOldExecutors: !c.V0Executors, Fetch: c.agentFetch.config(c.WorkDir, suffix), ExecutorEnvironmentVariables: env,
		ExecutorRegistrationTimeout: time.Duration(c.Registration), ExecutorReregistrationTimeout: time.Duration(c.Reregistration),
		ExecutorShutdownGracePeriod: time.Duration(c.ShutdownGrace), RecoveryTimeout: time.Duration(c.RecoveryTimeout),
		MaxCompletedExecutorsPerFramework: c.MaxCompleted, ReconfigurationPolicy: c.Reconfiguration,
		RegistrationBackoffFactor: time.Duration(c.Backoff), ZKSessionTimeout: time.Duration(c.ZKTimeout),
		GCDelay: time.Duration(c.GCDelay), GCDiskHeadroom: headroom,
		DiskWatchInterval: time.Duration(c.DiskWatch), KillTasksOnStop: c.KillTasksOnStop, Recover: c.Recover, Strict: c.Strict, HTTPHeartbeat: time.Duration(c.Heartbeat), Version: version,
	}
	c.agentCgroups.apply(&cfg, suffix)
	if c.Systemd {
		cfg.SystemdDir = c.SystemdDir
	}
	cfg.Flags = c.flags()
	return cfg, nil
}

// flags gives what /flags and /state print: the values that were used, as strings.
func (c *agentCmd) flags() map[string]string { return flagValues(c) }

// withoutPassword hides the credentials of a zk:// address.
func withoutPassword(s string) string {
	rest, ok := strings.CutPrefix(s, "zk://")
	if at := strings.LastIndex(rest, "@"); ok && at >= 0 {
		return "zk://" + rest[at+1:]
	}
	return s
}

// used lists the names of the accepted flags that were given.
func used(accepted any) []string {
	var names []string
	v := reflect.ValueOf(accepted)
	for i := range v.NumField() {
		if !v.Field(i).IsZero() {
			names = append(names, v.Type().Field(i).Tag.Get("name"))
		}
	}
	return names
}
