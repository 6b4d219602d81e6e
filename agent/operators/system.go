package operators

import (
	"os"
	"strconv"
	"strings"
)

// SystemMemory gives the host's memory in bytes; zeros where unknown.
func SystemMemory() (total, free float64) {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, 0
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		name, rest, _ := strings.Cut(line, ":")
		to := &total
		switch name {
		case "MemTotal":
		case "MemFree":
			to = &free
		default:
			continue
		}
		scan(rest, to)
		*to *= 1024
	}
	return total, free
}

// scan reads leading numbers of a text.
func scan(text string, to ...*float64) {
	for i, f := range strings.Fields(text) {
		if i == len(to) {
			return
		}
		if v, err := strconv.ParseFloat(f, 64); err == nil {
			*to[i] = v
		}
	}
}

// float prints as Mesos prints doubles: whole numbers keep a ".0".
type float float64

// MarshalJSON gives the number.
func (f float) MarshalJSON() ([]byte, error) {
	s := strconv.FormatFloat(float64(f), 'f', -1, 64)
	switch {
	case f != f, f > 1e300, f < -1e300:
		return []byte("0.0"), nil
	case !strings.Contains(s, "."):
		s += ".0"
	}
	return []byte(s), nil
}
