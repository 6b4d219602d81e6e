package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/stoa-project/stoa/dns"
	"github.com/stoa-project/stoa/internal/fault"
)

// dnsCmd has the flags of Mesos-DNS (mesos-dns.md section 12). The flags of its logging
// library appear in unit files: with any of them the log has its form; but for -v they
// have no other effect.
type dnsCmd struct {
	Config string `name:"config" default:"config.json" env:"STOA_DNS_CONFIG" placeholder:"FILE" help:"Configuration file with the JSON keys of Mesos-DNS."`

	Action string `arg:"" optional:"" default:"serve" enum:"serve,init" help:"serve, or init: write a configuration file to begin with."`

	Verbosity       int    `name:"v" hidden:""`
	LogToStderr     bool   `name:"logtostderr" hidden:""`
	AlsoLogToStderr bool   `name:"alsologtostderr" hidden:""`
	StderrThreshold string `name:"stderrthreshold" hidden:""`
	LogDir          string `name:"log_dir" hidden:""`
	VModule         string `name:"vmodule" hidden:""`
	LogBacktraceAt  string `name:"log_backtrace_at" hidden:""`
	LogLink         string `name:"log_link" hidden:""`
	LogBufLevel     int    `name:"logbuflevel" hidden:""`
	Glog            bool   `name:"glog" hidden:"" help:"Log in the form of Mesos-DNS."`
}

// Help explains the configuration file after the flags.
func (dnsCmd) Help() string {
	var b strings.Builder
	b.WriteString("The file is a JSON object. Its keys, with their defaults (case does not matter, unknown keys are ignored):\n")
	for _, k := range dns.Keys() {
		fmt.Fprintf(&b, "\n%s (%s)\n    %s\n", k.Name, k.Default, k.Meaning)
	}
	b.WriteString("\nThe flags of Mesos-DNS are taken in its own form too: -config=FILE, -v=1, -version; with -v or another flag of its logging library the log has its form (VERBOSE: and ERROR: lines), unless --log_level or --log_json is given.\n")
	return b.String()
}

// glogFlags are the flags of Mesos-DNS that are written with one dash, as Go programs do.
var glogFlags = []string{"config", "v", "logtostderr", "alsologtostderr", "stderrthreshold", "log_dir", "vmodule", "log_backtrace_at", "log_link", "logbuflevel", "help"}

// dnsArgs rewrites the arguments of `stoa dns` that have the form of Mesos-DNS; those of
// other verbs stay as they are. -version becomes the verb of that name; flags of the
// logging library add --glog, unless the log is set otherwise.
func dnsArgs(args []string) []string {
	verb := slices.Index(args, "dns")
	for i, a := range args[:max(verb, 0)] {
		if !strings.HasPrefix(a, "--log_") && (i == 0 || args[i-1] != "--log_level") {
			verb = -1
		}
	}
	if verb < 0 {
		return args
	}
	out := slices.Clone(args[:verb+1])
	glog := false
	for i := verb + 1; i < len(args); i++ {
		name, _, _ := strings.Cut(strings.TrimLeft(args[i], "-"), "=")
		if !strings.HasPrefix(args[i], "-") {
			out = append(out, args[i])
			continue
		}
		if name == "version" {
			return []string{"version"}
		}
		glog = glog || name != "config" && name != "help" && slices.Contains(glogFlags, name)
		if !strings.HasPrefix(args[i], "--") && slices.Contains(glogFlags, name) {
			out = append(out, "-"+args[i])
		} else {
			out = append(out, args[i])
		}
	}
	own := func(a string) bool { return strings.HasPrefix(a, "--log_level") || strings.HasPrefix(a, "--log_json") }
	if glog && !slices.ContainsFunc(args, own) {
		out = append(out, "--glog")
	}
	return out
}

// Run serves until the process is told to stop.
func (c dnsCmd) Run(p *process) error {
	if c.Action == "init" {
		return writeDNSConfig(c.Config)
	}
	log := p.log.With("room", "dns")
	if c.Glog {
		log = slog.New(newGlogHandler(p.stdout, p.stderr, c.Verbosity))
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(dnsGCPercent)
	}
	cfg, err := readDNSConfig(c.Config)
	if err != nil {
		return err
	}
	room, err := dns.New(cfg, version, log)
	if err != nil {
		return err
	}
	return room.Run(p.ctx)
}

// firstDNSConfig serves a cluster well without any tuning, but for the masters.
const firstDNSConfig = `{
  "zk": "zk://127.0.0.1:2181/mesos",
  "domain": "mesos",
  "resolvers": [],
  "IPSources": ["auto"],
  "HTTPListener": "127.0.0.1"
}
`

// writeDNSConfig makes a file to begin with; one that exists is left alone.
func writeDNSConfig(name string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fault.New("dns init", fault.Invalid, "--config="+name, fmt.Errorf("%w; name another file", err))
	}
	_, err = f.WriteString(firstDNSConfig)
	return errors.Join(err, f.Close())
}

// dnsGCPercent is how much garbage there may be beside what lives: little, as answers make
// none and the zone may be large. The variable GOGC has precedence.
const dnsGCPercent = 40

// maxConfig bounds the configuration file, in bytes.
const maxConfig = 1 << 20

func readDNSConfig(name string) (dns.Config, error) {
	if rest, ok := strings.CutPrefix(name, "~/"); ok {
		home, err := os.UserHomeDir()
		if err != nil {
			return dns.Config{}, fault.New("dns config", fault.Invalid, name, err)
		}
		name = filepath.Join(home, rest)
	}
	path, err := filepath.Abs(name)
	if err != nil {
		return dns.Config{}, fault.New("dns config", fault.Invalid, name, err)
	}
	info, err := os.Stat(path)
	if err == nil && info.Size() > maxConfig {
		err = fmt.Errorf("%d bytes are over the limit of %d", info.Size(), maxConfig)
	}
	if err != nil {
		return dns.Config{}, fault.New("dns config", fault.Invalid, "--config="+name, fmt.Errorf("%w; give the file with --config=FILE", err))
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return dns.Config{}, fault.New("dns config", fault.Invalid, "--config="+name, err)
	}
	return dns.ParseConfig(text, path)
}
