package dns

import (
	"maps"
	"strings"
	"time"

	"github.com/stoa-project/stoa/dns/answer"
	"github.com/stoa-project/stoa/dns/follow"
	"github.com/stoa-project/stoa/internal/metrics"
)

// instruments are the room's metrics. The nine query counters have the names and meaning
// of Mesos-DNS' log counters (mesos-dns.md section 12).
type instruments struct {
	mesosRequests, mesosSuccess, mesosNXDomain, mesosFailed      *metrics.Counter
	otherRequests, otherSuccess, otherNXDomain, otherFailed, fwd *metrics.Counter

	follow  *metrics.CounterVec
	latency metrics.Histogram
	took    [16]interface{ Observe(float64) } // by rcode
	build   metrics.Histogram
	records *metrics.GaugeVec
	skipped *metrics.GaugeVec
	newest  *metrics.Gauge

	lastSkipped map[string]int // shown by skipped
}

func newInstruments(r *metrics.Registry, age func() float64) *instruments {
	counter := func(name, help string) *metrics.Counter {
		return r.Counter(metrics.Def{Name: "stoa_dns_" + name + "_total", Help: help})
	}
	r.GaugeFunc(metrics.Def{Name: "stoa_dns_age_seconds", Help: "Time since the master was last heard of; -1 before the first state."}, age)
	m := &instruments{
		newest:        r.Gauge(metrics.Def{Name: "stoa_dns_last_event_timestamp_seconds", Help: "When the newest event that is served arrived, in Unix time."}),
		mesosRequests: counter("mesos_requests", "Queries for names of the zone."),
		mesosSuccess:  counter("mesos_success", "Queries for names of the zone that found records."),
		mesosNXDomain: counter("mesos_nxdomain", "Queries for names of the zone without records."),
		mesosFailed:   counter("mesos_failed", "Queries for names of the zone that failed."),
		otherRequests: counter("non_mesos_requests", "Queries for other names."),
		otherSuccess:  counter("non_mesos_success", "Queries for other names that found records."),
		otherNXDomain: counter("non_mesos_nxdomain", "Queries for other names without records."),
		otherFailed:   counter("non_mesos_failed", "Queries for other names that failed."),
		fwd:           counter("non_mesos_forwarded", "Queries for other names that a resolver answered."),
		follow:        r.CounterVec(metrics.Def{Name: "stoa_dns_follow_total", Help: "What happened while following the master.", Labels: []string{"what"}}),
		latency: r.Histogram(metrics.Def{
			Name: "stoa_dns_event_to_record_seconds", Help: "From the arrival of the newest event to its records being served.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5},
		}),
		build:   r.Histogram(metrics.Def{Name: "stoa_dns_build_seconds", Help: "Time to work out the zone."}),
		records: r.GaugeVec(metrics.Def{Name: "stoa_dns_records", Help: "Records of the zone.", Labels: []string{"type"}}),
		skipped: r.GaugeVec(metrics.Def{Name: "stoa_dns_skipped_names", Help: "Names that could not be built.", Labels: []string{"reason"}}),
	}
	took := r.HistogramVec(metrics.Def{
		Name: "stoa_dns_query_seconds", Help: "From reading a query to its reply being ready, by response code.", Labels: []string{"rcode"},
		Buckets: []float64{.00001, .0001, .001, .005, .025, .1, .5, 2.5},
	})
	for code := range m.took {
		m.took[code] = took.WithLabelValues(strings.ToLower(answer.RcodeText(code)))
	}
	return m
}

// query counts one answer.
func (m *instruments) query(o answer.Outcome) {
	requests, success, nxdomain, failed := m.otherRequests, m.otherSuccess, m.otherNXDomain, m.otherFailed
	if o.InZone {
		requests, success, nxdomain, failed = m.mesosRequests, m.mesosSuccess, m.mesosNXDomain, m.mesosFailed
	}
	requests.Inc()
	m.took[o.Rcode&15].Observe(o.Took.Seconds())
	if o.Forwarded {
		m.fwd.Inc()
	}
	const nameError = 3
	switch {
	case o.Rcode == nameError || (o.Rcode == 0 && o.Empty):
		nxdomain.Inc()
	case o.Rcode == 0:
		success.Inc()
	default:
		failed.Inc()
	}
}

// http counts one request of /v1/hosts or /v1/services.
func (m *instruments) http(found bool) {
	m.mesosRequests.Inc()
	if found {
		m.mesosSuccess.Inc()
	} else {
		m.mesosNXDomain.Inc()
	}
}

// counters gives the nine counters under the names that Mesos-DNS logs them by.
func (m *instruments) counters() []any {
	return []any{
		"MesosRequests", m.mesosRequests.Value(), "MesosSuccess", m.mesosSuccess.Value(),
		"MesosNXDomain", m.mesosNXDomain.Value(), "MesosFailed", m.mesosFailed.Value(),
		"NonMesosRequests", m.otherRequests.Value(), "NonMesosSuccess", m.otherSuccess.Value(),
		"NonMesosNXDomain", m.otherNXDomain.Value(), "NonMesosFailed", m.otherFailed.Value(),
		"NonMesosForwarded", m.fwd.Value(),
	}
}

func (m *instruments) event(e follow.Event) { m.follow.WithLabelValues(string(e)).Inc() }

func (m *instruments) published(p follow.Published) {
	m.latency.Observe(time.Since(p.At).Seconds())
	m.newest.Set(float64(p.At.UnixMilli()) / 1000)
	m.build.Observe(p.Took.Seconds())
	for kind, n := range map[string]int{"A": p.Zone.Counts.A, "AAAA": p.Zone.Counts.AAAA, "SRV": p.Zone.Counts.SRV} {
		m.records.WithLabelValues(kind).Set(float64(n))
	}
	if maps.Equal(m.lastSkipped, p.Zone.Skipped) {
		return
	}
	m.lastSkipped = p.Zone.Skipped
	m.skipped.Reset()
	for reason, n := range p.Zone.Skipped {
		m.skipped.WithLabelValues(reason).Set(float64(n))
	}
}
