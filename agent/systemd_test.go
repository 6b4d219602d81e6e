package agent

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// mesos-agent.md 7.1: under systemd the keeper is in a slice of its own.
func TestKeeperScope(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("scopes of the system need root")
	}
	bin := t.TempDir()
	t.Setenv("PATH", bin)
	log := slog.New(slog.DiscardHandler)
	if got := (Config{SystemdDir: bin}).keeperScope(log); got != nil {
		t.Errorf("without systemd-run: %q", got)
	}
	run := filepath.Join(bin, "systemd-run")
	if err := os.WriteFile(run, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	got := (Config{SystemdDir: bin}).keeperScope(log)
	if len(got) == 0 || got[0] != run || got[len(got)-1] != "--" || !slices.Contains(got, "--scope") || !slices.Contains(got, "--slice=mesos_executors.slice") || !slices.Contains(got, "--property=Delegate=yes") {
		t.Errorf("%q", got)
	}
	for _, dir := range []string{"", "/nowhere"} { // --no-systemd_enable_support; a host without systemd
		if got := (Config{SystemdDir: dir}).keeperScope(log); got != nil {
			t.Errorf("%q: %q", dir, got)
		}
	}
}
