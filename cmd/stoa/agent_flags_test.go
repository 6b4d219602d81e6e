package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/agent"
)

// configOf parses flags of an agent and gives what the room is told, and the log.
func configOf(t *testing.T, args ...string) (agent.Config, string, error) {
	t.Helper()
	c, err := parseAgent(t, args...)
	if err != nil {
		return agent.Config{}, "", err
	}
	var log bytes.Buffer
	modules, err := c.agentModules.read(slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		return agent.Config{}, log.String(), err
	}
	cfg, err := c.config(modules)
	return cfg, log.String(), err
}

// Flags reach the room (mesos-agent.md 13).
func TestAgentFlagsReachTheRoom(t *testing.T) {
	cfg, _, err := configOf(t)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.HTTPHeartbeat != 30*time.Second || cfg.CgroupsDestroyTimeout != time.Minute || cfg.CgroupsLimitSwap || cfg.RevocableCPUFullPriority || cfg.Strict ||
		cfg.IP6 != "" || cfg.Launcher != "" || cfg.CgroupsRoot != "mesos" || cfg.Flags["cgroups_root"] != "mesos" {
		t.Errorf("defaults: %+v", cfg)
	}
	cfg, _, err = configOf(t, "--ip_discovery_command=echo 127.0.0.2", "--ip6_discovery_command=echo ::1", "--http_heartbeat_interval=5secs", "--cgroups_destroy_timeout=7secs",
		"--cgroups_limit_swap", "--no-revocable_cpu_low_priority", "--strict", "--launcher=posix", "--port=6000", "--cgroups_enable_cfs")
	if err != nil {
		t.Fatal(err)
	}
	if cfg.IP != "127.0.0.2" || cfg.IP6 != "::1" || cfg.HTTPHeartbeat != 5*time.Second || cfg.CgroupsDestroyTimeout != 7*time.Second || !cfg.CgroupsLimitSwap ||
		!cfg.RevocableCPUFullPriority || !cfg.Strict || cfg.Launcher != "posix" || cfg.CgroupsRoot != "mesos-6000" || cfg.Flags["cgroups_root"] != "mesos-6000" || !cfg.CgroupsEnableCFS {
		t.Errorf("%+v", cfg)
	}
	if cfg.SystemdDir != "/run/systemd/system" {
		t.Errorf("systemd in %q", cfg.SystemdDir)
	}
	if cfg, _, err = configOf(t, "--no-systemd_enable_support"); err != nil || cfg.SystemdDir != "" {
		t.Errorf("systemd in %q %v", cfg.SystemdDir, err)
	}
	t.Setenv("MESOS_IP6", "fd00::7")
	t.Setenv("MESOS_HTTP_HEARTBEAT_INTERVAL", "1mins")
	if cfg, _, err = configOf(t, "--http_heartbeat_interval=2secs"); err != nil || cfg.IP6 != "fd00::7" || cfg.HTTPHeartbeat != 2*time.Second {
		t.Errorf("variables: %+v %v", cfg, err)
	}
}

func TestAgentFlagsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ args, want string }{
		{"--ip=127.0.0.1 --ip_discovery_command=date", "give it or --ip, not both"},
		{"--ip_discovery_command=false", "--ip_discovery_command=false"},
		{"--ip_discovery_command=true", "it printed nothing"},
		{"--ip6=::1 --ip6_discovery_command=date", "give it or --ip6, not both"},
		{"--ip6=10.0.0.1", "is no IPv6 address"},
		{"--http_heartbeat_interval=0ns", "--http_heartbeat_interval"},
		{"--hooks=org_apache_mesos_TestHook", "--hooks=org_apache_mesos_TestHook"},
		{"--secret_resolver=vault", "--secret_resolver=vault"},
		{"--modules={} --modules_dir=" + dir, "give it or --modules, not both"},
		{"--modules_dir=" + dir, "a.json"},
		{"--modules_dir=/nowhere", "--modules_dir=/nowhere"},
		{"--modules=x", "--modules=x"},
		{"--no-such-flag", "unknown flag"},
		{"--gc_disk_headroom=2", "--gc_disk_headroom"},
		{"--recover=maybe", "--recover"},
		{"--reconfiguration_policy=any", "--reconfiguration_policy"},
		{"--gc_delay=5x", "is no duration"},
	} {
		if _, _, err := configOf(t, strings.Fields(c.args)...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.args, err, c.want)
		}
	}
}

// --modules and --modules_dir say the same; modules that nothing uses are named in the log.
func TestAgentModules(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"1.json": `{"libraries":[{"file":"/opt/liba.so","modules":[{"name":"org_apache_mesos_FixedResourceEstimator","parameters":[{"key":"resources","value":"cpus:3"}]}]}]}`,
		"2.json": `{"libraries":[{"name":"b","modules":[{"name":"com_example_Overlay"}]}]}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, log, err := configOf(t, "--modules_dir="+dir, "--resource_estimator=org_apache_mesos_FixedResourceEstimator")
	if err != nil || !strings.Contains(cfg.Oversubscription.Modules, `"value":"cpus:3"`) {
		t.Errorf("%v %v", cfg.Oversubscription, err)
	}
	if !strings.Contains(log, "com_example_Overlay") || strings.Contains(log, "FixedResource") {
		t.Errorf("log %q", log)
	}
	if cfg, _, err = configOf(t, "--modules=file://"+filepath.Join(dir, "1.json")); err != nil || !strings.Contains(cfg.Oversubscription.Modules, `"cpus:3"`) {
		t.Errorf("%v %v", cfg.Oversubscription, err)
	}
}
