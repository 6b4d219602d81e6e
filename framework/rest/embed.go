package rest

import (
	"strings"

	"github.com/labstack/echo/v4"
)

// embeds says what an answer shows beside the definitions (marathon.md 1.14).
type embeds struct {
	tasks, counts, deployments, readiness, lastFailure, stats bool
	groups, apps, pods                                        bool
}

// readEmbeds adds the embed parameters of a request to those that the route always
// gives. Prefixes are interchangeable and unknown values are ignored.
func (a *api) readEmbeds(c echo.Context, e embeds) embeds {
	for _, v := range c.QueryParams()["embed"] {
		switch v {
		case "group.groups":
			e.groups = true
			continue
		case "group.apps":
			e.apps = true
			continue
		case "group.pods":
			e.pods = true
			continue
		}
		for _, prefix := range []string{"group.apps.", "apps.", "app."} {
			if rest, ok := strings.CutPrefix(v, prefix); ok {
				v = rest
				break
			}
		}
		switch v {
		case "tasks":
			e.tasks, e.deployments = true, true
		case "counts", "count":
			e.counts = true
		case "deployments":
			e.deployments = true
		case "readiness":
			e.readiness = true
		case "lastTaskFailure":
			e.lastFailure = true
		case "failures":
			e.tasks, e.lastFailure, e.deployments = true, true, true
		case "taskStats":
			e.stats = true
		default:
			a.Log.Info("embed value ignored", "embed", v)
		}
	}
	return e
}
