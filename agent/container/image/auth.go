package image

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/stoa-project/stoa/internal/fault"
)

// credentials are who to be at which registry, as in a Docker config file.
type credentials map[string]authn.AuthConfig

// maxConfig bounds a Docker config file.
const maxConfig = 1 << 20

// parseCredentials reads a Docker config in JSON: {"auths":{"host":{"auth":"…"}}} or, as
// in old files, without the outer object. Errors never show what is in it.
func parseCredentials(raw []byte) (credentials, error) {
	if len(raw) > maxConfig {
		return nil, fmt.Errorf("is %d bytes, at most %d", len(raw), maxConfig)
	}
	type entry struct {
		Auth, Username, Password, IdentityToken, RegistryToken string
	}
	var file struct {
		Auths map[string]entry `json:"auths"`
	}
	unreadable := errors.New(`is no Docker config: it must be JSON like {"auths":{"registry.example.com":{"auth":"base64 of user:password"}}}`)
	if err := json.Unmarshal(raw, &file); err != nil {
		return nil, unreadable
	}
	if file.Auths == nil {
		var keys map[string]json.RawMessage
		if json.Unmarshal(raw, &keys) != nil {
			return nil, unreadable
		}
		file.Auths = map[string]entry{}
		for k, v := range keys { // other settings are left alone
			var e entry
			if json.Unmarshal(v, &e) == nil && (e.Auth != "" || e.Username != "") {
				file.Auths[k] = e
			}
		}
	}
	out := credentials{}
	for host, e := range file.Auths {
		a := authn.AuthConfig{Username: e.Username, Password: e.Password, IdentityToken: e.IdentityToken, RegistryToken: e.RegistryToken}
		if e.Auth != "" {
			text, err := base64.StdEncoding.DecodeString(strings.TrimRight(e.Auth, "\x00 \n"))
			if err != nil {
				text, err = base64.RawStdEncoding.DecodeString(e.Auth)
			}
			user, password, ok := strings.Cut(string(text), ":")
			if err != nil || !ok {
				return nil, fmt.Errorf("has an auth for %q that is not the base64 of user:password", host)
			}
			a.Username, a.Password = user, strings.TrimRight(password, "\x00")
		}
		out[hostOf(host)] = a
	}
	return out, nil
}

// hostOf takes scheme and path off the key of a Docker config.
func hostOf(key string) string {
	if _, rest, ok := strings.Cut(key, "://"); ok {
		key = rest
	}
	host, _, _ := strings.Cut(key, "/")
	return canonicalHost(host)
}

// readDockerConfig reads --docker_config: JSON, or the path of a file with it, which may
// begin with file://. Empty gives none.
func readDockerConfig(text string) (credentials, error) {
	if text == "" {
		return nil, nil
	}
	bad := func(err error) (credentials, error) {
		return nil, fault.New("image", fault.Invalid, "--docker_config", err)
	}
	raw := []byte(text)
	if !strings.HasPrefix(strings.TrimSpace(text), "{") {
		f, err := os.Open(strings.TrimPrefix(text, "file://"))
		if err != nil {
			return bad(err)
		}
		defer f.Close()
		if raw, err = readAll(f, maxConfig); err != nil {
			return bad(err)
		}
	}
	c, err := parseCredentials(raw)
	if err != nil {
		return bad(err)
	}
	return c, nil
}

// authenticator gives who to be at a registry: what the first of the lists says that
// knows it, else nobody.
func authenticator(host string, lists ...credentials) authn.Authenticator {
	for _, c := range lists {
		if a, ok := c[host]; ok {
			return authn.FromConfig(a)
		}
	}
	return authn.Anonymous
}
