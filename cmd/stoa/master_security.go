package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/stoa-project/stoa/internal/acl"
	"github.com/stoa-project/stoa/internal/auth"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/ratelimit"
	"github.com/stoa-project/stoa/internal/tlsport"
	"github.com/stoa-project/stoa/internal/web"
	"github.com/stoa-project/stoa/master"
	"github.com/stoa-project/stoa/master/operators"
)

// masterSecurity are the flags of who may speak to a master and what they may do
// (mesos-master.md section 8).
type masterSecurity struct {
	Credentials   string   `name:"credentials" env:"MESOS_CREDENTIALS" help:"File of principals and secrets: {\"credentials\":[{\"principal\":\"p\",\"secret\":\"s\"}]}, or lines of principal and secret."`
	AuthReadonly  bool     `name:"authenticate_http_readonly" env:"MESOS_AUTHENTICATE_HTTP_READONLY" negatable:"" help:"Only principals of --credentials may read over HTTP."`
	AuthReadwrite bool     `name:"authenticate_http_readwrite" aliases:"authenticate_http" env:"MESOS_AUTHENTICATE_HTTP_READWRITE,MESOS_AUTHENTICATE_HTTP" negatable:"" help:"Only principals of --credentials may use /api/v1 and the endpoints that change something."`
	AuthHTTPFrame bool     `name:"authenticate_http_frameworks" env:"MESOS_AUTHENTICATE_HTTP_FRAMEWORKS" negatable:"" help:"Only principals of --credentials may use the scheduler API; needs --http_framework_authenticators."`
	HTTPAuth      string   `name:"http_authenticators" env:"MESOS_HTTP_AUTHENTICATORS" default:"basic" help:"How HTTP principals show who they are: basic, jwt, or both with a comma."`
	HTTPFrameAuth string   `name:"http_framework_authenticators" env:"MESOS_HTTP_FRAMEWORK_AUTHENTICATORS" help:"The same for frameworks; no default."`
	JWTKey        string   `name:"jwt_secret_key" env:"MESOS_JWT_SECRET_KEY" help:"File with the key of tokens signed with HS256, for jwt; Mesos has this flag on agents only."`
	ACLs          string   `name:"acls" env:"MESOS_ACLS" help:"Who may do what: JSON, or a file with it. Everything is allowed without."`
	V0Frameworks  bool     `name:"authenticate_frameworks" aliases:"authenticate" env:"MESOS_AUTHENTICATE_FRAMEWORKS,MESOS_AUTHENTICATE" negatable:"" help:"Only v0 frameworks that authenticate may subscribe; for the HTTP API see --authenticate_http_frameworks."`
	V0Agents      bool     `name:"authenticate_agents" aliases:"authenticate_slaves" env:"MESOS_AUTHENTICATE_AGENTS,MESOS_AUTHENTICATE_SLAVES" negatable:"" help:"Only agents that authenticate may register."`
	V0Auth        string   `name:"authenticators" env:"MESOS_AUTHENTICATORS" default:"crammd5" help:"How v0 frameworks and agents authenticate; only crammd5."`
	V0Timeout     duration `name:"authentication_v0_timeout" env:"MESOS_AUTHENTICATION_V0_TIMEOUT" default:"15secs" help:"Longest time of one such authentication."`
	RateLimits    string   `name:"rate_limits" env:"MESOS_RATE_LIMITS" help:"Calls a second of each principal: JSON, or a file with it."`
	Firewall      string   `name:"firewall_rules" env:"MESOS_FIREWALL_RULES" help:"Endpoints that answer 403: {\"disabled_endpoints\":{\"paths\":[\"/files/browse\"]}}, or a file with it."`
	Authorizers   string   `name:"authorizers" env:"MESOS_AUTHORIZERS" default:"local" help:"Only local."`
}

// config reads the files and makes the authenticators.
func (c *masterSecurity) config(log *slog.Logger) (master.Security, error) {
	var s master.Security
	bad := func(flag, value, why string) error {
		return fault.New("stoa master", fault.Invalid, fmt.Sprintf("--%s=%s", flag, value), errors.New(why))
	}
	known, key, err := httpPrincipals(c.Credentials, c.JWTKey, log)
	if err != nil {
		return s, err
	}
	if c.AuthHTTPFrame && c.HTTPFrameAuth == "" {
		return s, bad("http_framework_authenticators", "", "it must say how, for example basic, because --authenticate_http_frameworks is given")
	}
	for _, each := range []struct {
		on    bool
		flag  string
		names string
		realm operators.Realm
		into  *auth.Authenticator
	}{
		{c.AuthReadonly, "http_authenticators", c.HTTPAuth, operators.Readonly, &s.Readonly},
		{c.AuthReadwrite, "http_authenticators", c.HTTPAuth, operators.Readwrite, &s.Readwrite},
		{c.AuthHTTPFrame, "http_framework_authenticators", c.HTTPFrameAuth, operators.Scheduler, &s.Scheduler},
	} {
		a, err := authenticators(each.names, each.realm.String(), "--credentials", each.on, known, key)
		if err != nil {
			return s, bad(each.flag, each.names, err.Error())
		}
		if each.on {
			*each.into = a
		}
	}
	switch {
	case c.V0Auth != "crammd5":
		return s, bad("authenticators", c.V0Auth, "only crammd5 is supported; native modules cannot be loaded")
	case known == nil && c.V0Agents:
		return s, bad("authenticate_agents", "true", "it needs --credentials")
	case known == nil && c.V0Frameworks:
		return s, bad("authenticate_frameworks", "true", "it needs --credentials")
	case c.V0Timeout <= 0:
		return s, bad("authentication_v0_timeout", c.V0Timeout.String(), "it must be positive")
	}
	s.Credentials, s.AuthenticateFrameworks, s.AuthenticateAgents = known, c.V0Frameworks, c.V0Agents
	s.AuthenticationTimeout = time.Duration(c.V0Timeout)
	if s.Limits, err = readFlag("stoa master", "rate_limits", c.RateLimits, ratelimit.Parse); err != nil {
		return s, err
	}
	if s.Firewall, err = firewall("stoa master", c.Firewall, "master"); err != nil {
		return s, err
	}
	if s.TLS, s.RequirePeerIP, err = libprocessSecurity(log); err != nil {
		return s, err
	}
	if c.Authorizers != "local" {
		return s, bad("authorizers", c.Authorizers, "only local is supported; native modules cannot be loaded")
	}
	s.ACL, err = rules("stoa master", c.ACLs, log)
	return s, err
}

