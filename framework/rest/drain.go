package rest

import (
	"encoding/json"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/internal/fault"
)

// Drains hears of tasks that load balancers have taken out of service.
type Drains interface {
	// Drained tells that the named load balancer has no requests left at the tasks.
	Drained(balancer string, tasks []app.TaskID)
}

// maxDrained bounds one report.
const maxDrained = 10_000

// drained serves POST /v2/events/drained, which Marathon does not have: the answer of a
// load balancer to instance_drain_event.
func (a *api) drained(c echo.Context) error {
	return methods(c, map[string]echo.HandlerFunc{http.MethodPost: func(c echo.Context) error {
		var body struct {
			Balancer string       `json:"balancer"`
			Tasks    []app.TaskID `json:"tasks"`
		}
		text, err := read(c, bodyLimit)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(text, &body); err != nil {
			return say(fault.Malformed, "the body is no report of drained tasks: "+err.Error())
		}
		if body.Balancer == "" || len(body.Tasks) > maxDrained {
			return echo.NewHTTPError(http.StatusUnprocessableEntity, "wants balancer, the name given to /v2/events?drain=, and at most 10000 tasks")
		}
		if a.Drains != nil {
			a.Drains.Drained(body.Balancer, body.Tasks)
		}
		return c.NoContent(http.StatusNoContent)
	}})
}
