package lb

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/stoa-project/stoa/lb/haproxy"
)

const (
	// maxCert bounds one certificate file, and maxCerts how many of one folder are read.
	maxCert  = 1 << 20
	maxCerts = 10_000
)

// certificates watches the files that HAProxy has certificates from. It belongs to the loop.
type certificates struct {
	known  map[string]certFile // by path
	listed map[string]certList // by path of the crt-list
	from   haproxy.CertSources // that known and listed were read for
	next   time.Time
}

// certFile is one file as HAProxy has it.
type certFile struct {
	dir     string // the crt argument when that is a folder
	size    int64
	changed time.Time
	sum     [sha256.Size]byte
	refused [sha256.Size]byte // a state that could not be taken; not tried again
}

// watchCertificates brings changed certificate files into the running HAProxy.
func (b *LB) watchCertificates(ctx context.Context, now time.Time) {
	w := &b.certs
	if now.Before(w.next) {
		return
	}
	w.next = now.Add(b.cfg.CertInterval)
	from := b.proxy.Certificates()
	found := map[string]string{} // path -> folder
	lists := w.readCertLists(from.Lists, from.Base)
	for _, entries := range lists {
		for _, e := range entries {
			found[e.File] = ""
		}
	}
	for _, c := range from.Files {
		if i, err := os.Stat(c); err != nil || !i.IsDir() {
			found[c] = ""
			continue
		}
		list, err := os.ReadDir(c)
		if err != nil {
			continue
		}
		for _, e := range list[:min(len(list), maxCerts)] {
			// HAProxy passes over hidden files and what belongs to another file.
			if name := e.Name(); !e.IsDir() && !strings.HasPrefix(name, ".") && !slices.Contains([]string{".ocsp", ".issuer", ".sctl", ".key"}, filepath.Ext(name)) {
				found[filepath.Join(c, name)] = c
			}
		}
	}
	// After a reload HAProxy has what the files say.
	fresh := !reflect.DeepEqual(from, w.from) || w.known == nil
	if fresh {
		w.known, w.listed, w.from = map[string]certFile{}, map[string]certList{}, from
		b.metrics.expiry.Reset()
	}
	for _, path := range from.Lists {
		b.watchCertList(ctx, path, lists[path])
	}
	for _, path := range slices.Sorted(maps.Keys(found)) {
		b.watchCertificate(ctx, path, found[path], fresh)
	}
	for path, f := range w.known {
		if _, still := found[path]; still {
			continue
		}
		delete(w.known, path)
		b.metrics.expiry.DeleteLabelValues(path)
		if f.dir != "" { // a crt-list's went with its entry
			b.certChanged("removed", path, b.proxy.RemoveCertificate(ctx, f.dir, path))
		}
	}
}

func (b *LB) watchCertificate(ctx context.Context, path, dir string, fresh bool) {
	i, err := os.Stat(path)
	if err != nil {
		return // HAProxy keeps what it has
	}
	had, known := b.certs.known[path]
	if known && had.size == i.Size() && had.changed.Equal(i.ModTime()) {
		return
	}
	text, err := readCert(path)
	if err != nil {
		return
	}
	f := certFile{dir: dir, size: i.Size(), changed: i.ModTime(), sum: sha256.Sum256(text), refused: had.refused}
	if known && had.sum == f.sum {
		b.certs.known[path] = f
		return
	}
	until, err := notAfter(text)
	switch {
	case fresh || err == nil && f.refused == f.sum:
	case err != nil:
		// Perhaps it is being written: it is looked at again when it changes.
		f.sum = had.sum
		if f.refused != sha256.Sum256(text) {
			f.refused = sha256.Sum256(text)
			b.log.Warn("certificate not taken, HAProxy keeps the one before", "file", path, "error", err)
		}
	case !known && dir == "":
		// A crt-list's, which came with its entry or comes with a reload.
	case known:
		err = b.proxy.ReplaceCertificate(ctx, path, string(text))
		b.certChanged("replaced", path, err)
	default:
		err = b.proxy.AddCertificate(ctx, dir, path, string(text))
		b.certChanged("added", path, err)
	}
	b.certs.known[path] = f
	if err == nil {
		b.metrics.expiry.WithLabelValues(path).Set(float64(until.Unix()))
	}
}

// certChanged tells of a change; when the process did not take it, it reads its files anew.
func (b *LB) certChanged(what, path string, err error) {
	if err == nil {
		b.metrics.certificates.Inc()
		b.log.Info("certificate "+what, "file", path)
		return
	}
	b.log.Warn("certificate not changed at run time, reloading instead", "change", what, "file", path, "error", err)
	b.fileReload = true
}

func readCert(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxCert+1))
	if err == nil && len(text) > maxCert {
		err = fmt.Errorf("longer than %d bytes", maxCert)
	}
	return text, err
}

// notAfter checks that certificate and key belong together and gives when the first
// certificate ends.
func notAfter(text []byte) (time.Time, error) {
	pair, err := tls.X509KeyPair(text, text)
	if err != nil {
		return time.Time{}, err
	}
	if len(pair.Certificate) == 0 {
		return time.Time{}, errors.New("no certificate")
	}
	c, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return time.Time{}, err
	}
	return c.NotAfter, nil
}
