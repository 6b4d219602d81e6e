package rest

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/stoa-project/stoa/internal/web"
)

const (
	maxWatchers = 1000
	watchBeat   = 15 * time.Second // between comments on a stream without news
	watchWrite  = 10 * time.Second // for a client to take what is written
	// watchRest is kept after each look, so that a busy cluster costs no more.
	watchRest = 5 * time.Millisecond
)

// watch streams what a name has, now and after each change, as server-sent events. Names
// of services (their first label begins with "_") have the JSON of /v1/services, others
// that of /v1/hosts; nothing found is an empty list.
func (a *api) watch(c echo.Context) error {
	asked := c.QueryParam("name")
	if asked == "" {
		return echo.NewHTTPError(http.StatusBadRequest, "name is missing: /v1/watch?name=_web._tcp.marathon.mesos")
	}
	select {
	case a.watchers <- struct{}{}:
		defer func() { <-a.watchers }()
	default:
		return echo.NewHTTPError(http.StatusServiceUnavailable, "there are too many watchers")
	}
	ctx, w := c.Request().Context(), c.Response()
	out := http.NewResponseController(w)
	send := func(b []byte) error {
		if err := out.SetWriteDeadline(time.Now().Add(watchWrite)); err != nil {
			return err
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
		return out.Flush()
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	w.WriteHeader(http.StatusOK)
	if err := send([]byte(":\n\n")); err != nil {
		return nil //nolint:nilerr // the client has gone
	}
	beat := time.NewTicker(watchBeat)
	defer beat.Stop()
	var last []byte
	for {
		changed := a.src.Changed()
		kind, now, err := a.look(asked)
		if err != nil {
			return err
		}
		if now != nil && !bytes.Equal(now, last) {
			last = now
			if send(web.SSE(kind, now)) != nil {
				return nil
			}
		}
		select {
		case <-changed:
		case <-beat.C:
			if send([]byte(":\n\n")) != nil {
				return nil
			}
		case <-ctx.Done():
			return nil
		}
		select {
		case <-time.After(watchRest):
		case <-ctx.Done():
			return nil
		}
	}
}

// look gives what a name has as one line of JSON; nil before the first zone.
func (a *api) look(asked string) (kind string, line []byte, err error) {
	zone, _ := a.src.Zone()
	if zone == nil {
		return "", nil, nil
	}
	if strings.HasPrefix(asked, "_") {
		line, err = json.Marshal(serviceRecords(zone, asked))
		return "services", line, err
	}
	name := fqdn(asked)
	line, err = json.Marshal(hostRecords(name, zone.Lookup(name)))
	return "hosts", line, err
}
