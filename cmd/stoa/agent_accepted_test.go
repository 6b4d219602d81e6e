package main

import (
	"slices"
	"testing"
)

// Flags of Mesos that change nothing are taken in every form that Mesos takes, and named.
func TestAgentFlagsWithoutEffect(t *testing.T) {
	c, err := parseAgent(t, "--quiet", "--no-systemd_enable_support", "--cgroups_limit_swap=false", "--http_command_executor=true", "--no-network_cni_metrics", "--log_dir=/x")
	if err != nil {
		t.Fatal(err)
	}
	got := used(c.agentAccepted)
	slices.Sort(got)
	want := []string{"cgroups_limit_swap", "http_command_executor", "log_dir", "network_cni_metrics", "quiet", "systemd_enable_support"}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	for name, value := range map[string]string{"quiet": "true", "systemd_enable_support": "false", "cgroups_limit_swap": "false", "log_dir": "/x"} {
		if got := c.flags()[name]; got != value {
			t.Errorf("/flags prints %s as %q, want %q", name, got, value)
		}
	}
	if c, err = parseAgent(t); err != nil || len(used(c.agentAccepted)) > 0 {
		t.Errorf("%v %v", used(c.agentAccepted), err)
	}
}
