package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/stoa-project/stoa/agent"
	"github.com/stoa-project/stoa/agent/tasklog"
	"github.com/stoa-project/stoa/dns"
	"github.com/stoa-project/stoa/framework"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/heap"
	"github.com/stoa-project/stoa/lb"
	"github.com/stoa-project/stoa/lb/haproxy"
	"github.com/stoa-project/stoa/master"
)

// devCmd runs every room in this process, each with its own sockets: they speak the
// same protocols to each other as on a cluster. Only keepers, tasks and HAProxy are
// processes of their own.
type devCmd struct {
	WorkDir       string `name:"work_dir" env:"STOA_WORK_DIR" help:"Folder for all state; default ~/.local/state/stoa/dev. A later start on it finds its apps."`
	Agents        int    `name:"agents" default:"2" help:"Number of agents; each lives on an address of its own, 127.0.0.1 and up."`
	MasterPort    uint16 `name:"master_port" default:"5050" help:"Port of the master."`
	AgentPort     uint16 `name:"agent_port" default:"5051" help:"Port of the first agent; the others take the following ones."`
	FrameworkPort uint16 `name:"framework_port" default:"8080" help:"Port of the REST API."`
	DNSPort       uint16 `name:"dns_port" default:"8053" help:"Port of DNS, UDP and TCP."`
	DNSHTTPPort   uint16 `name:"dns_http_port" default:"8123" help:"Port of the DNS server's HTTP API."`
	LBStatsPort   uint16 `name:"lb_stats_port" default:"9090" help:"Port of HAProxy's statistics."`
	LBHTTPPort    uint16 `name:"lb_http_port" default:"9091" help:"Port of HAProxy's virtual hosts."`
	TaskPorts     string `name:"task_ports" default:"31000-31999" help:"Ports offered to tasks; the agents share them out."`
	Resources     string `name:"resources" help:"What each agent offers besides ports, as cpus:4;mem:2048;disk:10240; default: the processors of this machine, and an equal part of half its memory."`
	HAProxyPath   string `name:"haproxy_path" help:"The haproxy binary, when it is not on PATH."`
	devContainers
}

// devRoom is one room of the process.
type devRoom struct {
	name  string
	what  string // shown in the table
	where string
	run   func(context.Context) error
	ready func(context.Context) error // nil error once it serves
}

// Run starts the rooms, prints where they are and "ready", and ends them in an order
// that leaves no process behind.
func (c devCmd) Run(p *process) error {
	// Before anything starts: without HAProxy there is no service to show.
	go heap.Trim(p.ctx)
	if _, err := haproxy.Find(p.ctx, c.HAProxyPath); err != nil {
		return err
	}
	work, err := c.workDir()
	if err != nil {
		return err
	}
	unlock, err := lockDir(work)
	if err != nil {
		return err
	}
	defer unlock()
	rooms, err := c.rooms(work, p.log)
	if err != nil {
		return err
	}
	s := newStage(p.log)
	for _, r := range rooms {
		s.start(r)
	}
	err = s.await(p.ctx, rooms)
	if err == nil {
		c.table(p, rooms, work)
		err = s.hold(p.ctx)
	}
	// From the traffic inwards: nothing is routed to what stops next, and no framework is
	// left that would replace a stopped task.
	return errors.Join(err, s.stop(rooms))
}

func (c devCmd) workDir() (string, error) {
	dir := c.WorkDir
	if dir == "" {
		state := os.Getenv("XDG_STATE_HOME")
		if state == "" {
			home, err := os.UserHomeDir()
			if err != nil {
				return "", fault.New("stoa dev", fault.Invalid, "--work_dir", fmt.Errorf("no home folder, so it must be given: %w", err))
			}
			state = filepath.Join(home, ".local", "state")
		}
		dir = filepath.Join(state, "stoa", "dev")
	}
	dir, err := filepath.Abs(dir)
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		return "", fault.New("stoa dev", fault.Invalid, "--work_dir "+dir, err)
	}
	return dir, nil
}

