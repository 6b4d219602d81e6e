package master

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/stoa-project/stoa/internal/web"
	"github.com/stoa-project/stoa/master/operators"
)

// routes is every HTTP route of the master; libprocess serves each also below /master.
// Who mounts a route says what it needs: leader(h) redirects to the leader, recovered(h)
// also answers 503 until the registry is read.
func (d *Door) routes() http.Handler {
	e := web.New(web.Config{Logger: d.log, Room: "master", Metrics: d.metrics, BodyLimit: 32 << 20, ErrorBody: plainError})
	e.Any("/health", ok)
	e.Any("/redirect", d.redirect)
	e.GET("/metrics", echo.WrapHandler(d.metrics.Handler()))
	e.Any("/api/v1/scheduler", echo.WrapHandler(d.leader(d.recovered(d.schedulers))))
	for _, route := range d.operators.Routes() {
		h := route.Handler
		switch route.Needs {
		case operators.Leader:
			h = d.leader(h)
		case operators.Recovered:
			h = d.leader(d.recovered(h))
		}
		e.Any(route.Path, echo.WrapHandler(h))
	}
	return e
}
