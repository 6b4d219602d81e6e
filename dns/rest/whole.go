package rest

import (
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/stoa-project/stoa/dns/names"
)

// enumerate and axfr list the whole zone. They do so one request after the other, because
// an answer can take many times the memory of the zone.

func (a *api) enumerate(c echo.Context) error {
	a.whole.Lock()
	defer a.whole.Unlock()
	frameworks := []names.EnumFramework{}
	if zone, _ := a.src.Zone(); zone != nil {
		frameworks = zone.Enumerate()
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
	a.whole.Lock()
	defer a.whole.Unlock()
	zone, _ := a.src.Zone()
	if zone == nil {
		return echo.NewHTTPError(http.StatusServiceUnavailable, "no state of the cluster yet")
	}
	records := axfrRecords{map[string][]string{}, map[string][]string{}, map[string][]string{}}
	for node := range zone.All() {
		for _, ip := range node.IPs() {
			list := records.As
			if ip.Is6() {
				list = records.AAAAs
			}
			list[node.Name()] = append(list[node.Name()], ip.String())
		}
		for _, s := range node.SRV() {
			records.SRVs[node.Name()] = append(records.SRVs[node.Name()], s.Target+":"+strconv.Itoa(int(s.Port)))
		}
	}
	return pretty(c, struct {
		SOA
		Domain  string
		Records axfrRecords
	}{a.src.SOA(), zone.Domain, records})
}
