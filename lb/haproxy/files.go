package haproxy

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/lb/render"
)

// write puts maps and file in place, each at once and whole.
func (p *Proxy) write(c render.Config) error {
	for _, m := range c.Maps {
		if err := replaceFile(p.cfg.mapPath(m.File), m.Text()); err != nil {
			return err
		}
	}
	return replaceFile(p.cfg.ConfigPath, c.Text)
}

// replaceFile keeps an older file's permissions.
func replaceFile(path, text string) error {
	mode := os.FileMode(0o644)
	if old, err := os.Stat(path); err == nil {
		mode = old.Mode().Perm()
	}
	tmp := path + ".new"
	err := os.WriteFile(tmp, []byte(text), mode)
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		os.Remove(tmp)
		return fault.New("write configuration", fault.Unavailable, path, err)
	}
	return nil
}

func (p *Proxy) archiveDir() string { return filepath.Join(p.cfg.RunDir, "archive") }

// archive keeps the file and maps in place, which a reload is about to replace, as
// number 0; older ones move on by one.
func (p *Proxy) archive() {
	for name, path := range map[string]string{"hap_cfg": p.cfg.ConfigPath, "domain_map": p.cfg.mapPath(render.DomainMap), "app_map": p.cfg.mapPath(render.AppMap)} {
		if text, err := os.ReadFile(path); err == nil {
			p.keep(name, text)
		}
	}
}

// keepFailed keeps a configuration that HAProxy refused.
func (p *Proxy) keepFailed(text string) { p.keep("haproxy_temp_config_fail", []byte(text)) }

func (p *Proxy) keep(name string, text []byte) {
	if p.cfg.Archives < 1 {
		return
	}
	at := func(n int) string { return filepath.Join(p.archiveDir(), fmt.Sprintf("%s.%d", name, n)) }
	err := os.MkdirAll(p.archiveDir(), 0o700)
	for n := p.cfg.Archives - 1; n > 0; n-- {
		_ = os.Rename(at(n-1), at(n))
	}
	if err == nil {
		err = os.WriteFile(at(0), text, 0o600)
	}
	if err != nil {
		p.log.Warn("configuration not archived", "error", err)
	}
}

// matches tells whether an adopted process already does what want says: the files are
// equal, and each server is in the state that its line gives. Servers that the process
// has beyond them are on their way out.
func (p *Proxy) matches(ctx context.Context, want render.Config) bool {
	text, err := os.ReadFile(p.cfg.ConfigPath)
	if err != nil || string(text) != want.Text {
		return false
	}
	for _, m := range want.Maps {
		text, err := os.ReadFile(p.cfg.mapPath(m.File))
		if err != nil || string(text) != m.Text() {
			return false
		}
	}
	c, err := p.api(ctx)
	if err != nil {
		return false
	}
	said, err := c.ExecuteRaw("show servers state")
	if err != nil {
		return false
	}
	out := map[[2]string]bool{} // server -> out of service by command
	for line := range strings.Lines(said) {
		if f := strings.Fields(line); len(f) > 6 && f[0] != "#" {
			admin, _ := strconv.Atoi(f[6])
			out[[2]string{f[1], f[3]}] = admin&1 != 0
		}
	}
	for _, b := range want.Backends {
		for _, s := range b.Servers {
			key := [2]string{b.Name, s.Name}
			if isOut, ok := out[key]; !ok || !s.Drain && isOut {
				return false
			}
			delete(out, key)
		}
	}
	dying := map[[2]string]render.Server{}
	for key, isOut := range out {
		if isOut {
			dying[key] = render.Server{Name: key[1]}
		} else if key[0] != "stats" && !strings.Contains(want.Text, "server "+key[1]+" ") {
			return false
		}
	}
	p.dying = dying
	return true
}
