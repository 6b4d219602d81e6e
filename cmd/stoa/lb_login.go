package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/lb"
	"github.com/stoa-project/stoa/lb/follow"
)

// marathonLogin are Marathon-LB's flags for speaking to Marathon.
type marathonLogin struct {
	Auth     string `name:"auth-credentials" env:"MARATHON_AUTH_CREDENTIALS" help:"user:password for Marathon."`
	AuthFile string `name:"marathon-auth-credential-file" help:"File with one line user:password."`
	DCOS     string `name:"dcos-auth-credentials" env:"DCOS_SERVICE_ACCOUNT_CREDENTIAL" help:"JSON of a DC/OS service account: uid, private_key, login_endpoint."`
	CACert   string `name:"marathon-ca-cert" help:"Certificates that Marathon's is checked against, instead of the system's."`
	Insecure bool   `name:"insecure" help:"Do not check Marathon's certificate."`
}

// read gives the user and password, or what makes tokens.
func (c marathonLogin) read() (user, password string, token lb.TokenSource, err error) {
	if c.DCOS != "" {
		l, err := follow.NewLogin(c.DCOS, nil)
		if err != nil {
			return "", "", nil, err
		}
		return "", "", l, nil
	}
	text, from := c.Auth, "--auth-credentials"
	if text == "" && c.AuthFile != "" {
		b, err := os.ReadFile(c.AuthFile)
		if err != nil {
			return "", "", nil, fault.New("stoa lb", fault.Invalid, "--marathon-auth-credential-file "+c.AuthFile, err)
		}
		text, from = strings.TrimSpace(string(b)), "--marathon-auth-credential-file "+c.AuthFile
	}
	if text == "" {
		return os.Getenv("MARATHON_USER"), os.Getenv("MARATHON_PASSWORD"), nil, nil
	}
	user, password, ok := strings.Cut(text, ":")
	if !ok {
		return "", "", nil, fault.New("stoa lb", fault.Invalid, from, errors.New("wants user:password"))
	}
	return user, password, nil, nil
}

// pythonLevels are the names of levels that Marathon-LB takes.
var pythonLevels = map[string]slog.Level{
	"DEBUG": slog.LevelDebug, "INFO": slog.LevelInfo, "WARNING": slog.LevelWarn, "WARN": slog.LevelWarn, "ERROR": slog.LevelError, "CRITICAL": slog.LevelError, "FATAL": slog.LevelError,
}

// pythonLevel gives a logger of a level named as in Python; "" is the process' own.
func (p *process) pythonLevel(name string) (*slog.Logger, error) {
	if name == "" {
		return p.log, nil
	}
	level, ok := pythonLevels[strings.ToUpper(name)]
	if !ok {
		return nil, fault.New("stoa lb", fault.Invalid, "--log-level "+name, fmt.Errorf("wants debug, info, warning, error or critical"))
	}
	return p.logger(p.stderr, level), nil
}
