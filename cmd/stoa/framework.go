package main

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/stoa-project/stoa/framework"
	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/internal/auth"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/zk"
)

// frameworkCmd are Marathon's flags (marathon.md section 11); times are in milliseconds
// unless the help says otherwise. Those that are taken for compatibility and have no
// effect here say so.
type frameworkCmd struct {
	Master        string `name:"master" env:"MARATHON_MASTER" required:"" help:"Mesos master: zk://host:port,.../mesos, host:port or http://host:port."`
	ZK            string `name:"zk" env:"MARATHON_ZK" help:"zk://[user:password@]host:port,.../marathon for election and records; without it --work_dir."`
	WorkDir       string `name:"work_dir" env:"MARATHON_WORK_DIR" help:"Folder of the records of a single framework."`
	HTTPPort      int    `name:"http_port" env:"MARATHON_HTTP_PORT" default:"8080" help:"Port of the API; 0 takes any."`
	HTTPAddress   string `name:"http_address" env:"MARATHON_HTTP_ADDRESS" help:"Address of the API; all when empty."`
	Hostname      string `name:"hostname" env:"MARATHON_HOSTNAME" help:"Name under which other processes reach this one; the machine's when empty."`
	WebUI         string `name:"webui_url" env:"MARATHON_WEBUI_URL" help:"Address of the API as shown by Mesos."`
	Credentials   string `name:"http_credentials" env:"MARATHON_HTTP_CREDENTIALS,MESOSPHERE_HTTP_CREDENTIALS" help:"user:password that every request must carry (HTTP basic)."`
	Realm         string `name:"http_realm" env:"MARATHON_HTTP_REALM" default:"Mesosphere" help:"Realm shown to those who give no password."`
	MaxRequests   int    `name:"http_max_concurrent_requests" env:"MARATHON_HTTP_MAX_CONCURRENT_REQUESTS" help:"Requests answered at once, event streams apart; more get 503. 0: any number."`
	Compression   bool   `name:"http_compression" env:"MARATHON_HTTP_COMPRESSION" default:"true" help:"Compress long answers for clients that take gzip."`
	NoCompression bool   `name:"disable_http_compression" help:"The opposite of --http_compression."`
	Assets        string `name:"assets_path" env:"MARATHON_ASSETS_PATH" help:"Folder served below /ui/, as a built Marathon UI; a small page of this program when empty."`
	Origins       string `name:"access_control_allow_origin" env:"MARATHON_ACCESS_CONTROL_ALLOW_ORIGIN" help:"Comma list of origins for CORS."`

	Name            string `name:"framework_name" env:"MARATHON_FRAMEWORK_NAME" default:"marathon" help:"Name at the master; the second label of DNS names."`
	Role            string `name:"mesos_role" env:"MARATHON_MESOS_ROLE" default:"*" help:"Role that offers are asked for."`
	User            string `name:"mesos_user" env:"MARATHON_MESOS_USER" help:"User of tasks that name none; this process' user when empty."`
	Principal       string `name:"mesos_authentication_principal" env:"MARATHON_MESOS_AUTHENTICATION_PRINCIPAL" help:"Principal at the master."`
	FailoverTimeout int64  `name:"failover_timeout" env:"MARATHON_FAILOVER_TIMEOUT" default:"604800" help:"Seconds that the master keeps tasks without a framework."`
	Checkpoint      bool   `name:"checkpoint" env:"MARATHON_CHECKPOINT" default:"true" help:"Tasks survive a restart of their agent."`
	NoCheckpoint    bool   `name:"disable_checkpoint" help:"The opposite of --checkpoint."`
	EnvPrefix       string `name:"env_vars_prefix" env:"MARATHON_ENV_VARS_PREFIX" help:"Put before HOST and PORT variables of tasks."`
	Network         string `name:"default_network_name" env:"MARATHON_DEFAULT_NETWORK_NAME" help:"Container network of apps that name none."`
	Bridge          string `name:"mesos_bridge_name" env:"MARATHON_MESOS_BRIDGE_NAME" default:"mesos-bridge" help:"Network of bridge mode."`
	Features        string `name:"enable_features" env:"MARATHON_ENABLE_FEATURES" help:"Comma list of vips, task_killing, external_volumes, secrets, gpu_resources."`
	PortMin         int    `name:"local_port_min" env:"MARATHON_LOCAL_PORT_MIN" default:"10000" help:"Lowest service port to assign."`
	PortMax         int    `name:"local_port_max" env:"MARATHON_LOCAL_PORT_MAX" default:"20000" help:"Highest service port to assign."`
	AcceptedRoles   string `name:"accepted_resource_roles_default_behavior" env:"MARATHON_ACCEPTED_RESOURCE_ROLES_DEFAULT_BEHAVIOR" default:"any" enum:"any,unreserved,reserved" help:"Which resources apps take that do not say."`

	NewGroupRole string `name:"new_group_enforce_role" env:"MARATHON_NEW_GROUP_ENFORCE_ROLE" default:"off" enum:"off,top" help:"top: apps below a new top-level group take its name as their role; off: they may."`

	ConfirmTimeout   int64  `name:"task_launch_confirm_timeout" env:"MARATHON_TASK_LAUNCH_CONFIRM_TIMEOUT" default:"300000" help:"Longest time until an agent confirms a launch."`
	LaunchTimeout    int64  `name:"task_launch_timeout" env:"MARATHON_TASK_LAUNCH_TIMEOUT" default:"300000" help:"Longest time until a task runs."`
	ReconcileInitial int64  `name:"reconciliation_initial_delay" env:"MARATHON_RECONCILIATION_INITIAL_DELAY" default:"15000" help:"From subscription to the second reconciliation."`
	Reconcile        int64  `name:"reconciliation_interval" env:"MARATHON_RECONCILIATION_INTERVAL" default:"600000" help:"Between reconciliations."`
	ScaleInitial     int64  `name:"scale_apps_initial_delay" env:"MARATHON_SCALE_APPS_INITIAL_DELAY" default:"15000" help:"From election to the first check of instance counts."`
	Scale            int64  `name:"scale_apps_interval" env:"MARATHON_SCALE_APPS_INTERVAL" default:"300000" help:"Between checks of instance counts."`
	Revive           int64  `name:"min_revive_offers_interval" env:"MARATHON_MIN_REVIVE_OFFERS_INTERVAL" default:"5000" help:"Mean time between REVIVE calls under load; short bursts are not held back."`
	Decline          int64  `name:"decline_offer_duration" env:"MARATHON_DECLINE_OFFER_DURATION" default:"120000" help:"How long unused offers stay away."`
	Suppress         bool   `name:"suppress_offers" env:"MARATHON_SUPPRESS_OFFERS" default:"true" help:"Ask for no offers while nothing waits."`
	NoSuppress       bool   `name:"disable_suppress_offers" help:"The opposite of --suppress_offers."`
	MaxPerOffer      int    `name:"max_instances_per_offer" env:"MARATHON_MAX_INSTANCES_PER_OFFER" default:"1000" help:"Instances launched on one offer; they spread over the offers at hand first. Marathon has 5."`
	MaxDeployments   int    `name:"max_running_deployments" env:"MARATHON_MAX_RUNNING_DEPLOYMENTS" default:"100" help:"Deployments at once."`
	KillChunk        int    `name:"kill_chunk_size" env:"MARATHON_KILL_CHUNK_SIZE" default:"100" help:"Kills in flight."`
	KillRetry        int64  `name:"kill_retry_timeout" env:"MARATHON_KILL_RETRY_TIMEOUT" default:"30000" help:"Until a kill is repeated."`
	Maintenance      bool   `name:"maintenance_mode" env:"MARATHON_MAINTENANCE_MODE" default:"true" help:"Refuse agents in maintenance."`
	NoMaintenance    bool   `name:"disable_maintenance_mode" help:"The opposite of --maintenance_mode."`
	Draining         int64  `name:"draining_seconds" env:"MARATHON_DRAINING_SECONDS" default:"0" help:"Seconds before maintenance from which an agent is refused."`
	Reservation      int64  `name:"task_reservation_timeout" env:"MARATHON_TASK_RESERVATION_TIMEOUT" default:"20000" help:"Longest time until a reservation for an app with persistent volumes shows in an offer."`
	GPUBehavior      string `name:"gpu_scheduling_behavior" env:"MARATHON_GPU_SCHEDULING_BEHAVIOR" default:"restricted" enum:"restricted,unrestricted" help:"restricted: agents with GPUs are left to apps that need some; unrestricted: they are not. An app's label GPU_SCHEDULING_BEHAVIOR wins."`
	Heartbeats       int    `name:"mesos_heartbeat_failure_threshold" env:"MARATHON_MESOS_HEARTBEAT_FAILURE_THRESHOLD" default:"5" help:"Missed heartbeats until a new subscription."`
	MaxProbes        int    `name:"max_concurrent_marathon_health_checks" env:"MARATHON_MAX_CONCURRENT_MARATHON_HEALTH_CHECKS" default:"256" help:"Health checks under way at once."`
	EventsPending    int    `name:"event_stream_max_outstanding_messages" env:"MARATHON_EVENT_STREAM_MAX_OUTSTANDING_MESSAGES" default:"1024" help:"Undelivered events until a stream is cut."`
	ZKSession        int64  `name:"zk_session_timeout" env:"MARATHON_ZK_SESSION_TIMEOUT" default:"10000" help:"ZooKeeper session timeout."`
	ZKVersions       int    `name:"zk_max_versions" env:"MARATHON_ZK_MAX_VERSIONS" default:"50" help:"Versions kept of each app."`
	DefaultRoles     string `name:"default_accepted_resource_roles" env:"MARATHON_DEFAULT_ACCEPTED_RESOURCE_ROLES" help:"The older form of --accepted_resource_roles_default_behavior: a comma list of * and the role."`
	LaunchTokens     int    `name:"launch_tokens" env:"MARATHON_LAUNCH_TOKENS" help:"Launches in each --launch_token_refresh_interval; those that run do not count. 0: any number. Marathon has 100."`
	TokenRefresh     int64  `name:"launch_token_refresh_interval" env:"MARATHON_LAUNCH_TOKEN_REFRESH_INTERVAL" default:"30000" help:"Until all launch tokens are there again."`
	LostDelay        int64  `name:"task_lost_expunge_initial_delay" env:"MARATHON_TASK_LOST_EXPUNGE_INITIAL_DELAY" help:"From election until unreachable instances are looked at. Marathon has 300000."`
	LostInterval     int64  `name:"task_lost_expunge_interval" env:"MARATHON_TASK_LOST_EXPUNGE_INTERVAL" default:"5000" help:"Between such looks. Marathon has 30000."`
	Heartbeat        int64  `name:"mesos_heartbeat_interval" env:"MARATHON_MESOS_HEARTBEAT_INTERVAL" default:"15000" help:"Of a master that does not say how often it beats."`
	MesosUI          string `name:"mesos_leader_ui_url" env:"MARATHON_MESOS_LEADER_UI_URL" help:"Address of the master's page as shown by /v2/info; that of the present master when empty."`
	ElectedTimeout   int64  `name:"on_elected_prepare_timeout" env:"MARATHON_ON_ELECTED_PREPARE_TIMEOUT" default:"180000" help:"Longest time that a new leader loads records; then another one is elected."`
	ProxyConns       int    `name:"leader_proxy_max_open_connections" env:"MARATHON_LEADER_PROXY_MAX_OPEN_CONNECTIONS" default:"64" help:"Connections to the leader."`
	ProxyConnect     int64  `name:"leader_proxy_connection_timeout" env:"MARATHON_LEADER_PROXY_CONNECTION_TIMEOUT" default:"5000" help:"Connecting to the leader."`
	ProxyRead        int64  `name:"leader_proxy_read_timeout" env:"MARATHON_LEADER_PROXY_READ_TIMEOUT" default:"10000" help:"Waiting for the leader's answer."`

	frameworkSecurity
	frameworkWatching
	frameworkCompat
}

