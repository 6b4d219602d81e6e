package lb

import "github.com/stoa-project/stoa/lb/labels"

// lastAlive remembers what Marathon last said of tasks' health: it has no results for a
// while after it restarts, and its tasks serve all the same.
type lastAlive struct {
	most  int
	known map[string]bool
	order []string          // oldest first
	seen  map[string]uint64 // Rev of apps whose results are known
}

func newLastAlive(most int) *lastAlive {
	return &lastAlive{most: most, known: map[string]bool{}, seen: map[string]uint64{}}
}

// remember takes the results of a listing and gives what is known of all tasks. The
// map is its own until the next call.
func (l *lastAlive) remember(apps []labels.App) map[string]bool {
	if len(l.seen) > 2*len(apps)+100 {
		clear(l.seen)
	}
	for i := range apps {
		a := &apps[i]
		if len(a.HealthChecks) == 0 || a.Rev != 0 && l.seen[a.ID] == a.Rev {
			continue
		}
		l.seen[a.ID] = a.Rev
		for _, k := range a.Tasks {
			if len(k.HealthCheckResults) == 0 {
				continue
			}
			alive := false
			for _, r := range k.HealthCheckResults {
				alive = alive || r.Alive
			}
			if _, ok := l.known[k.ID]; !ok {
				l.order = append(l.order, k.ID)
			}
			l.known[k.ID] = alive
		}
	}
	for len(l.order) > l.most {
		delete(l.known, l.order[0])
		l.order = l.order[1:]
	}
	return l.known
}
