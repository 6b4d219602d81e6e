package master

import (
	"net/http"
	"time"

	"github.com/stoa-project/stoa/internal/acl"
	"github.com/stoa-project/stoa/internal/auth"
	"github.com/stoa-project/stoa/internal/auth/crammd5"
	"github.com/stoa-project/stoa/internal/libprocess"
	"github.com/stoa-project/stoa/internal/ratelimit"
	"github.com/stoa-project/stoa/internal/tlsport"
	"github.com/stoa-project/stoa/internal/web"
	"github.com/stoa-project/stoa/master/operators"
)

// Security says who may speak to a master and what they may do (mesos-master.md section
// 8). The zero value lets everybody do everything.
type Security struct {
	Readonly  auth.Authenticator // --authenticate_http_readonly; nil: anybody reads
	Readwrite auth.Authenticator // --authenticate_http_readwrite; nil: anybody writes
	Scheduler auth.Authenticator // --authenticate_http_frameworks; nil: any framework subscribes
	ACL       *acl.List          // --acls; nil: everything is allowed

	Credentials            *auth.Credentials // --credentials: of v0 frameworks and agents; nil: none can authenticate
	AuthenticateFrameworks bool              // --authenticate_frameworks: v0 frameworks have to
	AuthenticateAgents     bool              // --authenticate_agents
	AuthenticationTimeout  time.Duration     // --authentication_v0_timeout, 15 s

	TLS *tlsport.Port // LIBPROCESS_SSL_*; nil: plain connections
	// RequirePeerIP refuses libprocess messages whose sender is at another IP than the
	// connection (LIBPROCESS_REQUIRE_PEER_ADDRESS_IP_MATCH).
	RequirePeerIP bool

	Limits   *ratelimit.Limits // --rate_limits; nil: none
	Firewall *web.Firewall     // --firewall_rules; nil: every endpoint answers
}

// v0 makes what authenticates drivers and agents, once there is a transport.
func (d *Door) v0() *crammd5.Server {
	s := d.cfg.Security
	cfg := crammd5.Config{Transport: d.transport, Process: "master", Timeout: s.AuthenticationTimeout, Logger: d.log}
	if s.Credentials.Len() > 0 {
		cfg.Secrets = s.Credentials
	}
	return crammd5.NewServer(cfg)
}

// whenKnown is the gate of drivers and agents.
func (d *Door) whenKnown(pid libprocess.UPID, fn func(principal string, known bool)) {
	d.authenticated.When(pid, fn)
}

// guard puts the authentication of its realm before a route (1.2 rows 1 and 2): before
// redirects, so that a standby tells nobody who leads that may not ask.
func (d *Door) guard(realm operators.Realm, h http.Handler) http.Handler {
	var a auth.Authenticator
	switch s := d.cfg.Security; realm {
	case operators.Readonly:
		a = s.Readonly
	case operators.Readwrite:
		a = s.Readwrite
	case operators.Scheduler:
		a = s.Scheduler
	}
	if a == nil {
		return h
	}
	return web.Authenticate(a, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p, _ := auth.From(r.Context()); p.Value == "" {
			sentence(w, http.StatusForbidden, "The authenticated principal has claims but no value; "+
				"this master needs one: let the token's claim 'sub' name the principal")
			return
		}
		h.ServeHTTP(w, r)
	}))
}
