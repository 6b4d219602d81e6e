// Package auth finds out who is asking: credentials files, HTTP basic and bearer
// tokens, alone or combined (mesos-master.md 8.1 and 8.2). What somebody may do is
// decided by package acl.
//
// A room makes one Authenticator for each realm and wraps its routes with
// web.Authenticate; handlers ask From for the principal.
package auth

import (
	"context"
	"net/http"
	"strings"
)

// Principal is who asks. A basic principal has a Value; one from a token has claims, and
// a Value when the token names a subject.
type Principal struct {
	Value  string
	Claims map[string]string
}

type principalKey struct{}

// With gives a context that carries p.
func With(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// From gives the principal of a request; false when nobody was authenticated, because
// the route's realm has no authenticator.
func From(ctx context.Context) (Principal, bool) {
	p, ok := ctx.Value(principalKey{}).(Principal)
	return p, ok
}

// Name is From's value; empty when nobody was authenticated.
func Name(ctx context.Context) string {
	p, _ := From(ctx)
	return p.Value
}

// Authenticator finds out who made a request. It is safe for concurrent use.
type Authenticator interface {
	// Authenticate gives the principal, or false and the challenges for the
	// WWW-Authenticate header of the 401.
	Authenticate(*http.Request) (p Principal, challenges []string, ok bool)
}

// Combined asks several authenticators in order; the first that knows the principal
// wins, and a refusal carries all their challenges.
type Combined []Authenticator

// Authenticate asks each in turn.
func (c Combined) Authenticate(r *http.Request) (Principal, []string, bool) {
	var all []string
	for _, a := range c {
		p, challenges, ok := a.Authenticate(r)
		if ok {
			return p, nil, true
		}
		all = append(all, challenges...)
	}
	return Principal{}, all, false
}

// Refuse writes the 401 of a request that Authenticate did not know.
func Refuse(w http.ResponseWriter, challenges []string) {
	w.Header()["WWW-Authenticate"] = []string{strings.Join(challenges, ", ")} // spelled as Mesos does
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusUnauthorized)
	_, _ = w.Write([]byte("401 Unauthorized."))
}

// quote makes a string safe inside a challenge's quotes.
func quote(s string) string {
	return `"` + strings.Map(func(r rune) rune {
		if r == '"' || r == '\\' || r < ' ' || r > '~' {
			return '\''
		}
		return r
	}, s) + `"`
}
