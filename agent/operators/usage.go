package operators

import (
	"context"
	"encoding/json"
	"sync"

	"github.com/labstack/echo/v4"

	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// parallel bounds how many containers are measured at a time for one request.
const parallel = 8

// measured is one container with its figures.
type measured struct {
	framework string
	executor  lifecycle.ExecutorView
	stats     *mesos.ResourceStatistics
	status    *mesos.ContainerStatus
}

// measure asks for the usage of all live containers. Those that cannot be measured are
// left out: they end at this moment (mesos-agent.md 6.4).
func (s *server) measure(ctx context.Context) ([]measured, error) {
	v, err := s.View(ctx)
	if err != nil {
		return nil, err
	}
	var all []measured
	for _, f := range v.Frameworks {
		for _, e := range f.Executors {
			if e.Phase == "TERMINATED" || e.Phase == "LAUNCHING" || !s.mayView(ctx, f, e) {
				continue
			}
			status := &mesos.ContainerStatus{ContainerId: &mesos.ContainerID{Value: str(string(e.Container))}, NetworkInfos: e.Networks}
			if e.PID > 0 {
				pid := uint32(e.PID)
				status.ExecutorPid = &pid
			}
			all = append(all, measured{framework: f.Info.GetId().GetValue(), executor: e, status: status})
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
		FrameworkID: m.framework, Source: m.executor.Info.GetSource(), Statistics: raw(m.stats),
	}
}

// statistics is GET /monitor/statistics.
func (s *server) statistics(c echo.Context) (any, error) {
	all, err := s.measure(c.Request().Context())
	if err != nil {
		return nil, err
	}
	out := []usageJSON{}
	for _, m := range all {
		out = append(out, m.json())
	}
	return out, nil
}

// containers is GET /containers.
func (s *server) containers(c echo.Context) (any, error) {
	all, err := s.measure(c.Request().Context())
	if err != nil {
		return nil, err
	}
	out := []usageJSON{}
	for _, m := range all {
		j := m.json()
		j.ContainerID, j.Status = string(m.executor.Container), raw(m.status)
		out = append(out, j)
	}
	return out, nil
}
