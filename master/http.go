package master

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/stoa-project/stoa/internal/election"
)

// plainError is Mesos' form of errors: a sentence; where the status says it all,
// "404 Not Found." (mesos-master.md 1.2).
func plainError(status int, err error) (string, []byte) {
	text := err.Error()
	if text == http.StatusText(status) {
		text = fmt.Sprintf("%d %s.", status, text)
	}
	return "text/plain; charset=utf-8", []byte(text)
}

func ok(c echo.Context) error {
	c.Response().Header().Set("Content-Length", "0")
	c.Response().WriteHeader(http.StatusOK)
	return nil
}

// present is who leads now: this process from its election on, else what the detector
// says; nil when nobody does.
func (d *Door) present() (leader *election.Master, self bool) {
	if info := d.leads.Load(); info != nil {
		return &election.Master{Hostname: info.GetHostname(), Port: int(info.GetPort())}, true
	}
	m := d.known.Load()
	return m, false
}

func location(m *election.Master) string {
	host := m.Hostname
	if host == "" {
		host = m.IP
	}
	return "//" + net.JoinHostPort(host, strconv.Itoa(m.Port))
}

// leader serves h when this process leads; else it redirects, always to the path below
// /master, or says that nobody leads (mesos-master.md 1.2 rows 3 and 4).
func (d *Door) leader(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m, self := d.present()
		switch {
		case self:
			h.ServeHTTP(w, r)
		case m == nil:
			sentence(w, http.StatusServiceUnavailable, "No leader elected")
		default:
			to := location(m) + "/master" + r.URL.EscapedPath()
			if r.URL.RawQuery != "" {
				to += "?" + r.URL.RawQuery
			}
			w.Header().Set("Location", to)
			w.Header().Set("Content-Length", "0")
			w.WriteHeader(http.StatusTemporaryRedirect)
		}
	})
}

// recovered serves h when the term has begun (row 5).
func (d *Door) recovered(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if d.term.Load() == nil {
			sentence(w, http.StatusServiceUnavailable, "Master has not finished recovery")
			return
		}
		h.ServeHTTP(w, r)
	})
}

// redirect sends the client to the leader's address, on the leader too.
func (d *Door) redirect(c echo.Context) error {
	if path, _, _ := strings.Cut(c.Request().RequestURI, "?"); strings.HasSuffix(path, "/") {
		return echo.ErrNotFound // as for all paths below: a client that follows itself must not go on for ever
	}
	m, _ := d.present()
	if m == nil {
		sentence(c.Response(), http.StatusServiceUnavailable, "No leader elected")
		return nil
	}
	c.Response().Header().Set("Location", location(m))
	c.Response().Header().Set("Content-Length", "0")
	c.Response().WriteHeader(http.StatusTemporaryRedirect)
	return nil
}

func sentence(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Content-Length", fmt.Sprint(len(text)))
	w.WriteHeader(code)
	_, _ = io.Copy(w, strings.NewReader(text))
}
