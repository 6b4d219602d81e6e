package lb

import (
	"net/http"

	"github.com/stoa-project/stoa/internal/metrics"
)

// roomMetrics are what lb counts; served as /_stoa/metrics beside HAProxy's own.
type roomMetrics struct {
	registry  *metrics.Registry
	services  *metrics.Gauge
	servers   *metrics.Gauge
	problems  *metrics.Gauge
	dying     *metrics.Gauge
	workers   *metrics.Gauge
	connected *metrics.Gauge
	eventAge  *metrics.Gauge
	relayed   *metrics.Gauge
	// expiry is by file.
	expiry       *metrics.GaugeVec
	certificates *metrics.Counter
	groups       *metrics.Counter
	coalesced    *metrics.Counter
	failures     *metrics.Counter
	changes      *metrics.CounterVec
	seconds      metrics.Histogram
}

func newMetrics() *roomMetrics {
	r := metrics.New()
	return &roomMetrics{
		registry:     r,
		services:     r.Gauge(metrics.Def{Name: "stoa_lb_services", Help: "Service ports in the configuration."}),
		servers:      r.Gauge(metrics.Def{Name: "stoa_lb_servers", Help: "Servers in the configuration."}),
		problems:     r.Gauge(metrics.Def{Name: "stoa_lb_ports_left_out", Help: "Service ports left out because of a wrong label or a refusal by HAProxy."}),
		dying:        r.Gauge(metrics.Def{Name: "stoa_lb_servers_draining", Help: "Servers out of service that still have connections."}),
		workers:      r.Gauge(metrics.Def{Name: "stoa_lb_haproxy_workers", Help: "HAProxy worker processes, those of before a reload included."}),
		connected:    r.Gauge(metrics.Def{Name: "stoa_lb_event_stream_connected", Help: "1 while Marathon's event stream is open."}),
		eventAge:     r.Gauge(metrics.Def{Name: "stoa_lb_last_event_age_seconds", Help: "Time since Marathon's event stream last said anything."}),
		relayed:      r.Gauge(metrics.Def{Name: "stoa_lb_relay_streams", Help: "Load balancers that follow this one by --relay_bind."}),
		expiry:       r.GaugeVec(metrics.Def{Name: "stoa_lb_certificate_expiry_timestamp_seconds", Help: "When the first certificate of a file ends, in seconds since 1970.", Labels: []string{"file"}}),
		certificates: r.Counter(metrics.Def{Name: "stoa_lb_certificates_changed_total", Help: "Certificates that were added, replaced or removed at run time."}),
		groups:       r.Counter(metrics.Def{Name: "stoa_lb_runtime_groups_total", Help: "Groups of runtime commands sent for changes of servers and maps."}),
		coalesced:    r.Counter(metrics.Def{Name: "stoa_lb_coalesced_total", Help: "Listings and reloads that were joined with a later one."}),
		failures:     r.Counter(metrics.Def{Name: "stoa_lb_failures_total", Help: "Changes that failed: refused configurations, reloads, runtime commands."}),
		changes:      r.CounterVec(metrics.Def{Name: "stoa_lb_changes_total", Help: "Changes of the running HAProxy by way.", Labels: []string{"by"}}),
		seconds: r.Histogram(metrics.Def{
			Name: "stoa_lb_change_seconds", Help: "From a listing to HAProxy being changed.",
			Buckets: []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5},
		}),
	}
}

func (m *roomMetrics) handler() http.Handler { return m.registry.Handler() }
