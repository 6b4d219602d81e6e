package render

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/stoa-project/stoa/lb/labels"
)

// port renders what one service port adds to the file.
type port struct {
	labels.Service
	settings *Settings
	own      map[string]format // compiled template labels
	mapped   bool              // its virtual hosts are entries of the map rather than rules

	// What is made once, "" and nil before.
	front, head, lines string
	backend            *Backend
	plain, tls, appID  *madeBlock
}

// madeBlock is a block of a shared frontend, or that there is none.
type madeBlock struct {
	block
	ok bool
}

func newPort(s labels.Service, settings *Settings) (*port, error) {
	p := &port{Service: s, settings: settings}
	for name, text := range s.Templates {
		e, ok := catalog[name]
		if !ok || e.global {
			continue
		}
		text = modernise(text)
		f := format{pieces: []piece{{text: text}}}
		if !e.plain {
			var err error
			if f, err = compile(text, e.names); err != nil {
				return nil, &TemplateError{Label: fmt.Sprintf("HAPROXY_%d_%s", s.Index, name), Err: err}
			}
		}
		if p.own == nil {
			p.own = map[string]format{}
		}
		p.own[name] = f
	}
	p.mapped = p.inMap()
	return p, nil
}

// TemplateError is a template label whose text cannot be used.
type TemplateError struct {
	Label string
	Err   error
}

func (e *TemplateError) Error() string { return e.Label + ": " + e.Err.Error() }

// Unwrap gives the reason.
func (e *TemplateError) Unwrap() error { return e.Err }

// asTemplateError gives the label at fault.
func asTemplateError(err error) (*TemplateError, bool) {
	var e *TemplateError
	ok := errors.As(err, &e)
	return e, ok
}

// text renders a template with v.
func (p *port) text(name string, v values) string {
	var b strings.Builder
	p.write(&b, name, v.get)
	return b.String()
}

func (p *port) write(b *strings.Builder, name string, v func(string) string) {
	if f, ok := p.own[name]; ok {
		f.write(b, v)
		// A label's last line may lack its end; what follows must not run into it.
		if t := b.String(); t != "" && !strings.HasSuffix(t, "\n") && !strings.HasPrefix(name, "BACKEND_SERVER_") {
			b.WriteByte('\n')
		}
		return
	}
	if catalog[name].plain {
		b.WriteString(p.settings.Templates.Text(name))
		return
	}
	p.settings.Templates.forms[name].write(b, v)
}

// replaced tells whether a label or a global text stands in place of a built-in one.
func (p *port) replaced(names ...string) bool {
	return slices.ContainsFunc(names, func(n string) bool {
		_, own := p.own[n]
		return own || p.settings.Templates.replaced(n)
	})
}

// frontend gives the port's own frontend.
func (p *port) frontend() []part {
	v := values{"bindAddr": p.BindAddr, "backend": p.Backend, "servicePort": strconv.Itoa(p.Port), "mode": p.Mode}
	if p.SSLCert != "" {
		v["sslCert"] = " ssl " + crts(strings.Split(p.SSLCert, ","))
	}
	if p.BindOptions != "" {
		v["bindOptions"] = " " + p.BindOptions
	}
	return []part{p.part("FRONTEND_HEAD", v), p.part("FRONTEND_BACKEND_GLUE", values{"backend": p.Backend})}
}

// part is a piece of the file and the template that it came from.
type part struct {
	template string
	text     string
	labels   []string // settings labels that made it appear, without HAPROXY_{n}_
}

func (p *port) part(name string, v values, labels ...string) part {
	return part{template: name, text: p.text(name, v), labels: labels}
}

