package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/master"
)

// version is set at link time.
var version = "0.1.0-dev"

// process is what every verb may use from the world around it.
type process struct {
	ctx    context.Context // ends on SIGINT or SIGTERM
	stdout io.Writer       // what the user asked for
	stderr io.Writer       // logs and errors
	log    *slog.Logger
	level  slog.Level // of log
	json   bool       // the form of log
}

// logger makes a logger in the form that the user asked for.
func (p *process) logger(w io.Writer, level slog.Leveler) *slog.Logger {
	opts := &slog.HandlerOptions{Level: level}
	if p.json {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// cli lists the verbs; each verb's flags are in the file of its name.
type cli struct {
	LogLevel slog.Level `name:"log_level" default:"info" env:"STOA_LOG_LEVEL" help:"Least level logged: debug, info, warn or error."`
	LogJSON  bool       `name:"log_json" env:"STOA_LOG_JSON" help:"Log JSON lines instead of text."`

	Dev       devCmd       `cmd:"" help:"Run everything on this machine, on loopback."`
	Master    masterCmd    `cmd:"" help:"Offer the agents' resources to frameworks."`
	Agent     agentCmd     `cmd:"" help:"Run tasks on this host."`
	Framework frameworkCmd `cmd:"" help:"Keep apps and groups running (Marathon REST API)."`
	DNS       dnsCmd       `cmd:"" name:"dns" help:"Answer A and SRV queries for tasks."`
	LB        lbCmd        `cmd:"" name:"lb" help:"Keep HAProxy's configuration true to the apps."`
	Zdd       zddCmd       `cmd:"" name:"lb-zdd" help:"Blue/green deployment behind the load balancer; also spelled lb zdd."`
	Sim       simCmd       `cmd:"" help:"Simulated agents and load, to size a cluster."`
	Keeper    keeperCmd    `cmd:"" hidden:"" help:"Parent of all task processes of a host; started by the agent."`
	Version   versionCmd   `cmd:"" help:"Print the version."`
}

type versionCmd struct{}

func (versionCmd) Run(p *process) error {
	_, err := fmt.Fprintln(p.stdout, "stoa", version)
	return err
}

// run parses args, runs the verb and gives the exit code: 0 done, 1 failed, 2 wrong usage,
// which a value that a room refuses is too. The daemons of Mesos end with 1 in both cases.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var c cli
	parser, err := kong.New(&c,
		kong.Name("stoa"),
		kong.Description("A cluster of machines that runs your services: Mesos, Marathon, Mesos-DNS and Marathon-LB in one binary."),
		kong.Writers(stdout, stderr),
		kong.UsageOnError(),
		kong.Exit(func(int) {}),
	)
	if err != nil {
		fmt.Fprintln(stderr, "stoa:", err)
		return 1
	}
	helped := false
	parser.Exit = func(int) { helped = true }
	wrong := 2
	if len(args) > 0 && slices.Contains(mesosVerbs, args[0]) {
		wrong = 1
		if slices.Contains(args, "--version") {
			fmt.Fprintln(stdout, "mesos", master.MesosVersion)
			return 0
		}
	}
	if len(args) > 0 && args[0] == marathonVerb {
		wrong = exitBadFlag
	}
	args, warnings, err := mesosFlags(parser, dnsArgs(lbArgs(args)))
	if err == nil {
		var more []string
		args, more, err = marathonFlags(parser, args)
		warnings = append(warnings, more...)
	}
	var k *kong.Context
	if err == nil {
		k, err = parser.Parse(args)
	}
	if helped {
		return 0
	}
	if err != nil {
		fmt.Fprintf(stderr, "stoa: %v\nTry 'stoa --help'.\n", err)
		return wrong
	}
	p := &process{ctx: ctx, stdout: stdout, stderr: stderr, level: c.LogLevel, json: c.LogJSON}
	p.log = p.logger(stderr, c.LogLevel)
	for _, w := range warnings {
		p.log.Warn(w)
	}
	if err := k.Run(p); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(stderr, "stoa:", err)
		// The value of a flag, or what a flag names. Mesos-DNS ends with 1 whatever the
		// cause (mesos-dns.md 12), and its wrappers look at that.
		var coded interface{ ExitCode() int }
		if errors.As(err, &coded) {
			return coded.ExitCode()
		}
		kind := fault.KindOf(err)
		if (kind == fault.Invalid || kind == fault.Malformed) && !strings.HasPrefix(k.Command(), "dns") {
			return wrong
		}
		return 1
	}
	return 0
}
