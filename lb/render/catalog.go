package render

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/stoa-project/stoa/lb/labels"
)

// template is one entry of the catalog.
type template struct {
	text string
	// compat replaces text under the compat profile; "" is the same.
	compat string
	names  []string // values that it may use
	plain  bool     // no values: braces are literal
	global bool     // no label replaces it
	ours   bool     // made from settings, so there is no fixed text
}

func names(s string) []string { return strings.Fields(s) }

var (
	checkNames = names("healthCheck healthCheckPortIndex healthCheckPort healthCheckProtocol healthCheckPath healthCheckTimeoutSeconds " +
		"healthCheckIntervalSeconds healthCheckGracePeriodSeconds healthCheckMaxConsecutiveFailures healthCheckFalls healthCheckPortOptions")
	checkParts = names("protocol path port portIndex timeoutSeconds intervalSeconds gracePeriodSeconds maxConsecutiveFailures")
	hostNames  = names("cleanedUpHostname hostname appId backend path realm")
)

// hostIs and hostIsCompat match the Host header against one virtual host, without and
// with a port in it.
const (
	hostIs       = "hdr(host),field(1,:) -i {hostname}"
	hostIsCompat = "hdr(host) -i {hostname}"
	// On :443 the Host header decides, because one connection may carry several hosts;
	// the name of the TLS handshake is for requests without the header.
	tlsIs       = "if {{ hdr(host),field(1,:) -i {hostname} }}"
	tlsNoHost   = "if !{{ hdr(host) -m found }} {{ ssl_fc_sni -i {hostname} }}"
	tlsIsCompat = "if {{ ssl_fc_sni {hostname} }}"
	authACL     = "  acl auth_{cleanedUpHostname} http_auth(user_{backend})\n"
)

// host makes an entry that matches a virtual host in the :80 frontend.
func host(text string) template {
	return template{
		text:   strings.ReplaceAll(text, "@", hostIs),
		compat: strings.ReplaceAll(text, "@", hostIsCompat), names: hostNames,
	}
}

// tls makes an entry for the :443 frontend from lines that end in '@' and more.
func tls(before, rule, after string) template {
	return template{
		text:   before + rule + tlsIs + after + "\n" + rule + tlsNoHost + after + "\n",
		compat: before + rule + tlsIsCompat + after + "\n", names: hostNames,
	}
}

// tlsAuth asks for a password before it routes.
func tlsAuth(before, path string) template {
	ask, route := "  http-request auth realm \"{realm}\" ", "  use_backend {backend} "
	one := func(cond string) string {
		return ask + cond + path + " !auth_{cleanedUpHostname}\n" + route + cond + path + "\n"
	}
	return template{text: before + authACL + one(tlsIs) + one(tlsNoHost), compat: before + authACL + one(tlsIsCompat), names: hostNames}
}

func mapRule(key, file string) template {
	k := strings.ReplaceAll(key+",map({haproxy_dir}/@)", "@", file)
	// A dynamic rule that finds nothing ends the search, so it asks first.
	// Marathon-LB's needs no question: it stands last.
	old := strings.ReplaceAll(k, "field(1,:)", "regsub(:.*$,,)")
	return template{text: "  use_backend %[" + k + "] if {{ " + k + " -m found }}\n", compat: "  use_backend %[" + old + "]\n", names: names("haproxy_dir hostname")}
}

