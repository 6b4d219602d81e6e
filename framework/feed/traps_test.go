package feed

import (
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
)

// TestTrap38_Frames: CRLF, one JSON line, one blank after "data:", no id and no retry.
func TestTrap38_Frames(t *testing.T) {
	f, url := serve(t, Config{Heartbeat: time.Hour})
	body := attach(t, f, url+"?event_type=status_update_event")
	f.Publish(core.StatusUpdate{At: 1, Task: "a.instance-u._app.1", State: "TASK_FAILED", Message: "line one\nline two\r\n\"quoted\""})
	f.EndAll()
	raw, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(raw), "\r\n")
	if len(lines) != 4 || lines[0] != "event: status_update_event" || !strings.HasPrefix(lines[1], `data: {"eventType":"status_update_event",`) || lines[2] != "" || lines[3] != "" {
		t.Errorf("%q", raw)
	}
	if strings.Contains(lines[1], "\n") {
		t.Errorf("more than one line: %q", lines[1])
	}
	var e struct{ Message string }
	if err := json.Unmarshal([]byte(strings.TrimPrefix(lines[1], "data: ")), &e); err != nil || e.Message != "line one\nline two\r\n\"quoted\"" {
		t.Errorf("%v %q", err, e.Message)
	}
}

// TestTrap40_FailedChecksNameInstances: taskId of failed_health_check_event is an instance
// id; health_status_changed_event has both.
func TestTrap40_FailedChecksNameInstances(t *testing.T) {
	id := app.NewInstanceID("/w", "c8ac1bd9-ec45-11e6-9d4e-02421c8ac1bd")
	for _, c := range []struct {
		event    core.Event
		taskID   string
		instance string
	}{
		{core.HealthCheckFailed{At: 1, App: "/w", Instance: id, Task: id.Task(1)}, string(id), string(id)},
		{core.HealthStatusChanged{At: 1, App: "/w", Instance: id, Task: id.Task(1)}, string(id.Task(1)), string(id)},
	} {
		line, err := render(c.event)
		var got struct{ TaskID, InstanceID string }
		if err == nil {
			err = json.Unmarshal(line, &got)
		}
		if err != nil || got.TaskID != c.taskID || got.InstanceID != c.instance {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// TestConformance_9_1_Attached: the first event of a new client is its own attachment, all
// streams hear of it, and unknown types match nothing.
func TestConformance_9_1_Attached(t *testing.T) {
	f, url := serve(t, Config{Heartbeat: time.Hour})
	one := attach(t, f, url)
	none := attach(t, f, url+"?event_type=nothing_of_that_name&plan-format=light")
	f.Publish(core.AppTerminated{At: 1, App: "/a"})
	f.EndAll()
	raw, err := io.ReadAll(one)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for line := range strings.SplitSeq(string(raw), "\r\n") {
		if kind, ok := strings.CutPrefix(line, "event: "); ok {
			kinds = append(kinds, kind)
		}
	}
	if !slices.Equal(kinds, []string{"event_stream_attached", "event_stream_attached", "app_terminated_event"}) {
		t.Errorf("events %v", kinds)
	}
	if raw, err = io.ReadAll(none); err != nil || len(raw) != 0 {
		t.Errorf("%q, %v", raw, err)
	}
}

// TestConformance_9_2_Types: every type of the contract is among the golden ones.
func TestConformance_9_2_Types(t *testing.T) {
	have := map[string]bool{}
	for _, e := range every() {
		have[e.Type()] = true
	}
	for _, kind := range strings.Fields(`event_stream_attached event_stream_detached api_post_event pod_created_event pod_updated_event pod_deleted_event status_update_event
		instance_changed_event unknown_instance_terminated_event instance_health_changed_event app_terminated_event framework_message_event add_health_check_event
		remove_health_check_event failed_health_check_event health_status_changed_event unhealthy_instance_kill_event group_change_success group_change_failed deployment_info
		deployment_step_success deployment_step_failure deployment_success deployment_failed scheduler_registered_event scheduler_reregistered_event scheduler_disconnected_event`) {
		if !have[kind] {
			t.Errorf("no golden %s", kind)
		}
	}
}
