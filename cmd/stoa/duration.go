package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// duration is a time in Mesos' notation, "15secs" or "1.5hrs" (mesos-master.md section
// 10), or Go's, "15s".
type duration time.Duration

var durationUnits = []struct {
	name string
	unit time.Duration
}{
	{"ns", time.Nanosecond}, {"us", time.Microsecond}, {"ms", time.Millisecond}, {"secs", time.Second},
	{"mins", time.Minute}, {"hrs", time.Hour}, {"days", 24 * time.Hour}, {"weeks", 7 * 24 * time.Hour},
}

// UnmarshalText reads the notation; the error says what is allowed.
func (d *duration) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	digits := strings.TrimRight(s, "abcdefghijklmnopqrstuvwxyz")
	for _, u := range durationUnits {
		if s[len(digits):] != u.name {
			continue
		}
		n, err := strconv.ParseFloat(digits, 64)
		if err != nil || n != n || n*float64(u.unit) >= 1<<63 || n*float64(u.unit) <= -(1<<63) {
			break
		}
		*d = duration(n * float64(u.unit))
		return nil
	}
	if v, err := time.ParseDuration(s); err == nil {
		*d = duration(v)
		return nil
	}
	return fmt.Errorf("%q is no duration: write a number and one of ns, us, ms, secs, mins, hrs, days, weeks", s)
}

// String prints the largest unit that gives a whole number, as Mesos' /flags does.
func (d duration) String() string {
	for i := len(durationUnits) - 1; i > 0; i-- {
		if u := durationUnits[i]; time.Duration(d)%u.unit == 0 && d != 0 {
			return strconv.FormatInt(int64(time.Duration(d)/u.unit), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(d), 10) + "ns"
}
