package master

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/stoa-project/stoa/internal/web"
)

// newOperators makes the operators' shell, which gets the ledger's operator events.
func newOperators(*Door) operatorShell { return noOperators{} }

// routes is every HTTP route of the master; libprocess serves each also below /master.
// Who mounts a route says what it needs: leader(h) redirects to the leader, recovered(h)
// also answers 503 until the registry is read.
func (d *Door) routes() http.Handler {
	e := web.New(web.Config{Logger: d.log, Room: "master", Metrics: d.metrics, BodyLimit: 32 << 20, ErrorBody: plainError})
	e.Any("/health", ok)
	e.Any("/redirect", d.redirect)
	e.GET("/version", d.version)
	e.GET("/metrics", echo.WrapHandler(d.metrics.Handler()))
	e.GET("/metrics/snapshot", d.metricsSnapshot)
	e.Any("/api/v1/scheduler", echo.WrapHandler(d.leader(d.recovered(d.schedulers))))
	return e
}
