package rest

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
	"github.com/stoa-project/stoa/framework/match"
	"github.com/stoa-project/stoa/internal/fault"
)

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

// queued prints one line of the queue (marathon.md 1.10); offers of the newest refusals
// only on request.
func (p *printer) queued(q *core.Queued, offers bool) {
	left := max(0, int((q.DelayedUntil-app.At(p.now)+999)/1000))
	p.raw(`{"count":`)
	p.out = strconv.AppendInt(p.out, int64(q.Count), 10)
	p.value("role", q.Role)
	p.raw(`,"delay":{"timeLeftSeconds":`)
	p.out = strconv.AppendInt(p.out, int64(left), 10)
	p.raw(`,"overdue":`)
	p.out = strconv.AppendBool(p.out, left == 0)
	p.raw("}")
	p.moment("since", q.Since)
	p.raw(`,"processedOffersSummary":{"processedOffersCount":`)
	p.out = strconv.AppendInt(p.out, int64(q.Attempt.Offers), 10)
	p.number("unusedOffersCount", q.Unused)
	if q.LastUnused != 0 {
		p.moment("lastUnusedOfferAt", q.LastUnused)
	}
	if q.LastUsed != 0 {
		p.moment("lastUsedOfferAt", q.LastUsed)
	}
	p.reasons("rejectSummaryLastOffers", q.Last)
	p.reasons("rejectSummaryLaunchAttempt", q.Attempt)
	p.raw("}")
	if offers {
		list := []unusedOffer{}
		for _, o := range q.LastOffers {
			list = append(list, unusedOffer{viewOffer(o.Offer), []string{o.Reason.String()}, o.At})
		}
		p.value("lastUnusedOffers", list)
	}
	if q.Spec.App != nil {
		p.key("app")
		p.out = append(p.out, p.a.appTexts.of(q.Spec.App, encodeApp)...)
	} else {
		p.value("pod", q.Spec.Pod)
	}
	p.raw("}")
	p.breathe()
}

// moment prints a timestamp.
func (p *printer) moment(name string, t app.Timestamp) {
	p.key(name)
	p.raw(`"`)
	p.out = t.AppendTo(p.out)
	p.raw(`"`)
}

// reasons prints a funnel of refusals (marathon.md 6.9).
func (p *printer) reasons(name string, s match.Summary) {
	p.key(name)
	p.raw("[")
	for i, r := range match.Reasons() {
		if i > 0 {
			p.raw(",")
		}
		p.raw(`{"reason":"`)
		p.raw(r.String())
		p.raw(`","declined":`)
		p.out = strconv.AppendInt(p.out, int64(s.Refused[r]), 10)
		p.number("processed", s.Processed(r))
		p.raw("}")
	}
	p.raw("]")
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
		p := a.printer(s, embeds{})
		p.stream(c)
		p.raw(`{"queue":`)
		list(p, s.Queue, func(q *core.Queued) { p.queued(q, offers) })
		p.raw("}")
		return p.send(c, http.StatusOK)
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
