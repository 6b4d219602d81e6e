package libprocess

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// agentBytes is a message as a Mesos agent sends it, with one chunk of body.
func agentBytes(path string, body []byte) []byte {
	var b bytes.Buffer
	b.WriteString("POST " + path + " HTTP/1.1\r\n" +
		"User-Agent: libprocess/slave(1)@127.0.0.1:27251\r\n" +
		"Libprocess-From: slave(1)@127.0.0.1:27251\r\n" +
		"Connection: Keep-Alive\r\n" +
		"Host: 127.0.0.1:27250\r\n")
	if len(body) > 0 {
		fmt.Fprintf(&b, "Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	} else {
		b.WriteString("\r\n")
	}
	return b.Bytes()
}

func TestReceiveBytesOfAnAgent(t *testing.T) {
	tr := start(t, Config{})
	master := spawn(t, tr, "master")
	body := bytes.Repeat([]byte{0, '\r', '\n', 0xff}, 44) // 176 bytes, as a real registration
	in := agentBytes("/master/mesos.internal.RegisterSlaveMessage", body)
	if len(in) != 415 {
		t.Fatalf("the request has %d bytes, a real one 415", len(in))
	}
	c := rawDial(t, tr.Addr())
	if _, err := c.Write(in); err != nil {
		t.Fatal(err)
	}
	m := next(t, master.got)
	if m.From.String() != "slave(1)@127.0.0.1:27251" || m.To != tr.PID("master") ||
		m.Name != "mesos.internal.RegisterSlaveMessage" || !bytes.Equal(m.Body, body) ||
		m.Peer.String() != c.LocalAddr().String() {
		t.Errorf("got %+v", m)
	}
	answer := make([]byte, 81)
	if _, err := io.ReadFull(c, answer); err != nil {
		t.Fatal(err)
	}
	text := string(answer)
	if !strings.HasPrefix(text, "HTTP/1.1 202 Accepted\r\nDate: ") || !strings.HasSuffix(text, " GMT\r\nContent-Length: 0\r\n\r\n") {
		t.Errorf("answer %q", text)
	}
}

func TestAdmission(t *testing.T) {
	mux := NewMux(nil)
	tr := start(t, Config{RequirePeerIP: true, MaxBody: 1000})
	spawn(t, tr, "master")
	spawn(t, tr, "probe(1)")
	if _, err := tr.Spawn("typed", mux); err != nil {
		t.Fatal(err)
	}
	const from = "Libprocess-From: a@127.0.0.1:9\r\n"
	for _, c := range []struct {
		name, request string
		status        int
		body          string // of the answer
		drop          string
		closed        bool
	}{
		{"plain", "POST /master/x HTTP/1.1\r\n" + from + "\r\n", 202, "", "", false},
		{"mesos-go", "POST /master/x HTTP/1.1\r\nHost: h\r\nUser-Agent: Go-http-client/1.1\r\n" + from +
			"Content-Type: application/x-protobuf\r\nContent-Length: 2\r\n\r\nab", 202, "", "", false},
		{"user agent only", "POST /master/x HTTP/1.1\r\nuser-agent: libprocess/a@127.0.0.1:9\r\n\r\n", 202, "", "", false},
		{"old library", "POST /master/x HTTP/1.0\r\nUser-Agent: libprocess/a@127.0.0.1:9\r\nConnection: Keep-Alive\r\n" +
			"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", 202, "", "", false},
		{"empty host, lower case, bare line ends", "POST /master/x HTTP/1.1\nhost:\nlibprocess-from: a@127.0.0.1:9\ncontent-length: 1\n\nz", 202, "", "", false},
		{"several chunks, extension, trailer", "POST /master/x HTTP/1.1\r\n" + from + "Transfer-Encoding: Chunked\r\n\r\n" +
			"1;q=1\r\na\r\n2\r\nbc\r\n0\r\nT: v\r\n\r\n", 202, "", "", false},
		{"escaped id", "POST /probe%281%29/x HTTP/1.1\r\n" + from + "\r\n", 202, "", "", false},
		{"name with slash and query", "POST /master/x/y?z HTTP/1.1\r\n" + from + "\r\n", 202, "", "", false},
		{"no process", "POST /nobody/x HTTP/1.1\r\n" + from + "Content-Length: 3\r\n\r\nabc", 404, "404 Not Found.", DropNoProcess, false},
		{"no delegation", "POST /api/v1/scheduler HTTP/1.1\r\n" + from + "\r\n", 404, "404 Not Found.", DropNoProcess, false},
		{"no id", "POST // HTTP/1.1\r\n" + from + "\r\n", 404, "404 Not Found.", DropNoProcess, false},
		{"unknown name", "POST /typed/x HTTP/1.1\r\n" + from + "Content-Length: 3\r\n\r\nabc", 202, "", DropUnknownName, false},
		{"bad sender", "POST /master/x HTTP/1.1\r\nLibprocess-From: nonsense\r\nContent-Length: 3\r\n\r\nabc", 400, "", DropBadSender, false},
		{"empty sender", "POST /master/x HTTP/1.1\r\nUser-Agent: libprocess/\r\n\r\n", 400, "", DropBadSender, false},
		{"spoofed sender", "POST /master/x HTTP/1.1\r\nLibprocess-From: a@127.0.0.2:9\r\nContent-Length: 3\r\n\r\nabc", 400, "", DropPeerIP, false},
		{"gzip", "POST /master/x HTTP/1.1\r\n" + from + "Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", 415, "", DropEncoding, false},
		{"body at the limit", "POST /master/x HTTP/1.1\r\n" + from + "Content-Length: 1000\r\n\r\n" + strings.Repeat("x", 1000), 202, "", "", false},
		{"body over the limit", "POST /master/x HTTP/1.1\r\n" + from + "Content-Length: 1001\r\n\r\n", 413, "", DropTooLarge, true},
		{"huge length", "POST /master/x HTTP/1.1\r\n" + from + "Content-Length: 4611686018427387903\r\n\r\n", 413, "", DropTooLarge, true},
		{"huge chunk", "POST /master/x HTTP/1.1\r\n" + from + "Transfer-Encoding: chunked\r\n\r\n3fffffffffffffff\r\n", 413, "", DropTooLarge, true},
		{"chunks over the limit", "POST /nobody/x HTTP/1.1\r\n" + from + "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n3e8\r\n", 413, "", DropTooLarge, true},
		{"bad chunk", "POST /master/x HTTP/1.1\r\n" + from + "Transfer-Encoding: chunked\r\n\r\n-1\r\n", 400, "", "", true},
		{"chunk without end", "POST /master/x HTTP/1.1\r\n" + from + "Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", 400, "", "", true},
		{"both lengths", "POST /master/x HTTP/1.1\r\n" + from + "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", 400, "", "", true},
		{"two lengths", "POST /master/x HTTP/1.1\r\n" + from + "Content-Length: 2\r\nContent-Length: 1\r\n\r\n", 400, "", "", true},
		{"negative length", "POST /master/x HTTP/1.1\r\n" + from + "Content-Length: -1\r\n\r\n", 400, "", "", true},
		{"space before the colon", "POST /master/x HTTP/1.1\r\n" + from + "Content-Length : 1\r\n\r\n", 400, "", "", true},
		{"absolute target", "POST http://h/master/x HTTP/1.1\r\n" + from + "\r\n", 400, "", "", true},
		{"asks to close", "POST /master/x HTTP/1.1\r\n" + from + "Connection: close\r\n\r\n", 202, "", "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := tr.Stats().Dropped[c.drop]
			conn := rawDial(t, tr.Addr())
			if _, err := io.WriteString(conn, c.request); err != nil {
				t.Fatal(err)
			}
			br := bufio.NewReader(conn)
			resp, body := readAnswer(t, br)
			if resp.StatusCode != c.status || (c.body != "" && body != c.body) {
				t.Errorf("got %d %q, want %d %q", resp.StatusCode, body, c.status, c.body)
			}
			if c.drop != "" && tr.Stats().Dropped[c.drop] != before+1 {
				t.Errorf("drops %v, want one more %q", tr.Stats().Dropped, c.drop)
			}
			if c.closed {
				wantEOF(t, br)
				return
			}
			// the connection is still in step
			if _, err := io.WriteString(conn, "POST /master/again HTTP/1.1\r\n"+from+"\r\n"); err != nil {
				t.Fatal(err)
			}
			if resp, _ := readAnswer(t, br); resp.StatusCode != 202 {
				t.Errorf("the next request got %d", resp.StatusCode)
			}
		})
	}
	if used := tr.Stats().ReadingBytes; used != 0 {
		t.Errorf("%d bytes still count as being read", used)
	}
}

