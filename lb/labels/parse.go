package labels

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// labelError is a label whose value cannot be used.
type labelError struct{ label, reason string }

func (e *labelError) Error() string { return e.label + ": " + e.reason }

// portLabels reads the labels of one service port.
type portLabels struct {
	app    *App
	n      int
	prefix string            // HAPROXY_{n}_
	own    map[string]string // the port's labels, without prefix
}

func labelsOf(a *App, n int) portLabels {
	l := portLabels{app: a, n: n, prefix: "HAPROXY_" + strconv.Itoa(n) + "_"}
	for name, v := range a.Labels {
		if key, ok := strings.CutPrefix(name, l.prefix); ok {
			if l.own == nil {
				l.own = make(map[string]string, 4)
			}
			l.own[key] = v
		}
	}
	return l
}

func (l portLabels) name(key string) string { return l.prefix + key }

func (l portLabels) get(key string) (string, bool) {
	v, ok := l.own[key]
	return v, ok
}

func (l portLabels) text(key, otherwise string) string {
	if v, ok := l.get(key); ok {
		return v
	}
	return otherwise
}

// truth reads a boolean as Marathon-LB does: what is not clearly true is false.
func truth(s string) bool {
	return slices.Contains([]string{"true", "t", "yes", "y"}, strings.ToLower(s))
}

func (l portLabels) flag(key string) bool { return truth(l.text(key, "")) }

// selected tells whether the groups and the enabling label take this port.
func (l portLabels) selected(o Options) bool {
	if v, ok := l.get("ENABLED"); ok {
		if !truth(v) {
			return false
		}
	} else if o.Strict {
		return false
	}
	if slices.Contains(o.Groups, "*") {
		return true
	}
	groups, ok := l.get("GROUP")
	if !ok {
		groups = l.app.Labels["HAPROXY_GROUP"]
	}
	return slices.ContainsFunc(strings.Split(groups, ","), func(g string) bool { return g != "" && slices.Contains(o.Groups, g) })
}

var (
	// word is what may stand as one token of a configuration line or runtime command.
	// Anything else in a label could end the line and write another.
	word       = regexp.MustCompile(`^[A-Za-z0-9_./:@*%+=,~-]+$`)
	words      = regexp.MustCompile(`^[A-Za-z0-9_./:@*%+=,~() -]*$`)
	vhostName  = regexp.MustCompile(`^(\*\.)?[a-z0-9]([a-z0-9_.-]*[a-z0-9])?$`)
	pathArgs   = regexp.MustCompile(`^[A-Za-z0-9_./~%+=,:@*!()& -]+$`)
	urlPath    = regexp.MustCompile(`^[A-Za-z0-9_./~=,:@!&-]+$`)
	realm      = regexp.MustCompile(`^[A-Za-z0-9_./~+=,@!*() -]+$`)
	duration   = regexp.MustCompile(`^([0-9]{1,8})(ms|s|m|h)?$`)
	algorithms = regexp.MustCompile(`^[a-z -]+$`)
	crypted    = regexp.MustCompile(`^[A-Za-z0-9./$_=!*-]+$`)
)

// checked gives a label's text when it matches, else why not.
func (l portLabels) checked(key, otherwise string, allowed *regexp.Regexp) (string, error) {
	v, ok := l.get(key)
	if !ok {
		return otherwise, nil
	}
	if v == "" || allowed.MatchString(v) {
		return v, nil
	}
	return "", &labelError{l.name(key), fmt.Sprintf("%.60q has characters that HAProxy's configuration does not take here", v)}
}

func (l portLabels) number(key string, otherwise, least, most int) (int, error) {
	v, ok := l.get(key)
	if !ok {
		return otherwise, nil
	}
	i, err := strconv.Atoi(strings.TrimSpace(v))
	if err != nil || i < least || i > most {
		return 0, &labelError{l.name(key), fmt.Sprintf("%.60q is no whole number from %d to %d", v, least, most)}
	}
	return i, nil
}

