package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// dnsMove kills an app's only task n times on a live `stoa dev` and gives the median time
// in milliseconds from the master's event of its successor's TASK_RUNNING to the DNS
// answer that has it.
func dnsMove(n int) (float64, map[string]float64, error) {
	d, err := startDev(2, "24000-24999")
	if err != nil {
		return 0, nil, err
	}
	defer d.stop()

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	running, err := runningEvents(ctx, d.at("--master_port"))
	if err != nil {
		return 0, nil, err
	}
	api := d.api()
	app := `{"id":"/moved","cmd":"exec sleep 100000","cpus":0.01,"mem":16,"instances":1,"backoffSeconds":0,"portDefinitions":[{"port":0,"name":"http"}]}`
	if err := call(ctx, http.MethodPost, api+"/v2/apps", app); err != nil {
		return 0, nil, err
	}
	var times []float64
	q := new(mdns.Msg)
	q.SetQuestion("_moved._tcp.marathon.mesos.", mdns.TypeSRV)
	for i := range n + 1 {
		if i > 0 {
			if err := call(ctx, http.MethodDelete, api+"/v2/apps/moved/tasks", ""); err != nil {
				return 0, nil, err
			}
		}
		var e moved
		select {
		case e = <-running:
		case <-ctx.Done():
			return 0, nil, fmt.Errorf("task %d did not run in time", i)
		}
		for {
			r, err := mdns.Exchange(q, d.at("--dns_port"))
			if err == nil && slices.ContainsFunc(r.Answer, func(rr mdns.RR) bool {
				s, ok := rr.(*mdns.SRV)
				return ok && strings.Contains(s.Target, e.agentTail) && s.Port == e.port
			}) {
				break
			}
			if ctx.Err() != nil {
				return 0, nil, fmt.Errorf("task %d did not come into DNS in time", i)
			}
		}
		if i > 0 { // the first one is no move
			times = append(times, float64(time.Since(e.at).Microseconds())/1000)
		}
	}
	slices.Sort(times)
	p50, p99 := times[len(times)/2], times[len(times)*99/100]
	if p50 > moveMedian || p99 > moveP99 {
		return 0, nil, fmt.Errorf("moved tasks took %.1f ms, 99th percentile %.1f ms; at most %d and %d are allowed", p50, p99, moveMedian, moveP99)
	}
	return p50, map[string]float64{"p99_ms": p99, "max_ms": times[len(times)-1]}, nil
}

// What a moved task's new answer may take, in milliseconds (mesos-dns.md section 15).
const (
	moveMedian = 100
	moveP99    = 500
)

// moved is a task that began to run.
type moved struct {
	at        time.Time
	agentTail string
	port      uint16
}

// runningEvents follows the master and tells of each task that begins to run.
func runningEvents(ctx context.Context, master string) (<-chan moved, error) {
	raw, err := wire.Protobuf.Marshal(&masterapi.Call{Type: masterapi.Call_SUBSCRIBE.Enum()})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+master+"/api/v1", bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", wire.MediaProtobuf)
	req.Header.Set("Accept", wire.MediaProtobuf)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	out := make(chan moved, 100)
	go func() {
		defer resp.Body.Close()
		ports, seen := map[string]uint16{}, map[string]bool{}
		for records := wire.NewReader(resp.Body, 0); ; {
			record, err := records.ReadRecord()
			at := time.Now()
			var e masterapi.Event
			if err != nil || wire.Protobuf.Unmarshal(record, &e) != nil {
				return
			}
			if t := e.GetTaskAdded().GetTask(); t != nil {
				for _, p := range t.GetDiscovery().GetPorts().GetPorts() {
					ports[t.GetTaskId().GetValue()] = uint16(p.GetNumber()) //nolint:gosec // a port
				}
			}
			u := e.GetTaskUpdated()
			id := u.GetStatus().GetTaskId().GetValue()
			if u.GetState() == mesos.TaskState_TASK_RUNNING && !seen[id] {
				seen[id] = true
				agent := u.GetStatus().GetAgentId().GetValue()
				out <- moved{at, strings.ToLower(agent[strings.LastIndexByte(agent, '-')+1:]) + ".", ports[id]}
			}
		}
	}()
	return out, nil
}

func call(ctx context.Context, method, url, body string) error {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 300))
		return fmt.Errorf("%s %s: %s: %s", method, url, resp.Status, text)
	}
	return nil
}

// dnsRoundTrip is the median time in milliseconds of one question and answer over
// loopback: less cannot be measured.
func dnsRoundTrip(n int) (float64, error) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer pc.Close()
	go func() {
		buf := make([]byte, 1500)
		for {
			size, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			buf[2] |= 0x80
			_, _ = pc.WriteTo(buf[:size], from)
		}
	}()
	q := new(mdns.Msg)
	q.SetQuestion("_moved._tcp.marathon.mesos.", mdns.TypeSRV)
	var times []float64
	for range n {
		began := time.Now()
		if _, err := mdns.Exchange(q, pc.LocalAddr().String()); err != nil {
			return 0, err
		}
		times = append(times, float64(time.Since(began).Microseconds())/1000)
	}
	slices.Sort(times)
	return times[len(times)/2], nil
}