func TestPipelinedInOneSegmentAndByteByByte(t *testing.T) {
	tr := start(t, Config{})
	master := spawn(t, tr, "master")
	var stream []byte
	const count = 50
	for i := range count {
		stream = append(stream, agentBytes("/master/n", fmt.Appendf(nil, "%d", i))...)
		stream = append(stream, agentBytes("/nobody/n", []byte("lost"))...)
		stream = append(stream, "\r\n"...) // blank lines between requests are nothing
	}
	check := func(t *testing.T, c net.Conn) {
		for i := range count {
			if m := next(t, master.got); string(m.Body) != fmt.Sprint(i) {
				t.Fatalf("message %d is %q", i, m.Body)
			}
		}
		br := bufio.NewReader(c)
		for i := range 2 * count {
			if resp, _ := readAnswer(t, br); resp.StatusCode != 202+202*(i%2) {
				t.Fatalf("answer %d is %d", i, resp.StatusCode)
			}
		}
	}
	t.Run("one write", func(t *testing.T) {
		c := rawDial(t, tr.Addr())
		if _, err := c.Write(stream); err != nil {
			t.Fatal(err)
		}
		check(t, c)
	})
	t.Run("single bytes", func(t *testing.T) {
		c := rawDial(t, tr.Addr())
		for i := range stream {
			if _, err := c.Write(stream[i : i+1]); err != nil {
				t.Fatal(err)
			}
		}
		check(t, c)
	})
}

