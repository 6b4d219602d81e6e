package operators

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/stoa-project/stoa/internal/web"
	"github.com/stoa-project/stoa/internal/wire"
)

// pack compresses once for all who want it so.
func (c *content) pack() []byte {
	c.once.Do(func() {
		var out bytes.Buffer
		z, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
		if err != nil {
			return // the level is a constant that exists
		}
		if _, err := z.Write(c.plain); err != nil {
			return
		}
		if z.Close() == nil {
			c.small = out.Bytes()
		}
	})
	return c.small
}

// writeJSON answers 200 with JSON, or with a script when the query names a jsonp
// callback (mesos-master.md 5.4).
func writeJSON(w http.ResponseWriter, r *http.Request, c *content) {
	if cb := r.URL.Query().Get("jsonp"); cb != "" {
		if !callback(cb) {
			text(w, http.StatusBadRequest, "The jsonp callback must be a name of letters, digits, '_', '$' and '.', at most 128 long")
			return
		}
		script := make([]byte, 0, len(c.plain)+len(cb)+2)
		script = append(append(append(append(script, cb...), '('), c.plain...), ')')
		write(w, r, "text/javascript", &content{plain: script})
		return
	}
	write(w, r, wire.MediaJSON, c)
}

func callback(name string) bool {
	return len(name) <= 128 && !strings.ContainsFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '$' || r == '.')
	})
}

// write answers 200 with exactly this media type and a Content-Length.
func write(w http.ResponseWriter, r *http.Request, media string, c *content) {
	h := w.Header()
	h.Set("Content-Type", media)
	body := c.plain
	if len(body) >= web.GzipFrom && web.WantsGzip(r) {
		if small := c.pack(); small != nil {
			body = small
			h.Set("Content-Encoding", "gzip")
		}
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the client is gone
	}
}

// text answers an error as Mesos does: a sentence, its media type with charset.
func text(w http.ResponseWriter, code int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(code)
	_, _ = io.WriteString(w, body)
}

// empty answers without body and, on success, without Content-Type: clients take one for
// a protocol error (mesos-master.md T3).
func empty(w http.ResponseWriter, code int) {
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(code)
}

// unavailable answers that this master stopped leading meanwhile, or failed to encode.
func (s *Shell) unavailable(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, context.Canceled) {
		return // the client is gone
	}
	s.log.Warn("operator request failed", "path", r.URL.Path, "error", err)
	text(w, http.StatusServiceUnavailable, err.Error())
}

// wrongMethod refuses a method: 405 with the list of those that the route takes.
func wrongMethod(w http.ResponseWriter, r *http.Request, allowed ...string) {
	web.WrongMethod(w, r, allowed...)
}
