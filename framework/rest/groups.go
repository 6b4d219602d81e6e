package rest

import (
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
	"github.com/stoa-project/stoa/framework/deploy"
	"github.com/stoa-project/stoa/internal/fault"
)

// groups serves /v2/groups and everything below (marathon.md 1.8).
func (a *api) groups(c echo.Context) error {
	segs := segments(strings.TrimPrefix(c.Request().URL.Path, "/v2/groups"))
	id := func(drop int) app.PathID {
		return app.ParsePath(strings.Join(segs[:len(segs)-drop], "/"), app.Root)
	}
	n := len(segs)
	get := func(h echo.HandlerFunc) error { return methods(c, map[string]echo.HandlerFunc{http.MethodGet: h}) }
	switch {
	case n > 0 && segs[n-1] == "versions":
		return get(func(c echo.Context) error { return a.groupVersions(c, id(1)) })
	case n > 1 && segs[n-2] == "versions":
		return get(func(c echo.Context) error { return a.groupVersion(c, id(2), segs[n-1]) })
	case n > 0 && segs[n-1] == "apps" && c.Request().Method == http.MethodGet && !a.hasGroup(id(0)):
		return get(func(c echo.Context) error { return a.groupApps(c, id(1)) })
	}
	update := func(f func(echo.Context, *app.GroupUpdate, app.PathID) error) echo.HandlerFunc {
		return func(c echo.Context) error {
			return a.withGroup(c, id(0), func(u *app.GroupUpdate, id app.PathID) error { return f(c, u, id) })
		}
	}
	return methods(c, map[string]echo.HandlerFunc{
		http.MethodGet:    func(c echo.Context) error { return a.showGroup(c, id(0)) },
		http.MethodPost:   update(a.createGroup),
		http.MethodPut:    update(a.putGroup),
		http.MethodPatch:  func(c echo.Context) error { return a.patchGroup(c, id(0)) },
		http.MethodDelete: func(c echo.Context) error { return a.deleteGroup(c, id(0)) },
	})
}

func (a *api) hasGroup(id app.PathID) bool {
	s := a.Core.Snapshot()
	return s != nil && s.Root.Group(id) != nil
}

// groupEmbeds gives everything when no embed is asked for, else only what is.
func (a *api) groupEmbeds(c echo.Context) embeds {
	if len(c.QueryParams()["embed"]) == 0 {
		return embeds{groups: true, apps: true, pods: true}
	}
	return a.readEmbeds(c, embeds{})
}

func (a *api) showGroup(c echo.Context, id app.PathID) error {
	s, g, err := a.presentGroup(id)
	if err != nil {
		return err
	}
	p := a.printer(s, a.groupEmbeds(c))
	p.stream(c)
	p.group(g)
	return p.send(c, http.StatusOK)
}

func (a *api) groupApps(c echo.Context, id app.PathID) error {
	s, g, err := a.presentGroup(id)
	if err != nil {
		return err
	}
	p := a.printer(s, a.readEmbeds(c, embeds{counts: true, deployments: true}))
	p.apps(g, filter{})
	return p.send(c, http.StatusOK)
}

func (a *api) groupVersions(c echo.Context, id app.PathID) error {
	s, err := a.snapshot()
	if err != nil {
		return err
	}
	out := []app.Timestamp{}
	for _, root := range slices.Backward(s.Roots) {
		if root.Group(id) != nil {
			out = append(out, root.Version)
		}
	}
	if len(out) == 0 {
		return noGroup(id)
	}
	return reply(c, http.StatusOK, out)
}

func (a *api) groupVersion(c echo.Context, id app.PathID, text string) error {
	t, err := timestamp(text)
	if err != nil {
		return err
	}
	s, err := a.snapshot()
	if err != nil {
		return err
	}
	for _, root := range s.Roots {
		if root.Version == t {
			if g := root.Group(id); g != nil {
				p := a.printer(s, a.groupEmbeds(c))
				p.group(g)
				return p.send(c, http.StatusOK)
			}
		}
	}
	return say(fault.NotFound, "Group '"+string(id)+"' does not exist in version "+t.String())
}

