package render

import (
	"slices"
	"strings"
)

// block is the routing of one port in a shared frontend. Blocks keep together: a
// port's ACLs come before its rules.
type block struct {
	weight int
	wild   bool // matches many names, so it comes after those that match one
	port   *port
	parts  []part
}

// inOrder sorts blocks: exact names first, then larger weight first, else as they came.
func inOrder(blocks []block) []block {
	slices.SortStableFunc(blocks, func(a, b block) int {
		if a.wild != b.wild {
			if a.wild {
				return 1
			}
			return -1
		}
		return b.weight - a.weight
	})
	return blocks
}

func isWild(host string) bool { return strings.HasPrefix(host, "*.") }

func (p *port) wild() bool { return slices.ContainsFunc(p.VHosts, isWild) }

// hostMatch gives the value of {hostname} where a name is matched; a wildcard matches
// by its end.
func hostMatch(h string) string {
	if isWild(h) {
		return "-m end " + h[1:]
	}
	return h
}

// app gives the app's id as it stands in names.
func (p *port) app() string {
	return strings.ReplaceAll(strings.TrimPrefix(p.AppID, "/"), "/", "_")
}

// cleaned keeps letters, digits and '-' of a name and makes the rest '_'.
func cleaned(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '_'
	}, name)
}

// cleanedHost is the part of ACL names that tells ports apart.
func (p *port) cleanedHost() string {
	host := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '_'
	}, p.VHosts[0])
	return host + "_" + p.app()
}

func (p *port) hostValues(host string) values {
	v := values{"cleanedUpHostname": p.cleanedHost(), "hostname": hostMatch(host), "appId": p.AppID, "backend": p.Backend,
		"path": p.Path, "bindAddr": p.BindAddr, "haproxy_dir": p.settings.MapDir}
	if p.Auth != nil {
		v["realm"] = p.Auth.Realm
	}
	return v
}

// inMap tells whether the port's virtual hosts are entries of the map rather than rules.
func (p *port) inMap() bool {
	return (!p.ToHTTPS || len(p.VHosts) == 1) && p.mappable()
}

// mappable tells whether a map can say what the port's rules would.
func (p *port) mappable() bool {
	return p.settings.Maps && p.Path == "" && p.Auth == nil && !p.wild() &&
		!p.replaced("HTTP_FRONTEND_ACL", "HTTP_FRONTEND_ACL_ONLY", "HTTP_FRONTEND_ROUTING_ONLY", "HTTPS_FRONTEND_ACL") &&
		!p.ownMapRule()
}

// redirectsMany tells whether only the :80 frontend needs rules, which redirect several
// hosts; the :443 frontend finds them in the map.
func (p *port) redirectsMany() bool {
	return p.ToHTTPS && len(p.VHosts) > 1 && p.mappable()
}

// ownMapRule tells whether the port has a map rule of its own by label.
func (p *port) ownMapRule() bool {
	for _, n := range []string{"MAP_HTTP_FRONTEND_ACL", "MAP_HTTP_FRONTEND_ACL_ONLY", "MAP_HTTPS_FRONTEND_ACL"} {
		if _, ok := p.own[n]; ok {
			return true
		}
	}
	return false
}

func (p *port) block(parts []part) block {
	return block{weight: p.Weight, wild: p.wild(), port: p, parts: parts}
}

// once makes a block unless it was made already.
func once(slot **madeBlock, make func() (block, bool)) (block, bool) {
	if *slot == nil {
		b, ok := make()
		*slot = &madeBlock{b, ok}
	}
	return (*slot).block, (*slot).ok
}

