package rest

import (
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/stoa-project/stoa/framework/app"
)

// apps serves /v2/apps (marathon.md 1.4).
func (a *api) apps(c echo.Context) error {
	return methods(c, map[string]echo.HandlerFunc{
		http.MethodGet:   a.listApps,
		http.MethodPost:  a.createApp,
		http.MethodPut:   func(c echo.Context) error { return a.changeApps(c, true) },
		http.MethodPatch: func(c echo.Context) error { return a.changeApps(c, false) },
	})
}

// appsBelow serves everything under /v2/apps/: ids may hold slashes, so the last
// segments decide which route it is. App ids cannot end in these words.
func (a *api) appsBelow(c echo.Context) error {
	segs := segments(strings.TrimPrefix(c.Request().URL.Path, "/v2/apps/"))
	id := func(drop int) app.PathID {
		return app.ParsePath(strings.Join(segs[:len(segs)-drop], "/"), app.Root)
	}
	n := len(segs)
	last := func(i int) string { // the i-th segment from the end
		if i > n {
			return ""
		}
		return segs[n-i]
	}
	method := c.Request().Method
	switch {
	case n == 0:
		return a.apps(c)
	case last(1) == "*":
		return methods(c, map[string]echo.HandlerFunc{http.MethodGet: func(c echo.Context) error { return a.appsOfGroup(c, id(1)) }})
	case last(1) == "tasks" && last(2) == "*":
		return methods(c, map[string]echo.HandlerFunc{http.MethodGet: func(c echo.Context) error { return a.tasksOfGroup(c, id(2)) }})
	case last(1) == "restart" && n > 1 && method != http.MethodDelete:
		return methods(c, map[string]echo.HandlerFunc{http.MethodPost: func(c echo.Context) error { return a.restartApp(c, id(1)) }})
	case last(1) == "tasks" && n > 1:
		return methods(c, map[string]echo.HandlerFunc{
			http.MethodGet:    func(c echo.Context) error { return a.tasksOfApp(c, id(1)) },
			http.MethodDelete: func(c echo.Context) error { return a.deleteTasksOfApp(c, id(1)) },
		})
	case last(2) == "tasks" && n > 2:
		return methods(c, map[string]echo.HandlerFunc{
			http.MethodDelete: func(c echo.Context) error { return a.deleteTask(c, id(2), last(1)) },
		})
	case last(1) == "versions" && n > 1:
		return methods(c, map[string]echo.HandlerFunc{http.MethodGet: func(c echo.Context) error { return a.appVersions(c, id(1)) }})
	case last(2) == "versions" && n > 2:
		return methods(c, map[string]echo.HandlerFunc{http.MethodGet: func(c echo.Context) error { return a.appVersion(c, id(2), last(1)) }})
	}
	return methods(c, map[string]echo.HandlerFunc{
		http.MethodGet:    func(c echo.Context) error { return a.showApp(c, id(0)) },
		http.MethodPut:    func(c echo.Context) error { return a.putApp(c, id(0), true) },
		http.MethodPatch:  func(c echo.Context) error { return a.putApp(c, id(0), false) },
		http.MethodDelete: func(c echo.Context) error { return a.deleteApp(c, id(0)) },
	})
}

func segments(path string) []string {
	var out []string
	for s := range strings.SplitSeq(path, "/") {
		if s != "" {
			out = append(out, s)
		}
	}
	return out
}

// filter is what GET /v2/apps selects by.
type filter struct {
	cmd, id   string
	selectors []selector
}

func readFilter(c echo.Context) (filter, error) {
	f := filter{cmd: strings.ToLower(c.QueryParam("cmd")), id: strings.ToLower(c.QueryParam("id"))}
	var err error
	if l := c.QueryParam("label"); l != "" {
		f.selectors, err = parseSelectors(l)
	}
	return f, err
}

func (f filter) matches(a *app.App) bool {
	if !strings.Contains(strings.ToLower(a.Cmd), f.cmd) || !strings.Contains(strings.ToLower(string(a.ID)), f.id) {
		return false
	}
	for _, s := range f.selectors {
		if !s.matches(a.Labels) {
			return false
		}
	}
	return true
}

func (a *api) listApps(c echo.Context) error {
	f, err := readFilter(c)
	if err != nil {
		return err
	}
	s, err := a.snapshot()
	if err != nil {
		return err
	}
	e := a.readEmbeds(c, embeds{counts: true, deployments: true})
	p := a.printer(s, e)
	p.stream(c)
	p.raw(`{"apps":`)
	p.apps(s.Root, f)
	p.raw("}")
	return p.send(c, http.StatusOK)
}

// singleApp is what one app always shows.
var singleApp = embeds{counts: true, deployments: true, tasks: true, lastFailure: true}

func (a *api) showApp(c echo.Context, id app.PathID) error {
	s, x, err := a.presentApp(id)
	if err != nil {
		return err
	}
	p := a.printer(s, a.readEmbeds(c, singleApp))
	p.raw(`{"app":`)
	p.app(x)
	p.raw("}")
	return p.send(c, http.StatusOK)
}

func (a *api) appsOfGroup(c echo.Context, id app.PathID) error {
	s, g, err := a.presentGroup(id)
	if err != nil {
		return err
	}
	p := a.printer(s, a.readEmbeds(c, singleApp))
	p.stream(c)
	p.raw(`{"*":`)
	p.apps(g, filter{})
	p.raw("}")
	return p.send(c, http.StatusOK)
}

func (a *api) appVersions(c echo.Context, id app.PathID) error {
	s, _, err := a.presentApp(id)
	if err != nil {
		return err
	}
	list := s.Of(id).Versions
	out := make([]app.Timestamp, 0, len(list))
	for i := len(list) - 1; i >= 0; i-- {
		out = append(out, list[i].Version)
	}
	return reply(c, http.StatusOK, map[string]any{"versions": out})
}

func (a *api) appVersion(c echo.Context, id app.PathID, text string) error {
	t, err := timestamp(text)
	if err != nil {
		return err
	}
	s, err := a.snapshot()
	if err != nil {
		return err
	}
	if x := s.App(id, t); x != nil {
		return reply(c, http.StatusOK, x)
	}
	return noAppVersion(id, t)
}
