package auth

import "net/http"

// Basic is HTTP basic authentication of one realm.
type Basic struct {
	Realm       string
	Credentials *Credentials
}

// Authenticate knows who sends the right secret. How long it takes does not depend on
// how much of a secret was right, nor on whether the principal exists.
func (b *Basic) Authenticate(r *http.Request) (Principal, []string, bool) {
	if principal, secret, ok := r.BasicAuth(); ok && b.Credentials.Check(principal, secret) {
		return Principal{Value: principal}, nil, true
	}
	return Principal{}, []string{"Basic realm=" + quote(b.Realm)}, false
}
