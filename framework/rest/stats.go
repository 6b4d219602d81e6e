package rest

import (
	"slices"
	"time"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
)

// taskStats groups the tasks of an app by their definition (marathon.md 1.16).
type taskStats struct {
	AfterScaling *taskGroup `json:"startedAfterLastScaling,omitempty"`
	Latest       *taskGroup `json:"withLatestConfig,omitempty"`
	Outdated     *taskGroup `json:"withOutdatedConfig,omitempty"`
	Total        *taskGroup `json:"totalSummary,omitempty"`
}

type taskGroup struct {
	Stats struct {
		Counts struct {
			Staged    int `json:"staged"`
			Running   int `json:"running"`
			Healthy   int `json:"healthy"`
			Unhealthy int `json:"unhealthy"`
		} `json:"counts"`
		LifeTime *lifeTime `json:"lifeTime,omitempty"`
	} `json:"stats"`
}

type lifeTime struct {
	Average float64 `json:"averageSeconds"`
	Median  float64 `json:"medianSeconds"`
}

func newTaskStats(s *core.Snapshot, a *app.App, now time.Time) *taskStats {
	var scaled, latest, outdated, all []*app.Instance
	state := s.Of(a.ID)
	for i := range state.All() {
		if !shown(i) {
			continue
		}
		all = append(all, i)
		if i.AppVersion >= a.VersionInfo.LastScalingAt {
			scaled = append(scaled, i)
		}
		if i.AppVersion >= a.VersionInfo.LastConfigChangeAt {
			latest = append(latest, i)
		} else {
			outdated = append(outdated, i)
		}
	}
	return &taskStats{newTaskGroup(state, scaled, now), newTaskGroup(state, latest, now), newTaskGroup(state, outdated, now), newTaskGroup(state, all, now)}
}

// newTaskGroup sums instances up, nil when there are none.
func newTaskGroup(state *core.AppState, list []*app.Instance, now time.Time) *taskGroup {
	if len(list) == 0 {
		return nil
	}
	g := &taskGroup{}
	n := &g.Stats.Counts
	var ages []float64
	for _, i := range list {
		switch i.Condition {
		case app.Provisioned, app.Staging:
			n.Staged++
		case app.Running:
			n.Running++
		}
		if healthy, known := i.Healthiness(); known && healthy {
			n.Healthy++
		} else if sick(i) {
			n.Unhealthy++
		}
		if !i.StartedAt.IsZero() {
			ages = append(ages, now.Sub(i.StartedAt.Time()).Seconds())
		}
	}
	if len(ages) > 0 {
		slices.Sort(ages)
		sum := 0.0
		for _, age := range ages {
			sum += age
		}
		mid := len(ages) / 2
		median := ages[mid]
		if len(ages)%2 == 0 {
			median = (ages[mid-1] + ages[mid]) / 2
		}
		g.Stats.LifeTime = &lifeTime{sum / float64(len(ages)), median}
	}
	return g
}
