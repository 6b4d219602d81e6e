package tlsport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/lab/certs"
)

func env(pairs ...string) func(string) (string, bool) {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return func(name string) (string, bool) { v, ok := m[name]; return v, ok }
}

const on = "LIBPROCESS_SSL_ENABLED"

func TestSettings(t *testing.T) {
	files := []string{on, "true", "LIBPROCESS_SSL_KEY_FILE", "/k", "LIBPROCESS_SSL_CERT_FILE", "file:///c"}
	for _, c := range []struct {
		name string
		env  []string
		ok   func(Settings) bool
	}{
		{"off", nil, func(s Settings) bool { return !s.Enabled }},
		{"off by 0", []string{on, "0", "LIBPROCESS_SSL_VERIFY_DEPTH", "x"}, func(s Settings) bool { return !s.Enabled }},
		{"defaults", files, func(s Settings) bool {
			return s.Enabled && !s.Downgrade && s.KeyFile == "/k" && s.CertFile == "/c" && !s.VerifyServer && !s.RequireClient &&
				s.VerifyDepth == 4 && !s.VerifyIP && s.Scheme == "legacy" && s.Min == tls.VersionTLS12 && s.Max == 0
		}},
		{"old prefix", []string{"SSL_ENABLED", "1", "SSL_KEY_FILE", "/k", "SSL_CERT_FILE", "/c", "SSL_SUPPORT_DOWNGRADE", "true"},
			func(s Settings) bool { return s.Enabled && s.Downgrade && s.CertFile == "/c" }},
		{"new prefix wins", append(files, "SSL_KEY_FILE", "/old"), func(s Settings) bool { return s.KeyFile == "/k" }},
		{"verify", append(files, "LIBPROCESS_SSL_VERIFY_SERVER_CERT", "true"), func(s Settings) bool { return s.VerifyServer && !s.RequireClient }},
		{"old verify", append(files, "LIBPROCESS_SSL_VERIFY_CERT", "1"), func(s Settings) bool { return s.VerifyServer }},
		{"require", append(files, "LIBPROCESS_SSL_REQUIRE_CLIENT_CERT", "true"), func(s Settings) bool { return s.RequireClient && !s.VerifyServer }},
		{"old require verifies too", append(files, "LIBPROCESS_SSL_REQUIRE_CERT", "true"), func(s Settings) bool { return s.RequireClient && s.VerifyServer }},
		{"old versions", append(files, "LIBPROCESS_SSL_ENABLE_TLS_V1_0", "true"), func(s Settings) bool { return s.Min == tls.VersionTLS10 }},
		{"no 1.3", append(files, "LIBPROCESS_SSL_ENABLE_TLS_V1_3", "false"), func(s Settings) bool { return s.Max == tls.VersionTLS12 }},
		{"only 1.3", append(files, "LIBPROCESS_SSL_ENABLE_TLS_V1_2", "0"), func(s Settings) bool { return s.Min == tls.VersionTLS13 }},
		{"ciphers", append(files, "LIBPROCESS_SSL_CIPHERS", "AES128-SHA:RC4-SHA:ECDHE-RSA-AES128-GCM-SHA256"), func(s Settings) bool { return len(s.Ciphers) == 2 }},
		{"curves", append(files, "LIBPROCESS_SSL_ECDH_CURVE", "secp384r1"), func(s Settings) bool { return len(s.Curves) == 1 }},
		{"scheme", append(files, "LIBPROCESS_SSL_HOSTNAME_VALIDATION_SCHEME", "openssl", "LIBPROCESS_SSL_VERIFY_IPADD", "1"), func(s Settings) bool { return s.Scheme == "openssl" && s.VerifyIP }},
	} {
		s, _, err := FromEnv(env(c.env...))
		if err != nil || !c.ok(s) {
			t.Errorf("%s: %+v %v", c.name, s, err)
		}
	}
	for _, c := range []struct{ name, value, want string }{
		{on, "maybe", on + "=maybe"},
		{"LIBPROCESS_SSL_KEY_FILE", "", "LIBPROCESS_SSL_KEY_FILE="},
		{"LIBPROCESS_SSL_VERIFY_DEPTH", "deep", "LIBPROCESS_SSL_VERIFY_DEPTH=deep"},
		{"LIBPROCESS_SSL_HOSTNAME_VALIDATION_SCHEME", "none", "legacy or openssl"},
		{"LIBPROCESS_SSL_CIPHERS", "RC4-SHA", "none of these ciphers"},
		{"LIBPROCESS_SSL_ECDH_CURVE", "sect571r1", "none of these curves"},
	} {
		_, _, err := FromEnv(env(append(append([]string{}, files...), c.name, c.value)...))
		if err == nil || fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s=%s: %v, want %q", c.name, c.value, err, c.want)
		}
	}
}

