package agent

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/stoa-project/stoa/internal/wire"
)

// handler lets the address be bound before what answers on it exists.
type handler struct{ h atomic.Pointer[http.Handler] }

func (h *handler) set(next http.Handler) { h.h.Store(&next) }

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	next := h.h.Load()
	if next == nil {
		http.Error(w, "Agent has not finished recovery", http.StatusServiceUnavailable)
		return
	}
	(*next).ServeHTTP(w, r)
}

// lingerTime is how long a client may go on sending after the answer to its stream.
const lingerTime = 2 * time.Second

// answered has clients that send a stream without end hear their answer at once. The
// server would read such a stream to its end before it answers.
func answered(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Content-Type") != wire.MediaRecordIO {
			h.ServeHTTP(w, r)
			return
		}
		control := http.NewResponseController(w)
		_ = control.EnableFullDuplex() // fails for HTTP/2 only, which has no need of it
		h.ServeHTTP(w, r)
		_ = control.Flush()
		_ = control.SetReadDeadline(time.Now().Add(lingerTime))
	})
}
