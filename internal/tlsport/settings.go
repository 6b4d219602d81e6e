// Package tlsport puts TLS on a port that may still take plain connections beside it, as
// libprocess does (mesos-master.md 8.4, libprocess.md 2.9): settings from the
// LIBPROCESS_SSL_* variables, certificates that are read again when their files change,
// and a listener that looks at the first byte. Every room uses the same.
package tlsport

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/stoa-project/stoa/internal/fault"
)

// Settings of TLS. The zero value is off.
type Settings struct {
	Enabled   bool   // serve and dial TLS
	Downgrade bool   // take plain connections too, and dial plain where TLS is not spoken
	CertFile  string // PEM, the own certificate first
	KeyFile   string // PEM
	CAFile    string // PEM, trusted roots; with CADir empty too: those of the system
	CADir     string // folder of such files

	VerifyServer  bool   // check the certificates of those who are dialled
	RequireClient bool   // take only connections that show a certificate of a trusted root
	VerifyDepth   int    // certificates between a peer's and the root, 4
	VerifyIP      bool   // a peer may be known by an IP address in its certificate
	AnyName       bool   // of those who are dialled: a trusted certificate is enough, whatever names it has
	Scheme        string // "legacy": by the names that its IP has; "openssl": by the name that was dialled

	Min, Max uint16   // versions, as in crypto/tls; Max 0: the newest
	Ciphers  []uint16 // of TLS 1.2 and before; empty: Go's and those that old libprocess offers
	Curves   []tls.CurveID
}

// FromEnv reads LIBPROCESS_SSL_* variables, or their older names SSL_*, which count where
// the newer one is not set. lookup is os.LookupEnv. warnings are sentences for the log.
// Errors are fault.Invalid and name the variable.
func FromEnv(lookup func(string) (string, bool)) (s Settings, warnings []string, err error) {
	e := environment{lookup: lookup}
	s = Settings{VerifyDepth: 4, Scheme: "legacy", Min: tls.VersionTLS12}
	s.Enabled = e.flag("ENABLED")
	if !s.Enabled {
		return Settings{}, nil, e.err
	}
	s.Downgrade = e.flag("SUPPORT_DOWNGRADE")
	s.KeyFile, s.CertFile = e.file("KEY_FILE"), e.file("CERT_FILE")
	s.CAFile, s.CADir = e.file("CA_FILE"), e.file("CA_DIR")
	s.RequireClient = e.flag("REQUIRE_CLIENT_CERT", "REQUIRE_CERT")
	// The old name also turned the other direction on.
	s.VerifyServer = e.flag("VERIFY_SERVER_CERT", "VERIFY_CERT") || e.flag("REQUIRE_CERT")
	s.VerifyIP = e.flag("VERIFY_IPADD")
	if text, name := e.text("VERIFY_DEPTH"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			e.fail(name, text, "write a number of certificates")
		}
		s.VerifyDepth = n
	}
	if text, name := e.text("HOSTNAME_VALIDATION_SCHEME"); text != "" {
		if text != "legacy" && text != "openssl" {
			e.fail(name, text, "write legacy or openssl")
		}
		s.Scheme = text
	}
	e.versions(&s)
	if text, name := e.text("CIPHERS"); text != "" {
		if s.Ciphers = ciphers(text); len(s.Ciphers) == 0 {
			e.fail(name, text, "none of these ciphers is supported")
		}
	}
	if text, name := e.text("ECDH_CURVE", "ECDH_CURVES"); text != "" && text != "auto" {
		if s.Curves = curves(text); len(s.Curves) == 0 {
			e.fail(name, text, "none of these curves is supported: write auto, or of X25519, prime256v1, secp384r1, secp521r1")
		}
	}
	for _, need := range []struct{ name, value string }{{"KEY_FILE", s.KeyFile}, {"CERT_FILE", s.CertFile}} {
		if need.value == "" && e.err == nil {
			e.fail("LIBPROCESS_SSL_"+need.name, "", "TLS is enabled and needs it")
		}
	}
	if s.RequireClient && s.CAFile == "" && s.CADir == "" {
		e.warnings = append(e.warnings, "client certificates are checked against the roots of the system: set LIBPROCESS_SSL_CA_FILE")
	}
	return s, e.warnings, e.err
}

// environment reads variables and remembers the first mistake.
type environment struct {
	lookup   func(string) (string, bool)
	warnings []string
	err      error
}