// socketDir gives a folder for unix sockets: in the work folder where the path is
// short enough for a socket, else in the temporary folder under a name made from it.
func socketDir(work, name string) (string, error) {
	dir := filepath.Join(work, name)
	if len(dir) > 60 {
		sum := sha256.Sum256([]byte(work))
		dir = filepath.Join(os.TempDir(), "stoa-"+hex.EncodeToString(sum[:6]), name)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fault.New("stoa dev", fault.Invalid, dir, err)
	}
	return dir, nil
}

const loopback = "127.0.0.1"

func hostPort(host string, port uint16) string { return host + ":" + strconv.Itoa(int(port)) }

// rooms makes the doors; nothing is started.
func (c devCmd) rooms(work string, log *slog.Logger) ([]devRoom, error) {
	if c.Agents < 1 || c.Agents > 100 {
		return nil, fault.New("stoa dev", fault.Invalid, "--agents "+strconv.Itoa(c.Agents), errors.New("wants 1 to 100"))
	}
	var out []devRoom
	masterAt := hostPort(loopback, c.MasterPort)
	m, err := master.New(master.Config{
		Listen: netip.MustParseAddrPort(masterAt), Hostname: loopback, Cluster: "dev",
		WorkDir: filepath.Join(work, "master"), Product: version, Flags: map[string]string{"work_dir": filepath.Join(work, "master")},
	}, log.With("room", "master"))
	if err != nil {
		return nil, err
	}
	out = append(out, devRoom{"master", "Mesos API and state", "http://" + masterAt, m.Run, serves("http://" + masterAt + "/health")})

	ports, err := c.portRanges()
	if err != nil {
		return nil, err
	}
	for i := range c.Agents {
		r, err := c.agent(work, i, masterAt, ports[i], log)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}

	frameworkAt := "http://" + hostPort(loopback, c.FrameworkPort)
	f := framework.New(framework.Config{
		Master: masterAt, WorkDir: filepath.Join(work, "framework"),
		HTTPAddress: loopback, HTTPPort: int(c.FrameworkPort), Hostname: loopback, Version: version,
		// One user, few agents: apps start as fast as the machine starts processes.
		MaxPerOffer: 1000,
		Features:    []string{"vips", "task_killing", "external_volumes", "secrets"},
	}, log.With("room", "framework"))
	out = append(out, devRoom{"framework", "apps and groups (Marathon API)", frameworkAt, f.Run, serves(frameworkAt + "/v2/apps")})

	d, err := c.dns(masterAt, log)
	if err != nil {
		return nil, err
	}
	out = append(out, d)

	b, err := c.lb(work, frameworkAt, log)
	if err != nil {
		return nil, err
	}
	return append(out, b), nil
}

// portRanges shares --task_ports out among the agents.
func (c devCmd) portRanges() ([]string, error) {
	wrong := func(why string) ([]string, error) {
		return nil, fault.New("stoa dev", fault.Invalid, "--task_ports "+c.TaskPorts, errors.New(why))
	}
	from, to, ok := strings.Cut(c.TaskPorts, "-")
	first, err1 := strconv.Atoi(from)
	last, err2 := strconv.Atoi(to)
	if !ok || err1 != nil || err2 != nil || first < 1 || last > 65535 || last < first {
		return wrong("wants FIRST-LAST with 1 to 65535")
	}
	each := (last - first + 1) / c.Agents
	if each < 1 {
		return wrong(fmt.Sprintf("is too small for %d agents", c.Agents))
	}
	var out []string
	for i := range c.Agents {
		out = append(out, fmt.Sprintf("%d-%d", first+i*each, first+(i+1)*each-1))
	}
	return out, nil
}

