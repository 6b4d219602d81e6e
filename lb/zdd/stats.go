package zdd

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/stoa-project/stoa/lb/labels"
)

// listener is one server of the statistics of one load balancer.
type listener struct {
	proxy, server, status string
	sessions, queued      string
}

// up tells whether it gets requests. Without health checks there is no UP.
func (l listener) up() bool { return l.status == "UP" || l.status == "no check" }

// out tells whether it gets none any more.
func (l listener) out() bool { return l.status == "MAINT" }

// drained tells whether its last request has ended, too.
func (l listener) drained() bool {
	return l.out() && (l.sessions == "" || l.sessions == "0") && (l.queued == "" || l.queued == "0")
}

// readStats gives the servers of one proxy.
func readStats(text, proxy string) ([]listener, error) {
	r := csv.NewReader(strings.NewReader(strings.TrimPrefix(text, "# ")))
	r.FieldsPerRecord, r.LazyQuotes = -1, true
	rows, err := r.ReadAll()
	if err != nil || len(rows) == 0 {
		return nil, fmt.Errorf("the statistics cannot be read: %w", err)
	}
	at := map[string]int{}
	for i, name := range rows[0] {
		at[name] = i
	}
	for _, name := range []string{"pxname", "svname", "status", "scur", "qcur"} {
		if _, ok := at[name]; !ok {
			return nil, fmt.Errorf("the statistics have no column %s", name)
		}
	}
	var out []listener
	for _, row := range rows[1:] {
		field := func(name string) string {
			if i := at[name]; i < len(row) {
				return row[i]
			}
			return ""
		}
		l := listener{proxy: field("pxname"), server: field("svname"), status: field("status"), sessions: field("scur"), queued: field("qcur")}
		if l.proxy == proxy && l.server != "BACKEND" && l.server != "FRONTEND" {
			out = append(out, l)
		}
	}
	return out, nil
}

// settled tells whether all load balancers know all instances of both apps, enough are up
// and at least one has no requests left.
func settled(rows []listener, balancers int, next, before app) bool {
	up, idle := 0, 0
	for _, l := range rows {
		if l.up() {
			up++
		}
		if l.drained() {
			idle++
		}
	}
	return len(rows) == balancers*(next.instances()+before.instances()) && up >= balancers*next.target() && idle > 0
}

// onAll gives the tasks whose server is so on every load balancer.
func onAll(names map[string]string, rows []listener, balancers int, is func(listener) bool) []string {
	count := map[string]int{}
	for _, l := range rows {
		if is(l) {
			count[l.server]++
		}
	}
	out := []string{}
	for _, task := range sortedKeys(names) {
		if count[names[task]] == balancers {
			out = append(out, task)
		}
	}
	return out
}

// serverNames gives the name of each task's first port in the load balancer.
func serverNames(ctx context.Context, a app) (map[string]string, error) {
	text, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	var l labels.App
	if err := json.Unmarshal(text, &l); err != nil {
		return nil, failed(BadMarathon, "app %s: %w", a.id(), err)
	}
	addresses := map[string]string{}
	for _, k := range l.Tasks {
		if k.Host == "" || net.ParseIP(k.Host) != nil || addresses[k.Host] != "" {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		found, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", k.Host)
		cancel()
		if err == nil && len(found) > 0 {
			addresses[k.Host] = found[0].Unmap().String()
		}
	}
	return labels.ServerNames(&l, 0, addresses), nil
}
