package labels

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// A Memo gives what the function without memory gives, whatever changes between calls.
func TestMemoForgetsNothingAndKeepsNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := Options{Groups: []string{"*"}, HealthCheck: rapid.Bool().Draw(t, "checks"), AssignMin: 10050, AssignMax: 10060, Addresses: map[string]string{}}
		m := &Memo{}
		apps := map[string]App{}
		rev := uint64(0)
		for step := range rapid.IntRange(2, 12).Draw(t, "steps") {
			id := rapid.SampledFrom([]string{"/a", "/b", "/c", "/d"}).Draw(t, "app")
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0:
				delete(apps, id)
			case 1:
				o.Addresses[rapid.SampledFrom([]string{"h1", "h2"}).Draw(t, "host")] = rapid.SampledFrom([]string{"10.0.0.1", "10.0.0.2"}).Draw(t, "address")
			case 2:
				o.LastAlive = map[string]bool{"t0": rapid.Bool().Draw(t, "alive")}
			default:
				rev++
				a := App{ID: id, Rev: rev, PortDefinitions: []PortDefinition{{Port: rapid.IntRange(10000, 10003).Draw(t, "port")}}, Labels: map[string]string{}}
				if rapid.Bool().Draw(t, "no port") {
					a.PortDefinitions, a.IPAddress = nil, &IPAddress{}
					a.Container = &Container{PortMappings: []PortMapping{{ContainerPort: 80}}}
				}
				if rapid.Bool().Draw(t, "wrong") {
					a.Labels["HAPROXY_0_MODE"] = "x"
				}
				if rapid.IntRange(0, 3).Draw(t, "group") == 0 {
					a.Labels[labelGroup] = "g"
				}
				a.Labels["HAPROXY_0_VHOST"] = rapid.SampledFrom([]string{"x.example.com", "y.example.com", ""}).Draw(t, "vhost")
				for k := range rapid.IntRange(0, 3).Draw(t, "tasks") {
					task := Task{ID: fmt.Sprint("t", k), Host: rapid.SampledFrom([]string{"h1", "h2", "10.0.0.9"}).Draw(t, "on"), Ports: []int{31000 + k}, State: "TASK_RUNNING"}
					task.IPAddresses = []TaskAddress{{fmt.Sprint("192.168.0.", k+1)}}
					if rapid.Bool().Draw(t, "result") {
						task.HealthCheckResults = []HealthResult{{true}}
					}
					a.Tasks = append(a.Tasks, task)
				}
				a.HealthChecks = []HealthCheck{{Protocol: "HTTP", Port: 80}}
				apps[id] = a
			}
			var list []App
			for _, id := range slices.Sorted(maps.Keys(apps)) {
				list = append(list, apps[id])
			}
			got, gotProblems := m.Services(list, o)
			want, wantProblems := Services(list, o)
			revs := map[uint64]bool{}
			for i := range got {
				if r := got[i].Rev; r != 0 && revs[r] {
					t.Fatalf("step %d: two services have Rev %d", step, r)
				}
				revs[got[i].Rev] = true
				got[i].Rev = 0
			}
			for i := range want {
				want[i].Rev = 0
			}
			if !reflect.DeepEqual(got, want) || !reflect.DeepEqual(gotProblems, wantProblems) {
				t.Fatalf("step %d: with memory\n%+v %v\nwithout\n%+v %v", step, got, gotProblems, want, wantProblems)
			}
		}
	})
}