// knownFeatures are the names that --enable_features takes.
var knownFeatures = []string{"vips", "task_killing", "external_volumes", "secrets", "gpu_resources"}

// Run leads or stands by until the process is told to stop.
func (c *frameworkCmd) Run(p *process) error {
	cfg, err := c.config()
	if err != nil {
		return err
	}
	if err := c.frameworkSecurity.fill(&cfg, p.log); err != nil {
		return err
	}
	if err := c.frameworkWatching.fill(&cfg); err != nil {
		return err
	}
	return marathonExit(framework.New(cfg, p.log).Run(p.ctx))
}

// config checks the flags and fills the room's settings.
func (c *frameworkCmd) config() (framework.Config, error) {
	ms := func(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
	cfg := framework.Config{
		Master: c.Master, WorkDir: c.WorkDir,
		HTTPAddress: c.HTTPAddress, HTTPPort: c.HTTPPort, Hostname: c.Hostname, WebUI: c.WebUI, Origins: words(c.Origins),
		Name: c.Name, Role: c.Role, User: c.User, Principal: c.Principal,
		FailoverTimeout: time.Duration(c.FailoverTimeout) * time.Second, NoCheckpoint: c.NoCheckpoint || !c.Checkpoint,
		EnvPrefix: c.EnvPrefix, DefaultNetwork: c.Network, BridgeName: c.Bridge, Features: words(c.Features),
		Ports: app.PortPool{Min: c.PortMin, Max: c.PortMax}, AcceptedRoles: c.AcceptedRoles, EnforceRoles: c.NewGroupRole == "top",
		LaunchConfirmTimeout: ms(c.ConfirmTimeout), LaunchTimeout: ms(c.LaunchTimeout),
		ReconcileInitial: ms(c.ReconcileInitial), ReconcileInterval: ms(c.Reconcile),
		ScaleInitial: ms(c.ScaleInitial), ScaleInterval: ms(c.Scale),
		ReviveInterval: ms(c.Revive), DeclineFor: ms(c.Decline), KeepOffers: c.NoSuppress || !c.Suppress,
		MaxPerOffer: c.MaxPerOffer, MaxDeployments: c.MaxDeployments, MaxVersions: c.ZKVersions,
		KillsInFlight: c.KillChunk, KillRetry: ms(c.KillRetry),
		Draining: time.Duration(c.Draining) * time.Second, IgnoreMaintenance: c.NoMaintenance || !c.Maintenance,
		ReservationTimeout: ms(c.Reservation), AnyGPU: c.GPUBehavior == "unrestricted",
		MissedHeartbeats: c.Heartbeats, MaxProbes: c.MaxProbes, EventsPending: c.EventsPending,
		SessionTimeout: ms(c.ZKSession), ProxyConnect: ms(c.ProxyConnect), ProxyRead: ms(c.ProxyRead),
		Version: version, Realm: c.Realm, MaxRequests: c.MaxRequests, NoCompression: c.NoCompression || !c.Compression, Assets: c.Assets,
	}
	cfg.LaunchTokens, cfg.TokenRefresh, cfg.LostInitial, cfg.LostInterval = c.LaunchTokens, ms(c.TokenRefresh), ms(c.LostDelay), ms(c.LostInterval)
	cfg.Heartbeat, cfg.MesosUI, cfg.PrepareTimeout, cfg.ProxyConns = ms(c.Heartbeat), c.MesosUI, ms(c.ElectedTimeout), c.ProxyConns
	var err error
	if cfg.AcceptedRoles, err = acceptedRoles(c.AcceptedRoles, words(c.DefaultRoles), c.Role); err != nil {
		return cfg, err
	}
	if cfg.Credential, err = userAndPassword(c.Credentials); err != nil {
		return cfg, err
	}
	if c.MaxRequests < 0 {
		return cfg, fault.New("framework", fault.Invalid, "--http_max_concurrent_requests", fmt.Errorf("%d is less than 0", c.MaxRequests))
	}
	if c.Assets != "" {
		if info, err := os.Stat(c.Assets); err != nil || !info.IsDir() {
			return cfg, fault.New("framework", fault.Invalid, "--assets_path", fmt.Errorf("%q is no folder", c.Assets))
		}
	}
	for _, f := range cfg.Features {
		if !slices.Contains(knownFeatures, f) {
			return cfg, fault.New("framework", fault.Invalid, "--enable_features", fmt.Errorf("%q is not one of %s", f, strings.Join(knownFeatures, ", ")))
		}
	}
	if c.PortMin < 1 || c.PortMax > 65535 || c.PortMin > c.PortMax {
		return cfg, fault.New("framework", fault.Invalid, "--local_port_min", fmt.Errorf("%d to %d is no range of ports", c.PortMin, c.PortMax))
	}
	if cfg.User == "" {
		cfg.User = currentUser()
	}
	if c.ZK == "" {
		if c.WorkDir == "" {
			return cfg, fault.New("framework", fault.Invalid, "--work_dir", errors.New("records need a place: give --zk zk://host:port/marathon, or --work_dir for a single framework"))
		}
		return cfg, nil
	}
	u, err := zk.Parse(c.ZK)
	if err != nil {
		return cfg, err
	}
	cfg.ZK = &u
	return cfg, nil
}

// acceptedRoles brings the two flags on default roles together.
func acceptedRoles(behavior string, roles []string, own string) (string, error) {
	if roles == nil {
		return behavior, nil
	}
	star, reserved := false, false
	for _, r := range roles {
		switch r {
		case "*":
			star = true
		case own:
			reserved = true
		default:
			return "", fault.New("framework", fault.Invalid, "--default_accepted_resource_roles", fmt.Errorf("%q is neither * nor --mesos_role", r))
		}
	}
	switch {
	case star && reserved:
		return "any", nil
	case reserved:
		return "reserved", nil
	}
	return "unreserved", nil
}

// userAndPassword splits --http_credentials at its first colon.
func userAndPassword(s string) (auth.Credential, error) {
	if s == "" {
		return auth.Credential{}, nil
	}
	user, password, ok := strings.Cut(s, ":")
	if !ok || user == "" || password == "" {
		return auth.Credential{}, fault.New("framework", fault.Invalid, "--http_credentials", errors.New("write it as user:password"))
	}
	return auth.Credential{Principal: user, Secret: password}, nil
}

// words splits a comma list, leaving out empty entries.
func words(s string) []string {
	var out []string
	for _, w := range strings.Split(s, ",") {
		if w = strings.TrimSpace(w); w != "" {
			out = append(out, w)
		}
	}
	return out
}

// currentUser is the name tasks run under by default: that of this process.
func currentUser() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "root"
}
