package rest

import (
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/stoa-project/stoa/internal/metrics"
)

// metricsPage serves /metrics: the JSON of Marathon's metrics library (marathon.md 12), or
// Prometheus text for a caller that names it, as every scraper does.
func (a *api) metricsPage(c echo.Context) error {
	if !a.NoPrometheus && (accepts(c, "text/plain") || accepts(c, "application/openmetrics-text")) {
		return a.prometheus(c)
	}
	return methods(c, map[string]echo.HandlerFunc{http.MethodGet: func(c echo.Context) error {
		return reply(c, http.StatusOK, metricsJSON(a.Metrics))
	}})
}

func metricsJSON(r *metrics.Registry) map[string]any {
	gauges, counters, meters, timers := map[string]any{}, map[string]any{}, map[string]any{}, map[string]any{}
	if r != nil {
		for name, v := range r.Snapshot() {
			if strings.HasSuffix(name, ".counter") || strings.Contains(name, ".counter.") {
				counters[name] = map[string]float64{"count": v}
			} else {
				gauges[name] = map[string]float64{"value": v}
			}
		}
		r.EachMeter(func(name string, m *metrics.Meter) {
			count, rates := m.Read()
			v := map[string]any{"count": count, "units": "events/second"}
			addRates(v, rates)
			meters[name] = v
		})
		r.EachTimer(func(name string, t *metrics.Timer) {
			d, rates := t.Read()
			v := map[string]any{"count": d.Count, "min": d.Min, "mean": d.Mean, "max": d.Max, "stddev": d.StdDev,
				"duration_units": "seconds", "rate_units": "calls/second"}
			for i, q := range metrics.Quantiles {
				v[q.Name] = d.Quantiles[i]
			}
			addRates(v, rates)
			timers[name] = v
		})
	}
	return map[string]any{"version": "4.0.0", "gauges": gauges, "counters": counters,
		"histograms": map[string]any{}, "meters": meters, "timers": timers}
}

func addRates(v map[string]any, r metrics.Rates) {
	v["mean_rate"], v["m1_rate"], v["m5_rate"], v["m15_rate"] = r.Mean, r.M1, r.M5, r.M15
}

// prometheus serves /metrics/prometheus.
func (a *api) prometheus(c echo.Context) error {
	return methods(c, map[string]echo.HandlerFunc{http.MethodGet: func(c echo.Context) error {
		if a.Metrics == nil || a.NoPrometheus {
			return echo.NewHTTPError(http.StatusNotFound, "Prometheus reporter is disabled")
		}
		a.Metrics.Handler().ServeHTTP(c.Response(), c.Request())
		return nil
	}})
}
