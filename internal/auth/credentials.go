package auth

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/stoa-project/stoa/internal/fault"
)

// Credential is a principal and its secret.
type Credential struct {
	Principal string
	Secret    string
}

// String leaves the secret out, so that no log line has it.
func (c Credential) String() string { return c.Principal }

// GoString is String.
func (c Credential) GoString() string { return c.Principal }

// Credentials are the principals of one file; they never change. A nil value knows
// nobody.
type Credentials struct{ secrets map[string]string }

// NewCredentials makes a set; a principal given twice keeps its last secret, as in Mesos.
func NewCredentials(list ...Credential) *Credentials {
	c := &Credentials{secrets: make(map[string]string, len(list))}
	for _, each := range list {
		c.secrets[each.Principal] = each.Secret
	}
	return c
}

// Check compares in constant time.
func (c *Credentials) Check(principal, secret string) bool {
	want, known := c.Secret(principal)
	a, b := sha256.Sum256([]byte(want)), sha256.Sum256([]byte(secret))
	same := subtle.ConstantTimeCompare(a[:], b[:]) == 1
	return known && same
}

// Secret gives a principal's secret, for challenges that need it (CRAM-MD5).
func (c *Credentials) Secret(principal string) (string, bool) {
	if c == nil {
		return "", false
	}
	s, ok := c.secrets[principal]
	return s, ok
}

// Len is the number of principals.
func (c *Credentials) Len() int {
	if c == nil {
		return 0
	}
	return len(c.secrets)
}

// maxCredentials bounds a credentials file, in bytes.
const maxCredentials = 4 << 20

// ReadCredentials reads the file of --credentials (mesos-master.md 8.2): a JSON object
// with a list "credentials" of principals and secrets, or the older text form, one
// "principal secret" a line. warnings are sentences for the log, for example that others
// may read the file. An error names the file and what is wrong; secrets are in none.
func ReadCredentials(path string) (c *Credentials, warnings []string, err error) {
	const op = "read credentials"
	path = strings.TrimPrefix(path, "file://")
	text, warnings, err := readSecretFile(op, path)
	if err != nil {
		return nil, nil, err
	}
	c, err = ParseCredentials(text)
	if err != nil {
		return nil, nil, fault.New(op, fault.Invalid, path, err)
	}
	return c, warnings, nil
}

// readSecretFile reads a file that only its owner should.
func readSecretFile(op, path string) (text []byte, warnings []string, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, fault.New(op, fault.Invalid, path, err)
	}
	if info.Size() > maxCredentials || !info.Mode().IsRegular() {
		return nil, nil, fault.New(op, fault.Invalid, path, fmt.Errorf("it must be a file of at most %d bytes", maxCredentials))
	}
	if info.Mode().Perm()&0o077 != 0 {
		warnings = append(warnings, fmt.Sprintf("%s has mode %04o: others may read the secrets in it; chmod 600 it", path, info.Mode().Perm()))
	}
	text, err = os.ReadFile(path)
	if err != nil {
		return nil, nil, fault.New(op, fault.Invalid, path, err)
	}
	return text, warnings, nil
}

// ParseCredentials reads the text of a credentials file.
func ParseCredentials(text []byte) (*Credentials, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("it is not UTF-8 text")
	}
	var list []Credential
	var err error
	if trimmed := bytes.TrimSpace(text); len(trimmed) > 0 && (trimmed[0] == '{' || trimmed[0] == '[') {
		list, err = parseJSON(trimmed)
	} else {
		list, err = parseLines(string(text))
	}
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, errors.New(`it must name at least one principal: {"credentials":[{"principal":"name","secret":"text"}]}`)
	}
	return NewCredentials(list...), nil
}

func parseJSON(text []byte) ([]Credential, error) {
	type entry struct {
		Principal string  `json:"principal"`
		Secret    *string `json:"secret"`
	}
	var file struct {
		Credentials []entry `json:"credentials"`
	}
	// The decoder's own message quotes the text, and so perhaps a secret.
	if err := json.Unmarshal(text, &file); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return nil, fmt.Errorf("it is not JSON, from byte %d on", syntax.Offset)
		}
		return nil, errors.New(`it must be {"credentials":[{"principal":"name","secret":"text"}]}`)
	}
	var list []Credential
	for i, e := range file.Credentials {
		if e.Principal == "" {
			return nil, fmt.Errorf("credentials[%d].principal is empty", i)
		}
		if e.Secret == nil {
			return nil, fmt.Errorf("credentials[%d].secret is missing", i)
		}
		list = append(list, Credential{e.Principal, *e.Secret})
	}
	return list, nil
}

// parseLines reads "principal secret" lines; empty ones and comments are left out.
func parseLines(text string) ([]Credential, error) {
	var list []Credential
	n := 0
	for line := range strings.Lines(text) {
		n++
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) != 2 {
			return nil, fmt.Errorf("line %d has %d words: write the principal, a space and its secret", n, len(fields))
		}
		list = append(list, Credential{fields[0], fields[1]})
	}
	return list, nil
}

// ReadCredential reads the file of one's own credential, --credential of an agent:
// {"principal":"name","secret":"text"} or one "principal secret" line.
func ReadCredential(path string) (c Credential, warnings []string, err error) {
	const op = "read credential"
	path = strings.TrimPrefix(path, "file://")
	text, warnings, err := readSecretFile(op, path)
	if err != nil {
		return c, nil, err
	}
	list, err := parseLines(string(text))
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		list, err = parseJSON(append(append([]byte(`{"credentials":[`), text...), `]}`...))
	}
	if err == nil && len(list) != 1 {
		err = fmt.Errorf(`it has %d credentials; write one: {"principal":"name","secret":"text"}`, len(list))
	}
	if err != nil {
		return c, nil, fault.New(op, fault.Invalid, path, err)
	}
	return list[0], warnings, nil
}

// ReadSecret reads a file that holds one secret, such as the key of tokens; a line end
// at its end is not part of it.
func ReadSecret(path string) (secret []byte, warnings []string, err error) {
	const op = "read secret"
	path = strings.TrimPrefix(path, "file://")
	text, warnings, err := readSecretFile(op, path)
	if err != nil {
		return nil, nil, err
	}
	text = bytes.TrimRight(text, "\r\n")
	if len(text) == 0 {
		return nil, nil, fault.New(op, fault.Invalid, path, errors.New("it is empty"))
	}
	return text, warnings, nil
}
