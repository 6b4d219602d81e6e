package app

import (
	"fmt"
	"time"
)

// Timestamp is an instant in milliseconds since 1970-01-01 UTC; 0 means unset. It is
// comparable and ordered, and its text form, always UTC with three fraction digits,
// sorts the same way and serves as a version name in URLs (marathon.md 1.3).
type Timestamp int64

const timestampLayout = "2006-01-02T15:04:05.000Z"

// At gives the Timestamp of t, cut to milliseconds.
func At(t time.Time) Timestamp { return Timestamp(t.UnixMilli()) }

// Time gives the instant in UTC.
func (t Timestamp) Time() time.Time { return time.UnixMilli(int64(t)).UTC() }

// IsZero tells whether the timestamp is unset.
func (t Timestamp) IsZero() bool { return t == 0 }

// String prints like 2019-08-18T21:11:33.328Z.
func (t Timestamp) String() string { return string(t.AppendTo(nil)) }

// AppendTo appends what String prints.
func (t Timestamp) AppendTo(b []byte) []byte {
	at := t.Time()
	year, month, day := at.Date()
	if year < 0 || year > 9999 {
		return at.AppendFormat(b, timestampLayout)
	}
	hour, minute, second := at.Clock()
	two := func(n int) { b = append(b, byte('0'+n/10), byte('0'+n%10)) }
	two(year / 100)
	two(year % 100)
	b = append(b, '-')
	two(int(month))
	b = append(b, '-')
	two(day)
	b = append(b, 'T')
	two(hour)
	b = append(b, ':')
	two(minute)
	b = append(b, ':')
	two(second)
	ms := at.Nanosecond() / int(time.Millisecond)
	b = append(b, '.', byte('0'+ms/100))
	two(ms % 100)
	return append(b, 'Z')
}

// ParseTimestamp reads any ISO-8601 instant with an offset. The error names the text.
func ParseTimestamp(s string) (Timestamp, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999Z0700", "2006-01-02T15:04Z07:00"} {
		if t, err := time.Parse(layout, s); err == nil {
			return At(t), nil
		}
	}
	return 0, fmt.Errorf("invalid timestamp %q: write it like %s", s, "2019-08-18T21:11:33.328Z")
}

// MarshalText writes the text form.
func (t Timestamp) MarshalText() ([]byte, error) { return t.AppendTo(nil), nil }

// UnmarshalText reads what MarshalText writes and what ParseTimestamp accepts.
func (t *Timestamp) UnmarshalText(b []byte) error {
	if v, ok := parseCanonical(b); ok {
		*t = v
		return nil
	}
	v, err := ParseTimestamp(string(b))
	if err == nil {
		*t = v
	}
	return err
}

// parseCanonical reads the form that MarshalText writes: records have millions of them.
func parseCanonical(b []byte) (Timestamp, bool) {
	if len(b) != len(timestampLayout) || b[4] != '-' || b[7] != '-' || b[10] != 'T' || b[13] != ':' || b[16] != ':' || b[19] != '.' || b[23] != 'Z' {
		return 0, false
	}
	valid := true
	number := func(from, to int) int {
		n := 0
		for _, c := range b[from:to] {
			valid = valid && c >= '0' && c <= '9'
			n = n*10 + int(c-'0')
		}
		return n
	}
	year, month, day := number(0, 4), number(5, 7), number(8, 10)
	hour, minute, second, ms := number(11, 13), number(14, 16), number(17, 19), number(20, 23)
	if !valid || month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 59 {
		return 0, false
	}
	at := time.Date(year, time.Month(month), day, hour, minute, second, ms*int(time.Millisecond), time.UTC)
	return Timestamp(at.UnixMilli()), at.Day() == day
}