// text gives the first of the names that is set, under the new prefix or the old one,
// and the variable's name.
func (e *environment) text(names ...string) (value, name string) {
	for _, prefix := range []string{"LIBPROCESS_SSL_", "SSL_"} {
		for _, n := range names {
			if v, set := e.lookup(prefix + n); set {
				return strings.TrimSpace(v), prefix + n
			}
		}
	}
	return "", ""
}

func (e *environment) flag(names ...string) bool {
	text, name := e.text(names...)
	switch strings.ToLower(text) {
	case "", "0", "false":
		return false
	case "1", "true":
		return true
	}
	e.fail(name, text, "write true or false")
	return false
}

func (e *environment) file(name string) string {
	text, _ := e.text(name)
	return strings.TrimPrefix(text, "file://")
}

func (e *environment) versions(s *Settings) {
	if e.flag("ENABLE_SSL_V3") {
		e.warnings = append(e.warnings, "SSL 3 is not supported any more: LIBPROCESS_SSL_ENABLE_SSL_V3 has no effect")
	}
	for _, old := range []struct {
		name    string
		version uint16
	}{{"ENABLE_TLS_V1_1", tls.VersionTLS11}, {"ENABLE_TLS_V1_0", tls.VersionTLS10}} {
		if e.flag(old.name) {
			s.Min = old.version
			e.warnings = append(e.warnings, "an old version of TLS, which is not safe, is on: LIBPROCESS_SSL_"+old.name)
		}
	}
	on := func(name string) bool {
		text, _ := e.text(name)
		return text == "" || e.flag(name)
	}
	twelve, thirteen := on("ENABLE_TLS_V1_2"), on("ENABLE_TLS_V1_3")
	switch {
	case !thirteen && twelve:
		s.Max = tls.VersionTLS12
	case !twelve && thirteen && s.Min == tls.VersionTLS12:
		s.Min = tls.VersionTLS13
	case !twelve && !thirteen && s.Min < tls.VersionTLS12:
		s.Max = tls.VersionTLS11
	case !twelve && !thirteen:
		e.fail("LIBPROCESS_SSL_ENABLE_TLS_V1_2", "false", "every version of TLS is off")
	}
}

func (e *environment) fail(name, value, why string) {
	if e.err == nil {
		e.err = fault.New("TLS settings", fault.Invalid, fmt.Sprintf("%s=%s", name, value), errors.New(why))
	}
}

// openSSL gives Go's suites by the names that OpenSSL has for them.
var openSSL = map[string]uint16{
	"AES128-SHA": tls.TLS_RSA_WITH_AES_128_CBC_SHA, "AES256-SHA": tls.TLS_RSA_WITH_AES_256_CBC_SHA,
	"AES128-SHA256": tls.TLS_RSA_WITH_AES_128_CBC_SHA256, "AES128-GCM-SHA256": tls.TLS_RSA_WITH_AES_128_GCM_SHA256,
	"AES256-GCM-SHA384":             tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
	"ECDHE-RSA-AES128-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
	"ECDHE-RSA-AES256-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
	"ECDHE-ECDSA-AES128-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA,
	"ECDHE-ECDSA-AES256-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
	"ECDHE-RSA-AES128-SHA256":       tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256,
	"ECDHE-ECDSA-AES128-SHA256":     tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256,
	"ECDHE-RSA-AES128-GCM-SHA256":   tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	"ECDHE-ECDSA-AES128-GCM-SHA256": tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	"ECDHE-RSA-AES256-GCM-SHA384":   tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	"ECDHE-ECDSA-AES256-GCM-SHA384": tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	"ECDHE-RSA-CHACHA20-POLY1305":   tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	"ECDHE-ECDSA-CHACHA20-POLY1305": tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
}

// ciphers reads a list joined by ':' or ','; names that are not known here are left out,
// as OpenSSL leaves out those that it was built without.
func ciphers(text string) (out []uint16) {
	for name := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ':' || r == ',' || r == ' ' }) {
		if id, ok := openSSL[name]; ok {
			out = append(out, id)
		}
	}
	return out
}

func curves(text string) (out []tls.CurveID) {
	for name := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ':' || r == ',' }) {
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "x25519":
			out = append(out, tls.X25519)
		case "prime256v1", "p-256":
			out = append(out, tls.CurveP256)
		case "secp384r1", "p-384":
			out = append(out, tls.CurveP384)
		case "secp521r1", "p-521":
			out = append(out, tls.CurveP521)
		}
	}
	return out
}

// usual are the suites that Go prefers, and then those that libprocess of old releases
// offers, which have nothing in common with the former.
func usual() (out []uint16) {
	for _, s := range tls.CipherSuites() {
		out = append(out, s.ID)
	}
	return append(out, tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_256_CBC_SHA)
}
