package agent

import (
	"net/http"
	"sync/atomic"
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
