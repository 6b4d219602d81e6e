package libprocess

import (
	"net/http"
	"net/url"
	"strings"
)

// Delegate makes /state, /<id>/state and /<id>/state/ reach h as /state, so that one
// handler serves the process that owns the port. A path with a ".." segment start is
// 404; trailing slashes are trimmed. (libprocess.md, 2.4)
func Delegate(id string, h http.Handler) http.Handler {
	prefix := "/" + id
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := r.URL.Path
		if strings.Contains(path, "/..") {
			http.NotFound(w, r)
			return
		}
		named := path == prefix || strings.HasPrefix(path, prefix+"/")
		trimmed := len(path) > 1 && strings.HasSuffix(path, "/")
		if !named && !trimmed {
			h.ServeHTTP(w, r)
			return
		}
		u := new(url.URL)
		*u = *r.URL
		if named {
			u.Path = path[len(prefix):]
			u.RawPath = afterFirstSegment(u.RawPath)
		}
		u.Path = "/" + strings.Trim(u.Path, "/")
		if u.RawPath != "" {
			u.RawPath = "/" + strings.Trim(u.RawPath, "/")
		}
		r2 := new(http.Request)
		*r2 = *r
		r2.URL = u
		h.ServeHTTP(w, r2)
	})
}

// afterFirstSegment drops "/first" from an escaped path; its escaping may differ from
// the decoded text.
func afterFirstSegment(raw string) string {
	if raw == "" {
		return ""
	}
	if i := strings.IndexByte(raw[1:], '/'); i >= 0 {
		return raw[1+i:]
	}
	return "/"
}
