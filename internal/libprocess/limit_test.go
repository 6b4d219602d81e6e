package libprocess

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Config.MaxConns bounds all connections together: silent ones, those with messages, and
// those with HTTP requests under way or kept alive. One more is closed at once, and each
// that ends makes room.
func TestConnectionsAreBounded(t *testing.T) {
	held := make(chan struct{})
	tr := start(t, Config{MaxConns: 3, HTTP: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/held" {
			w.(http.Flusher).Flush()
			<-held
		}
	})})
	open := func(n int) {
		t.Helper()
		for end := time.Now().Add(patience); tr.Stats().Open != n; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d are open, not %d", tr.Stats().Open, n)
			}
		}
	}
	silent := rawDial(t, tr.Addr())
	open(1)
	stream := rawDial(t, tr.Addr())
	_, _ = io.WriteString(stream, "GET /held HTTP/1.1\r\nHost: x\r\n\r\n")
	if line, err := bufio.NewReader(stream).ReadString('\n'); err != nil || !strings.Contains(line, "200") {
		t.Fatalf("%q %v", line, err)
	}
	kept := rawDial(t, tr.Addr())
	ask := func(c net.Conn) error {
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			return err
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	if err := ask(kept); err != nil {
		t.Fatal(err)
	}
	open(3)
	refused := func(n uint64) {
		t.Helper()
		c := rawDial(t, tr.Addr())
		_ = c.SetDeadline(time.Now().Add(patience))
		if err := ask(c); err == nil {
			t.Error("one too many is answered")
		}
		if s := tr.Stats(); s.TurnedAway != n || s.Open != 3 {
			t.Errorf("%d turned away, %d open", s.TurnedAway, s.Open)
		}
	}
	refused(1)
	refused(2)
	if err := ask(kept); err != nil {
		t.Errorf("a connection that was there: %v", err)
	}
	for _, end := range []func(){func() { silent.Close() }, func() { kept.Close() }, func() { close(held); stream.Close() }} {
		end()
		open(2)
		c := rawDial(t, tr.Addr())
		if err := ask(c); err != nil {
			t.Errorf("after one has ended: %v", err)
		}
		open(3)
	}
	if n := tr.Stats().TurnedAway; n != 2 {
		t.Errorf("%d were turned away", n)
	}
}
