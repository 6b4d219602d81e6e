// Package haproxy owns the HAProxy process: it validates and writes the file, starts,
// adopts and reloads the process, and changes servers through the runtime API.
package haproxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/lb/render"
)

// Find gives the path of the haproxy binary: the named one, or the first on PATH or in
// the sbin folders that a user's PATH often lacks. Its version must be 2.4 or later.
func Find(ctx context.Context, named string) (string, error) {
	const cure = "install it (Debian: apt-get install haproxy; this project: scripts/setup) or name it with --haproxy_path"
	path := named
	if path == "" {
		for _, p := range []string{"haproxy", "/usr/sbin/haproxy", "/usr/local/sbin/haproxy"} {
			if found, err := exec.LookPath(p); err == nil {
				path = found
				break
			}
		}
	}
	if path == "" {
		return "", fault.New("find haproxy", fault.NotFound, "", errors.New("no haproxy binary on this machine: "+cure))
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "-v").Output()
	if err != nil {
		return "", fault.New("find haproxy", fault.NotFound, path, fmt.Errorf("%w: %s", err, cure))
	}
	if err := recentEnough(string(out)); err != nil {
		return "", fault.New("find haproxy", fault.Unsupported, path, err)
	}
	return path, nil
}

var versionLine = regexp.MustCompile(`(?i)ha-?proxy version (\d+)\.(\d+)`)

// recentEnough reads the output of haproxy -v: servers can be added at run time since 2.4.
func recentEnough(out string) error {
	m := versionLine.FindStringSubmatch(out)
	if m == nil {
		return fmt.Errorf("its version is not readable: %.80q", out)
	}
	major, _ := strconv.Atoi(m[1])
	minor, _ := strconv.Atoi(m[2])
	if major < 2 || major == 2 && minor < 4 {
		return fmt.Errorf("version %d.%d is too old, 2.4 or later is needed", major, minor)
	}
	return nil
}

// Refusal is HAProxy's answer to a configuration that it does not take.
type Refusal struct {
	Said  string
	Lines []int // lines of the configuration that it names
}

func (r *Refusal) Error() string { return "haproxy refuses the configuration: " + r.Said }

// Validate asks the binary whether it takes the configuration. The error holds HAProxy's
// own sentences and is a Refusal inside. It costs a process start: tens of milliseconds.
func (p *Proxy) Validate(ctx context.Context, c render.Config) error {
	text := c.Text
	dir, err := os.MkdirTemp(p.cfg.RunDir, "check")
	if err != nil {
		return fault.New("validate", fault.Unavailable, p.cfg.RunDir, err)
	}
	defer os.RemoveAll(dir)
	for _, m := range c.Maps {
		// The maps in place are those of the running process.
		if err := os.WriteFile(filepath.Join(dir, m.File), []byte(m.Text()), 0o600); err != nil {
			return fault.New("validate", fault.Unavailable, dir, err)
		}
		text = strings.ReplaceAll(text, p.cfg.mapPath(m.File), filepath.Join(dir, m.File))
	}
	return p.validateText(ctx, dir, text)
}

func (p *Proxy) validateText(ctx context.Context, dir, text string) error {
	if p.cfg.SkipValidation {
		return nil
	}
	tmp := filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
		return fault.New("validate", fault.Unavailable, tmp, err)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.cfg.Binary, "-c", "-f", tmp)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return fault.New("validate", fault.Timeout, "", ctx.Err())
		}
		r := &Refusal{Said: alerts(said.String(), err)}
		for _, m := range namedLine.FindAllStringSubmatch(said.String(), 1000) {
			n, _ := strconv.Atoi(m[1])
			r.Lines = append(r.Lines, n)
		}
		p.keepFailed(text)
		return fault.New("validate", fault.Invalid, "", r)
	}
	return nil
}

// namedLine finds the places that alerts, not warnings, name.
var namedLine = regexp.MustCompile(`(?m)^\[ALERT\].*?\[[^\]]*/haproxy\.cfg:(\d+)\]`)

// alerts keeps the lines that say what is wrong.
func alerts(out string, err error) string {
	var keep []string
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		if strings.Contains(line, "[ALERT]") && len(keep) < 5 {
			keep = append(keep, line)
		}
	}
	if len(keep) == 0 {
		return err.Error()
	}
	return strings.Join(keep, "; ")
}

// MaxConn gives how many connections a HAProxy started here can have, at most want: each
// costs two file descriptors, besides one for each listener and each server's checks.
func MaxConn(want, listeners, servers int) int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return want
	}
	// In steps, so that one task more is no other number.
	other := 1000 * ((listeners+servers)/1000 + 1)
	if limit.Max > uint64(2*want+other) {
		return want
	}
	return max((int(limit.Max)-other)/2, 100)
}
