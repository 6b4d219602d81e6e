package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/lb/render"
)

// templateTexts finds the user's templates: the environment wins over files, and files of
// a later folder over those of an earlier one.
func templateTexts(environ []string, dirs ...string) (map[string]string, error) {
	names := render.TemplateNames()
	out := map[string]string{}
	for _, dir := range dirs {
		for _, name := range names {
			path := filepath.Join(dir, "HAPROXY_"+name)
			text, err := os.ReadFile(path)
			if err == nil {
				out[name] = strings.ReplaceAll(string(text), "\r\n", "\n")
			} else if !os.IsNotExist(err) {
				return nil, fault.New("stoa lb", fault.Invalid, path, err)
			}
		}
	}
	for _, e := range environ {
		key, text, _ := strings.Cut(e, "=")
		if name, ok := strings.CutPrefix(key, "HAPROXY_"); ok && slices.Contains(names, name) {
			out[name] = strings.ReplaceAll(text, `\n`, "\n")
		}
	}
	return out, nil
}

// certificates gives the files of the HTTPS frontend. PEM texts of the environment are
// written to dir; without any certificate one is made there, so that HTTPS answers.
func certificates(flag, dir string, log *slog.Logger) ([]string, error) {
	var out []string
	if flag != "" {
		for f := range strings.SplitSeq(flag, ",") {
			if _, err := os.Stat(f); err != nil {
				log.Warn("certificate left out", "file", f, "error", err)
				continue
			}
			out = append(out, f)
		}
		return out, nil
	}
	write := func(name, text string) error {
		path := filepath.Join(dir, "certs", name)
		err := os.MkdirAll(filepath.Dir(path), 0o700)
		if err == nil {
			err = os.WriteFile(path, []byte(text), 0o600)
		}
		if err != nil {
			return fault.New("stoa lb", fault.Unavailable, path, err)
		}
		out = append(out, path)
		return nil
	}
	for i := -1; i <= 100; i++ {
		suffix := ""
		if i >= 0 {
			suffix = strconv.Itoa(i)
		}
		if text := os.Getenv("HAPROXY_SSL_CERT" + suffix); text != "" {
			if err := write("cert"+suffix+".pem", strings.ReplaceAll(text, `\n`, "\n")); err != nil {
				return nil, err
			}
		}
	}
	if len(out) > 0 {
		return out, nil
	}
	const usual = "/etc/ssl/cert.pem"
	if text, err := os.ReadFile(usual); err == nil && strings.Contains(string(text), "PRIVATE KEY") {
		return []string{usual}, nil
	}
	made := filepath.Join(dir, "certs", "self-signed.pem")
	if _, err := os.Stat(made); err == nil {
		return []string{made}, nil
	}
	text, err := selfSigned(time.Now())
	if err != nil {
		return nil, err
	}
	log.Info("no certificate named, one was made", "file", made)
	err = write("self-signed.pem", text)
	return out, err
}

// selfSigned makes a certificate for every name, with its key, for ten years.
func selfSigned(now time.Time) (string, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return "", err
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "*"}, DNSNames: []string{"*"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(10, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		return "", err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})...)
	return string(text), nil
}
