package operators

import (
	"context"
	"net/http"
	"path/filepath"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/acl"
	"github.com/stoa-project/stoa/internal/auth"
	"github.com/stoa-project/stoa/internal/wire/agentapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// This file is the one place that says what each call and endpoint of an agent needs
// (mesos-agent.md 11). What the needs' actions mean is said by package acl; what a reader
// who may not see everything gets instead, by viewer.go.

// needs gives what a call must be allowed; none at all: anybody may make it.
type needs func(c *agentapi.Call, v *lifecycle.View) []acl.Need

// Calls that nobody is asked about: they tell nothing of the tasks, or their answer
// leaves out what the caller may not see.
func open(*agentapi.Call, *lifecycle.View) []acl.Need     { return nil }
func filtered(*agentapi.Call, *lifecycle.View) []acl.Need { return nil }

// whole is for actions that concern the agent as a whole.
func whole(a acl.Action) needs {
	return func(*agentapi.Call, *lifecycle.View) []acl.Need { return []acl.Need{{Action: a}} }
}

// nested is for calls about a container: rules about nested ones speak of the user of the
// executor that they belong to. Without a parent it is a standalone one.
func nested(below, standalone acl.Action) needs {
	return func(c *agentapi.Call, v *lifecycle.View) []acl.Need {
		id := containerID(c)
		if id.GetParent() == nil && standalone != "" {
			return []acl.Need{{Action: standalone}}
		}
		return []acl.Need{{Action: below, Object: executorUser(v, rootID(id))}}
	}
}

// starts is for calls that start a nested container, which needs its own user and its
// executor's.
func starts(asUser, underParent, standalone acl.Action, command func(*agentapi.Call) *mesos.CommandInfo) needs {
	return func(c *agentapi.Call, v *lifecycle.View) []acl.Need {
		id := containerID(c)
		if id.GetParent() == nil && standalone != "" {
			return []acl.Need{{Action: standalone}}
		}
		parent := executorUser(v, rootID(id))
		own := parent
		if cmd := command(c); cmd != nil && cmd.User != nil {
			own = cmd.GetUser()
		}
		return []acl.Need{{Action: underParent, Object: parent}, {Action: asUser, Object: own}}
	}
}

// callNeeds has a row for every type of call; a test fails when one has none.
var callNeeds = map[agentapi.Call_Type]needs{
	agentapi.Call_UNKNOWN: open,

	agentapi.Call_GET_HEALTH:        open,
	agentapi.Call_GET_VERSION:       open,
	agentapi.Call_GET_METRICS:       open,
	agentapi.Call_GET_LOGGING_LEVEL: open,
	agentapi.Call_GET_AGENT:         open,

	agentapi.Call_GET_STATE:      filtered,
	agentapi.Call_GET_TASKS:      filtered,
	agentapi.Call_GET_EXECUTORS:  filtered,
	agentapi.Call_GET_FRAMEWORKS: filtered,
	agentapi.Call_GET_CONTAINERS: filtered,
	agentapi.Call_GET_OPERATIONS: filtered,

	agentapi.Call_GET_FLAGS:         whole(acl.ViewFlags),
	agentapi.Call_SET_LOGGING_LEVEL: whole(acl.SetLogLevel),
	agentapi.Call_PRUNE_IMAGES:      whole(acl.PruneImages),
	// Of files the path decides; see mayRead.
	agentapi.Call_LIST_FILES: open,
	agentapi.Call_READ_FILE:  open,

	agentapi.Call_LAUNCH_NESTED_CONTAINER: starts(acl.LaunchNestedAsUser, acl.LaunchNestedUnderParent, "",
		func(c *agentapi.Call) *mesos.CommandInfo { return c.GetLaunchNestedContainer().GetCommand() }),
	agentapi.Call_LAUNCH_CONTAINER: starts(acl.LaunchNestedAsUser, acl.LaunchNestedUnderParent, acl.LaunchStandalone,
		func(c *agentapi.Call) *mesos.CommandInfo { return c.GetLaunchContainer().GetCommand() }),
	agentapi.Call_LAUNCH_NESTED_CONTAINER_SESSION: starts(acl.LaunchSessionAsUser, acl.LaunchSessionUnderParent, "",
		func(c *agentapi.Call) *mesos.CommandInfo { return c.GetLaunchNestedContainerSession().GetCommand() }),
	agentapi.Call_WAIT_NESTED_CONTAINER:   nested(acl.WaitNested, ""),
	agentapi.Call_WAIT_CONTAINER:          nested(acl.WaitNested, acl.WaitStandalone),
	agentapi.Call_KILL_NESTED_CONTAINER:   nested(acl.KillNested, ""),
	agentapi.Call_KILL_CONTAINER:          nested(acl.KillNested, acl.KillStandalone),
	agentapi.Call_REMOVE_NESTED_CONTAINER: nested(acl.RemoveNested, ""),
	agentapi.Call_REMOVE_CONTAINER:        nested(acl.RemoveNested, acl.RemoveStandalone),
	agentapi.Call_ATTACH_CONTAINER_INPUT:  nested(acl.AttachInput, ""),
	agentapi.Call_ATTACH_CONTAINER_OUTPUT: nested(acl.AttachOutput, ""),

	agentapi.Call_GET_RESOURCE_PROVIDERS:          whole(acl.ViewResourceProvider),
	agentapi.Call_ADD_RESOURCE_PROVIDER_CONFIG:    whole(acl.ModifyResourceProviderConfig),
	agentapi.Call_UPDATE_RESOURCE_PROVIDER_CONFIG: whole(acl.ModifyResourceProviderConfig),
	agentapi.Call_REMOVE_RESOURCE_PROVIDER_CONFIG: whole(acl.ModifyResourceProviderConfig),
	agentapi.Call_MARK_RESOURCE_PROVIDER_GONE:     whole(acl.MarkResourceProviderGone),
}

// endpointNeeds are the endpoints that are asked about as such, by path without process
// id. The others do what a call does, or leave out what their reader may not see.
var endpointNeeds = map[string]acl.Need{
	"/flags":                   {Action: acl.ViewFlags},
	"/logging/toggle":          {Action: acl.GetEndpoint, Object: "/logging/toggle"},
	"/metrics/snapshot":        {Action: acl.GetEndpoint, Object: "/metrics/snapshot"},
	"/files/debug":             {Action: acl.GetEndpoint, Object: "/files/debug"},
	"/files/debug.json":        {Action: acl.GetEndpoint, Object: "/files/debug"},
	"/containers":              {Action: acl.GetEndpoint, Object: "/containers"},
	"/monitor/statistics":      {Action: acl.GetEndpoint, Object: "/monitor/statistics"},
	"/monitor/statistics.json": {Action: acl.GetEndpoint, Object: "/monitor/statistics.json"},
}

// authorized asks about an endpoint before it answers.
func (s *server) authorized(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		path := c.Request().URL.Path
		if len(path) > 1 {
			path = strings.TrimRight(path, "/")
		}
		if need, asked := endpointNeeds[path]; asked && !s.Rules.Allows(auth.Name(c.Request().Context()), need.Action, need.Object) {
			return plain(c, http.StatusForbidden, "")
		}
		return next(c)
	}
}

