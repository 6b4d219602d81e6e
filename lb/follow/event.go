package follow

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/stoa-project/stoa/lb/labels"
)

// event is what the model needs of one event of the stream. Fields that an event type
// does not have are empty.
type event struct {
	kind       string
	App        string               `json:"appId"`
	RunSpec    string               `json:"runSpecId"`
	Task       string               `json:"taskId"`
	Instance   string               `json:"instanceId"`
	Status     string               `json:"taskStatus"`
	Condition  string               `json:"condition"`
	Host       string               `json:"host"`
	Ports      []int                `json:"ports"`
	Addresses  []labels.TaskAddress `json:"ipAddresses"`
	Definition struct {
		ID string `json:"id"`
	} `json:"appDefinition"`
}

// parse reads the data of an event. One that cannot be read has no app: it leads to a
// full listing.
func parse(kind, data string) event {
	e := event{kind: kind}
	if err := json.Unmarshal([]byte(data), &e); err != nil {
		return event{kind: kind}
	}
	return e
}

// app gives the app that an event is about, "" when it may be about any.
func (e event) app() string {
	switch {
	case e.App != "":
		return e.App
	case e.RunSpec != "":
		return e.RunSpec
	}
	return e.Definition.ID
}

// drainEvent announces a kill that waits until load balancers say that the task has no
// requests left. Only our framework has it.
const drainEvent = "instance_drain_event"

// dies tells whether the event says that a task ends or is about to.
func (e event) dies() bool {
	switch e.kind {
	case "unhealthy_instance_kill_event", "unhealthy_task_kill_event", drainEvent:
		return true
	case "status_update_event":
		return labels.Ending(e.Status)
	case "instance_changed_event":
		return e.Condition == "Killing"
	}
	return false
}

// doomed is how long a task that is told to die stays out of service although a
// listing still calls it running: Marathon decides before it writes.
const doomed = time.Minute

// model is the local copy of the apps. It belongs to one goroutine; what it hands out
// is not changed later.
type model struct {
	apps   map[string]labels.App
	order  []string             // ids of apps, sorted; nil when apps came or went
	ending map[string]time.Time // tasks that were told to die, and when
	rev    uint64               // the newest app's Rev
}

func newModel() *model {
	return &model{apps: map[string]labels.App{}, ending: map[string]time.Time{}}
}

// list gives all apps, sorted by id.
func (m *model) list() []labels.App {
	if len(m.order) != len(m.apps) {
		m.order = slices.Sorted(maps.Keys(m.apps))
	}
	out := make([]labels.App, 0, len(m.apps))
	for _, id := range m.order {
		out = append(out, m.apps[id])
	}
	return out
}

// keep stores an app's new state.
func (m *model) keep(a labels.App) {
	if _, known := m.apps[a.ID]; !known {
		m.order = nil
	}
	m.rev++
	a.Rev = m.rev
	m.apps[a.ID] = a
}

func (m *model) remove(id string) {
	delete(m.apps, id)
	m.order = nil
}

// replace takes a full listing.
func (m *model) replace(now time.Time, apps []labels.App) {
	before := m.apps
	m.apps, m.order = make(map[string]labels.App, len(apps)), nil
	for k, at := range m.ending {
		if now.Sub(at) > doomed {
			delete(m.ending, k)
		}
	}
	for _, a := range apps {
		if old, known := before[a.ID]; known {
			m.apps[a.ID] = old
		}
		m.put(a)
	}
}

// put takes one app as listed, but for the tasks that are told to die, and tells whether
// it is another than before.
func (m *model) put(a labels.App) bool {
	for i, k := range a.Tasks {
		if _, ends := m.ending[k.ID]; ends {
			a.Tasks[i].State = "TASK_KILLING"
		}
	}
	before, known := m.apps[a.ID]
	if a.Rev = before.Rev; known && reflect.DeepEqual(before, a) {
		return false
	}
	m.keep(a)
	return true
}

// maxEnding bounds what a stream can make us remember.
const maxEnding = 100_000

// doom remembers which task an event condemns. An event about an instance means the
// tasks it has now: its next one has another id and is not meant.
func (m *model) doom(now time.Time, e event, tasks []labels.Task) {
	mark := func(id string) {
		if len(m.ending) < maxEnding {
			m.ending[id] = now
		}
	}
	if e.Task != "" {
		mark(e.Task)
		return
	}
	for _, k := range tasks {
		if instance, _, _ := strings.Cut(k.ID, "._app"); e.Instance != "" && (instance == e.Instance || k.ID == e.Instance) {
			mark(k.ID)
		}
	}
}

// apply takes what an event says by itself and tells whether anything changed.
func (m *model) apply(now time.Time, e event) bool {
	a, known := m.apps[e.app()]
	if e.kind == "app_terminated_event" && known {
		m.remove(a.ID)
		return true
	}
	if e.dies() {
		m.doom(now, e, a.Tasks)
		if !known {
			return false
		}
		a.Tasks = slices.Clone(a.Tasks)
		return m.put(a)
	}
	if e.kind != "status_update_event" || !known || e.Task == "" {
		return false
	}
	a.Tasks = slices.Clone(a.Tasks)
	for i, k := range a.Tasks {
		if k.ID == e.Task {
			changed := k.State != e.Status
			a.Tasks[i].State = e.Status
			if changed {
				m.keep(a)
			}
			return changed
		}
	}
	a.Tasks = append(a.Tasks, labels.Task{ID: e.Task, State: e.Status, Host: e.Host, Ports: e.Ports, IPAddresses: e.Addresses})
	m.keep(a)
	return true
}
