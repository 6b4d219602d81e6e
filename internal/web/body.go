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

// limitBody refuses announced bodies at once and cuts others off at the limit.
func limitBody(limit int64) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			r := c.Request()
			if r.ContentLength > limit {
				drain(c.Response(), r.Body)
				return tooLarge(limit)
			}
			if r.Body == nil || r.Body == http.NoBody {
				return next(c)
			}
			whole := r.Body
			cut := &cutBody{ReadCloser: http.MaxBytesReader(c.Response(), whole, limit)}
			r.Body = cut
			err := next(c)
			if cut.off {
				drain(c.Response(), whole)
			}
			return err
		}
	}
}

// cutBody remembers that its limit was passed.
type cutBody struct {
	io.ReadCloser
	off bool
}

func (b *cutBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	var tooBig *http.MaxBytesError
	b.off = b.off || errors.As(err, &tooBig)
	return n, err
}
