package schedulers

import (
	"context"
	"errors"
	"net/http"

	"github.com/google/uuid"

	"github.com/stoa-project/stoa/internal/auth"
	"github.com/stoa-project/stoa/internal/web"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
	"github.com/stoa-project/stoa/master/ledger"
)

// ServeHTTP is POST /api/v1/scheduler on a leading, recovered master: rows 6 to 18 of
// the table in mesos-master.md 1.2, in its order. The door sees to rows 1 to 5.
func (s *Shell) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	call := &scheduler.Call{}
	if !web.ReadCall(w, r, s.cfg.BodyLimit, call) {
		return
	}
	if why := validate(call); why != "" {
		web.Text(w, r, http.StatusBadRequest, "Failed to validate scheduler::Call: "+why)
		return
	}
	answer, acceptable := wire.Negotiate(r.Header.Values("Accept"))
	if !acceptable && (call.GetType() == scheduler.Call_SUBSCRIBE || call.GetType() == scheduler.Call_RECONCILE_OPERATIONS) {
		web.Text(w, r, http.StatusNotAcceptable, "Expecting 'Accept' to allow 'application/x-protobuf' or 'application/json'")
		return
	}
	stream := r.Header.Get("Mesos-Stream-Id")
	who := auth.Name(r.Context())
	if call.GetType() == scheduler.Call_SUBSCRIBE {
		if stream != "" {
			web.Text(w, r, http.StatusBadRequest, "Subscribe calls should not include the 'Mesos-Stream-Id' header")
			return
		}
		if info := call.GetSubscribe().GetFrameworkInfo(); who != "" && info.Principal != nil && info.GetPrincipal() != who {
			web.Text(w, r, http.StatusBadRequest, "Failed to validate scheduler::Call: "+ledger.ForeignPrincipal(who, info.GetPrincipal()))
			return
		}
		s.subscribe(w, r, call, answer)
		return
	}
	if !s.pace(w, r, s.principal(stream)) {
		return
	}
	got, err := s.cfg.Book.Ask(r.Context(), ledger.Call{From: ledger.Conn{Stream: stream}, Call: call, Principal: who})
	if err != nil {
		unavailable(w, r, err)
		return
	}
	switch {
	case got.Code == http.StatusAccepted, got.Code == http.StatusOK:
		if got.Code == http.StatusOK && acceptable {
			// mesos-go takes an answer without it for a failure (mesos-master.md 1.2).
			w.Header().Set("Content-Type", answer.MediaType)
		}
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(got.Code)
	default:
		web.Text(w, r, got.Code, got.Body)
	}
}

// subscribe opens a stream and writes its events until it ends.
func (s *Shell) subscribe(w http.ResponseWriter, r *http.Request, call *scheduler.Call, codec wire.Codec) {
	st := newStream(uuid.NewString(), codec, s.cfg.QueueBytes)
	if st.principal = auth.Name(r.Context()); st.principal == "" {
		st.principal = call.GetSubscribe().GetFrameworkInfo().GetPrincipal()
	}
	s.callers.count(st.principal, 1, 1)
	if !s.add(st) {
		unavailable(w, r, errors.New("this master does not lead"))
		return
	}
	defer s.remove(st)
	h := w.Header()
	h.Set("Content-Type", codec.MediaType)
	h.Set("Mesos-Stream-Id", st.id)
	w.WriteHeader(http.StatusOK)
	if err := http.NewResponseController(w).Flush(); err != nil {
		return
	}
	conn := ledger.Conn{Stream: st.id}
	if err := s.cfg.Book.Submit(r.Context(), ledger.Call{From: conn, Call: call, Principal: auth.Name(r.Context())}); err != nil {
		return
	}
	why := st.serve(w, r.Context().Done(), s.cfg.Heartbeat)
	// The request's context may be over already; the ledger must hear of it nevertheless,
	// or of the end of its term.
	_ = s.cfg.Book.Submit(context.WithoutCancel(r.Context()), ledger.ConnectionLost{Conn: conn, Reason: why})
}

func unavailable(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, context.Canceled) {
		return // the client is gone
	}
	web.Text(w, r, http.StatusServiceUnavailable, err.Error())
}
