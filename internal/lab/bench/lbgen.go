package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/stoa-project/stoa/lb/haproxy"
	"github.com/stoa-project/stoa/lb/labels"
	"github.com/stoa-project/stoa/lb/render"
)

// lbApps are n apps of each tasks, as a listing gives them.
func lbApps(n, each int) []labels.App {
	var out []labels.App
	for i := range n {
		a := labels.App{ID: fmt.Sprintf("/app-%05d", i), PortDefinitions: []labels.PortDefinition{{Port: 10000 + i}}, Rev: uint64(i + 1),
			Labels: map[string]string{"HAPROXY_GROUP": "external", "HAPROXY_0_VHOST": fmt.Sprintf("app-%d.example.com", i)}}
		for k := range each {
			a.Tasks = append(a.Tasks, labels.Task{ID: fmt.Sprintf("t%d.%d", i, k), Host: fmt.Sprintf("10.%d.%d.%d", i/250, i%250, k+1), Ports: []int{31000 + k}, State: "TASK_RUNNING"})
		}
		out = append(out, a)
	}
	return out
}

// generation measures the making of HAProxy's file for n apps of five tasks from
// nothing, in milliseconds, and in extra after a change of one app, for ten tasks each,
// and what HAProxy takes to validate that.
func generation(n int) (float64, map[string]float64, error) {
	dir, err := os.MkdirTemp("", "lb")
	if err != nil {
		return 0, nil, err
	}
	defer os.RemoveAll(dir)
	s := render.Settings{HTTPPort: 10080, AppIDPort: 9091, StatsPort: 9090, MaxConn: 1000, Maps: true, MapDir: dir}
	once := func(m *labels.Memo, r *render.Memo, apps []labels.App) (render.Config, error) {
		services, _ := m.Services(apps, labels.Options{Groups: []string{"external"}})
		c, problems := r.File(services, s)
		if len(problems) > 0 || len(c.Backends) != len(apps) {
			return c, errors.New("not all apps are in the file")
		}
		return c, nil
	}
	median := func(f func() error) (float64, error) {
		var took []float64
		for range 21 {
			runtime.GC() // each begins with the same heap
			at := time.Now()
			if err := f(); err != nil {
				return 0, err
			}
			took = append(took, time.Since(at).Seconds()*1000)
		}
		slices.Sort(took)
		return took[len(took)/2], nil
	}
	apps := lbApps(n, 5)
	value, err := median(func() error { _, err := once(&labels.Memo{}, &render.Memo{}, apps); return err })
	if err != nil {
		return 0, nil, err
	}
	extra := map[string]float64{}
	m, r, rev := &labels.Memo{}, &render.Memo{}, uint64(n)
	if extra["change_ms"], err = median(func() error {
		rev++
		apps[int(rev)%n].Rev = rev
		_, err := once(m, r, apps)
		return err
	}); err != nil {
		return 0, nil, err
	}
	ten := lbApps(n, 10)
	var c render.Config
	if extra["ten_tasks_ms"], err = median(func() (err error) { c, err = once(&labels.Memo{}, &render.Memo{}, ten); return err }); err != nil {
		return 0, nil, err
	}
	binary, err := haproxy.Find(context.Background(), "")
	if err != nil {
		return 0, nil, err
	}
	p := haproxy.New(haproxy.Config{Binary: binary, ConfigPath: filepath.Join(dir, "haproxy.cfg"), RunDir: dir, Logger: slog.New(slog.DiscardHandler)})
	if extra["validate_ms"], err = median(func() error { return p.Validate(context.Background(), c) }); err != nil {
		return 0, nil, err
	}
	extra["file_kb"] = float64(len(c.Text)) / 1000
	return value, extra, nil
}

// writeText is the floor: the bytes of such a file, put together from ready lines.
func writeText(n int) (float64, error) {
	line := "  server 10_0_0_1_31000 10.0.0.1:31000 id 12345\n"
	var took []float64
	for range 21 {
		at := time.Now()
		var b []byte
		for range n * 10 {
			b = append(b, line...)
		}
		if len(b) == 0 {
			return 0, errors.New("nothing was written")
		}
		took = append(took, time.Since(at).Seconds()*1000)
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}
