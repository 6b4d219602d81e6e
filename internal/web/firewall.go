package web

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/stoa-project/stoa/internal/fault"
)

// Firewall is the endpoints that --firewall_rules switches off (mesos-master.md 8.5).
type Firewall struct{ closed map[string]bool }

// ParseFirewall reads {"disabled_endpoints":{"paths":["/files/browse"]}}. A path may stand
// with or without the name of the process, /master/state or /state: both are closed under
// both their names.
func ParseFirewall(text []byte, process string) (*Firewall, error) {
	const op = "read firewall rules"
	var file struct {
		Disabled struct {
			Paths []string `json:"paths"`
		} `json:"disabled_endpoints"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, fault.New(op, fault.Malformed, "", err)
	}
	f := &Firewall{closed: map[string]bool{}}
	for _, path := range file.Disabled.Paths {
		if !strings.HasPrefix(path, "/") {
			return nil, fault.New(op, fault.Invalid, "disabled_endpoints.paths", errors.New(path+" does not begin with /"))
		}
		path = strings.TrimPrefix(path, "/"+process+"/")
		f.closed["/"+strings.Trim(path, "/")] = true
	}
	return f, nil
}

// Wrap answers 403 on what is closed; a nil Firewall closes nothing. It looks at the path
// as libprocess.Delegate leaves it, without the name of the process. The old name of an
// endpoint, with .json behind it, is closed with the endpoint.
func (f *Firewall) Wrap(h http.Handler) http.Handler {
	if f == nil || len(f.closed) == 0 {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if path := "/" + strings.Trim(r.URL.Path, "/"); f.closed[path] || f.closed[strings.TrimSuffix(path, ".json")] {
			Text(w, r, http.StatusForbidden, "Endpoint '"+path+"' is disabled")
			return
		}
		h.ServeHTTP(w, r)
	})
}
