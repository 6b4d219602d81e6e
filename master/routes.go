package master

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/stoa-project/stoa/internal/web"
	"github.com/stoa-project/stoa/master/operators"
)

// routes is every HTTP route of the master; libprocess serves each also below /master.
// Who mounts a route says what it needs: leader(h) redirects to the leader, recovered(h)
// also answers 503 until the registry is read. Which realm a path belongs to stands in
// operators.RealmOf.
func (d *Door) routes() http.Handler {
	e := web.New(web.Config{Logger: d.log, Room: "master", Metrics: d.metrics, BodyLimit: 32 << 20, ErrorBody: plainError})
	e.Any("/health", ok)
	e.Any("/redirect", d.redirect)
	mount := func(path string, h http.Handler) {
		e.Any(path, echo.WrapHandler(d.guard(operators.RealmOf(path), h)))
	}
	mount("/metrics", d.metrics.Handler())
	mount("/api/v1/scheduler", d.leader(d.recovered(d.schedulers)))
	mount(constraintsPath, d.leader(d.recovered(http.HandlerFunc(d.debugConstraints))))
	for _, route := range d.operators.Routes() {
		h := route.Handler
		switch route.Needs {
		case operators.Leader:
			h = d.leader(h)
		case operators.Recovered:
			h = d.leader(d.recovered(h))
		}
		mount(route.Path, h)
	}
	return d.cfg.Security.Firewall.Wrap(e)
}
