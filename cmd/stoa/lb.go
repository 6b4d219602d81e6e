package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/lb"
	"github.com/stoa-project/stoa/lb/render"
)

// lbCmd spells its flags as Marathon-LB does; those with underscores are ours.
type lbCmd struct {
	Mode string `arg:"" optional:"" enum:"sse,poll,render,lint,templates" default:"sse" help:"sse follows events; poll lists every POLL_INTERVAL seconds (60); render prints the configuration, lint checks it, templates prints the templates in force."`

	Marathon       []string `short:"m" name:"marathon" default:"http://master.mesos:8080" help:"Marathon URLs, tried in turn."`
	Group          []string `name:"group" help:"Take apps of this HAPROXY_GROUP; repeatable; '*' takes every app."`
	HAProxyConfig  string   `name:"haproxy-config" default:"/etc/haproxy/haproxy.cfg" help:"File that is kept true; map files lie beside it."`
	Command        string   `short:"c" name:"command" help:"Shell command that reloads a HAProxy which Stoa did not start. Without it Stoa starts and owns HAProxy."`
	MaxRetries     int      `name:"max-reload-retries" default:"10" help:"With --command: how often it is run again when no new process answers; 0 only waits, -1 has no end."`
	ReloadWait     float64  `name:"reload-interval" default:"10" help:"With --command: seconds until it is run again."`
	HealthCheck    bool     `short:"H" name:"health-check" help:"Route only to tasks that Marathon calls alive."`
	StrictMode     bool     `name:"strict-mode" help:"A port needs HAPROXY_{n}_ENABLED=true."`
	SSE            bool     `short:"s" name:"sse" help:"Accepted; events are followed unless the first word is poll."`
	Maps           *bool    `name:"haproxy-map" negatable:"" help:"Virtual hosts and app ids in map files, which change without a reload. On unless --profile compat."`
	DontBind       bool     `name:"dont-bind-http-https" help:"No virtual host frontends."`
	GroupHTTPS     bool     `name:"group-https-by-vhost" help:"A TLS frontend for each virtual host, with its own certificates and bind options."`
	SSLCerts       string   `name:"ssl-certs" help:"Certificates of the HTTPS frontend, separated by commas. Without it those in HAPROXY_SSL_CERT[0-100], else /etc/ssl/cert.pem, else one made here."`
	SkipValidation bool     `name:"skip-validation" help:"Reload without asking the binary first whether it takes the file."`
	SkipCleanup    bool     `name:"skip-config-cleanup" help:"When the file is refused change nothing, rather than search for the app at fault."`
	Dry            bool     `short:"d" name:"dry" help:"Print the configuration and end."`
	LongHelp       bool     `name:"longhelp" help:"Print the templates with their values and end."`
	MaxBackoff     float64  `name:"max-backoff" default:"300" help:"Longest wait in seconds between two connects to the event stream."`
	Archives       int      `name:"archive-versions" default:"5" help:"Configurations kept in the folder archive below --run_dir."`
	LRUCapacity    int      `name:"lru-cache-capacity" default:"1000" help:"Tasks whose health is remembered while Marathon has no results."`
	MinServPort    int      `name:"min-serv-port-ip-per-task" default:"10050" help:"First service port for apps with an address per task that name none; both 0 is off."`
	MaxServPort    int      `name:"max-serv-port-ip-per-task" default:"10100" help:"Last of these ports."`
	SyslogSocket   string   `name:"syslog-socket" default:"/dev/log" env:"SYSLOG_SOCKET" help:"Where HAProxy logs; /dev/null is nowhere."`
	LogFormat      string   `name:"log-format" help:"Accepted, without effect: see --log_json."`
	OldLogLevel    string   `name:"log-level" help:"debug, info, warning, error or critical, as Marathon-LB has it; wins over --log_level."`

	Profile        string        `name:"profile" enum:"standard,compat,modern" default:"standard" help:"compat routes as Marathon-LB does; modern adds TLS 1.3 suites and longer keep-alive."`
	HealthPolicy   string        `name:"health_policy" enum:"any,all" default:"any" help:"With --health-check: how many of a task's checks must be alive."`
	HAProxyPath    string        `name:"haproxy_path" help:"The haproxy binary, when it is not on PATH."`
	RunDir         string        `name:"run_dir" default:"/run/stoa-lb" help:"Folder for HAProxy's sockets, pid, state and archive."`
	BindAddr       string        `name:"bind_addr" default:"*" help:"Address of the frontends."`
	AdminBind      string        `name:"admin_bind" help:"Address of statistics and admin paths; default --bind_addr."`
	AdminAllow     []string      `name:"admin_allow" help:"Networks that may ask there; default all."`
	HTTPPort       int           `name:"http_port" default:"80" help:"Port of the virtual hosts."`
	HTTPSPort      int           `name:"https_port" default:"443" help:"Port of the virtual hosts over TLS."`
	AppIDPort      int           `name:"appid_port" default:"9091" help:"Port that routes by X-Marathon-App-Id; 0 is off."`
	StatsPort      int           `name:"stats_port" default:"9090" help:"Port of statistics, metrics and admin paths."`
	KeepEmpty      bool          `name:"keep_empty_backends" help:"Keep frontends whose app has no serving task, answering 503."`
	ReloadInterval time.Duration `name:"reload_interval" default:"2s" help:"Least time between two reloads."`
	HardStop       time.Duration `name:"hard_stop_after" default:"15m" help:"How long a worker may live on after a reload."`
	MaxOldWorkers  int           `name:"max_old_workers" default:"4" help:"Workers of before a reload that may live on; beyond, the oldest is ended."`
	Drain          bool          `name:"drain" default:"true" negatable:"" help:"The framework's kills wait until HAProxy has none of the task's requests left."`
	RelayBind      string        `name:"relay_bind" help:"host:port at which other load balancers may follow this one instead of Marathon: their --marathon."`
	App            string        `name:"app" help:"With render: only this app, each line with the template and labels that made it."`
	marathonLogin
	Name string `name:"name" help:"With templates: only this one, with or without HAPROXY_."`
}

