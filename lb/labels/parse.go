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
	app App
	n   int
}

func (l portLabels) name(key string) string { return fmt.Sprintf("HAPROXY_%d_%s", l.n, key) }

func (l portLabels) get(key string) (string, bool) {
	v, ok := l.app.Labels[l.name(key)]
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
	word      = regexp.MustCompile(`^[A-Za-z0-9_./:@*%+=,~-]+$`)
	words     = regexp.MustCompile(`^[A-Za-z0-9_./:@*%+=,~() -]*$`)
	vhostName = regexp.MustCompile(`^(\*\.)?[a-z0-9]([a-z0-9_.-]*[a-z0-9])?$`)
	pathArgs  = regexp.MustCompile(`^[A-Za-z0-9_./~%+=,:@*!()& -]+$`)
	crypted   = regexp.MustCompile(`^[A-Za-z0-9./$_=!*-]+$`)
	oddInName = regexp.MustCompile(`[^a-zA-Z0-9-]`)
)

// checked gives a label's text when it matches, else why not.
func (l portLabels) checked(key, otherwise string, allowed *regexp.Regexp) (string, error) {
	v := l.text(key, otherwise)
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

// service reads everything but the servers.
func (l portLabels) service(o Options) (Service, error) {
	bind := o.BindAddr
	if bind == "" {
		bind = "*"
	}
	s := Service{AppID: l.app.ID, Index: l.n, Sticky: l.flag("STICKY"), ToHTTPS: l.flag("REDIRECT_TO_HTTPS"), HSTS: l.flag("USE_HSTS")}
	var err error
	if s.Port, err = l.number("PORT", l.app.servicePorts()[l.n], 1, 65535); err != nil {
		return s, err
	}
	if s.Port < 1 || s.Port > 65535 {
		return s, fmt.Errorf("has service port %d; HAProxy needs 1 to 65535", s.Port)
	}
	s.Backend = strings.ReplaceAll(strings.TrimPrefix(s.AppID, "/"), "/", "_") + "_" + strconv.Itoa(s.Port)
	if !word.MatchString(s.Backend) {
		return s, fmt.Errorf("the app id %.80q makes no section name", s.AppID)
	}
	if s.Weight, err = l.number("BACKEND_WEIGHT", 0, -1<<31, 1<<31-1); err != nil {
		return s, err
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
	}
	for _, t := range texts {
		if *t.into, err = l.checked(t.key, t.otherwise, t.allowed); err != nil {
			return s, err
		}
	}
	if s.VHosts, err = l.vhosts(); err != nil {
		return s, err
	}
	if s.Path != "" && s.Weight == 0 {
		s.Weight = 1
	}
	if s.Auth, err = l.auth(); err != nil {
		return s, err
	}
	if s.Allowed, err = l.allowed(); err != nil {
		return s, err
	}
	return s, l.modeAndCheck(&s)
}

func (l portLabels) vhosts() ([]string, error) {
	v, ok := l.get("VHOST")
	if !ok || strings.TrimSpace(v) == "" {
		return nil, nil
	}
	var out []string
	for h := range strings.SplitSeq(strings.ToLower(v), ",") {
		h = strings.TrimSpace(h)
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
	if len(p) != 3 || !word.MatchString(p[0]) || !word.MatchString(p[1]) || !crypted.MatchString(p[2]) {
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

// modeAndCheck decides between http and tcp and translates the app's health check.
func (l portLabels) modeAndCheck(s *Service) error {
	var check *HealthCheck
	for i, h := range l.app.HealthChecks {
		if h.Port != 0 || h.PortIndex != nil && *h.PortIndex == l.n {
			check = &l.app.HealthChecks[i]
			break
		}
	}
	if _, given := l.get("MODE"); !given {
		switch {
		case check != nil && (check.Protocol == "HTTP" || check.Protocol == "MESOS_HTTP"), len(s.VHosts) > 0:
			s.Mode = "http"
		default:
			s.Mode = "tcp"
		}
	}
	if s.Mode = strings.ToLower(s.Mode); s.Mode != "http" && s.Mode != "tcp" {
		return &labelError{l.name("MODE"), fmt.Sprintf("%.60q is neither http nor tcp", s.Mode)}
	}
	if check == nil {
		return nil
	}
	c := Check{Path: check.Path, Interval: check.IntervalSeconds, Timeout: check.TimeoutSeconds, Fall: check.MaxConsecutiveFailures + 1}
	c.HTTP = s.Mode == "http" && check.Protocol != "TCP" && check.Protocol != "MESOS_TCP"
	if c.Path == "" {
		c.Path = "/"
	}
	// A path goes into the file between blanks.
	if !word.MatchString(strings.NewReplacer("?", "", "&", "").Replace(c.Path)) {
		return fmt.Errorf("its health check's path %.60q has characters that HAProxy's configuration does not take", c.Path)
	}
	if c.Interval < 1 {
		c.Interval = 60
	}
	if c.Timeout < 1 {
		c.Timeout = 20
	}
	s.Check = &c
	return nil
}
