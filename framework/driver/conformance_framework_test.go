package driver

import (
	"slices"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"github.com/stoa-project/stoa/framework/core"
)

// TestConformance_10_2_FrameworkInfo: how the framework introduces itself, the first time
// and with the id that it got.
func TestConformance_10_2_FrameworkInfo(t *testing.T) {
	m := newMaster(t)
	b := run(t, m, Config{Name: "marathon", User: "root", Principal: "p", Hostname: "h", WebUI: "http://h:8080", Role: "dev",
		FailoverTimeout: 604800 * time.Second, Checkpoint: true}, "")
	info := m.call(t, scheduler.Call_SUBSCRIBE).Subscribe.FrameworkInfo
	if info.ID != nil || info.Name != "marathon" || info.User != "root" || *info.Principal != "p" || *info.Hostname != "h" || *info.WebUiURL != "http://h:8080" ||
		!*info.Checkpoint || *info.FailoverTimeout != 604800 || !slices.Equal(info.Roles, []string{"dev"}) || info.Role != nil {
		t.Errorf("%+v", info)
	}
	for _, want := range []mesos.FrameworkInfo_Capability_Type{mesos.FrameworkInfo_Capability_PARTITION_AWARE, mesos.FrameworkInfo_Capability_REGION_AWARE,
		mesos.FrameworkInfo_Capability_MULTI_ROLE, mesos.FrameworkInfo_Capability_TASK_KILLING_STATE} {
		if !slices.ContainsFunc(info.Capabilities, func(c mesos.FrameworkInfo_Capability) bool { return c.Type == want }) {
			t.Errorf("no capability %s", want)
		}
	}
	m.subscribed("F-7")
	take[core.Subscribed](t, b)
	m.hangUp()
	take[core.Disconnected](t, b)
	if again := m.call(t, scheduler.Call_SUBSCRIBE).Subscribe; again.FrameworkInfo.ID == nil || again.FrameworkInfo.ID.Value != "F-7" {
		t.Errorf("subscribed again as %+v", again.FrameworkInfo.ID)
	}
}
