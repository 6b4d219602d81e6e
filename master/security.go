package master

import (
	"net/http"

	"github.com/stoa-project/stoa/internal/acl"
	"github.com/stoa-project/stoa/internal/auth"
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
