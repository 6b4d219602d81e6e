package lb

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/stoa-project/stoa/lb/haproxy"
)

// certList is one crt-list file. It belongs to the loop.
type certList struct {
	entries []haproxy.CertEntry // as HAProxy has them

	// asked is when a reload was asked for that brings HAProxy to wanted; zero is not.
	asked  time.Time
	wanted []haproxy.CertEntry
	state  string // of the files at that time: a reload that was refused is tried again with another
}

// readCertLists reads the crt-list files of the running HAProxy; one that cannot be read
// counts as it was.
func (w *certificates) readCertLists(lists []string, base string) map[string][]haproxy.CertEntry {
	out := map[string][]haproxy.CertEntry{}
	for _, path := range lists {
		text, err := readCert(path)
		if err != nil {
			out[path] = w.listed[path].entries
			continue
		}
		all := haproxy.ParseCertList(string(text), base)
		out[path] = all[:min(len(all), maxCerts)]
	}
	return out
}

// watchCertList brings a changed crt-list into the running HAProxy: at run time where
// entries went or came at the end, else by a reload.
func (b *LB) watchCertList(ctx context.Context, path string, entries []haproxy.CertEntry) {
	had, known := b.certs.listed[path]
	if !known {
		b.certs.listed[path] = certList{entries: entries}
		return
	}
	if !had.asked.IsZero() && b.lastReload.After(had.asked) {
		had = certList{entries: had.wanted}
		b.certs.listed[path] = had
	}
	same := slices.EqualFunc(had.entries, entries, func(x, y haproxy.CertEntry) bool { return x.Line == y.Line })
	if had.asked.IsZero() && same {
		return
	}
	state := b.listState(entries)
	if !had.asked.IsZero() && state == had.state {
		return
	}
	err := errors.New("the change before is not in effect yet")
	if had.asked.IsZero() {
		if err = b.changeCertList(ctx, path, had.entries, entries); err == nil {
			b.certs.listed[path] = certList{entries: entries}
		}
	}
	if err != nil {
		b.certs.listed[path] = certList{entries: had.entries, asked: time.Now(), wanted: entries, state: state}
	}
	b.certChanged("list changed", path, err)
}

// listState sums up what a reload would read: the entries, and the files that HAProxy
// does not have yet.
func (b *LB) listState(entries []haproxy.CertEntry) string {
	var s strings.Builder
	for _, e := range entries {
		s.WriteString(e.Line + "\n")
		if _, known := b.certs.known[e.File]; known {
			continue
		}
		if i, err := os.Stat(e.File); err == nil {
			fmt.Fprintf(&s, " %d %d\n", i.Size(), i.ModTime().UnixNano())
		}
	}
	return s.String()
}

// changeCertList makes have into want by runtime commands. It does nothing where that
// would not give what a reload gives, or a certificate cannot be used.
func (b *LB) changeCertList(ctx context.Context, list string, have, want []haproxy.CertEntry) error {
	remove, add, err := haproxy.CertListChange(have, want)
	if err != nil {
		return err
	}
	texts, ends := map[string]string{}, map[string]time.Time{}
	for _, e := range add {
		if _, known := b.certs.known[e.File]; known {
			continue
		}
		text, err := readCert(e.File)
		if err == nil {
			ends[e.File], err = notAfter(text)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", e.File, err)
		}
		texts[e.File] = string(text)
	}
	for _, e := range add {
		if err := b.proxy.AddListed(ctx, list, e, texts[e.File]); err != nil {
			return err
		}
		if text, ok := texts[e.File]; ok {
			delete(texts, e.File) // two entries may name one file
			b.certs.known[e.File] = certFile{sum: sha256.Sum256([]byte(text))}
			b.metrics.expiry.WithLabelValues(e.File).Set(float64(ends[e.File].Unix()))
		}
	}
	for _, e := range remove {
		if err := b.proxy.RemoveListed(ctx, list, e); err != nil {
			return err
		}
	}
	return nil
}