// service reads everything but the servers. The second result is the index of the port
// that health checks go to, -1 when it is this one.
func (l portLabels) service(port int, o Options) (Service, int, error) {
	bind := o.BindAddr
	if bind == "" {
		bind = "*"
	}
	s := Service{AppID: l.app.ID, Index: l.n, Sticky: l.flag("STICKY"), ToHTTPS: l.flag("REDIRECT_TO_HTTPS"), HSTS: l.flag("USE_HSTS")}
	numbers := []struct {
		into                   *int
		key                    string
		otherwise, least, most int
	}{
		{&s.Port, "PORT", port, 1, 65535},
		{&s.Weight, "BACKEND_WEIGHT", 0, -1 << 31, 1<<31 - 1},
		{&s.MaxConn, "MAXCONN", 0, 1, 1 << 30},
		{&s.ServerWeight, "SERVER_WEIGHT", 0, 1, 256},
		{&s.DrainSeconds, "DRAIN_SECONDS", 5, 0, 600},
	}
	var err error
	for _, t := range numbers {
		if *t.into, err = l.number(t.key, t.otherwise, t.least, t.most); err != nil {
			return s, -1, err
		}
	}
	if s.Port < 1 || s.Port > 65535 {
		return s, -1, fmt.Errorf("has service port %d; HAProxy needs 1 to 65535", s.Port)
	}
	s.Backend = strings.ReplaceAll(strings.TrimPrefix(s.AppID, "/"), "/", "_") + "_" + strconv.Itoa(s.Port)
	if !word.MatchString(s.Backend) {
		return s, -1, fmt.Errorf("the app id %.80q makes no section name", s.AppID)
	}
	texts := []struct {
		into      *string
		key       string
		otherwise string
		allowed   *regexp.Regexp
	}{
		{&s.BindAddr, "BIND_ADDR", bind, word},
		{&s.BindOptions, "BIND_OPTIONS", "", words},
		{&s.SSLCert, "SSL_CERT", "", word},
		{&s.Balance, "BALANCE", "roundrobin", words},
		{&s.Path, "PATH", "", pathArgs},
		{&s.Mode, "MODE", "", word},
		{&s.ProxyPass, "HTTP_BACKEND_PROXYPASS_PATH", "", urlPath},
		{&s.RevProxy, "HTTP_BACKEND_REVPROXY_PATH", "", urlPath},
		{&s.Redirect, "HTTP_BACKEND_REDIR", "", urlPath},
		{&s.Compression, "COMPRESSION", "", algorithms},
	}
	for _, t := range texts {
		if *t.into, err = l.checked(t.key, t.otherwise, t.allowed); err != nil {
			return s, -1, err
		}
	}
	if truth(s.Compression) {
		s.Compression = "gzip"
	}
	if s.TimeoutServer, err = l.duration("TIMEOUT_SERVER"); err != nil {
		return s, -1, err
	}
	if s.VHosts, err = l.vhosts(); err != nil {
		return s, -1, err
	}
	for _, t := range []struct{ key, value string }{
		{"HTTP_BACKEND_PROXYPASS_PATH", s.ProxyPass}, {"HTTP_BACKEND_REVPROXY_PATH", s.RevProxy}, {"HTTP_BACKEND_REDIR", s.Redirect},
	} {
		if t.value != "" && (len(s.VHosts) == 0 || strings.HasPrefix(s.VHosts[0], "*.")) {
			return s, -1, &labelError{l.name(t.key), "wants a first host name in " + l.name("VHOST") + " that is no wildcard"}
		}
	}
	if s.Path != "" && s.Weight == 0 {
		s.Weight = 1
	}
	if s.Auth, err = l.auth(); err != nil {
		return s, -1, err
	}
	if s.Allowed, err = l.allowed(); err != nil {
		return s, -1, err
	}
	if s.Templates, err = l.templates(); err != nil {
		return s, -1, err
	}
	checkIndex, err := l.modeAndCheck(&s, o)
	return s, checkIndex, err
}

// duration reads a time as HAProxy writes it, in milliseconds; without a unit it is seconds.
func (l portLabels) duration(key string) (int, error) {
	v, ok := l.get(key)
	if !ok {
		return 0, nil
	}
	m := duration.FindStringSubmatch(v)
	if m == nil {
		return 0, &labelError{l.name(key), fmt.Sprintf("%.60q is no time such as 30s, 500ms, 5m or 1h", v)}
	}
	n, _ := strconv.Atoi(m[1])
	n *= map[string]int{"ms": 1, "": 1000, "s": 1000, "m": 60_000, "h": 3_600_000}[m[2]]
	if n < 1 || n > 24*3_600_000 {
		return 0, &labelError{l.name(key), fmt.Sprintf("%.60q is not between 1ms and 24h", v)}
	}
	return n, nil
}