// catalog holds every template by its name without HAPROXY_.
var catalog = map[string]template{
	"HEAD":                        {plain: true, global: true, ours: true},
	"HTTP_FRONTEND_HEAD":          {plain: true, global: true, ours: true},
	"HTTP_FRONTEND_APPID_HEAD":    {plain: true, global: true, ours: true},
	"HTTPS_FRONTEND_HEAD":         {names: names("sslCerts"), global: true, ours: true},
	"HTTPS_GROUPED_FRONTEND_HEAD": {plain: true, global: true, ours: true},
	"HTTP_BACKEND_ACL_ALLOW_DENY": {plain: true, global: true, text: "  http-request deny if !network_allowed\n", compat: "  http-request allow if network_allowed\n  http-request deny\n"},
	"TCP_BACKEND_ACL_ALLOW_DENY":  {plain: true, global: true, text: "  tcp-request content reject if !network_allowed\n", compat: "  tcp-request content accept if network_allowed\n  tcp-request content reject\n"},
	"BACKEND_HSTS_OPTIONS":        {plain: true, text: "  http-response set-header Strict-Transport-Security max-age=15768000\n"},
	"BACKEND_STICKY_OPTIONS":      {plain: true, text: "  cookie mesosphere_server_id insert indirect nocache\n"},
	"BACKEND_HTTP_OPTIONS":        {plain: true, text: "  option forwardfor\n  http-request set-header X-Forwarded-Port %[dst_port]\n  http-request add-header X-Forwarded-Proto https if { ssl_fc }\n"},
	"USERLIST_HEAD":               {names: names("backend user passwd"), text: "\nuserlist user_{backend}\n  user {user} password {passwd}\n"},
	"FRONTEND_HEAD":               {names: names("bindAddr backend servicePort mode sslCert bindOptions"), text: "\nfrontend {backend}\n  bind {bindAddr}:{servicePort}{sslCert}{bindOptions}\n  mode {mode}\n"},
	"FRONTEND_BACKEND_GLUE":       {names: names("backend"), text: "  use_backend {backend}\n"},
	"BACKEND_HEAD":                {names: names("backend balance mode"), text: "\nbackend {backend}\n  balance {balance}\n  mode {mode}\n"},
	"HTTP_BACKEND_PROXYPASS_GLUE": {names: names("hostname proxypath"), text: "  http-request set-header Host {hostname}\n  http-request replace-path ^{proxypath}(/(.*))?$ /\\2\n"},
	"HTTP_BACKEND_REVPROXY_GLUE":  {names: names("hostname rootpath"), text: "  http-response replace-header Location ^((https?://{hostname}(:[0-9]+)?)?)(/.*)$ \\1{rootpath}\\4\n"},
	"HTTP_BACKEND_REDIR": {names: names("hostname redirpath"), text: "  http-request redirect code 301 location {redirpath} if {{ path / }} {{ hdr(host),field(1,:) -i {hostname} }}\n",
		compat: "  acl is_root path -i /\n  acl is_domain hdr(host) -i {hostname}\n  redirect code 301 location {redirpath} if is_domain is_root\n"},
	"HTTP_FRONTEND_APPID_ACL": {names: names("cleanedUpAppId hostname appId backend"), text: "  acl app_{cleanedUpAppId} hdr(x-marathon-app-id) -i {appId}\n  use_backend {backend} if app_{cleanedUpAppId}\n"},
	"HTTPS_GROUPED_VHOST_BACKEND_HEAD": {names: names("name"), global: true, text: "\nbackend {name}\n  mode tcp\n  server loopback-for-tls abns@{name} send-proxy-v2\n",
		compat: "\nbackend {name}\n  server loopback-for-tls abns@{name} send-proxy-v2\n"},
	"HTTPS_GROUPED_VHOST_FRONTEND_HEAD": {names: names("name sslCerts bindOpts"), global: true,
		text: "\nfrontend {name}\n  mode http\n  bind abns@{name} accept-proxy ssl {sslCerts}{bindOpts}\n"},
	"HTTPS_GROUPED_VHOST_FRONTEND_ACL": {names: names("backend host"), global: true, text: "  use_backend {backend} if {{ req.ssl_sni -i {host} }}\n",
		compat: "  use_backend {backend} if {{ req_ssl_sni -i {host} }}\n"},

	"HTTP_BACKEND_NETWORK_ALLOWED_ACL": {names: names("network_allowed"), text: "  acl network_allowed src {network_allowed}\n"},
	"TCP_BACKEND_NETWORK_ALLOWED_ACL":  {names: names("network_allowed"), text: "  acl network_allowed src {network_allowed}\n"},

	"BACKEND_HTTP_HEALTHCHECK_OPTIONS": {names: checkNames, text: "  option httpchk GET {healthCheckPath}\n  timeout check {healthCheckTimeoutSeconds}s\n",
		compat: "  option  httpchk GET {healthCheckPath}\n  timeout check {healthCheckTimeoutSeconds}s\n"},
	"BACKEND_TCP_HEALTHCHECK_OPTIONS":         {names: checkNames},
	"BACKEND_SERVER_HTTP_HEALTHCHECK_OPTIONS": {names: checkNames, text: " check inter {healthCheckIntervalSeconds}s fall {healthCheckFalls}{healthCheckPortOptions}"},
	"BACKEND_SERVER_TCP_HEALTHCHECK_OPTIONS":  {names: checkNames, text: " check inter {healthCheckIntervalSeconds}s fall {healthCheckFalls}{healthCheckPortOptions}"},
	"BACKEND_SERVER_OPTIONS": {names: names("host host_ipv4 port serverName serverId cookieOptions healthCheckOptions otherOptions"),
		text: "  server {serverName} {host_ipv4}:{port} id {serverId}{cookieOptions}{healthCheckOptions}{otherOptions}\n"},

	"BACKEND_REDIRECT_HTTP_TO_HTTPS": {names: names("bindAddr cleanedUpHostname"), text: "  http-request redirect scheme https code 301 if !{{ ssl_fc }} host_{cleanedUpHostname}\n",
		compat: "  redirect scheme https code 301 if !{{ ssl_fc }} host_{cleanedUpHostname}\n"},
	"BACKEND_REDIRECT_HTTP_TO_HTTPS_WITH_PATH": {names: names("bindAddr cleanedUpHostname backend"),
		text:   "  http-request redirect scheme https code 301 if !{{ ssl_fc }} host_{cleanedUpHostname} path_{backend}\n",
		compat: "  redirect scheme https code 301 if !{{ ssl_fc }} host_{cleanedUpHostname} path_{backend}\n"},

	"HTTP_FRONTEND_ACL":                    host("  acl host_{cleanedUpHostname} @\n  use_backend {backend} if host_{cleanedUpHostname}\n"),
	"HTTP_FRONTEND_ACL_ONLY":               host("  acl host_{cleanedUpHostname} @\n"),
	"HTTP_FRONTEND_ROUTING_ONLY":           host("  use_backend {backend} if host_{cleanedUpHostname}\n"),
	"HTTP_FRONTEND_ROUTING_ONLY_WITH_PATH": host("  use_backend {backend} if host_{cleanedUpHostname} path_{backend}\n"),
	"HTTP_FRONTEND_ACL_WITH_PATH":          host("  acl host_{cleanedUpHostname} @\n  acl path_{backend} path_beg {path}\n  use_backend {backend} if host_{cleanedUpHostname} path_{backend}\n"),
	"HTTP_FRONTEND_ACL_ONLY_WITH_PATH":     host("  acl path_{backend} path_beg {path}\n"),
	"HTTP_FRONTEND_ACL_WITH_AUTH":          host("  acl host_{cleanedUpHostname} @\n" + authACL + askHost + "  use_backend {backend} if host_{cleanedUpHostname}\n"),
	"HTTP_FRONTEND_ROUTING_ONLY_WITH_AUTH": host(authACL + askHost + "  use_backend {backend} if host_{cleanedUpHostname}\n"),
	"HTTP_FRONTEND_ACL_WITH_AUTH_AND_PATH": host("  acl host_{cleanedUpHostname} @\n" + authACL + "  acl path_{backend} path_beg {path}\n" + askPath +
		"  use_backend {backend} if host_{cleanedUpHostname} path_{backend}\n"),
	"HTTP_FRONTEND_ROUTING_ONLY_WITH_PATH_AND_AUTH": host(askPath + "  use_backend {backend} if host_{cleanedUpHostname} path_{backend}\n"),
	"HTTP_FRONTEND_ACL_ONLY_WITH_PATH_AND_AUTH":     host("  acl path_{backend} path_beg {path}\n" + authACL),

	"HTTPS_FRONTEND_ACL":                    tls("", "  use_backend {backend} ", ""),
	"HTTPS_FRONTEND_ACL_WITH_PATH":          tls("", "  use_backend {backend} ", " path_{backend}"),
	"HTTPS_FRONTEND_ACL_ONLY_WITH_PATH":     {names: hostNames, text: "  acl path_{backend} path_beg {path}\n"},
	"HTTPS_FRONTEND_ACL_WITH_AUTH":          tlsAuth("", ""),
	"HTTPS_FRONTEND_ACL_WITH_AUTH_AND_PATH": tlsAuth("", " path_{backend}"),
	// Known by name only: no configuration contains them.
	"HTTPS_FRONTEND_AUTH_ACL_ONLY":                   {names: hostNames},
	"HTTPS_FRONTEND_AUTH_REQUEST_ONLY":               {names: hostNames},
	"HTTPS_FRONTEND_ROUTING_ONLY_WITH_PATH_AND_AUTH": {names: hostNames},

	"MAP_HTTP_FRONTEND_ACL":       mapRule("req.hdr(host),lower,field(1,:)", DomainMap),
	"MAP_HTTP_FRONTEND_ACL_ONLY":  mapRule("req.hdr(host),lower,field(1,:)", DomainMap),
	"MAP_HTTPS_FRONTEND_ACL":      mapHTTPS(),
	"MAP_HTTP_FRONTEND_APPID_ACL": mapRule("req.hdr(x-marathon-app-id),lower", AppMap),
}

