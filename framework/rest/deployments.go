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
	CurrentActions []currentAction       `json:"currentActions"`
	CurrentStep    int                   `json:"currentStep"` // from 1
	TotalSteps     int                   `json:"totalSteps"`
}

type currentAction struct {
	deploy.Action
	Readiness []readinessView `json:"readinessCheckResults"`
}

func viewDeployment(s *core.Snapshot, d *deploy.Deployment) deploymentView {
	total := len(d.Plan.Steps)
	v := deploymentView{
		ID: d.Plan.ID, Version: d.Plan.Version, AffectedApps: d.Plan.Affected(), Steps: d.Plan.Steps,
		CurrentActions: []currentAction{}, CurrentStep: min(d.Step+1, total), TotalSteps: total,
	}
	if d.Step >= 0 && d.Step < total {
		for _, action := range d.Plan.Steps[d.Step].Actions {
			v.CurrentActions = append(v.CurrentActions, currentAction{action, viewReadiness(s, action.App)})
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
