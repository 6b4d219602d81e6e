package schedulers

import (
	"context"
	"net/http"

	"github.com/stoa-project/stoa/internal/libprocess"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
	"github.com/stoa-project/stoa/master/ledger"
)

// callsPath is where calls go, without the name of the process.
const callsPath = "/api/v1/scheduler"

// lane takes the calls of one connection straight to the ledger, all that came together
// at once. Whatever is not plainly a good call it leaves to ServeHTTP, which finds the
// right answer: SUBSCRIBE, UPDATE_FRAMEWORK (its answer has a media type), all errors of
// form.
type lane struct {
	shell *Shell
	calls []ledger.Call
}

// NewLane makes the quick way for the calls of one connection. It knows neither
// authentication nor rate limits: with these it must not be used.
func (s *Shell) NewLane() libprocess.Lane { return &lane{shell: s} }

// Add implements libprocess.Lane.
func (l *lane) Add(r libprocess.LaneRequest, body []byte) bool {
	if r.Path != callsPath || l.shell.ended.Load() || int64(len(body)) > l.shell.cfg.BodyLimit {
		return false
	}
	codec, ok := wire.CodecFor(r.ContentType)
	if !ok {
		return false
	}
	c := &scheduler.Call{}
	if codec.Unmarshal(body, c) != nil || validate(c) != "" {
		return false
	}
	switch c.GetType() {
	case scheduler.Call_SUBSCRIBE, scheduler.Call_UPDATE_FRAMEWORK, scheduler.Call_RECONCILE_OPERATIONS, scheduler.Call_UNKNOWN:
		return false
	}
	l.calls = append(l.calls, ledger.Call{From: ledger.Conn{Stream: r.StreamID}, Call: c})
	return true
}

// Settle implements libprocess.Lane.
func (l *lane) Settle() []libprocess.LaneAnswer {
	calls := l.calls
	l.calls = nil
	l.shell.together.Add(uint64(len(calls)))
	for at := 0; at < len(calls); { // those of one stream are counted together
		stream := calls[at].From.Stream
		n := 1
		for at+n < len(calls) && calls[at+n].From.Stream == stream {
			n++
		}
		l.shell.callers.count(l.shell.principal(stream), uint64(n), uint64(n))
		at += n
	}
	out := make([]libprocess.LaneAnswer, len(calls))
	got, err := l.shell.cfg.Book.AskAll(context.Background(), calls)
	for i := range out {
		switch {
		case err != nil:
			out[i] = libprocess.LaneAnswer{Status: http.StatusServiceUnavailable, Text: err.Error()}
		default:
			out[i] = libprocess.LaneAnswer{Status: got[i].Code, Text: got[i].Body}
		}
	}
	return out
}
