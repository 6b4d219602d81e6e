package main

import (
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

func parseMaster(t *testing.T, args ...string) (*masterCmd, error) {
	t.Helper()
	var c struct {
		Master masterCmd `cmd:""`
	}
	p, err := kong.New(&c, kong.Exit(func(int) { t.Fatal("kong exits") }))
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Parse(append([]string{"master"}, args...))
	return &c.Master, err
}

func TestMasterFlags(t *testing.T) {
	t.Setenv("MESOS_SLAVE_PING_TIMEOUT", "5secs")
	t.Setenv("MESOS_QUORUM", "2")
	c, err := parseMaster(t, "--ip=127.0.0.1", "--zk=zk://u:secret@127.0.0.1:1/mesos", "--weights=a=2,b/c=0.5",
		"--max_slave_ping_timeouts=3", "--no-filter_gpu_resources", "--min_allocatable_resources=cpus:1;mem:2|disk:3", "--roles=a,b/c")
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := c.config()
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Listen.String() != "127.0.0.1:5050" || cfg.ZK == nil || cfg.PingTimeout != 5*time.Second || cfg.MaxPingTimeouts != 3 ||
		cfg.Weights["b/c"] != 0.5 || cfg.FilterGPU || len(cfg.MinAllocatable) != 2 || len(cfg.Roles) != 2 || cfg.ReregisterTimeout != 10*time.Minute {
		t.Errorf("config %+v", cfg)
	}
	if f := cfg.Flags; f["agent_ping_timeout"] != "5secs" || f["quorum"] != "2" || strings.Contains(f["zk"], "secret") || f["registry_max_agent_age"] != "2weeks" {
		t.Errorf("flags %v", f)
	}
}

func TestMasterRefusesFlags(t *testing.T) {
	for _, c := range []struct{ arg, text string }{
		{"--agent_ping_timeout=500ms", "--agent_ping_timeout=500ms: it must be from 1secs to 15mins"},
		{"--max_agent_ping_timeouts=0", "--max_agent_ping_timeouts=0: it must be at least 1"},
		{"--agent_reregister_timeout=9mins", "--agent_reregister_timeout=9mins: it must be at least 10mins"},
		{"--registry_strict", "--registry_strict=true"},
		{"--weights=a", `"a": write role=weight`},
		{"--weights=a=-1", "write role=weight with a weight above 0"},
		{"--weights=a b=1", "whitespace"},
		{"--roles=a//b", "--roles=a//b"},
		{"--ip=::1", "--ip=::1: it must be an IPv4 address"},
		{"--zk=http://x", "http://x"},
		{"--min_allocatable_resources=cpus", "cpus"},
	} {
		cmd, err := parseMaster(t, "--work_dir=/nowhere", c.arg)
		if err == nil {
			_, err = cmd.config()
		}
		if err == nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v, want it to say %q", c.arg, err, c.text)
		}
	}
	cmd, err := parseMaster(t)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cmd.config(); err == nil || !strings.Contains(err.Error(), "--work_dir=") {
		t.Errorf("without a folder: %v", err)
	}
}
