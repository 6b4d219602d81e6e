package zdd

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
)

// maxAnswer bounds what a server may send, in bytes.
const maxAnswer = 256 << 20

// client speaks to Marathon and to the load balancers.
type client struct {
	o    Options
	http *http.Client
}

func newClient(o Options) (*client, error) {
	for _, u := range []struct{ flag, url string }{{"--marathon", o.Marathon}, {"--marathon-lb", o.Balancer}} {
		if p, err := url.Parse(u.url); err != nil || p.Host == "" {
			return nil, fmt.Errorf("%s %q: wants http://host:port", u.flag, u.url)
		}
	}
	config := &tls.Config{InsecureSkipVerify: o.Insecure}
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", o.CAFile)
		}
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = config
	return &client{o, &http.Client{Transport: t, Timeout: time.Minute}}, nil
}

// do sends a request to Marathon and gives the answer's body.
func (c *client) do(ctx context.Context, code int, method, path string, body any) ([]byte, error) {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(c.o.Marathon, "/")+path, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	switch {
	case c.o.Token != nil:
		token, err := c.o.Token.Authorization(ctx)
		if err != nil {
			return nil, failed(BadMarathon, "%w", err)
		}
		req.Header.Set("Authorization", token)
	case c.o.User != "":
		req.SetBasicAuth(c.o.User, c.o.Password)
	}
	said, err := c.send(req)
	if err != nil {
		return nil, failed(code, "%s %s: %w", method, path, err)
	}
	return said, nil
}

func (c *client) send(req *http.Request) ([]byte, error) {
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body := &io.LimitedReader{R: res.Body, N: maxAnswer}
	b, err := io.ReadAll(body)
	switch {
	case err != nil:
		return nil, err
	case body.N == 0:
		return nil, fmt.Errorf("the answer is longer than %d bytes", maxAnswer)
	case res.StatusCode/100 != 2:
		return nil, fmt.Errorf("%s: %.300s", res.Status, b)
	}
	return b, nil
}

func (c *client) apps(ctx context.Context) ([]app, error) {
	text, err := c.do(ctx, BadMarathon, http.MethodGet, "/v2/apps", nil)
	if err != nil {
		return nil, err
	}
	all, err := readApp(text)
	if err != nil {
		return nil, failed(BadMarathon, "GET /v2/apps: %w", err)
	}
	list, _ := all["apps"].([]any)
	var out []app
	for _, v := range list {
		if m, ok := v.(map[string]any); ok {
			out = append(out, app(m))
		}
	}
	return out, nil
}

func path(id string) string {
	return "/v2/apps/" + strings.TrimPrefix((&url.URL{Path: id}).EscapedPath(), "/")
}

func (c *client) app(ctx context.Context, id string) (app, error) {
	text, err := c.do(ctx, BadMarathon, http.MethodGet, path(id), nil)
	if err != nil {
		return nil, err
	}
	all, err := readApp(text)
	if err != nil {
		return nil, failed(BadMarathon, "GET %s: %w", path(id), err)
	}
	m, ok := all["app"].(map[string]any)
	if !ok {
		return nil, failed(BadMarathon, "GET %s: the answer is no app", path(id))
	}
	return app(m), nil
}

func (c *client) create(ctx context.Context, a app) error {
	_, err := c.do(ctx, NotCreated, http.MethodPost, "/v2/apps", a)
	return err
}

func (c *client) scale(ctx context.Context, id string, n int) error {
	_, err := c.do(ctx, NotScaled, http.MethodPut, path(id), map[string]int{"instances": n})
	return err
}

func (c *client) kill(ctx context.Context, tasks []string) error {
	_, err := c.do(ctx, NotScaled, http.MethodPost, "/v2/tasks/delete?scale=true", map[string][]string{"ids": tasks})
	return err
}

func (c *client) remove(ctx context.Context, id string) error {
	_, err := c.do(ctx, NotDeleted, http.MethodDelete, path(id), nil)
	return err
}

// balancers gives one URL for each address of the load balancers' name.
func (c *client) balancers(ctx context.Context) ([]string, error) {
	u, err := url.Parse(c.o.Balancer)
	if err != nil {
		return nil, failed(BadBalancer, "%w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", u.Hostname())
	if err != nil {
		return nil, failed(BadBalancer, "--marathon-lb %s: %w", c.o.Balancer, err)
	}
	var out []string
	for _, a := range found {
		one := *u
		if one.Host = a.Unmap().String(); u.Port() != "" {
			one.Host = net.JoinHostPort(one.Host, u.Port())
		}
		out = append(out, strings.TrimRight(one.String(), "/"))
	}
	return out, nil
}

func (c *client) get(ctx context.Context, u string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return "", err
	}
	b, err := c.send(req)
	if err != nil {
		err = fmt.Errorf("GET %s: %w", u, err)
	}
	return string(b), err
}

// listeners gives the proxy's servers on all load balancers.
func (c *client) listeners(ctx context.Context, urls []string, proxy string) ([]listener, error) {
	var out []listener
	for _, u := range urls {
		text, err := c.get(ctx, u+"/haproxy?stats;csv")
		if err != nil {
			return nil, err
		}
		rows, err := readStats(text, proxy)
		if err != nil {
			return nil, errors.Join(errors.New(u), err)
		}
		out = append(out, rows...)
	}
	return out, nil
}

// reloading tells whether any load balancer has more than its master and one worker.
func (c *client) reloading(ctx context.Context, urls []string) bool {
	for _, u := range urls {
		text, err := c.get(ctx, u+"/_haproxy_getpids")
		if n := len(strings.Fields(text)); err != nil || n > 2 {
			c.o.Log.Info("waiting for a load balancer that reloads", "url", u, "processes", n, "error", err)
			return true
		}
	}
	return false
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
