// Package rest answers the admin paths that HAProxy's stats listener hands on: those of
// Marathon-LB, and what Stoa tells about itself.
package rest

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// Status is the answer of GET /_stoa/status.
type Status struct {
	Services     int       `json:"services"`
	Servers      int       `json:"servers"`
	LastListing  time.Time `json:"lastListing"` // when Marathon last answered
	Connected    bool      `json:"connected"`   // to the event stream
	LastEvent    time.Time `json:"lastEvent"`   // when the stream last said anything
	LastChange   string    `json:"lastChange"`  // runtime, reload or start
	LastChangeAt time.Time `json:"lastChangeAt"`
	Reloads      int       `json:"reloads"`
	LastError    string    `json:"lastError,omitempty"`
	Problems     []string  `json:"problems"` // ports not as asked, and why
	Ports        []Port    `json:"ports"`    // the same, in parts
}

// Port is a service port that is not as its labels ask.
type Port struct {
	App    string `json:"app"`
	Index  int    `json:"index"`
	State  string `json:"state"` // "left out", or "kept" as it last was
	Label  string `json:"label,omitempty"`
	Reason string `json:"reason"`
}

// Balancer is what the door offers to these routes. All methods may be called from
// any goroutine.
type Balancer interface {
	Status() Status
	PIDs() []int
	// Resync lists the apps anew and applies the result.
	Resync()
	// Reload validates the live file and reloads it as it is.
	Reload()
}

// Files are what the paths of Marathon-LB show.
type Files struct{ Config, DomainMap, AppMap string }

// Handler gives the routes.
func Handler(b Balancer, files Files, metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	text := func(pattern string, f func() (string, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) {
			body, err := f()
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			_, _ = w.Write([]byte(body))
		})
	}
	for path, file := range map[string]string{"getconfig": files.Config, "getvhostmap": files.DomainMap, "getappmap": files.AppMap} {
		text("GET /_haproxy_"+path, func() (string, error) {
			c, err := os.ReadFile(file)
			if errors.Is(err, os.ErrNotExist) {
				err = nil // before the first configuration
			}
			return string(c), err
		})
	}
	text("GET /_haproxy_getpids", func() (string, error) {
		var out []string
		for _, p := range b.PIDs() {
			out = append(out, strconv.Itoa(p))
		}
		return strings.Join(out, " ") + "\n", nil
	})
	for _, method := range []string{"GET ", "POST "} {
		text(method+"/_mlb_signal/hup", func() (string, error) { b.Resync(); return "Sent SIGHUP signal to marathon-lb\n", nil })
		text(method+"/_mlb_signal/usr1", func() (string, error) { b.Reload(); return "Sent SIGUSR1 signal to marathon-lb\n", nil })
	}
	mux.HandleFunc("GET /_stoa/status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(b.Status())
	})
	mux.Handle("GET /_stoa/metrics", metrics)
	return mux
}
