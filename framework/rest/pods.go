package rest

import (
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
	"github.com/stoa-project/stoa/framework/deploy"
	"github.com/stoa-project/stoa/framework/feed"
	"github.com/stoa-project/stoa/internal/fault"
)

// pods serves /v2/pods and everything below (marathon.md 1.12). What is asked of a pod
// stands behind its id and two colons.
func (a *api) pods(c echo.Context) error {
	path := strings.TrimPrefix(c.Request().URL.Path, "/v2/pods")
	text, what, asked := strings.Cut(path, "::")
	id := app.ParsePath(text, app.Root)
	what, rest, _ := strings.Cut(what, "/")
	get := func(h echo.HandlerFunc) error { return methods(c, map[string]echo.HandlerFunc{http.MethodGet: h}) }
	switch {
	case id.IsRoot() && !asked:
		return methods(c, map[string]echo.HandlerFunc{
			http.MethodGet:  a.listPods,
			http.MethodHead: func(c echo.Context) error { return c.NoContent(http.StatusOK) }, // clients probe for pod support this way
			http.MethodPost: a.createPod,
		})
	case id.IsRoot() && what == "status" && rest == "":
		return get(a.podStatuses)
	case !asked:
		return methods(c, map[string]echo.HandlerFunc{
			http.MethodGet:    func(c echo.Context) error { return a.showPod(c, id) },
			http.MethodPut:    func(c echo.Context) error { return a.putPod(c, id) },
			http.MethodDelete: func(c echo.Context) error { return a.deletePod(c, id) },
		})
	case what == "status" && rest == "":
		return get(func(c echo.Context) error { return a.podStatus(c, id) })
	case what == "versions" && rest == "":
		return get(func(c echo.Context) error { return a.podVersions(c, id) })
	case what == "versions":
		return get(func(c echo.Context) error { return a.podVersion(c, id, rest) })
	case what == "instances" && rest == "":
		return methods(c, map[string]echo.HandlerFunc{http.MethodDelete: func(c echo.Context) error { return a.killPodInstances(c, id) }})
	case what == "instances":
		return methods(c, map[string]echo.HandlerFunc{http.MethodDelete: func(c echo.Context) error { return a.killPodInstance(c, id, rest) }})
	}
	return echo.NewHTTPError(http.StatusNotFound, "URI not found")
}

func noPod(id app.PathID) error { return say(fault.NotFound, "Pod '"+string(id)+"' does not exist") }

// presentPod gives the newest snapshot and a pod in it, or 404.
func (a *api) presentPod(id app.PathID) (*core.Snapshot, *app.Pod, error) {
	s, err := a.snapshot()
	if err != nil {
		return nil, nil, err
	}
	p := s.Root.Pod(id)
	if p == nil {
		return nil, nil, noPod(id)
	}
	return s, p, nil
}

func (a *api) listPods(c echo.Context) error {
	s, err := a.snapshot()
	if err != nil {
		return err
	}
	return reply(c, http.StatusOK, app.List[*app.Pod](slices.Collect(s.Root.AllPods())))
}

func (a *api) showPod(c echo.Context, id app.PathID) error {
	_, p, err := a.presentPod(id)
	if err != nil {
		return err
	}
	return reply(c, http.StatusOK, p)
}

func (a *api) podVersions(c echo.Context, id app.PathID) error {
	s, _, err := a.presentPod(id)
	if err != nil {
		return err
	}
	out := []app.Timestamp{}
	for _, v := range slices.Backward(s.Of(id).Versions) {
		if v.Pod != nil {
			out = append(out, v.Version)
		}
	}
	return reply(c, http.StatusOK, out)
}

func (a *api) podVersion(c echo.Context, id app.PathID, text string) error {
	t, err := timestamp(text)
	if err != nil {
		return err
	}
	s, _, err := a.presentPod(id)
	if err != nil {
		return err
	}
	if v := s.Spec(id, t); v != nil && v.Pod != nil {
		return reply(c, http.StatusOK, v.Pod)
	}
	return say(fault.NotFound, "Pod '"+string(id)+"' does not exist in version "+t.String())
}

// readPod decodes the body of a request for one pod.
func readPod(c echo.Context) (*app.PodUpdate, error) {
	body, err := read(c, bodyLimit)
	if err != nil {
		return nil, err
	}
	u, err := app.ReadPod(body)
	return u, refuse("", err)
}

// editPod puts the pod of a body into the tree.
func (a *api) editPod(old *app.Group, v app.Timestamp, id app.PathID, u *app.PodUpdate) (*app.Group, error) {
	p, err := u.Create(id, a.Rules, a.Rules.RolesAt(old, id))
	if err != nil {
		return nil, refuse("", err)
	}
	if g := old.Group(id); g != nil && !g.Empty() {
		return nil, refuse("", &app.Invalid{Message: app.MsgInvalidObject, Details: []app.Violation{{Path: "/id",
			Errors: []string{"Groups and Pods may not have the same identifier."}}}})
	}
	return a.Rules.PutPod(old, p, v), nil
}

func (a *api) createPod(c echo.Context) error {
	u, err := readPod(c)
	if err != nil {
		return err
	}
	id := app.ParsePath(u.ID, app.Root)
	out, err := a.change(c, core.ChangeRoot{Group: id.Parent(), Force: flag(c, "force", false),
		Edit: func(old *app.Group, _ core.History, v app.Timestamp) (*app.Group, error) {
			if old.Pod(id) != nil {
				return nil, say(fault.Conflict, "A pod with id ["+string(id)+"] already exists.")
			}
			return a.editPod(old, v, id, u)
		}})
	if err != nil {
		return err
	}
	a.podEvent(c, feed.PodCreated)
	deploymentHeader(c, out.Plan)
	c.Response().Header().Set("Location", string(id))
	return reply(c, http.StatusCreated, plannedPod(out, id))
}

