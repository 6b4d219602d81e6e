package operators

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"

	"github.com/labstack/echo/v4"

	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// parallel bounds how many containers are measured at a time for one request.
const parallel = 8

// measured is one container with its figures.
type measured struct {
	framework lifecycle.FrameworkView
	executor  lifecycle.ExecutorView
	stats     *mesos.ResourceStatistics
	status    *mesos.ContainerStatus
}

// measure asks for the usage of all live containers that the caller may see and that want
// accepts. Those that cannot be measured are left out: they end at this moment
// (mesos-agent.md 6.4).
func (s *server) measure(ctx context.Context, want func(framework string, e lifecycle.ExecutorView) bool) ([]measured, error) {
	return s.measureSome(ctx, func(f lifecycle.FrameworkView, e lifecycle.ExecutorView) bool {
		return s.mayView(ctx, f, e) && (want == nil || want(f.Info.GetId().GetValue(), e))
	})
}

// measureAll is measure for nobody in particular.
func (s *server) measureAll(ctx context.Context) ([]measured, error) {
	return s.measureSome(ctx, func(lifecycle.FrameworkView, lifecycle.ExecutorView) bool { return true })
}

func (s *server) measureSome(ctx context.Context, want func(lifecycle.FrameworkView, lifecycle.ExecutorView) bool) ([]measured, error) {
	v, err := s.View(ctx)
	if err != nil {
		return nil, err
	}
	var all []measured
	for _, f := range v.Frameworks {
		for _, e := range f.Executors {
			if e.Phase == "TERMINATED" || e.Phase == "LAUNCHING" || !want(f, e) {
				continue
			}
			status := &mesos.ContainerStatus{ContainerId: &mesos.ContainerID{Value: str(string(e.Container))}, NetworkInfos: e.Networks}
			if e.PID > 0 {
				pid := uint32(e.PID)
				status.ExecutorPid = &pid
			}
			all = append(all, measured{framework: f, executor: e, status: status})
		}
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, parallel)
	for i := range all {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			stats, err := s.Usage(ctx, all[i].executor.Container)
			if err == nil {
				all[i].stats = stats
			}
		})
	}
	wg.Wait()
	kept := all[:0]
	for _, m := range all {
		if m.stats != nil {
			kept = append(kept, m)
		}
	}
	return kept, nil
}

func str(s string) *string { return &s }

type usageJSON struct {
	ContainerID  string          `json:"container_id,omitempty"`
	ExecutorID   string          `json:"executor_id"`
	ExecutorName string          `json:"executor_name"`
	FrameworkID  string          `json:"framework_id"`
	Source       string          `json:"source"`
	Statistics   json.RawMessage `json:"statistics,omitempty"`
	Status       json.RawMessage `json:"status,omitempty"`
}

func (m measured) json() usageJSON {
	return usageJSON{
		ExecutorID: m.executor.Info.GetExecutorId().GetValue(), ExecutorName: m.executor.Info.GetName(),
		FrameworkID: m.framework.Info.GetId().GetValue(), Source: m.executor.Info.GetSource(), Statistics: raw(m.stats),
	}
}

// statistics is GET /monitor/statistics.
func (s *server) statistics(c echo.Context) (any, error) {
	ctx := c.Request().Context()
	all, err := s.usage.get(ctx)
	if err != nil {
		return nil, err
	}
	out := []usageJSON{}
	for _, m := range all {
		if s.mayView(ctx, m.framework, m.executor) {
			out = append(out, m.json())
		}
	}
	return out, nil
}

// containers is GET /containers: all, one, those of a framework or that of one executor
// (mesos-agent.md 6.4).
func (s *server) containers(c echo.Context) error {
	q := c.QueryParams()
	container, framework, executor := q.Get("container_id"), q.Get("framework_id"), q.Get("executor_id")
	switch {
	case container != "" && (framework != "" || executor != ""):
		return plain(c, http.StatusBadRequest, "'container_id' goes with neither 'framework_id' nor 'executor_id'\n")
	case executor != "" && framework == "":
		return plain(c, http.StatusBadRequest, "'executor_id' needs 'framework_id'\n")
	}
	all, err := s.measure(c.Request().Context(), func(f string, e lifecycle.ExecutorView) bool {
		return (container == "" || container == string(e.Container)) && (framework == "" || framework == f) &&
			(executor == "" || executor == e.Info.GetExecutorId().GetValue())
	})
	if err != nil {
		return plain(c, http.StatusServiceUnavailable, err.Error())
	}
	out := []usageJSON{}
	for _, m := range all {
		j := m.json()
		j.ContainerID, j.Status = string(m.executor.Container), raw(m.status)
		out = append(out, j)
	}
	return answerJSON(c, out)
}
