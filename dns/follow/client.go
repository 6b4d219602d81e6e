package follow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/stoa-project/stoa/internal/election"
)

// maxHops bounds redirects from standby to leader.
const maxHops = 3

// client speaks HTTP to masters. Standby masters redirect, so requests are repeated at
// the leader with the same body and credentials.
type client struct {
	scheme            string
	principal, secret string
	http              *http.Client
}

func newClient(cfg Config) *client {
	c := &client{scheme: "http", principal: cfg.Principal, secret: cfg.Secret}
	if cfg.TLS != nil {
		c.scheme = "https"
	}
	c.http = &http.Client{
		Transport: &http.Transport{
			TLSClientConfig:        cfg.TLS,
			ResponseHeaderTimeout:  max(cfg.StateTimeout, 10*time.Second),
			IdleConnTimeout:        time.Minute,
			MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) > maxHops {
				return errors.New("too many redirects")
			}
			c.authorize(req)
			return nil
		},
	}
	return c
}

func (c *client) authorize(req *http.Request) {
	if c.principal != "" {
		req.SetBasicAuth(c.principal, c.secret)
	}
}

// do sends a request to a master.
func (c *client) do(ctx context.Context, method string, m election.Master, path string, body io.Reader, header map[string]string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.scheme+"://"+m.Addr()+path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "Mesos-DNS")
	for k, v := range header {
		req.Header.Set(k, v)
	}
	c.authorize(req)
	return c.http.Do(req)
}

// statusError reads a little of a refusal's text.
func statusError(resp *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
	return fmt.Errorf("%s: %q", resp.Status, text)
}
