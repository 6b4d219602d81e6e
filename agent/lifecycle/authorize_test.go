package lifecycle

import (
	"strings"
	"testing"

	"github.com/stoa-project/stoa/internal/acl"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

func TestUnauthorized(t *testing.T) {
	rules, _, err := acl.Parse([]byte(`{"run_tasks":[{"principals":{"values":["p"]},"users":{"values":["app"]}},{"principals":{"type":"ANY"},"users":{"type":"NONE"}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	a := &Agent{cfg: Config{Rules: rules}}
	f := &mesos.FrameworkInfo{User: ptr("app"), Principal: ptr("p")}
	own := &mesos.TaskInfo{TaskId: &mesos.TaskID{Value: ptr("own")}, Command: &mesos.CommandInfo{}}
	root := &mesos.TaskInfo{TaskId: &mesos.TaskID{Value: ptr("r")}, Command: &mesos.CommandInfo{User: ptr("root")}}
	if why := a.unauthorized(f, own, own); why != "" {
		t.Error(why)
	}
	if why := a.unauthorized(f, own, root); !strings.Contains(why, "'r'") || !strings.Contains(why, "'root'") {
		t.Errorf("%q", why)
	}
	if why := a.unauthorized(&mesos.FrameworkInfo{User: ptr("app")}, own); why == "" {
		t.Error("a framework without a principal may run as app")
	}
	if why := (&Agent{}).unauthorized(f, root); why != "" {
		t.Errorf("without rules: %q", why)
	}
}
