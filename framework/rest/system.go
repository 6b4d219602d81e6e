package rest

import (
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/stoa-project/stoa/framework/repo"
)

// info serves /v2/info (marathon.md 1.16); unset settings are null here.
func (a *api) info(c echo.Context) error {
	return methods(c, map[string]echo.HandlerFunc{http.MethodGet: func(c echo.Context) error {
		leader, self := a.Leadership.Leader()
		var frameworkID any
		if s := a.Core.Snapshot(); s != nil && s.FrameworkID != "" {
			frameworkID = s.FrameworkID
		}
		var config map[string]any
		if a.Info.Marathon != nil {
			config = a.Info.Marathon()
		}
		return reply(c, http.StatusOK, map[string]any{
			"name": a.Info.Name, "version": a.Info.Version, "buildref": a.Info.BuildRef,
			"elected": self, "leader": leader, "frameworkId": frameworkID,
			"marathon_config": config, "zookeeper_config": a.Info.ZooKeeper, "http_config": a.Info.HTTP,
		})
	}})
}

// leader serves /v2/leader (marathon.md 1.11).
func (a *api) leader(c echo.Context) error {
	leader, self := a.Leadership.Leader()
	return methods(c, map[string]echo.HandlerFunc{
		http.MethodGet: func(c echo.Context) error {
			if leader == "" {
				return echo.NewHTTPError(http.StatusNotFound, "There is no leader")
			}
			return reply(c, http.StatusOK, map[string]string{"leader": leader})
		},
		http.MethodDelete: func(c echo.Context) error {
			if !self {
				return echo.NewHTTPError(http.StatusNotFound, "There is no leader")
			}
			next := repo.Handover{Backup: c.QueryParam("backup"), Restore: c.QueryParam("restore")}
			if err := a.Leadership.Abdicate(c.Request().Context(), next); err != nil {
				return err
			}
			return reply(c, http.StatusOK, message{"Leadership abdicated"})
		},
	})
}

// events serves /v2/events (marathon.md 9.1).
func (a *api) events(c echo.Context) error {
	return methods(c, map[string]echo.HandlerFunc{http.MethodGet: func(c echo.Context) error {
		if !accepts(c, "text/event-stream") {
			return echo.NewHTTPError(http.StatusMethodNotAllowed, "Method Not Allowed: /v2/events needs the header Accept: text/event-stream")
		}
		a.Events.ServeHTTP(c.Response(), c.Request())
		return nil
	}})
}

// ping serves /ping: text by default, JSON on request.
func (a *api) ping(c echo.Context) error {
	return methods(c, map[string]echo.HandlerFunc{http.MethodGet: func(c echo.Context) error {
		accept := c.Request().Header.Get("Accept")
		switch {
		case accept == "" || strings.Contains(accept, "*/*") || strings.Contains(accept, "text/"):
			return c.Blob(http.StatusOK, "text/plain", []byte("pong"))
		case strings.Contains(accept, "json"):
			return reply(c, http.StatusOK, "pong")
		}
		return c.NoContent(http.StatusNoContent)
	}})
}

// plugins serves /v2/plugins: there are none.
func (a *api) plugins(c echo.Context) error {
	if id, below := strings.CutPrefix(c.Request().URL.Path, "/v2/plugins/"); below {
		id, _, _ = strings.Cut(id, "/")
		return echo.NewHTTPError(http.StatusNotFound, "No plugin with this pluginId: "+id)
	}
	return methods(c, map[string]echo.HandlerFunc{http.MethodGet: func(c echo.Context) error {
		return reply(c, http.StatusOK, map[string]any{"plugins": []any{}})
	}})
}
