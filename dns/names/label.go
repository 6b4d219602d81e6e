package names

import (
	"crypto/sha1" //nolint:gosec // the predecessor's name hash, not a secret
	"strings"
)

// Labels turns free text into DNS labels by one of two rules (mesos-dns.md section 3).
type Labels struct {
	RFC952 bool // 24 characters and no leading digits; else RFC 1123 with 63
}

// Label maps letters to lower case, keeps digits, makes '-' of '.', '_' and '-', drops the
// rest, and cuts at the limit. Dashes that the cut left at the end give their places to
// what follows. The result may be empty.
func (l Labels) Label(text string) string {
	limit, leading := 63, "-"
	if l.RFC952 {
		limit, leading = 24, "-0123456789"
	}
	s := strings.TrimLeft(strings.Map(labelRune, text), leading)
	if len(s) <= limit {
		return strings.TrimRight(s, "-")
	}
	head := strings.TrimRight(s[:limit], "-")
	tail := strings.TrimLeft(s[limit:], "-")
	return head + tail[:min(limit-len(head), len(tail))]
}

// Domain makes a label of each dot-separated part and drops empty ones (framework names).
func (l Labels) Domain(text string) string {
	var parts []string
	for _, p := range strings.Split(text, ".") {
		if p = l.Label(p); p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, ".")
}

func labelRune(r rune) rune {
	switch {
	case r >= 'A' && r <= 'Z':
		return r + 'a' - 'A'
	case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-':
		return r
	case r == '.', r == '_':
		return '-'
	}
	return -1
}

// zbase32 is the alphabet of human-oriented base 32.
const zbase32 = "ybndrfg8ejkmcpqxot1uwisza345h769"

// hash gives the first five z-base-32 characters of the SHA-1 of a task id.
func hash(id TaskID) string {
	sum := sha1.Sum([]byte(id)) //nolint:gosec // see import
	bits := uint32(sum[0])<<24 | uint32(sum[1])<<16 | uint32(sum[2])<<8 | uint32(sum[3])
	var out [5]byte
	for i := range out {
		out[i] = zbase32[bits>>27]
		bits <<= 5
	}
	return string(out[:])
}

// agentTail gives what follows the last dash of an agent id, in lower case.
func agentTail(id AgentID) string {
	return strings.ToLower(string(id[strings.LastIndexByte(string(id), '-')+1:]))
}

// validName says whether a lower-case name with a trailing dot can be a DNS name that
// needs no escapes: labels of 1 to 63 octets, 255 in all.
func validName(name string) bool {
	if len(name) > 254 || !strings.HasSuffix(name, ".") { // 255 with the root's length octet
		return false
	}
	start := 0 // of the present label
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case c == '.':
			if i == start || i-start > 63 {
				return false
			}
			start = i + 1
		case c <= ' ', c > '~', c == '\\', c == '"', c == '(', c == ')', c == ';', c == '@', c == '$', c == '\'':
			return false
		}
	}
	return true
}
