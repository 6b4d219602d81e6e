package lb

import (
	"fmt"
	"testing"

	"github.com/stoa-project/stoa/lb/labels"
	"github.com/stoa-project/stoa/lb/render"
)

// manyApps are 1,000 apps of 10 tasks.
func manyApps() []labels.App {
	var apps []labels.App
	for i := range 1000 {
		a := labels.App{ID: fmt.Sprintf("/app-%04d", i), PortDefinitions: []labels.PortDefinition{{Port: 10000 + i}},
			Labels: map[string]string{"HAPROXY_GROUP": "external", "HAPROXY_0_VHOST": fmt.Sprintf("app-%d.example.com", i)}}
		for k := range 10 {
			a.Tasks = append(a.Tasks, labels.Task{ID: fmt.Sprintf("t%d.%d", i, k), Host: fmt.Sprintf("10.%d.%d.%d", i/250, i%250, k+1), Ports: []int{31000 + k}, State: "TASK_RUNNING"})
		}
		apps = append(apps, a)
	}
	return apps
}

// BenchmarkGeneration is from a listing to the text of the file.
func BenchmarkGeneration(b *testing.B) {
	apps := manyApps()
	s := render.Settings{HTTPPort: 80, AppIDPort: 9091, StatsPort: 9090, Maps: true, MapDir: "/maps"}
	b.ReportAllocs()
	for b.Loop() {
		services, _ := labels.Services(apps, labels.Options{Groups: []string{"external"}})
		if c, problems := render.File(services, s); len(problems) > 0 || len(c.Backends) != 1000 {
			b.Fatal(problems)
		}
	}
}
