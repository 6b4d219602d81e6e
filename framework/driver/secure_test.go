package driver

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"github.com/stoa-project/stoa/framework/core"
	"github.com/stoa-project/stoa/internal/auth"
	"github.com/stoa-project/stoa/internal/lab/certs"
	"github.com/stoa-project/stoa/internal/tlsport"
)

// TestSecureMaster: a subscription over TLS with a principal and its secret, on each call.
func TestSecureMaster(t *testing.T) {
	ca := certs.New(t)
	cert, key := ca.Sign("127.0.0.1")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	port, err := tlsport.Open(tlsport.Settings{Enabled: true, CertFile: cert, KeyFile: key, CAFile: ca.File, VerifyServer: true, VerifyIP: true,
		VerifyDepth: 4, Scheme: "legacy"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	m := &master{calls: make(chan *scheduler.Call, 100)}
	refused := make(chan string, 100)
	m.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, secret, _ := r.BasicAuth(); user != "p" || secret != "s" || r.TLS == nil {
			refused <- user
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		m.ServeHTTP(w, r)
	}))
	m.Server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	m.Server.StartTLS()
	t.Cleanup(m.Server.Close)
	t.Cleanup(m.hangUp)
	m.URL = "http://" + strings.TrimPrefix(m.URL, "https://")
	b := run(t, m, Config{Name: "f", User: "u", Hostname: "h", Principal: "p", TLS: port, Credential: auth.Credential{Principal: "p", Secret: "s"}}, "")
	if sub := m.call(t, scheduler.Call_SUBSCRIBE).Subscribe.FrameworkInfo; sub.Principal == nil || *sub.Principal != "p" {
		t.Errorf("subscribed as %v", sub.Principal)
	}
	m.subscribed("F")
	take[core.Subscribed](t, b)
	b.Send(core.Revive{})
	m.call(t, scheduler.Call_REVIVE)
	select {
	case who := <-refused:
		t.Errorf("a request without the secret, of %q", who)
	default:
	}
}