func open(t *testing.T, s Settings) *Port {
	t.Helper()
	s.Enabled = true
	p, err := Open(s, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// serve answers "tls" or "plain" on a port.
func serve(t *testing.T, p *Port) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "hello") }),
		ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(p.Listen(l)) }()
	t.Cleanup(func() { srv.Close(); <-done })
	return l.Addr().String()
}

func get(t *testing.T, url string, c *tls.Config) (string, error) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: c, DisableKeepAlives: true}, Timeout: 20 * time.Second}
	resp, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

func TestDowngrade(t *testing.T) {
	ca := certs.New(t)
	cert, key := ca.Sign("127.0.0.1")
	trusting := &tls.Config{RootCAs: ca.Pool()}
	for _, downgrade := range []bool{false, true} {
		at := serve(t, open(t, Settings{CertFile: cert, KeyFile: key, Downgrade: downgrade, VerifyDepth: 4}))
		if body, err := get(t, "https://"+at, trusting); err != nil || body != "hello" {
			t.Errorf("downgrade %v, TLS: %q %v", downgrade, body, err)
		}
		body, err := get(t, "http://"+at, nil)
		if plain := err == nil && body == "hello"; plain != downgrade {
			t.Errorf("downgrade %v, plain: %q %v", downgrade, body, err)
		}
	}
	if at := serve(t, nil); at == "" {
		t.Error("no address")
	} else if body, err := get(t, "http://"+at, nil); err != nil || body != "hello" {
		t.Errorf("without TLS: %q %v", body, err)
	}
}

