package main

import (
	"fmt"
	"strconv"
	"strings"
)

// byteSize is a number of bytes in Mesos' notation: "10MB", "4096B", "1.5GB"; units are
// powers of 1024 (mesos-agent.md 0.3).
type byteSize uint64

var byteUnits = []struct {
	name string
	unit uint64
}{{"TB", 1 << 40}, {"GB", 1 << 30}, {"MB", 1 << 20}, {"KB", 1 << 10}, {"B", 1}}

// UnmarshalText reads the notation; the error says what is allowed.
func (b *byteSize) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	for _, u := range byteUnits {
		digits, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
		if err != nil || !(n >= 0) || n*float64(u.unit) >= 1<<63 {
			break
		}
		*b = byteSize(n * float64(u.unit))
		return nil
	}
	return fmt.Errorf("%q is no number of bytes: write a number and one of B, KB, MB, GB, TB", s)
}

// String prints the largest unit that gives a whole number.
func (b byteSize) String() string {
	for _, u := range byteUnits {
		if uint64(b)%u.unit == 0 && (b != 0 || u.unit == 1) {
			return strconv.FormatUint(uint64(b)/u.unit, 10) + u.name
		}
	}
	return ""
}
