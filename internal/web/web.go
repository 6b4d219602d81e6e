// Package web is the HTTP furniture every room shares: an echo router that survives
// panics and bounds bodies, a server that ends its streams, and event fan-out.
package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/metrics"
)

// DefaultBodyLimit bounds request bodies, in bytes.
const DefaultBodyLimit = 1 << 20

// Config of a router.
type Config struct {
	Logger  *slog.Logger      // nil: none
	Room    string            // part of metric names: stoa_<room>_http_requests_total
	Metrics *metrics.Registry // nil: no request metrics
	// BodyLimit bounds every request body in bytes; 0 means DefaultBodyLimit.
	// A route that needs another limit calls ReadBody with it on a Config.BodyLimit of at
	// least that size.
	BodyLimit int64
	// BodyPatience is how long a body may take to come, beside a second for each 16 KiB of
	// it; 0 means DefaultBodyPatience.
	BodyPatience time.Duration
	// Endless tells requests whose body is a stream without end; their handler bounds each
	// of its records. nil: there are none.
	Endless func(*http.Request) bool
	// ErrorBody gives Content-Type and body of an error answer; nil: {"message": …}.
	ErrorBody func(status int, err error) (contentType string, body []byte)
	// ErrorStatus maps errors that carry a fault kind; nil: ErrorStatus.
	ErrorStatus func(fault.Kind) int
}

// New makes a router. Handlers return errors: *echo.HTTPError keeps its code, others are
// mapped by their fault kind. A trailing slash of the path is ignored, the client address
// is that of the connection, and no panic of a handler reaches the connection as one.
func New(cfg Config) *echo.Echo {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.BodyLimit <= 0 {
		cfg.BodyLimit = DefaultBodyLimit
	}
	if cfg.BodyPatience <= 0 {
		cfg.BodyPatience = DefaultBodyPatience
	}
	if cfg.ErrorBody == nil {
		cfg.ErrorBody = messageBody
	}
	if cfg.ErrorStatus == nil {
		cfg.ErrorStatus = ErrorStatus
	}
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.IPExtractor = echo.ExtractIPDirect()
	e.HTTPErrorHandler = func(err error, c echo.Context) { answerError(cfg, err, c) }
	m := newRequestMetrics(cfg)
	e.Pre(ignoreTrailingSlash)
	e.Use(m.observe, recoverPanic(cfg, m), limitBody(cfg.BodyLimit, cfg.BodyPatience, cfg.Endless))
	return e
}

// ErrorStatus is the usual HTTP status of a fault kind.
func ErrorStatus(k fault.Kind) int {
	switch k {
	case fault.Malformed:
		return http.StatusBadRequest
	case fault.Invalid:
		return http.StatusUnprocessableEntity
	case fault.NotFound:
		return http.StatusNotFound
	case fault.Conflict:
		return http.StatusConflict
	case fault.Unauthenticated:
		return http.StatusUnauthorized
	case fault.Forbidden:
		return http.StatusForbidden
	case fault.TooLarge:
		return http.StatusRequestEntityTooLarge
	case fault.Unavailable, fault.Fenced:
		return http.StatusServiceUnavailable
	case fault.Timeout:
		return http.StatusGatewayTimeout
	case fault.Unsupported:
		return http.StatusNotImplemented
	case fault.Full:
		return http.StatusInsufficientStorage
	}
	return http.StatusInternalServerError
}

// answerError writes an error once; a response that has begun is left as it is.
func answerError(cfg Config, err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	status := http.StatusInternalServerError
	var he *echo.HTTPError
	switch {
	case errors.As(err, &he):
		status = he.Code
		if text, ok := he.Message.(string); ok {
			err = errors.New(text)
		}
	default:
		status = cfg.ErrorStatus(fault.KindOf(err))
	}
	if status >= http.StatusInternalServerError {
		cfg.Logger.Warn("request failed", "method", c.Request().Method, "path", c.Request().URL.Path, "status", status, "error", err)
	}
	if c.Request().Method == http.MethodHead {
		_ = c.NoContent(status)
		return
	}
	contentType, body := cfg.ErrorBody(status, err)
	if len(body) == 0 {
		_ = c.NoContent(status)
		return
	}
	_ = c.Blob(status, contentType, body)
}

// messageBody is Marathon's form, and echo's.
func messageBody(_ int, err error) (string, []byte) {
	body, jsonErr := json.Marshal(struct {
		Message string `json:"message"`
	}{err.Error()})
	if jsonErr != nil { // a string always encodes
		body = []byte(`{"message":"error"}`)
	}
	return "application/json", body
}

// recoverPanic turns a panic into 500 and counts it. When the answer has begun the
// connection is cut, because the client could not tell that the rest is missing.
func recoverPanic(cfg Config, m *requestMetrics) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) (err error) {
			defer func() {
				p := recover()
				if p == nil {
					return
				}
				if p != http.ErrAbortHandler { //nolint:errorlint // compared as net/http does
					m.panicked()
					cfg.Logger.Error("handler panicked", "method", c.Request().Method,
						"path", c.Request().URL.Path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
				}
				if c.Response().Committed || p == http.ErrAbortHandler { //nolint:errorlint // as above
					panic(http.ErrAbortHandler) // net/http ends the connection and says nothing
				}
				err = echo.NewHTTPError(http.StatusInternalServerError, "internal error, see the log")
			}()
			return next(c)
		}
	}
}

// ignoreTrailingSlash lets /v2/apps/ mean /v2/apps.
func ignoreTrailingSlash(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		u := c.Request().URL
		if len(u.Path) > 1 && strings.HasSuffix(u.Path, "/") {
			u.Path = "/" + strings.Trim(u.Path, "/")
			if u.RawPath != "" {
				u.RawPath = "/" + strings.Trim(u.RawPath, "/")
			}
		}
		return next(c)
	}
}

// requestMetrics counts requests by route pattern; there is no label that clients choose.
type requestMetrics struct {
	requests *metrics.CounterVec
	seconds  *metrics.HistogramVec
	panics   *metrics.Counter
}

func newRequestMetrics(cfg Config) *requestMetrics {
	if cfg.Metrics == nil {
		return &requestMetrics{}
	}
	name := func(what string) string { return "stoa_" + cfg.Room + "_http_" + what }
	return &requestMetrics{
		requests: cfg.Metrics.CounterVec(metrics.Def{
			Name: name("requests_total"), Help: "HTTP requests answered.", Labels: []string{"method", "route", "code"},
		}),
		seconds: cfg.Metrics.HistogramVec(metrics.Def{
			Name: name("request_seconds"), Help: "Time from request to the end of its answer; streams count when they end.", Labels: []string{"route"},
		}),
		panics: cfg.Metrics.Counter(metrics.Def{Name: name("panics_total"), Help: "Handlers that panicked."}),
	}
}

func (m *requestMetrics) panicked() {
	if m.panics != nil {
		m.panics.Inc()
	}
}

func (m *requestMetrics) observe(next echo.HandlerFunc) echo.HandlerFunc {
	if m.requests == nil {
		return next
	}
	return func(c echo.Context) error {
		start := time.Now()
		err := next(c)
		if err != nil {
			c.Error(err) // write it now, to know the status
		}
		route, method := c.Path(), c.Request().Method
		if route == "" {
			route = "none"
		}
		switch method {
		case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		default:
			method = "other"
		}
		m.requests.WithLabelValues(method, route, fmt.Sprint(c.Response().Status)).Inc()
		m.seconds.WithLabelValues(route).Observe(time.Since(start).Seconds())
		return nil
	}
}
