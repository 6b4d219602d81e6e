package rest

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
)

type taskList struct {
	Tasks []taskView `json:"tasks"`
}

// allTasks serves /v2/tasks (marathon.md 1.6).
func (a *api) allTasks(c echo.Context) error {
	return methods(c, map[string]echo.HandlerFunc{http.MethodGet: a.listTasks})
}

func (a *api) listTasks(c echo.Context) error {
	s, err := a.snapshot()
	if err != nil {
		return err
	}
	if accepts(c, "text/plain") && !accepts(c, jsonType) {
		return c.String(http.StatusOK, plainTasks(s))
	}
	q := c.QueryParams()
	wanted := slices.DeleteFunc(slices.Concat(q["status"], q["status[]"]), func(v string) bool { return v != "running" && v != "staging" })
	p := a.printer(s, embeds{})
	p.stream(c)
	p.raw(`{"tasks":[`)
	first := true
	for _, id := range appsWithInstances(s) {
		service := []byte("[]")
		if x := s.Root.App(id); x != nil {
			service = encode(app.List[int](x.ServicePorts()))
		}
		for i := range s.Of(id).All() {
			if !shown(i) || i.OfPod() || !hasStatus(i, wanted) {
				continue
			}
			if !first {
				p.raw(",")
			}
			first = false
			p.taskWith(i, service)
		}
	}
	p.raw("]}")
	return p.send(c, http.StatusOK)
}

func hasStatus(i *app.Instance, wanted []string) bool {
	if len(wanted) == 0 {
		return true
	}
	switch i.Condition {
	case app.Running:
		return slices.Contains(wanted, "running")
	case app.Provisioned, app.Staging:
		return slices.Contains(wanted, "staging")
	}
	return false
}