// A sender that waits for an answer gets it although the next request is incomplete.
func TestAnswerDoesNotWaitForTheNextRequest(t *testing.T) {
	tr := start(t, Config{})
	master := spawn(t, tr, "master")
	whole := agentBytes("/master/n", []byte("body"))
	for _, cut := range []int{1, 40, len(whole) - 9} {
		c := rawDial(t, tr.Addr())
		br := bufio.NewReader(c)
		c.Write(append(append([]byte(nil), whole...), whole[:cut]...))
		readAnswer(t, br)
		next(t, master.got)
		c.Write(whole[cut:])
		readAnswer(t, br)
		next(t, master.got)
	}
}

func TestHalfCloseAfterABurst(t *testing.T) {
	tr := start(t, Config{})
	master := spawn(t, tr, "master")
	const count = 2000
	c := rawDial(t, tr.Addr())
	go func() {
		w := bufio.NewWriter(c)
		for i := range count {
			w.Write(agentBytes("/master/n", fmt.Appendf(nil, "%d", i)))
		}
		w.Flush()
		c.CloseWrite()
	}()
	for i := range count {
		if m := next(t, master.got); string(m.Body) != fmt.Sprint(i) {
			t.Fatalf("message %d is %q", i, m.Body)
		}
	}
	br := bufio.NewReader(c)
	for range count {
		readAnswer(t, br)
	}
	wantEOF(t, br)
}

// A libprocess sender without a link closes right after its last request, so that the
// answers fail; every complete request counts all the same.
func TestTemporarySocketClosedAtOnce(t *testing.T) {
	tr := start(t, Config{})
	master := spawn(t, tr, "master")
	const rounds, count = 20, 50
	for range rounds {
		c := rawDial(t, tr.Addr())
		var b []byte
		for i := range count {
			b = append(b, agentBytes("/master/n", fmt.Appendf(nil, "%d", i))...)
		}
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		c.Close()
		for i := range count {
			if m := next(t, master.got); string(m.Body) != fmt.Sprint(i) {
				t.Fatalf("message %d is %q", i, m.Body)
			}
		}
	}
}

