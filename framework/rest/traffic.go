package rest

import (
	"io"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/stoa-project/stoa/internal/metrics"
)

// Traffic is what is counted of requests and answers (marathon.md 12, http.*). All of it
// is set.
type Traffic struct {
	Active                            *metrics.Gauge
	Duration                          *metrics.Timer
	ByMethod                          map[string]*metrics.Timer
	ByStatus                          [5]*metrics.Meter // 1xx to 5xx
	Received, Sent, Gzipped, Streamed *metrics.Counter  // bytes
}

// observe counts a request and its answer, whoever gives it.
func (t *Traffic) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r, began := c.Request(), time.Now()
		stream := isStream(c)
		wire := &wireCounter{ResponseWriter: c.Response().Writer}
		if stream {
			wire.live = t.Streamed
		} else {
			t.Active.Add(1)
			defer t.Active.Add(-1)
		}
		c.Response().Writer = wire
		body := &bodyCounter{ReadCloser: r.Body}
		r.Body = body
		if err := next(c); err != nil {
			c.Error(err) // write it now, to know the status
		}
		if class := c.Response().Status/100 - 1; class >= 0 && class < len(t.ByStatus) {
			t.ByStatus[class].Mark()
		}
		t.Received.Add(float64(body.n))
		if stream {
			return nil
		}
		took := time.Since(began)
		t.Duration.Observe(took)
		if timer := t.ByMethod[r.Method]; timer != nil {
			timer.Observe(took)
		}
		t.Sent.Add(float64(c.Response().Size))
		if c.Response().Header().Get(echo.HeaderContentEncoding) == "gzip" {
			t.Gzipped.Add(float64(wire.n))
		}
		return nil
	}
}

// wireCounter counts what leaves, after compression.
type wireCounter struct {
	http.ResponseWriter
	n    int
	live *metrics.Counter // counted there at once
}

// Write counts and passes on.
func (w *wireCounter) Write(b []byte) (int, error) {
	n, err := w.ResponseWriter.Write(b)
	if w.live != nil {
		w.live.Add(float64(n))
	} else {
		w.n += n
	}
	return n, err
}

// Flush passes on.
func (w *wireCounter) Flush() {
	if f, ok := w.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

// Unwrap serves http.ResponseController.
func (w *wireCounter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

type bodyCounter struct {
	io.ReadCloser
	n int
}

// Read counts and passes on.
func (b *bodyCounter) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n += n
	return n, err
}
