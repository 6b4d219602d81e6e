package ratelimit

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestTurns(t *testing.T) {
	limits, err := Parse([]byte(`{"limits":[{"principal":"a","qps":10.0,"capacity":3},{"principal":"free"}],"aggregate_default_qps":2}`))
	if err != nil {
		t.Fatal(err)
	}
	l := New(limits)
	now := time.Unix(1000, 0)
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	for i, c := range []struct {
		after     time.Duration
		principal string
		wait      time.Duration
		full      bool
	}{
		{0, "a", 0, false}, {0, "a", ms(100), false}, {0, "a", ms(200), false}, {0, "a", 0, true},
		{0, "free", 0, false}, {0, "free", 0, false},
		{0, "x", 0, false}, {0, "y", ms(500), false}, {0, "", ms(1000), false}, // the others share one rate
		{ms(100), "a", ms(200), false}, {0, "a", 0, true},
		{ms(5000), "a", 0, false}, {0, "x", 0, false},
	} {
		now = now.Add(c.after)
		wait, err := l.Reserve(now, c.principal)
		var full *FullError
		if wait != c.wait || errors.As(err, &full) != c.full {
			t.Errorf("%d: %q waits %v, %v; want %v, full %v", i, c.principal, wait, err, c.wait, c.full)
		}
	}
	if len(l.lines) != 2 {
		t.Errorf("%d lines: strangers' names must not be kept", len(l.lines))
	}
	if wait, err := (*Limiter)(nil).Reserve(now, "a"); wait != 0 || err != nil {
		t.Error("no limiter must not limit")
	}
}

func TestRefusedLimits(t *testing.T) {
	for text, want := range map[string]string{
		`{`:                                      "malformed",
		`{} x`:                                   "follows",
		`{"limits":[{"qps":1}]}`:                 "limits[0].principal: it is missing",
		`{"limits":[{"principal":"a","qps":0}]}`: "limits[0].qps: it must be above 0",
		`{"limits":[{"principal":"a"},{"principal":"a"}]}`: `limits[1].principal: "a" has a limit already`,
		`{"aggregate_default_qps":-1}`:                     "aggregate_default_qps: it must be above 0",
		`{"limits":[{"principal":"a","capacity":-1}]}`:     "capacity",
	} {
		if _, err := Parse([]byte(text)); err == nil || (want != "malformed" && !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
