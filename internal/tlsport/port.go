package tlsport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stoa-project/stoa/internal/fault"
)

// Port makes the TLS configurations of one process. Its files are looked at again at most
// once a second, when a connection is made, so that a renewed certificate needs no restart.
type Port struct {
	settings Settings
	log      *slog.Logger

	mu     sync.Mutex // guards the fields below
	looked time.Time
	files  string // what the files looked like when they were read
	cert   *tls.Certificate
	roots  *x509.CertPool // nil: the system's
}

// Open reads certificate, key and roots. It answers nil, without error, when TLS is off.
// Errors name the file.
func Open(s Settings, log *slog.Logger) (*Port, error) {
	if !s.Enabled {
		return nil, nil
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	p := &Port{settings: s, log: log}
	var err error
	if p.cert, p.roots, err = s.read(); err != nil {
		return nil, err
	}
	p.files = s.fingerprint()
	return p, nil
}

// Downgrade says whether plain connections are taken and tried too. A nil Port has only
// plain ones.
func (p *Port) Downgrade() bool { return p != nil && p.settings.Downgrade }

func (s Settings) read() (*tls.Certificate, *x509.CertPool, error) {
	const op = "read TLS files"
	cert, err := tls.LoadX509KeyPair(s.CertFile, s.KeyFile)
	if err != nil {
		return nil, nil, fault.New(op, fault.Invalid, s.CertFile+", "+s.KeyFile, err)
	}
	if s.CAFile == "" && s.CADir == "" {
		return &cert, nil, nil
	}
	roots, found := x509.NewCertPool(), false
	for _, name := range s.rootFiles() {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, nil, fault.New(op, fault.Invalid, name, err)
		}
		found = roots.AppendCertsFromPEM(text) || found
	}
	if !found {
		return nil, nil, fault.New(op, fault.Invalid, strings.TrimSpace(s.CAFile+" "+s.CADir), errors.New("no certificate in PEM form is there"))
	}
	return &cert, roots, nil
}

func (s Settings) rootFiles() (names []string) {
	if s.CAFile != "" {
		names = append(names, s.CAFile)
	}
	if s.CADir != "" {
		entries, err := os.ReadDir(s.CADir)
		if err != nil {
			return append(names, s.CADir) // reading it tells
		}
		for _, e := range entries {
			if !e.IsDir() {
				names = append(names, filepath.Join(s.CADir, e.Name()))
			}
		}
	}
	return names
}

// fingerprint tells whether files changed since.
func (s Settings) fingerprint() string {
	var b strings.Builder
	for _, name := range append([]string{s.CertFile, s.KeyFile}, s.rootFiles()...) {
		if info, err := os.Stat(name); err == nil {
			fmt.Fprintf(&b, "%s %d %d;", name, info.Size(), info.ModTime().UnixNano())
		}
	}
	return b.String()
}

// present gives certificate and roots as the files are now. Files that cannot be read, or
// do not fit together yet, change nothing.
func (p *Port) present() (*tls.Certificate, *x509.CertPool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); now.Sub(p.looked) >= time.Second {
		p.looked = now
		if files := p.settings.fingerprint(); files != p.files {
			cert, roots, err := p.settings.read()
			if err != nil {
				p.log.Warn("changed TLS files are not used", "error", err)
			} else {
				p.cert, p.roots, p.files = cert, roots, files
				p.log.Info("TLS files were read again", "certificate", p.settings.CertFile)
			}
		}
	}
	return p.cert, p.roots
}

func (p *Port) base() *tls.Config {
	s := p.settings
	c := &tls.Config{MinVersion: s.Min, MaxVersion: s.Max, CipherSuites: s.Ciphers, CurvePreferences: s.Curves}
	if len(c.CipherSuites) == 0 {
		c.CipherSuites = usual()
	}
	return c
}

// Server configures accepted connections; nil when p is nil.
func (p *Port) Server() *tls.Config {
	if p == nil {
		return nil
	}
	c := p.base()
	c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		cert, _ := p.present()
		return cert, nil
	}
	if p.settings.RequireClient {
		c.ClientAuth = tls.RequireAnyClientCert
		c.VerifyConnection = func(s tls.ConnectionState) error {
			_, err := p.chain(s.PeerCertificates)
			return err
		}
	}
	return c
}

