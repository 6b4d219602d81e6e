// Package rest answers the admin paths that HAProxy's stats listener hands on: those of
// Marathon-LB, and what Stoa tells about itself.
package rest

import (
	"encoding/json"
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
	LastChange   string    `json:"lastChange"`  // runtime, reload or start
	LastChangeAt time.Time `json:"lastChangeAt"`
	Reloads      int       `json:"reloads"`
	LastError    string    `json:"lastError,omitempty"`
	Problems     []string  `json:"problems"` // ports left out, and why
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

// Handler gives the routes. configPath is the live configuration file.
func Handler(b Balancer, configPath string, metrics http.Handler) http.Handler {
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
	text("GET /_haproxy_getconfig", func() (string, error) {
		c, err := os.ReadFile(configPath)
		return string(c), err
	})
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