// mayCall says whether a call is allowed; nil when it is. Who shows an executor's token
// may deal with containers below that executor's own, and nothing else that has to be
// allowed, whatever the rules say.
func (s *server) mayCall(ctx context.Context, call *agentapi.Call) *refusal {
	forbidden := &refusal{http.StatusForbidden, ""}
	who, known := auth.From(ctx)
	if own := who.Claims["cid"]; known && who.Value == "" && own != "" {
		id := containerID(call)
		switch {
		case id != nil && id.GetParent() != nil && rootID(id) == own:
			return nil
		case id != nil:
			return forbidden
		}
	}
	if s.Rules == nil {
		return nil
	}
	ask, ok := callNeeds[call.GetType()]
	if !ok {
		return forbidden
	}
	v, err := s.View(ctx)
	if err != nil {
		return &refusal{http.StatusServiceUnavailable, err.Error()}
	}
	if _, allowed := s.Rules.Missing(who.Value, ask(call, v)); !allowed {
		return forbidden
	}
	return nil
}

// mayRead says whether a file may be seen: those of sandboxes by the user of the
// executor, others as the agent's log.
func (s *server) mayRead(ctx context.Context, path string) bool {
	if s.Rules == nil {
		return true
	}
	who := auth.Name(ctx)
	root, err := s.Files.Root(path)
	if err != nil {
		return true // not there, which is what the caller is told
	}
	v, err := s.View(ctx)
	if err != nil {
		return false
	}
	if s.LogFile != "" && root == s.LogFile {
		return s.Rules.Allows(who, acl.AccessMesosLog, "")
	}
	user := ""
	eachExecutor(v, func(f lifecycle.FrameworkView, e lifecycle.ExecutorView) {
		if e.Directory == root || filepath.Join(filepath.Dir(e.Directory), "latest") == root {
			user = userOf(f, e)
		}
	})
	return s.Rules.Allows(who, acl.AccessSandbox, user)
}

// rootID gives the outermost container's id.
func rootID(id *mesos.ContainerID) string {
	for id.GetParent() != nil {
		id = id.GetParent()
	}
	return id.GetValue()
}

// executorUser is the user of the executor that a root container belongs to; empty when
// there is none, about whom only ANY and NONE speak.
func executorUser(v *lifecycle.View, root string) string {
	user := ""
	eachExecutor(v, func(f lifecycle.FrameworkView, e lifecycle.ExecutorView) {
		if string(e.Container) == root {
			user = userOf(f, e)
		}
	})
	return user
}

func userOf(f lifecycle.FrameworkView, e lifecycle.ExecutorView) string {
	if c := e.Info.GetCommand(); c != nil && c.User != nil {
		return c.GetUser()
	}
	return f.Info.GetUser()
}

// eachExecutor calls f for all executors, completed ones first.
func eachExecutor(v *lifecycle.View, f func(lifecycle.FrameworkView, lifecycle.ExecutorView)) {
	for _, list := range [][]lifecycle.FrameworkView{v.Completed, v.Frameworks} {
		for _, fw := range list {
			for _, executors := range [][]lifecycle.ExecutorView{fw.Completed, fw.Executors} {
				for _, e := range executors {
					f(fw, e)
				}
			}
		}
	}
}
