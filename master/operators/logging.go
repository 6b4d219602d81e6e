package operators

import (
	"net/http"
	"time"

	"github.com/stoa-project/stoa/internal/wire/masterapi"
)

// setLoggingLevel is SET_LOGGING_LEVEL: 200 without body.
func (s *Shell) setLoggingLevel(w http.ResponseWriter, c *masterapi.Call_SetLoggingLevel) {
	s.verbosity.Set(c.GetLevel(), time.Duration(c.GetDuration().GetNanoseconds()))
	empty(w, http.StatusOK)
}

// loggingToggle tells the level, or sets it for a time (mesos-master.md 5.4).
func (s *Shell) loggingToggle(w http.ResponseWriter, r *http.Request) {
	status, answer := s.verbosity.Toggle(r.URL.Query())
	if answer == "" {
		empty(w, status)
		return
	}
	text(w, status, answer)
}
