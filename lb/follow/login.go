package follow

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/stoa-project/stoa/internal/fault"
)

// TokenSource gives the value of the Authorization header of requests to Marathon. Its
// method may be called from any goroutine.
type TokenSource interface {
	Authorization(ctx context.Context) (string, error)
}

// tls gives the client's TLS settings.
func (c Config) tls() (*tls.Config, error) {
	t := &tls.Config{InsecureSkipVerify: c.Insecure}
	if c.CAFile == "" {
		return t, nil
	}
	text, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fault.New("follow marathon", fault.Invalid, "--marathon-ca-cert "+c.CAFile, err)
	}
	t.RootCAs = x509.NewCertPool()
	if !t.RootCAs.AppendCertsFromPEM(text) {
		return nil, fault.New("follow marathon", fault.Invalid, "--marathon-ca-cert "+c.CAFile, errors.New("holds no PEM certificate"))
	}
	return t, nil
}

// Login is a DC/OS service account: it exchanges a signed statement for a token that it
// renews before the end.
type Login struct {
	uid      string
	key      *rsa.PrivateKey
	endpoint string
	client   *http.Client

	mu    sync.Mutex // guards token and until; held over a renewal, so that there is one at a time
	token string
	until time.Time
}

// lifetime is how long a token is asked for; it is renewed a little before.
const (
	lifetime = time.Hour
	before   = 10 * time.Second
)

// NewLogin reads the credentials: JSON with uid, private_key (PEM) and login_endpoint. client
// nil is one that checks certificates by the system's roots.
func NewLogin(credentials string, client *http.Client) (*Login, error) {
	bad := func(err error) (*Login, error) {
		return nil, fault.New("DC/OS login", fault.Invalid, "--dcos-auth-credentials", err)
	}
	var c struct {
		UID        string `json:"uid"`
		PrivateKey string `json:"private_key"`
		Endpoint   string `json:"login_endpoint"`
	}
	if err := json.Unmarshal([]byte(credentials), &c); err != nil {
		return bad(fmt.Errorf("no JSON: %w", err))
	}
	if c.UID == "" || c.Endpoint == "" {
		return bad(errors.New("wants uid, private_key and login_endpoint"))
	}
	block, _ := pem.Decode([]byte(c.PrivateKey))
	if block == nil {
		return bad(errors.New("private_key is no PEM"))
	}
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		any, err8 := x509.ParsePKCS8PrivateKey(block.Bytes)
		var ok bool
		if key, ok = any.(*rsa.PrivateKey); !ok {
			return bad(errors.Join(errors.New("private_key is no RSA key"), err8))
		}
	}
	if client == nil {
		client = &http.Client{Timeout: 10 * time.Second}
	}
	return &Login{uid: c.UID, key: key, endpoint: c.Endpoint, client: client}, nil
}

// Authorization gives "token=…", after a login when the last one is about to end.
func (l *Login) Authorization(ctx context.Context) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if now.Before(l.until.Add(-before)) {
		return "token=" + l.token, nil
	}
	token, err := l.login(ctx, now)
	if err != nil {
		return "", fault.New("DC/OS login", fault.Unavailable, l.endpoint, err)
	}
	l.token, l.until = token, now.Add(lifetime)
	return "token=" + token, nil
}

func (l *Login) login(ctx context.Context, now time.Time) (string, error) {
	statement, err := l.sign(map[string]any{"uid": l.uid, "exp": now.Add(time.Minute).Unix()})
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(map[string]any{"uid": l.uid, "token": statement, "exp": now.Add(lifetime).Unix()})
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.endpoint, bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := l.client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(res.Body, 300))
	for _, c := range res.Cookies() {
		if c.Name == "dcos-acs-auth-cookie" && res.StatusCode == http.StatusOK {
			return c.Value, nil
		}
	}
	return "", fmt.Errorf("%s without the cookie dcos-acs-auth-cookie: %s", res.Status, strings.TrimSpace(string(said)))
}

// sign makes a JSON web token signed with RS256.
func (l *Login) sign(claims map[string]any) (string, error) {
	part := func(v any) (string, error) {
		b, err := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(b), err
	}
	head, err1 := part(map[string]string{"alg": "RS256", "typ": "JWT"})
	body, err2 := part(claims)
	if err := errors.Join(err1, err2); err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(head + "." + body))
	signature, err := rsa.SignPKCS1v15(rand.Reader, l.key, crypto.SHA256, sum[:])
	if err != nil {
		return "", err
	}
	return head + "." + body + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}
