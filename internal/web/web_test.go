package web_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/metrics"
	"github.com/stoa-project/stoa/internal/web"
)

func router(reg *metrics.Registry) *echo.Echo {
	e := web.New(web.Config{Room: "test", Metrics: reg, BodyLimit: 100})
	e.GET("/ok", func(c echo.Context) error { return c.String(200, c.RealIP()) })
	e.POST("/echo", func(c echo.Context) error {
		b, err := web.ReadBody(c.Request(), 100)
		if err != nil {
			return err
		}
		return c.Blob(200, "text/plain", b)
	})
	e.GET("/panic", func(echo.Context) error { panic("boom") })
	e.GET("/late", func(c echo.Context) error {
		c.Response().WriteHeader(200)
		c.Response().Flush()
		panic("boom")
	})
	e.GET("/fault/*", func(c echo.Context) error {
		return fault.New("get", fault.NotFound, c.Param("*"), nil)
	})
	return e
}

func TestRouter(t *testing.T) {
	reg := metrics.New()
	srv := httptest.NewServer(router(reg))
	defer srv.Close()
	for _, c := range []struct {
		method, path, body string
		chunked            bool
		status             int
		want               string
	}{
		{"GET", "/ok", "", false, 200, "127.0.0.1"},
		{"GET", "/ok/", "", false, 200, "127.0.0.1"},
		{"GET", "/none", "", false, 404, `{"message":"Not Found"}`},
		{"DELETE", "/ok", "", false, 405, `{"message":"Method Not Allowed"}`},
		{"POST", "/echo", strings.Repeat("x", 100), false, 200, strings.Repeat("x", 100)},
		{"POST", "/echo", strings.Repeat("x", 101), false, 413, `{"message":"read body: the request body is over the limit of 100 bytes"}`},
		{"POST", "/echo", strings.Repeat("x", 5000), true, 413, `{"message":"read body: the request body is over the limit of 100 bytes"}`},
		{"GET", "/panic", "", false, 500, `{"message":"internal error, see the log"}`},
		{"GET", "/fault/a/b", "", false, 404, `{"message":"get: a/b: not found"}`},
		{"HEAD", "/none", "", false, 404, ""},
	} {
		var body io.Reader = strings.NewReader(c.body)
		if c.chunked {
			body = io.MultiReader(body) // hides the length
		}
		req, err := http.NewRequest(c.method, srv.URL+c.path, body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Forwarded-For", "9.9.9.9")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != c.status || string(got) != c.want {
			t.Errorf("%s %s: %d %q, want %d %q", c.method, c.path, resp.StatusCode, got, c.status, c.want)
		}
	}
	resp, err := http.Get(srv.URL + "/late")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("an answer cut short looks complete")
	}
	resp.Body.Close()

	w := httptest.NewRecorder()
	reg.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, line := range []string{
		`stoa_test_http_requests_total{code="200",method="GET",route="/ok"} 2`,
		`stoa_test_http_requests_total{code="413",method="POST",route="/echo"} 2`,
		`stoa_test_http_requests_total{code="404",method="GET",route="/fault/*"} 1`,
		`stoa_test_http_panics_total 2`,
	} {
		if !strings.Contains(w.Body.String(), line+"\n") {
			t.Errorf("/metrics lacks %s", line)
		}
	}
}

// A client that sends all before it reads gets the answer, not a reset.
func TestTooLargeIsAnsweredToSlowReaders(t *testing.T) {
	e := web.New(web.Config{Room: "test", Metrics: metrics.New(), BodyLimit: 4 << 20})
	e.POST("/echo", func(c echo.Context) error {
		// A limit below the router's, answered by the handler itself.
		_, err := web.ReadBody(c.Request(), 100)
		return c.String(web.ErrorStatus(fault.KindOf(err)), fmt.Sprint(err))
	})
	tooLargeIsAnswered(t, e)
	tooLargeIsAnswered(t, router(metrics.New()))
}

func tooLargeIsAnswered(t *testing.T, h http.Handler) {
	t.Helper()
	s := httptest.NewServer(h)
	defer s.Close()
	const size = 3 << 20
	for name, head := range map[string]string{
		"announced": fmt.Sprintf("Content-Length: %d\r\n\r\n", size),
		"chunked":   fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n", size),
	} {
		conn, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST /echo HTTP/1.1\r\nHost: x\r\n%s", head)
		if _, err := conn.Write(make([]byte, size)); err != nil {
			t.Errorf("%s: %v while sending", name, err)
		}
		fmt.Fprint(conn, "\r\n0\r\n\r\n")
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || res.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: answer %v %v, want 413", name, res, err)
		}
	}
}

