package render

import (
	"maps"
	"slices"
	"strings"
)

// addMapped fills the domain map, once, and tells whether there is anything in it to ask.
func (w *writer) addMapped(ports []*port) {
	seen := make(map[string]bool, len(ports))
	w.domains = make([]Entry, 0, len(ports))
	for _, p := range ports {
		if len(p.VHosts) == 0 || p.Mode != "http" || !p.mapped && !p.redirectsMany() {
			continue
		}
		for _, h := range p.VHosts {
			if !seen[h] { // HAProxy takes the first of equal keys
				seen[h] = true
				w.domains = append(w.domains, Entry{h, p.Backend})
			}
		}
	}
}

// withHosts gives the ports that virtual hosts lead to.
func withHosts(ports []*port) []*port {
	var out []*port
	for _, p := range ports {
		if len(p.VHosts) > 0 && p.Mode == "http" {
			out = append(out, p)
		}
	}
	return out
}

// mapBlock is the rule that asks a map. It has weight -1: after the rules of ports and
// before what asks to be last, because it stands first among its equals.
func (w *writer) mapBlock(template string) []block {
	if !w.settings.Maps {
		return nil
	}
	var b strings.Builder
	w.settings.Templates.forms[template].write(&b, values{"haproxy_dir": w.settings.MapDir}.get)
	return []block{{weight: -1, parts: []part{{template: template, text: b.String()}}}}
}

func (w *writer) blocks(blocks []block) {
	for _, b := range inOrder(blocks) {
		for _, t := range b.parts {
			if b.port == nil {
				w.frame(t.template, t.text)
			} else {
				w.emit(t.text, b.port, t.template, t.labels, true)
			}
		}
	}
}

// plainFrontend writes the frontend that routes by host name.
func (w *writer) plainFrontend(ports []*port) {
	hosted := withHosts(ports)
	if w.settings.Maps {
		w.addMapped(hosted)
	}
	if w.settings.HTTPPort == 0 {
		return
	}
	w.frame("HTTP_FRONTEND_HEAD", w.settings.sharedHead("HTTP_FRONTEND_HEAD"))
	blocks := w.mapBlock("MAP_HTTP_FRONTEND_ACL")
	for _, p := range hosted {
		if b, ok := once(&p.plain, p.plainBlock); ok {
			blocks = append(blocks, b)
		}
	}
	w.blocks(blocks)
}

// tlsFrontend writes the frontend that routes by host name over TLS.
func (w *writer) tlsFrontend(ports []*port) {
	if w.settings.HTTPSPort == 0 || len(w.settings.SSLCerts) == 0 {
		return
	}
	if w.settings.GroupHTTPS {
		w.groupedFrontends(withHosts(ports))
		return
	}
	w.frame("HTTPS_FRONTEND_HEAD", w.settings.sharedHead("HTTPS_FRONTEND_HEAD"))
	blocks := w.mapBlock("MAP_HTTPS_FRONTEND_ACL")
	for _, p := range withHosts(ports) {
		if b, ok := once(&p.tls, func() (block, bool) { return p.tlsBlock(p.VHosts) }); ok {
			blocks = append(blocks, b)
		}
	}
	w.blocks(blocks)
}

// groupedFrontends gives each virtual host a TLS frontend of its own, with the
// certificates and bind options of its ports, behind one that reads the name.
func (w *writer) groupedFrontends(ports []*port) {
	byHost := map[string][]*port{}
	for _, p := range ports {
		for _, h := range p.VHosts {
			if !slices.Contains(byHost[h], p) {
				byHost[h] = append(byHost[h], p)
			}
		}
	}
	hosts := slices.Sorted(maps.Keys(byHost))
	slices.SortStableFunc(hosts, func(a, b string) int { // wildcards last
		switch {
		case isWild(a) == isWild(b):
			return 0
		case isWild(a):
			return 1
		}
		return -1
	})
	t := w.settings.Templates
	fill := func(name string, v values) {
		var b strings.Builder
		t.forms[name].write(&b, v.get)
		w.frame(name, b.String())
	}
	w.frame("HTTPS_GROUPED_FRONTEND_HEAD", w.settings.sharedHead("HTTPS_GROUPED_FRONTEND_HEAD"))
	for _, h := range hosts {
		fill("HTTPS_GROUPED_VHOST_FRONTEND_ACL", values{"backend": sectionName(h, w.settings.Profile == Compat), "host": hostMatch(h)})
	}
	for _, h := range hosts {
		name := sectionName(h, w.settings.Profile == Compat)
		fill("HTTPS_GROUPED_VHOST_BACKEND_HEAD", values{"name": name})
		var certs, opts []string
		for _, p := range byHost[h] {
			for c := range strings.SplitSeq(p.SSLCert, ",") {
				if c != "" && !slices.Contains(certs, c) {
					certs = append(certs, c)
				}
			}
			if p.BindOptions != "" && !slices.Contains(opts, p.BindOptions) {
				opts = append(opts, p.BindOptions)
			}
		}
		if len(certs) == 0 {
			certs = w.settings.SSLCerts
		}
		bindOpts := ""
		for _, o := range opts {
			bindOpts += " " + o
		}
		fill("HTTPS_GROUPED_VHOST_FRONTEND_HEAD", values{"name": name, "sslCerts": crts(certs), "bindOpts": bindOpts})
		blocks := w.mapBlock("MAP_HTTPS_FRONTEND_ACL")
		for _, p := range byHost[h] {
			if b, ok := p.tlsBlock([]string{h}); ok {
				blocks = append(blocks, b)
			}
		}
		w.blocks(blocks)
	}
}

// sectionName gives a virtual host's name in the file.
func sectionName(h string, compat bool) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '.' && !compat {
			return r
		}
		return '_'
	}, h)
}

// appIDFrontend writes the frontend that routes by X-Marathon-App-Id to the first HTTP
// port of each app.
func (w *writer) appIDFrontend(ports []*port) {
	var blocks []block
	last := "" // ports of one app stand together
	for _, p := range ports {
		if p.Mode != "http" || p.AppID == last {
			continue
		}
		last = p.AppID
		if b, ok := once(&p.appID, p.appIDBlock); ok {
			b.weight, b.wild = 0, false // as they come
			blocks = append(blocks, b)
		} else {
			w.apps = append(w.apps, Entry{strings.ToLower(p.AppID), p.Backend})
		}
	}
	if w.settings.AppIDPort == 0 {
		return
	}
	w.frame("HTTP_FRONTEND_APPID_HEAD", w.settings.sharedHead("HTTP_FRONTEND_APPID_HEAD"))
	w.blocks(append(blocks, w.mapBlock("MAP_HTTP_FRONTEND_APPID_ACL")...))
}
