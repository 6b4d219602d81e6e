package web

import (
	"net/http"

	"github.com/stoa-project/stoa/internal/auth"
)

// Authenticate lets only known principals through to h, which finds them with auth.From.
// Everybody else is answered 401 with the authenticator's challenges before anything of
// the body is read. A nil authenticator lets everybody through, as nobody.
func Authenticate(a auth.Authenticator, h http.Handler) http.Handler {
	if a == nil {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, challenges, ok := a.Authenticate(r)
		if !ok {
			auth.Refuse(w, challenges)
			return
		}
		h.ServeHTTP(w, r.WithContext(auth.With(r.Context(), p)))
	})
}
