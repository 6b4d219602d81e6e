package main

import (
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
)

// lbCmd spells its flags as Marathon-LB does; those with underscores are ours.
type lbCmd struct {
	Mode           string   `arg:"" optional:"" enum:"sse,poll" default:"sse" help:"Accepted for Marathon-LB's container arguments; events are always followed."`
	Marathon       []string `short:"m" name:"marathon" default:"http://master.mesos:8080" help:"Marathon URLs, tried in turn."`
	Group          []string `name:"group" help:"Take apps of this HAPROXY_GROUP; repeatable; '*' takes every app."`
	HAProxyConfig  string   `name:"haproxy-config" default:"/etc/haproxy/haproxy.cfg" help:"File that is kept true."`
	Command        string   `short:"c" name:"command" help:"Shell command that reloads a HAProxy which Stoa did not start. Without it Stoa starts and owns HAProxy."`
	HealthCheck    bool     `short:"H" name:"health-check" help:"Route only to tasks that Marathon calls alive."`
	StrictMode     bool     `name:"strict-mode" help:"A port needs HAPROXY_{n}_ENABLED=true."`
	SSE            bool     `short:"s" name:"sse" help:"Accepted; events are always followed."`
	SSLCerts       string   `name:"ssl-certs" default:"/etc/ssl/cert.pem" help:"Certificates of the HTTPS frontend, separated by commas; files that do not exist are left out, and with none the frontend too."`
	MaxBackoff     float64  `name:"max-backoff" default:"300" help:"Longest wait in seconds between two connects to the event stream."`
	AuthCredential string   `name:"auth-credentials" env:"MARATHON_AUTH_CREDENTIALS" help:"user:password for Marathon."`
	DontBind       bool     `name:"dont-bind-http-https" help:"No virtual host frontends."`

	HAProxyPath    string        `name:"haproxy_path" help:"The haproxy binary, when it is not on PATH."`
	RunDir         string        `name:"run_dir" default:"/run/stoa-lb" help:"Folder for HAProxy's sockets, pid and state."`
	BindAddr       string        `name:"bind_addr" default:"*" help:"Address of the frontends."`
	HTTPPort       int           `name:"http_port" default:"80" help:"Port of the virtual hosts."`
	HTTPSPort      int           `name:"https_port" default:"443" help:"Port of the virtual hosts over TLS."`
	AppIDPort      int           `name:"appid_port" default:"9091" help:"Port that routes by X-Marathon-App-Id; 0 is off."`
	StatsPort      int           `name:"stats_port" default:"9090" help:"Port of statistics, metrics and admin paths."`
	KeepEmpty      bool          `name:"keep_empty_backends" help:"Keep frontends whose app has no serving task, answering 503."`
	ReloadInterval time.Duration `name:"reload_interval" default:"2s" help:"Least time between two reloads."`
}

// Run starts the room.
func (c lbCmd) Run(p *process) error {
	cfg := lb.Defaults()
	cfg.Marathon, cfg.Groups, cfg.Strict, cfg.HealthCheck, cfg.KeepEmpty = c.Marathon, c.Group, c.StrictMode, c.HealthCheck, c.KeepEmpty
	cfg.SkipApp = os.Getenv("FRAMEWORK_NAME")
	user, password, ok := strings.Cut(c.AuthCredential, ":")
	if c.AuthCredential != "" && !ok {
		return fault.New("stoa lb", fault.Invalid, "--auth-credentials", errors.New("wants user:password"))
	}
	cfg.User, cfg.Password = user, password
	if c.BindAddr != "*" {
		cfg.BindAddr = c.BindAddr
	}
	cfg.HTTPPort, cfg.HTTPSPort, cfg.AppIDPort, cfg.StatsPort = c.HTTPPort, c.HTTPSPort, c.AppIDPort, c.StatsPort
	if c.DontBind {
		cfg.HTTPPort, cfg.HTTPSPort = 0, 0
	}
	for _, f := range strings.Split(c.SSLCerts, ",") {
		if _, err := os.Stat(f); err == nil {
			cfg.SSLCerts = append(cfg.SSLCerts, f)
		} else {
			p.log.Info("certificate left out", "file", f, "error", err)
		}
	}
	cfg.HAProxyPath, cfg.Command, cfg.ReloadInterval = c.HAProxyPath, c.Command, c.ReloadInterval
	cfg.MaxBackoff = time.Duration(c.MaxBackoff * float64(time.Second))
	var err error
	if cfg.ConfigPath, err = filepath.Abs(c.HAProxyConfig); err == nil {
		cfg.RunDir, err = filepath.Abs(c.RunDir)
	}
	if err != nil {
		return fmt.Errorf("stoa lb: %w", err)
	}
	room, err := lb.New(cfg, p.log)
	if err != nil {
		return err
	}
	// As Marathon-LB: SIGHUP lists anew, SIGUSR1 reloads the file as it is.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGUSR1)
	defer signal.Stop(signals)
	go func() {
		for {
			select {
			case <-p.ctx.Done():
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
