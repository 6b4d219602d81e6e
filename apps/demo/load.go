package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"
)

type loadCmd struct {
	URL         string        `arg:"" help:"Where to send GET requests."`
	Host        string        `help:"Host header, for a virtual host."`
	Duration    time.Duration `default:"10s" help:"How long to send; a signal ends it early."`
	Connections int           `default:"8" help:"Requests under way at once."`
	Fresh       bool          `help:"Open a connection for each request."`
}

// loadReport is the JSON line that a run ends with.
type loadReport struct {
	Requests  int            `json:"requests"`
	Failed    int            `json:"failed"`
	Seconds   float64        `json:"seconds"`
	PerSecond float64        `json:"requests_per_second"`
	P50       float64        `json:"p50_ms"`
	P99       float64        `json:"p99_ms"`
	Tasks     map[string]int `json:"tasks"`            // answers by task id
	Errors    map[string]int `json:"errors,omitempty"` // failures by text
}

// Run sends until the time is over and prints the report. Failed requests are
// counted, not an error of the run.
func (c loadCmd) Run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.Duration)
	defer cancel()
	client := &http.Client{
		Timeout:   10 * time.Second,
		Transport: &http.Transport{MaxIdleConnsPerHost: c.Connections, DisableKeepAlives: c.Fresh},
	}
	r := loadReport{Tasks: map[string]int{}, Errors: map[string]int{}}
	var mu sync.Mutex // guards r and took
	var took []time.Duration
	var wg sync.WaitGroup
	start := time.Now()
	for range c.Connections {
		wg.Go(func() {
			for ctx.Err() == nil {
				began := time.Now()
				task, err := c.once(client)
				d := time.Since(began)
				mu.Lock()
				r.Requests++
				if err != nil {
					r.Failed++
					r.Errors[err.Error()]++
				} else {
					r.Tasks[task]++
				}
				took = append(took, d)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	r.Seconds = time.Since(start).Seconds()
	r.PerSecond = float64(r.Requests) / r.Seconds
	slices.Sort(took)
	if n := len(took); n > 0 {
		r.P50 = took[n/2].Seconds() * 1000
		r.P99 = took[n*99/100].Seconds() * 1000
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// once sends one request to its end and gives the task that answered.
func (c loadCmd) once(client *http.Client) (string, error) {
	// Not bound to the run's context: a request under way when the time is over
	// is allowed to finish, so that only real failures count.
	req, err := http.NewRequest(http.MethodGet, c.URL, nil)
	if err != nil {
		return "", err
	}
	req.Host = c.Host
	res, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return "", err
	}
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("status %d", res.StatusCode)
	}
	var a answer
	_ = json.Unmarshal(body, &a) // a server that is not ours has no task name
	return a.Task, nil
}
