package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/stoa-project/stoa/framework"
	"github.com/stoa-project/stoa/internal/auth"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/tlsport"
)

// frameworkSecurity are Marathon's flags of TLS and of authentication at the master
// (marathon.md 11). How the master is spoken to is said by LIBPROCESS_SSL_*, as for a
// Marathon with libmesos.
type frameworkSecurity struct {
	Authenticate bool   `name:"mesos_authentication" env:"MARATHON_MESOS_AUTHENTICATION" help:"Show the master who this framework is, by HTTP basic with principal and secret."`
	NoAuth       bool   `name:"disable_mesos_authentication" help:"The opposite of --mesos_authentication."`
	Secret       string `name:"mesos_authentication_secret" env:"MARATHON_MESOS_AUTHENTICATION_SECRET" help:"Secret of --mesos_authentication_principal; a file is safer."`
	SecretFile   string `name:"mesos_authentication_secret_file" env:"MARATHON_MESOS_AUTHENTICATION_SECRET_FILE" help:"File with the secret alone."`

	Keystore     string `name:"ssl_keystore_path" env:"MARATHON_SSL_KEYSTORE_PATH,MESOSPHERE_KEYSTORE_PATH" help:"PEM file with certificate and key: the API is served over TLS too."`
	KeystorePass string `name:"ssl_keystore_password" env:"MARATHON_SSL_KEYSTORE_PASSWORD,MESOSPHERE_KEYSTORE_PASS" help:"Accepted; PEM files have none."`
	HTTPSPort    int    `name:"https_port" env:"MARATHON_HTTPS_PORT" default:"8443" help:"Port of the API over TLS; 0 takes any."`
	HTTPSAddress string `name:"https_address" env:"MARATHON_HTTPS_ADDRESS" help:"Address of the API over TLS; all when empty."`
	AnyName      bool   `name:"leader_proxy_ssl_ignore_hostname" env:"MARATHON_LEADER_PROXY_SSL_IGNORE_HOSTNAME" help:"The leader's certificate may be for any name, as long as it is trusted."`
	NoHTTP       bool   `name:"disable_http" env:"MARATHON_DISABLE_HTTP" help:"Serve the API over TLS only; --ssl_keystore_path is needed."`
}

// fill reads the files and completes the room's settings.
func (c *frameworkSecurity) fill(cfg *framework.Config, log *slog.Logger) error {
	bad := func(flag, value, why string) error {
		return fault.New("stoa framework", fault.Invalid, fmt.Sprintf("--%s=%s", flag, value), errors.New(why))
	}
	if c.Authenticate && !c.NoAuth {
		secret := c.Secret
		if c.SecretFile != "" {
			text, warnings, err := auth.ReadSecret(c.SecretFile)
			if err != nil {
				return err
			}
			warn(log, warnings)
			secret = string(text)
		}
		switch {
		case cfg.Principal == "":
			return bad("mesos_authentication", "true", "it needs --mesos_authentication_principal")
		case secret == "":
			return bad("mesos_authentication", "true", "it needs --mesos_authentication_secret_file")
		}
		cfg.MasterCredential = auth.Credential{Principal: cfg.Principal, Secret: secret}
	}
	var err error
	if cfg.MasterTLS, _, err = libprocessSecurity(log); err != nil {
		return err
	}
	if cfg.MasterTLS == nil && strings.HasPrefix(cfg.Master, "https://") {
		return bad("master", cfg.Master, "set LIBPROCESS_SSL_ENABLED=true and the certificate's files to speak TLS to it")
	}
	cfg.HTTPSAddress, cfg.HTTPSPort, cfg.NoHTTP = c.HTTPSAddress, c.HTTPSPort, c.NoHTTP
	if c.Keystore == "" {
		if c.NoHTTP {
			return bad("disable_http", "true", "it needs --ssl_keystore_path")
		}
		return nil
	}
	if why := javaKeystore(c.Keystore); why != "" {
		return bad("ssl_keystore_path", c.Keystore, why)
	}
	// Other frameworks have the same authority, or the same file.
	cfg.TLS, err = tlsport.Open(tlsport.Settings{Enabled: true, CertFile: c.Keystore, KeyFile: c.Keystore, CAFile: c.Keystore,
		VerifyServer: true, VerifyIP: true, AnyName: c.AnyName, VerifyDepth: 4, Scheme: "openssl"}, log)
	return err
}

// javaKeystore says what to do with a file that is one; empty for others.
func javaKeystore(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	var head [4]byte
	if _, err := f.Read(head[:]); err != nil {
		return "it is empty"
	}
	if bytes.Equal(head[:], []byte{0xfe, 0xed, 0xfe, 0xed}) || head[0] == 0x30 {
		return "Java keystores cannot be read; make a PEM file of it: keytool -importkeystore -srckeystore FILE -destkeystore x.p12 " +
			"-deststoretype PKCS12, then openssl pkcs12 -in x.p12 -nodes -out x.pem"
	}
	return ""
}