// A client that stops in the middle of a body does not hold its request for ever; one
// that sends in time may then wait for its answer as long as it takes.
func TestBodiesThatStop(t *testing.T) {
	e := web.New(web.Config{BodyPatience: 100 * time.Millisecond})
	answered := make(chan error, 2)
	e.POST("/", func(c echo.Context) error {
		_, err := web.ReadBody(c.Request(), 100)
		if err == nil {
			select {
			case <-c.Request().Context().Done():
				err = errors.New("the request was given up")
			case <-time.After(400 * time.Millisecond):
			}
		}
		answered <- err
		return c.NoContent(202)
	})
	srv := httptest.NewServer(e)
	defer srv.Close()
	for body, ok := range map[string]bool{"half": false, "a whole o": true, "a whole one": true} {
		conn, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n%s", body)
		if err := <-answered; ok != (err == nil) {
			t.Errorf("%q: %v", body, err)
		}
	}
}

func TestErrorStatusKnowsAllKinds(t *testing.T) {
	for k := fault.Malformed; k <= fault.Full; k++ {
		if s := web.ErrorStatus(k); s == 500 {
			t.Errorf("kind %v has no status", k)
		}
	}
	if s := web.ErrorStatus(fault.KindOf(errors.New("x"))); s != 500 {
		t.Errorf("unclassified: %d", s)
	}
}

func TestServeEndsStreams(t *testing.T) {
	fan := web.NewFanout(0)
	e := web.New(web.Config{})
	e.GET("/events", func(c echo.Context) error {
		c.Response().Header().Set("Content-Type", "text/event-stream")
		sub := fan.Subscribe(nil, web.SSE("hello", []byte(`{}`)))
		return sub.Stream(c.Request().Context(), c.Response(), []byte("\r\n"), 0)
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- web.Serve(ctx, l, e, nil) }()
	resp, err := http.Get("http://" + l.Addr().String() + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	for _, want := range []string{"event: hello\r\n", "data: {}\r\n", "\r\n"} {
		if got, err := lines.ReadString('\n'); got != want {
			t.Fatalf("%q, %v; want %q", got, err, want)
		}
	}
	fan.Publish("x", web.SSE("x", []byte("1")))
	if got, err := lines.ReadString('\n'); got != "event: x\r\n" {
		t.Fatalf("%q, %v", got, err)
	}
	stop()
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if _, err := io.ReadAll(lines); err != nil {
		t.Logf("the stream ended with %v", err)
	}
	if n := fan.Len(); n != 0 {
		t.Errorf("%d subscribers are left", n)
	}
}

func TestFanout(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	fan := web.NewFanout(3)
	all := fan.Subscribe(nil, []byte("first"))
	some := fan.Subscribe(func(kind string) bool { return kind == "b" })
	for _, k := range []string{"a", "b"} {
		fan.Publish(k, []byte(k))
	}
	expect := func(s *web.Subscription, want string, wantErr error) {
		t.Helper()
		got, err := s.Next(ctx)
		if fmt.Sprintf("%s", got) != want || !errors.Is(err, wantErr) {
			t.Errorf("got %s, %v; want %s, %v", got, err, want, wantErr)
		}
	}
	expect(all, "[first a b]", nil)
	expect(some, "[b]", nil)
	for i := range 4 { // one more than the queue holds
		fan.Publish("c", fmt.Append(nil, i))
	}
	expect(all, "[0 1 2]", nil)
	expect(all, "[]", web.ErrSlow)
	if fan.Len() != 1 {
		t.Errorf("%d subscribers, want 1", fan.Len())
	}
	fan.Publish("b", []byte("last"))
	fan.EndAll()
	expect(some, "[last]", nil)
	expect(some, "[]", web.ErrEnded)
	late := fan.Subscribe(nil)
	late.Cancel()
	expect(late, "[]", web.ErrEnded)
	fan.Close()
	expect(fan.Subscribe(nil), "[]", web.ErrEnded)
}

func TestStreamBeats(t *testing.T) {
	fan := web.NewFanout(0)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = fan.Subscribe(nil).Stream(r.Context(), w, []byte("beat\n"), time.Millisecond)
	}))
	defer srv.Close()
	resp, err := http.Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if line, err := bufio.NewReader(resp.Body).ReadString('\n'); line != "beat\n" {
		t.Errorf("%q, %v", line, err)
	}
}
