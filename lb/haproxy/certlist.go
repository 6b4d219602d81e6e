package haproxy

import (
	"context"
	"errors"
	"path/filepath"
	"strings"

	"github.com/haproxytech/client-native/v6/models"
)

// CertEntry is one line of a crt-list file.
type CertEntry struct {
	Line    string // words parted by single blanks
	File    string // as HAProxy names the certificate
	Options string // what stands in brackets, without them
	Filters []string
}

// ParseCertList reads the text of a crt-list file; base is HAProxy's crt-base, "" for
// none.
func ParseCertList(text, base string) []CertEntry {
	var out []CertEntry
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}
		e := CertEntry{Line: strings.Join(f, " "), File: inBase(f[0], base)}
		rest := strings.TrimPrefix(e.Line[len(f[0]):], " ")
		if strings.HasPrefix(rest, "[") {
			if options, after, ok := strings.Cut(rest[1:], "]"); ok {
				e.Options, rest = strings.TrimSpace(options), after
			}
		}
		e.Filters = strings.Fields(rest)
		out = append(out, e)
	}
	return out
}

// inBase gives a certificate's name as HAProxy makes it of a path.
func inBase(path, base string) string {
	if base == "" || filepath.IsAbs(path) {
		return path
	}
	return base + "/" + path
}

// CertListChange gives the entries to take out of a running list and those to add at its
// end. It fails where that would not give what reading the file gives: the first entry is
// the certificate for unknown names, and the order decides between equal names.
func CertListChange(have, want []CertEntry) (remove, add []CertEntry, err error) {
	wanted, files := map[string]bool{}, map[string]int{}
	for _, e := range want {
		if wanted[e.Line] {
			return nil, nil, errors.New("the list has an entry twice")
		}
		wanted[e.Line] = true
	}
	var kept []CertEntry
	for _, e := range have {
		files[e.File]++
		if wanted[e.Line] {
			kept = append(kept, e)
		} else {
			remove = append(remove, e)
		}
	}
	if len(kept) == 0 || kept[0].Line != have[0].Line {
		return nil, nil, errors.New("the list's first certificate is another")
	}
	for i, e := range kept {
		if want[i].Line != e.Line {
			return nil, nil, errors.New("the list's order is another")
		}
	}
	add = want[len(kept):]
	added := map[string]bool{}
	for _, e := range add {
		// Such words would not reach HAProxy as they are.
		if strings.ContainsAny(e.Line, ";<\\\"'") || strings.Contains(e.File, ":") {
			return nil, nil, errors.New("an entry's words cannot be given at run time")
		}
		added[e.File] = true
	}
	for _, e := range remove {
		if files[e.File] > 1 || added[e.File] || strings.ContainsAny(e.File, ":;<\\\"'") {
			return nil, nil, errors.New("a changed entry's file is named by another entry")
		}
	}
	return remove, add, nil
}

// AddListed adds an entry to a crt-list of the running process. A pem is the file's
// text, "" when the process has the certificate already.
func (p *Proxy) AddListed(ctx context.Context, list string, e CertEntry, pem string) error {
	c, err := p.api(ctx)
	if err != nil {
		return err
	}
	if pem != "" {
		if err := c.NewCertEntry(e.File); err != nil {
			return err
		}
		if err := p.ReplaceCertificate(ctx, e.File, pem); err != nil {
			_ = c.DeleteCertEntry(e.File)
			return err
		}
	}
	return c.AddCrtListEntry(list, models.SslCrtListEntry{File: e.File, SSLBindConfig: e.Options, SNIFilter: e.Filters})
}

// RemoveListed takes an entry out of a crt-list of the running process, and drops its
// certificate where nothing else uses it.
func (p *Proxy) RemoveListed(ctx context.Context, list string, e CertEntry) error {
	c, err := p.api(ctx)
	if err != nil {
		return err
	}
	if err := c.DeleteCrtListEntry(list, e.File, nil); err != nil {
		return err
	}
	_ = c.DeleteCertEntry(e.File) // refused when in use, rightly
	return nil
}