// plannedPod finds a pod as the accepted plan leaves it.
func plannedPod(out core.Outcome, id app.PathID) *app.Pod {
	if ch := out.Plan.Change(id); ch != nil && ch.New != nil {
		return ch.New.Pod
	}
	return out.Snapshot.Root.Pod(id)
}

// putPod replaces a pod, or creates a missing one.
func (a *api) putPod(c echo.Context, id app.PathID) error {
	u, err := readPod(c)
	if err != nil {
		return err
	}
	if app.ParsePath(u.ID, app.Root) != id {
		return badRequest("'" + string(id) + "' does not match definition's id ('" + u.ID + "')")
	}
	out, err := a.change(c, core.ChangeRoot{Group: id.Parent(), Force: flag(c, "force", false),
		Edit: func(old *app.Group, _ core.History, v app.Timestamp) (*app.Group, error) {
			return a.editPod(old, v, id, u)
		}})
	if err != nil {
		return err
	}
	a.podEvent(c, feed.PodUpdated)
	deploymentHeader(c, out.Plan)
	return reply(c, http.StatusOK, plannedPod(out, id))
}

func (a *api) deletePod(c echo.Context, id app.PathID) error {
	out, err := a.change(c, core.ChangeRoot{Group: id.Parent(), Force: flag(c, "force", false),
		Edit: func(old *app.Group, _ core.History, v app.Timestamp) (*app.Group, error) {
			if old.Pod(id) == nil {
				return nil, noPod(id)
			}
			return old.RemovePod(id, v), nil
		}})
	if err != nil {
		return err
	}
	a.podEvent(c, feed.PodDeleted)
	deploymentHeader(c, out.Plan)
	c.Response().Header().Set("Location", out.Plan.ID)
	return c.NoContent(http.StatusAccepted)
}

func (a *api) podEvent(c echo.Context, what feed.PodChange) {
	a.Events.Publish(feed.PodEvent{At: core.At(app.At(a.now())), What: what, ClientIP: c.RealIP(), URI: c.Request().RequestURI})
}

// podStatus shows a pod with its instances; one that is being deleted until it is gone.
func (a *api) podStatus(c echo.Context, id app.PathID) error {
	s, err := a.snapshot()
	if err != nil {
		return err
	}
	for _, p := range podsToShow(s, id) {
		if p.ID == id {
			return reply(c, http.StatusOK, a.viewPod(s, p))
		}
	}
	return noPod(id)
}

func (a *api) podStatuses(c echo.Context) error {
	s, err := a.snapshot()
	if err != nil {
		return err
	}
	out := []podView{}
	for _, p := range podsToShow(s, app.Root) {
		out = append(out, a.viewPod(s, p))
	}
	return reply(c, http.StatusOK, out)
}

// podsToShow lists the pods at and below an id: those of the tree, then those that are
// being deleted.
func podsToShow(s *core.Snapshot, below app.PathID) (out []*app.Pod) {
	if below.IsRoot() {
		out = slices.Collect(s.Root.AllPods())
	} else if p := s.Root.Pod(below); p != nil {
		return []*app.Pod{p}
	}
	for _, d := range s.Deployments {
		for i := range d.Plan.Changes {
			ch := &d.Plan.Changes[i]
			if ch.New == nil && ch.Old.Pod != nil && below.Includes(ch.ID) && s.Root.Pod(ch.ID) == nil {
				out = append(out, ch.Old.Pod)
			}
		}
	}
	return out
}

// terminating tells whether a running deployment deletes the pod.
func terminating(s *core.Snapshot, id app.PathID) bool {
	return slices.ContainsFunc(s.Deployments, func(d *deploy.Deployment) bool {
		ch := d.Plan.Change(id)
		return ch != nil && ch.New == nil
	})
}

// killPodInstances kills the instances that the body names; others than the pod's are
// passed over.
func (a *api) killPodInstances(c echo.Context, id app.PathID) error {
	body, err := read(c, bodyLimit)
	if err != nil {
		return err
	}
	asked, err := app.ReadInstanceIDs(body)
	if err != nil {
		return refuse("", err)
	}
	s, _, err := a.presentPod(id)
	if err != nil {
		return err
	}
	var ids []app.InstanceID
	for i := range s.Of(id).All() {
		if slices.Contains(asked, i.ID) {
			ids = append(ids, i.ID)
		}
	}
	killed, err := a.killPods(c, ids)
	if err != nil {
		return err
	}
	return reply(c, http.StatusOK, killed)
}

func (a *api) killPodInstance(c echo.Context, id app.PathID, text string) error {
	s, _, err := a.presentPod(id)
	if err != nil {
		return err
	}
	i := s.Instance(app.InstanceID(text))
	if i == nil || i.App != id {
		return noTask(text)
	}
	killed, err := a.killPods(c, []app.InstanceID{i.ID})
	if err != nil {
		return err
	}
	if len(killed) == 0 {
		return noTask(text)
	}
	return reply(c, http.StatusOK, killed[0])
}

func (a *api) killPods(c echo.Context, ids []app.InstanceID) ([]instanceView, error) {
	out, err := a.Core.Do(c.Request().Context(), core.KillTasks{Instances: ids, Wipe: flag(c, "wipe", false)})
	if err != nil {
		return nil, err
	}
	views := []instanceView{}
	for _, i := range out.Killed {
		views = append(views, viewInstance(out.Snapshot, i))
	}
	return views, nil
}
