package operators

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"

	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/master/ledger"
)

// taskLimit is how many tasks /tasks gives without a limit parameter.
const taskLimit = 100

// tasks answers /tasks: a page of all tasks that are known, by the time of their first
// status. Parameters that are no numbers count as not given (mesos-master.md 5.4).
func (s *Shell) tasks(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	number := func(name string, otherwise int) int {
		if n, err := strconv.Atoi(q.Get(name)); err == nil && n >= 0 {
			return n
		}
		return otherwise
	}
	limit, offset := number("limit", taskLimit), number("offset", 0)
	s.fresh(w, r, func(b *ledger.Snapshot) []part {
		found := findTasks(b, only(r, "framework_id"), only(r, "task_id"))
		// A task without a status has not begun: before all others, or behind them.
		slices.SortStableFunc(found, func(x, y *mesos.Task) int { return cmp.Compare(firstSeen(x), firstSeen(y)) })
		if q.Get("order") != "asc" {
			slices.Reverse(found)
		}
		found = found[min(offset, len(found)):]
		found = found[:min(limit, len(found))]
		return []part{
			one(func(e *encoder) { e.open('{') }),
			listOpens("tasks"), each(found, (*encoder).task), listShuts,
			one(func(e *encoder) { e.shut('}') }),
		}
	})
}

// only selects by a query parameter; without it everything.
func only(r *http.Request, name string) func(string) bool {
	q := r.URL.Query()
	if !q.Has(name) {
		return func(string) bool { return true }
	}
	want := q.Get(name)
	return func(id string) bool { return id == want }
}

// firstSeen is the time of the first status, in seconds; -1 without one.
func firstSeen(t *mesos.Task) float64 {
	if len(t.GetStatuses()) == 0 {
		return -1
	}
	return t.GetStatuses()[0].GetTimestamp()
}

// findTasks gives live, unreachable and ended tasks, of removed frameworks too.
func findTasks(b *ledger.Snapshot, framework, id func(string) bool) []*mesos.Task {
	var found []*mesos.Task
	for _, list := range [][]*ledger.FrameworkView{b.Frameworks, b.Completed} {
		for _, f := range list {
			if !framework(string(f.ID)) {
				continue
			}
			eachTask(f, func(t *mesos.Task) {
				if id(t.GetTaskId().GetValue()) {
					found = append(found, t)
				}
			})
		}
	}
	return found
}

func eachTask(f *ledger.FrameworkView, visit func(*mesos.Task)) {
	for _, list := range [][]*mesos.Task{f.Tasks, f.Unreachable, f.CompletedT} {
		for _, t := range list {
			visit(t)
		}
	}
}