// withGroup decodes the body, finds the group it is about (its id, resolved against the
// URL's) and hands both to f. At most maxTrees bodies are worked on at once.
func (a *api) withGroup(c echo.Context, at app.PathID, f func(u *app.GroupUpdate, id app.PathID) error) error {
	body, err := read(c, groupLimit)
	if err != nil {
		return err
	}
	select {
	case a.trees <- struct{}{}:
		defer func() { <-a.trees }()
	case <-c.Request().Context().Done():
		return c.Request().Context().Err()
	}
	u, err := app.ReadGroupUpdate(body)
	if err != nil {
		return refuse("", err)
	}
	if u.ID != nil {
		at = app.ParsePath(*u.ID, at)
	}
	return f(u, at)
}

// editGroup applies a body to the tree: roll back, scale or replace.
func (a *api) editGroup(old *app.Group, h core.History, v app.Timestamp, id app.PathID, u *app.GroupUpdate) (*app.Group, error) {
	cur := old.Group(id)
	var next *app.Group
	var err error
	switch {
	case u.Version != nil:
		if root := h.RootVersion(*u.Version); root != nil {
			next = root.Group(id)
		}
		if next == nil {
			return nil, say(fault.Invalid, "Group "+string(id)+" not available in version "+u.Version.String())
		}
	case u.ScaleBy != nil:
		if cur == nil {
			return nil, noGroup(id)
		}
		next, err = cur.Scale(*u.ScaleBy)
	default:
		next, err = u.Apply(old, cur, id, a.Rules)
	}
	if err != nil {
		return nil, refuse("", err)
	}
	return a.Rules.PutGroup(old, next, v), nil
}

func (a *api) createGroup(c echo.Context, u *app.GroupUpdate, id app.PathID) error {
	out, err := a.change(c, core.ChangeRoot{Group: id, Force: flag(c, "force", false),
		Edit: func(old *app.Group, h core.History, v app.Timestamp) (*app.Group, error) {
			if old.Group(id) != nil {
				return nil, say(fault.Conflict, "Group "+string(id)+" is already created. Use PUT to change this group.")
			}
			if old.App(id) != nil {
				return nil, say(fault.Conflict, "An app with the path "+string(id)+" already exists.")
			}
			return a.editGroup(old, h, v, id, u)
		}})
	if err != nil {
		return err
	}
	c.Response().Header().Set("Location", string(id))
	return a.replyResult(c, http.StatusCreated, out.Plan)
}

func (a *api) putGroup(c echo.Context, u *app.GroupUpdate, id app.PathID) error {
	dry := flag(c, "dryRun", false)
	out, err := a.change(c, core.ChangeRoot{Group: id, Force: flag(c, "force", false), DryRun: dry,
		Edit: func(old *app.Group, h core.History, v app.Timestamp) (*app.Group, error) {
			return a.editGroup(old, h, v, id, u)
		}})
	if err != nil {
		return err
	}
	if dry {
		return reply(c, http.StatusOK, struct {
			Steps app.List[deploy.Step] `json:"steps"`
		}{out.Plan.Steps})
	}
	return a.replyResult(c, http.StatusOK, out.Plan)
}

// patchGroup sets enforceRole of a top-level group.
func (a *api) patchGroup(c echo.Context, id app.PathID) error {
	body, err := read(c, bodyLimit)
	if err != nil {
		return err
	}
	enforce, err := app.ReadEnforceRole(body)
	if err != nil {
		return refuse("", err)
	}
	if len(id.Segments()) != 1 {
		return refuse("", &app.Invalid{Message: app.MsgInvalidObject, Details: []app.Violation{{Path: "/enforceRole",
			Errors: []string{"enforceRole can only be set for top-level groups, and " + string(id) + " is not top-level"}}}})
	}
	_, err = a.change(c, core.ChangeRoot{Group: id, Edit: func(old *app.Group, _ core.History, v app.Timestamp) (*app.Group, error) {
		g := old.Group(id)
		if g == nil {
			return nil, noGroup(id)
		}
		n := *g
		n.EnforceRole = enforce
		return old.PutGroup(&n, v), nil
	}})
	if err != nil {
		return err
	}
	return c.NoContent(http.StatusOK)
}

func (a *api) deleteGroup(c echo.Context, id app.PathID) error {
	out, err := a.change(c, core.ChangeRoot{Group: id, Force: flag(c, "force", false),
		Edit: func(old *app.Group, _ core.History, v app.Timestamp) (*app.Group, error) {
			if old.Group(id) == nil {
				return nil, noGroup(id)
			}
			return old.RemoveGroup(id, v), nil
		}})
	if err != nil {
		return err
	}
	return a.replyResult(c, http.StatusOK, out.Plan)
}
