// Package sim sizes clusters: simulated agents that speak the real agent protocol and a
// scheduler that launches tasks and measures. Both work against any Mesos master. This
// package is the door: configuration as flags give it, checked and filled in.
package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/netip"
	"net/url"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/stoa-project/stoa/internal/auth"
	"github.com/stoa-project/stoa/internal/election"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/tlsport"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/zk"
	"github.com/stoa-project/stoa/sim/fleet"
	"github.com/stoa-project/stoa/sim/load"
)

// mesosVersion is what the agents claim to masters, whose behaviour depends on it.
const mesosVersion = "1.11.0"

// AgentsConfig says which agents to simulate.
type AgentsConfig struct {
	Master      string // host:port, master@host:port, a comma list of these, or zk://…
	Count       int
	Hostname    string // prefix; the n-th agent is called prefix + n
	IP          string // to bind; IPv4
	Port        int    // 0 is any
	AdvertiseIP string // to tell the master, when it differs
	Resources   string // of each agent
	Attributes  string
	TaskSeconds float64       // 0: tasks run until they are killed
	Backoff     time.Duration // span of first registrations
	// Capabilities the agents claim, by name; empty: all that are implemented.
	TLS          *tlsport.Port    // LIBPROCESS_SSL_*; nil: plain connections
	Credential   *auth.Credential // shown to the master for each agent; nil: none is
	Capabilities []string
}

// Agents is a set of simulated agents.
type Agents struct {
	cfg   fleet.Config
	log   *slog.Logger
	ready chan int
}

// NewAgents checks the configuration and starts nothing. Errors are fault.Invalid and
// name the flag.
func NewAgents(cfg AgentsConfig, log *slog.Logger) (*Agents, error) {
	const op = "stoa sim agents"
	bad := func(flag string, why error) (*Agents, error) { return nil, fault.New(op, fault.Invalid, flag, why) }
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if cfg.Master == "" {
		return bad("--master", errors.New("give host:port or zk://host:port/path of the masters"))
	}
	if cfg.Count < 1 || cfg.Count > fleet.MaxCount {
		return bad("--count", fmt.Errorf("%d agents: it must be from 1 to %d", cfg.Count, fleet.MaxCount))
	}
	detector, err := election.DetectorFor(cfg.Master, zk.Config{SessionTimeout: 10 * time.Second, Logger: log},
		election.Over(cfg.TLS.Scheme(), cfg.TLS.Transport(nil)))
	if err != nil {
		return bad("--master", err)
	}
	ip, err := netip.ParseAddr(cfg.IP)
	if err != nil || !ip.Is4() {
		return bad("--ip", fmt.Errorf("%q is no IPv4 address", cfg.IP))
	}
	if cfg.Port < 0 || cfg.Port > 65535 {
		return bad("--port", fmt.Errorf("%d is no port: give 0, which is any, to 65535", cfg.Port))
	}
	var advertise netip.AddrPort
	if cfg.AdvertiseIP != "" {
		a, err := netip.ParseAddr(cfg.AdvertiseIP)
		if err != nil || !a.Is4() || a.IsUnspecified() {
			return bad("--advertise_ip", fmt.Errorf("%q is no IPv4 address that a master can reach", cfg.AdvertiseIP))
		}
		advertise = netip.AddrPortFrom(a, 0)
	}
	list, err := resource.ParseList(cfg.Resources, "*")
	if err != nil {
		return bad("--resources", err)
	}
	if len(list) == 0 {
		return bad("--resources", errors.New(`agents without resources are never offered: give "cpus:8;mem:16384"`))
	}
	old, err := resource.Downgrade(list) // masters of all ages read this form
	if err != nil {
		return bad("--resources", err)
	}
	attributes, err := resource.ParseAttributes(cfg.Attributes)
	if err != nil {
		return bad("--attributes", err)
	}
	if s := cfg.TaskSeconds; math.IsNaN(s) || s < 0 || s > 1e8 {
		return bad("--task_seconds", errors.New("it must be from 0, which is until killed, to 100000000"))
	}
	if cfg.Backoff <= 0 {
		cfg.Backoff = time.Second
	}
	if cfg.Hostname == "" {
		cfg.Hostname = "sim-"
	}
	var capabilities []mesos.AgentInfo_Capability_Type
	for _, name := range cfg.Capabilities {
		c := mesos.AgentInfo_Capability_Type(mesos.AgentInfo_Capability_Type_value[name])
		if !slices.Contains(fleet.Implemented, c) {
			return bad("--capabilities", fmt.Errorf("%q is not one of %v", name, fleet.Implemented))
		}
		capabilities = append(capabilities, c)
	}
	a := &Agents{log: log, ready: make(chan int, 1)}
	a.cfg = fleet.Config{
		Detector: detector, Follows: strings.HasPrefix(cfg.Master, "zk://") || strings.HasPrefix(cfg.Master, "file://"), Listen: netip.AddrPortFrom(ip, uint16(cfg.Port)), Advertise: advertise, Count: cfg.Count, Hostname: cfg.Hostname,
		Resources: old, Attributes: attributes, TaskTime: time.Duration(cfg.TaskSeconds * float64(time.Second)), Backoff: cfg.Backoff,
		Capabilities: capabilities, TLS: cfg.TLS, Credential: cfg.Credential,
		Version: mesosVersion, Ready: func(n int) { a.ready <- n },
	}
	return a, nil
}

