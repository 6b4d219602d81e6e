// Package crammd5 authenticates libprocess processes, v0 frameworks and agents, by SASL
// CRAM-MD5 (libprocess.md 3.13): a Server on the master's side, Authenticate on theirs.
// The secret never crosses the wire; what proves it is a hash with a fresh challenge.
// MD5 is what the peers of old clusters speak; where it matters, use TLS beneath.
package crammd5

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// Mechanism is the only one that is offered and taken.
const Mechanism = "CRAM-MD5"

// challenge makes a fresh one, in the form that SASL libraries give it.
func challenge(hostname string) []byte {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	return fmt.Appendf(nil, "<%d.%d@%s>", binary.BigEndian.Uint64(random[:]), time.Now().Unix(), hostname)
}

// response proves that one knows secret.
func response(principal, secret string, challenge []byte) []byte {
	return []byte(principal + " " + digest(secret, challenge))
}

func digest(secret string, challenge []byte) string {
	mac := hmac.New(md5.New, []byte(secret))
	mac.Write(challenge)
	return hex.EncodeToString(mac.Sum(nil))
}

// Secrets knows principals' secrets; *auth.Credentials is one.
type Secrets interface {
	Secret(principal string) (string, bool)
}

// check gives the principal whose secret made the response.
func check(known Secrets, challenge, response []byte) (principal string, ok bool) {
	text := string(response)
	i := strings.LastIndexByte(text, ' ')
	if i <= 0 {
		return "", false
	}
	principal = text[:i]
	secret, exists := known.Secret(principal)
	same := subtle.ConstantTimeCompare([]byte(digest(secret, challenge)), []byte(text[i+1:])) == 1
	return principal, same && exists
}
