package rest

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
	"github.com/stoa-project/stoa/framework/deploy"
	"github.com/stoa-project/stoa/internal/fault"
)

// deploymentView is a running deployment (marathon.md 5.8).
type deploymentView struct {
	ID             string                `json:"id"`
	Version        app.Timestamp         `json:"version"`
	AffectedApps   app.List[app.PathID]  `json:"affectedApps"`
	AffectedPods   app.List[app.PathID]  `json:"affectedPods"`
	Steps          app.List[deploy.Step] `json:"steps"`
	CurrentActions []map[string]any      `json:"currentActions"` // of deploy.Action, with readinessCheckResults
	CurrentStep    int                   `json:"currentStep"`    // from 1
	TotalSteps     int                   `json:"totalSteps"`
}

func viewDeployment(s *core.Snapshot, d *deploy.Deployment) deploymentView {
	total := len(d.Plan.Steps)
	v := deploymentView{
		ID: d.Plan.ID, Version: d.Plan.Version, Steps: d.Plan.Steps,
		CurrentActions: []map[string]any{}, CurrentStep: min(d.Step+1, total), TotalSteps: total,
	}
	for i := range d.Plan.Changes {
		if ch := &d.Plan.Changes[i]; ch.Pod() {
			v.AffectedPods = append(v.AffectedPods, ch.ID)
		} else {
			v.AffectedApps = append(v.AffectedApps, ch.ID)
		}
	}
	if d.Step >= 0 && d.Step < total {
		for _, action := range d.Plan.Steps[d.Step].Actions {
			fields := action.Fields()
			fields["readinessCheckResults"] = viewReadiness(s, action.ID)
			v.CurrentActions = append(v.CurrentActions, fields)
		}
	}
	return v
}

// deployments serves /v2/deployments (marathon.md 1.9).
func (a *api) deployments(c echo.Context) error {
	return methods(c, map[string]echo.HandlerFunc{http.MethodGet: func(c echo.Context) error {
		s, err := a.snapshot()
		if err != nil {
			return err
		}
		out := []deploymentView{}
		for _, d := range s.Deployments {
			out = append(out, viewDeployment(s, d))
		}
		return reply(c, http.StatusOK, out)
	}})
}

// deployment serves /v2/deployments/{id}.
func (a *api) deployment(c echo.Context) error {
	return methods(c, map[string]echo.HandlerFunc{http.MethodDelete: a.cancelDeployment})
}

func (a *api) cancelDeployment(c echo.Context) error {
	id, force := c.Param("id"), flag(c, "force", false)
	out, err := a.Core.Do(c.Request().Context(), core.CancelDeployment{ID: id, Force: force})
	switch {
	case fault.KindOf(err) == fault.NotFound:
		return say(fault.NotFound, "DeploymentPlan "+id+" does not exist")
	case err != nil:
		return err
	case force || out.Plan == nil:
		return c.NoContent(http.StatusAccepted)
	}
	return a.replyResult(c, http.StatusOK, out.Plan)
}
