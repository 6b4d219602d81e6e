package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// JWT authenticates bearer tokens that were signed with HS256 and a shared key
// (mesos-master.md 8.1). All claims become the principal's; the claim "sub", when it is
// a text, is also its value. A token without it gives a principal of claims only, which a
// master refuses.
type JWT struct {
	Realm string
	Key   []byte
}

// Authenticate checks signature, exp and nbf.
func (j *JWT) Authenticate(r *http.Request) (Principal, []string, bool) {
	refuse := func(why string) (Principal, []string, bool) {
		challenge := "Bearer realm=" + quote(j.Realm)
		if why != "" {
			challenge += `, error="invalid_token", error_description=` + quote(why)
		}
		return Principal{}, []string{challenge}, false
	}
	header := r.Header.Get("Authorization")
	if header == "" {
		return refuse("")
	}
	scheme, token, ok := strings.Cut(header, " ")
	if !ok || strings.Contains(token, " ") {
		return refuse("Malformed 'Authorization' header")
	}
	if !strings.EqualFold(scheme, "Bearer") {
		return refuse("Scheme '" + scheme + "' unsupported")
	}
	p, err := j.parse(token)
	if err != nil {
		return refuse("Invalid JWT: " + err.Error())
	}
	return p, nil, true
}

func (j *JWT) parse(token string) (Principal, error) {
	claims := jwt.MapClaims{}
	_, err := jwt.ParseWithClaims(token, claims, func(*jwt.Token) (any, error) { return j.Key, nil },
		jwt.WithValidMethods([]string{"HS256"}), jwt.WithJSONNumber())
	if err != nil {
		return Principal{}, plain(err)
	}
	if len(claims) == 0 {
		return Principal{}, errors.New("claims missing")
	}
	p := Principal{Claims: make(map[string]string, len(claims))}
	for name, value := range claims {
		if text, ok := value.(string); ok {
			p.Claims[name] = text
			continue
		}
		text, err := json.Marshal(value)
		if err != nil {
			return Principal{}, fmt.Errorf("claim %s cannot be read", name)
		}
		p.Claims[name] = string(text)
	}
	if sub, ok := claims["sub"].(string); ok {
		p.Value = sub
	}
	return p, nil
}

// plain says what is wrong without the library's chain of words.
func plain(err error) error {
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return errors.New("token has expired")
	case errors.Is(err, jwt.ErrTokenNotValidYet):
		return errors.New("token is not valid yet")
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return errors.New("signature does not match, or the algorithm is not HS256")
	case errors.Is(err, jwt.ErrTokenMalformed):
		return errors.New("it is not three base64url parts joined by dots")
	}
	return errors.New("token is not valid")
}

// Token signs claims with HS256; tests and tools use it.
func Token(key []byte, claims map[string]any) (string, error) {
	return jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims(claims)).SignedString(key)
}
