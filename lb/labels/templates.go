package labels

import (
	"fmt"
	"strings"
)

// Templates are the names of the templates that a label HAPROXY_{n}_<name> can replace
// for one port. Those that start with MAP_ stand for the entries of the map rules; a
// label without MAP_ takes the port out of the map.
var Templates = []string{
	"USERLIST_HEAD", "FRONTEND_HEAD", "FRONTEND_BACKEND_GLUE", "BACKEND_HEAD",
	"BACKEND_HSTS_OPTIONS", "BACKEND_HTTP_OPTIONS", "BACKEND_STICKY_OPTIONS",
	"BACKEND_REDIRECT_HTTP_TO_HTTPS", "BACKEND_REDIRECT_HTTP_TO_HTTPS_WITH_PATH",
	"HTTP_BACKEND_PROXYPASS_GLUE", "HTTP_BACKEND_REVPROXY_GLUE",
	"HTTP_BACKEND_NETWORK_ALLOWED_ACL", "TCP_BACKEND_NETWORK_ALLOWED_ACL",
	"BACKEND_HTTP_HEALTHCHECK_OPTIONS", "BACKEND_TCP_HEALTHCHECK_OPTIONS",
	"BACKEND_SERVER_HTTP_HEALTHCHECK_OPTIONS", "BACKEND_SERVER_TCP_HEALTHCHECK_OPTIONS", "BACKEND_SERVER_OPTIONS",
	"HTTP_FRONTEND_ACL", "HTTP_FRONTEND_ACL_ONLY", "HTTP_FRONTEND_ROUTING_ONLY", "HTTP_FRONTEND_ROUTING_ONLY_WITH_PATH",
	"HTTP_FRONTEND_ACL_WITH_PATH", "HTTP_FRONTEND_ACL_ONLY_WITH_PATH",
	"HTTP_FRONTEND_ACL_WITH_AUTH", "HTTP_FRONTEND_ROUTING_ONLY_WITH_AUTH", "HTTP_FRONTEND_ROUTING_ONLY_WITH_PATH_AND_AUTH",
	"HTTP_FRONTEND_ACL_WITH_AUTH_AND_PATH", "HTTP_FRONTEND_ACL_ONLY_WITH_PATH_AND_AUTH",
	"HTTPS_FRONTEND_ACL", "HTTPS_FRONTEND_ACL_WITH_PATH", "HTTPS_FRONTEND_ACL_ONLY_WITH_PATH",
	"HTTPS_FRONTEND_ACL_WITH_AUTH", "HTTPS_FRONTEND_ACL_WITH_AUTH_AND_PATH",
	"HTTP_FRONTEND_APPID_ACL",
	"MAP_HTTP_FRONTEND_ACL", "MAP_HTTP_FRONTEND_ACL_ONLY", "MAP_HTTPS_FRONTEND_ACL", "MAP_HTTP_FRONTEND_APPID_ACL",
}

var isTemplate = func() map[string]bool {
	out := map[string]bool{}
	for _, t := range Templates {
		out[t] = true
	}
	return out
}()

const maxTemplate = 64 << 10 // bytes of one template label

// templates gives the texts of the port's template labels. They are configuration, of
// any number of lines: whoever may write an app's labels may write them.
func (l portLabels) templates() (map[string]string, error) {
	var out map[string]string
	for name, text := range l.own {
		if !isTemplate[name] {
			continue
		}
		if len(text) > maxTemplate || strings.ContainsRune(text, 0) {
			return nil, &labelError{l.name(name), fmt.Sprintf("is longer than %d bytes or holds a zero byte", maxTemplate)}
		}
		if out == nil {
			out = map[string]string{}
		}
		out[name] = strings.ReplaceAll(text, "\r\n", "\n")
	}
	return out, nil
}
