package rest

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
	"github.com/stoa-project/stoa/framework/deploy"
	"github.com/stoa-project/stoa/framework/feed"
	"github.com/stoa-project/stoa/internal/fault"
)

// result is the answer to a change that runs as a deployment.
type result struct {
	Version      app.Timestamp `json:"version"`
	DeploymentID string        `json:"deploymentId"`
}

func deploymentHeader(c echo.Context, p *deploy.Plan) {
	c.Response().Header().Set("Marathon-Deployment-Id", p.ID)
}

func (a *api) replyResult(c echo.Context, status int, p *deploy.Plan) error {
	deploymentHeader(c, p)
	return reply(c, status, result{p.Version, p.ID})
}

// change submits an edit of the tree. group is what events name.
func (a *api) change(c echo.Context, cmd core.ChangeRoot) (core.Outcome, error) {
	edit := cmd.Edit
	restart := cmd.Restart
	cmd.Edit = func(old *app.Group, h core.History, version app.Timestamp) (*app.Group, error) {
		root, err := edit(old, h, version)
		if err != nil {
			return nil, err
		}
		root, err = app.Settle(old, root, version, a.Ports, restart...)
		return root, refuse("", err)
	}
	return a.Core.Do(c.Request().Context(), cmd)
}

func (a *api) postEvent(c echo.Context, x *app.App) {
	if x != nil {
		a.Events.Publish(feed.APIPost{At: core.At(app.At(a.now())), ClientIP: c.RealIP(), URI: c.Request().RequestURI, App: x})
	}
}

func noAppVersion(id app.PathID, t app.Timestamp) error {
	return say(fault.NotFound, "App '"+string(id)+"' does not exist in version "+t.String())
}

func nameTaken(id app.PathID) error {
	return say(fault.Conflict, "An app with id ["+string(id)+"] already exists.")
}

// isGroup refuses an app where a group with apps stands.
func isGroup(root *app.Group, id app.PathID) error {
	if g := root.Group(id); g != nil && !g.Empty() {
		return refuse("", &app.Invalid{Message: app.MsgInvalidObject, Details: []app.Violation{{Path: "/id",
			Errors: []string{"Groups and Applications may not have the same identifier."}}}})
	}
	return nil
}

func (a *api) createApp(c echo.Context) error {
	body, err := read(c, bodyLimit)
	if err != nil {
		return err
	}
	u, err := app.ReadUpdate(body)
	if err == nil && u.ID == nil {
		err = &app.Invalid{Message: app.MsgInvalidJSON, Details: []app.Violation{{Path: "/id", Errors: []string{"error.path.missing"}}}}
	}
	if err != nil {
		return refuse("", err)
	}
	id := app.ParsePath(*u.ID, app.Root)
	out, err := a.change(c, core.ChangeRoot{Group: id.Parent(), Force: flag(c, "force", false),
		Edit: func(old *app.Group, _ core.History, v app.Timestamp) (*app.Group, error) {
			x, err := u.Create(id, a.Rules, a.Rules.RolesAt(old, id))
			if err != nil {
				return nil, refuse("", err)
			}
			if old.App(id) != nil {
				return nil, nameTaken(id)
			}
			if err := isGroup(old, id); err != nil {
				return nil, err
			}
			return a.Rules.PutApp(old, x, v), nil
		}})
	if err != nil {
		return err
	}
	x := planned(out, id)
	a.postEvent(c, x)
	deploymentHeader(c, out.Plan)
	c.Response().Header().Set("Location", string(id))
	p := a.printer(&core.Snapshot{}, embeds{counts: true, deployments: true})
	p.refs = map[app.PathID][]deploymentRef{id: {{out.Plan.ID}}}
	p.app(x)
	return p.send(c, http.StatusCreated)
}

// planned finds an app as the accepted plan leaves it.
func planned(out core.Outcome, id app.PathID) *app.App {
	if ch := out.Plan.Change(id); ch != nil && ch.New != nil {
		return ch.New.App
	}
	return out.Snapshot.Root.App(id)
}

