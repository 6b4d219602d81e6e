package libprocess

import (
	"bytes"
	"strconv"
	"strings"
)

// head is the first part of one request that is a message.
type head struct {
	message  bool   // false: ordinary HTTP, no other field is set
	bad      string // why the request cannot be read; the connection is then useless
	target   string // "/slave(1)/mesos.internal.PingSlaveMessage"
	from     string // the sender's text, unparsed
	length   int64  // of the body; 0 when chunked
	chunked  bool
	close    bool // Connection: close
	expect   bool // Expect: 100-continue
	encoding string
}

// headEnd gives the index behind the blank line that ends a head, looking from index
// from on (at most two bytes before what is new), or -1.
func headEnd(b []byte, from int) int {
	for i := from; ; {
		j := bytes.IndexByte(b[i:], '\n')
		if j < 0 {
			return -1
		}
		i += j + 1
		switch rest := b[i:]; {
		case len(rest) > 0 && rest[0] == '\n':
			return i + 1
		case len(rest) > 1 && rest[0] == '\r' && rest[1] == '\n':
			return i + 2
		}
	}
}

// parseHead reads a complete head, blank line included. Whether the request is a
// message: libprocess.md, 2.2. HTTP/1.0 heads may announce chunks (2.1).
func parseHead(b []byte) head {
	var h head
	line, rest := cutLine(b)
	method, more, _ := bytes.Cut(line, []byte{' '})
	if string(method) != "POST" {
		return head{}
	}
	target, version, _ := bytes.Cut(more, []byte{' '})
	var hasLength, hasFrom bool
	var agent string
	bad := func(why string) {
		if h.bad == "" {
			h.bad = why
		}
	}
	if len(target) == 0 || target[0] != '/' || (string(version) != "HTTP/1.1" && string(version) != "HTTP/1.0") {
		bad("malformed request line")
	}
	for {
		line, rest = cutLine(rest)
		if len(line) == 0 {
			break
		}
		key, value, found := bytes.Cut(line, []byte{':'})
		if !found || len(key) == 0 || bytes.ContainsAny(key, " \t") {
			bad("malformed header line")
			continue
		}
		value = bytes.Trim(value, " \t")
		switch {
		case is(key, "Libprocess-From"):
			if !hasFrom {
				h.from, hasFrom = string(value), true
			}
		case is(key, "User-Agent"):
			if agent == "" && bytes.HasPrefix(value, []byte(agentPrefix)) {
				agent = string(value)
			}
		case is(key, "Content-Length"):
			n, err := strconv.ParseUint(string(value), 10, 62)
			if err != nil || (hasLength && int64(n) != h.length) {
				bad("malformed Content-Length")
			}
			h.length, hasLength = int64(n), true
		case is(key, "Transfer-Encoding"):
			if h.chunked || !is(value, "chunked") {
				bad("only the chunked transfer encoding is understood")
			}
			h.chunked = true
		case is(key, "Connection"):
			h.close = h.close || hasToken(value, "close")
		case is(key, "Expect"):
			h.expect = is(value, "100-continue") && string(version) == "HTTP/1.1"
		case is(key, "Content-Encoding"):
			if !is(value, "identity") {
				h.encoding = string(value)
			}
		}
	}
	if !hasFrom && agent == "" {
		return head{}
	}
	if h.chunked && hasLength {
		bad("both Content-Length and Transfer-Encoding")
	}
	if !hasFrom {
		h.from = agent[len(agentPrefix):]
	}
	h.message = true
	h.target = string(target)
	return h
}

// agentPrefix starts the User-Agent of every libprocess sender; the rest is its pid.
const agentPrefix = "libprocess/"

// cutLine splits off one line without its line end.
func cutLine(b []byte) (line, rest []byte) {
	line, rest, _ = bytes.Cut(b, []byte{'\n'})
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line, rest
}

// is compares header text without case.
func is(b []byte, s string) bool {
	return len(b) == len(s) && strings.EqualFold(string(b), s)
}

// hasToken looks for token in a comma-separated list.
func hasToken(list []byte, token string) bool {
	for item := range bytes.SplitSeq(list, []byte{','}) {
		if is(bytes.Trim(item, " \t"), token) {
			return true
		}
	}
	return false
}
