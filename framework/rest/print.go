package rest

import (
	"bytes"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"
	"weak"

	"github.com/labstack/echo/v4"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
)

// texts keeps the JSON of immutable values as long as the values live: definitions and
// instances of a snapshot are replaced, never changed, so each is encoded once.
type texts[T, V any] struct{ known sync.Map } // weak.Pointer[T] -> V

func (t *texts[T, V]) of(p *T, encode func(*T) V) V {
	key := weak.Make(p)
	if v, ok := t.known.Load(key); ok {
		return v.(V)
	}
	v := encode(p)
	if _, twice := t.known.LoadOrStore(key, v); !twice {
		runtime.AddCleanup(p, func(key weak.Pointer[T]) { t.known.Delete(key) }, key)
	}
	return v
}

// taskText is one task's JSON; at is where its empty list of service ports begins.
type taskText struct {
	json []byte
	at   int
}

var servicePortsKey = []byte(`"servicePorts":`)

func encodeTask(i *app.Instance) taskText {
	json := encode(viewTask(i))
	return taskText{json, bytes.Index(json, servicePortsKey) + len(servicePortsKey)}
}

func encodeApp(a *app.App) []byte { return encode(a) }

// printer writes apps, groups and tasks of one snapshot as JSON. What it writes is
// pinned by the tests of the routes; the order of keys is no part of the contract
// (marathon.md 1.3).
type printer struct {
	a    *api
	s    *core.Snapshot
	refs map[app.PathID][]deploymentRef // nil: looked up for each app
	e    embeds
	now  time.Time
	out  []byte
	to   echo.Context // where long answers go piece by piece; nil: they are gathered
}

// pieceSize is how many bytes of a long answer leave at once. What is shorter is sent
// whole, with its length.
const pieceSize = 256 << 10

// pieces are buffers of a little more than that.
var pieces = sync.Pool{New: func() any { b := make([]byte, 0, pieceSize+64<<10); return &b }}

// stream lets a long answer leave while it is printed. The caller prints to its end and
// sends it with the status 200.
func (p *printer) stream(c echo.Context) {
	p.to = c
	p.out = (*pieces.Get().(*[]byte))[:0]
}

// breathe sends what is there when it is enough. A client that is gone is noticed by send.
func (p *printer) breathe() {
	if p.to == nil || len(p.out) < pieceSize {
		return
	}
	r := p.to.Response()
	if !r.Committed {
		r.Header().Set(echo.HeaderContentType, jsonType)
		r.WriteHeader(http.StatusOK)
	}
	_, _ = r.Write(p.out)
	p.out = p.out[:0]
}

func (a *api) printer(s *core.Snapshot, e embeds) *printer {
	return &printer{a: a, s: s, e: e, now: a.now()}
}

// send answers with what was printed.
func (p *printer) send(c echo.Context, status int) error {
	if p.to != nil {
		defer func() {
			if cap(p.out) <= 4*pieceSize {
				pieces.Put(&p.out)
			}
		}()
		if c.Response().Committed {
			_, err := c.Response().Write(p.out)
			return err
		}
	}
	return c.Blob(status, jsonType, p.out)
}

func (p *printer) raw(text string) { p.out = append(p.out, text...) }

// key begins a further member of an object that has one already.
func (p *printer) key(name string) {
	p.raw(`,"`)
	p.raw(name)
	p.raw(`":`)
}

func (p *printer) value(name string, v any) {
	p.key(name)
	p.out = append(p.out, encode(v)...)
}

func (p *printer) number(name string, n int) {
	p.key(name)
	p.out = strconv.AppendInt(p.out, int64(n), 10)
}

// indexDeployments prepares for printing many apps.
func (p *printer) indexDeployments() {
	if p.refs == nil && p.e.deployments {
		p.refs = deploymentsByApp(p.s)
	}
}

// list prints elements between brackets.
func list[T any](p *printer, all []T, print func(T)) {
	p.raw("[")
	for n, each := range all {
		if n > 0 {
			p.raw(",")
		}
		print(each)
	}
	p.raw("]")
}

