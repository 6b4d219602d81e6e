package main

import (
	"testing"
	"time"
)

func TestDuration(t *testing.T) {
	for _, c := range []struct {
		text  string
		want  time.Duration
		print string
	}{
		{"15secs", 15 * time.Second, "15secs"},
		{"10mins", 10 * time.Minute, "10mins"},
		{"1.5hrs", 90 * time.Minute, "90mins"},
		{"2weeks", 14 * 24 * time.Hour, "2weeks"},
		{"500ms", 500 * time.Millisecond, "500ms"},
		{"15s", 15 * time.Second, "15secs"},
	} {
		var d duration
		if err := d.UnmarshalText([]byte(c.text)); err != nil || time.Duration(d) != c.want || d.String() != c.print {
			t.Errorf("%s: got %v printed %s, error %v", c.text, time.Duration(d), d, err)
		}
	}
	for _, bad := range []string{"", "secs", "15", "15parsecs", "1e400secs", "nansecs"} {
		var d duration
		if err := d.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q was taken as %v", bad, time.Duration(d))
		}
	}
}
