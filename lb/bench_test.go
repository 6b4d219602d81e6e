package lb

import (
	"fmt"
	"testing"

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