// putApp serves PUT (which creates missing apps) and PATCH of one app.
func (a *api) putApp(c echo.Context, id app.PathID, create bool) error {
	body, err := read(c, bodyLimit)
	if err != nil {
		return err
	}
	u, err := app.ReadUpdate(body)
	if err != nil {
		return refuse("", err)
	}
	partial := !create || flag(c, "partialUpdate", true)
	created := false
	out, err := a.change(c, core.ChangeRoot{Group: id.Parent(), Force: flag(c, "force", false),
		Edit: func(old *app.Group, h core.History, v app.Timestamp) (*app.Group, error) {
			created = old.App(id) == nil
			return a.editApp(old, h, v, id, u, create, partial)
		}})
	if err != nil {
		return err
	}
	a.postEvent(c, planned(out, id))
	if created {
		c.Response().Header().Set("Location", string(id))
		return a.replyResult(c, http.StatusCreated, out.Plan)
	}
	return a.replyResult(c, http.StatusOK, out.Plan)
}

// editApp applies one update to the tree: a roll-back, a patch or a whole definition
// (marathon.md 2.9).
func (a *api) editApp(old *app.Group, h core.History, v app.Timestamp, id app.PathID, u *app.Update, create, partial bool) (*app.Group, error) {
	cur := old.App(id)
	if cur == nil && !create {
		return nil, noApp(id)
	}
	roles := a.Rules.RolesAt(old, id)
	if cur != nil && partial {
		back, err := u.RollsBack()
		if err != nil {
			return nil, refuse("", err)
		}
		if back {
			x := h.AppVersion(id, *u.Version)
			if x == nil {
				return nil, noAppVersion(id, *u.Version)
			}
			return a.Rules.PutApp(old, x, v), nil
		}
		x, err := u.Apply(cur, a.Rules, roles)
		if err != nil {
			return nil, refuse("", err)
		}
		return a.Rules.PutApp(old, x, v), nil
	}
	x, err := u.Create(id, a.Rules, roles)
	if err != nil {
		return nil, refuse("", err)
	}
	if err := isGroup(old, id); err != nil {
		return nil, err
	}
	return a.Rules.PutApp(old, x, v), nil
}

// changeApps serves PUT and PATCH of a list of apps: one deployment for all.
func (a *api) changeApps(c echo.Context, create bool) error {
	body, err := read(c, bodyLimit)
	if err != nil {
		return err
	}
	list, err := app.ReadUpdates(body)
	if err != nil {
		return refuse("", err)
	}
	if err := app.RequireIDs(list); err != nil {
		return refuse("", err)
	}
	partial := !create || flag(c, "partialUpdate", true)
	out, err := a.change(c, core.ChangeRoot{Group: app.Root, Force: flag(c, "force", false),
		Edit: func(old *app.Group, h core.History, v app.Timestamp) (*app.Group, error) {
			root := old
			for _, u := range list {
				var err error
				if root, err = a.editApp(root, h, v, app.ParsePath(*u.ID, app.Root), u, create, partial); err != nil {
					return nil, err
				}
			}
			return root, nil
		}})
	if err != nil {
		return err
	}
	return a.replyResult(c, http.StatusOK, out.Plan)
}

func (a *api) deleteApp(c echo.Context, id app.PathID) error {
	out, err := a.change(c, core.ChangeRoot{Group: id.Parent(), Force: flag(c, "force", true),
		Edit: func(old *app.Group, _ core.History, v app.Timestamp) (*app.Group, error) {
			if old.App(id) == nil {
				return nil, noApp(id)
			}
			return old.RemoveApp(id, v), nil
		}})
	if err != nil {
		return err
	}
	return a.replyResult(c, http.StatusOK, out.Plan)
}

func (a *api) restartApp(c echo.Context, id app.PathID) error {
	out, err := a.change(c, core.ChangeRoot{Group: id.Parent(), Force: flag(c, "force", false), Restart: []app.PathID{id},
		Edit: func(old *app.Group, _ core.History, _ app.Timestamp) (*app.Group, error) {
			if old.App(id) == nil {
				return nil, noApp(id)
			}
			return old, nil
		}})
	if err != nil {
		return err
	}
	return a.replyResult(c, http.StatusOK, out.Plan)
}
