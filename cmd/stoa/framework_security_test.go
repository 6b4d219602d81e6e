package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stoa-project/stoa/framework"
	"github.com/stoa-project/stoa/internal/lab/certs"
)

func TestFrameworkSecurity(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	secret := file("secret", "s\n")
	ca := certs.New(t)
	cert, key := ca.Sign("127.0.0.1")
	var pem string
	for _, name := range []string{cert, key} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		pem += string(text)
	}
	cfg := framework.Config{Principal: "p", Master: "127.0.0.1:5050"}
	flags := frameworkSecurity{Authenticate: true, SecretFile: secret, Keystore: file("keystore.pem", pem), HTTPSPort: 8443, NoHTTP: true}
	if err := flags.fill(&cfg, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if cfg.MasterCredential.Principal != "p" || cfg.MasterCredential.Secret != "s" || cfg.TLS == nil || !cfg.NoHTTP || cfg.HTTPSPort != 8443 || cfg.MasterTLS != nil {
		t.Errorf("%+v", cfg)
	}
	for _, c := range []struct {
		flags frameworkSecurity
		cfg   framework.Config
		want  string
	}{
		{frameworkSecurity{Authenticate: true, Secret: "s"}, framework.Config{}, "--mesos_authentication_principal"},
		{frameworkSecurity{Authenticate: true}, framework.Config{Principal: "p"}, "--mesos_authentication_secret_file"},
		{frameworkSecurity{Authenticate: true, SecretFile: "/nowhere"}, framework.Config{Principal: "p"}, "/nowhere"},
		{frameworkSecurity{NoHTTP: true}, framework.Config{}, "--ssl_keystore_path"},
		{frameworkSecurity{Keystore: "/nowhere"}, framework.Config{}, "/nowhere"},
		{frameworkSecurity{Keystore: file("jks", "\xfe\xed\xfe\xed....")}, framework.Config{}, "openssl pkcs12"},
		{frameworkSecurity{Keystore: file("p12", "\x30\x82....")}, framework.Config{}, "openssl pkcs12"},
		{frameworkSecurity{Keystore: file("junk", "junk")}, framework.Config{}, "junk"},
		{frameworkSecurity{}, framework.Config{Master: "https://m:5050"}, "LIBPROCESS_SSL_ENABLED"},
	} {
		if err := c.flags.fill(&c.cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.flags, err, c.want)
		}
	}
	off := framework.Config{Principal: "p"}
	if err := (&frameworkSecurity{Secret: "s"}).fill(&off, slog.New(slog.DiscardHandler)); err != nil || off.MasterCredential.Principal != "" {
		t.Errorf("without --mesos_authentication: %+v %v", off.MasterCredential, err)
	}
}
