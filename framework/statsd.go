package framework

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/stoa-project/stoa/internal/metrics"
)

// StatsD is where metrics are pushed to over UDP, in the form that StatsD and the agent of
// Datadog read.
type StatsD struct {
	Address string        // host:port
	Every   time.Duration // 10 s
}

// maxDatagram is the size in bytes that passes every network in one piece.
const maxDatagram = 1400

// pushMetrics sends all metrics again and again until ctx ends. What cannot be sent is
// lost: the next push has newer values.
func pushMetrics(ctx context.Context, to StatsD, r *metrics.Registry, log *slog.Logger) {
	if to.Every <= 0 {
		to.Every = 10 * time.Second
	}
	tick := time.NewTicker(to.Every)
	defer tick.Stop()
	sent := map[string]float64{}
	failing := false
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		err := sendLines(ctx, to.Address, statsdLines(r, sent))
		if failing != (err != nil) {
			failing = err != nil
			log.Info("pushing metrics", "address", to.Address, "error", err)
		}
	}
}

// statsdLines gives each metric as name:value|type. Counters are told as what they grew
// by since sent, which is brought up to date; timers and meters as gauges.
func statsdLines(r *metrics.Registry, sent map[string]float64) []string {
	var out []string
	line := func(name string, v float64, kind string) { out = append(out, fmt.Sprintf("%s:%g|%s", name, v, kind)) }
	now := r.Snapshot()
	for _, name := range slices.Sorted(maps.Keys(now)) {
		v := now[name]
		if !strings.HasSuffix(name, ".counter") && !strings.Contains(name, ".counter.") {
			line(name, v, "g")
			continue
		}
		grown := v - sent[name]
		if grown < 0 {
			grown = v // leadership went and came: it counts from 0
		}
		sent[name] = v
		line(name, grown, "c")
	}
	rates := func(name string, r metrics.Rates) {
		line(name+".mean_rate", r.Mean, "g")
		line(name+".m1_rate", r.M1, "g")
		line(name+".m5_rate", r.M5, "g")
		line(name+".m15_rate", r.M15, "g")
	}
	r.EachMeter(func(name string, m *metrics.Meter) {
		count, rs := m.Read()
		line(name+".count", float64(count), "g")
		rates(name, rs)
	})
	r.EachTimer(func(name string, t *metrics.Timer) {
		d, rs := t.Read()
		line(name+".count", float64(d.Count), "g")
		line(name+".min", d.Min, "g")
		line(name+".mean", d.Mean, "g")
		line(name+".max", d.Max, "g")
		line(name+".stddev", d.StdDev, "g")
		for i, q := range metrics.Quantiles {
			line(name+"."+q.Name, d.Quantiles[i], "g")
		}
		rates(name, rs)
	})
	return out
}

// sendLines packs lines into datagrams.
func sendLines(ctx context.Context, address string, lines []string) error {
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "udp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	var packet []byte
	for i, l := range lines {
		if len(packet) > 0 {
			packet = append(packet, '\n')
		}
		packet = append(packet, l...)
		if i+1 == len(lines) || len(packet)+1+len(lines[i+1]) > maxDatagram {
			if _, err := conn.Write(packet); err != nil {
				return err
			}
			packet = packet[:0]
		}
	}
	return nil
}