// Client configures a connection to peer, the name or IP address that is dialled; nil
// when p is nil. Whether the peer is who it should be is checked by the settings and not
// by crypto/tls alone, because libprocess dials IP addresses while certificates mostly
// have names.
func (p *Port) Client(peer string) *tls.Config {
	if p == nil {
		return nil
	}
	c := p.base()
	c.ServerName = peer
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		cert, _ := p.present()
		return cert, nil
	}
	c.InsecureSkipVerify = true // VerifyConnection does it
	if p.settings.VerifyServer {
		c.VerifyConnection = func(s tls.ConnectionState) error {
			cert, err := p.chain(s.PeerCertificates)
			if err != nil {
				return err
			}
			return p.identity(cert, peer)
		}
	}
	return c
}

// chain checks that certificates lead to a trusted root within the depth.
func (p *Port) chain(certs []*x509.Certificate) (*x509.Certificate, error) {
	if len(certs) == 0 {
		return nil, &tls.CertificateVerificationError{Err: errors.New("the peer shows no certificate")}
	}
	_, roots := p.present()
	between := x509.NewCertPool()
	for _, c := range certs[1:] {
		between.AddCert(c)
	}
	chains, err := certs[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err != nil {
		return nil, &tls.CertificateVerificationError{UnverifiedCertificates: certs, Err: err}
	}
	for _, c := range chains {
		if len(c)-2 <= p.settings.VerifyDepth { // without the peer's own and the root
			return certs[0], nil
		}
	}
	return nil, &tls.CertificateVerificationError{UnverifiedCertificates: certs,
		Err: fmt.Errorf("its certificate is more than %d steps from a root", p.settings.VerifyDepth)}
}

// lookupWait bounds a question for the names of an address.
const lookupWait = 5 * time.Second

// identity checks that a certificate is that of peer, the name or IP that was dialled.
func (p *Port) identity(cert *x509.Certificate, peer string) error {
	if p.settings.AnyName {
		return nil
	}
	ip := net.ParseIP(peer)
	if ip == nil {
		return p.refuse(cert, cert.VerifyHostname(peer))
	}
	var err error = errors.New("it is known by its IP address only, and LIBPROCESS_SSL_VERIFY_IPADD is off")
	if p.settings.VerifyIP || p.settings.Scheme == "openssl" {
		if err = cert.VerifyHostname(peer); err == nil {
			return nil
		}
	}
	if p.settings.Scheme == "legacy" {
		ctx, cancel := context.WithTimeout(context.Background(), lookupWait)
		defer cancel()
		names, lookupErr := net.DefaultResolver.LookupAddr(ctx, peer)
		if lookupErr != nil {
			return p.refuse(cert, fmt.Errorf("%w; and %w", err, lookupErr))
		}
		if slices.ContainsFunc(names, func(n string) bool { return cert.VerifyHostname(strings.TrimSuffix(n, ".")) == nil }) {
			return nil
		}
		err = fmt.Errorf("%w; and it is not for %s", err, strings.Join(names, ", "))
	}
	return p.refuse(cert, err)
}

func (p *Port) refuse(cert *x509.Certificate, err error) error {
	if err == nil {
		return nil
	}
	return &tls.CertificateVerificationError{UnverifiedCertificates: []*x509.Certificate{cert}, Err: err}
}

// Transport makes an HTTP client's transport that dials with p's configuration where a
// URL is https; nil p leaves Go's own. base is copied; nil means http.DefaultTransport.
func (p *Port) Transport(base *http.Transport) *http.Transport {
	if base == nil {
		base = http.DefaultTransport.(*http.Transport)
	}
	t := base.Clone()
	if p == nil {
		return t
	}
	t.ForceAttemptHTTP2 = false
	t.DialTLSContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		dial := t.DialContext
		if dial == nil {
			dial = (&net.Dialer{Timeout: dialWait}).DialContext
		}
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		c, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		secured := tls.Client(c, p.Client(host))
		ctx, cancel := context.WithTimeout(ctx, dialWait)
		defer cancel()
		if err := secured.HandshakeContext(ctx); err != nil {
			c.Close()
			return nil, err
		}
		return secured, nil
	}
	return t
}

// dialWait bounds connecting, and the handshake after it.
const dialWait = 10 * time.Second

// Scheme is the scheme of URLs that lead to this process.
func (p *Port) Scheme() string {
	if p == nil {
		return "http"
	}
	return "https"
}
