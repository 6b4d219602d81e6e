package rest

import (
	"fmt"
	"mime"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"github.com/stoa-project/stoa/internal/auth"
)

// gzipFrom is the size in bytes from which answers are compressed.
const gzipFrom = 1024

// known lets only those through who give the right user and password, on every path
// (marathon.md 1.1, basic auth). The answer names the realm.
func known(a auth.Authenticator) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			p, challenges, ok := a.Authenticate(c.Request())
			if !ok {
				c.Response().Header().Set(echo.HeaderWWWAuthenticate, strings.Join(challenges, ", "))
				return echo.NewHTTPError(http.StatusUnauthorized, "Invalid username or password.")
			}
			c.SetRequest(c.Request().WithContext(auth.With(c.Request().Context(), p)))
			return next(c)
		}
	}
}

// atMost refuses what comes while limit requests are being answered. Event streams stay
// open and do not count (marathon.md 1.1, concurrent limit).
func atMost(limit int) echo.MiddlewareFunc {
	tokens := make(chan struct{}, limit)
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			if isStream(c) {
				return next(c)
			}
			select {
			case tokens <- struct{}{}:
				defer func() { <-tokens }()
				return next(c)
			default:
				return echo.NewHTTPError(http.StatusServiceUnavailable, fmt.Sprintf("Too many concurrent requests! Allowed: %d.", limit))
			}
		}
	}
}

// compress shortens long answers for clients that take gzip; never streams, and not the
// metrics page, which does so itself.
func compress() echo.MiddlewareFunc {
	return middleware.GzipWithConfig(middleware.GzipConfig{MinLength: gzipFrom, Skipper: func(c echo.Context) bool {
		return isStream(c) || strings.HasPrefix(c.Request().URL.Path, "/metrics")
	}})
}

func isStream(c echo.Context) bool { return strings.HasPrefix(c.Request().URL.Path, "/v2/events") }

// mediaTypes judges Content-Type and Accept below /v2 (marathon.md 1.1, content types): a
// body that is declared as something else than JSON is 415, an Accept that allows nothing
// the path can answer is 406.
func mediaTypes(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		if !strings.HasPrefix(r.URL.Path, "/v2/") || isStream(c) {
			return next(c)
		}
		switch r.Method {
		case http.MethodPost, http.MethodPut, http.MethodPatch:
			if declared := r.Header.Get(echo.HeaderContentType); declared != "" && !isJSON(declared) {
				return echo.NewHTTPError(http.StatusUnsupportedMediaType,
					fmt.Sprintf("Unsupported Media Type: Content-Type is %q, send application/json", declared))
			}
		}
		answers := []string{jsonType}
		if r.URL.Path == "/v2/tasks" || strings.HasSuffix(r.URL.Path, "/tasks") {
			answers = append(answers, "text/plain")
		}
		if !acceptable(r.Header.Values("Accept"), answers) {
			return echo.NewHTTPError(http.StatusNotAcceptable,
				fmt.Sprintf("Not Acceptable: Accept is %q, this path answers %s", r.Header.Get("Accept"), strings.Join(answers, " or ")))
		}
		return next(c)
	}
}

func isJSON(contentType string) bool {
	t, _, err := mime.ParseMediaType(contentType)
	return err == nil && t == jsonType
}

// acceptable tells whether the Accept lines allow one of the types; no line allows all.
func acceptable(lines, types []string) bool {
	if len(lines) == 0 {
		return true
	}
	for _, line := range lines {
		for part := range strings.SplitSeq(line, ",") {
			asked, params, err := mime.ParseMediaType(part)
			if err != nil || params["q"] == "0" || params["q"] == "0.0" {
				continue
			}
			for _, t := range types {
				family, _, _ := strings.Cut(t, "/")
				if asked == "*/*" || asked == t || asked == family+"/*" {
					return true
				}
			}
		}
	}
	return strings.TrimSpace(strings.Join(lines, "")) == ""
}
