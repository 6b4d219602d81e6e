package main

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/stoa-project/stoa/agent"
	"github.com/stoa-project/stoa/internal/auth"
	"github.com/stoa-project/stoa/internal/fault"
)

// agentSecurity are the flags of who may speak to an agent, and who it is for its master
// (mesos-agent.md section 11).
type agentSecurity struct {
	Credential    string   `name:"credential" env:"MESOS_CREDENTIAL" help:"File with this agent's own principal and secret, for masters that ask: {\"principal\":\"p\",\"secret\":\"s\"}."`
	Authenticatee string   `name:"authenticatee" env:"MESOS_AUTHENTICATEE" default:"crammd5" enum:"crammd5" help:"How it authenticates; only crammd5."`
	AuthBackoff   duration `name:"authentication_backoff_factor" env:"MESOS_AUTHENTICATION_BACKOFF_FACTOR" default:"1secs" help:"Attempts to authenticate may take this longer, doubled with each failure."`
	AuthMin       duration `name:"authentication_timeout_min" env:"MESOS_AUTHENTICATION_TIMEOUT_MIN" default:"5secs" help:"Least time of one attempt."`
	AuthMax       duration `name:"authentication_timeout_max" env:"MESOS_AUTHENTICATION_TIMEOUT_MAX" default:"1mins" help:"Longest time of one attempt."`

	Credentials   string `name:"http_credentials" env:"MESOS_HTTP_CREDENTIALS" help:"File of principals and secrets that may use this agent over HTTP."`
	AuthReadonly  bool   `name:"authenticate_http_readonly" env:"MESOS_AUTHENTICATE_HTTP_READONLY" negatable:"" help:"Only principals of --http_credentials may read over HTTP."`
	AuthReadwrite bool   `name:"authenticate_http_readwrite" aliases:"authenticate_http" env:"MESOS_AUTHENTICATE_HTTP_READWRITE,MESOS_AUTHENTICATE_HTTP" negatable:"" help:"Only principals of --http_credentials may use /api/v1."`
	AuthExecutors bool   `name:"authenticate_http_executors" env:"MESOS_AUTHENTICATE_HTTP_EXECUTORS" negatable:"" help:"Executors get tokens, signed with --jwt_secret_key, and must show them."`
	HTTPAuth      string `name:"http_authenticators" env:"MESOS_HTTP_AUTHENTICATORS" default:"basic" help:"How HTTP principals show who they are: basic, jwt, or both with a comma."`
	JWTKey        string `name:"jwt_secret_key" aliases:"executor_secret_key" env:"MESOS_JWT_SECRET_KEY,MESOS_EXECUTOR_SECRET_KEY" help:"File with the key of tokens signed with HS256: executors' and those of jwt."`
	ACLs          string `name:"acls" env:"MESOS_ACLS" help:"Who may do what on this agent: JSON, or a file with it. Everything is allowed without."`
	Authorizer    string `name:"authorizer" env:"MESOS_AUTHORIZER" default:"local" enum:"local" help:"Only local."`
	Firewall      string `name:"firewall_rules" env:"MESOS_FIREWALL_RULES" help:"Endpoints that answer 403: JSON, or a file with it."`
}

// config reads the files and makes the authenticators.
func (c *agentSecurity) config(log *slog.Logger) (agent.Security, error) {
	s := agent.Security{Patience: agent.Patience{Min: time.Duration(c.AuthMin), Max: time.Duration(c.AuthMax), Factor: time.Duration(c.AuthBackoff)}}
	bad := func(flag, value, why string) error {
		return fault.New("stoa agent", fault.Invalid, fmt.Sprintf("--%s=%s", flag, value), errors.New(why))
	}
	switch {
	case c.AuthExecutors && c.JWTKey == "":
		return s, bad("authenticate_http_executors", "true", "tokens need a key: give --jwt_secret_key=FILE")
	case c.AuthMin <= 0 || c.AuthMax < c.AuthMin:
		return s, bad("authentication_timeout_max", c.AuthMax.String(), "it must be at least --authentication_timeout_min, which must be positive")
	}
	if c.Credential != "" {
		own, warnings, err := auth.ReadCredential(c.Credential)
		if err != nil {
			return s, err
		}
		warn(log, warnings)
		s.Credential = &own
	}
	known, key, err := httpPrincipals(c.Credentials, c.JWTKey, log)
	if err != nil {
		return s, err
	}
	for _, each := range []struct {
		on    bool
		realm string
		into  *auth.Authenticator
	}{{c.AuthReadonly, agent.ReadonlyRealm, &s.Readonly}, {c.AuthReadwrite, agent.ReadwriteRealm, &s.Readwrite}} {
		a, err := authenticators(c.HTTPAuth, each.realm, "--http_credentials", each.on, known, key)
		if err != nil {
			return s, bad("http_authenticators", c.HTTPAuth, err.Error())
		}
		if each.on {
			*each.into = a
		}
	}
	if c.AuthExecutors {
		s.ExecutorKey = key
	}
	if s.Rules, err = rules("stoa agent", c.ACLs, log); err != nil {
		return s, err
	}
	if s.Firewall, err = firewall("stoa agent", c.Firewall, "slave(1)"); err != nil {
		return s, err
	}
	s.TLS, s.RequirePeerIP, err = libprocessSecurity(log)
	return s, err
}