// A client that connects and says nothing keeps nobody from being served nor the server
// from ending.
func TestSilentClient(t *testing.T) {
	ca := certs.New(t)
	cert, key := ca.Sign("127.0.0.1")
	at := serve(t, open(t, Settings{CertFile: cert, KeyFile: key, Downgrade: true}))
	c, err := net.Dial("tcp4", at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if body, err := get(t, "http://"+at, nil); err != nil || body != "hello" {
		t.Errorf("%q %v", body, err)
	}
}

func TestClientCertificates(t *testing.T) {
	ca, stranger := certs.New(t), certs.New(t)
	cert, key := ca.Sign("127.0.0.1")
	at := serve(t, open(t, Settings{CertFile: cert, KeyFile: key, CAFile: ca.File, RequireClient: true, VerifyDepth: 4}))
	with := func(a *certs.Authority) *tls.Config {
		cert, key := a.Sign("client")
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		return &tls.Config{RootCAs: ca.Pool(), Certificates: []tls.Certificate{pair}}
	}
	if body, err := get(t, "https://"+at, with(ca)); err != nil || body != "hello" {
		t.Errorf("a known client: %q %v", body, err)
	}
	for name, c := range map[string]*tls.Config{"none": {RootCAs: ca.Pool()}, "a stranger's": with(stranger)} {
		if body, err := get(t, "https://"+at, c); err == nil {
			t.Errorf("certificate %s: %q", name, body)
		}
	}
}

// TestPeers: who is dialled is checked as the settings say; peers are dialled by IP.
func TestPeers(t *testing.T) {
	ca, stranger := certs.New(t), certs.New(t)
	sign := func(a *certs.Authority, names ...string) Settings {
		cert, key := a.Sign(names...)
		return Settings{CertFile: cert, KeyFile: key, CAFile: ca.File, VerifyDepth: 4, Scheme: "legacy"}
	}
	own := sign(ca, "client")
	localhost := false
	if names, err := net.DefaultResolver.LookupAddr(context.Background(), "127.0.0.1"); err == nil {
		for _, n := range names {
			localhost = localhost || strings.TrimSuffix(n, ".") == "localhost"
		}
	}
	for _, c := range []struct {
		name   string
		server Settings
		client func(*Settings)
		ok     bool
	}{
		{"not checked", sign(stranger, "anything"), func(*Settings) {}, true},
		{"stranger", sign(stranger, "127.0.0.1"), func(s *Settings) { s.VerifyServer, s.VerifyIP = true, true }, false},
		{"by IP", sign(ca, "127.0.0.1"), func(s *Settings) { s.VerifyServer, s.VerifyIP = true, true }, true},
		{"openssl by IP", sign(ca, "127.0.0.1"), func(s *Settings) { s.VerifyServer, s.Scheme = true, "openssl" }, true},
		{"openssl, other IP", sign(ca, "127.0.0.2"), func(s *Settings) { s.VerifyServer, s.Scheme = true, "openssl" }, false},
		{"legacy by name", sign(ca, "localhost"), func(s *Settings) { s.VerifyServer = true }, localhost},
		{"legacy, other name", sign(ca, "elsewhere.example"), func(s *Settings) { s.VerifyServer = true }, false},
		{"too deep", sign(ca, "127.0.0.1"), func(s *Settings) { s.VerifyServer, s.VerifyIP, s.VerifyDepth = true, true, -1 }, false},
	} {
		at := serve(t, open(t, c.server))
		s := own
		c.client(&s)
		_, err := get(t, "https://"+at, open(t, s).Client("127.0.0.1"))
		var refused *tls.CertificateVerificationError
		if (err == nil) != c.ok || (!c.ok && !errors.As(err, &refused)) {
			t.Errorf("%s: %v, want success %v", c.name, err, c.ok)
		}
	}
}

// TestRenewal: a new certificate in the same files is used without a restart; files that
// do not fit together change nothing.
func TestRenewal(t *testing.T) {
	ca := certs.New(t)
	cert, key := ca.Sign("127.0.0.1", "first.example")
	p := open(t, Settings{CertFile: cert, KeyFile: key})
	at := serve(t, p)
	name := func() string {
		p.mu.Lock()
		p.looked = time.Time{} // as if a second had passed
		p.mu.Unlock()
		c, err := tls.Dial("tcp4", at, &tls.Config{RootCAs: ca.Pool()})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].DNSNames[0]
	}
	if got := name(); got != "first.example" {
		t.Errorf("certificate of %s", got)
	}
	if err := os.WriteFile(key, []byte("half written"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := name(); got != "first.example" {
		t.Errorf("with a broken key: certificate of %s", got)
	}
	ca.SignInto(cert, key, "127.0.0.1", "second.example")
	if got := name(); got != "second.example" {
		t.Errorf("after the renewal: certificate of %s", got)
	}
}

func TestRefusedFiles(t *testing.T) {
	ca := certs.New(t)
	cert, key := ca.Sign("x")
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, s := range []Settings{
		{CertFile: "/nowhere/c", KeyFile: key}, {CertFile: cert, KeyFile: cert}, {CertFile: cert, KeyFile: key, CAFile: "/nowhere/ca"},
		{CertFile: cert, KeyFile: key, CAFile: empty}, {CertFile: cert, KeyFile: key, CADir: "/nowhere/dir"},
	} {
		s.Enabled = true
		if _, err := Open(s, nil); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%+v: %v", s, err)
		}
	}
	s := Settings{Enabled: true, CertFile: cert, KeyFile: key, CADir: filepath.Dir(ca.File)}
	if _, err := Open(s, nil); err != nil {
		t.Errorf("a folder of roots: %v", err)
	}
}

// TestOldCiphers: a peer that offers only what libprocess of old releases does.
func TestOldCiphers(t *testing.T) {
	ca := certs.New(t)
	cert, key := ca.Sign("127.0.0.1")
	at := serve(t, open(t, Settings{CertFile: cert, KeyFile: key, Min: tls.VersionTLS12}))
	// The test's key is elliptic, so that the old suite's twin for such keys stands in.
	old := &tls.Config{RootCAs: ca.Pool(), MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}}
	if _, err := get(t, "https://"+at, old); err != nil {
		t.Error(err)
	}
	for _, want := range []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_256_CBC_SHA} {
		found := false
		for _, id := range usual() {
			found = found || id == want
		}
		if !found {
			t.Errorf("suite %x is not offered", want)
		}
	}
	var unknown x509.UnknownAuthorityError
	if _, err := get(t, "https://"+at, &tls.Config{}); !errors.As(err, &unknown) {
		t.Errorf("without the root: %v", err)
	}
}
