package haproxy

import (
	"context"
	"strings"

	"github.com/haproxytech/client-native/v6/models"
)

// CertSources are the places that the running process has certificates from.
type CertSources struct {
	Files []string // files and folders: the arguments of crt on its bind lines
	Lists []string // the arguments of crt-list
	Base  string   // the folder that relative paths of certificates are in, "" for none
}

// Certificates gives where the running process has certificates from.
func (p *Proxy) Certificates() CertSources {
	if p.live == nil || p.cfg.Command != "" {
		return CertSources{}
	}
	if p.certs != nil {
		return *p.certs
	}
	p.certs = &CertSources{}
	seen := map[[2]string]bool{}
	for line := range strings.Lines(p.live.Structure) {
		f := strings.Fields(line)
		if len(f) == 2 && f[0] == "crt-base" {
			p.certs.Base = f[1]
		}
		if len(f) == 0 || f[0] != "bind" {
			continue
		}
		for i := range f[:len(f)-1] {
			key := [2]string{f[i], f[i+1]}
			if seen[key] {
				continue
			}
			switch f[i] {
			case "crt":
				p.certs.Files = append(p.certs.Files, inBase(f[i+1], p.certs.Base))
			case "crt-list":
				p.certs.Lists = append(p.certs.Lists, f[i+1])
			default:
				continue
			}
			seen[key] = true
		}
	}
	return *p.certs
}

// ReplaceCertificate gives the process another certificate and key under a file's name:
// new handshakes use it at once.
func (p *Proxy) ReplaceCertificate(ctx context.Context, file, pem string) error {
	c, err := p.api(ctx)
	if err != nil {
		return err
	}
	if err := c.SetCertEntry(file, payload(pem)); err != nil {
		return err
	}
	if err := c.CommitCertEntry(file); err != nil {
		_ = c.AbortCertEntry(file)
		return err
	}
	return nil
}

// AddCertificate takes a new file of a folder that a bind line names.
func (p *Proxy) AddCertificate(ctx context.Context, dir, file, pem string) error {
	c, err := p.api(ctx)
	if err != nil {
		return err
	}
	if err := c.NewCertEntry(file); err != nil {
		return err
	}
	if err := p.ReplaceCertificate(ctx, file, pem); err != nil {
		_ = c.DeleteCertEntry(file)
		return err
	}
	return c.AddCrtListEntry(dir, models.SslCrtListEntry{File: file})
}

// RemoveCertificate drops a file that is gone from such a folder.
func (p *Proxy) RemoveCertificate(ctx context.Context, dir, file string) error {
	c, err := p.api(ctx)
	if err != nil {
		return err
	}
	if err := c.DeleteCrtListEntry(dir, file, nil); err != nil {
		return err
	}
	return c.DeleteCertEntry(file)
}

// payload makes a text that ends where the runtime API looks for its end: at the first
// empty line, so there must be none before.
func payload(pem string) string {
	var b strings.Builder
	for line := range strings.Lines(pem) {
		if strings.TrimSpace(line) != "" {
			b.WriteString(strings.TrimRight(line, "\r\n") + "\n")
		}
	}
	return b.String()
}