func TestHeadOverTheLimitClosesUnanswered(t *testing.T) {
	tr := start(t, Config{})
	c := rawDial(t, tr.Addr())
	go func() {
		io.WriteString(c, "POST /master/x HTTP/1.1\r\nLibprocess-From: a@127.0.0.1:9\r\nX: ")
		io.WriteString(c, strings.Repeat("x", maxHead))
		io.WriteString(c, "\r\n\r\n")
		c.CloseWrite()
	}()
	if b, _ := io.ReadAll(c); len(b) != 0 {
		t.Errorf("answered %q", b)
	}
}

func TestStartedRequestHasADeadlineAndIdlenessHasNot(t *testing.T) {
	tr := start(t, Config{RequestTimeout: 50 * time.Millisecond})
	master := spawn(t, tr, "master")
	whole := agentBytes("/master/n", []byte("body"))
	idle := rawDial(t, tr.Addr())
	if _, err := idle.Write(whole); err != nil {
		t.Fatal(err)
	}
	next(t, master.got)
	readAnswer(t, bufio.NewReader(idle))
	for _, part := range [][]byte{whole[:1], whole[:30], whole[:len(whole)-1]} {
		slow := rawDial(t, tr.Addr())
		if _, err := slow.Write(part); err != nil {
			t.Fatal(err)
		}
		wantEOF(t, slow) // several deadlines pass here, and the idle connection lives on
	}
	if _, err := idle.Write(whole); err != nil {
		t.Fatal(err)
	}
	next(t, master.got)
	readAnswer(t, bufio.NewReader(idle))
}

func TestMailboxAndReadingLimits(t *testing.T) {
	tr := start(t, Config{MailboxBytes: 2000, InflightBytes: 100 << 10})
	block, entered := make(chan struct{}), make(chan struct{}, 100)
	if _, err := tr.Spawn("slow", &blocker{block, entered}); err != nil {
		t.Fatal(err)
	}
	c := rawDial(t, tr.Addr())
	br := bufio.NewReader(c)
	send := func(n int) int {
		t.Helper()
		if _, err := c.Write(agentBytes("/slow/x", make([]byte, n))); err != nil {
			t.Fatal(err)
		}
		resp, _ := readAnswer(t, br)
		return resp.StatusCode
	}
	send(1)
	next(t, entered) // now busy, with an empty mailbox
	for range 3 {
		if got := send(900); got != 202 {
			t.Fatalf("got %d", got)
		}
	}
	if got := tr.Stats().Dropped[DropMailboxFull]; got != 2 {
		t.Errorf("%d dropped at the mailbox, want 2", got)
	}
	if got := send(200 << 10); got != 503 {
		t.Errorf("a body over what may be read at once got %d", got)
	}
	if s := tr.Stats(); s.Dropped[DropOverload] != 1 || s.ReadingBytes != 0 {
		t.Errorf("got %+v", s)
	}
	close(block)
	next(t, entered)
	if got := send(900); got != 202 {
		t.Errorf("afterwards %d", got)
	}
	next(t, entered)
	eventually(t, "the mailbox is empty", func() bool { return tr.Stats().MailboxBytes == 0 })
}

type blocker struct {
	block   chan struct{}
	entered chan struct{}
}

func (b *blocker) Receive(Message)    { b.entered <- struct{}{}; <-b.block }
func (b *blocker) Exited(UPID, error) {}

func TestExpectContinue(t *testing.T) {
	tr := start(t, Config{})
	master := spawn(t, tr, "master")
	c := rawDial(t, tr.Addr())
	io.WriteString(c, "POST /master/x HTTP/1.1\r\nLibprocess-From: a@127.0.0.1:9\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
	br := bufio.NewReader(c)
	if line, _ := br.ReadString('\n'); line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("got %q", line)
	}
	br.ReadString('\n')
	io.WriteString(c, "ab")
	if resp, _ := readAnswer(t, br); resp.StatusCode != 202 || string(next(t, master.got).Body) != "ab" {
		t.Errorf("got %d", resp.StatusCode)
	}
}
