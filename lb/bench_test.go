package lb

import (
	"fmt"
	"github.com/stoa-project/stoa/lb/haproxy"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stoa-project/stoa/lb/labels"
	"github.com/stoa-project/stoa/lb/render"
)

// manyApps are n apps of each tasks.
func manyApps(n, each int) []labels.App {
	var apps []labels.App
	for i := range n {
		a := labels.App{ID: fmt.Sprintf("/app-%04d", i), PortDefinitions: []labels.PortDefinition{{Port: 10000 + i}}, Rev: uint64(i + 1),
			Labels: map[string]string{"HAPROXY_GROUP": "external", "HAPROXY_0_VHOST": fmt.Sprintf("app-%d.example.com", i)}}
		for k := range each {
			a.Tasks = append(a.Tasks, labels.Task{ID: fmt.Sprintf("t%d.%d", i, k), Host: fmt.Sprintf("10.%d.%d.%d", i/250, i%250, k+1), Ports: []int{31000 + k}, State: "TASK_RUNNING"})
		}
		apps = append(apps, a)
	}
	return apps
}

var sizes = []struct{ apps, tasks int }{{1000, 5}, {1000, 10}, {5000, 5}}

// generate goes from a listing to the text of the file.
func generate(b *testing.B, m *labels.Memo, r *render.Memo, apps []labels.App) {
	s := render.Settings{HTTPPort: 80, AppIDPort: 9091, StatsPort: 9090, Maps: true, MapDir: "/maps"}
	services, _ := m.Services(apps, labels.Options{Groups: []string{"external"}})
	if c, problems := r.File(services, s); len(problems) > 0 || len(c.Backends) != len(apps) {
		b.Fatal(problems)
	}
}

// BenchmarkGeneration makes everything anew.
func BenchmarkGeneration(b *testing.B) {
	for _, s := range sizes {
		b.Run(fmt.Sprintf("%dx%d", s.apps, s.tasks), func(b *testing.B) {
			apps := manyApps(s.apps, s.tasks)
			b.ReportAllocs()
			for b.Loop() {
				generate(b, new(labels.Memo), new(render.Memo), apps)
			}
		})
	}
}

// BenchmarkEvent makes it after a change of one app.
func BenchmarkEvent(b *testing.B) {
	for _, s := range sizes {
		b.Run(fmt.Sprintf("%dx%d", s.apps, s.tasks), func(b *testing.B) {
			apps := manyApps(s.apps, s.tasks)
			m, r := new(labels.Memo), new(render.Memo)
			rev := uint64(len(apps))
			b.ReportAllocs()
			for b.Loop() {
				rev++
				a := &apps[int(rev)%len(apps)]
				a.Rev = rev
				generate(b, m, r, apps)
			}
		})
	}
}

// BenchmarkApply brings one new task of 10,000 into a running HAProxy: from the listing
// to the end of the runtime commands.
func BenchmarkApply(b *testing.B) {
	dir, err := os.MkdirTemp("", "lb")
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(dir)
	cfg := Defaults()
	cfg.Groups, cfg.BindAddr, cfg.HTTPPort, cfg.HTTPSPort, cfg.AppIDPort, cfg.StatsPort = []string{"*"}, "127.7.7.8", 10, 0, 0, 11
	cfg.ConfigPath, cfg.RunDir, cfg.Syslog = filepath.Join(dir, "haproxy.cfg"), dir, ""
	l, err := New(cfg, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		b.Fatal(err)
	}
	if l.files.Binary, err = haproxy.Find(b.Context(), ""); err != nil {
		b.Fatal(err)
	}
	l.proxy = haproxy.New(l.files)
	defer l.proxy.Close()
	apps := manyApps(1000, 10)
	var later <-chan time.Time
	l.take(apps)
	l.apply(b.Context(), &later, true)
	rev := uint64(len(apps))
	b.ReportAllocs()
	for b.Loop() {
		rev++
		a := &apps[int(rev)%len(apps)]
		a.Rev = rev
		a.Tasks = append(slices.Clone(a.Tasks), labels.Task{ID: fmt.Sprint("new", rev), Host: "10.9.9.9", Ports: []int{1000 + int(rev)%60000}, State: "TASK_RUNNING"})
		l.take(slices.Clone(apps))
		l.apply(b.Context(), &later, false)
		if s := l.Status(); s.LastChange != string(haproxy.Runtime) || s.LastError != "" {
			b.Fatalf("%+v", s)
		}
	}
}
