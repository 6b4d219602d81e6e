package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

func parseAgent(t *testing.T, args ...string) (*agentCmd, error) {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	var c cli
	p, err := kong.New(&c, kong.Exit(func(int) {}))
	if err != nil {
		t.Fatal(err)
	}
	args, _, err = mesosFlags(p, append([]string{"agent", "--master=127.0.0.1:1", "--work_dir=/nowhere"}, args...))
	if err != nil {
		return nil, err
	}
	_, err = p.Parse(args)
	return &c.Agent, err
}

func TestAgentSecurity(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secrets")
	if err := os.WriteFile(secret, []byte("agents s\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := parseAgent(t, "--credential="+secret, "--http_credentials=file://"+secret, "--authenticate_http_readonly", "--authenticate_http",
		"--authentication_timeout_min=2secs", "--authenticate_http_executors", "--executor_secret_key="+secret,
		`--acls={"permissive":false}`, `--firewall_rules={"disabled_endpoints":{"paths":["/slave(1)/state"]}}`)
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.agentSecurity.config(slog.New(slog.DiscardHandler))
	if err != nil || s.Credential == nil || s.Credential.Principal != "agents" || s.Readonly == nil || s.Readwrite == nil || s.Firewall == nil ||
		len(s.ExecutorKey) == 0 || s.Rules.Allows("", "view_flags", "") ||
		s.Patience.Min != 2*time.Second || s.TLS != nil {
		t.Errorf("%+v %v", s, err)
	}
	for name, value := range map[string]string{"authenticate_http_readonly": "true", "authenticatee": "crammd5", "credential": secret, "work_dir": "/nowhere", "port": "5051"} {
		if got := c.flags()[name]; got != value {
			t.Errorf("/flags prints %s as %q, want %q", name, got, value)
		}
	}
	for _, r := range []struct{ arg, want string }{
		{"--authenticate_http_executors", "give --jwt_secret_key=FILE"},
		{`--acls={"permissive":`, "--acls"},
		{"--authenticate_http_readonly", "basic needs --http_credentials"},
		{"--credential=/nowhere/c", "/nowhere/c"},
		{"--authentication_timeout_max=1secs", "--authentication_timeout_max=1secs"},
		{"--firewall_rules=x", "--firewall_rules"},
	} {
		c, err := parseAgent(t, r.arg)
		if err == nil {
			_, err = c.agentSecurity.config(slog.New(slog.DiscardHandler))
		}
		if err == nil || !strings.Contains(err.Error(), r.want) {
			t.Errorf("%s: %v, want %q", r.arg, err, r.want)
		}
	}
}
