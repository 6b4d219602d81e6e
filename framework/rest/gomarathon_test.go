package rest

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	gomarathon "github.com/gambol99/go-marathon"
)

// client is go-marathon against the stack, with server-sent events as its transport.
func (s *stack) client() gomarathon.Marathon {
	s.t.Helper()
	cfg := gomarathon.NewDefaultConfig()
	cfg.URL = s.server.URL
	cfg.EventsTransport = gomarathon.EventsTransportSSE
	cfg.HTTPClient = &http.Client{}
	cfg.PollingWaitTime = time.Millisecond
	c, err := gomarathon.NewClient(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// ok gives the value of a call that must not fail.
func ok[T any](t *testing.T, what string) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		return v
	}
}

func fine(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// code is the kind of an API error, -1 for any other error.
func code(err error) int {
	var e *gomarathon.APIError
	if errors.As(err, &e) {
		return e.ErrCode
	}
	return -1
}

func webOfClient(instances int) *gomarathon.Application {
	a := gomarathon.NewDockerApplication()
	a.Name("/front/web").CPU(0.1).Memory(32).Count(instances).AddLabel("tier", "front")
	a.Container.Docker.Container("nginx").Bridged().ExposePort(gomarathon.PortMapping{ContainerPort: 80, HostPort: 0, Protocol: "tcp", Name: "http"})
	a.AddEnv("MODE", "test")
	return a
}

// TestConformance_1_17_Applications goes through go-marathon's calls on apps (marathon.md 1.17).
func TestConformance_1_17_Applications(t *testing.T) {
	s := newStack(t)
	c := s.client()
	if !ok[bool](t, "Ping")(c.Ping()) {
		t.Error("Ping says no")
	}

	made := ok[*gomarathon.Application](t, "CreateApplication")(c.CreateApplication(webOfClient(2)))
	if len(made.Deployments) != 1 || made.Deployments[0]["id"] == "" || made.ID != "/front/web" {
		t.Errorf("created %+v", made)
	}
	deployments := ok[[]*gomarathon.Deployment](t, "Deployments")(c.Deployments())
	if len(deployments) != 1 || len(deployments[0].Steps) != 2 || deployments[0].Steps[1][0].Action != "ScaleApplication" ||
		deployments[0].CurrentStep != 2 || len(deployments[0].CurrentActions) != 1 || deployments[0].AffectedApps[0] != "/front/web" {
		t.Errorf("deployments %+v", deployments)
	}
	if !ok[bool](t, "HasDeployment")(c.HasDeployment(made.Deployments[0]["id"])) {
		t.Error("the deployment is not there")
	}
	if of := ok[[]*gomarathon.DeploymentID](t, "ApplicationDeployments")(c.ApplicationDeployments("/front/web")); len(of) != 1 {
		t.Errorf("deployments of the app: %v", of)
	}
	queue := ok[*gomarathon.Queue](t, "Queue")(c.Queue())
	if len(queue.Items) != 1 || queue.Items[0].Count != 2 || !queue.Items[0].Delay.Overdue || queue.Items[0].Application.ID != "/front/web" {
		t.Errorf("queue %+v", queue)
	}
	fine(t, "DeleteQueueDelay", c.DeleteQueueDelay("/front/web"))

	_, err := c.CreateApplication(webOfClient(2))
	if code(err) != gomarathon.ErrCodeDuplicateID {
		t.Errorf("the same app again: %v", err)
	}
	if _, err = c.ScaleApplicationInstances("/front/web", 3, false); code(err) != gomarathon.ErrCodeAppLocked {
		t.Errorf("scale while it is deployed: %v", err)
	}

	s.run()
	fine(t, "WaitOnDeployment", c.WaitOnDeployment(made.Deployments[0]["id"], 5*time.Second))
	fine(t, "WaitOnApplication", c.WaitOnApplication("/front/web", 5*time.Second))
	if !ok[bool](t, "ApplicationOK")(c.ApplicationOK("/front/web")) {
		t.Error("two running tasks are not OK")
	}
	if ids := ok[[]string](t, "ListApplications")(c.ListApplications(nil)); !slices.Equal(ids, []string{"/front/web"}) {
		t.Errorf("apps %v", ids)
	}
	if got := ok[*gomarathon.Applications](t, "Applications")(c.Applications(url.Values{"label": {"tier==back"}})); len(got.Apps) != 0 {
		t.Errorf("apps of another tier: %v", got.Apps)
	}
	app := ok[*gomarathon.Application](t, "Application")(c.Application("/front/web"))
	if app.TasksRunning != 2 || len(app.Tasks) != 2 || (*app.Env)["MODE"] != "test" || (*app.Labels)["tier"] != "front" ||
		*app.Instances != 2 {
		t.Errorf("app %+v", app)
	}
	by := ok[*gomarathon.Application](t, "ApplicationBy")(c.ApplicationBy("/front/web", &gomarathon.GetAppOpts{Embed: []string{"app.taskStats", "app.readiness"}}))
	if len(by.TaskStats) == 0 || by.TaskStats["totalSummary"].Stats.Counts["running"] != 2 {
		t.Errorf("task statistics %+v", by.TaskStats)
	}

	first := app.Version
	s.advance(time.Second)
	dep := ok[*gomarathon.DeploymentID](t, "ScaleApplicationInstances")(c.ScaleApplicationInstances("/front/web", 3, false))
	if dep.DeploymentID == "" || dep.Version == "" {
		t.Errorf("scale answered %+v", dep)
	}
	s.run()
	versions := ok[*gomarathon.ApplicationVersions](t, "ApplicationVersions")(c.ApplicationVersions("/front/web"))
	if len(versions.Versions) != 2 || !slices.Contains(versions.Versions, first) {
		t.Errorf("versions %v, the first was %s", versions, first)
	}
	if !ok[bool](t, "HasApplicationVersion")(c.HasApplicationVersion("/front/web", first)) {
		t.Error("the first version is not known")
	}
	if old := ok[*gomarathon.Application](t, "ApplicationByVersion")(c.ApplicationByVersion("/front/web", first)); *old.Instances != 2 {
		t.Errorf("first version %+v", old)
	}

	s.advance(time.Second)
	ok[*gomarathon.DeploymentID](t, "SetApplicationVersion")(c.SetApplicationVersion("/front/web", &gomarathon.ApplicationVersion{Version: first}))
	s.finish()
	if back := ok[*gomarathon.Application](t, "Application")(c.Application("/front/web")); *back.Instances != 2 {
		t.Errorf("after the rollback %d instances", *back.Instances)
	}
	s.advance(time.Second)
	changed := webOfClient(2).AddEnv("MODE", "changed")
	ok[*gomarathon.DeploymentID](t, "UpdateApplication")(c.UpdateApplication(changed, true))
	ok[*gomarathon.DeploymentID](t, "RestartApplication")(c.RestartApplication("/front/web", true))
	ok[*gomarathon.DeploymentID](t, "DeleteApplication")(c.DeleteApplication("/front/web", true))
	s.finish()
	if _, err = c.Application("/front/web"); code(err) != gomarathon.ErrCodeNotFound || !strings.Contains(err.Error(), "App '/front/web' does not exist") {
		t.Errorf("the app that is gone: %v", err)
	}
}

// TestConformance_1_17_Errors checks what its users see of refusals (marathon.md 1.17, Errors).
func TestConformance_1_17_Errors(t *testing.T) {
	s := newStack(t)
	c := s.client()
	_, err := c.CreateApplication(new(gomarathon.Application).Name("/x").CPU(-1).Command("sleep 1"))
	if code(err) != gomarathon.ErrCodeInvalidBean || !strings.Contains(err.Error(), "cpus") {
		t.Errorf("cpus -1: %v", err)
	}
	if _, err = c.DeleteDeployment("none", false); code(err) != gomarathon.ErrCodeNotFound {
		t.Errorf("unknown deployment: %v", err)
	}
	if _, err = c.Group("/none"); code(err) != gomarathon.ErrCodeNotFound {
		t.Errorf("unknown group: %v", err)
	}
	if err = c.DeleteQueueDelay("/none"); code(err) != gomarathon.ErrCodeNotFound {
		t.Errorf("unknown queue item: %v", err)
	}
	// None of these refusals may look like a node that is down.
	ok[bool](t, "Ping")(c.Ping())
}

// TestConformance_1_17_Tasks goes through go-marathon's calls on tasks.
func TestConformance_1_17_Tasks(t *testing.T) {
	s := newStack(t)
	c := s.client()
	ok[*gomarathon.Application](t, "CreateApplication")(c.CreateApplication(webOfClient(4)))
	ids := s.run()
	of := ok[*gomarathon.Tasks](t, "Tasks")(c.Tasks("/front/web"))
	if len(of.Tasks) != 4 || of.Tasks[0].AppID != "/front/web" || of.Tasks[0].Host != "host1" || len(of.Tasks[0].Ports) != 1 ||
		of.Tasks[0].StagedAt == "" || of.Tasks[0].StartedAt == "" || of.Tasks[0].IPAddresses[0].IPAddress != "10.0.0.1" {
		t.Errorf("tasks %+v", of.Tasks)
	}
	all := ok[*gomarathon.Tasks](t, "AllTasks")(c.AllTasks(&gomarathon.AllTasksOpts{Status: "running"}))
	if len(all.Tasks) != 4 || len(all.Tasks[0].ServicePorts) != 1 {
		t.Errorf("all tasks %+v", all.Tasks)
	}

	// It derives an app path from the task id; the id alone must do.
	killed := ok[*gomarathon.Task](t, "KillTask")(c.KillTask(string(ids[0]), nil))
	if killed.ID != string(ids[0]) {
		t.Errorf("killed %+v", killed)
	}
	fine(t, "KillTasks", c.KillTasks([]string{string(ids[1])}, &gomarathon.KillTaskOpts{Scale: true, Force: true}))
	s.finish()
	s.run()
	app := ok[*gomarathon.Application](t, "Application")(c.Application("/front/web"))
	if *app.Instances != 3 || app.TasksRunning != 3 {
		t.Errorf("instances %d, running %d", *app.Instances, app.TasksRunning)
	}
	if rest := ok[*gomarathon.Tasks](t, "KillApplicationTasks")(c.KillApplicationTasks("/front/web", &gomarathon.KillApplicationTasksOpts{Host: "host1"})); len(rest.Tasks) != 3 {
		t.Errorf("killed %+v", rest.Tasks)
	}
}

// TestConformance_1_17_Groups goes through go-marathon's calls on groups and deployments.
func TestConformance_1_17_Groups(t *testing.T) {
	s := newStack(t)
	c := s.client()
	group := gomarathon.NewApplicationGroup("/shop").
		App(new(gomarathon.Application).Name("/shop/db").Command("sleep 1").CPU(0.1).Memory(16).Count(1)).
		App(new(gomarathon.Application).Name("/shop/web").Command("sleep 1").CPU(0.1).Memory(16).Count(2).DependsOn("/shop/db"))
	fine(t, "CreateGroup", c.CreateGroup(group))
	s.run()
	fine(t, "WaitOnGroup", c.WaitOnGroup("/shop", 5*time.Second))
	if !ok[bool](t, "HasGroup")(c.HasGroup("/shop")) {
		t.Error("the group is not there")
	}
	got := ok[*gomarathon.Group](t, "Group")(c.Group("/shop"))
	if len(got.Apps) != 2 || got.Apps[1].Dependencies[0] != "/shop/db" {
		t.Errorf("group %+v", got)
	}
	all := ok[*gomarathon.Groups](t, "Groups")(c.Groups())
	if all.ID != "/" || len(all.Groups) != 1 || all.Groups[0].ID != "/shop" {
		t.Errorf("groups %+v", all)
	}
	some := ok[*gomarathon.Groups](t, "GroupsBy")(c.GroupsBy(&gomarathon.GetGroupOpts{Embed: []string{"group.groups"}}))
	if len(some.Groups) != 1 || len(some.Groups[0].Apps) != 0 {
		t.Errorf("groups without apps %+v", some.Groups)
	}
	with := ok[*gomarathon.Group](t, "GroupBy")(c.GroupBy("/shop", &gomarathon.GetGroupOpts{Embed: []string{"group.apps", "group.apps.counts"}}))
	if len(with.Apps) != 2 || with.Apps[1].TasksRunning != 2 {
		t.Errorf("counts %+v", with.Apps)
	}

	s.advance(time.Second)
	group.Apps[1].Count(5)
	dep := ok[*gomarathon.DeploymentID](t, "UpdateGroup")(c.UpdateGroup("/shop", group, false))
	back := ok[*gomarathon.DeploymentID](t, "DeleteDeployment")(c.DeleteDeployment(dep.DeploymentID, false))
	if back.DeploymentID == "" || back.DeploymentID == dep.DeploymentID {
		t.Errorf("rollback %+v of %+v", back, dep)
	}
	// A forced stop answers 202 without a body, which go-marathon cannot decode.
	s.advance(time.Second)
	dep = ok[*gomarathon.DeploymentID](t, "UpdateGroup")(c.UpdateGroup("/shop", group, true))
	if _, err := c.DeleteDeployment(dep.DeploymentID, true); err != nil && !errors.Is(err, gomarathon.ErrInvalidResponse) {
		t.Errorf("forced stop: %v", err)
	}
	ok[*gomarathon.DeploymentID](t, "DeleteGroup")(c.DeleteGroup("/shop", true))
	s.finish()
	if ok[bool](t, "HasGroup")(c.HasGroup("/shop")) {
		t.Error("the group is still there")
	}
}

// TestConformance_1_17_System goes through info, leadership and events.
func TestConformance_1_17_System(t *testing.T) {
	s := newStack(t)
	c := s.client()
	info := ok[*gomarathon.Info](t, "Info")(c.Info())
	if info.Name != "marathon" || info.Version != "1.10.26" || info.Leader != "leader:8080" || info.FrameworkID != "fw-1" {
		t.Errorf("info %+v", info)
	}
	if leader := ok[string](t, "Leader")(c.Leader()); leader != "leader:8080" {
		t.Errorf("leader %q", leader)
	}

	events, err := c.AddEventsListener(gomarathon.EventIDApplications | gomarathon.EventIDDeploymentInfo | gomarathon.EventIDDeploymentSuccess |
		gomarathon.EventIDDeploymentStepSuccess | gomarathon.EventIDAPIRequest | gomarathon.EventIDAddHealthCheck)
	fine(t, "AddEventsListener", err)
	defer c.RemoveEventsListener(events)
	app := new(gomarathon.Application).Name("/seen").Command("sleep 1").CPU(0.1).Memory(16).Count(1)
	go func() {
		if _, err := c.CreateApplication(app); err != nil {
			t.Errorf("CreateApplication: %v", err)
		}
		s.run()
	}()
	var seen []string
	deadline := time.After(10 * time.Second)
	missing := func() bool { // it delivers events out of order
		return slices.ContainsFunc([]string{"api_post_event", "deployment_info", "status_update_event", "deployment_step_success", "deployment_success"},
			func(name string) bool { return !slices.Contains(seen, name) })
	}
	for missing() {
		select {
		case e := <-events:
			seen = append(seen, e.Name)
			switch e := e.Event.(type) {
			case *gomarathon.EventAPIRequest:
				if e.URI != "/v2/apps" || e.AppDefinition.ID != "/seen" {
					t.Errorf("api_post_event %+v", e)
				}
			case *gomarathon.EventDeploymentInfo:
				if e.Plan == nil || len(e.Plan.Steps) != 2 || e.CurrentStep == nil {
					t.Errorf("deployment_info %+v", e)
				}
			case *gomarathon.EventStatusUpdate:
				if e.AppID != "/seen" || e.TaskStatus != "TASK_RUNNING" || e.Host != "host1" || e.SlaveID != "agent-1" || e.Version == "" {
					t.Errorf("status_update_event %+v", e)
				}
			}
		case <-deadline:
			t.Fatalf("seen %v, and then nothing", seen)
		}
	}
	if text := ok[string](t, "AbdicateLeader")(c.AbdicateLeader()); text != "Leadership abdicated" {
		t.Errorf("abdication answered %q", text)
	}
}
