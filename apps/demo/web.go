package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

type webCmd struct {
	Port     int           `default:"8000" env:"PORT0" help:"Port to listen on."`
	Greeting string        `default:"hello" env:"GREETING" help:"First word of each answer."`
	Upstream string        `help:"URL whose answer is shown too."`
	File     string        `help:"File whose first line is shown too."`
	Drain    time.Duration `default:"2s" help:"How long to go on serving after SIGTERM."`
}

// answer is what each request shows: who served it.
type answer struct {
	Greeting string          `json:"greeting"`
	App      string          `json:"app"`
	Task     string          `json:"task"`
	Version  string          `json:"version"`
	Host     string          `json:"host"`
	Port     int             `json:"port"`
	Upstream json.RawMessage `json:"upstream,omitempty"`
	File     string          `json:"file,omitempty"`
}

func (c webCmd) Run(ctx context.Context) error {
	l, err := net.Listen("tcp", net.JoinHostPort("", strconv.Itoa(c.Port)))
	if err != nil {
		return err
	}
	client := &http.Client{Timeout: 2 * time.Second}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		a := answer{
			Greeting: c.Greeting, App: os.Getenv("MARATHON_APP_ID"), Task: os.Getenv("MESOS_TASK_ID"),
			Version: os.Getenv("MARATHON_APP_VERSION"), Host: os.Getenv("HOST"), Port: c.Port,
		}
		if c.Upstream != "" {
			body, err := fetch(r.Context(), client, c.Upstream)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadGateway)
				return
			}
			a.Upstream = body
		}
		if c.File != "" {
			line, err := firstLine(c.File)
			if err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
			a.File = line
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(a)
	})
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		// Whoever still sends requests here hears of the stop a moment later.
		s.SetKeepAlivesEnabled(false)
		time.Sleep(c.Drain)
		end, cancel := context.WithTimeout(context.Background(), c.Drain+time.Second)
		defer cancel()
		stopped <- s.Shutdown(end)
	}()
	fmt.Println("listening on", l.Addr())
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}

// firstLine reads at most 4 KiB of a file.
func firstLine(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 4<<10))
	line, _, _ := strings.Cut(string(b), "\n")
	return line, err
}

// fetch reads at most 64 KiB of JSON from url.
func fetch(ctx context.Context, client *http.Client, url string) (json.RawMessage, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK || !json.Valid(body) {
		return nil, fmt.Errorf("upstream %s answered %s", url, res.Status)
	}
	return body, nil
}
