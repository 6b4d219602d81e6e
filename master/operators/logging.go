package operators

import (
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/stoa-project/stoa/internal/wire/masterapi"
)

// verbosity is how much is logged beyond what the flags say, for a time. Mesos counts
// levels from 0, the normal one; every level above it logs all that this program can log.
type verbosity struct {
	least *slog.LevelVar // of the logger; nil: it cannot be changed, only remembered

	mu     sync.Mutex // guards the fields below
	level  uint32
	normal slog.Level // of least at level 0
	timer  *time.Timer
}

func (v *verbosity) get() uint32 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.level
}

// set changes the level for a time; then it is 0 again. A later call counts instead of
// an earlier one, its time too.
func (v *verbosity) set(level uint32, d time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.change(level)
	if v.timer != nil {
		v.timer.Stop()
		v.timer = nil
	}
	if level == 0 {
		return
	}
	var mine *time.Timer
	mine = time.AfterFunc(d, func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.timer == mine {
			v.change(0)
			v.timer = nil
		}
	})
	v.timer = mine
}

func (v *verbosity) change(level uint32) {
	if v.least != nil {
		switch {
		case v.level == 0 && level > 0:
			v.normal = v.least.Level()
			v.least.Set(slog.LevelDebug)
		case v.level > 0 && level == 0:
			v.least.Set(v.normal)
		}
	}
	v.level = level
}

// setLoggingLevel is SET_LOGGING_LEVEL: 200 without body.
func (s *Shell) setLoggingLevel(w http.ResponseWriter, c *masterapi.Call_SetLoggingLevel) {
	d := time.Duration(c.GetDuration().GetNanoseconds())
	s.verbosity.set(c.GetLevel(), d)
	s.log.Info("logging level set", "level", c.GetLevel(), "for", d)
	empty(w, http.StatusOK)
}

// loggingToggle tells the level, or sets it for a time (mesos-master.md 5.4).
func (s *Shell) loggingToggle(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	level, duration := q.Get("level"), q.Get("duration")
	switch {
	case !q.Has("level") && !q.Has("duration"):
		text(w, http.StatusOK, strconv.FormatUint(uint64(s.verbosity.get()), 10)+"\n")
		return
	case !q.Has("duration"):
		text(w, http.StatusBadRequest, "Expecting 'duration=value' in query.\n")
		return
	case !q.Has("level"):
		text(w, http.StatusBadRequest, "Expecting 'level=value' in query.\n")
		return
	}
	n, err := strconv.ParseInt(level, 10, 32)
	if err != nil {
		text(w, http.StatusBadRequest, "Failed to convert '"+level+"' to number.\n")
		return
	}
	if n < 0 {
		text(w, http.StatusBadRequest, fmt.Sprintf("Invalid level '%d'.\n", n))
		return
	}
	d, err := parseDuration(duration)
	if err != nil {
		text(w, http.StatusBadRequest, err.Error()+".\n")
		return
	}
	s.verbosity.set(uint32(n), d)
	s.log.Info("logging level set", "level", n, "for", d)
	empty(w, http.StatusOK)
}

// durationUnits are those of Mesos' notation.
var durationUnits = map[string]time.Duration{
	"ns": time.Nanosecond, "us": time.Microsecond, "ms": time.Millisecond, "secs": time.Second,
	"mins": time.Minute, "hrs": time.Hour, "days": 24 * time.Hour, "weeks": 7 * 24 * time.Hour,
}

// parseDuration reads "5secs" or "1.5mins".
func parseDuration(s string) (time.Duration, error) {
	digits := strings.TrimRight(s, "abcdefghijklmnopqrstuvwxyz")
	unit, known := durationUnits[s[len(digits):]]
	if !known {
		return 0, fmt.Errorf("Unknown duration unit '%s'", s[len(digits):])
	}
	n, err := strconv.ParseFloat(digits, 64)
	if err != nil || n != n || n < 0 || n*float64(unit) >= 1<<63 {
		return 0, fmt.Errorf("Failed to convert '%s' to number", digits)
	}
	return time.Duration(n * float64(unit)), nil
}