// Ready delivers the number of agents once, when all were registered.
func (a *Agents) Ready() <-chan int { return a.ready }

// Run is the agents' life until ctx ends.
func (a *Agents) Run(ctx context.Context) error {
	f, err := fleet.New(a.cfg, a.log)
	if err != nil {
		return err
	}
	a.log.Info("simulating", "agents", a.cfg.Count, "address", f.Addr().String())
	return f.Run(ctx)
}

// LoadConfig says how much load to make.
type LoadConfig struct {
	Master     string // host:port or http://host:port; a follower's redirect is obeyed
	Tasks      int
	Rate       float64 // tasks per second; 0 is no limit
	Frameworks int
	Codec      string // protobuf or json
	Role       string
	Name       string
	CPUs, Mem  float64 // of a task
	PerOffer   int
	Command    string
	Timeout    time.Duration
	TLS        *tlsport.Port   // LIBPROCESS_SSL_*; nil: plain connections
	Credential auth.Credential // shown to the master; empty: none is
}

// Load is one measurement.
type Load struct {
	cfg load.Config
	log *slog.Logger
}

// NewLoad checks the configuration and starts nothing. Errors are fault.Invalid and name
// the flag.
func NewLoad(cfg LoadConfig, log *slog.Logger) (*Load, error) {
	const op = "stoa sim load"
	bad := func(flag string, why error) (*Load, error) { return nil, fault.New(op, fault.Invalid, flag, why) }
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if cfg.Master == "" {
		return bad("--master", errors.New("give host:port of a master"))
	}
	if strings.HasPrefix(cfg.Master, "zk://") || strings.HasPrefix(cfg.Master, "https://") {
		return bad("--master", fmt.Errorf("%q: give host:port of any one master; the leader is found by its redirect", cfg.Master))
	}
	m, err := election.MasterAt(cfg.Master)
	if err != nil {
		return bad("--master", err)
	}
	codecs := map[string]wire.Codec{"protobuf": wire.Protobuf, "json": wire.JSON}
	codec, ok := codecs[cfg.Codec]
	if !ok {
		return bad("--codec", fmt.Errorf("%q is neither protobuf nor json", cfg.Codec))
	}
	if cfg.Role == "" {
		cfg.Role = "*"
	}
	if err := resource.ValidateRole(cfg.Role); err != nil {
		return bad("--role", err)
	}
	who := "root"
	if u, err := user.Current(); err == nil {
		who = u.Username
	}
	l := &Load{log: log, cfg: load.Config{
		Master: &url.URL{Scheme: "http", Host: m.Addr()}, Tasks: cfg.Tasks, Rate: cfg.Rate, Frameworks: cfg.Frameworks, Codec: codec,
		Role: cfg.Role, User: who, Name: cfg.Name, CPUs: cfg.CPUs, Mem: cfg.Mem, PerOffer: cfg.PerOffer, Command: cfg.Command, Timeout: cfg.Timeout,
		TLS: cfg.TLS, Credential: cfg.Credential,
	}}
	return l, l.cfg.Check()
}

// Run makes the load and writes the report as one line to out. The error says why not
// all tasks ran; the line is written also then, unless nothing was measured.
func (l *Load) Run(ctx context.Context, out io.Writer) error {
	report, err := load.Run(ctx, l.cfg, l.log)
	if _, werr := fmt.Fprintf(out, "%s\n", report.Line()); err == nil {
		err = werr
	}
	return err
}