// app prints a definition with what the embeds ask for (marathon.md 1.16).
func (p *printer) app(a *app.App) {
	def := p.a.appTexts.of(a, encodeApp)
	p.out = append(p.out, def[:len(def)-1]...) // the brace comes at the end
	if p.e.counts {
		n := count(p.s, a.ID)
		p.number("tasksStaged", n.staged)
		p.number("tasksRunning", n.running)
		p.number("tasksHealthy", n.healthy)
		p.number("tasksUnhealthy", n.unhealthy)
	}
	if p.e.deployments {
		if refs := p.deployments(a.ID); refs == nil {
			p.raw(`,"deployments":[]`)
		} else {
			p.value("deployments", refs)
		}
	}
	if p.e.tasks {
		p.key("tasks")
		p.tasksOf(p.s.Of(a.ID))
	}
	if p.e.readiness {
		p.value("readinessCheckResults", viewReadiness(p.s, a.ID))
	}
	if f := p.s.Of(a.ID).Failure; p.e.lastFailure && f != nil {
		p.value("lastTaskFailure", f)
	}
	if p.e.stats {
		st := newTaskStats(p.s, a, p.now)
		p.value("tasksStats", st)
		p.value("taskStats", st)
	}
	p.raw("}")
	p.breathe()
}

// deployments lists the running deployments of an app.
func (p *printer) deployments(id app.PathID) (out []deploymentRef) {
	if p.refs != nil {
		return p.refs[id]
	}
	for _, d := range p.s.Deployments {
		if d.Plan.Change(id) != nil {
			out = append(out, deploymentRef{d.Plan.ID})
		}
	}
	return out
}

// apps prints the apps of a group and below that pass the filter.
func (p *printer) apps(g *app.Group, f filter) {
	p.indexDeployments()
	p.raw("[")
	first := true
	for x := range g.AllApps() {
		if !f.matches(x) {
			continue
		}
		if !first {
			p.raw(",")
		}
		first = false
		p.app(x)
	}
	p.raw("]")
}

// fewTasks is up to how many instances of an app the whole list of its tasks is kept as
// one text. Of larger apps, where one task changes while many do not, each has its own.
const fewTasks = 50

// tasksOf prints the tasks of one app.
func (p *printer) tasksOf(s *core.AppState) {
	switch n := s.Len(); {
	case n == 0:
		p.raw("[]")
	case n > fewTasks:
		p.tasks(s.Instances())
	default:
		p.out = append(p.out, p.a.listTexts.of(s, encodeTasks)...)
		p.breathe()
	}
}

func encodeTasks(s *core.AppState) []byte {
	out := []byte("[")
	for i := range s.All() {
		if shown(i) {
			if len(out) > 1 {
				out = append(out, ',')
			}
			out = append(out, encode(viewTask(i))...)
		}
	}
	return slices.Clip(append(out, ']'))
}

// tasks prints the instances that were launched.
func (p *printer) tasks(all []*app.Instance) {
	p.raw("[")
	p.moreTasks(all, true)
	p.raw("]")
}

// moreTasks prints elements of a list of tasks that began before; it tells whether the
// list is still empty.
func (p *printer) moreTasks(all []*app.Instance, first bool) bool {
	for _, i := range all {
		if shown(i) {
			if !first {
				p.raw(",")
			}
			first = false
			p.out = append(p.out, p.a.taskTexts.of(i, encodeTask).json...)
			p.breathe()
		}
	}
	return first
}

// taskWith prints a task with the service ports of its app.
func (p *printer) taskWith(i *app.Instance, servicePorts []byte) {
	t := p.a.taskTexts.of(i, encodeTask)
	p.out = append(p.out, t.json[:t.at]...)
	p.out = append(p.out, servicePorts...)
	p.out = append(p.out, t.json[t.at+len("[]"):]...)
	p.breathe()
}

// group prints a group as clients see it (marathon.md 1.16).
func (p *printer) group(g *app.Group) {
	p.indexDeployments()
	p.raw(`{"id":`)
	p.out = append(p.out, encode(g.ID)...)
	p.value("version", g.Version)
	p.value("dependencies", app.List[app.PathID](g.Dependencies))
	if len(g.ID.Segments()) == 1 {
		p.value("enforceRole", g.EnforceRole)
	}
	if p.e.apps {
		p.key("apps")
		list(p, g.Apps, p.app)
	}
	if p.e.groups {
		p.key("groups")
		list(p, g.Groups, p.group)
	}
	if p.e.pods {
		p.key("pods")
		list(p, g.Pods, func(d *app.Pod) { p.out = append(p.out, encode(p.a.viewPod(p.s, d))...) })
	}
	p.raw("}")
}
