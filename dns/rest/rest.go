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
	"time"

	"github.com/labstack/echo/v4"

	"github.com/stoa-project/stoa/dns/names"
	"github.com/stoa-project/stoa/internal/metrics"
	"github.com/stoa-project/stoa/internal/web"
)

// maxStale is how long a master may be silent before /readyz complains.
const maxStale = 5 * time.Minute

// Source is what the API shows.
type Source interface {
	// Zone gives the present records and when a master was last heard of; nil before
	// the first.
	Zone() (zone *names.Zone, heard time.Time)
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
	Version     string // of this program
	Settings    any    // /v1/config, without secrets
	Enumeration bool   // serve /v1/enumerate and /v1/axfr
	Metrics     *metrics.Registry
	// Count hears the outcome of each /v1/hosts and /v1/services request; nil: nobody.
	Count func(found bool)
}

type api struct {
	cfg Config
	src Source
}

// New makes the handler.
func New(cfg Config, src Source, log *slog.Logger) http.Handler {
	if cfg.Count == nil {
		cfg.Count = func(bool) {}
	}
	a := &api{cfg: cfg, src: src}
	e := web.New(web.Config{Logger: log, Room: "dns", Metrics: cfg.Metrics, ErrorBody: errorBody})
	e.GET("/v1/version", a.version)
	e.GET("/v1/config", a.config)
	e.GET("/v1/hosts/:host", a.hosts)
	e.GET("/v1/hosts/:host/ports", func(c echo.Context) error { return c.String(http.StatusNotImplemented, "To be implemented...") })
	e.GET("/v1/services/:service", a.services)
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
	case time.Since(heard) > maxStale:
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
	records := []hostRecord{}
	if node := a.node(name); node != nil {
		for _, list := range [][]netip.Addr{node.A, node.AAAA} {
			for _, ip := range list {
				records = append(records, hostRecord{name, ip.String()})
			}
		}
	}
	a.cfg.Count(len(records) > 0)
	if len(records) == 0 {
		records = append(records, hostRecord{})
	}
	return pretty(c, records)
}

type serviceRecord struct {
	Service string `json:"service"`
	Host    string `json:"host"`
	IP      string `json:"ip"`
	Port    string `json:"port"`
}

func (a *api) services(c echo.Context) error {
	asked := c.Param("service")
	records := []serviceRecord{}
	if node := a.node(fqdn(asked)); node != nil {
		for _, s := range node.SRV {
			target := a.node(s.Target)
			if target == nil {
				continue
			}
			for _, list := range [][]netip.Addr{target.A, target.AAAA} {
				if len(list) > 0 {
					records = append(records, serviceRecord{asked, s.Target, list[0].String(), strconv.Itoa(int(s.Port))})
				}
			}
		}
	}
	a.cfg.Count(len(records) > 0)
	if len(records) == 0 {
		records = append(records, serviceRecord{})
	}
	return pretty(c, records)
}

func (a *api) enumerate(c echo.Context) error {
	frameworks := []names.EnumFramework{}
	if zone, _ := a.src.Zone(); zone != nil && zone.Enum != nil {
		frameworks = zone.Enum
	}
	return pretty(c, struct {
		Frameworks []names.EnumFramework `json:"frameworks"`
	}{frameworks})
}

type axfrRecords struct {
	As    map[string][]string
	AAAAs map[string][]string
	SRVs  map[string][]string
}

func (a *api) axfr(c echo.Context) error {
	zone, _ := a.src.Zone()
	if zone == nil {
		return echo.NewHTTPError(http.StatusServiceUnavailable, "no state of the cluster yet")
	}
	records := axfrRecords{map[string][]string{}, map[string][]string{}, map[string][]string{}}
	for name, node := range zone.Nodes {
		for _, ip := range node.A {
			records.As[name] = append(records.As[name], ip.String())
		}
		for _, ip := range node.AAAA {
			records.AAAAs[name] = append(records.AAAAs[name], ip.String())
		}
		for _, s := range node.SRV {
			records.SRVs[name] = append(records.SRVs[name], s.Target+":"+strconv.Itoa(int(s.Port)))
		}
	}
	return pretty(c, struct {
		SOA
		Domain  string
		Records axfrRecords
	}{a.src.SOA(), zone.Domain, records})
}

func (a *api) node(name string) *names.Node {
	zone, _ := a.src.Zone()
	if zone == nil {
		return nil
	}
	return zone.Nodes[name]
}

// fqdn gives a name as the zone spells it.
func fqdn(name string) string {
	name = strings.ReplaceAll(strings.ToLower(name), ".*", "")
	if !strings.HasSuffix(name, ".") {
		name += "."
	}
	return name
}
