package haproxy

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/lb/render"
)

// write puts maps and file in place, each at once and whole.
func (p *Proxy) write(c render.Config) error {
	for i, m := range c.Maps {
		if p.live != nil && i < len(p.live.Maps) && slices.Equal(p.live.Maps[i].Entries, m.Entries) && exists(p.cfg.mapPath(m.File)) {
			continue
		}
		if err := replaceFile(p.cfg.mapPath(m.File), m.Text()); err != nil {
			return err
		}
	}
	return replaceFile(p.cfg.ConfigPath, c.Text)
}

// writeRecord says which texts the file may have while the process has c's structure:
// c's, and the one before as long as the file is being replaced. Without a record the
// process may be at another structure than the file: it is removed before that.
func (p *Proxy) writeRecord(c render.Config) error {
	if p.structure == "" || p.structure != c.Structure {
		p.structure, p.sum = c.Structure, sumOf(c.Structure)
	}
	before := p.text
	p.text = sumOf(c.Text)
	return replaceFile(p.cfg.recordFile(), fmt.Sprintf("%x %x %x\n", p.sum, p.text, before))
}

func (p *Proxy) removeRecord() error {
	err := os.Remove(p.cfg.recordFile())
	if err != nil && !os.IsNotExist(err) {
		return fault.New("write configuration", fault.Unavailable, p.cfg.recordFile(), err)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// recordFile holds the sums of the structure that the process has and of the file: a later
// run tells by them whether the file is ours, and whether it differs in servers only.
func (c Config) recordFile() string { return filepath.Join(c.RunDir, "haproxy.record") }

// recorded tells whether text is what was written last, and the sum of its structure.
func (p *Proxy) recorded(text []byte) (structure string, ours bool) {
	b, _ := os.ReadFile(p.cfg.recordFile())
	f := strings.Fields(string(b))
	if len(f) != 3 {
		return "", false
	}
	return f[0], slices.Contains(f[1:], fmt.Sprintf("%x", sha256.Sum256(text)))
}

// replaceFile keeps an older file's permissions.
func replaceFile(path, text string) error {
	mode := os.FileMode(0o644)
	if old, err := os.Stat(path); err == nil {
		mode = old.Mode().Perm()
	}
	tmp := path + ".new"
	err := writeText(tmp, text, mode)
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		os.Remove(tmp)
		return fault.New("write configuration", fault.Unavailable, path, err)
	}
	return nil
}

// writeText writes without a copy of the text, which may be megabytes.
func writeText(path, text string, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(text); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// sumOf gives the sum of a text, likewise.
func sumOf(text string) (out [sha256.Size]byte) {
	h := sha256.New()
	var block [8 << 10]byte
	for len(text) > 0 {
		n := copy(block[:], text)
		h.Write(block[:n])
		text = text[n:]
	}
	h.Sum(out[:0])
	return out
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