// readFlag has parse read what a flag says: JSON, or a file with it. An empty value gives
// the zero value.
func readFlag[T any](op, flag, value string, parse func([]byte) (T, error)) (out T, err error) {
	if value == "" {
		return out, nil
	}
	text, err := textOrFile(value)
	if err != nil {
		return out, fault.New(op, fault.Invalid, fmt.Sprintf("--%s=%s", flag, value), err)
	}
	if out, err = parse(text); err != nil {
		return out, fault.New(op, fault.Invalid, "--"+flag, err)
	}
	return out, nil
}

// rules reads --acls; nil when it is empty.
func rules(op, value string, log *slog.Logger) (*acl.List, error) {
	return readFlag(op, "acls", value, func(text []byte) (*acl.List, error) {
		list, warnings, err := acl.Parse(text)
		warn(log, warnings)
		return list, err
	})
}

// firewall reads --firewall_rules of a process by its libprocess name; nil when it is empty.
func firewall(op, value, process string) (*web.Firewall, error) {
	return readFlag(op, "firewall_rules", value, func(text []byte) (*web.Firewall, error) {
		return web.ParseFirewall(text, process)
	})
}

func warn(log *slog.Logger, warnings []string) {
	for _, w := range warnings {
		log.Warn(w)
	}
}

// httpPrincipals reads the files that authenticators need; either may be empty.
func httpPrincipals(credentials, jwtKey string, log *slog.Logger) (known *auth.Credentials, key []byte, err error) {
	var warnings []string
	if credentials != "" {
		if known, warnings, err = auth.ReadCredentials(credentials); err != nil {
			return nil, nil, err
		}
		warn(log, warnings)
	}
	if jwtKey != "" {
		if key, warnings, err = auth.ReadSecret(jwtKey); err != nil {
			return nil, nil, err
		}
		warn(log, warnings)
	}
	return known, key, nil
}

// authenticators makes the named ones, in their order. required says that they will be
// used, so that what they need, the file of the flag, must be there.
func authenticators(names, realm, flag string, required bool, known *auth.Credentials, key []byte) (auth.Authenticator, error) {
	var all auth.Combined
	for _, name := range words(names) {
		switch name {
		case "basic":
			if required && known.Len() == 0 {
				return nil, errors.New("basic needs " + flag)
			}
			all = append(all, &auth.Basic{Realm: realm, Credentials: known})
		case "jwt":
			if required && len(key) == 0 {
				return nil, errors.New("jwt needs --jwt_secret_key")
			}
			all = append(all, &auth.JWT{Realm: realm, Key: key})
		default:
			return nil, fmt.Errorf("%q is not one of basic, jwt; native modules cannot be loaded", name)
		}
	}
	if len(all) == 1 {
		return all[0], nil
	}
	if required && len(all) == 0 {
		return nil, errors.New("it names no authenticator")
	}
	return all, nil
}

// libprocessSecurity reads what Mesos daemons take from the environment alone.
func libprocessSecurity(log *slog.Logger) (port *tlsport.Port, requirePeerIP bool, err error) {
	settings, warnings, err := tlsport.FromEnv(os.LookupEnv)
	if err != nil {
		return nil, false, err
	}
	warn(log, warnings)
	if port, err = tlsport.Open(settings, log); err != nil {
		return nil, false, err
	}
	const match = "LIBPROCESS_REQUIRE_PEER_ADDRESS_IP_MATCH"
	switch text := os.Getenv(match); text {
	case "", "0", "false":
	case "1", "true":
		requirePeerIP = true
	default:
		return nil, false, fault.New("stoa", fault.Invalid, match+"="+text, errors.New("write true or false"))
	}
	return port, requirePeerIP, nil
}

// maxFlagFile bounds the files whose content is a flag's value, in bytes.
const maxFlagFile = 16 << 20

// textOrFile gives the content of file:///path or /path, else the value itself.
func textOrFile(value string) ([]byte, error) {
	path, named := strings.CutPrefix(value, "file://")
	if !named && !strings.HasPrefix(value, "/") {
		return []byte(value), nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFlagFile || info.IsDir() {
		return nil, fmt.Errorf("it must be a file of at most %d bytes", maxFlagFile)
	}
	return os.ReadFile(path)
}
