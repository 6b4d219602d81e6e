package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
)

// maxBody is how much of an answer is read.
const maxBody = 10_000

// outcome is the result of one run.
type outcome struct {
	err    error // nil: passed
	ignore bool  // neither passed nor failed
}

func (o outcome) cause() string {
	if o.err == nil {
		return ""
	}
	return o.err.Error()
}

// client makes one request for each connection, follows no redirect and does not verify
// certificates: the peer is named by a port on an agent.
var client = &http.Client{
	Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
	},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// check runs a health check once (marathon.md 8).
func check(ctx context.Context, v *app.Instance, a *app.App, h *app.HealthCheck) outcome {
	addr, err := target(v, a, h.Port, h.PortIndex)
	if err != nil {
		return outcome{err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, max(time.Second, time.Duration(h.TimeoutSeconds)*time.Second))
	defer cancel()
	if h.Protocol == app.HealthTCP {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err == nil {
			conn.Close()
		}
		return outcome{err: err}
	}
	scheme := "http"
	if h.Protocol == app.HealthHTTPS {
		scheme = "https"
	}
	resp, _, err := get(ctx, scheme, addr, h.Path)
	switch {
	case err != nil:
		return outcome{err: err}
	case resp.StatusCode >= 200 && resp.StatusCode < 400:
		return outcome{}
	case resp.StatusCode < 200 && h.IgnoreHTTP1xx != nil && *h.IgnoreHTTP1xx:
		return outcome{ignore: true}
	}
	return outcome{err: errors.New(resp.Status)}
}

// ready runs a readiness check once (marathon.md 8).
func ready(ctx context.Context, v *app.Instance, a *app.App, r *app.ReadinessCheck) core.Readiness {
	out := core.Readiness{Name: r.Name}
	ctx, cancel := context.WithTimeout(ctx, max(time.Second, time.Duration(r.TimeoutSeconds)*time.Second))
	defer cancel()
	index := portNamed(a, r.PortName)
	addr, err := target(v, a, nil, &index)
	var resp *http.Response
	var body []byte
	if err == nil {
		resp, body, err = get(ctx, strings.ToLower(r.Protocol), addr, r.Path)
	}
	if err != nil {
		out.Status, out.ContentType, out.Body = http.StatusGatewayTimeout, "text/plain", err.Error()
		return out
	}
	out.Status, out.ContentType, out.Body = resp.StatusCode, resp.Header.Get("Content-Type"), string(body)
	out.Ready = slices.Contains(r.HTTPStatusCodesForReady, resp.StatusCode)
	return out
}

func get(ctx context.Context, scheme, addr, path string) (*http.Response, []byte, error) {
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+addr+path, nil)
	if err != nil {
		return nil, nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	return resp, body, err
}

// target is host:port of a task: the agent's host with the host port, or the container's
// own address when the port is not mapped to the host.
func target(v *app.Instance, a *app.App, port, index *int) (string, error) {
	host, number, err := portAt(v, a, index)
	if port != nil {
		number, err = *port, nil
		if !a.HostNetworking() && a.Networks[0].Mode == app.NetworkContainer && len(v.IPs) > 0 {
			host = v.IPs[0].IPAddress
		}
	}
	if err != nil {
		return "", err
	}
	return net.JoinHostPort(host, strconv.Itoa(number)), nil
}

// portAt finds the port at an index of the app's definitions or mappings.
func portAt(v *app.Instance, a *app.App, index *int) (host string, port int, err error) {
	i := 0
	if index != nil {
		i = *index
	}
	if i < 0 || i >= a.PortCount() {
		return v.Host, 0, fmt.Errorf("port index %d: the app has %d ports", i, a.PortCount())
	}
	if a.HostNetworking() {
		if i >= len(v.HostPorts) {
			return v.Host, 0, fmt.Errorf("port index %d: the task has %d host ports", i, len(v.HostPorts))
		}
		return v.Host, v.HostPorts[i], nil
	}
	// HostPorts has entries for mapped ports only.
	at := 0
	for k, m := range a.Container.PortMappings {
		switch {
		case k == i && m.HostPort != nil && at < len(v.HostPorts):
			return v.Host, v.HostPorts[at], nil
		case k == i:
			if len(v.IPs) == 0 {
				return v.Host, 0, fmt.Errorf("port index %d: the task has no address of its own yet", i)
			}
			return v.IPs[0].IPAddress, m.ContainerPort, nil
		case m.HostPort != nil:
			at++
		}
	}
	return v.Host, 0, fmt.Errorf("port index %d is not mapped", i)
}

// portNamed is the index of the port of a name, -1 when there is none.
func portNamed(a *app.App, name string) int {
	if a.HostNetworking() {
		return slices.IndexFunc(a.PortDefinitions, func(p app.PortDefinition) bool { return p.Name == name })
	}
	if a.Container == nil {
		return -1
	}
	return slices.IndexFunc(a.Container.PortMappings, func(p app.PortMapping) bool { return p.Name == name })
}
