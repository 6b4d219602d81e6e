package framework

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/lab/certs"
	"github.com/stoa-project/stoa/internal/lab/freeport"
	"github.com/stoa-project/stoa/internal/tlsport"
)

// keystore makes one PEM file of certificate and key, as --ssl_keystore_path takes it.
func keystore(t *testing.T, ca *certs.Authority) string {
	t.Helper()
	cert, key := ca.Sign("127.0.0.1")
	var all []byte
	for _, name := range []string{cert, key, ca.File} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text...)
	}
	path := filepath.Join(t.TempDir(), "keystore.pem")
	if err := os.WriteFile(path, all, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestHTTPS: the API over TLS beside plain HTTP, and alone.
func TestHTTPS(t *testing.T) {
	ca := certs.New(t)
	file := keystore(t, ca)
	port, err := tlsport.Open(tlsport.Settings{Enabled: true, CertFile: file, KeyFile: file, CAFile: file, VerifyServer: true, VerifyIP: true,
		VerifyDepth: 4, Scheme: "openssl"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: port.Transport(&http.Transport{DisableKeepAlives: true}), Timeout: 10 * time.Second}
	get := func(url string) (string, http.Header, error) {
		resp, err := client.Get(url)
		if err != nil {
			return "", nil, err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return string(body), resp.Header, err
	}
	for _, alone := range []bool{false, true} {
		plain, secure := freeport.Row(t, 1), freeport.Row(t, 1)
		f := New(Config{Master: "127.0.0.1:1", WorkDir: t.TempDir(), Hostname: "127.0.0.1", HTTPAddress: "127.0.0.1", HTTPPort: plain,
			TLS: port, HTTPSAddress: "127.0.0.1", HTTPSPort: secure, NoHTTP: alone}, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- f.Run(ctx) }()
		at := "https://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(secure))
		var body string
		var head http.Header
		deadline := time.Now().Add(20 * time.Second)
		for body == "" && time.Now().Before(deadline) {
			if text, h, err := get(at + "/v2/info"); err == nil && strings.HasPrefix(text, "{") && h.Get("X-Marathon-Leader") != "" {
				body, head = text, h
			}
			time.Sleep(5 * time.Millisecond)
		}
		leader := "http://127.0.0.1:" + strconv.Itoa(plain)
		if alone {
			leader = at
		}
		if got := head.Get("X-Marathon-Leader"); got != leader || !strings.Contains(body, `"https_port":`+strconv.Itoa(secure)) {
			t.Errorf("alone %v: leader %q, want %q: %s", alone, got, leader, body)
		}
		if _, _, err := get("http://127.0.0.1:" + strconv.Itoa(plain) + "/ping"); (err == nil) == alone {
			t.Errorf("alone %v: plain HTTP: %v", alone, err)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("ended with %v", err)
		}
	}
	f := New(Config{Master: "127.0.0.1:1", WorkDir: t.TempDir(), NoHTTP: true}, slog.New(slog.DiscardHandler))
	if err := f.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "disable_http") {
		t.Errorf("without any address: %v", err)
	}
}