func mapHTTPS() template {
	byHost, bySNI := mapRule("req.hdr(host),lower,field(1,:)", DomainMap), mapRule("ssl_fc_sni,lower", DomainMap)
	noHost := strings.Replace(bySNI.text, " if ", " if !{{ hdr(host) -m found }} ", 1)
	return template{text: byHost.text + noHost, compat: bySNI.compat, names: byHost.names}
}

const (
	askHost = "  http-request auth realm \"{realm}\" if host_{cleanedUpHostname} !auth_{cleanedUpHostname}\n"
	askPath = "  http-request auth realm \"{realm}\" if host_{cleanedUpHostname} path_{backend} !auth_{cleanedUpHostname}\n"
)

// Templates are the compiled templates of one load balancer: the built-in ones and the
// user's in their place.
type Templates struct {
	compat bool
	texts  map[string]string // the user's, by name without HAPROXY_
	forms  map[string]format // compiled, of the formatted ones
}

// TemplateNames gives all template names, without HAPROXY_, sorted.
func TemplateNames() []string { return slices.Sorted(maps.Keys(catalog)) }

// NewTemplates compiles the built-in templates with the user's texts in place of those
// of the same name (without HAPROXY_). The error names the template.
func NewTemplates(texts map[string]string, compat bool) (*Templates, error) {
	t := &Templates{compat: compat, texts: make(map[string]string, len(texts)), forms: map[string]format{}}
	for name, text := range texts {
		t.texts[name] = modernise(text)
	}
	for name, entry := range catalog {
		if entry.plain {
			continue
		}
		f, err := compile(t.Text(name), entry.names)
		if err != nil {
			return nil, fmt.Errorf("template HAPROXY_%s: %w", name, err)
		}
		t.forms[name] = f
	}
	return t, nil
}

// Text gives the text in force: the user's, or the built-in one. Heads that are made
// from settings have no built-in text.
func (t *Templates) Text(name string) string {
	if text, ok := t.texts[name]; ok {
		return text
	}
	if e := catalog[name]; t.compat && e.compat != "" {
		return e.compat
	}
	return catalog[name].text
}

// replaced tells whether the user has put a text in place of the built-in one.
func (t *Templates) replaced(name string) bool { _, ok := t.texts[name]; return ok }

// About tells in a line how a template may be replaced and which values it may use.
func About(name string) string {
	e := catalog[name]
	out := "values: " + strings.Join(e.names, " ")
	switch {
	case e.plain:
		out = "no values: braces are literal"
	case len(e.names) == 0:
		out = "no values"
	}
	if slices.Contains(labels.Templates, name) {
		out += "; by label HAPROXY_{n}_" + name
	}
	if e.ours {
		out += "; built in from the flags"
	}
	return out
}