// Run starts the room, or prints what was asked for.
func (c lbCmd) Run(p *process) error {
	cfg, err := c.config(p)
	if err != nil {
		return err
	}
	if c.Mode == "templates" || c.LongHelp {
		return c.printTemplates(p, cfg)
	}
	if cfg.SSLCerts, err = certificates(c.SSLCerts, cfg.RunDir, p.log); err != nil {
		return err
	}
	room, err := lb.New(cfg, p.log)
	if err != nil {
		return err
	}
	switch {
	case c.Mode == "render" || c.Dry:
		return room.Print(p.ctx, p.stdout, c.App)
	case c.Mode == "lint":
		return room.Lint(p.ctx, p.stdout)
	}
	// As Marathon-LB: SIGHUP lists anew, SIGUSR1 reloads the file as it is.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGUSR1)
	defer signal.Stop(signals)
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case s := <-signals:
				if s == syscall.SIGHUP {
					room.Resync()
				} else {
					room.Reload()
				}
			}
		}
	}()
	return room.Run(p.ctx)
}

// config reads flags and environment; certificates are left to Run.
func (c lbCmd) config(p *process) (lb.Config, error) {
	cfg := lb.Defaults()
	invalid := func(subject string, err error) (lb.Config, error) {
		return cfg, fault.New("stoa lb", fault.Invalid, subject, err)
	}
	cfg.Marathon, cfg.Groups, cfg.Strict, cfg.HealthCheck, cfg.KeepEmpty = c.Marathon, c.Group, c.StrictMode, c.HealthCheck, c.KeepEmpty
	if c.Mode == "lint" && len(cfg.Groups) == 0 {
		cfg.Groups = []string{"*"}
	}
	cfg.AllAlive, cfg.SkipApp, cfg.LastKnown = c.HealthPolicy == "all", strings.TrimPrefix(os.Getenv("FRAMEWORK_NAME"), "/"), c.LRUCapacity
	cfg.AssignMin, cfg.AssignMax = c.MinServPort, c.MaxServPort
	cfg.Profile = render.Profile(c.Profile)
	if cfg.Maps = cfg.Profile != render.Compat; c.Maps != nil {
		cfg.Maps = *c.Maps
	}
	if c.BindAddr != "*" {
		cfg.BindAddr = c.BindAddr
	}
	cfg.HTTPPort, cfg.HTTPSPort, cfg.AppIDPort, cfg.StatsPort, cfg.GroupHTTPS = c.HTTPPort, c.HTTPSPort, c.AppIDPort, c.StatsPort, c.GroupHTTPS
	if c.DontBind {
		cfg.HTTPPort, cfg.HTTPSPort = 0, 0
	}
	cfg.AdminBind, cfg.AdminAllow = c.AdminBind, c.AdminAllow
	if c.SyslogSocket != "/dev/null" {
		cfg.Syslog = c.SyslogSocket
	}
	cfg.HAProxyPath, cfg.Command, cfg.CommandRetries = c.HAProxyPath, c.Command, c.MaxRetries
	cfg.CommandRetry = max(time.Duration(c.ReloadWait*float64(time.Second)), 100*time.Millisecond)
	cfg.SkipValidation, cfg.SkipCleanup, cfg.Archives = c.SkipValidation, c.SkipCleanup, c.Archives
	cfg.ReloadInterval, cfg.HardStop, cfg.MaxOldWorkers = c.ReloadInterval, c.HardStop, c.MaxOldWorkers
	cfg.MaxBackoff = time.Duration(c.MaxBackoff * float64(time.Second))
	cfg.NoDrain, cfg.RelayBind = !c.Drain, c.RelayBind
	cfg.Insecure, cfg.CAFile = c.Insecure, c.CACert
	if v, ok := os.LookupEnv("HAPROXY_GLOBAL_DEFAULT_OPTIONS"); ok {
		cfg.DefaultsOptions = strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' })
	}
	if c.Mode == "poll" {
		cfg.Poll = time.Minute
		if v := os.Getenv("POLL_INTERVAL"); v != "" {
			d, err := time.ParseDuration(v + "s")
			if err != nil || d <= 0 {
				return invalid("POLL_INTERVAL "+v, errors.New("wants seconds"))
			}
			cfg.Poll = d
		}
	}
	if c.LogFormat != "" {
		p.log.Warn("flag without effect", "flag", "--log-format", "instead", "--log_json")
	}
	var err error
	if p.log, err = p.pythonLevel(c.OldLogLevel); err != nil {
		return cfg, err
	}
	dirs := []string{"templates"}
	if sandbox := os.Getenv("MESOS_SANDBOX"); sandbox != "" {
		dirs = append(dirs, filepath.Join(sandbox, "templates"))
	}
	if cfg.Templates, err = templateTexts(os.Environ(), dirs...); err != nil {
		return cfg, err
	}
	if cfg.ConfigPath, err = filepath.Abs(c.HAProxyConfig); err == nil {
		cfg.RunDir, err = filepath.Abs(c.RunDir)
	}
	if err != nil {
		return cfg, fmt.Errorf("stoa lb: %w", err)
	}
	cfg.User, cfg.Password, cfg.Token, err = c.read()
	return cfg, err
}

// printTemplates prints the templates in force, each with the values that it may use.
func (c lbCmd) printTemplates(p *process, cfg lb.Config) error {
	t, err := render.NewTemplates(cfg.Templates, cfg.Profile == render.Compat)
	if err != nil {
		return err
	}
	want, found := strings.TrimPrefix(c.Name, "HAPROXY_"), false
	for _, name := range render.TemplateNames() {
		if want != "" && name != want {
			continue
		}
		found = true
		fmt.Fprintf(p.stdout, "# HAPROXY_%s\n# %s\n%s\n", name, render.About(name), strings.TrimRight(t.Text(name), "\n"))
	}
	if !found {
		return fault.New("stoa lb templates", fault.NotFound, "--name "+c.Name, errors.New("no template of this name; without --name all are printed"))
	}
	return nil
}
