package libprocess

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// echoLane answers with what it got; "no" in a body leaves the request to HTTP.
type echoLane struct{ bodies []string }

func (l *echoLane) Add(r LaneRequest, body []byte) bool {
	if r.Path != "/calls" || strings.Contains(string(body), "no") {
		return false
	}
	l.bodies = append(l.bodies, r.StreamID+" "+r.ContentType+" "+string(body))
	return true
}

func (l *echoLane) Settle() []LaneAnswer {
	out := make([]LaneAnswer, len(l.bodies))
	for i, b := range l.bodies {
		out[i] = LaneAnswer{Status: 400, Text: b}
		if strings.HasSuffix(b, " fine") {
			out[i] = LaneAnswer{Status: 202}
		}
	}
	l.bodies = nil
	return out
}

func laneCall(path, stream, body string, more ...string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: text/x\r\nMesos-Stream-Id: %s\r\n%sContent-Length: %d\r\n\r\n%s",
		path, stream, strings.Join(more, ""), len(body), body)
}

// TestLane: requests of all kinds, pipelined on one connection in any cut, are answered in
// their order, whoever answers them.
func TestLane(t *testing.T) {
	tr := start(t, Config{Delegate: "master", NewLane: func() Lane { return &echoLane{} },
		HTTP: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			fmt.Fprintf(w, "http %s %s", r.URL.Path, body)
		})})
	requests := []struct{ text, want string }{
		{laneCall("/calls", "s", "one"), "400 s text/x one"},
		{laneCall("/master/calls", "s", "fine"), "202 "},
		{laneCall("/calls", "other", "two"), "400 other text/x two"},
		{laneCall("/calls", "s", ""), "400 s text/x "},
		{laneCall("/calls", "s", strings.Repeat("x", 100_000)), "400 s text/x " + strings.Repeat("x", 100_000)},
		{laneCall("/calls", "s", "three"), "400 s text/x three"},
		// From here on the http.Server has the connection.
		{laneCall("/calls", "s", "no"), "200 http /calls no"},
		{laneCall("/calls", "s", "four"), "200 http /calls four"},
		{"GET /calls HTTP/1.1\r\nHost: x\r\n\r\n", "200 http /calls "},
	}
	var all string
	for _, r := range requests {
		all += r.text
	}
	for _, cut := range []int{len(all), 1000, 37, 5000} {
		c, err := net.Dial("tcp", tr.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		go func() {
			for rest := all; rest != ""; {
				n := min(cut, len(rest))
				if _, err := io.WriteString(c, rest[:n]); err != nil {
					return
				}
				rest = rest[n:]
			}
		}()
		r := bufio.NewReader(c)
		for i, want := range requests {
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatalf("cut %d, answer %d: %v", cut, i, err)
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprintf("%d %s", resp.StatusCode, body); got != want.want {
				t.Fatalf("cut %d, answer %d: %.80s, want %.80s", cut, i, got, want.want)
			}
			if resp.StatusCode == 202 && (resp.Header.Get("Content-Type") != "" || resp.Header.Get("Content-Length") != "0" || resp.Header.Get("Date") == "") {
				t.Errorf("202 with %v", resp.Header)
			}
		}
		c.Close()
	}
}

// TestLaneLeavesAlone: whatever changes how a request is read, or is unusual, is HTTP's.
func TestLaneLeavesAlone(t *testing.T) {
	tr := start(t, Config{NewLane: func() Lane { return &echoLane{} },
		HTTP: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			io.WriteString(w, "http")
		})})
	for name, text := range map[string]string{
		"chunked":        "POST /calls HTTP/1.1\r\nHost: x\r\nMesos-Stream-Id: s\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
		"close":          laneCall("/calls", "s", "one", "Connection: close\r\n"),
		"authorization":  laneCall("/calls", "s", "one", "Authorization: Basic eDp5\r\n"),
		"encoding":       laneCall("/calls", "s", "one", "Content-Encoding: identity\r\n"),
		"no stream":      "POST /calls HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na",
		"long stream":    laneCall("/calls", strings.Repeat("s", 129), "one"),
		"other path":     laneCall("/else", "s", "one"),
		"query":          laneCall("/calls?x=y", "s", "one"),
		"large":          laneCall("/calls", "s", strings.Repeat("x", laneBody+1)),
		"expect":         laneCall("/calls", "s", "one", "Expect: 100-continue\r\n"),
		"cookie":         laneCall("/calls", "s", "one", "Cookie: a=b\r\n"),
		"HTTP/1.0":       "POST /calls HTTP/1.0\r\nMesos-Stream-Id: s\r\nContent-Length: 1\r\n\r\na",
		"length missing": "POST /calls HTTP/1.1\r\nHost: x\r\nMesos-Stream-Id: s\r\n\r\n",
	} {
		c, err := net.Dial("tcp", tr.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		go io.WriteString(c, text)
		r := bufio.NewReader(c)
		resp, err := http.ReadResponse(r, nil)
		if err == nil && resp.StatusCode == 100 {
			resp, err = http.ReadResponse(r, nil)
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if body, _ := io.ReadAll(resp.Body); string(body) != "http" {
			t.Errorf("%s: %d %s", name, resp.StatusCode, body)
		}
		c.Close()
	}
}

// A Lane gets complete requests only: one without a method is the http.Server's to refuse.
func TestLaneWantsPOST(t *testing.T) {
	c := &inbound{t: &Transport{}}
	whole := laneCall("/calls", "s", "")
	if h := c.parseLane([]byte(whole)); !h.ok || h.request.Path != "/calls" {
		t.Errorf("%+v", h)
	}
	for _, head := range []string{strings.TrimPrefix(whole, "POST "), strings.Replace(whole, "POST", "PUT", 1), strings.Replace(whole, "1.1", "1.0", 1)} {
		if h := c.parseLane([]byte(head)); h.ok {
			t.Errorf("%q is served: %+v", head, h)
		}
	}
}
