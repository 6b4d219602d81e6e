package web

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Verbosity is how much is logged beyond what the flags say, for a time. Mesos counts
// levels from 0, the normal one; every level above it logs all that this program can log.
type Verbosity struct {
	least *slog.LevelVar // of the logger; nil: it cannot be changed, only remembered
	log   *slog.Logger

	mu     sync.Mutex // guards the fields below
	level  uint32
	normal slog.Level // of least at level 0
	timer  *time.Timer
}

// NewVerbosity makes the level of a logger, whose lower bound is least; nil: it is told as it
// was set and changes nothing.
func NewVerbosity(least *slog.LevelVar, log *slog.Logger) *Verbosity {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Verbosity{least: least, log: log}
}

// Level is the present one; 0 is the normal one.
func (v *Verbosity) Level() uint32 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.level
}

// Set changes the level for a time; then it is 0 again. A later call counts instead of
// an earlier one, its time too.
func (v *Verbosity) Set(level uint32, d time.Duration) {
	defer v.log.Info("logging level set", "level", level, "for", d)
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

func (v *Verbosity) change(level uint32) {
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

// Toggle is /logging/toggle: it tells the level, or sets it for a time (mesos-master.md
// 5.4). The answer is text; on a success that sets there is none.
func (v *Verbosity) Toggle(q url.Values) (status int, answer string) {
	level, duration := q.Get("level"), q.Get("duration")
	switch {
	case !q.Has("level") && !q.Has("duration"):
		return http.StatusOK, strconv.FormatUint(uint64(v.Level()), 10) + "\n"
	case !q.Has("duration"):
		return http.StatusBadRequest, "Expecting 'duration=value' in query.\n"
	case !q.Has("level"):
		return http.StatusBadRequest, "Expecting 'level=value' in query.\n"
	}
	n, err := strconv.ParseInt(level, 10, 32)
	if err != nil {
		return http.StatusBadRequest, "Failed to convert '" + level + "' to number.\n"
	}
	if n < 0 {
		return http.StatusBadRequest, fmt.Sprintf("Invalid level '%d'.\n", n)
	}
	d, err := ParseDuration(duration)
	if err != nil {
		return http.StatusBadRequest, err.Error() + ".\n"
	}
	v.Set(uint32(n), d)
	return http.StatusOK, ""
}

// durationUnits are those of Mesos' notation.
var durationUnits = map[string]time.Duration{
	"ns": time.Nanosecond, "us": time.Microsecond, "ms": time.Millisecond, "secs": time.Second,
	"mins": time.Minute, "hrs": time.Hour, "days": 24 * time.Hour, "weeks": 7 * 24 * time.Hour,
}

// ParseDuration reads a time in Mesos' notation, "5secs" or "1.5mins". Errors are sentences
// for the one who gave it.
func ParseDuration(s string) (time.Duration, error) {
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