func (l portLabels) vhosts() ([]string, error) {
	v, ok := l.get("VHOST")
	if !ok || strings.TrimSpace(v) == "" {
		return nil, nil
	}
	var out []string
	for h := range strings.SplitSeq(strings.ToLower(v), ",") {
		if h = strings.TrimSpace(h); h == "" {
			continue
		}
		if !vhostName.MatchString(h) || len(h) > 255 {
			return nil, &labelError{l.name("VHOST"), fmt.Sprintf("%.60q is no host name", h)}
		}
		out = append(out, h)
	}
	return out, nil
}

func (l portLabels) auth() (*Auth, error) {
	v, ok := l.get("AUTH")
	if !ok {
		return nil, nil
	}
	p := strings.Split(v, ":")
	if len(p) != 3 || !realm.MatchString(p[0]) || !word.MatchString(p[1]) || !crypted.MatchString(p[2]) {
		return nil, &labelError{l.name("AUTH"), "wants realm:user:password, the password as a crypt(3) hash"}
	}
	return &Auth{Realm: p[0], User: p[1], Password: p[2]}, nil
}

func (l portLabels) allowed() ([]string, error) {
	out := strings.Fields(l.text("BACKEND_NETWORK_ALLOWED_ACL", ""))
	for _, a := range out {
		_, noPrefix := netip.ParsePrefix(a)
		_, noAddr := netip.ParseAddr(a)
		if noPrefix != nil && noAddr != nil {
			return nil, &labelError{l.name("BACKEND_NETWORK_ALLOWED_ACL"), fmt.Sprintf("%.60q is no IP address or CIDR", a)}
		}
	}
	return out, nil
}

// checkFor gives the app's health check of port index n.
func (l portLabels) checkFor(n int) *HealthCheck {
	for i, h := range l.app.HealthChecks {
		if h.Port != 0 || h.PortIndex != nil && *h.PortIndex == n {
			return &l.app.HealthChecks[i]
		}
	}
	return nil
}

// modeAndCheck decides between http and tcp and translates the app's health check. It
// gives the index of the port that checks go to, -1 for the port's own.
func (l portLabels) modeAndCheck(s *Service, o Options) (int, error) {
	check := l.checkFor(l.n)
	if check != nil && (check.Protocol == "HTTP" || check.Protocol == "MESOS_HTTP" && !o.Compat) && s.Mode == "" {
		s.Mode = "http"
	}
	checkIndex, err := l.number("BACKEND_HEALTHCHECK_PORT_INDEX", -1, 0, 1000)
	if err != nil {
		return -1, err
	}
	if check == nil && checkIndex >= 0 {
		if check = l.checkFor(checkIndex); check != nil && slices.Contains([]string{"HTTP", "HTTPS", "MESOS_HTTP", "MESOS_HTTPS"}, check.Protocol) {
			s.Mode = "http"
		}
	}
	switch s.Mode = strings.ToLower(s.Mode); {
	case s.Mode == "" && len(s.VHosts) > 0:
		s.Mode = "http"
	case s.Mode == "":
		s.Mode = "tcp"
	case s.Mode != "http" && s.Mode != "tcp":
		return -1, &labelError{l.name("MODE"), fmt.Sprintf("%.60q is neither http nor tcp", s.Mode)}
	}
	if check == nil {
		return -1, nil
	}
	c := Check{Protocol: check.Protocol, Path: check.Path, Port: check.Port, Index: check.PortIndex, Interval: check.IntervalSeconds,
		Timeout: check.TimeoutSeconds, Grace: check.GracePeriodSeconds, Failures: max(check.MaxConsecutiveFailures, 0)}
	c.HTTP = s.Mode == "http" && check.Protocol != "TCP" && check.Protocol != "MESOS_TCP"
	if c.Path == "" {
		c.Path = "/"
	}
	// These go into the file between blanks.
	if !word.MatchString(strings.NewReplacer("?", "", "&", "").Replace(c.Path)) {
		return -1, fmt.Errorf("its health check's path %.60q has characters that HAProxy's configuration does not take", c.Path)
	}
	if c.Protocol != "" && !word.MatchString(c.Protocol) || c.Port < 0 || c.Port > 65535 {
		return -1, fmt.Errorf("its health check's protocol %.60q or port %d cannot be", c.Protocol, c.Port)
	}
	if c.Interval < 1 {
		c.Interval = 60
	}
	if c.Timeout < 1 {
		c.Timeout = 20
	}
	s.Check = &c
	return checkIndex, nil
}
