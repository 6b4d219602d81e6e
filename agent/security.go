package agent

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/stoa-project/stoa/agent/executors"
	"github.com/stoa-project/stoa/internal/acl"
	"github.com/stoa-project/stoa/internal/auth"
	"github.com/stoa-project/stoa/internal/auth/crammd5"
	"github.com/stoa-project/stoa/internal/libprocess"
	"github.com/stoa-project/stoa/internal/tlsport"
	"github.com/stoa-project/stoa/internal/web"
)

// The realms of the agent's routes (mesos-agent.md 0.1).
const (
	ReadonlyRealm  = "mesos-agent-readonly"
	ReadwriteRealm = "mesos-agent-readwrite"
)

// Security says who may speak to an agent, and who the agent is for its master. The zero
// value lets everybody speak, and the agent is nobody in particular.
type Security struct {
	Readonly  auth.Authenticator // --authenticate_http_readonly; nil: anybody reads
	Readwrite auth.Authenticator // --authenticate_http_readwrite; nil: anybody writes
	// ExecutorKey signs executors' tokens, and their API takes nothing else
	// (--authenticate_http_executors); empty: anybody may speak as an executor.
	ExecutorKey []byte
	Rules       *acl.List     // --acls; nil: everybody may do everything
	TLS         *tlsport.Port // LIBPROCESS_SSL_*; nil: plain connections
	Firewall    *web.Firewall // --firewall_rules; nil: every endpoint answers
	// RequirePeerIP refuses libprocess messages whose sender is at another IP than the
	// connection (LIBPROCESS_REQUIRE_PEER_ADDRESS_IP_MATCH).
	RequirePeerIP bool

	Credential *auth.Credential // --credential; nil: the agent does not authenticate
	Patience   Patience         // of one attempt to
}

// Patience is how long an attempt to authenticate may take: at least Min, and with each
// failure up to Factor·2ⁿ more, at most Max in all (--authentication_timeout_min, _max,
// _backoff_factor: 5 s, 1 min, 1 s).
type Patience struct{ Min, Max, Factor time.Duration }

// realm gives the authenticator of a path, which has no process id in front.
func (s *Security) realm(path string) auth.Authenticator {
	switch path {
	case "/health", "/version", "/system/stats.json", "/help", "/__processes__":
		return nil
	case "/api/v1":
		if s.Readwrite != nil && len(s.ExecutorKey) > 0 { // executors launch containers of their own there
			return auth.Combined{s.Readwrite, &auth.JWT{Realm: ReadwriteRealm, Key: s.ExecutorKey}}
		}
		return s.Readwrite
	case "/logging/toggle":
		return s.Readwrite
	case "/api/v1/executor":
		if len(s.ExecutorKey) > 0 {
			return &auth.JWT{Realm: executors.Realm, Key: s.ExecutorKey}
		}
		return nil
	case "/api/v1/resource_provider":
		return nil // a realm of its own, which nothing authenticates
	}
	switch {
	case strings.HasPrefix(path, "/help/"):
		return nil
	case strings.HasPrefix(path, "/profiler/"), strings.HasPrefix(path, "/memory-profiler/"):
		return s.Readwrite
	}
	return s.Readonly
}

// guard puts firewall and authentication before h.
func (s *Security) guard(h http.Handler) http.Handler {
	if s.Readonly == nil && s.Readwrite == nil && len(s.ExecutorKey) == 0 {
		return s.Firewall.Wrap(h)
	}
	return s.Firewall.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := r.URL.Path
		if len(path) > 1 {
			path = strings.TrimRight(path, "/")
		}
		web.Authenticate(s.realm(path), h).ServeHTTP(w, r)
	}))
}

// authenticate shows the master who this agent is; nil when there is nothing to show.
func (s *Security) authenticate(t *libprocess.Transport) func(context.Context, libprocess.UPID, libprocess.UPID) error {
	if s.Credential == nil {
		return nil
	}
	return func(ctx context.Context, master, me libprocess.UPID) error {
		return crammd5.Authenticate(ctx, t, master, me, *s.Credential)
	}
}
