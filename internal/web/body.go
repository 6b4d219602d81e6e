package web

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/stoa-project/stoa/internal/fault"
)

// ReadBody reads a whole request body of at most limit bytes. Errors: fault.TooLarge
// naming the limit, fault.Malformed when the client breaks off.
func ReadBody(r *http.Request, limit int64) ([]byte, error) {
	if r.Body == nil {
		return nil, nil
	}
	if r.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	var tooBig *http.MaxBytesError
	switch {
	case errors.As(err, &tooBig):
		return nil, tooLarge(tooBig.Limit)
	case err != nil:
		return nil, fault.New("read body", fault.Malformed, "", err)
	case int64(len(body)) > limit:
		return nil, tooLarge(limit)
	}
	return body, nil
}

func tooLarge(limit int64) error {
	return fault.New("read body", fault.TooLarge, "", fmt.Errorf("the request body is over the limit of %d bytes", limit))
}

// DefaultBodyPatience is how long a body may take, and a second more for each minRate
// bytes of it. Clients that send less, or nothing any more, are cut off.
const (
	DefaultBodyPatience = 30 * time.Second
	minRate             = 16 << 10
)

// steadyBody gives every read of a body a deadline.
type steadyBody struct {
	io.ReadCloser
	control  *http.ResponseController
	patience time.Duration
	until    time.Time
}

func (b *steadyBody) Read(p []byte) (int, error) {
	if b.until.IsZero() {
		b.until = time.Now().Add(b.patience)
	}
	_ = b.control.SetReadDeadline(b.until) // fails where there is no connection
	n, err := b.ReadCloser.Read(p)
	b.until = b.until.Add(time.Duration(n) * time.Second / minRate)
	if err != nil { // the server goes on reading: it wants to know when the client goes away
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// Limits of drain.
const (
	drainBytes = 16 << 20
	drainTime  = 2 * time.Second
)

// drain reads on after a refusal: a client that is still sending would see its
// connection reset instead of the answer. Whoever sends much more, or slowly, is cut off.
func drain(w http.ResponseWriter, body io.Reader) {
	if body == nil || http.NewResponseController(w).SetReadDeadline(time.Now().Add(drainTime)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, body, drainBytes)
}

// limitBody refuses announced bodies at once and cuts others off at the limit, and those
// that come too slowly.
func limitBody(limit int64, patience time.Duration, endless func(*http.Request) bool) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			r := c.Request()
			if r.Body == nil || r.Body == http.NoBody || endless != nil && endless(r) {
				return next(c)
			}
			whole := r.Body
			steady := &steadyBody{ReadCloser: whole, control: http.NewResponseController(c.Response()), patience: patience}
			err := tooLarge(limit)
			if r.ContentLength <= limit {
				r.Body = http.MaxBytesReader(c.Response(), steady, limit)
				err = next(c)
			}
			// The handler may have a lower limit of its own.
			if fault.KindOf(err) == fault.TooLarge || c.Response().Status == http.StatusRequestEntityTooLarge {
				drain(c.Response(), whole)
			}
			return err
		}
	}
}
