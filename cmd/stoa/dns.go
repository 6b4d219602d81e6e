package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/stoa-project/stoa/dns"
	"github.com/stoa-project/stoa/internal/fault"
)

// dnsCmd has the flags of Mesos-DNS (mesos-dns.md section 12). The flags of its logging
// library appear in unit files; they are taken and have no effect.
type dnsCmd struct {
	Config string `name:"config" default:"config.json" env:"STOA_DNS_CONFIG" placeholder:"FILE" help:"Configuration file with the JSON keys of Mesos-DNS."`

	Verbosity       int    `name:"v" hidden:""`
	LogToStderr     bool   `name:"logtostderr" hidden:""`
	AlsoLogToStderr bool   `name:"alsologtostderr" hidden:""`
	StderrThreshold string `name:"stderrthreshold" hidden:""`
	LogDir          string `name:"log_dir" hidden:""`
	VModule         string `name:"vmodule" hidden:""`
	LogBacktraceAt  string `name:"log_backtrace_at" hidden:""`
}

// Run serves until the process is told to stop.
func (c dnsCmd) Run(p *process) error {
	cfg, err := readDNSConfig(c.Config)
	if err != nil {
		return err
	}
	room, err := dns.New(cfg, version, p.log.With("room", "dns"))
	if err != nil {
		return err
	}
	return room.Run(p.ctx)
}

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
