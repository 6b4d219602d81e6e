package operators

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/stoa-project/stoa/internal/web"
	"github.com/stoa-project/stoa/internal/wire"
)

// AnswerJSON answers 200 with JSON as all JSON endpoints of the master do: compressed when
// the client takes it so, as a script when the query names a jsonp callback.
func AnswerJSON(w http.ResponseWriter, r *http.Request, body []byte) { writeJSON(w, r, body) }

// writeJSON answers 200 with JSON, or with a script when the query names a jsonp
// callback (mesos-master.md 5.4).
func writeJSON(w http.ResponseWriter, r *http.Request, body []byte) {
	if cb := r.URL.Query().Get("jsonp"); cb != "" {
		if !callback(cb) {
			text(w, http.StatusBadRequest, badCallback)
			return
		}
		write(w, r, "text/javascript", []byte(cb+"("+string(body)+")"))
		return
	}
	write(w, r, wire.MediaJSON, body)
}

const badCallback = "The jsonp callback must be a name of letters, digits, '_', '$' and '.', at most 128 long"

func callback(name string) bool {
	return len(name) <= 128 && !strings.ContainsFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '$' || r == '.')
	})
}

// write answers 200 with exactly this media type and a Content-Length. It is for short
// answers; deliver is for long ones.
func write(w http.ResponseWriter, r *http.Request, media string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", media)
	if len(body) >= web.GzipFrom && web.WantsGzip(r) {
		var pack deflater
		if small, err := pack.page(append([]byte(nil), gzipHead...), body); err == nil {
			var sum gzipSum
			sum.add(body)
			body = append(small, sum.tail()...)
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