// backendHead gives the backend section up to its servers.
func (p *port) backendHead() []part {
	out := []part{p.part("BACKEND_HEAD", values{"backend": p.Backend, "balance": p.Balance, "mode": p.Mode})}
	add := func(name string, v values, labels ...string) { out = append(out, p.part(name, v, labels...)) }
	hostname := ""
	if len(p.VHosts) > 0 {
		hostname = p.VHosts[0]
	}
	if p.Mode == "http" {
		if p.HSTS {
			add("BACKEND_HSTS_OPTIONS", nil, "USE_HSTS")
		}
		add("BACKEND_HTTP_OPTIONS", nil)
		if p.ProxyPass != "" {
			add("HTTP_BACKEND_PROXYPASS_GLUE", values{"hostname": hostname, "proxypath": strings.TrimSuffix(p.ProxyPass, "/")}, "HTTP_BACKEND_PROXYPASS_PATH")
		}
		if p.RevProxy != "" {
			add("HTTP_BACKEND_REVPROXY_GLUE", values{"hostname": hostname, "rootpath": strings.TrimSuffix(p.RevProxy, "/")}, "HTTP_BACKEND_REVPROXY_PATH")
		}
		if p.Redirect != "" {
			add("HTTP_BACKEND_REDIR", values{"hostname": hostname, "redirpath": p.Redirect}, "HTTP_BACKEND_REDIR")
		}
		if p.Compression != "" {
			out = append(out, part{text: "  compression algo " + p.Compression + "\n", labels: []string{"COMPRESSION"}})
		}
	}
	if len(p.Allowed) > 0 {
		kind := map[bool]string{true: "HTTP", false: "TCP"}[p.Mode == "http"]
		for _, network := range p.Allowed {
			add(kind+"_BACKEND_NETWORK_ALLOWED_ACL", values{"network_allowed": network}, "BACKEND_NETWORK_ALLOWED_ACL")
		}
		out = append(out, part{template: kind + "_BACKEND_ACL_ALLOW_DENY", text: p.settings.Templates.Text(kind + "_BACKEND_ACL_ALLOW_DENY"), labels: []string{"BACKEND_NETWORK_ALLOWED_ACL"}})
	}
	if p.TimeoutServer > 0 {
		out = append(out, part{text: fmt.Sprintf("  timeout server %dms\n", p.TimeoutServer), labels: []string{"TIMEOUT_SERVER"}})
	}
	if p.Sticky {
		if p.dynamicCookie() {
			out = append(out, part{text: "  cookie mesosphere_server_id insert indirect nocache dynamic\n  dynamic-cookie-key " + p.Backend + "\n", labels: []string{"STICKY"}})
		} else {
			add("BACKEND_STICKY_OPTIONS", nil, "STICKY")
		}
	}
	if p.Check != nil {
		add("BACKEND_"+p.checkKind()+"_HEALTHCHECK_OPTIONS", p.checkValues(p.firstPort()))
	}
	return out
}

// dynamicCookie tells whether sticky cookies are made from addresses by HAProxy itself,
// so that servers can come without a reload.
func (p *port) dynamicCookie() bool {
	return p.settings.Profile != Compat && !p.replaced("BACKEND_STICKY_OPTIONS")
}

// firstPort gives the port that the first server is checked at: templates of the whole
// backend see that one.
func (p *port) firstPort() int {
	if len(p.Servers) == 0 {
		return 0
	}
	if to := p.Servers[0].CheckPort; to != 0 {
		return to
	}
	return p.Servers[0].Port
}

func (p *port) checkKind() string {
	if p.Check.HTTP {
		return "HTTP"
	}
	return "TCP"
}

// checkValues gives what the health check templates may use; borrowed is the task's
// port that a label sends checks to, 0 for none.
func (p *port) checkValues(borrowed int) values {
	c := p.Check
	v := values{
		"healthCheckProtocol": c.Protocol, "healthCheckPath": c.Path,
		"healthCheckTimeoutSeconds": strconv.Itoa(c.Timeout), "healthCheckIntervalSeconds": strconv.Itoa(c.Interval),
		"healthCheckGracePeriodSeconds": strconv.Itoa(c.Grace), "healthCheckMaxConsecutiveFailures": strconv.Itoa(c.Failures),
		"healthCheckFalls": strconv.Itoa(c.Failures + 1), "healthCheck": c.Protocol,
	}
	if c.Index != nil {
		v["healthCheckPortIndex"] = strconv.Itoa(*c.Index)
	}
	to := c.Port
	if borrowed > 0 {
		to = borrowed
	}
	if to > 0 {
		v["healthCheckPort"] = strconv.Itoa(to)
		v["healthCheckPortOptions"] = " port " + strconv.Itoa(to)
	}
	for part, name := range map[string]string{
		"protocol": "Protocol", "path": "Path", "port": "Port", "portIndex": "PortIndex", "timeoutSeconds": "TimeoutSeconds",
		"intervalSeconds": "IntervalSeconds", "gracePeriodSeconds": "GracePeriodSeconds", "maxConsecutiveFailures": "MaxConsecutiveFailures",
	} {
		v["healthCheck."+part] = v["healthCheck"+name]
	}
	return v
}
