// Package rest is the HTTP API of Mesos-DNS (mesos-dns.md section 11), with health and
// metrics beside it.
package rest

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/stoa-project/stoa/dns/names"
	"github.com/stoa-project/stoa/internal/metrics"
	"github.com/stoa-project/stoa/internal/web"
)

// Source is what the API shows.
type Source interface {
	// Zone gives the present records and when a master was last heard of; nil before
	// the first.
	Zone() (zone *names.Zone, heard time.Time)
	// Changed is closed when there is another zone than at the time of the call.
	Changed() <-chan struct{}
	// SOA gives the values that /v1/axfr shows.
	SOA() SOA
}

// SOA is the head of /v1/axfr.
type SOA struct {
	TTL            uint32
	Serial         uint32
	RefreshSeconds uint32
	Mname          string
	Rname          string
}

// Config of the API.
type Config struct {
	Version     string        // of this program
	Settings    any           // /v1/config, without secrets
	Enumeration bool          // serve /v1/enumerate and /v1/axfr
	MaxStale    time.Duration // a master that is silent for longer makes /readyz fail
	Metrics     *metrics.Registry
	// Count hears the outcome of each /v1/hosts and /v1/services request; nil: nobody.
	Count func(found bool)
}

type api struct {
	cfg      Config
	src      Source
	whole    sync.Mutex    // held by the one request that lists the whole zone
	watchers chan struct{} // one token per watcher
}

// New makes the handler.
func New(cfg Config, src Source, log *slog.Logger) http.Handler {
	if cfg.Count == nil {
		cfg.Count = func(bool) {}
	}
	a := &api{cfg: cfg, src: src, watchers: make(chan struct{}, maxWatchers)}
	e := web.New(web.Config{Logger: log, Room: "dns", Metrics: cfg.Metrics, ErrorBody: errorBody})
	e.GET("/v1/version", a.version)
	e.GET("/v1/config", a.config)
	e.GET("/v1/hosts/:host", a.hosts)
	e.GET("/v1/hosts/:host/ports", func(c echo.Context) error { return c.String(http.StatusNotImplemented, "To be implemented...") })
	e.GET("/v1/services/:service", a.services)
	e.GET("/v1/watch", a.watch)
	if cfg.Enumeration {
		e.GET("/v1/enumerate", a.enumerate)
		e.GET("/v1/axfr", a.axfr)
	}
	e.GET("/healthz", func(c echo.Context) error { return c.NoContent(http.StatusOK) })
	e.GET("/readyz", a.ready)
	if cfg.Metrics != nil {
		e.GET("/metrics", echo.WrapHandler(cfg.Metrics.Handler()))
	}
	return e
}

// errorBody is plain text, as the original's.
func errorBody(status int, err error) (string, []byte) {
	text := err.Error()
	if status == http.StatusNotFound {
		text = "404: Page Not Found"
	}
	return "text/plain; charset=utf-8", []byte(text)
}

// pretty writes JSON indented as the original does.
func pretty(c echo.Context, v any) error {
	body, err := json.MarshalIndent(v, " ", " ")
	if err != nil {
		return err
	}
	return c.Blob(http.StatusOK, "application/json", body)
}

func (a *api) version(c echo.Context) error {
	return pretty(c, struct{ Service, URL, Version, Implementation string }{
		"Mesos-DNS", "https://github.com/mesosphere/mesos-dns", a.cfg.Version, "stoa",
	})
}

func (a *api) config(c echo.Context) error { return pretty(c, a.cfg.Settings) }

func (a *api) ready(c echo.Context) error {
	zone, heard := a.src.Zone()
	switch {
	case zone == nil:
		return echo.NewHTTPError(http.StatusServiceUnavailable, "no state of the cluster yet")
	case time.Since(heard) > a.cfg.MaxStale:
		return echo.NewHTTPError(http.StatusServiceUnavailable, "the master was last heard of "+time.Since(heard).Round(time.Second).String()+" ago")
	}
	return c.NoContent(http.StatusOK)
}

type hostRecord struct {
	Host string `json:"host"`
	IP   string `json:"ip"`
}

func (a *api) hosts(c echo.Context) error {
	name := fqdn(c.Param("host"))
	records := hostRecords(name, a.node(name))
	a.cfg.Count(len(records) > 0)
	if len(records) == 0 {
		records = append(records, hostRecord{})
	}
	return pretty(c, records)
}

func hostRecords(name string, node *names.Node) []hostRecord {
	records := []hostRecord{}
	if node != nil {
		for _, ip := range node.IPs() {
			records = append(records, hostRecord{name, ip.String()})
		}
	}
	return records
}

type serviceRecord struct {
	Service string `json:"service"`
	Host    string `json:"host"`
	IP      string `json:"ip"`
	Port    string `json:"port"`
}

func (a *api) services(c echo.Context) error {
	asked := c.Param("service")
	zone, _ := a.src.Zone()
	records := serviceRecords(zone, asked)
	a.cfg.Count(len(records) > 0)
	if len(records) == 0 {
		records = append(records, serviceRecord{})
	}
	return pretty(c, records)
}

// serviceRecords lists for each SRV record the first address of either kind of its target.
func serviceRecords(zone *names.Zone, asked string) []serviceRecord {
	records := []serviceRecord{}
	if zone == nil {
		return records
	}
	node := zone.Lookup(fqdn(asked))
	if node == nil {
		return records
	}
	for _, s := range node.SRV() {
		target := zone.Lookup(s.Target)
		if target == nil {
			continue
		}
		port := strconv.Itoa(int(s.Port))
		if v4 := target.V4(); len(v4) > 0 {
			records = append(records, serviceRecord{asked, s.Target, netip.AddrFrom4(v4[0]).String(), port})
		}
		if v6 := target.V6(); len(v6) > 0 {
			records = append(records, serviceRecord{asked, s.Target, netip.AddrFrom16(v6[0]).String(), port})
		}
	}
	return records
}

func (a *api) node(name string) *names.Node {
	zone, _ := a.src.Zone()
	if zone == nil {
		return nil
	}
	return zone.Lookup(name)
}

// fqdn gives a name as the zone spells it.
func fqdn(name string) string {
	name = strings.ReplaceAll(strings.ToLower(name), ".*", "")
	if !strings.HasSuffix(name, ".") {
		name += "."
	}
	return name
}