func appsWithInstances(s *core.Snapshot) []app.PathID {
	var out []app.PathID
	for id, state := range s.Apps() {
		if state.Len() > 0 {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// plainTasks is the table older load balancer scripts read: per app and port a line of
// name, service port and the addresses of running tasks, separated by tabs.
func plainTasks(s *core.Snapshot) string {
	var b strings.Builder
	for x := range s.Root.AllApps() {
		name := x.ID.Safe()
		service := x.ServicePorts()
		if len(service) == 0 {
			b.WriteString(name + "\t ")
			for i := range s.Of(x.ID).All() {
				if i.Condition == app.Running {
					b.WriteString("\t" + i.Host)
				}
			}
			b.WriteString("\n")
		}
		for n, port := range service {
			b.WriteString(name + "\t" + strconv.Itoa(port))
			for i := range s.Of(x.ID).All() {
				if i.Condition == app.Running && n < len(i.HostPorts) {
					b.WriteString("\t" + net.JoinHostPort(i.Host, strconv.Itoa(i.HostPorts[n])))
				}
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

// accepts tells whether the Accept header names the media type (not by a wildcard).
func accepts(c echo.Context, mediaType string) bool {
	for _, line := range c.Request().Header.Values("Accept") {
		for part := range strings.SplitSeq(line, ",") {
			t, _, _ := strings.Cut(part, ";")
			if strings.EqualFold(strings.TrimSpace(t), mediaType) {
				return true
			}
		}
	}
	return false
}

func (a *api) tasksOfApp(c echo.Context, id app.PathID) error {
	s, _, err := a.presentApp(id)
	if err != nil {
		return err
	}
	p := a.printer(s, embeds{})
	p.raw(`{"tasks":`)
	p.tasks(s.Of(id).Instances())
	p.raw("}")
	return p.send(c, http.StatusOK)
}

func (a *api) tasksOfGroup(c echo.Context, id app.PathID) error {
	s, g, err := a.presentGroup(id)
	if err != nil {
		return err
	}
	p := a.printer(s, embeds{})
	p.stream(c)
	p.raw(`{"tasks":[`)
	first := true
	for x := range g.AllApps() {
		first = p.moreTasks(s.Of(x.ID).Instances(), first)
	}
	p.raw("]}")
	return p.send(c, http.StatusOK)
}

// killFlags are the query parameters of all routes that kill.
type killFlags struct{ scale, force, wipe bool }

func readKillFlags(c echo.Context) (killFlags, error) {
	k := killFlags{flag(c, "scale", false), flag(c, "force", false), flag(c, "wipe", false)}
	if k.scale && k.wipe {
		return k, badRequest("You cannot use scale and wipe at the same time.")
	}
	return k, nil
}

// kill submits the kill and gives the tasks as they were before.
func (a *api) kill(c echo.Context, ids []app.InstanceID, k killFlags) (core.Outcome, []taskView, error) {
	out, err := a.Core.Do(c.Request().Context(), core.KillTasks{Instances: ids, Scale: k.scale, Force: k.force, Wipe: k.wipe})
	if err != nil {
		return out, nil, err
	}
	views := []taskView{}
	for _, i := range out.Killed {
		views = append(views, viewTask(i))
	}
	return out, views, nil
}

// replyKilled kills and answers the tasks, or with scale the deployment.
func (a *api) replyKilled(c echo.Context, ids []app.InstanceID, k killFlags) error {
	out, tasks, err := a.kill(c, ids, k)
	if err != nil {
		return err
	}
	if k.scale {
		return a.replyResult(c, http.StatusOK, out.Plan)
	}
	return reply(c, http.StatusOK, taskList{tasks})
}

func (a *api) deleteTasksOfApp(c echo.Context, id app.PathID) error {
	k, err := readKillFlags(c)
	if err != nil {
		return err
	}
	s, _, err := a.presentApp(id)
	if err != nil {
		return err
	}
	host := c.QueryParam("host")
	var ids []app.InstanceID
	for i := range s.Of(id).All() {
		if shown(i) && (host == "" || host == "*" || host == i.Host) {
			ids = append(ids, i.ID)
		}
	}
	return a.replyKilled(c, ids, k)
}

// deleteTask kills one task. Old clients put a wrong app path before /tasks/, so the
// task's own id decides; the path only matters when the task is unknown.
func (a *api) deleteTask(c echo.Context, path app.PathID, text string) error {
	k, err := readKillFlags(c)
	if err != nil {
		return err
	}
	s, err := a.snapshot()
	if err != nil {
		return err
	}
	i := findTask(s, text)
	switch {
	case i == nil && s.Root.App(path) == nil:
		return noApp(path)
	case i == nil:
		return noTask(text)
	}
	out, tasks, err := a.kill(c, []app.InstanceID{i.ID}, k)
	if err != nil {
		return err
	}
	if k.scale {
		return a.replyResult(c, http.StatusOK, out.Plan)
	}
	if len(tasks) == 0 {
		return noTask(text)
	}
	return reply(c, http.StatusOK, struct {
		Task taskView `json:"task"`
	}{tasks[0]})
}

// findTask finds the instance whose present task has this id, nil when there is none.
func findTask(s *core.Snapshot, text string) *app.Instance {
	id, _, err := app.TaskID(text).Parse()
	if err != nil {
		return nil
	}
	i := s.Instance(id)
	if i == nil || !shown(i) {
		return nil
	}
	for k := range i.TaskCount() {
		if i.TaskIDAt(k) == app.TaskID(text) {
			return i
		}
	}
	return nil
}

// deleteTasks serves POST /v2/tasks/delete.
func (a *api) deleteTasks(c echo.Context) error {
	return methods(c, map[string]echo.HandlerFunc{http.MethodPost: a.killListed})
}

func (a *api) killListed(c echo.Context) error {
	k, err := readKillFlags(c)
	if err != nil {
		return err
	}
	body, err := read(c, bodyLimit)
	if err != nil {
		return err
	}
	ids, err := app.ReadIDs(body)
	if err != nil {
		return refuse("", err)
	}
	s, err := a.snapshot()
	if err != nil {
		return err
	}
	var instances []app.InstanceID
	for _, text := range ids {
		if _, _, err := app.TaskID(text).Parse(); err != nil {
			return badRequest(fmt.Sprintf("Invalid task id '%s'. %s", text, err))
		}
		if i := findTask(s, text); i != nil {
			instances = append(instances, i.ID)
		}
	}
	return a.replyKilled(c, instances, k)
}