// plainBlock gives the port's rules in the :80 frontend.
func (p *port) plainBlock() (block, bool) {
	if p.mapped && !p.ToHTTPS {
		return block{}, false
	}
	one, v := len(p.VHosts) == 1, p.hostValues(p.VHosts[0])
	if p.settings.Maps {
		for _, n := range []string{"MAP_HTTP_FRONTEND_ACL", "MAP_HTTP_FRONTEND_ACL_ONLY"} {
			if _, ok := p.own[n]; ok {
				return p.block([]part{p.part(n, v, "VHOST")}), true
			}
		}
	}
	var out []part
	each := func(name string) {
		for _, h := range p.VHosts {
			out = append(out, p.part(name, p.hostValues(h), "VHOST"))
		}
	}
	suffix := ""
	if p.Path != "" {
		suffix = "_WITH_PATH"
	}
	switch auth := p.Auth != nil; {
	case p.ToHTTPS:
		// Plain requests are redirected, never asked for a password.
		if p.Path != "" && !one {
			out = append(out, p.part("HTTP_FRONTEND_ACL_ONLY_WITH_PATH", v, "PATH"))
		}
		if one && p.Path == "" {
			out = append(out, p.part("HTTP_FRONTEND_ACL", v, "VHOST"))
		} else {
			each("HTTP_FRONTEND_ACL_ONLY")
		}
		if p.Path != "" && one {
			out = append(out, p.part("HTTP_FRONTEND_ACL_ONLY_WITH_PATH", v, "PATH"))
		}
		redirect := p.part("BACKEND_REDIRECT_HTTP_TO_HTTPS"+suffix, v, "REDIRECT_TO_HTTPS")
		if n := len(out); one && p.Path == "" && !p.replaced("HTTP_FRONTEND_ACL") && p.settings.Profile != Compat {
			// The host's ACL, then the redirect, then its route: HAProxy warns of a
			// redirect that stands behind a route, although it comes first.
			acl, route, ok := strings.Cut(out[n-1].text, "  use_backend ")
			if ok {
				out[n-1].text = acl
				out = append(out, redirect, part{template: "HTTP_FRONTEND_ACL", text: "  use_backend " + route, labels: []string{"VHOST"}})
				break
			}
		}
		out = append(out, redirect)
	case one && !auth:
		out = append(out, p.part("HTTP_FRONTEND_ACL"+suffix, v, "VHOST"))
	case one && p.Path == "":
		out = append(out, p.part("HTTP_FRONTEND_ACL_WITH_AUTH", v, "VHOST", "AUTH"))
	case one:
		out = append(out, p.part("HTTP_FRONTEND_ACL_WITH_AUTH_AND_PATH", v, "VHOST", "PATH", "AUTH"))
	default:
		route := "HTTP_FRONTEND_ROUTING_ONLY" + suffix
		if auth && p.Path != "" {
			out = append(out, p.part("HTTP_FRONTEND_ACL_ONLY_WITH_PATH_AND_AUTH", v, "PATH", "AUTH"))
			route += "_AND_AUTH"
		} else if p.Path != "" {
			out = append(out, p.part("HTTP_FRONTEND_ACL_ONLY_WITH_PATH", v, "PATH"))
		} else if auth {
			route += "_WITH_AUTH"
		}
		each("HTTP_FRONTEND_ACL_ONLY")
		out = append(out, p.part(route, v, "VHOST"))
	}
	return p.block(out), true
}

// tlsBlock gives the port's rules in the :443 frontend, or in that of one host when
// virtual hosts are grouped.
func (p *port) tlsBlock(hosts []string) (block, bool) {
	if p.mapped || p.redirectsMany() {
		return block{}, false
	}
	v := p.hostValues(hosts[0])
	if _, ok := p.own["MAP_HTTPS_FRONTEND_ACL"]; ok && p.settings.Maps {
		return p.block([]part{p.part("MAP_HTTPS_FRONTEND_ACL", v, "VHOST")}), true
	}
	name := "HTTPS_FRONTEND_ACL"
	var out []part
	switch {
	case p.Path != "" && p.Auth != nil:
		name += "_WITH_AUTH_AND_PATH"
	case p.Path != "":
		name += "_WITH_PATH"
	case p.Auth != nil:
		name += "_WITH_AUTH"
	}
	if p.Path != "" {
		out = append(out, p.part("HTTPS_FRONTEND_ACL_ONLY_WITH_PATH", v, "PATH"))
	}
	for _, h := range hosts {
		out = append(out, p.part(name, p.hostValues(h), "VHOST"))
	}
	return p.block(out), true
}

// appIDBlock gives the port's rule in the frontend that routes by app id.
func (p *port) appIDBlock() (block, bool) {
	v := values{"cleanedUpAppId": cleaned(p.AppID), "appId": p.AppID, "backend": p.Backend, "haproxy_dir": p.settings.MapDir}
	if len(p.VHosts) > 0 {
		v["hostname"] = p.VHosts[0]
	}
	if p.settings.Maps {
		if _, ok := p.own["MAP_HTTP_FRONTEND_APPID_ACL"]; ok {
			return p.block([]part{p.part("MAP_HTTP_FRONTEND_APPID_ACL", v)}), true
		}
		if !p.replaced("HTTP_FRONTEND_APPID_ACL") {
			return block{}, false
		}
	}
	return p.block([]part{p.part("HTTP_FRONTEND_APPID_ACL", v)}), true
}
