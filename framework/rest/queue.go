package rest

import (
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
	"github.com/stoa-project/stoa/framework/match"
	"github.com/stoa-project/stoa/internal/fault"
)

// queueItem is one waiting app or pod (marathon.md 1.10).
type queueItem struct {
	Count      int            `json:"count"`
	Role       string         `json:"role"`
	Delay      queueDelay     `json:"delay"`
	Since      app.Timestamp  `json:"since"`
	Summary    offersSummary  `json:"processedOffersSummary"`
	LastUnused *[]unusedOffer `json:"lastUnusedOffers,omitempty"`
	App        *app.App       `json:"app,omitempty"`
	Pod        *app.Pod       `json:"pod,omitempty"`
}

type queueDelay struct {
	TimeLeftSeconds int  `json:"timeLeftSeconds"`
	Overdue         bool `json:"overdue"`
}

type offersSummary struct {
	Processed     int            `json:"processedOffersCount"`
	Unused        int            `json:"unusedOffersCount"`
	LastUnusedAt  app.Timestamp  `json:"lastUnusedOfferAt,omitzero"`
	LastUsedAt    app.Timestamp  `json:"lastUsedOfferAt,omitzero"`
	LastOffers    []rejectReason `json:"rejectSummaryLastOffers"`
	LaunchAttempt []rejectReason `json:"rejectSummaryLaunchAttempt"`
}

type rejectReason struct {
	Reason    string `json:"reason"`
	Declined  int    `json:"declined"`
	Processed int    `json:"processed"`
}

type unusedOffer struct {
	Offer     offerView     `json:"offer"`
	Reason    []string      `json:"reason"`
	Timestamp app.Timestamp `json:"timestamp"`
}

type offerView struct {
	ID         string          `json:"id"`
	Hostname   string          `json:"hostname"`
	AgentID    string          `json:"agentId"`
	Resources  []resourceView  `json:"resources"`
	Attributes []attributeView `json:"attributes"`
}

type resourceView struct {
	Name   string      `json:"name"`
	Role   string      `json:"role"`
	Scalar *float64    `json:"scalar,omitempty"`
	Ranges []rangeView `json:"ranges,omitempty"`
}

type rangeView struct {
	Begin uint32 `json:"begin"`
	End   uint32 `json:"end"`
}

type attributeView struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

func viewReasons(s match.Summary) []rejectReason {
	var out []rejectReason
	for _, r := range match.Reasons() {
		out = append(out, rejectReason{r.String(), s.Refused[r], s.Processed(r)})
	}
	return out
}

func viewOffer(o *match.Offer) offerView {
	v := offerView{ID: o.ID, Hostname: o.Hostname, AgentID: o.AgentID, Resources: []resourceView{}, Attributes: []attributeView{}}
	for _, r := range o.Resources {
		rv := resourceView{Name: r.Name, Role: r.Role}
		for _, span := range r.Ranges {
			rv.Ranges = append(rv.Ranges, rangeView{span.Begin, span.End})
		}
		if r.Ranges == nil {
			amount := float64(r.Milli) / 1000
			rv.Scalar = &amount
		}
		v.Resources = append(v.Resources, rv)
	}
	for _, attr := range o.Attributes {
		v.Attributes = append(v.Attributes, attributeView{attr.Name, attr.Value})
	}
	return v
}

// viewQueued gives one line of the queue; offers of the newest refusals only on request.
func viewQueued(q *core.Queued, now app.Timestamp, offers bool) queueItem {
	left := max(0, int((q.DelayedUntil-now+999)/1000))
	item := queueItem{
		Count: q.Count, Role: q.Role, Delay: queueDelay{left, left == 0}, Since: q.Since, App: q.Spec.App, Pod: q.Spec.Pod,
		Summary: offersSummary{Processed: q.Attempt.Offers, Unused: q.Unused, LastUnusedAt: q.LastUnused, LastUsedAt: q.LastUsed,
			LastOffers: viewReasons(q.Last), LaunchAttempt: viewReasons(q.Attempt)},
	}
	if offers {
		list := []unusedOffer{}
		for _, o := range q.LastOffers {
			list = append(list, unusedOffer{viewOffer(o.Offer), []string{o.Reason.String()}, o.At})
		}
		item.LastUnused = &list
	}
	return item
}

// queue serves /v2/queue.
func (a *api) queue(c echo.Context) error {
	return methods(c, map[string]echo.HandlerFunc{http.MethodGet: func(c echo.Context) error {
		s, err := a.snapshot()
		if err != nil {
			return err
		}
		offers := false
		for _, v := range c.QueryParams()["embed"] {
			offers = offers || v == "lastUnusedOffers"
		}
		out := []queueItem{}
		for _, q := range s.Queue {
			out = append(out, viewQueued(q, app.At(a.now()), offers))
		}
		return reply(c, http.StatusOK, map[string]any{"queue": out})
	}})
}

// queueDelay serves DELETE /v2/queue/{id}/delay.
func (a *api) queueDelay(c echo.Context) error {
	path, found := strings.CutSuffix(strings.TrimPrefix(c.Request().URL.Path, "/v2/queue/"), "/delay")
	if !found {
		return echo.NewHTTPError(http.StatusNotFound, "URI not found")
	}
	id := app.ParsePath(path, app.Root)
	return methods(c, map[string]echo.HandlerFunc{http.MethodDelete: func(c echo.Context) error {
		_, err := a.Core.Do(c.Request().Context(), core.ResetDelay{App: id})
		if fault.KindOf(err) == fault.NotFound {
			return say(fault.NotFound, "Application "+string(id)+" not found in tasks queue.")
		}
		if err != nil {
			return err
		}
		return c.NoContent(http.StatusNoContent)
	}})
}
