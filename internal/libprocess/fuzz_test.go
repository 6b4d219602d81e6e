package libprocess

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// fuzzBody is the body limit the parser is fuzzed with.
const fuzzBody = 4096

// parseStream cuts a stream into requests as inbound does, and tells the story.
func parseStream(src io.Reader, limit int64) string {
	var story strings.Builder
	budget := &budget{limit: limit}
	d := decoder{src: src}
	defer func() { d.giveBack() }()
	for {
		if len(d.buffered()) == 0 {
			d.giveBack()
			var first [1]byte
			if _, err := io.ReadFull(src, first[:]); err != nil {
				fmt.Fprintf(&story, "end, %d held\n", budget.used.Load())
				return story.String()
			}
			d.lend(first[0])
		}
		h, err := d.head()
		switch {
		case err != nil:
			fmt.Fprintf(&story, "head: %v\n", err)
			return story.String()
		case !h.message && len(d.buffered()) == 0:
			continue
		case !h.message:
			rest, _ := io.ReadAll(io.MultiReader(bytes.NewReader(d.buffered()), src))
			fmt.Fprintf(&story, "http %q\n", rest)
			return story.String()
		case h.bad != "":
			fmt.Fprintf(&story, "bad: %s\n", h.bad)
			return story.String()
		}
		body, held, err := d.body(h, true, fuzzBody, budget)
		budget.used.Add(-held)
		from, ferr := Parse(h.from)
		id, name := splitTarget(h.target)
		fmt.Fprintf(&story, "%q %q from %v %v, close %v: %q %v\n", id, name, from, ferr != nil, h.close, body, err)
		if err != nil && err != errOverload {
			return story.String()
		}
		if len(body) > fuzzBody {
			panic("a body passed the limit")
		}
	}
}

// FuzzParser checks that no stream panics or hangs the reader, that nothing passes the
// limits, and that the story is the same however the stream is cut into segments.
func FuzzParser(f *testing.F) {
	const from = "Libprocess-From: a@127.0.0.1:9\r\n"
	message := string(agentBytes("/master/mesos.internal.RegisterSlaveMessage", []byte("body")))
	for _, seed := range []string{
		"", "\r\n\r\n", "P", "GET / HTTP/1.1\r\n\r\n", "POST", "POST / HTTP/1.1\r\nHost: x\r\n\r\n",
		message, message + message, message[:len(message)-3], message + "\r\n" + message, message + "GET /state HTTP/1.1\r\n\r\n",
		string(agentBytes("/slave%281%29/x", nil)),
		"POST /m/x HTTP/1.0\r\nUser-Agent: libprocess/a@1.2.3.4:5\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\na\r\n0\r\nT: u\r\n\r\n",
		"POST /m/x HTTP/1.1\r\n" + from + "Content-Length: 4\r\n\r\nabcd",
		"POST /m/x HTTP/1.1\r\n" + from + "Content-Length: 5000\r\n\r\n" + strings.Repeat("x", 5000),
		"POST /m/x HTTP/1.1\r\n" + from + "Content-Length: 4000\r\n\r\n" + strings.Repeat("x", 4000) + message,
		"POST /m/x HTTP/1.1\r\n" + from + "Content-Length: 99999999999999999999\r\n\r\n",
		"POST /m/x HTTP/1.1\r\n" + from + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
		"POST /m/x HTTP/1.1\r\n" + from + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1\r\nx\r\n", 100) + "0\r\n\r\n",
		"POST /m/x HTTP/1.1\r\n" + from + "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n",
		"POST /m/x HTTP/1.1\n" + "libprocess-from: nonsense\n\n",
		"POST /%zz/x HTTP/1.1\r\n" + from + "Connection: x, Close\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		for _, limit := range []int64{1 << 20, 1024} {
			whole := parseStream(bytes.NewReader(stream), limit)
			for name, r := range map[string]io.Reader{
				"single bytes": iotest.OneByteReader(bytes.NewReader(stream)),
				"halves":       iotest.HalfReader(bytes.NewReader(stream)),
				"data and end": iotest.DataErrReader(bytes.NewReader(stream)),
			} {
				if cut := parseStream(r, limit); limit > 1024 && cut != whole {
					t.Fatalf("%s:\n%s\nin one piece:\n%s", name, cut, whole)
				}
			}
		}
	})
}
