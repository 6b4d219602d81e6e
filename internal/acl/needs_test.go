package acl

import (
	"fmt"
	"testing"

	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

func TestNeedsOfOperations(t *testing.T) {
	for _, c := range []struct{ name, op, want string }{
		{"reserve", `{"type":"RESERVE","reserve":{"resources":[
			{"name":"cpus","type":"SCALAR","reservations":[{"type":"DYNAMIC","role":"a","principal":"p"}]},
			{"name":"mem","type":"SCALAR","reservations":[{"type":"DYNAMIC","role":"a","principal":"p"}]},
			{"name":"disk","type":"SCALAR","reservations":[{"type":"STATIC","role":"a"},{"type":"DYNAMIC","role":"a/b","principal":"p"}]}]}}`,
			"[{reserve_resources a} {reserve_resources a/b}]"},
		{"reserve, old format", `{"type":"RESERVE","reserve":{"resources":[{"name":"cpus","type":"SCALAR","role":"a","reservation":{"principal":"p"}}]}}`,
			"[{reserve_resources a}]"},
		{"reserve nothing", `{"type":"RESERVE","reserve":{}}`, "[{reserve_resources }]"},
		{"move a reservation", `{"type":"RESERVE","reserve":{
			"source":[{"name":"cpus","type":"SCALAR","reservations":[{"role":"a","principal":"p"},{"role":"a/b","principal":"q"},{"role":"a/b/c","principal":"r"}]}],
			"resources":[{"name":"cpus","type":"SCALAR","reservations":[{"role":"a","principal":"p"},{"role":"a/x","principal":"s"}]}]}}`,
			"[{unreserve_resources r} {unreserve_resources q} {reserve_resources a/x}]"},
		{"unreserve", `{"type":"UNRESERVE","unreserve":{"resources":[{"name":"cpus","type":"SCALAR","reservations":[{"role":"a","principal":"p"},{"role":"a/b","principal":"q"}]}]}}`,
			"[{unreserve_resources q}]"},
		{"unreserve what nobody signed", `{"type":"UNRESERVE","unreserve":{"resources":[{"name":"cpus","type":"SCALAR","role":"a"}]}}`, "[{unreserve_resources }]"},
		{"create", `{"type":"CREATE","create":{"volumes":[{"name":"disk","type":"SCALAR","reservations":[{"role":"a"}]},{"name":"disk","type":"SCALAR"}]}}`,
			"[{create_volumes a} {create_volumes *}]"},
		{"destroy", `{"type":"DESTROY","destroy":{"volumes":[{"name":"disk","type":"SCALAR","disk":{"persistence":{"id":"v","principal":"p"}}}]}}`, "[{destroy_volumes p}]"},
		{"grow", `{"type":"GROW_VOLUME","grow_volume":{"volume":{"name":"disk","type":"SCALAR","reservations":[{"role":"a"}]},"addition":{"name":"disk","type":"SCALAR"}}}`, "[{resize_volumes a}]"},
		{"shrink", `{"type":"SHRINK_VOLUME","shrink_volume":{"volume":{"name":"disk","type":"SCALAR","role":"a"},"subtract":{"value":1}}}`, "[{resize_volumes a}]"},
		{"mount disk", `{"type":"CREATE_DISK","create_disk":{"target_type":"MOUNT","source":{"name":"disk","type":"SCALAR","role":"a"}}}`, "[{create_mount_disks a}]"},
		{"block disk", `{"type":"CREATE_DISK","create_disk":{"target_type":"BLOCK","source":{"name":"disk","type":"SCALAR","role":"a"}}}`, "[{create_block_disks a}]"},
		{"destroy mount", `{"type":"DESTROY_DISK","destroy_disk":{"source":{"name":"disk","type":"SCALAR","role":"a","disk":{"source":{"type":"MOUNT"}}}}}`, "[{destroy_mount_disks a}]"},
		{"destroy block", `{"type":"DESTROY_DISK","destroy_disk":{"source":{"name":"disk","type":"SCALAR","role":"a","disk":{"source":{"type":"BLOCK"}}}}}`, "[{destroy_block_disks a}]"},
		{"destroy raw", `{"type":"DESTROY_DISK","destroy_disk":{"source":{"name":"disk","type":"SCALAR","role":"a","disk":{"source":{"type":"RAW"}}}}}`, "[{destroy_raw_disks a}]"},
	} {
		op := &mesos.Offer_Operation{}
		if err := wire.UnmarshalJSON([]byte(c.op), op); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if got := fmt.Sprint(Operation(op)); got != c.want {
			t.Errorf("%s needs %s, want %s", c.name, got, c.want)
		}
	}
}

func TestTaskUser(t *testing.T) {
	command := func(user string) *mesos.CommandInfo {
		if user == "" {
			return &mesos.CommandInfo{}
		}
		return &mesos.CommandInfo{User: &user}
	}
	f := &mesos.FrameworkInfo{User: command("framework").User}
	for _, c := range []struct {
		task *mesos.TaskInfo
		want string
	}{
		{&mesos.TaskInfo{Command: command("t"), Executor: &mesos.ExecutorInfo{Command: command("e")}}, "t"},
		{&mesos.TaskInfo{Command: command(""), Executor: &mesos.ExecutorInfo{Command: command("e")}}, "e"},
		{&mesos.TaskInfo{Executor: &mesos.ExecutorInfo{Command: command("e")}}, "e"},
		{&mesos.TaskInfo{Command: command("")}, "framework"},
		{&mesos.TaskInfo{}, "framework"},
	} {
		if got := TaskUser(c.task, f); got != c.want {
			t.Errorf("%v runs as %s, want %s", c.task, got, c.want)
		}
	}
}

func TestAgentsNeedTheirReservations(t *testing.T) {
	name := func(s string) *string { return &s }
	needs := Join([]*mesos.Resource{{Name: name("cpus")}, {Name: name("mem"), Role: name("a")}, {Name: name("disk"), Role: name("a")}, {Name: name("x"), Role: name("*")}})
	if got := fmt.Sprint(needs); got != "[{register_agents } {reserve_resources a}]" {
		t.Error(got)
	}
}