func (c devCmd) agent(work string, i int, masterAt, ports string, log *slog.Logger) (devRoom, error) {
	name := fmt.Sprintf("agent%d", i+1)
	ip := fmt.Sprintf("127.0.0.%d", i+1)
	port := c.AgentPort + uint16(i)
	dir := filepath.Join(work, name)
	run, err := socketDir(work, name+"-run")
	if err != nil {
		return devRoom{}, err
	}
	resources := c.Resources
	if resources == "" {
		resources = fmt.Sprintf("cpus:%d;mem:%d;disk:10240", runtime.NumCPU(), memoryMiB()/2/c.Agents)
	}
	sum := sha256.Sum256([]byte(dir))
	cfg := agent.Config{
		Master: masterAt, IP: ip, Port: strconv.Itoa(int(port)), Hostname: ip,
		WorkDir: dir, RuntimeDir: run, Fetch: agent.Fetch{CacheDir: filepath.Join(dir, "fetch")},
		Resources: resources + ";ports:[" + ports + "]",
		// Agents of one machine share its control groups; each needs a root of its own.
		CgroupsRoot: "stoa-dev-" + hex.EncodeToString(sum[:4]),
		Version:     version, KillTasksOnStop: true, Logs: tasklog.Default,
		// Tasks find what the user's shell finds, and what lies beside this program.
		ExecutorEnvironmentVariables: map[string]string{"PATH": taskPath()},
	}
	if err := c.containers(&cfg, dir); err != nil {
		return devRoom{}, err
	}
	a, err := agent.New(cfg, log.With("room", name))
	if err != nil {
		return devRoom{}, err
	}
	at := hostPort(ip, port)
	return devRoom{name, "runs tasks, ports " + ports, "http://" + at, a.Run, func(context.Context) error {
		if !a.Registered() {
			return errors.New("not registered with the master yet")
		}
		return nil
	}}, nil
}

func taskPath() string {
	path := os.Getenv("PATH")
	if exe, err := os.Executable(); err == nil {
		path += ":" + filepath.Dir(exe)
	}
	return path
}

func (c devCmd) dns(masterAt string, log *slog.Logger) (devRoom, error) {
	cfg := dns.Defaults()
	cfg.Masters, cfg.ExternalOn = []string{masterAt}, false // other names are for the machine's own resolver
	cfg.Listener, cfg.HTTPListener, cfg.Port, cfg.HTTPPort = loopback, loopback, int(c.DNSPort), int(c.DNSHTTPPort)
	d, err := dns.New(cfg, version, log.With("room", "dns"))
	if err != nil {
		return devRoom{}, err
	}
	at := "http://" + hostPort(loopback, c.DNSHTTPPort)
	return devRoom{"dns", "names of tasks; HTTP API", hostPort(loopback, c.DNSPort) + "  " + at, d.Run, serves(at + "/v1/version")}, nil
}

func (c devCmd) lb(work, frameworkAt string, log *slog.Logger) (devRoom, error) {
	run, err := socketDir(work, "lb-run")
	if err != nil {
		return devRoom{}, err
	}
	cfg := lb.Defaults()
	cfg.Marathon, cfg.Groups, cfg.HealthCheck, cfg.KeepEmpty = []string{frameworkAt}, []string{"*"}, true, true
	cfg.BindAddr, cfg.HTTPPort, cfg.HTTPSPort, cfg.AppIDPort, cfg.StatsPort = loopback, int(c.LBHTTPPort), 0, 0, int(c.LBStatsPort)
	cfg.HAProxyPath, cfg.ConfigPath, cfg.RunDir, cfg.StopHAProxy = c.HAProxyPath, filepath.Join(work, "haproxy.cfg"), run, true
	cfg.ReloadInterval = 500 * time.Millisecond
	b, err := lb.New(cfg, log.With("room", "lb"))
	if err != nil {
		return devRoom{}, err
	}
	stats := "http://" + hostPort(loopback, c.LBStatsPort)
	return devRoom{"lb", "HAProxy: virtual hosts, statistics", "http://" + hostPort(loopback, c.LBHTTPPort) + "  " + stats + "/haproxy?stats", b.Run, serves(stats + "/_haproxy_health_check")}, nil
}

// table prints where everything is, and the line that scripts wait for.
func (c devCmd) table(p *process, rooms []devRoom, work string) {
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	for _, r := range rooms {
		fmt.Fprintf(w, "%s\t%s\t%s\n", r.name, r.where, r.what)
	}
	fmt.Fprintf(w, "state\t%s\t\n", work)
	w.Flush()
	fmt.Fprintln(p.stdout, "ready")
}
