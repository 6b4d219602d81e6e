package framework

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestConformance_12_Metrics asks a leader for every name of the contract, in both forms.
func TestConformance_12_Metrics(t *testing.T) {
	p := start(t, t.TempDir())
	p.do(t, "POST", "/v2/apps", `{"id":"/g/w","cmd":"sleep 1","instances":2}`)
	p.do(t, "GET", "/v2/none", "")
	p.do(t, "PUT", "/v2/apps/g/w?force=true", `{"instances":1}`)
	_, body := p.do(t, "GET", "/metrics", "")
	var page struct {
		Version                    string
		Gauges                     map[string]struct{ Value float64 }
		Counters                   map[string]struct{ Count float64 }
		Meters, Timers, Histograms map[string]map[string]any
	}
	if err := json.Unmarshal([]byte(body), &page); err != nil || page.Version != "4.0.0" || page.Histograms == nil {
		t.Fatalf("%v: %.200s", err, body)
	}
	_, text := p.do(t, "GET", "/metrics/prometheus", "")
	has := func(name, kind, suffix string) {
		t.Helper()
		prom := strings.NewReplacer(".", "_", "-", "_").Replace(name) + suffix
		if !strings.Contains(text, "\n# TYPE "+prom+" "+kind+"\n") {
			t.Errorf("no %s of kind %s in Prometheus' text", prom, kind)
		}
	}
	for _, name := range []string{"apps.active.gauge", "pods.active.gauge", "groups.active.gauge", "deployments.active.gauge", "instances.running.gauge", "instances.staged.gauge",
		"instances.launch-overdue.gauge", "instances.inflight-kills.gauge", "instances.inflight-kill-attempts.gauge", "leadership.duration.gauge.seconds", "uptime.gauge.seconds",
		"http.requests.active.gauge", "http.event-streams.active.gauge", "jvm.memory.heap.used.gauge.bytes", "jvm.threads.active.gauge"} {
		if _, ok := page.Gauges["marathon."+name]; !ok {
			t.Errorf("no gauge %s", name)
		}
		has("marathon."+name, "gauge", "")
	}
	counters := []string{"deployments.counter", "deployments.dismissed.counter", "tasks.launched.counter", "mesos.calls.revive.counter", "mesos.calls.suppress.counter",
		"mesos.offer-operations.launch.counter", "mesos.offer-operations.launch-group.counter", "mesos.offer-operations.reserve.counter", "mesos.offers.incoming.counter",
		"mesos.offers.used.counter", "mesos.offers.declined.counter", "mesos.task-updates.task-running.counter", "mesos.task-updates.task-gone-by-operator.counter", "mesos.task.oom.counter",
		"http.requests.size.counter.bytes", "http.responses.size.counter.bytes", "http.responses.size.gzipped.counter.bytes", "http.responses.event-stream.size.counter.bytes"}
	for _, name := range counters {
		if _, ok := page.Counters["marathon."+name]; !ok {
			t.Errorf("no counter %s", name)
		}
		has("marathon."+name, "counter", "")
	}
	for _, name := range []string{"1xx", "2xx", "3xx", "4xx", "5xx"} {
		m := page.Meters["marathon.http.responses."+name+".rate.meter"]
		for _, key := range []string{"count", "m1_rate", "m5_rate", "m15_rate", "mean_rate", "units"} {
			if m[key] == nil {
				t.Errorf("meter %s has no %s", name, key)
			}
		}
		has("marathon.http.responses."+name+".rate.meter", "gauge", "_count")
	}
	for _, name := range []string{"", ".get", ".post", ".put", ".delete"} {
		m := page.Timers["marathon.http.requests"+name+".duration.timer.seconds"]
		for _, key := range []string{"count", "min", "mean", "max", "p50", "p75", "p95", "p98", "p99", "p999", "stddev", "m1_rate", "m5_rate", "m15_rate", "mean_rate", "duration_units", "rate_units"} {
			if m[key] == nil {
				t.Errorf("timer %q has no %s", name, key)
			}
		}
		has("marathon.http.requests"+name+".duration.timer.seconds", "summary", "")
	}
	for name, want := range map[string]float64{"apps.active.gauge": 1, "groups.active.gauge": 2, "pods.active.gauge": 0, "deployments.active.gauge": 1} {
		if got := page.Gauges["marathon."+name].Value; got != want {
			t.Errorf("%s is %g, want %g", name, got, want)
		}
	}
	if n := page.Meters["marathon.http.responses.4xx.rate.meter"]["count"]; n != 1.0 {
		t.Errorf("%v answers of 4xx", n)
	}
	if n := page.Timers["marathon.http.requests.post.duration.timer.seconds"]["count"]; n != 1.0 {
		t.Errorf("%v POSTs", n)
	}
	if page.Counters["marathon.deployments.counter"].Count != 2 || page.Counters["marathon.deployments.dismissed.counter"].Count != 1 || page.Counters["marathon.http.requests.size.counter.bytes"].Count != 58 {
		t.Errorf("counters %v", page.Counters)
	}
}

func TestConformance_12_PrefixAndCompression(t *testing.T) {
	p := startWith(t, Config{WorkDir: t.TempDir(), MetricsPrefix: "my-marathon"})
	r, _ := http.NewRequest("GET", p.url+"/v2/info", nil)
	r.Header.Set("Accept-Encoding", "gzip")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	_, body := p.do(t, "GET", "/metrics", "")
	var page struct {
		Counters map[string]struct{ Count float64 }
	}
	if err := json.Unmarshal([]byte(body), &page); err != nil {
		t.Fatal(err)
	}
	sent, zipped := page.Counters["my-marathon.http.responses.size.counter.bytes"].Count, page.Counters["my-marathon.http.responses.size.gzipped.counter.bytes"].Count
	if resp.Header.Get("Content-Encoding") != "gzip" || zipped < 100 || zipped >= sent {
		t.Errorf("sent %g bytes, %g compressed, encoding %q", sent, zipped, resp.Header.Get("Content-Encoding"))
	}
	if _, text := p.do(t, "GET", "/metrics/prometheus", ""); !strings.Contains(text, "\nmy_marathon_apps_active_gauge 0\n") {
		t.Error("the prefix is not in Prometheus' text")
	}
}

// TestConformance_11_StatsD: metrics arrive at a StatsD server, counters as what they grew by.
func TestConformance_11_StatsD(t *testing.T) {
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	p := startWith(t, Config{WorkDir: t.TempDir(), StatsD: []StatsD{{Address: server.LocalAddr().String(), Every: 20 * time.Millisecond}}})
	p.do(t, "POST", "/v2/apps", `{"id":"/g/w","cmd":"sleep 1","instances":2}`)
	if err := server.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{"marathon.apps.active.gauge:1|g": false, "marathon.deployments.counter:1|c": false, "marathon.http.responses.2xx.rate.meter.count:1|g": false,
		"marathon.http.requests.post.duration.timer.seconds.count:1|g": false, "marathon.deployments.counter:0|c": false}
	for missing := len(want); missing > 0; {
		packet := make([]byte, 65536)
		n, _, err := server.ReadFrom(packet)
		if err != nil {
			t.Fatalf("%v, got of %v", err, want)
		}
		if n > maxDatagram {
			t.Errorf("a datagram of %d bytes", n)
		}
		for line := range strings.SplitSeq(string(packet[:n]), "\n") {
			if seen, asked := want[line]; asked && !seen {
				want[line] = true
				missing--
			}
		}
	}
}
